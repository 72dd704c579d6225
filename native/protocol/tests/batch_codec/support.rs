//! Records to write and ways to read and to damage batches.

use brod_protocol::batch_reader::{batches, Batch, BatchError, Record, Records};
use brod_protocol::batch_writer::{BatchWriter, Header, SealOptions};
use brod_protocol::compress::Codec;
use brod_protocol::records::{Share, HEADER_MEMORY, RECORD_MEMORY};
use brod_protocol::sealed_batch::SealedBatch;
use bytes::Bytes;
use kafka_protocol::indexmap::IndexMap;
use proptest::prelude::*;

pub(crate) const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];
pub(crate) const HEADER: usize = 61;
pub(crate) const LIMIT: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rec {
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Rec {
    pub(crate) fn new(timestamp: i64, key: &str, value: &str) -> Rec {
        Rec {
            timestamp,
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    pub(crate) fn headers(&self) -> Vec<Header<'_>> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_deref()))
            .collect()
    }
}

pub(crate) fn push(writer: &mut BatchWriter, rec: &Rec) {
    writer.push(
        rec.timestamp,
        rec.key.as_deref(),
        rec.value.as_deref(),
        &rec.headers(),
    );
}

pub(crate) fn writer(recs: &[Rec]) -> BatchWriter {
    let mut writer = BatchWriter::new(256);
    recs.iter().for_each(|rec| push(&mut writer, rec));
    writer
}

pub(crate) fn with_codec(codec: Codec) -> SealOptions {
    SealOptions {
        codec,
        ..SealOptions::default()
    }
}

pub(crate) fn sealed(recs: &[Rec], codec: Codec) -> SealedBatch {
    writer(recs).seal(with_codec(codec)).expect("seals")
}

pub(crate) fn only_batch(bytes: &Bytes) -> Batch {
    let mut all = batches(bytes.clone());
    let batch = all.next().expect("a batch").expect("a good one");
    assert!(all.next().is_none());
    assert_eq!(all.incomplete(), None);
    batch
}

pub(crate) fn read_all(records: &Records) -> Result<Vec<(i64, Rec)>, BatchError> {
    let all = records.iter();
    all.map(|record| Ok(read_one(records, record?))).collect()
}

fn read_one(records: &Records, record: Record<'_>) -> (i64, Rec) {
    let owned = |span| records.slice(span).to_vec();
    let header_count = record.headers.len();
    let headers: Vec<_> = record
        .headers
        .map(|(name, value)| {
            let name = String::from_utf8(name.to_vec()).unwrap_or_default();
            (name, value.map(<[u8]>::to_vec))
        })
        .collect();
    assert_eq!(headers.len(), header_count);
    let rec = Rec {
        timestamp: record.timestamp,
        key: record.key.map(owned),
        value: record.value.map(owned),
        headers,
    };
    (record.offset, rec)
}

/// The records before one that cannot be read, and whether there is none such.
pub(crate) fn read_while_good(records: &Records) -> (Vec<(i64, Rec)>, bool) {
    let mut all = Vec::new();
    for record in records.iter() {
        match record {
            Ok(record) => all.push(read_one(records, record)),
            Err(_) => return (all, false),
        }
    }
    (all, true)
}

/// As [`read_while_good`], in parts that take `memory` bytes.
pub(crate) fn read_in_parts(mut records: Records, memory: usize) -> (Vec<(i64, Rec)>, bool) {
    let mut all = Vec::new();
    loop {
        let rest = records.split_off(Share::of_memory(memory));
        let (good, to_the_end) = read_while_good(&records);
        if let (Some(rest), Some((last, _))) = (&rest, good.last()) {
            assert!(memory_of(&records) >= memory);
            assert!(!to_the_end || rest.first_offset() == last + 1);
        }
        all.extend(good);
        match rest {
            Some(rest) if to_the_end => records = rest,
            _ => return (all, to_the_end),
        }
    }
}

/// What the records take in memory, counted from the wire.
fn memory_of(records: &Records) -> usize {
    let headers = records
        .iter()
        .map_while(Result::ok)
        .map(|r| r.headers.len());
    let headers: usize = headers.map(|count| count * HEADER_MEMORY).sum();
    records.bytes().len() + records.record_count() as usize * RECORD_MEMORY + headers
}

pub(crate) fn read_recs(bytes: &Bytes) -> Vec<Rec> {
    let records = only_batch(bytes).records(LIMIT).expect("decompresses");
    let all = read_all(&records).expect("reads");
    assert_eq!(all.len() as u32, records.record_count());
    all.into_iter().map(|(_, rec)| rec).collect()
}

/// Changes bytes of a batch and makes its checksum right again.
pub(crate) fn tampered(bytes: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    fix_crc(&mut bytes);
    bytes.into()
}

pub(crate) fn fix_crc(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// An uncompressed batch with this records section.
pub(crate) fn raw_batch(count: i32, last_offset_delta: i32, section: &[u8]) -> Bytes {
    let one = sealed(&[Rec::new(0, "", "")], Codec::None);
    tampered(&one.to_bytes(), |bytes| {
        bytes.truncate(HEADER);
        bytes.extend_from_slice(section);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
    })
}

pub(crate) fn read_error(bytes: &Bytes) -> BatchError {
    only_batch(bytes)
        .records(LIMIT)
        .and_then(|records| read_all(&records))
        .expect_err("refused")
}

pub(crate) fn rec_strategy() -> impl Strategy<Value = Rec> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    let headers = prop::collection::vec(("[a-z]{0,8}", bytes()), 0..4);
    (0i64..1 << 45, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Rec {
        timestamp,
        key,
        value,
        // The other implementation keeps one header a name.
        headers: headers
            .into_iter()
            .collect::<IndexMap<_, _>>()
            .into_iter()
            .collect(),
    })
}

pub(crate) fn recs_strategy(max: usize) -> impl Strategy<Value = Vec<Rec>> {
    prop::collection::vec(rec_strategy(), 1..max)
}

pub(crate) fn codec_strategy() -> impl Strategy<Value = Codec> {
    prop::sample::select(&CODECS)
}
