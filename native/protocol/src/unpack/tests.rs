use super::super::batch_reader::batches;
use super::super::batch_writer::{BatchWriter, SealOptions};
use super::super::error::ErrorCode;
use super::*;

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn batch(codec: Codec, writer: BatchWriter) -> Batch {
    let options = SealOptions {
        codec,
        ..SealOptions::default()
    };
    let bytes = writer.seal(options).expect("seals").to_bytes();
    batches(bytes).next().expect("a batch").expect("a good one")
}

/// `count` values of `size` bytes.
fn values(codec: Codec, count: usize, size: usize) -> Batch {
    let mut writer = BatchWriter::new(0);
    for number in 0..count {
        let mut value = vec![b'x'; size];
        value[..8].copy_from_slice(&(number as u64).to_be_bytes());
        writer.push(1, None, Some(&value), &[]);
    }
    batch(codec, writer)
}

/// The numbers of the values in each part, and the most that was held between parts.
fn parts(batch: &Batch, share: Share) -> (Vec<Vec<u64>>, usize) {
    let mut unpacking = batch.unpack(usize::MAX).expect("starts");
    let (mut parts, mut held) = (Vec::new(), 0);
    while let Some(part) = unpacking.next(share).expect("unpacks") {
        let numbers = part.iter().map(|record| {
            let value = part.slice(record.expect("reads").value.expect("a value"));
            u64::from_be_bytes(*value.first_chunk().expect("a number"))
        });
        parts.push(numbers.collect());
        held = held.max(unpacking.held());
    }
    (parts, held)
}

#[test]
fn all_records_come_once_and_in_order_whatever_the_parts() {
    for codec in CODECS {
        for (count, size) in [(3, 100), (300, 20_000), (5, 1_500_000)] {
            let batch = values(codec, count, size);
            for limit in [1, 70_000, usize::MAX] {
                for share in [Share::of_memory(limit), Share::of_bytes(limit)] {
                    let (parts, _) = parts(&batch, share);
                    let all: Vec<u64> = parts.concat();
                    let expected: Vec<u64> = (0..count as u64).collect();
                    assert_eq!(all, expected, "{codec:?} {count} {size} {share:?}");
                    let most = parts.iter().map(Vec::len).max().unwrap_or_default();
                    assert!(most <= (limit / size + 1), "{codec:?} {most}");
                }
            }
        }
    }
}

#[test]
fn a_batch_that_unpacks_to_much_is_not_held_unpacked() {
    // 30 MB in all; zstd remembers a window of two.
    for codec in CODECS {
        let batch = values(codec, 300, 100_000);
        let (parts, held) = parts(&batch, Share::of_bytes(1_000_000));
        assert_eq!(parts.len(), 30, "{codec:?}");
        let bound = batch.payload.len() + 6 * 1024 * 1024;
        assert!(held < bound, "{codec:?}: {held}");
    }
}

#[test]
fn the_limit_counts_all_parts_together() {
    for codec in CODECS {
        let batch = values(codec, 100, 100_000);
        let mut unpacking = batch.unpack(5_000_000).expect("starts");
        let mut seen = 0;
        let error = loop {
            match unpacking.next(Share::of_memory(1_000_000)) {
                Ok(Some(part)) => seen += part.record_count(),
                Ok(None) => panic!("{codec:?}: all of it came"),
                Err(error) => break error,
            }
        };
        assert!((30..=50).contains(&seen), "{codec:?}: {seen}");
        assert_eq!(error.code(), ErrorCode::MESSAGE_TOO_LARGE);
        assert!(matches!(unpacking.next(Share::ALL), Ok(None)));
    }
}

#[test]
fn a_record_of_many_headers_costs_no_more_than_the_limit() {
    let mut writer = BatchWriter::new(0);
    writer.push(1, None, Some(b"small"), &[]);
    let headers: Vec<_> = (0..100_000).map(|_| (&b""[..], None)).collect();
    writer.push(1, None, None, &headers);
    let batch = batch(Codec::Gzip, writer);
    assert!(batch.payload.len() < 1000);
    let limit = 10_000_000;
    let whole = batch.records(limit).expect("unpacks");
    assert!(whole.bytes().len() < limit / 40);
    for records in [
        whole,
        batch
            .unpack(limit)
            .unwrap()
            .next(Share::ALL)
            .unwrap()
            .unwrap(),
    ] {
        let mut records = records.iter();
        assert!(records.next().expect("a record").is_ok());
        let error = records.next().expect("an error").unwrap_err();
        assert_eq!(error.code(), ErrorCode::MESSAGE_TOO_LARGE);
        let text = error.to_string();
        assert!(text.contains("more than the limit of 10000000"), "{text}");
        assert!(records.next().is_none());
    }
    let more = batch.records(2 * limit).expect("unpacks");
    let read = more.iter().map(|record| record.map(|r| r.headers.len()));
    assert_eq!(read.collect::<Result<Vec<_>, _>>().unwrap(), [0, 100_000]);
}

#[test]
fn what_headers_take_counts_towards_a_part() {
    let mut writer = BatchWriter::new(0);
    let headers: Vec<_> = (0..1000).map(|_| (&b""[..], None)).collect();
    for _ in 0..10 {
        writer.push(1, None, None, &headers);
    }
    let batch = batch(Codec::None, writer);
    let first_part = |share| {
        let mut unpacking = batch.unpack(usize::MAX).unwrap();
        unpacking.next(share).unwrap().unwrap().record_count()
    };
    assert_eq!(first_part(Share::of_memory(250_000)), 2, "130 KB each");
    let bytes = batch.payload.len();
    let share = |memory| Share { bytes, memory };
    assert_eq!(first_part(share(250_000)), 2, "however few bytes they have");
    assert_eq!(first_part(share(2_000_000)), 10);
    assert_eq!(first_part(Share::of_bytes(5000)), 3, "2 KB each");
}
