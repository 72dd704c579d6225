//! One partition's part of a fetch answer, unpacked set by set. Without I/O.
//!
//! What waits for its turn waits as it came: compressed batches may be a small part of the memory
//! that their messages take. One that unpacks to a lot is unpacked part by part.

use std::sync::Arc;

use bytes::Bytes;

use super::budget::{Budget, Reservation};
use super::sink::DecodedBatch;
use brod_protocol::batch_reader::{batches, Batch, BatchError, Batches, TimestampType};
use brod_protocol::compress::Codec;
use brod_protocol::isolation::Aborted;
use brod_protocol::records::Share;
use brod_protocol::unpack::Unpacking;

/// What the messages of one set may take in memory, beyond what has to come in any case. With the default
/// settings no set comes near: records need not be walked for it (ADR 10).
const SET_MEMORY: usize = 40 * 1024 * 1024;

/// Why there is no more to unpack.
#[derive(Debug)]
pub(super) enum End {
    /// Everything was unpacked, or is not for the subscriber.
    Done,
    /// Nothing at or behind the position that was asked for.
    Nothing,
    /// A batch is not what it should be.
    Unreadable(BatchError),
}

/// A batch whose records are given out part by part.
#[derive(Debug)]
struct Current {
    unpacking: Unpacking,
    /// Records before it are not for the subscriber.
    from: i64,
    timestamp_type: TimestampType,
    is_compressed: bool,
    /// The offset behind it, and its leader epoch.
    end: (i64, i32),
}

/// See the module.
#[derive(Debug)]
pub(super) struct CompletedFetch {
    batches: Batches,
    memory: Bytes,
    aborted: Aborted,
    max_batch_bytes: usize,
    asked: i64,
    current: Option<Current>,
    /// Unpacked, and more than the last set had room for.
    next: Option<DecodedBatch>,
    /// What was given out or left out reaches up to this offset, and was written in this epoch.
    reached: (i64, i32),
    /// What it may hold while it waits.
    held: Option<Reservation>,
}

impl CompletedFetch {
    /// What was answered to a fetch at the offset `asked`.
    pub(super) fn new(
        records: Bytes,
        aborted: Aborted,
        asked: i64,
        max_batch_bytes: usize,
    ) -> Self {
        CompletedFetch {
            batches: batches(records.clone()),
            memory: records,
            aborted,
            max_batch_bytes,
            asked,
            current: None,
            next: None,
            reached: (asked, -1),
            held: None,
        }
    }

    /// All of it as it came.
    pub(super) fn memory(&self) -> &Bytes {
        &self.memory
    }

    /// The first offset behind what was given out or left out, and the leader epoch before it.
    pub(super) fn reached(&self) -> (i64, i32) {
        self.reached
    }

    /// Counts what it takes while it waits against the budget. False: that is more than there is.
    pub(super) fn may_wait(&mut self, budget: &Arc<Budget>) -> bool {
        let unpacking = self.current.as_ref().map_or(0, |c| c.unpacking.held());
        let next = self.next.as_ref().map_or(0, |n| n.records.bytes().len());
        self.held = budget.reserve(self.memory.len() + unpacking + next);
        self.held.is_some()
    }

    /// The next batches, as far as they have `room` bytes; of a batch that alone has more, the first
    /// records that have as many, but one at least. What was not compressed is in memory already and
    /// does not count. An end means that there is nothing behind them.
    pub(super) fn take(&mut self, room: usize) -> (Vec<DecodedBatch>, Option<End>) {
        self.held = None;
        let mut set = Vec::new();
        let mut left = room;
        loop {
            let part = match self.next.take() {
                Some(part) => part,
                None => match self.unpack(room) {
                    Ok(Some(part)) => part,
                    Ok(None) => return (set, Some(self.end())),
                    Err(error) => return (set, Some(End::Unreadable(error))),
                },
            };
            let size = match part.position_in(&self.memory) {
                Some(_) => 0,
                None => part.records.bytes().len(),
            };
            if size > left && !set.is_empty() {
                self.next = Some(part);
                return (set, None);
            }
            left = left.saturating_sub(size);
            set.push(part);
            // A part of a batch is what there was room for.
            if self.pass() {
                return (set, None);
            }
        }
    }

