//! The log of one partition.

use std::collections::{BTreeMap, VecDeque};

use brod_protocol::batch_reader::batches;
use brod_protocol::error::ErrorCode;
use bytes::{BufMut, Bytes, BytesMut};

use super::producers::{Producers, Sequenced};
use super::wire::{marker, sole_batch, stamp, LEADER_EPOCH_AT};
use crate::call::Millis;

/// A batch with its offsets.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) base: i64,
    pub(super) last: i64,
    max_timestamp: i64,
    pub(super) bytes: Bytes,
}

/// How a batch is appended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// The leader's.
    pub epoch: i32,
    /// The broker's time, where the topic wants that.
    pub stamp: Option<Millis>,
}

/// A transaction that was aborted, by what a consumer must skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub producer: i64,
    pub first: i64,
    /// The marker's offset.
    pub last: i64,
}

/// How much a fetch may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub bytes: usize,
    /// The first batch comes even if it is larger.
    pub one_at_least: bool,
}

/// What a broker keeps of one partition.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) size: u64,
    pub(super) batches: VecDeque<Stored>,
    pub(super) producers: Producers,
    /// Open transactions: producer id, and the first offset.
    pub(super) open: BTreeMap<i64, i64>,
    pub(super) aborted: Vec<Aborted>,
    /// Leader epochs with the first offset of each.
    pub(super) epochs: Vec<(i32, i64)>,
}

impl Log {
    /// The first offset that is there.
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The high watermark: replication takes no time here.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// Where the oldest open transaction begins, or the end.
    pub(crate) fn last_stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Keeps a producer's batch; answers its base offset. One that was kept before is not kept twice, and
    /// has the offset that it had.
    pub(crate) fn append(&mut self, records: Bytes, how: How) -> Result<i64, ErrorCode> {
        let batch = sole_batch(&records)?;
        let count = batch.record_count as i32;
        if count < 1 || batch.last_offset_delta != count - 1 || batch.is_control() {
            return Err(ErrorCode::INVALID_RECORD);
        }
        let sequenced = Sequenced {
            id: batch.producer_id,
            epoch: batch.producer_epoch,
            first: batch.base_sequence,
            count,
        };
        if sequenced.id >= 0 {
            if let Some(known) = self.producers.check(sequenced)? {
                return Ok(known);
            }
        }
        let base = self.end;
        if sequenced.id >= 0 {
            self.producers.appended(sequenced, base);
        }
        if batch.is_transactional() {
            self.open.entry(batch.producer_id).or_insert(base);
        }
        self.store(&records, count, batch.max_timestamp, how);
        Ok(base)
    }

    /// Ends a producer's transaction here, as its coordinator asks.
    pub(crate) fn append_marker(
        &mut self,
        producer: i64,
        producer_epoch: i16,
        commit: bool,
        epoch: i32,
        now: Millis,
    ) {
        let offset = self.end;
        self.producers.raise(producer, producer_epoch);
        if let Some(first) = self.open.remove(&producer) {
            if !commit {
                self.aborted.push(Aborted {
                    producer,
                    first,
                    last: offset,
                });
            }
        }
        self.append_control(producer, producer_epoch, commit.into(), epoch, now);
    }

    /// A control batch of any kind, whatever it means.
    pub(crate) fn append_control(
        &mut self,
        producer: i64,
        producer_epoch: i16,
        kind: i16,
        epoch: i32,
        now: Millis,
    ) {
        let how = How { epoch, stamp: None };
        self.store(&marker(producer, producer_epoch, kind, now), 1, now, how);
    }

    fn store(&mut self, batch: &[u8], count: i32, max_timestamp: i64, how: How) {
        let epoch = how.epoch;
        if self.epochs.last().is_none_or(|(newest, _)| *newest < epoch) {
            self.epochs.push((epoch, self.end));
        }
        let mut bytes = BytesMut::from(batch);
        bytes[..8].copy_from_slice(&self.end.to_be_bytes());
        bytes[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&epoch.to_be_bytes());
        if let Some(time) = how.stamp {
            stamp(&mut bytes, time);
        }
        let last = self.end + i64::from(count) - 1;
        self.size += bytes.len() as u64;
        self.batches.push_back(Stored {
            base: self.end,
            last,
            max_timestamp: how.stamp.unwrap_or(max_timestamp),
            bytes: bytes.freeze(),
        });
        self.end = last + 1;
    }

