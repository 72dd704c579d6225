//! Record batches: written and read back, against another implementation, and damaged.

use brod_engine::protocol::batch_reader::{
    batches, Batch, BatchError, ControlType, Found, Records, TimestampType,
};
use brod_engine::protocol::batch_writer::{
    headers_size_bound, record_size_bound, split, BatchWriter, Header, SealError, SealOptions,
    SealedBatch, SplitError,
};
use brod_engine::protocol::compress::Codec;
use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as other;
use proptest::prelude::*;

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];
const HEADER: usize = 61;
const LIMIT: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rec {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Rec {
    fn new(timestamp: i64, key: &str, value: &str) -> Rec {
        Rec {
            timestamp,
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    fn headers(&self) -> Vec<Header<'_>> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_deref()))
            .collect()
    }
}

fn push(writer: &mut BatchWriter, rec: &Rec) {
    writer.push(
        rec.timestamp,
        rec.key.as_deref(),
        rec.value.as_deref(),
        &rec.headers(),
    );
}

fn writer(recs: &[Rec]) -> BatchWriter {
    let mut writer = BatchWriter::new(256);
    recs.iter().for_each(|rec| push(&mut writer, rec));
    writer
}

fn with_codec(codec: Codec) -> SealOptions {
    SealOptions {
        codec,
        ..SealOptions::default()
    }
}

fn sealed(recs: &[Rec], codec: Codec) -> SealedBatch {
    writer(recs).seal(with_codec(codec)).expect("seals")
}

fn only_batch(bytes: &Bytes) -> Batch {
    let mut all = batches(bytes.clone());
    let batch = all.next().expect("a batch").expect("a good one");
    assert!(all.next().is_none());
    assert_eq!(all.incomplete(), None);
    batch
}

fn read_all(records: &Records) -> Result<Vec<(i64, Rec)>, BatchError> {
    records
        .iter()
        .map(|record| {
            let record = record?;
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
            Ok((record.offset, rec))
        })
        .collect()
}

fn read_recs(bytes: &Bytes) -> Vec<Rec> {
    let records = only_batch(bytes).records(LIMIT).expect("decompresses");
    let all = read_all(&records).expect("reads");
    assert_eq!(all.len() as u32, records.record_count);
    all.into_iter().map(|(_, rec)| rec).collect()
}

/// Changes bytes of a batch and makes its checksum right again.
fn tampered(bytes: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    fix_crc(&mut bytes);
    bytes.into()
}

fn fix_crc(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// An uncompressed batch with this records section.
fn raw_batch(count: i32, last_offset_delta: i32, section: &[u8]) -> Bytes {
    let one = sealed(&[Rec::new(0, "", "")], Codec::None);
    tampered(&one.bytes, |bytes| {
        bytes.truncate(HEADER);
        bytes.extend_from_slice(section);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
    })
}

fn read_error(bytes: &Bytes) -> BatchError {
    only_batch(bytes)
        .records(LIMIT)
        .and_then(|records| read_all(&records))
        .expect_err("refused")
}

fn rec_strategy() -> impl Strategy<Value = Rec> {
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

fn recs_strategy(max: usize) -> impl Strategy<Value = Vec<Rec>> {
    prop::collection::vec(rec_strategy(), 1..max)
}

fn codec_strategy() -> impl Strategy<Value = Codec> {
    prop::sample::select(&CODECS)
}

fn to_other(offset: usize, rec: &Rec) -> other::Record {
    other::Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 7,
        producer_epoch: 3,
        timestamp_type: other::TimestampType::Creation,
        offset: offset as i64,
        sequence: 40 + offset as i32,
        timestamp: rec.timestamp,
        key: rec.key.clone().map(Bytes::from),
        value: rec.value.clone().map(Bytes::from),
        headers: rec
            .headers
            .iter()
            .map(|(name, value)| {
                let name = StrBytes::from_string(name.clone());
                (name, value.clone().map(Bytes::from))
            })
            .collect(),
    }
}

fn other_codec(codec: Codec) -> other::Compression {
    match codec {
        Codec::None => other::Compression::None,
        Codec::Gzip => other::Compression::Gzip,
        Codec::Snappy => other::Compression::Snappy,
        Codec::Lz4 => other::Compression::Lz4,
        Codec::Zstd => other::Compression::Zstd,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn round_trip(recs in recs_strategy(20), codec in codec_strategy()) {
        prop_assert_eq!(read_recs(&sealed(&recs, codec).bytes), recs);
    }

    #[test]
    fn another_implementation_reads_ours(recs in recs_strategy(20), codec in codec_strategy()) {
        let batch = writer(&recs).seal(SealOptions {
            producer_id: 7,
            producer_epoch: 3,
            base_sequence: 40,
            codec,
            level: None,
            transactional: true,
        }).expect("seals");
        let read = other::RecordBatchDecoder::decode(&mut batch.bytes.clone()).expect("decodes");
        let expected: Vec<_> =
            recs.iter().enumerate().map(|(offset, rec)| to_other(offset, rec)).collect();
        prop_assert_eq!(read.records, expected);
    }

    #[test]
    fn ours_reads_another_implementation(recs in recs_strategy(20), codec in codec_strategy()) {
        let records: Vec<_> =
            recs.iter().enumerate().map(|(offset, rec)| to_other(offset, rec)).collect();
        let mut buf = BytesMut::new();
        let options =
            other::RecordEncodeOptions { version: 2, compression: other_codec(codec) };
        other::RecordBatchEncoder::encode(&mut buf, &records, &options).expect("encodes");
        let bytes = buf.freeze();
        let batch = only_batch(&bytes);
        prop_assert_eq!(
            (batch.producer_id, batch.producer_epoch, batch.base_sequence),
            (7, 3, 40)
        );
        prop_assert!(batch.is_transactional());
        prop_assert_eq!(batch.codec().expect("known"), codec);
        prop_assert_eq!(read_recs(&bytes), recs);
    }

    #[test]
    fn size_bounds_hold(rec in rec_strategy(), before in 0usize..300) {
        let mut writer = BatchWriter::new(0);
        for _ in 0..before {
            writer.push(0, None, None, &[]);
        }
        let len = writer.len();
        push(&mut writer, &rec);
        let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = headers_size_bound(&rec.headers());
        prop_assert!(
            writer.len() - len <= record_size_bound(size(&rec.key), size(&rec.value), headers)
        );
    }

    #[test]
    fn rollback_leaves_no_trace(kept in recs_strategy(5), undone in recs_strategy(5)) {
        let mut writer = writer(&kept);
        let mark = writer.mark();
        undone.iter().for_each(|rec| push(&mut writer, rec));
        writer.rollback(mark);
        prop_assert_eq!(writer.record_count() as usize, kept.len());
        let batch = writer.seal(SealOptions::default()).expect("seals");
        prop_assert_eq!(batch.bytes, sealed(&kept, Codec::None).bytes);
    }

    #[test]
    fn split_gives_both_halves(
        recs in recs_strategy(20),
        codec in codec_strategy(),
        at: prop::sample::Index,
    ) {
        let at = at.index(recs.len() + 1);
        let (head, tail) = split(&sealed(&recs, codec), at as u32).expect("splits");
        for (half, expected) in [(head, &recs[..at]), (tail, &recs[at..])] {
            prop_assert_eq!(half.record_count() as usize, expected.len());
            if !expected.is_empty() {
                let batch = half.seal(SealOptions::default()).expect("seals");
                prop_assert_eq!(read_recs(&batch.bytes), expected);
            }
        }
    }

    #[test]
    fn cut_anywhere_ends_with_the_size_wanted(
        recs in recs_strategy(5),
        codec in codec_strategy(),
        cut: prop::sample::Index,
    ) {
        let whole = sealed(&recs, codec).bytes;
        let two = Bytes::from([&whole[..], &whole[..]].concat());
        let cut = cut.index(two.len());
        let mut all = batches(two.slice(..cut));
        let read: Result<Vec<_>, _> = all.by_ref().collect();
        prop_assert_eq!(read.expect("good").len(), cut / whole.len());
        let over = cut % whole.len();
        let wanted = match over {
            0 => None,
            1..=11 => Some(HEADER),
            _ => Some(whole.len()),
        };
        prop_assert_eq!(all.incomplete(), wanted);
        prop_assert_eq!(all.rest().len(), over);
    }

    #[test]
    fn a_flipped_byte_is_noticed_or_harmless(
        recs in recs_strategy(5),
        codec in codec_strategy(),
        at: prop::sample::Index,
        mask in 1u8..,
    ) {
        let mut bytes = sealed(&recs, codec).bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        let mut all = batches(bytes.into());
        match all.next() {
            // Base offset and leader epoch are the broker's to set: no checksum covers them.
            Some(Ok(_)) => prop_assert!(at < 8 || (12..16).contains(&at), "byte {}", at),
            Some(Err(_)) => prop_assert!(all.next().is_none()),
            None => prop_assert!((8..12).contains(&at) && all.incomplete().is_some()),
        }
    }

    #[test]
    fn damage_under_a_right_checksum_never_panics(
        recs in recs_strategy(5),
        codec in codec_strategy(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        limit in 0usize..2000,
    ) {
        let mut bytes = sealed(&recs, codec).bytes.to_vec();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fix_crc(&mut bytes);
        for batch in batches(bytes.into()).flatten() {
            if let Ok(records) = batch.records(limit) {
                prop_assert!(records.bytes.len() <= limit.max(batch.payload.len()));
                prop_assert!(records.record_count as usize <= records.bytes.len());
                if let Ok(all) = read_all(&records) {
                    prop_assert_eq!(all.len(), records.record_count as usize);
                }
            }
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = batches(bytes.clone().into()).count();
        let records = only_batch(&raw_batch(3, 9, &bytes)).records(LIMIT);
        let _ = records.and_then(|records| read_all(&records));
    }
}

#[test]
fn header_fields() {
    let recs = [
        Rec::new(1_000, "a", "x"),
        Rec::new(900, "b", "y"),
        Rec::new(1_200, "c", "z"),
    ];
    let batch = writer(&recs)
        .seal(SealOptions {
            producer_id: 1 << 40,
            producer_epoch: 12,
            base_sequence: 99,
            transactional: true,
            ..SealOptions::default()
        })
        .expect("seals");
    assert_eq!(batch.record_count, 3);
    assert_eq!(batch.uncompressed_len, batch.bytes.len());
    let read = only_batch(&batch.bytes);
    assert_eq!(read.base_offset, 0);
    assert_eq!(read.partition_leader_epoch, -1);
    assert_eq!(read.attributes, 0x10);
    assert_eq!((read.last_offset_delta, read.last_offset()), (2, 2));
    assert_eq!((read.base_timestamp, read.max_timestamp), (1_000, 1_200));
    assert_eq!(
        (read.producer_id, read.producer_epoch, read.base_sequence),
        (1 << 40, 12, 99)
    );
    assert_eq!(read.record_count, 3);
    assert!(!read.is_control());
    assert_eq!(read.timestamp_type(), TimestampType::Create);
}

#[test]
fn an_uncompressed_batch_is_never_copied() {
    let mut writer = BatchWriter::new(4096);
    writer.push(1, Some(b"key"), Some(b"value"), &[]);
    let len = writer.len();
    let batch = writer.seal(SealOptions::default()).expect("seals");
    assert_eq!(batch.bytes.len(), len);
    let records = only_batch(&batch.bytes)
        .records(0)
        .expect("no limit needed");
    assert_eq!(records.bytes.as_ptr(), batch.bytes[HEADER..].as_ptr());
}

#[test]
fn compressed_only_when_that_is_smaller() {
    for codec in CODECS {
        let tiny = sealed(&[Rec::new(0, "", "v")], codec);
        assert_eq!(only_batch(&tiny.bytes).codec().expect("known"), Codec::None);
        let wordy = sealed(&[Rec::new(0, "k", &"word ".repeat(100))], codec);
        assert_eq!(only_batch(&wordy.bytes).codec().expect("known"), codec);
        assert!(codec == Codec::None || wordy.bytes.len() < wordy.uncompressed_len);
    }
}

#[test]
fn an_empty_batch_is_not_sealed() {
    assert!(matches!(
        BatchWriter::new(0).seal(SealOptions::default()),
        Err(SealError::Empty)
    ));
    let mut writer = BatchWriter::new(0);
    let mark = writer.mark();
    writer.push(5, None, None, &[]);
    writer.rollback(mark);
    assert!(writer.is_empty());
    writer.push(9, None, None, &[]);
    let batch = writer.seal(SealOptions::default()).expect("seals");
    assert_eq!(only_batch(&batch.bytes).base_timestamp, 9);
}

#[test]
fn timestamps_at_the_edges_survive() {
    let recs = [
        Rec::new(i64::MAX, "", ""),
        Rec::new(-1, "", ""),
        Rec::new(i64::MIN, "", ""),
    ];
    assert_eq!(read_recs(&sealed(&recs, Codec::None).bytes), recs);
}

#[test]
fn reseal_changes_the_identity_and_spares_other_holders() {
    let recs = [Rec::new(1, "k", "v")];
    let mut batch = sealed(&recs, Codec::None);
    let in_flight = batch.bytes.clone();
    batch.reseal(5, 6, 7);
    let old = only_batch(&in_flight);
    assert_eq!(
        (old.producer_id, old.producer_epoch, old.base_sequence),
        (-1, -1, -1)
    );

    let before = batch.bytes.as_ptr();
    batch.reseal(8, 9, 10);
    assert_eq!(batch.bytes.as_ptr(), before, "nobody else holds it");
    let new = only_batch(&batch.bytes);
    assert_eq!(
        (new.producer_id, new.producer_epoch, new.base_sequence),
        (8, 9, 10)
    );
    assert_eq!(read_recs(&batch.bytes), recs);
}

#[test]
fn split_beyond_the_end_is_refused() {
    let batch = sealed(&[Rec::new(1, "k", "v")], Codec::None);
    assert!(matches!(
        split(&batch, 2),
        Err(SplitError::OutOfRange { at: 2, count: 1 })
    ));
}

#[test]
fn log_append_time_replaces_the_records_own() {
    let bytes = tampered(
        &sealed(&[Rec::new(5, "k", "v")], Codec::None).bytes,
        |bytes| {
            bytes[22] |= 0x08;
            bytes[35..43].copy_from_slice(&777i64.to_be_bytes());
        },
    );
    assert_eq!(only_batch(&bytes).timestamp_type(), TimestampType::Append);
    assert_eq!(read_recs(&bytes)[0].timestamp, 777);
}

#[test]
fn control_batches() {
    for (kind, expected) in [
        (0, ControlType::Abort),
        (1, ControlType::Commit),
        (3, ControlType::Other(3)),
    ] {
        let mut writer = BatchWriter::new(0);
        writer.push(0, Some(&[0, 0, 0, kind]), Some(&[0; 6]), &[]);
        let batch = writer.seal(SealOptions::default()).expect("seals");
        let bytes = tampered(&batch.bytes, |bytes| bytes[22] |= 0x20);
        let batch = only_batch(&bytes);
        assert!(batch.is_control());
        let records = batch.records(LIMIT).expect("reads");
        let record = records.iter().next().expect("one").expect("good");
        assert_eq!(records.control_type(&record).expect("known"), expected);
    }
    let records = only_batch(&sealed(&[Rec::new(0, "k", "")], Codec::None).bytes)
        .records(LIMIT)
        .expect("reads");
    let record = records.iter().next().expect("one").expect("good");
    assert!(matches!(
        records.control_type(&record),
        Err(BatchError::MalformedControlRecord { offset: 0 })
    ));
}

#[test]
fn holes_are_fine_but_order_and_range_are_not() {
    // Length 6: attributes, timestamp delta, offset delta, null key, null value, no headers.
    let at = |delta: u8| [12, 0, 0, delta << 1, 1, 1, 0];
    let section = [at(1), at(4)].concat();
    let records = only_batch(&raw_batch(2, 9, &section))
        .records(LIMIT)
        .expect("fits");
    let offsets: Vec<_> = records
        .iter()
        .map(|record| record.expect("good").offset)
        .collect();
    assert_eq!(offsets, [1, 4]);

    for (deltas, last) in [([1, 1], 9), ([4, 1], 9), ([1, 4], 3)] {
        let section = deltas.map(at).concat();
        assert!(
            matches!(
                read_error(&raw_batch(2, last, &section)),
                BatchError::InvalidOffsetDelta { index: 1, .. }
            ),
            "{deltas:?}"
        );
    }
    assert!(matches!(
        read_error(&raw_batch(1, 9, &[12, 0, 0, 1, 1, 1, 0])),
        BatchError::InvalidOffsetDelta { delta: -1, .. }
    ));
}

#[test]
fn an_emptied_batch_has_no_records() {
    let empty = tampered(&raw_batch(0, 9, &[]), |bytes| bytes[22] |= 1);
    assert_eq!(only_batch(&empty).last_offset(), 9);
    assert_eq!(read_recs(&empty), []);
}

#[test]
fn a_count_that_lies_is_refused() {
    let plain = sealed(
        &[Rec::new(0, "key", "value"), Rec::new(0, "key", "value")],
        Codec::None,
    );
    for (count, found) in [
        (1i32, Found::More),
        (3, Found::Fewer),
        (i32::MAX, Found::Fewer),
    ] {
        let bytes = tampered(&plain.bytes, |bytes| {
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
        });
        match read_error(&bytes) {
            BatchError::CountMismatch {
                declared,
                found: is,
                ..
            } => assert_eq!((declared, is), (count as u32, found)),
            error => panic!("{error}"),
        }
    }
}

#[test]
fn malformed_records_are_refused() {
    let cases: [&[u8]; 10] = [
        &[0; 7],                       // an empty record
        &[1, 0, 0, 0, 1, 1, 0],        // a negative length
        &[40, 0, 0, 0, 1, 1, 0],       // longer than the batch
        &[12, 0, 0, 0, 3, 1, 0],       // key length -2
        &[12, 0, 0, 0, 40, 1, 0],      // key beyond the record
        &[12, 0, 0, 0, 1, 40, 0],      // value beyond the record
        &[12, 0, 0, 0, 1, 1, 1],       // header count -1
        &[12, 0, 0, 0, 1, 1, 2],       // a header that is not there
        &[14, 0, 0, 0, 1, 1, 0, 0],    // bytes left over
        &[16, 0, 0, 0, 1, 1, 2, 1, 1], // a header without a name
    ];
    for section in cases {
        let error = read_error(&raw_batch(1, 0, section));
        assert!(
            matches!(error, BatchError::MalformedRecord { index: 0, .. }),
            "{section:?}: {error}"
        );
    }
}

#[test]
fn bad_headers_are_refused() {
    let good = sealed(&[Rec::new(0, "k", "v")], Codec::None).bytes;
    let first = |bytes: Bytes| {
        batches(bytes)
            .next()
            .expect("an item")
            .expect_err("refused")
    };

    let mut old = good.to_vec();
    old[16] = 1;
    assert!(matches!(
        first(old.into()),
        BatchError::UnsupportedMagic { magic: 1, .. }
    ));
    for length in [-1i32, 0, 48, i32::MIN] {
        let mut bytes = good.to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert!(matches!(
            first(bytes.into()),
            BatchError::InvalidLength { .. }
        ));
    }
    for at in [23, 57] {
        let bytes = tampered(&good, |bytes| {
            bytes[at..at + 4].copy_from_slice(&(-5i32).to_be_bytes());
        });
        assert!(matches!(
            first(bytes),
            BatchError::InvalidField { value: -5, .. }
        ));
    }
    for offset in [-1i64, i64::MAX] {
        let two = sealed(&[Rec::new(0, "", ""), Rec::new(0, "", "")], Codec::None);
        let mut bytes = two.bytes.to_vec();
        bytes[..8].copy_from_slice(&offset.to_be_bytes());
        assert!(matches!(
            first(bytes.into()),
            BatchError::InvalidField { .. }
        ));
    }
    let unknown = tampered(&good, |bytes| bytes[22] |= 5);
    assert!(matches!(
        read_error(&unknown),
        BatchError::UnknownCodec { number: 5, .. }
    ));
}

#[test]
fn the_limit_of_decompression_holds() {
    let recs = [Rec::new(0, "k", &"a".repeat(10_000))];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let batch = only_batch(&sealed(&recs, codec).bytes);
        assert!(batch.records(20_000).is_ok());
        assert!(matches!(
            batch.records(9_000),
            Err(BatchError::Codec { .. })
        ));
    }
}

#[test]
fn bare_snappy_is_read() {
    let recs = [Rec::new(3, "k", &"words ".repeat(50))];
    let plain = sealed(&recs, Codec::None);
    let bare = snap::raw::Encoder::new()
        .compress_vec(&plain.bytes[HEADER..])
        .expect("compresses");
    let bytes = tampered(&raw_batch(1, 0, &bare), |bytes| {
        bytes[22] |= 2;
        bytes[27..43].copy_from_slice(&plain.bytes[27..43]);
    });
    assert_eq!(read_recs(&bytes), recs);
}