    /// A part of the current batch was given out. Whether there may be more of it that is compressed.
    fn pass(&mut self) -> bool {
        let Some(current) = &self.current else {
            return false;
        };
        let (end, epoch) = current.end;
        let next = current.unpacking.next_offset();
        self.reached = (next.unwrap_or(end).max(self.reached.0), epoch);
        if next.is_none() {
            self.current = None;
        }
        self.current.as_ref().is_some_and(|c| c.is_compressed)
    }

    /// The next records that are for the subscriber: as many as have `bytes` bytes, but one at least.
    fn unpack(&mut self, bytes: usize) -> Result<Option<DecodedBatch>, BatchError> {
        loop {
            if let Some(current) = &mut self.current {
                let share = match current.is_compressed {
                    true => Share {
                        bytes,
                        memory: SET_MEMORY,
                    },
                    false => Share::ALL,
                };
                if let Some(records) = current.unpacking.next(share)? {
                    return Ok(Some(DecodedBatch {
                        records,
                        from: current.from,
                        timestamp_type: current.timestamp_type,
                    }));
                }
                let end = current.end;
                self.current = None;
                self.reached = (end.0.max(self.reached.0), end.1);
            }
            let Some(batch) = self.batches.next() else {
                return Ok(None);
            };
            self.current = self.begin(batch?)?;
        }
    }

    /// None: the batch is not for the subscriber.
    fn begin(&mut self, batch: Batch) -> Result<Option<Current>, BatchError> {
        let from = self.reached.0;
        let end = (batch.last_offset() + 1, batch.partition_leader_epoch);
        let shows = self.aborted.shows(&batch, self.max_batch_bytes)?;
        if shows && end.0 > from && batch.record_count > 0 {
            return Ok(Some(Current {
                unpacking: batch.unpack(self.max_batch_bytes)?,
                is_compressed: batch.codec()? != Codec::None,
                from,
                timestamp_type: batch.timestamp_type(),
                end,
            }));
        }
        if end.0 > from {
            self.reached = end;
        }
        Ok(None)
    }

