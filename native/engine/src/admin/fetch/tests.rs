use super::*;
use brod_protocol::batch_writer::{BatchWriter, SealOptions};
use brod_protocol::compress::{Codec, CodecError};
use brod_protocol::isolation::Aborted;
use brod_protocol::{decode_request, encode};

fn options(isolation: Isolation) -> FetchOptions {
    FetchOptions {
        max_wait: Duration::from_millis(1000),
        min_bytes: 1,
        max_bytes: 100,
        isolation,
        max_batch_bytes: 256 * 1024 * 1024,
        max_memory: 64 * 1024 * 1024,
    }
}

fn interpret(answer: fetch::Partition, offset: i64, isolation: Isolation) -> Result<Step, Error> {
    super::interpret(answer, offset, options(isolation))
}

/// A batch of `count` records at `base_offset`, in a transaction if `producer` is not -1.
fn batch(base_offset: i64, count: usize, producer: i64) -> Vec<u8> {
    let mut writer = BatchWriter::new(256);
    for n in 0..count {
        let value = (base_offset + n as i64).to_string();
        writer.push(1, None, Some(value.as_bytes()), &[]);
    }
    let options = SealOptions {
        producer_id: producer,
        transactional: producer >= 0,
        ..SealOptions::default()
    };
    let mut bytes = writer.seal(options).unwrap().to_bytes().to_vec();
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes
}

fn data(records: Vec<u8>, end: i64) -> fetch::Partition {
    fetch::Partition {
        high_watermark: end,
        last_stable_offset: end,
        records: records.into(),
        ..fetch::Partition::default()
    }
}

fn offsets(step: Step) -> (i64, Vec<i64>) {
    let Step::Done(fetched) = step else {
        panic!("nothing found: {step:?}")
    };
    let records = fetched.batches.iter().flat_map(DecodedBatch::iter);
    let offsets = records.map(|record| record.unwrap().offset).collect();
    (fetched.stable_offset, offsets)
}

/// The end of the partition, and where to go on.
fn nothing(step: Step) -> (i64, i64) {
    match step {
        Step::Done(fetched) if fetched.batches.is_empty() => (fetched.stable_offset, fetched.next),
        other => panic!("{other:?}"),
    }
}

fn again(step: Step) -> i64 {
    match step {
        Step::Again(offset) => offset,
        Step::Done(fetched) => panic!("{fetched:?}"),
    }
}

#[test]
fn messages_before_the_offset_asked_for_are_not_shown() {
    let records = [batch(0, 3, -1), batch(3, 3, -1), batch(6, 2, -1)].concat();
    let step = interpret(data(records, 8), 4, Isolation::ReadCommitted).unwrap();
    assert_eq!(offsets(step), (8, vec![4, 5, 6, 7]));
}

#[test]
fn the_end_of_the_partition_depends_on_what_is_read() {
    let data = || fetch::Partition {
        high_watermark: 5,
        ..data(batch(0, 2, -1), 2)
    };
    let committed = interpret(data(), 0, Isolation::ReadCommitted).unwrap();
    assert_eq!(offsets(committed).0, 2);
    let all = interpret(data(), 0, Isolation::ReadUncommitted).unwrap();
    assert_eq!(offsets(all).0, 5);
    let without_transactions = fetch::Partition {
        last_stable_offset: -1,
        ..data()
    };
    let all = interpret(without_transactions, 0, Isolation::ReadCommitted).unwrap();
    assert_eq!(offsets(all).0, 5);
}

#[test]
fn where_all_is_hidden_the_search_goes_on_behind_it() {
    let hidden = || data(batch(0, 3, 7), 10);
    let aborted = || fetch::Partition {
        aborted: Aborted::new(vec![(0, 7)]),
        ..hidden()
    };
    let step = interpret(aborted(), 0, Isolation::ReadCommitted).unwrap();
    assert_eq!(again(step), 3);
    let step = interpret(hidden(), 0, Isolation::ReadUncommitted).unwrap();
    assert_eq!(offsets(step).1, vec![0, 1, 2]);
    // At the end there is nothing to go on to.
    let at_end = fetch::Partition {
        last_stable_offset: 3,
        ..aborted()
    };
    let step = interpret(at_end, 0, Isolation::ReadCommitted).unwrap();
    assert_eq!(nothing(step), (3, 3));
}

#[test]
fn a_batch_that_lost_the_records_asked_for_is_passed_over() {
    // Two records, but the batch stands for offsets 0 to 4.
    let mut records = batch(0, 2, -1);
    records[23..27].copy_from_slice(&4i32.to_be_bytes());
    let sum = crc32c::crc32c(&records[21..]);
    records[17..21].copy_from_slice(&sum.to_be_bytes());
    let step = interpret(data(records, 9), 2, Isolation::ReadCommitted).unwrap();
    assert_eq!(again(step), 5);
}

#[test]
fn a_batch_that_is_cut_off_is_damage_only_if_it_is_the_first() {
    let whole = batch(0, 20, -1);
    let cut = data(whole[..100].to_vec(), 20);
    let result = interpret(cut, 0, Isolation::ReadCommitted);
    assert!(matches!(result, Err(Error::CorruptBatch(_))), "{result:?}");
    // A length that lies looks the same.
    let mut lying = batch(0, 20, -1);
    lying[8..12].copy_from_slice(&2_000_000_000_i32.to_be_bytes());
    let result = interpret(data(lying, 20), 0, Isolation::ReadCommitted);
    assert!(matches!(result, Err(Error::CorruptBatch(_))), "{result:?}");
    // Behind a whole message it is left for the next fetch.
    let records = [batch(0, 2, -1), whole[..100].to_vec()].concat();
    let step = interpret(data(records, 20), 0, Isolation::ReadCommitted).unwrap();
    assert_eq!(offsets(step).1, vec![0, 1]);
}

