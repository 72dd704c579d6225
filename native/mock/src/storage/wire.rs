//! Batches as bytes: what a broker checks of them, changes in them and writes itself.

use brod_protocol::batch_reader::{batches, Batch, BatchError};
use brod_protocol::error::ErrorCode;
use bytes::{BufMut, Bytes, BytesMut};

use crate::call::Millis;

pub(super) const LENGTH_AT: usize = 8;
/// Where the partition leader's epoch stands in a batch.
pub(super) const LEADER_EPOCH_AT: usize = 12;
pub(super) const CHECKSUM_AT: usize = 17;
/// Where what the checksum covers begins.
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;
pub(super) const COUNT_AT: usize = 57;
pub(super) const HEADER: usize = 61;

const APPEND_TIME: u8 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// Sets the checksum of a batch that was changed.
pub(super) fn seal(batch: &mut [u8]) {
    let sum = brod_protocol::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_be_bytes());
}

/// The batch's time is now the broker's (`message.timestamp.type=LogAppendTime`).
pub(super) fn stamp(batch: &mut [u8], time: Millis) {
    batch[ATTRIBUTES_AT + 1] |= APPEND_TIME;
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&time.to_be_bytes());
    seal(batch);
}

/// A Produce has one batch a partition, of the newest format.
pub(super) fn sole_batch(records: &Bytes) -> Result<Batch, ErrorCode> {
    if records.get(16) != Some(&2) {
        return Err(match records.get(16) {
            Some(0 | 1) => ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
            _ => ErrorCode::CORRUPT_MESSAGE,
        });
    }
    let mut found = batches(records.clone());
    let batch = match found.next() {
        Some(Ok(batch)) => batch,
        Some(Err(BatchError::InvalidField { .. })) => return Err(ErrorCode::INVALID_RECORD),
        _ => return Err(ErrorCode::CORRUPT_MESSAGE),
    };
    match found.rest().is_empty() {
        true => Ok(batch),
        false => Err(ErrorCode::INVALID_RECORD),
    }
}

/// A control batch of one record: key (version, type: 0 aborts, 1 commits, others are for nobody), value (version,
/// coordinator epoch).
pub(super) fn marker(producer: i64, producer_epoch: i16, kind: i16, now: Millis) -> Bytes {
    let mut record = BytesMut::new();
    record.put_slice(&[0, 0, 0, 8]); // attributes, deltas of time and offset, length of the key: 4
    record.put_i16(0);
    record.put_i16(kind);
    record.put_slice(&[12]); // length of the value: 6
    record.put_i16(0);
    record.put_i32(0);
    record.put_u8(0); // headers
    let mut body = BytesMut::new();
    body.put_i16(TRANSACTIONAL | CONTROL);
    body.put_i32(0);
    body.put_i64(now);
    body.put_i64(now);
    body.put_i64(producer);
    body.put_i16(producer_epoch);
    body.put_i32(-1);
    body.put_i32(1);
    body.put_u8((record.len() * 2) as u8);
    body.put_slice(&record);
    let mut batch = BytesMut::with_capacity(ATTRIBUTES_AT + body.len());
    batch.put_i64(0);
    batch.put_i32((body.len() + ATTRIBUTES_AT - 12) as i32);
    batch.put_i32(0);
    batch.put_u8(2);
    batch.put_u32(brod_protocol::crc32c(&body));
    batch.put_slice(&body);
    batch.freeze()
}
