//! One partition's part of a fetch answer, unpacked set by set. Without I/O.
//!
//! What waits for its turn waits as it came: compressed batches may be a small part of the memory
//! that their messages take.

use bytes::Bytes;

use super::sink::DecodedBatch;
use brod_protocol::batch_reader::{batches, BatchError, Batches};
use brod_protocol::isolation::Aborted;

/// Why there is no more to unpack.
#[derive(Debug)]
pub enum End {
    /// Everything was unpacked, or is not for the subscriber.
    Done,
    /// Nothing at or behind the position that was asked for.
    Nothing,
    /// A batch is not what it should be.
    Unreadable(BatchError),
}

/// A batch, or what is left of it, that is unpacked and not given out.
#[derive(Debug)]
struct Unpacked {
    batch: DecodedBatch,
    /// The offset behind it, and its leader epoch.
    end: (i64, i32),
}

/// See the module.
#[derive(Debug)]
pub struct CompletedFetch {
    batches: Batches,
    memory: Bytes,
    aborted: Aborted,
    max_batch_bytes: usize,
    asked: i64,
    unpacked: Option<Unpacked>,
    /// What was given out or left out reaches up to this offset, and was written in this epoch.
    reached: (i64, i32),
}

impl CompletedFetch {
    /// What was answered to a fetch at the offset `asked`.
    pub fn new(records: Bytes, aborted: Aborted, asked: i64, max_batch_bytes: usize) -> Self {
        CompletedFetch {
            batches: batches(records.clone()),
            memory: records,
            aborted,
            max_batch_bytes,
            asked,
            unpacked: None,
            reached: (asked, -1),
        }
    }

    /// All of it as it came.
    pub fn memory(&self) -> &Bytes {
        &self.memory
    }

    /// The first offset behind what was given out or left out, and the leader epoch before it.
    pub fn reached(&self) -> (i64, i32) {
        self.reached
    }

    /// The next batches, as far as they unpack to `room` bytes in all; of a batch that alone unpacks to
    /// more, the first records that have as many. What was not compressed is in memory already and
    /// does not count. An end means that there is nothing behind them.
    pub fn take(&mut self, room: usize) -> (Vec<DecodedBatch>, Option<End>) {
        let mut set = Vec::new();
        let mut left = room;
        loop {
            let next = match self.unpacked.take() {
                Some(unpacked) => Ok(Some(unpacked)),
                None => self.unpack(),
            };
            let next = match next {
                Ok(Some(next)) => next,
                Ok(None) => return (set, Some(self.end())),
                Err(error) => return (set, Some(End::Unreadable(error))),
            };
            let size = match next.batch.position_in(&self.memory) {
                Some(_) => 0,
                None => next.batch.records.bytes().len(),
            };
            if size > left {
                if set.is_empty() {
                    set.push(self.split(next, room));
                } else {
                    self.unpacked = Some(next);
                }
                return (set, None);
            }
            left -= size;
            self.reached = next.end;
            set.push(next.batch);
        }
    }

    fn split(&mut self, mut whole: Unpacked, bytes: usize) -> DecodedBatch {
        let batch = &mut whole.batch;
        match batch.records.split_off(bytes) {
            None => self.reached = whole.end,
            Some(rest) => {
                let first = rest.first_offset();
                self.reached = (first.max(self.reached.0), whole.end.1);
                self.unpacked = Some(Unpacked {
                    batch: DecodedBatch {
                        records: rest,
                        ..*batch
                    },
                    end: whole.end,
                });
            }
        }
        whole.batch
    }

    /// The next batch that is for the subscriber.
    fn unpack(&mut self) -> Result<Option<Unpacked>, BatchError> {
        for batch in self.batches.by_ref() {
            let batch = batch?;
            let from = self.reached.0;
            let end = (batch.last_offset() + 1, batch.partition_leader_epoch);
            let shows = self.aborted.shows(&batch, self.max_batch_bytes)?;
            if shows && end.0 > from && batch.record_count > 0 {
                let batch = DecodedBatch {
                    records: batch.records(self.max_batch_bytes)?,
                    from,
                    timestamp_type: batch.timestamp_type(),
                };
                return Ok(Some(Unpacked { batch, end }));
            }
            if end.0 > from {
                self.reached = end;
            }
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
    use brod_protocol::compress::Codec;

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
            all.extend_from_slice(&writer.seal(options).expect("seals").bytes);
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
