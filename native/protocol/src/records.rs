//! The records inside a batch.
//!
//! Keys and values are given as positions in the records section, so that a caller can hand out
//! parts of that memory without copying.

use bytes::Bytes;

use super::batch_reader::{Batch, BatchError, Found, TimestampType};
use super::varint::{read_varint, read_varlong};

/// Length, attributes, two deltas, two lengths, header count: a byte each at least.
const MIN_RECORD: usize = 7;

/// A part of [`Records::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub len: usize,
}

/// The uncompressed records section of a batch.
#[derive(Debug, Clone)]
pub struct Records {
    /// What [`Span`]s point into.
    pub bytes: Bytes,
    /// At most what the bytes can hold; whether they do shows in iterating.
    pub record_count: u32,
    base_offset: i64,
    last_offset_delta: i32,
    /// The first record's is more than this.
    delta_before: i32,
    base_timestamp: i64,
    append_time: Option<i64>,
}

impl Records {
    /// `bytes` is the records section of `batch`, uncompressed.
    pub(super) fn new(batch: &Batch, bytes: Bytes) -> Result<Records, BatchError> {
        // Callers may allocate by the count, so it must be one that the bytes can hold.
        if batch.record_count as usize > bytes.len() / MIN_RECORD {
            return Err(BatchError::CountMismatch {
                base_offset: batch.base_offset,
                declared: batch.record_count,
                found: Found::Fewer,
            });
        }
        Ok(Records {
            bytes,
            record_count: batch.record_count,
            base_offset: batch.base_offset,
            last_offset_delta: batch.last_offset_delta,
            delta_before: -1,
            base_timestamp: batch.base_timestamp,
            append_time: match batch.timestamp_type() {
                TimestampType::Append => Some(batch.max_timestamp),
                TimestampType::Create => None,
            },
        })
    }

    /// The records in order. Ends after the first error; a count that was wrong is one.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            records: self,
            pos: 0,
            index: 0,
            last_delta: self.delta_before,
            done: false,
        }
    }

    /// The offset of the first record is not below this one.
    pub fn first_offset(&self) -> i64 {
        self.base_offset + i64::from(self.delta_before) + 1
    }

    /// Keeps as many records as have `bytes` bytes, but one at least, and returns the ones behind
    /// them. None: there are none, or one before them cannot be read, which shows in iterating.
    pub fn split_off(&mut self, bytes: usize) -> Option<Records> {
        let (mut last, mut pos, mut count) = (0, 0, 0);
        while pos < bytes.max(1) {
            last = pos;
            let length = read_varint(&self.bytes, &mut pos)?;
            pos = pos.checked_add(usize::try_from(length).ok()?)?;
            count += 1;
            if count == self.record_count || pos >= self.bytes.len() {
                return None;
            }
        }
        let mut last = RecordIter {
            pos: last,
            ..self.iter()
        };
        last.next()?.ok()?;
        let delta_before = last.last_delta;
        if delta_before == self.last_offset_delta {
            return None;
        }
        let rest = Records {
            bytes: self.bytes.split_off(pos),
            record_count: self.record_count - count,
            delta_before,
            ..self.clone()
        };
        self.record_count = count;
        Some(rest)
    }

    /// The bytes of a span that came from these records. Panics on one that lies outside.
    #[inline]
    pub fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.start..span.start + span.len]
    }

    /// What a record of a control batch says.
    pub fn control_type(&self, record: &Record<'_>) -> Result<ControlType, BatchError> {
        let key = record.key.map_or(&[][..], |span| self.slice(span));
        match key {
            [_, _, high, low, ..] => Ok(match i16::from_be_bytes([*high, *low]) {
                0 => ControlType::Abort,
                1 => ControlType::Commit,
                other => ControlType::Other(other),
            }),
            _ => Err(BatchError::MalformedControlRecord {
                offset: record.offset,
            }),
        }
    }
}

/// What a control record marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// The producer's open transaction ended and does not count.
    Abort,
    /// The producer's open transaction ended and counts.
    Commit,
    /// Of no concern to consumers.
    Other(i16),
}

/// A record; its key and value are positions in the [`Records`] it came from.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    pub offset: i64,
    /// Milliseconds since 1970, of the kind that the batch's timestamp type says.
    pub timestamp: i64,
    /// `None` is null, which is not the same as empty; so for the value.
    pub key: Option<Span>,
    pub value: Option<Span>,
    pub headers: Headers<'a>,
}

/// The headers of a record: names with values, which may be null. `len()` tells how many are left.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    // Checked when the record was read.
    bytes: &'a [u8],
    pos: usize,
    left: u32,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let bytes = self.bytes;
        let name = read_nullable(bytes, &mut self.pos).ok()??;
        let value = read_nullable(bytes, &mut self.pos).ok()?;
        let slice = |span: Span| &bytes[span.start..span.start + span.len];
        Some((slice(name), value.map(slice)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// See [`Records::iter`].
#[derive(Debug)]
pub struct RecordIter<'a> {
    records: &'a Records,
    pos: usize,
    index: u32,
    last_delta: i32,
    done: bool,
}

impl<'a> RecordIter<'a> {
    fn read(&mut self) -> Result<Option<Record<'a>>, BatchError> {
        let records = self.records;
        let bytes: &'a [u8] = &records.bytes;
        let at_end = self.pos == bytes.len();
        if self.index == records.record_count || at_end {
            let found = match (self.index == records.record_count, at_end) {
                (true, true) => return Ok(None),
                (true, false) => Found::More,
                (false, _) => Found::Fewer,
            };
            return Err(BatchError::CountMismatch {
                base_offset: records.base_offset,
                declared: records.record_count,
                found,
            });
        }
        let raw = read_record(bytes, &mut self.pos).map_err(|Malformed(what)| {
            BatchError::MalformedRecord {
                base_offset: records.base_offset,
                index: self.index,
                what,
            }
        })?;
        let delta = raw.offset_delta;
        if delta <= self.last_delta || delta > records.last_offset_delta {
            return Err(BatchError::InvalidOffsetDelta {
                base_offset: records.base_offset,
                index: self.index,
                delta,
            });
        }
        self.last_delta = delta;
        self.index += 1;
        Ok(Some(Record {
            offset: records.base_offset + i64::from(delta),
            timestamp: records
                .append_time
                .unwrap_or_else(|| records.base_timestamp.wrapping_add(raw.timestamp_delta)),
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        }))
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

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
struct Malformed(&'static str);

#[inline]
fn read_record<'a>(bytes: &'a [u8], pos: &mut usize) -> Result<RawRecord<'a>, Malformed> {
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
        .ok_or(Malformed("its header count"))?;
    let headers = Headers {
        bytes,
        pos: *pos,
        left: count,
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
fn read_nullable(bytes: &[u8], pos: &mut usize) -> Result<Option<Span>, Malformed> {
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
