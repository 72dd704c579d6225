use super::*;
use crate::api::{fetch, list_offsets, produce};
use crate::batch_reader::{batches, TimestampType};
use crate::batch_writer::{BatchWriter, SealOptions};
use crate::compress::Codec;
use crate::isolation::Isolation;
use crate::records::{Records, Share};
use crate::ApiVersions;
use proptest::prelude::*;

const LIMIT: usize = 64 * 1024 * 1024;

type Kv = (Option<Vec<u8>>, Option<Vec<u8>>);

fn batch(records: &[(i64, Kv)], codec: Codec) -> Bytes {
    let mut writer = BatchWriter::new(1024);
    for (ts, (key, value)) in records {
        writer.push(*ts, key.as_deref(), value.as_deref(), &[]);
    }
    let options = SealOptions {
        codec,
        ..SealOptions::default()
    };
    writer.seal(options).unwrap().to_bytes()
}

/// Offsets, times, keys and values of all batches in the bytes.
fn read(bytes: Bytes) -> Vec<(i64, i64, Kv)> {
    let mut all = Vec::new();
    for batch in batches(bytes) {
        let mut unpacking = batch.unwrap().unpack(LIMIT).unwrap();
        while let Some(records) = unpacking.next(Share::ALL).unwrap() {
            all.extend(contents(&records));
        }
    }
    all
}

fn contents(records: &Records) -> Vec<(i64, i64, Kv)> {
    let text = |span: Option<_>| span.map(|span| records.slice(span).to_vec());
    let each = records.iter().map(|record| {
        let record = record.unwrap();
        (
            record.offset,
            record.timestamp,
            (text(record.key), text(record.value)),
        )
    });
    each.collect()
}

fn some(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

/// What does not shrink is not compressed.
fn long() -> Option<Vec<u8>> {
    Some(vec![7; 500])
}

#[test]
fn messages_survive_the_way_to_an_old_format_and_back() {
    let records = [
        (1000, (some("k"), long())),
        (1001, (None, some("w"))),
        (1001, (some(""), None)),
    ];
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        for magic in [0, 1] {
            let set = message_set::from_batch(batch(&records, codec), magic).unwrap();
            let time = |ts| if magic == 0 { -1 } else { ts };
            let expected: Vec<_> = (0..)
                .zip(&records)
                .map(|(offset, (ts, kv))| (offset, time(*ts), kv.clone()))
                .collect();
            assert_eq!(read(set), expected, "{codec:?}, magic {magic}");
        }
    }
}

proptest! {
    #[test]
    fn all_messages_survive(
        records in prop::collection::vec(
            (0..i64::MAX / 2, any::<(Option<Vec<u8>>, Option<Vec<u8>>)>()), 1..20),
        codec in prop::sample::select(vec![Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4]),
        magic in 0..=1_i8,
    ) {
        let set = message_set::from_batch(batch(&records, codec), magic).unwrap();
        let time = |ts| if magic == 0 { -1 } else { ts };
        let expected: Vec<_> = (0..)
            .zip(records)
            .map(|(offset, (ts, kv))| (offset, time(ts), kv))
            .collect();
        prop_assert_eq!(read(set), expected);
    }

    #[test]
    fn damaged_sets_are_errors_and_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        codec in prop::sample::select(vec![Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4]),
    ) {
        let records = [(7, (some("key"), long())), (8, (None, some("other")))];
        let set = message_set::from_batch(batch(&records, codec), 1).unwrap();
        let mut set = set.to_vec();
        for (at, with) in flips {
            let at = at.index(set.len());
            set[at] ^= with;
        }
        set.truncate(cut.index(set.len() + 1));
        for batch in batches(set.into()).flatten() {
            if let Ok(records) = batch.records(LIMIT) {
                let _ = records.iter().count();
            }
        }
    }
}

#[test]
fn offsets_in_a_wrapper_of_magic_1_count_from_its_first_message() {
    let records = [(1, (None, long())), (2, (None, long()))];
    let mut set = message_set::from_batch(batch(&records, Codec::Gzip), 1)
        .unwrap()
        .to_vec();
    // As the broker that stored it wrote: the last message's offset. The checksum does not count it.
    set[..8].copy_from_slice(&41_i64.to_be_bytes());
    let offsets: Vec<_> = read(set.into()).iter().map(|record| record.0).collect();
    assert_eq!(offsets, [40, 41]);
}