#[test]
fn a_first_batch_that_is_larger_than_what_was_asked_for_is_asked_for_whole() {
    let options = options(Isolation::ReadCommitted);
    let whole = batch(0, 40, -1);
    let size = whole.len();
    let more = |bytes: &[u8], options| enough_for_first(Bytes::copy_from_slice(bytes), options);
    assert!(size > 2 * 100);
    assert_eq!(more(&whole[..100], options), Some(size as i32));
    assert_eq!(more(&whole, options), None);
    assert_eq!(more(&[], options), None);
    let asked = FetchOptions {
        max_bytes: size as i32 - 1,
        ..options
    };
    assert_eq!(more(&whole[..100], asked), Some(2 * (size as i32 - 1)));
    // It would have come whole: it is damaged, or the broker is.
    let asked = FetchOptions {
        max_bytes: size as i32,
        ..options
    };
    assert_eq!(more(&whole[..100], asked), None);
    let small = FetchOptions {
        max_batch_bytes: size - 1,
        ..options
    };
    assert_eq!(more(&whole[..100], small), None, "more than is allowed");
}

#[test]
fn nothing_at_the_end_is_an_empty_answer() {
    let step = interpret(data(vec![], 8), 8, Isolation::ReadCommitted).unwrap();
    assert_eq!(nothing(step), (8, 8));
    // A broker that has nothing ready: what it has not sent is not passed over.
    let step = interpret(data(vec![], 8), 6, Isolation::ReadCommitted).unwrap();
    assert_eq!(nothing(step), (8, 6));
}

#[test]
fn damage_is_an_error() {
    let mut records = batch(0, 2, -1);
    *records.last_mut().unwrap() ^= 1;
    let result = interpret(data(records, 2), 0, Isolation::ReadCommitted);
    assert!(matches!(result, Err(Error::CorruptBatch(_))), "{result:?}");
}

#[test]
fn damage_in_a_later_batch_does_not_hide_the_messages_before_it() {
    let mut records = [batch(0, 2, -1), batch(2, 2, -1), batch(4, 2, -1)].concat();
    let middle = records.len() / 2;
    records[middle] ^= 1;
    let step = interpret(data(records.clone(), 6), 0, Isolation::ReadCommitted).unwrap();
    assert_eq!(offsets(step).1, vec![0, 1]);
    let result = interpret(data(records, 6), 2, Isolation::ReadCommitted);
    assert!(matches!(result, Err(Error::CorruptBatch(_))), "{result:?}");
}

/// So many messages of a MB of zeros in one batch, which is small.
fn zeros(count: usize) -> Vec<u8> {
    let mut writer = BatchWriter::new(0);
    for _ in 0..count {
        writer.push(1, None, Some(&[0; 1_000_000]), &[]);
    }
    let options = SealOptions {
        codec: Codec::Zstd,
        ..SealOptions::default()
    };
    let records = writer.seal(options).unwrap().to_bytes().to_vec();
    assert!(records.len() < 100_000, "{}", records.len());
    records
}

#[test]
fn a_small_answer_of_very_many_messages_comes_in_parts() {
    let records = zeros(200);
    let mut offset = 0;
    while offset < 200 {
        let part = data(records.clone(), 200);
        let step = interpret(part, offset, Isolation::ReadCommitted).unwrap();
        let (_, part) = offsets(step);
        assert!(part.len() < 70, "{} MB", part.len());
        assert_eq!(part[0], offset);
        offset += part.len() as i64;
    }
    assert_eq!(offset, 200);
}

#[test]
fn the_caller_says_what_messages_may_take() {
    let fetched = |max_batch_bytes, max_memory| {
        let options = FetchOptions {
            max_batch_bytes,
            max_memory,
            ..options(Isolation::ReadCommitted)
        };
        super::interpret(data(zeros(20), 20), 0, options)
    };
    let (_, few) = offsets(fetched(100_000_000, 3_000_000).unwrap());
    assert_eq!(few, [0, 1, 2]);
    let error = fetched(10_000_000, 30_000_000).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MESSAGE_TOO_LARGE));
}

#[test]
fn what_this_client_cannot_read_is_another_error_than_damage() {
    let code = |number: u8| {
        let mut records = batch(0, 2, -1);
        records[22] |= number;
        let sum = crc32c::crc32c(&records[21..]);
        records[17..21].copy_from_slice(&sum.to_be_bytes());
        let result = interpret(data(records, 2), 0, Isolation::ReadCommitted);
        result.unwrap_err().code()
    };
    assert_eq!(code(7), Some(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE));
    assert_eq!(code(1), None, "not what gzip writes: damage");
    let source = CodecError::LimitExceeded { limit: 1 };
    let over_limit = unreadable(BatchError::Codec {
        base_offset: 0,
        source,
    });
    assert_eq!(over_limit.code(), Some(ErrorCode::MESSAGE_TOO_LARGE));
}

#[test]
fn the_request_can_be_written_in_every_version_used() {
    let options = options(Isolation::ReadCommitted);
    for version in 4..=12 {
        let bytes = encode(&request("t", 1, 0, options), version).unwrap();
        let read = decode_request::<FetchRequest>(bytes, version).unwrap();
        assert_eq!(read.isolation_level, 1);
        assert_eq!(read.topics[0].partitions[0].partition_max_bytes, 100);
    }
}
