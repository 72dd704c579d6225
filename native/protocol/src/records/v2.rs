//! Records of format version 2.

use bytes::Bytes;

use super::{Headers, Record, Share, Span, HEADER_MEMORY};
use crate::batch_reader::{Batch, BatchError, Found, TimestampType};
use crate::compress::CodecError;
use crate::varint::{read_varint, read_varlong};

/// Length, attributes, two deltas, two lengths, header count: a byte each at least.
const MIN_RECORD: usize = 7;

/// What the header of a batch says of its records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    base_offset: i64,
    last_offset_delta: i32,
    base_timestamp: i64,
    append_time: Option<i64>,
    /// How many there are in all.
    record_count: u32,
    /// One record takes no more memory than this.
    limit: usize,
}

impl Frame {
    pub(crate) fn new(batch: &Batch, limit: usize) -> Frame {
        Frame {
            base_offset: batch.base_offset,
            last_offset_delta: batch.last_offset_delta,
            base_timestamp: batch.base_timestamp,
            append_time: match batch.timestamp_type() {
                TimestampType::Append => Some(batch.max_timestamp),
                TimestampType::Create => None,
            },
            record_count: batch.record_count,
            limit,
        }
    }

    pub(crate) fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The first offset that may come behind the one of this delta.
    pub(crate) fn offset_behind(&self, delta: i32) -> i64 {
        self.base_offset + i64::from(delta) + 1
    }

    pub(crate) fn failed(&self, source: CodecError) -> BatchError {
        BatchError::Codec {
            base_offset: self.base_offset,
            source,
        }
    }

    #[cold]
    fn unreadable(&self, index: u32, fault: Fault) -> Box<BatchError> {
        let (base_offset, limit) = (self.base_offset, self.limit);
        Box::new(match fault {
            Fault::Malformed(what) => BatchError::MalformedRecord {
                base_offset,
                index,
                what,
            },
            Fault::TooLarge(memory) => BatchError::RecordTooLarge {
                base_offset,
                index,
                memory,
                limit,
            },
        })
    }

    #[cold]
    fn out_of_order(&self, index: u32, delta: i32) -> Box<BatchError> {
        Box::new(BatchError::InvalidOffsetDelta {
            base_offset: self.base_offset,
            index,
            delta,
        })
    }

    /// The records section does not hold as many as the header says.
    pub(crate) fn mismatch(&self, found: Found) -> BatchError {
        BatchError::CountMismatch {
            base_offset: self.base_offset,
            declared: self.record_count,
            found,
        }
    }
}

/// The uncompressed records section of a batch, or a part of it.
#[derive(Debug, Clone)]
pub struct RecordsV2 {
    pub(crate) bytes: Bytes,
    pub(crate) record_count: u32,
    pub(crate) frame: Frame,
    /// The first record's is more than this.
    pub(crate) delta_before: i32,
}

impl RecordsV2 {
    /// `bytes` is the whole records section, uncompressed.
    pub(crate) fn new(frame: Frame, bytes: Bytes) -> Result<RecordsV2, BatchError> {
        // Callers may allocate by the count, so it must be one that the bytes can hold.
        if frame.record_count as usize > bytes.len() / MIN_RECORD {
            return Err(frame.mismatch(Found::Fewer));
        }
        Ok(RecordsV2 {
            bytes,
            record_count: frame.record_count,
            frame,
            delta_before: -1,
        })
    }

    pub(crate) fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            records: self,
            pos: 0,
            index: 0,
            last_delta: self.delta_before,
            done: false,
        }
    }

    pub(crate) fn first_offset(&self) -> i64 {
        self.frame.base_offset + i64::from(self.delta_before) + 1
    }

    pub(crate) fn memory(&self) -> usize {
        let (mut records, mut taken, mut before) = (self.iter(), 0_usize, 0);
        while let Some(Ok(record)) = records.next() {
            taken = taken.saturating_add(record.memory(records.pos - before));
            before = records.pos;
        }
        taken
    }

    /// The first records that are wanted.
    pub(crate) fn within(&self, share: Share) -> Part {
        self.iter().within(share)
    }

    pub(crate) fn split_off(&mut self, share: Share) -> Option<RecordsV2> {
        let bytes = self.bytes.len();
        if bytes <= share.bytes && !share.is_exceeded_by(bytes) {
            return None;
        }
        let part = self.within(share);
        if part.ended || part.delta == self.frame.last_offset_delta {
            return None;
        }
        let rest = RecordsV2 {
            bytes: self.bytes.split_off(part.bytes),
            record_count: self.record_count - part.count,
            frame: self.frame,
            delta_before: part.delta,
        };
        self.record_count = part.count;
        Some(rest)
    }
}

/// The first records of several.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub count: u32,
    /// Of the last one.
    pub delta: i32,
    /// Where it ends.
    pub bytes: usize,
    /// There are no more, or the next one cannot be read.
    pub ended: bool,
}

