//! Reads v2 record batches out of what a Fetch response carries.
//!
//! Nothing is trusted: every length is checked against the bytes that are there, and a batch's
//! checksum before anything of it is given out. Keys and values are positions in the records
//! section, so that a caller can hand out parts of that memory without copying.

use bytes::Bytes;
use thiserror::Error;

use super::compress::{decompress, Codec, CodecError};
use super::layout as at;
use super::varint::{read_varint, read_varlong};

/// Length, attributes, two deltas, two lengths, header count: a byte each at least.
const MIN_RECORD: usize = 7;

/// Why bytes are not the record batches that they should be.
#[derive(Debug, Error)]
pub enum BatchError {
    #[error("record format version {magic} at offset {base_offset} is not supported here")]
    UnsupportedMagic { magic: i8, base_offset: i64 },
    #[error("batch at offset {base_offset} declares an impossible length of {length} bytes")]
    InvalidLength { base_offset: i64, length: i32 },
    #[error("batch at offset {base_offset} is corrupt: checksum {computed:#010x}, expected {expected:#010x}")]
    BadChecksum {
        base_offset: i64,
        expected: u32,
        computed: u32,
    },
    #[error("batch at offset {base_offset} has an invalid {field}: {value}")]
    InvalidField {
        base_offset: i64,
        field: &'static str,
        value: i64,
    },
    #[error("batch at offset {base_offset} names codec {number}, which is unknown")]
    UnknownCodec { base_offset: i64, number: i16 },
    #[error("batch at offset {base_offset}: {source}")]
    Codec {
        base_offset: i64,
        source: CodecError,
    },
    #[error("batch at offset {base_offset} declares {declared} records but holds {found}")]
    CountMismatch {
        base_offset: i64,
        declared: u32,
        /// `more` or the number.
        found: Found,
    },
    #[error("record {index} of the batch at offset {base_offset} is malformed: {what}")]
    MalformedRecord {
        base_offset: i64,
        index: u32,
        what: &'static str,
    },
    #[error("record {index} of the batch at offset {base_offset} has offset delta {delta} out of order or range")]
    InvalidOffsetDelta {
        base_offset: i64,
        index: u32,
        delta: i32,
    },
    #[error("control record at offset {offset} has a malformed key")]
    MalformedControlRecord { offset: i64 },
}

/// How many records a batch was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// At most as many; for a batch refused before its records were read, what would fit.
    AtMost(u32),
    More,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Found::AtMost(count) => write!(f, "at most {count}"),
            Found::More => f.write_str("more"),
        }
    }
}

/// The batches in a partition's `records` of a Fetch response, without copying.
///
/// Ends at a batch that is cut off, as brokers cut the last one, and after the first error.
pub fn batches(buf: Bytes) -> Batches {
    Batches {
        rest: buf,
        incomplete: None,
        failed: false,
    }
}

/// See [`batches`].
#[derive(Debug)]
pub struct Batches {
    rest: Bytes,
    incomplete: Option<usize>,
    failed: bool,
}

impl Batches {
    /// After the end: how many bytes, in all, the batch that was cut off takes (or its header, when
    /// not even its length is there); `None` when the bytes ended with a batch.
    ///
    /// A consumer whose first batch is cut off must ask for this many.
    pub fn incomplete(&self) -> Option<usize> {
        self.incomplete
    }

    /// What has not been read: the batch that was cut off, or the one that failed and all behind it.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    fn read(&mut self) -> Result<Option<Batch>, BatchError> {
        let buf = &self.rest;
        if buf.is_empty() {
            return Ok(None);
        }
        if buf.len() < at::LENGTH_PREFIX {
            self.incomplete = Some(at::HEADER);
            return Ok(None);
        }
        let base_offset = i64::from_be_bytes(field(buf, at::BASE_OFFSET));
        let length = i32::from_be_bytes(field(buf, at::BATCH_LENGTH));
        // The older formats have their magic at the same place, and shorter headers.
        if let Some(&magic) = buf.get(at::MAGIC) {
            let magic = magic as i8;
            if magic != at::MAGIC_V2 {
                return Err(BatchError::UnsupportedMagic { magic, base_offset });
            }
        }
        let size = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(at::LENGTH_PREFIX))
            .filter(|&size| size >= at::HEADER)
            .ok_or(BatchError::InvalidLength {
                base_offset,
                length,
            })?;
        if size > buf.len() {
            self.incomplete = Some(size);
            return Ok(None);
        }
        let batch = Batch::parse(buf.slice(..size))?;
        self.rest = self.rest.slice(size..);
        Ok(Some(batch))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.read().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