#[test]
fn the_brokers_time_stands_for_that_of_each_message() {
    let records = [(1, (None, long())), (2, (None, long()))];
    for codec in [Codec::None, Codec::Gzip] {
        let mut set = message_set::from_batch(batch(&records, codec), 1)
            .unwrap()
            .to_vec();
        let mut at = 0;
        while at < set.len() {
            let size = u32::from_be_bytes(set[at + 8..at + 12].try_into().unwrap()) as usize;
            set[at + 17] |= 0x08;
            set[at + 18..at + 26].copy_from_slice(&99_i64.to_be_bytes());
            let mut crc = flate2::Crc::new();
            crc.update(&set[at + 16..at + 12 + size]);
            set[at + 12..at + 16].copy_from_slice(&crc.sum().to_be_bytes());
            at += 12 + size;
        }
        let bytes = Bytes::from(set);
        let first = batches(bytes.clone()).next().unwrap().unwrap();
        assert_eq!(first.timestamp_type(), TimestampType::Append);
        let times: Vec<_> = read(bytes).iter().map(|record| record.1).collect();
        assert_eq!(times, [99, 99], "{codec:?}");
    }
}

#[test]
fn a_message_that_is_cut_off_says_how_much_it_takes() {
    let records = [(1, (None, Some(vec![7; 100])))];
    let set = message_set::from_batch(batch(&records, Codec::None), 1).unwrap();
    for len in 12..set.len() {
        let mut cut = batches(set.slice(..len));
        assert!(cut.next().is_none());
        assert_eq!(cut.incomplete(), Some(set.len()));
    }
}

#[test]
fn one_old_message_that_unpacks_to_more_than_the_limit_is_an_error() {
    let records = [(1, (None, Some(vec![0; 1 << 20])))];
    let set = message_set::from_batch(batch(&records, Codec::Gzip), 1).unwrap();
    let batch = batches(set).next().unwrap().unwrap();
    let error = batch.records(1 << 16).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MESSAGE_TOO_LARGE);
}

#[test]
fn lz4_frames_of_magic_0_have_the_checksum_that_old_brokers_expect() {
    let records = [(1, (None, Some(vec![7; 1000])))];
    let frame = |magic| {
        let set = message_set::from_batch(batch(&records, Codec::Lz4), magic).unwrap();
        batches(set).next().unwrap().unwrap().payload
    };
    let sum = |bytes: &[u8]| (twox_hash::XxHash32::oneshot(0, bytes) >> 8) as u8;
    let (old, new) = (frame(0), frame(1));
    assert_eq!((old[6], new[6]), (sum(&old[..6]), sum(&new[4..6])));
    assert_ne!(old[6], new[6]);
}

