use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 24;
const MAGICS: [Magic; 2] = [Magic::V0, Magic::V1];
const CODECS: [Codec; 4] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4];

type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300))
}

fn some_messages() -> impl Strategy<Value = Vec<Owned>> {
    proptest::collection::vec((0_i64..1 << 45, bytes(), bytes()), 1..20)
}

fn format() -> impl Strategy<Value = (Magic, Codec)> {
    (
        proptest::sample::select(&MAGICS[..]),
        proptest::sample::select(&CODECS[..]),
    )
}

fn written(magic: Magic, codec: Codec, messages: &[Owned]) -> Bytes {
    let messages: Vec<NewMessage> = messages
        .iter()
        .map(|(timestamp, key, value)| NewMessage {
            timestamp: *timestamp,
            key: key.as_deref(),
            value: value.as_deref(),
        })
        .collect();
    encode(magic, codec, &messages).unwrap().into()
}

fn expected(magic: Magic, messages: &[Owned]) -> Vec<Message> {
    (0..)
        .zip(messages)
        .map(|(offset, (timestamp, key, value))| Message {
            offset,
            timestamp: (magic == Magic::V1).then_some((TimestampType::Create, *timestamp)),
            key: key.clone().map(Bytes::from),
            value: value.clone().map(Bytes::from),
        })
        .collect()
}

/// As a broker stores it: another offset, and a checksum of what it changed.
fn stored(set: &[u8], offset: i64, attributes: i8, timestamp: Option<i64>) -> Bytes {
    let mut set = set.to_vec();
    set[..8].copy_from_slice(&offset.to_be_bytes());
    set[17] |= attributes as u8;
    if let Some(timestamp) = timestamp {
        set[18..26].copy_from_slice(&timestamp.to_be_bytes());
    }
    let checksum = crc32(&set[16..]);
    set[12..16].copy_from_slice(&checksum.to_be_bytes());
    set.into()
}

fn three(magic: Magic, codec: Codec) -> Bytes {
    let message = |at| (at, None, Some(vec![7; 100]));
    written(magic, codec, &[message(10), message(30), message(20)])
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were((magic, codec) in format(), messages in some_messages()) {
        let set = decode(written(magic, codec, &messages), LIMIT).unwrap();
        prop_assert_eq!(set, MessageSet { messages: expected(magic, &messages), incomplete: None });
    }

    #[test]
    fn what_is_cut_off_is_left_out_or_says_how_long_it_is(
        (magic, codec) in format(),
        messages in some_messages(),
        at in any::<proptest::sample::Index>(),
    ) {
        let whole = written(magic, codec, &messages);
        let end = at.index(whole.len());
        let set = decode(whole.slice(..end), LIMIT).unwrap();
        let all = expected(magic, &messages);
        prop_assert_eq!(&set.messages[..], &all[..set.messages.len()]);
        prop_assert!(set.messages.len() < all.len());
        match set.incomplete {
            Some(size) => prop_assert!(set.messages.is_empty() && size > end && size <= whole.len()),
            None => prop_assert!(end == 0 || !set.messages.is_empty()),
        }
    }

    #[test]
    fn what_was_changed_is_an_error_or_cut_off(
        (magic, codec) in format(),
        messages in some_messages(),
        at in any::<proptest::sample::Index>(),
        flip in 1_u8..,
    ) {
        let whole = written(magic, codec, &messages);
        let mut changed = whole.to_vec();
        let at = at.index(changed.len());
        // With magic 0 nobody looks at the offset of a wrapper.
        prop_assume!(!(at < 8 && magic == Magic::V0 && codec != Codec::None));
        changed[at] ^= flip;
        match decode(changed.into(), LIMIT) {
            Err(_) => {}
            // Offsets are not under a checksum, and a length may say more than there is.
            Ok(set) => prop_assert!(set.messages != expected(magic, &messages)),
        }
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(bytes.into(), LIMIT);
    }
}

#[test]
fn offsets_in_a_wrapper_count_from_its_last() {
    let read = |magic| {
        let set = decode(stored(&three(magic, Codec::Gzip), 41, 0, None), LIMIT).unwrap();
        set.messages.iter().map(|m| m.offset).collect::<Vec<_>>()
    };
    assert_eq!(read(Magic::V1), [39, 40, 41]);
    // Brokers of that time wrote them in.
    assert_eq!(read(Magic::V0), [0, 1, 2]);
}

#[test]
fn the_time_that_a_broker_has_set_is_that_of_all_in_a_wrapper() {
    let appended = stored(&three(Magic::V1, Codec::Snappy), 2, APPEND_TIME, Some(99));
    let set = decode(appended, LIMIT).unwrap();
    let times: Vec<_> = set.messages.iter().map(|m| m.timestamp).collect();
    assert_eq!(times, [Some((TimestampType::Append, 99)); 3]);
}

#[test]
fn a_wrapper_unpacks_to_no_more_than_the_limit() {
    let one = three(Magic::V1, Codec::Gzip);
    let two = Bytes::from([&one[..], &one[..]].concat());
    let size = three(Magic::V1, Codec::None).len();
    assert_eq!(decode(two.clone(), 2 * size).unwrap().messages.len(), 6);
    let error = decode(two, 2 * size - 1).unwrap_err();
    assert!(matches!(
        error,
        MessageSetError::Codec {
            source: CodecError::LimitExceeded { .. },
            ..
        }
    ));
}

#[test]
fn a_wrapper_in_a_wrapper_is_refused() {
    let inner = three(Magic::V1, Codec::Gzip);
    let mut packed = Vec::new();
    compress(Codec::Gzip, None, &inner, &mut packed).unwrap();
    let mut outer = Vec::new();
    let wrapper = NewMessage {
        timestamp: 0,
        key: None,
        value: Some(&packed),
    };
    put(&mut outer, Magic::V1, Codec::Gzip, 0, &wrapper);
    let error = decode(outer.into(), LIMIT).unwrap_err();
    assert!(
        matches!(error, MessageSetError::Malformed { .. }),
        "{error}"
    );
}

#[test]
fn record_batches_are_none_of_it() {
    let mut batch = three(Magic::V1, Codec::None).to_vec();
    batch[16] = 2;
    let error = decode(batch.into(), LIMIT).unwrap_err();
    assert!(matches!(
        error,
        MessageSetError::UnsupportedMagic { magic: 2, .. }
    ));
}

#[test]
fn lz4_frames_have_the_old_checksum_with_magic_0_only() {
    let checksums = |magic| {
        let set = three(magic, Codec::Lz4);
        let time = if magic == Magic::V1 { 8 } else { 0 };
        let frame = &set[PREFIX + 4 + 2 + time + 4 + 4..];
        let end = lz4_descriptor_end(frame);
        let correct = (xxh32(&frame[4..end]) >> 8) as u8;
        let old = (xxh32(&frame[..end]) >> 8) as u8;
        assert_ne!(correct, old);
        (frame[end] == correct, frame[end] == old)
    };
    assert_eq!(checksums(Magic::V1), (true, false));
    assert_eq!(checksums(Magic::V0), (false, true));
}