    /// Lets the oldest batches go until so many bytes are left; the newest stays.
    pub(crate) fn retain(&mut self, most: u64) {
        while self.size > most && self.batches.len() > 1 {
            let next = self.batches[1].base;
            self.delete_before(next);
        }
    }

    /// What is before the offset is not there any more (DeleteRecords).
    pub(crate) fn delete_before(&mut self, offset: i64) {
        self.start = self.start.max(offset.min(self.end));
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.last < self.start)
        {
            if let Some(batch) = self.batches.pop_front() {
                self.size -= batch.bytes.len() as u64;
            }
        }
    }

    /// Whole batches from the one with `offset` on, below `below`.
    pub(crate) fn read(&self, offset: i64, below: i64, share: Share) -> Bytes {
        let first = self.batches.partition_point(|batch| batch.last < offset);
        let wanted = self
            .batches
            .range(first..)
            .take_while(|batch| batch.base < below);
        let mut size = 0;
        let mut taken = Vec::new();
        for batch in wanted {
            let is_first = taken.is_empty() && share.one_at_least;
            if size + batch.bytes.len() > share.bytes && !is_first {
                break;
            }
            size += batch.bytes.len();
            taken.push(&batch.bytes);
        }
        match taken[..] {
            [] => Bytes::new(),
            [one] => one.clone(),
            _ => {
                let mut all = BytesMut::with_capacity(size);
                taken.iter().for_each(|bytes| all.put_slice(bytes));
                all.freeze()
            }
        }
    }

    /// How many bytes [`Log::read`] has from `offset` on, below `below`, up to `most`.
    pub(crate) fn readable(&self, offset: i64, below: i64, most: usize) -> usize {
        let first = self.batches.partition_point(|batch| batch.last < offset);
        let mut size = 0;
        for batch in self
            .batches
            .range(first..)
            .take_while(|batch| batch.base < below)
        {
            size += batch.bytes.len();
            if size >= most {
                break;
            }
        }
        size
    }

    /// Aborted transactions that touch these offsets.
    pub(crate) fn aborted(&self, from: i64, below: i64) -> impl Iterator<Item = &Aborted> {
        let touches = move |aborted: &&Aborted| aborted.last >= from && aborted.first < below;
        self.aborted.iter().filter(touches)
    }

    /// The first offset of a batch whose newest timestamp is not older, with that timestamp.
    pub(crate) fn at_time(&self, timestamp: i64) -> Option<(i64, i64)> {
        let batch = self
            .batches
            .iter()
            .find(|batch| batch.max_timestamp >= timestamp)?;
        let stored = batches(batch.bytes.clone()).next()?.ok()?;
        let records = stored.records(usize::MAX).ok()?;
        let found = records
            .iter()
            .flatten()
            .find(|record| record.timestamp >= timestamp)?;
        (found.offset >= self.start).then_some((found.offset, found.timestamp))
    }

    /// The record with the newest timestamp (KIP-734): offset and timestamp.
    pub(crate) fn newest(&self) -> Option<(i64, i64)> {
        let newest = self.batches.iter().map(|batch| batch.max_timestamp).max()?;
        self.at_time(newest)
    }

    /// The epoch in which this offset was written.
    pub(crate) fn epoch_of(&self, offset: i64) -> i32 {
        let at = self.epochs.partition_point(|(_, first)| *first <= offset);
        at.checked_sub(1).map_or(-1, |at| self.epochs[at].0)
    }

    /// The largest epoch up to this one, and where it ended (KIP-101). Of epochs to come, after the leader's, nothing
    /// is known.
    pub(crate) fn end_of(&self, epoch: i32, current: i32) -> (i32, i64) {
        if epoch < 0 {
            return (-1, -1);
        }
        if epoch >= current {
            return match epoch == current {
                true => (epoch, self.end),
                false => (-1, -1),
            };
        }
        let next = self.epochs.partition_point(|(known, _)| *known <= epoch);
        let end = self.epochs.get(next).map_or(self.end, |(_, first)| *first);
        match next.checked_sub(1) {
            Some(at) => (self.epochs[at].0, end),
            // Older than all that is there.
            None => (epoch, end),
        }
    }

    /// All batches that are there.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Bytes> {
        self.batches.iter().map(|batch| &batch.bytes)
    }
}