fn produced(parts: &[(&'static str, i32, Bytes)]) -> Bytes {
    let parts = parts.iter().map(|(topic, partition, batch)| produce::Part {
        topic_id: None,
        topic,
        partition: *partition,
        batch: batch.clone().into(),
    });
    produce::encode(3, None, -1, 1000, parts)
        .unwrap()
        .into_bytes()
}

/// The beginning of an answer to Produce: partition 0 of topic `t`.
fn stored_at(offset: i64) -> BytesMut {
    let mut answer = BytesMut::new();
    put_count(&mut answer, 1);
    put_text(&mut answer, b"t");
    put_count(&mut answer, 1);
    answer.put_slice(&[0, 0, 0, 0, 0, 0]);
    answer.put_i64(offset);
    answer
}

#[test]
fn what_the_old_format_cannot_hold_is_refused_for_its_partition_alone() {
    let plain = batch(&[(1, (None, some("a")))], Codec::None);
    let zstd = batch(&[(1, (None, long()))], Codec::Zstd);
    let mut writer = BatchWriter::new(100);
    let header = (&b"h"[..], Some(&b"v"[..]));
    writer.push(1, None, Some(b"a"), &[header]);
    let headers = writer.seal(SealOptions::default()).unwrap().to_bytes();
    let body = produced(&[("t", 0, plain), ("t", 1, zstd), ("u", 2, headers)]);
    let (_, sent) = request(0, 2, body).unwrap();
    let mut answer = stored_at(17);
    answer.put_i64(-1);
    answer.put_i32(5);
    let mut results = produce::decode(sent.response(answer.freeze()).unwrap(), 3).unwrap();
    let mut code = |topic, partition| {
        results
            .find(topic, None, partition)
            .map(|r| (r.code, r.base_offset))
    };
    assert_eq!(code("t", 0), Some((ErrorCode(0), 17)));
    assert_eq!(
        code("t", 1),
        Some((ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, -1))
    );
    assert_eq!(
        code("u", 2),
        Some((ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT, -1))
    );
}

#[test]
fn an_answer_that_is_cut_off_anywhere_is_an_error() {
    let body = produced(&[("t", 0, batch(&[(1, (None, some("a")))], Codec::None))]);
    let answer = stored_at(17).freeze();
    for len in 0..answer.len() {
        let (_, sent) = request(0, 0, body.clone()).unwrap();
        assert!(sent.response(answer.slice(..len)).is_err(), "{len}");
    }
}

#[test]
fn a_fetch_loses_what_old_brokers_do_not_know() {
    let head = fetch::Head {
        max_wait: std::time::Duration::from_millis(10),
        min_bytes: 1,
        max_bytes: 1000,
        isolation: Isolation::ReadCommitted,
        session_id: 0,
        session_epoch: -1,
        rack_id: "",
    };
    let ask = fetch::Ask {
        topic_id: None,
        offset: 5,
        leader_epoch: -1,
        max_bytes: 100,
    };
    let body = |version| {
        let full =
            crate::encode(&fetch::request(&head, [(fetch::key("t", 0), ask)], []), 4).unwrap();
        let (body, _) = request(fetch::API.key, version, full.clone()).unwrap();
        (full.len(), body.len())
    };
    for version in 0..=2 {
        let (full, short) = body(version);
        assert_eq!(full - short, 5);
    }
    let (full, short) = body(3);
    assert_eq!(full - short, 1);
}

#[test]
fn offsets_by_time_are_the_first_that_an_old_broker_names() {
    let at = list_offsets::AtTime {
        topic: "t",
        partition: 3,
        leader_epoch: -1,
        time: -1,
    };
    let limit = std::time::Duration::ZERO;
    let full = list_offsets::request(1, &[at], Isolation::ReadCommitted, limit);
    let full = crate::encode(&full, 1).unwrap();
    let (_, sent) = request(list_offsets::API.key, 0, full).unwrap();
    let mut answer = BytesMut::new();
    put_count(&mut answer, 1);
    put_text(&mut answer, b"t");
    put_count(&mut answer, 1);
    answer.put_i32(3);
    answer.put_i16(0);
    put_count(&mut answer, 2);
    answer.put_i64(42);
    answer.put_i64(7);
    let body = sent.response(answer.freeze()).unwrap();
    let response =
        crate::decode_response::<kafka_protocol::messages::ListOffsetsRequest>(body, 1).unwrap();
    assert_eq!(response.topics[0].partitions[0].offset, 42);
}

#[test]
fn only_old_brokers_get_rewritten_requests() {
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{ApiVersionsResponse, InitProducerIdRequest, ProduceRequest};
    let broker = |max| {
        let api = ApiVersion::default().with_max_version(max);
        ApiVersions::from_response(&ApiVersionsResponse::default().with_api_keys(vec![api]))
    };
    for (max, picked, on_wire) in [(0, 3, 0), (2, 3, 2), (3, 3, 3), (8, 8, 8)] {
        let versions = broker(max);
        assert_eq!(versions.pick::<ProduceRequest>().unwrap(), picked);
        assert_eq!(versions.on_wire(0, picked), on_wire);
    }
    let unasked = ApiVersions::default();
    assert_eq!(unasked.pick::<ProduceRequest>().unwrap(), 3);
    assert_eq!(unasked.on_wire(0, 3), 0);
    assert!(unasked.pick::<InitProducerIdRequest>().is_err());
}
