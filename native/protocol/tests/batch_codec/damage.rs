//! Batches that are cut off, damaged, or lie about what they hold.

use crate::support::*;
use brod_protocol::batch_reader::{batches, BatchError, Found};
use brod_protocol::compress::Codec;
use bytes::Bytes;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn cut_anywhere_ends_with_the_size_wanted(
        recs in recs_strategy(5),
        codec in codec_strategy(),
        cut: prop::sample::Index,
    ) {
        let whole = sealed(&recs, codec).to_bytes();
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
        let mut bytes = sealed(&recs, codec).to_bytes().to_vec();
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
        part in 0usize..500,
    ) {
        let mut bytes = sealed(&recs, codec).to_bytes().to_vec();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fix_crc(&mut bytes);
        for batch in batches(bytes.into()).flatten() {
            if let Ok(records) = batch.records(limit) {
                prop_assert!(records.bytes().len() <= limit.max(batch.payload.len()));
                prop_assert!(records.record_count() as usize <= records.bytes().len());
                if let Ok(all) = read_all(&records) {
                    prop_assert_eq!(all.len(), records.record_count() as usize);
                }
                let whole = read_while_good(&records);
                prop_assert_eq!(read_in_parts(records, part), whole);
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
        let bytes = tampered(&plain.to_bytes(), |bytes| {
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
    let good = sealed(&[Rec::new(0, "k", "v")], Codec::None).to_bytes();
    let first = |bytes: Bytes| {
        batches(bytes)
            .next()
            .expect("an item")
            .expect_err("refused")
    };

    let of_magic = |magic| {
        let mut bytes = good.to_vec();
        bytes[16] = magic;
        first(bytes.into())
    };
    assert!(matches!(
        of_magic(3),
        BatchError::UnsupportedMagic { magic: 3, .. }
    ));
    // The checksum of messages is another one.
    assert!(matches!(of_magic(1), BatchError::BadChecksum { .. }));
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
    for offset in [-1i64, i64::MAX, i64::MAX - 1] {
        let two = sealed(&[Rec::new(0, "", ""), Rec::new(0, "", "")], Codec::None);
        let mut bytes = two.to_bytes().to_vec();
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
        let batch = only_batch(&sealed(&recs, codec).to_bytes());
        assert!(batch.records(20_000).is_ok());
        assert!(matches!(
            batch.records(9_000),
            Err(BatchError::Codec { .. })
        ));
    }
}