/// What the timestamps of a batch's records mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer set them.
    Create,
    /// The broker replaced them by the time it appended the batch.
    Append,
}

/// A batch whose checksum was right and whose header makes sense.
#[derive(Debug, Clone)]
pub struct Batch {
    pub base_offset: i64,
    pub partition_leader_epoch: i32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: u32,
    /// The records section as it came, compressed or not.
    pub payload: Bytes,
}

impl Batch {
    /// `bytes` is a whole batch, of at least the header's size.
    fn parse(bytes: Bytes) -> Result<Batch, BatchError> {
        let base_offset = i64::from_be_bytes(field(&bytes, at::BASE_OFFSET));
        let expected = u32::from_be_bytes(field(&bytes, at::CRC));
        let computed = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
        if computed != expected {
            return Err(BatchError::BadChecksum {
                base_offset,
                expected,
                computed,
            });
        }
        let invalid = |field, value| BatchError::InvalidField {
            base_offset,
            field,
            value,
        };
        let last_offset_delta = i32::from_be_bytes(field(&bytes, at::LAST_OFFSET_DELTA));
        if last_offset_delta < 0 {
            return Err(invalid("last offset delta", last_offset_delta.into()));
        }
        if base_offset < 0 || base_offset.checked_add(last_offset_delta.into()).is_none() {
            return Err(invalid("base offset", base_offset));
        }
        let count = i32::from_be_bytes(field(&bytes, at::RECORD_COUNT));
        let record_count =
            u32::try_from(count).map_err(|_| invalid("record count", count.into()))?;
        Ok(Batch {
            base_offset,
            partition_leader_epoch: i32::from_be_bytes(field(&bytes, at::PARTITION_LEADER_EPOCH)),
            attributes: i16::from_be_bytes(field(&bytes, at::ATTRIBUTES)),
            last_offset_delta,
            base_timestamp: i64::from_be_bytes(field(&bytes, at::BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(&bytes, at::MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(&bytes, at::PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(&bytes, at::PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(&bytes, at::BASE_SEQUENCE)),
            record_count,
            payload: bytes.slice(at::HEADER..),
        })
    }

    /// Whether the records mark the ends of transactions and are not for users.
    pub fn is_control(&self) -> bool {
        self.attributes & at::CONTROL_BIT != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & at::TRANSACTIONAL_BIT != 0
    }

    /// What the records' timestamps mean.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & at::LOG_APPEND_TIME_BIT != 0 {
            TimestampType::Append
        } else {
            TimestampType::Create
        }
    }

    /// How the records are compressed.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        Codec::from_attributes(self.attributes).ok_or(BatchError::UnknownCodec {
            base_offset: self.base_offset,
            number: self.attributes & 0x07,
        })
    }

    /// The offset of the last record, which may have been compacted away.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The records, decompressed into at most `limit` bytes. Those that are not compressed are in
    /// memory already: they are shared, and the limit does not matter.
    pub fn records(&self, limit: usize) -> Result<Records, BatchError> {
        let codec = self.codec()?;
        // A batch that compaction emptied keeps its attributes and has no payload.
        let bytes = if codec == Codec::None || self.payload.is_empty() {
            self.payload.clone()
        } else {
            decompress(codec, &self.payload, limit)
                .map_err(|source| BatchError::Codec {
                    base_offset: self.base_offset,
                    source,
                })?
                .into()
        };
        // Callers may allocate by the count, so it must be one that the bytes can hold.
        let fit = u32::try_from(bytes.len() / MIN_RECORD).unwrap_or(u32::MAX);
        if self.record_count > fit {
            return Err(BatchError::CountMismatch {
                base_offset: self.base_offset,
                declared: self.record_count,
                found: Found::AtMost(fit),
            });
        }
        Ok(Records {
            bytes,
            record_count: self.record_count,
            base_offset: self.base_offset,
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.base_timestamp,
            append_time: match self.timestamp_type() {
                TimestampType::Append => Some(self.max_timestamp),
                TimestampType::Create => None,
            },
        })
    }
}

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
    base_timestamp: i64,
    append_time: Option<i64>,
}

impl Records {
    /// The records in order. Ends after the first error; a count that was wrong is one.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            records: self,
            pos: 0,
            index: 0,
            last_delta: -1,
            done: false,
        }
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

/// The headers of a record: names with values, which may be null.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    // Checked when the record was read.
    bytes: &'a [u8],
    pos: usize,
    left: u32,
}

impl Headers<'_> {
    /// How many are left.
    pub fn count(&self) -> u32 {
        self.left
    }
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
                (false, _) => Found::AtMost(self.index),
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

/// The bytes of a fixed field; the caller has checked that they are there.
#[inline]
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
