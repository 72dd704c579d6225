//! Values that are lent to a batch: what is sent is the same as if they had been copied.

use brod_protocol::batch_writer::{BatchWriter, SealOptions};
use brod_protocol::compress::Codec;
use brod_protocol::sealed_batch::split;
use bytes::{Buf, Bytes};
use proptest::prelude::*;

use crate::support::*;

/// A record, and whether its value is lent, if it has any.
type Choice = (Rec, bool);

fn choices(most: usize) -> impl Strategy<Value = Vec<Choice>> {
    let lent = proptest::collection::vec(any::<bool>(), most);
    (recs_strategy(most), lent).prop_map(|(recs, lent)| recs.into_iter().zip(lent).collect())
}

fn push_choice(writer: &mut BatchWriter, (rec, is_lent): &Choice) {
    match &rec.value {
        Some(value) if *is_lent => writer.push_lent(
            rec.timestamp,
            rec.key.as_deref(),
            Bytes::copy_from_slice(value),
            &rec.headers(),
        ),
        _ => push(writer, rec),
    }
}

fn lending(choices: &[Choice]) -> BatchWriter {
    let mut writer = BatchWriter::new(64);
    choices
        .iter()
        .for_each(|choice| push_choice(&mut writer, choice));
    writer
}

fn recs(choices: &[Choice]) -> Vec<Rec> {
    choices.iter().map(|(rec, _)| rec.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_batch_is_the_same_whether_its_values_are_lent_or_copied(
        choices in choices(12),
        codec in codec_strategy(),
    ) {
        let (lending, copying) = (lending(&choices), writer(&recs(&choices)));
        prop_assert_eq!(lending.len(), copying.len());
        prop_assert_eq!(lending.payload(), copying.payload());
        let options = SealOptions { codec, producer_id: 3, producer_epoch: 1, base_sequence: 9, ..Default::default() };
        let mut lent = lending.seal(options).expect("seals");
        let mut copied = copying.seal(options).expect("seals");
        prop_assert_eq!(lent.to_bytes(), copied.to_bytes());
        prop_assert_eq!(lent.len(), copied.len());
        prop_assert_eq!(lent.uncompressed_len, copied.uncompressed_len);
        prop_assert_eq!(lent.body().remaining(), lent.len());

        let in_flight = lent.body();
        lent.reseal(4, 0, 0);
        copied.reseal(4, 0, 0);
        prop_assert_eq!(lent.to_bytes(), copied.to_bytes());
        prop_assert_ne!(in_flight.into_bytes(), copied.to_bytes());
    }

    #[test]
    fn what_is_undone_leaves_no_trace(kept in choices(5), undone in choices(5), more in choices(3)) {
        let mut writer = lending(&kept);
        let mark = writer.mark();
        undone.iter().for_each(|choice| push_choice(&mut writer, choice));
        writer.rollback(mark);
        prop_assert_eq!(writer.len(), lending(&kept).len());
        more.iter().for_each(|choice| push_choice(&mut writer, choice));
        let expected = sealed(&recs(&[kept, more].concat()), Codec::None);
        let batch = writer.seal(SealOptions::default()).expect("seals");
        prop_assert_eq!(batch.to_bytes(), expected.to_bytes());
    }

    #[test]
    fn both_halves_of_a_batch_that_is_split_have_their_values(
        choices in choices(8),
        at: prop::sample::Index,
    ) {
        let at = at.index(choices.len() + 1);
        let whole = lending(&choices).seal(SealOptions::default()).expect("seals");
        let (head, tail) = split(&whole, at as u32).expect("splits");
        for (half, expected) in [(head, &choices[..at]), (tail, &choices[at..])] {
            if !expected.is_empty() {
                let batch = half.seal(SealOptions::default()).expect("seals");
                prop_assert_eq!(read_recs(&batch.to_bytes()), recs(expected));
            }
        }
    }
}

#[test]
fn a_value_that_is_lent_is_not_copied() {
    let value = Bytes::from(vec![7; 100_000]);
    let mut writer = BatchWriter::new(64);
    writer.push_lent(5, Some(b"key"), value.clone(), &[]);
    let mut body = writer.seal(SealOptions::default()).expect("seals").body();
    body.advance(body.chunk().len());
    assert_eq!(body.chunk().as_ptr(), value.as_ptr());
}
