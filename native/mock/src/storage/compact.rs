//! What makes a log lose messages: compaction, and elections of replicas that have less.

use std::collections::HashMap;

use brod_protocol::batch_reader::{batches, Batch};
use brod_protocol::varint::{write_varint, write_varlong};
use bytes::Bytes;

use super::log::Log;
use super::wire::{seal, ATTRIBUTES_AT, COUNT_AT, HEADER, LENGTH_AT};

const CODEC: u8 = 0x07;

impl Log {
    /// Only the newest record of each key is left, and none without a key; offsets stay as they are, so there are
    /// holes. The last batch stays, if empty, and what is in open transactions.
    pub(crate) fn compact(&mut self) {
        let mut newest: HashMap<Bytes, i64> = HashMap::new();
        let parsed: Vec<Option<Batch>> = self
            .batches
            .iter()
            .map(|stored| batches(stored.bytes.clone()).next()?.ok())
            .collect();
        for batch in parsed.iter().flatten().filter(|batch| !batch.is_control()) {
            let Ok(records) = batch.records(usize::MAX) else {
                continue;
            };
            for record in records.iter().flatten() {
                if let Some(key) = record.key {
                    newest.insert(Bytes::copy_from_slice(records.slice(key)), record.offset);
                }
            }
        }
        let below = self.last_stable();
        let last = self.batches.len().saturating_sub(1);
        let all = std::mem::take(&mut self.batches).into_iter().zip(parsed);
        for (index, (mut stored, batch)) in all.enumerate() {
            let batch = batch.filter(|batch| !batch.is_control() && stored.last < below);
            let rewritten = batch.and_then(|batch| {
                let is_newest = |key: &[u8], offset| newest.get(key) == Some(&offset);
                rewritten(&batch, &stored.bytes, is_newest)
            });
            if let Some((bytes, kept)) = rewritten {
                if kept == 0 && index != last {
                    continue;
                }
                stored.bytes = bytes;
            }
            self.batches.push_back(stored);
        }
        self.size = self.batches.iter().map(|b| b.bytes.len() as u64).sum();
    }

    /// The last messages were never there, this many or the whole batches that they are in.
    pub(crate) fn lose(&mut self, messages: u64) {
        let end = self.end.saturating_sub_unsigned(messages).max(self.start);
        while self.batches.back().is_some_and(|batch| batch.last >= end) {
            if let Some(batch) = self.batches.pop_back() {
                self.size -= batch.bytes.len() as u64;
                self.end = batch.base.max(self.start);
            }
        }
        let end = self.end;
        self.open.retain(|_, first| *first < end);
        self.aborted.retain(|aborted| aborted.last < end);
        self.epochs.retain(|(_, first)| *first < end);
        self.producers.forget_from(end);
    }
}

/// The batch with the records of which key and offset are to be kept, uncompressed, and how many these are. None: it
/// cannot be read.
fn rewritten(
    batch: &Batch,
    bytes: &Bytes,
    keep: impl Fn(&[u8], i64) -> bool,
) -> Option<(Bytes, usize)> {
    let records = batch.records(usize::MAX).ok()?;
    let mut out = bytes.get(..HEADER)?.to_vec();
    let mut kept = 0;
    for record in records.iter() {
        let record = record.ok()?;
        let slice = |span| records.slice(span);
        let keyed = record.key.map(slice);
        if !keyed.is_some_and(|key| keep(key, record.offset)) {
            continue;
        }
        kept += 1;
        let time = record.timestamp - batch.base_timestamp;
        let at = (record.offset - batch.base_offset) as i32;
        let mut body = vec![0];
        write_varlong(&mut body, time);
        write_varint(&mut body, at);
        write_nullable(&mut body, keyed);
        write_nullable(&mut body, record.value.map(slice));
        write_varint(&mut body, record.headers.len() as i32);
        for (name, value) in record.headers.clone() {
            write_nullable(&mut body, Some(name));
            write_nullable(&mut body, value);
        }
        write_varint(&mut out, body.len() as i32);
        out.extend_from_slice(&body);
    }
    let length = (out.len() - LENGTH_AT - 4) as i32;
    out[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    out[ATTRIBUTES_AT + 1] &= !CODEC;
    out[COUNT_AT..HEADER].copy_from_slice(&(kept as i32).to_be_bytes());
    seal(&mut out);
    Some((out.into(), kept))
}

fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            write_varint(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
        None => write_varint(out, -1),
    }
}

#[cfg(test)]
mod tests {
    use brod_protocol::batch_writer::{BatchWriter, SealOptions};
    use brod_protocol::compress::Codec;
    use brod_protocol::error::ErrorCode;

    use super::super::log::{How, Share};
    use super::*;

    /// A batch of records with these keys, from an idempotent producer.
    fn batch(keys: &[&str], sequence: i32) -> Bytes {
        let mut writer = BatchWriter::new(64);
        for key in keys {
            let headers = [(&b"h"[..], None)];
            writer.push(1000, Some(key.as_bytes()), Some(b"v"), &headers);
        }
        let options = SealOptions {
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: sequence,
            codec: Codec::Gzip,
            ..SealOptions::default()
        };
        writer.seal(options).unwrap().to_bytes()
    }

    fn offsets(log: &Log) -> Vec<i64> {
        let share = Share {
            bytes: usize::MAX,
            one_at_least: true,
        };
        let read = batches(log.read(log.start(), log.end(), share));
        let offsets = read.flat_map(|batch| {
            let records = batch.unwrap().records(usize::MAX).unwrap();
            let offsets = records.iter().map(|record| record.unwrap().offset);
            offsets.collect::<Vec<_>>()
        });
        offsets.collect()
    }

    #[test]
    fn compaction_leaves_the_newest_of_each_key_where_it_was_and_holes() {
        let mut log = Log::default();
        log.append(batch(&["a", "b", "c"], 0), How::default())
            .unwrap();
        log.append(batch(&["a"], 3), How::default()).unwrap();
        log.append(batch(&["a", "c"], 4), How::default()).unwrap();
        log.compact();
        assert_eq!(offsets(&log), [1, 4, 5]);
        assert_eq!((log.end(), log.all().count()), (6, 2));
        log.append(batch(&["b", "a", "c"], 6), How::default())
            .unwrap();
        log.compact();
        assert_eq!(offsets(&log), [6, 7, 8]);
    }

    #[test]
    fn what_was_lost_can_be_written_again_under_the_same_offsets() {
        let mut log = Log::default();
        for n in 0..4 {
            log.append(batch(&["a"], n), How::default()).unwrap();
        }
        log.lose(2);
        assert_eq!((log.end(), offsets(&log)), (2, vec![0, 1]));
        let again = log.append(batch(&["a"], 3), How::default());
        assert_eq!(again, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(log.append(batch(&["a"], 2), How::default()), Ok(2));
        log.lose(99);
        assert_eq!((log.start(), log.end()), (0, 0));
    }
}