#[cfg(test)]
mod tests {
    use brod_protocol::batch_reader::ControlType;
    use brod_protocol::batch_writer::{BatchWriter, SealOptions};

    use super::*;

    fn batch(values: &[&str], options: SealOptions) -> Bytes {
        let mut writer = BatchWriter::new(64);
        for (at, value) in values.iter().enumerate() {
            writer.push(1000 + at as i64, None, Some(value.as_bytes()), &[]);
        }
        writer.seal(options).unwrap().to_bytes()
    }

    fn at(epoch: i32) -> How {
        How { epoch, stamp: None }
    }

    const ALL: Share = Share {
        bytes: usize::MAX,
        one_at_least: true,
    };

    fn transactional(sequence: i32) -> SealOptions {
        SealOptions {
            producer_id: 5,
            producer_epoch: 0,
            base_sequence: sequence,
            transactional: true,
            ..SealOptions::default()
        }
    }

    #[test]
    fn batches_get_offsets_and_come_back_whole() {
        let mut log = Log::default();
        assert_eq!(
            log.append(batch(&["a", "b"], SealOptions::default()), at(3)),
            Ok(0)
        );
        assert_eq!(
            log.append(batch(&["c"], SealOptions::default()), at(4)),
            Ok(2)
        );
        assert_eq!((log.start(), log.end(), log.last_stable()), (0, 3, 3));
        let read: Vec<_> = batches(log.read(1, log.end(), ALL))
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            read.iter().map(|b| b.base_offset).collect::<Vec<_>>(),
            [0, 2]
        );
        assert_eq!(read[1].partition_leader_epoch, 4);
        let one = Share {
            bytes: 1,
            one_at_least: true,
        };
        assert_eq!(batches(log.read(0, 3, one)).count(), 1);
        assert!(log
            .read(
                0,
                3,
                Share {
                    bytes: 1,
                    one_at_least: false
                }
            )
            .is_empty());
        assert_eq!(
            (log.end_of(3, 4), log.end_of(4, 4), log.end_of(4, 5)),
            ((3, 2), (4, 3), (4, 3))
        );
        assert_eq!((log.end_of(0, 4), log.end_of(9, 4)), ((0, 0), (-1, -1)));
        assert_eq!(log.at_time(1001), Some((1, 1001)));
        assert_eq!(log.at_time(1002), None);
    }

    #[test]
    fn a_batch_whose_checksum_is_wrong_is_refused() {
        let mut log = Log::default();
        let mut bytes = BytesMut::from(&batch(&["a"], SealOptions::default())[..]);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(
            log.append(bytes.freeze(), at(0)),
            Err(ErrorCode::CORRUPT_MESSAGE)
        );
        assert_eq!(log.end(), 0);
    }

    #[test]
    fn an_aborted_transaction_is_told_and_holds_back_what_is_stable_until_it_ends() {
        let mut log = Log::default();
        log.append(batch(&["a"], SealOptions::default()), at(0))
            .unwrap();
        log.append(batch(&["b", "c"], transactional(0)), at(0))
            .unwrap();
        assert_eq!((log.last_stable(), log.end()), (1, 3));
        log.append_marker(5, 0, false, 0, 2000);
        assert_eq!((log.last_stable(), log.end()), (4, 4));
        let aborted: Vec<_> = log.aborted(0, 4).copied().collect();
        assert_eq!(
            aborted,
            [Aborted {
                producer: 5,
                first: 1,
                last: 3
            }]
        );
        assert_eq!(log.aborted(4, 9).count(), 0);
        let marker = batches(log.read(3, 4, ALL)).next().unwrap().unwrap();
        assert!(marker.is_control() && marker.is_transactional());
        let records = marker.records(1000).unwrap();
        let record = records.iter().next().unwrap().unwrap();
        assert_eq!(records.control_type(&record).unwrap(), ControlType::Abort);
    }

    #[test]
    fn the_oldest_batches_go_when_there_are_too_many_bytes() {
        let mut log = Log::default();
        for _ in 0..4 {
            log.append(batch(&["a"], SealOptions::default()), at(0))
                .unwrap();
        }
        let size = batch(&["a"], SealOptions::default()).len() as u64;
        log.retain(2 * size);
        assert_eq!((log.start(), log.all().count()), (2, 2));
        log.retain(0);
        assert_eq!((log.start(), log.all().count()), (3, 1));
    }
}