/// See [`super::Records::iter`].
#[derive(Debug)]
pub struct RecordIter<'a> {
    records: &'a RecordsV2,
    pos: usize,
    index: u32,
    last_delta: i32,
    done: bool,
}

impl<'a> RecordIter<'a> {
    /// See [`RecordsV2::within`].
    fn within(mut self, share: Share) -> Part {
        let mut part = Part {
            count: 0,
            delta: self.last_delta,
            bytes: 0,
            ended: false,
        };
        let mut memory = 0_usize;
        while part.count == 0 || (part.bytes < share.bytes && memory < share.memory) {
            let Some(Ok(record)) = self.next() else {
                part.ended = true;
                return part;
            };
            memory = memory.saturating_add(record.memory(self.pos - part.bytes));
            part.count += 1;
            part.delta = self.last_delta;
            part.bytes = self.pos;
        }
        part.ended =
            self.index == self.records.record_count || self.pos == self.records.bytes.len();
        part
    }

    #[inline]
    fn read(&mut self) -> Result<Option<Record<'a>>, Box<BatchError>> {
        let records = self.records;
        let frame = &records.frame;
        let bytes: &'a [u8] = &records.bytes;
        let at_end = self.pos == bytes.len();
        if self.index == records.record_count || at_end {
            return match (self.index == records.record_count, at_end) {
                (true, true) => Ok(None),
                (true, false) => Err(Box::new(frame.mismatch(Found::More))),
                (false, _) => Err(Box::new(frame.mismatch(Found::Fewer))),
            };
        }
        let raw = match read_record(bytes, &mut self.pos, frame.limit) {
            Ok(raw) => raw,
            Err(fault) => return Err(frame.unreadable(self.index, fault)),
        };
        let delta = raw.offset_delta;
        if delta <= self.last_delta || delta > frame.last_offset_delta {
            return Err(frame.out_of_order(self.index, delta));
        }
        self.last_delta = delta;
        self.index += 1;
        Ok(Some(Record {
            offset: frame.base_offset + i64::from(delta),
            timestamp: frame
                .append_time
                .unwrap_or_else(|| frame.base_timestamp.wrapping_add(raw.timestamp_delta)),
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        }))
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, Box<BatchError>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.read().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

struct RawRecord<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<Span>,
    value: Option<Span>,
    headers: Headers<'a>,
}

/// What is wrong with a record.
pub(super) enum Fault {
    Malformed(&'static str),
    /// It takes so much memory.
    TooLarge(usize),
}

use Fault::Malformed;

#[inline]
fn read_record<'a>(bytes: &'a [u8], pos: &mut usize, limit: usize) -> Result<RawRecord<'a>, Fault> {
    let length = read_varint(bytes, pos)
        .and_then(|length| usize::try_from(length).ok())
        .ok_or(Malformed("its length"))?;
    if length > bytes.len() - *pos {
        return Err(Malformed("it is longer than the batch"));
    }
    let end = *pos + length;
    // Positions stay those in the whole section; nothing can be read beyond this record.
    let bytes = &bytes[..end];
    if *pos == end {
        return Err(Malformed("it is empty"));
    }
    *pos += 1; // attributes: none are defined
    let timestamp_delta = read_varlong(bytes, pos).ok_or(Malformed("its timestamp"))?;
    let offset_delta = read_varint(bytes, pos).ok_or(Malformed("its offset"))?;
    let key = read_nullable(bytes, pos).map_err(|_| Malformed("its key"))?;
    let value = read_nullable(bytes, pos).map_err(|_| Malformed("its value"))?;
    let count = read_varint(bytes, pos)
        .and_then(|count| u32::try_from(count).ok())
        // A name and a value have a length each.
        .filter(|count| *count as usize <= (end - *pos) / 2)
        .ok_or(Malformed("its header count"))?;
    let memory = length.saturating_add((count as usize).saturating_mul(HEADER_MEMORY));
    if memory > limit {
        return Err(Fault::TooLarge(memory));
    }
    let headers = Headers {
        bytes,
        pos: *pos,
        left: count as usize,
    };
    for _ in 0..count {
        read_nullable(bytes, pos)
            .ok()
            .flatten()
            .ok_or(Malformed("the name of a header"))?;
        read_nullable(bytes, pos).map_err(|_| Malformed("the value of a header"))?;
    }
    if *pos != end {
        return Err(Malformed("bytes are left over"));
    }
    Ok(RawRecord {
        timestamp_delta,
        offset_delta,
        key,
        value,
        headers,
    })
}

/// Reads a length and passes over as many bytes; -1 is null.
#[inline]
pub(super) fn read_nullable(bytes: &[u8], pos: &mut usize) -> Result<Option<Span>, Fault> {
    let length = read_varint(bytes, pos).ok_or(Malformed("a length"))?;
    if length == -1 {
        return Ok(None);
    }
    let len = usize::try_from(length).map_err(|_| Malformed("a negative length"))?;
    if len > bytes.len() - *pos {
        return Err(Malformed("a length beyond the record"));
    }
    let start = *pos;
    *pos += len;
    Ok(Some(Span { start, len }))
}
