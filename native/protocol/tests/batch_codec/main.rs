//! Record batches: written and read back, against another implementation, and damaged.

mod damage;
mod interop;
mod lent;
mod support;

use brod_protocol::batch_reader::{BatchError, ControlType, TimestampType};
use brod_protocol::batch_writer::{BatchWriter, SealError, SealOptions};
use brod_protocol::compress::Codec;
use brod_protocol::sealed_batch::{split, split_by_size, SplitError};
use proptest::prelude::*;
use support::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn round_trip(recs in recs_strategy(20), codec in codec_strategy()) {
        prop_assert_eq!(read_recs(&sealed(&recs, codec).to_bytes()), recs);
    }

    #[test]
    fn parts_are_the_whole(recs in recs_strategy(20), bytes in 0usize..1000) {
        let records = only_batch(&sealed(&recs, Codec::None).to_bytes()).records(LIMIT).expect("reads");
        let whole = read_while_good(&records);
        prop_assert_eq!(whole.0.len(), recs.len());
        prop_assert_eq!(read_in_parts(records, bytes), whole);
    }

    #[test]
    fn rollback_leaves_no_trace(kept in recs_strategy(5), undone in recs_strategy(5)) {
        let mut writer = writer(&kept);
        let mark = writer.mark();
        undone.iter().for_each(|rec| push(&mut writer, rec));
        writer.rollback(mark);
        prop_assert_eq!(writer.record_count() as usize, kept.len());
        let batch = writer.seal(SealOptions::default()).expect("seals");
        prop_assert_eq!(batch.to_bytes(), sealed(&kept, Codec::None).to_bytes());
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
                prop_assert_eq!(read_recs(&batch.to_bytes()), expected);
            }
        }
    }

    #[test]
    fn parts_are_as_large_as_they_may_be(
        recs in recs_strategy(20),
        codec in codec_strategy(),
        limit in 0usize..200,
    ) {
        let parts = split_by_size(&sealed(&recs, codec), limit).expect("splits");
        let sizes: Vec<usize> = parts.iter().map(BatchWriter::payload).collect();
        let counts: Vec<u32> = parts.iter().map(BatchWriter::record_count).collect();
        let mut all = Vec::new();
        for part in parts {
            all.extend(read_recs(&part.seal(SealOptions::default()).expect("seals").to_bytes()));
        }
        prop_assert_eq!(&all, &recs);
        let mut from = 0;
        for (index, (size, count)) in sizes.iter().zip(counts).enumerate() {
            prop_assert!(*size <= limit || count == 1);
            from += count as usize;
            if let Some(next) = recs.get(from) {
                let one = split_by_size(&sealed(std::slice::from_ref(next), codec), 0).expect("splits");
                prop_assert!(size + one[0].payload() > limit, "part {} had room", index);
            }
        }
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
    assert_eq!(batch.uncompressed_len, batch.to_bytes().len());
    let read = only_batch(&batch.to_bytes());
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
    assert_eq!(batch.to_bytes().len(), len);
    let records = only_batch(&batch.to_bytes())
        .records(0)
        .expect("no limit needed");
    assert_eq!(
        records.bytes().as_ptr(),
        batch.to_bytes()[HEADER..].as_ptr()
    );
}

#[test]
fn compressed_only_when_that_is_smaller() {
    for codec in CODECS {
        let tiny = sealed(&[Rec::new(0, "", "v")], codec);
        assert_eq!(
            only_batch(&tiny.to_bytes()).codec().expect("known"),
            Codec::None
        );
        let wordy = sealed(&[Rec::new(0, "k", &"word ".repeat(100))], codec);
        assert_eq!(only_batch(&wordy.to_bytes()).codec().expect("known"), codec);
        assert!(codec == Codec::None || wordy.to_bytes().len() < wordy.uncompressed_len);
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
    assert_eq!(only_batch(&batch.to_bytes()).base_timestamp, 9);
}

#[test]
fn timestamps_at_the_edges_survive() {
    let recs = [
        Rec::new(i64::MAX, "", ""),
        Rec::new(-1, "", ""),
        Rec::new(i64::MIN, "", ""),
    ];
    assert_eq!(read_recs(&sealed(&recs, Codec::None).to_bytes()), recs);
}

#[test]
fn reseal_changes_the_identity_and_spares_other_holders() {
    let recs = [Rec::new(1, "k", "v")];
    let mut batch = sealed(&recs, Codec::None);
    let in_flight = batch.to_bytes().clone();
    batch.reseal(5, 6, 7);
    let old = only_batch(&in_flight);
    assert_eq!(
        (old.producer_id, old.producer_epoch, old.base_sequence),
        (-1, -1, -1)
    );

    let before = batch.to_bytes().as_ptr();
    batch.reseal(8, 9, 10);
    assert_eq!(batch.to_bytes().as_ptr(), before, "nobody else holds it");
    let new = only_batch(&batch.to_bytes());
    assert_eq!(
        (new.producer_id, new.producer_epoch, new.base_sequence),
        (8, 9, 10)
    );
    assert_eq!(read_recs(&batch.to_bytes()), recs);
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
        &sealed(&[Rec::new(5, "k", "v")], Codec::None).to_bytes(),
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
        let bytes = tampered(&batch.to_bytes(), |bytes| bytes[22] |= 0x20);
        let batch = only_batch(&bytes);
        assert!(batch.is_control());
        let records = batch.records(LIMIT).expect("reads");
        let record = records.iter().next().expect("one").expect("good");
        assert_eq!(records.control_type(&record).expect("known"), expected);
    }
    let records = only_batch(&sealed(&[Rec::new(0, "k", "")], Codec::None).to_bytes())
        .records(LIMIT)
        .expect("reads");
    let record = records.iter().next().expect("one").expect("good");
    assert!(matches!(
        records.control_type(&record),
        Err(BatchError::MalformedControlRecord { offset: 0 })
    ));
}

#[test]
fn an_emptied_batch_has_no_records() {
    let empty = tampered(&raw_batch(0, 9, &[]), |bytes| bytes[22] |= 1);
    assert_eq!(only_batch(&empty).last_offset(), 9);
    assert_eq!(read_recs(&empty), []);
}

#[test]
fn bare_snappy_is_read() {
    let recs = [Rec::new(3, "k", &"words ".repeat(50))];
    let plain = sealed(&recs, Codec::None);
    let bare = snap::raw::Encoder::new()
        .compress_vec(&plain.to_bytes()[HEADER..])
        .expect("compresses");
    let bytes = tampered(&raw_batch(1, 0, &bare), |bytes| {
        bytes[22] |= 2;
        bytes[27..43].copy_from_slice(&plain.to_bytes()[27..43]);
    });
    assert_eq!(read_recs(&bytes), recs);
}