    fn end(&self) -> End {
        match self.batches.incomplete() {
            _ if self.reached.0 > self.asked => End::Done,
            Some(size) => End::Unreadable(BatchError::FirstCutOff {
                size,
                found: self.batches.rest().len(),
            }),
            None => End::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brod_protocol::batch_writer::{BatchWriter, SealOptions};

    const VALUE: usize = 10_000;

    /// `count` batches of as many records, which compress well.
    fn packed(count: i64, records: i64) -> Vec<u8> {
        written(Codec::Lz4, count, records)
    }

    fn written(codec: Codec, count: i64, records: i64) -> Vec<u8> {
        let mut all = Vec::new();
        for number in 0..count {
            let mut writer = BatchWriter::new(0);
            for _ in 0..records {
                writer.push(1, None, Some(&[b'x'; VALUE]), &[]);
            }
            let options = SealOptions {
                codec,
                ..SealOptions::default()
            };
            let start = all.len();
            all.extend_from_slice(&writer.seal(options).expect("seals").to_bytes());
            // The broker's part; the checksum does not cover it.
            all[start..start + 8].copy_from_slice(&(number * records).to_be_bytes());
        }
        all
    }

    fn answer(bytes: Vec<u8>, asked: i64) -> CompletedFetch {
        CompletedFetch::new(bytes.into(), Aborted::default(), asked, usize::MAX)
    }

    fn offsets(set: &[DecodedBatch]) -> Vec<i64> {
        set.iter()
            .flat_map(|batch| batch.iter().map(|record| record.expect("reads").offset))
            .collect()
    }

    #[test]
    fn a_set_has_what_there_is_room_for_and_the_next_one_goes_on_there() {
        let packed = packed(6, 1);
        assert!(packed.len() < VALUE, "all of it is less than one unpacked");
        let mut answer = answer(packed, 0);
        let (set, end) = answer.take(3 * VALUE);
        assert_eq!(offsets(&set), [0, 1], "a third one would be too much");
        assert!(end.is_none());
        assert_eq!(answer.reached().0, 2);
        let (set, end) = answer.take(1);
        assert_eq!(offsets(&set), [2], "one comes in any case");
        assert!(end.is_none());
        let (set, end) = answer.take(100 * VALUE);
        assert_eq!(offsets(&set), [3, 4, 5]);
        assert!(matches!(end, Some(End::Done)));
        assert_eq!(answer.reached().0, 6);
    }

    #[test]
    fn a_batch_with_more_than_there_is_room_for_comes_in_parts() {
        let mut answer = answer(packed(2, 5), 1);
        let mut parts = Vec::new();
        loop {
            let (set, end) = answer.take(2 * VALUE);
            parts.push((offsets(&set), answer.reached().0));
            if end.is_some() {
                break;
            }
        }
        let expected = [
            (vec![1], 2),
            (vec![2, 3], 4),
            (vec![4], 5),
            (vec![5, 6], 7),
            (vec![7, 8], 9),
            (vec![9], 10),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn what_is_in_memory_as_it_came_is_one_set() {
        let mut answer = answer(written(Codec::None, 2, 5), 0);
        let (set, end) = answer.take(2 * VALUE);
        assert_eq!(offsets(&set), (0..10).collect::<Vec<_>>());
        assert!(matches!(end, Some(End::Done)));
    }

    #[test]
    fn a_part_before_the_offset_asked_for_is_passed_over() {
        let mut answer = answer(packed(1, 5), 3);
        let (set, _) = answer.take(2 * VALUE);
        assert!(offsets(&set).is_empty());
        assert_eq!(answer.reached().0, 3);
        let (set, _) = answer.take(2 * VALUE);
        assert_eq!(offsets(&set), [3]);
        let (set, end) = answer.take(2 * VALUE);
        assert_eq!(offsets(&set), [4]);
        assert!(matches!(end, Some(End::Done)));
    }

    #[test]
    fn a_batch_that_unpacks_to_a_lot_is_held_as_it_came() {
        // 40 MB in a few KB.
        let mut answer = answer(packed(1, 4000), 0);
        let budget = Budget::new(8 * 1024 * 1024);
        assert!(answer.may_wait(&budget));
        let (set, end) = answer.take(2 * VALUE);
        assert_eq!(offsets(&set), [0, 1]);
        assert!(end.is_none());
        assert!(answer.may_wait(&budget), "{answer:?}");
        assert!(!answer.may_wait(&Budget::new(100)));
        let (set, end) = answer.take(usize::MAX);
        assert_eq!(offsets(&set), (2..4000).collect::<Vec<_>>());
        assert!(end.is_none() || matches!(end, Some(End::Done)));
        assert_eq!(answer.reached().0, 4000);
    }

    #[test]
    fn a_batch_that_is_cut_off_is_an_error_only_if_it_is_the_first() {
        let whole = packed(1, 1).len();
        let mut bytes = packed(2, 1);
        bytes.truncate(bytes.len() - 1);
        let (set, end) = answer(bytes.clone(), 0).take(usize::MAX);
        assert_eq!(offsets(&set), [0]);
        assert!(matches!(end, Some(End::Done)));
        let (set, end) = answer(bytes.split_off(whole), 1).take(usize::MAX);
        assert!(set.is_empty());
        let Some(End::Unreadable(BatchError::FirstCutOff { size, found })) = end else {
            panic!("{end:?}")
        };
        assert_eq!((size, found), (whole, whole - 1));
    }

    #[test]
    fn what_lies_before_the_offset_asked_for_is_nothing() {
        let (set, end) = answer(packed(2, 1), 2).take(usize::MAX);
        assert!(set.is_empty());
        assert!(matches!(end, Some(End::Nothing)));
    }

    #[test]
    fn batches_before_a_damaged_one_come_out() {
        let mut bytes = packed(3, 1);
        *bytes.last_mut().expect("bytes") ^= 1;
        let mut answer = answer(bytes, 0);
        let (set, end) = answer.take(usize::MAX);
        assert_eq!(offsets(&set), [0, 1]);
        assert!(matches!(end, Some(End::Unreadable(_))));
        assert_eq!(answer.reached().0, 2);
    }
}
