//! The records inside a batch, in whatever format.
//!
//! Keys and values are given as positions in the records section, so that a caller can hand out
//! parts of that memory without copying.

use bytes::Bytes;

use super::batch_reader::BatchError;

mod v2;

pub use v2::RecordsV2;

pub(crate) use v2::Frame;

/// What a message takes in Erlang beside its bytes, about: a record of nine words and two binaries.
pub const RECORD_MEMORY: usize = 160;

/// What a header takes in Erlang, about, beside its bytes: a pair, two binaries and the cell of a
/// list. On the wire an empty one has two bytes.
pub const HEADER_MEMORY: usize = 128;

/// How much more memory records take than they have bytes, at most: empty headers do, as above.
const MOST_MEMORY: usize = HEADER_MEMORY / 2 + 1;

/// How many records are wanted: those that reach one of the two limits, but one at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Bytes on the wire, uncompressed.
    pub bytes: usize,
    /// Bytes in memory ([`Record::memory`]). Records are walked for it only where so many bytes could take
    /// more.
    pub memory: usize,
}

impl Share {
    /// All that there are.
    pub const ALL: Share = Share {
        bytes: usize::MAX,
        memory: usize::MAX,
    };

    /// As many as take so much memory.
    pub const fn of_memory(memory: usize) -> Share {
        Share {
            bytes: usize::MAX,
            memory,
        }
    }

    /// As many as have so many bytes.
    pub const fn of_bytes(bytes: usize) -> Share {
        Share {
            bytes,
            memory: usize::MAX,
        }
    }

    /// Whether so many bytes may take more memory.
    pub(crate) fn is_exceeded_by(&self, bytes: usize) -> bool {
        bytes.saturating_mul(MOST_MEMORY) > self.memory
    }
}

/// A part of [`Records::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: usize,
    /// Its size.
    pub len: usize,
}

/// Uncompressed records of one batch.
#[derive(Debug, Clone)]
pub enum Records {
    /// Of format version 2, the one since Kafka 0.11.
    V2(RecordsV2),
}

impl Records {
    /// What [`Span`]s point into.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Records::V2(records) => &records.bytes,
        }
    }

    /// How many there are; at most what the bytes can hold. Whether they do shows in iterating.
    pub fn record_count(&self) -> u32 {
        match self {
            Records::V2(records) => records.record_count,
        }
    }

    /// The records in order. Ends after the first error; a count that was wrong is one, and a record
    /// that takes more memory than the limit that the records were read with.
    #[inline]
    pub fn iter(&self) -> RecordIter<'_> {
        match self {
            Records::V2(records) => RecordIter::V2(records.iter()),
        }
    }

    /// The offset of the first record is not below this one.
    pub fn first_offset(&self) -> i64 {
        match self {
            Records::V2(records) => records.first_offset(),
        }
    }

    /// What all of them take ([`Record::memory`]); of those behind an error nothing is known.
    pub fn memory(&self) -> usize {
        match self {
            Records::V2(records) => records.memory(),
        }
    }

    /// Keeps as many records as are wanted and returns the ones behind them, without copying. None: there
    /// are none, or one before them cannot be read, which shows in iterating.
    pub fn split_off(&mut self, share: Share) -> Option<Records> {
        match self {
            Records::V2(records) => records.split_off(share).map(Records::V2),
        }
    }

    /// The bytes of a span that came from these records. Panics on one that lies outside.
    #[inline]
    pub fn slice(&self, span: Span) -> &[u8] {
        &self.bytes()[span.start..span.start + span.len]
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

/// See [`Records::iter`].
#[derive(Debug)]
pub enum RecordIter<'a> {
    /// Of format version 2.
    V2(v2::RecordIter<'a>),
}

impl<'a> Iterator for RecordIter<'a> {
    /// The error is boxed: with a large one beside it, each record would be copied from place to place byte by byte.
    type Item = Result<Record<'a>, Box<BatchError>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            RecordIter::V2(records) => records.next(),
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
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970, of the kind that the batch's timestamp type says.
    pub timestamp: i64,
    /// `None` is null, which is not the same as empty; so for the value.
    pub key: Option<Span>,
    /// See `key`.
    pub value: Option<Span>,
    /// In the producer's order.
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// What the record takes, about, once it is a message with all its terms; `bytes` is its size on
    /// the wire.
    pub fn memory(&self, bytes: usize) -> usize {
        let headers = self.headers.len().saturating_mul(HEADER_MEMORY);
        bytes.saturating_add(RECORD_MEMORY).saturating_add(headers)
    }
}

/// The headers of a record: names with values, which may be null. `len()` tells how many are left.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    // Checked when the record was read.
    bytes: &'a [u8],
    pos: usize,
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let bytes = self.bytes;
        let name = v2::read_nullable(bytes, &mut self.pos).ok()??;
        let value = v2::read_nullable(bytes, &mut self.pos).ok()?;
        let slice = |span: Span| &bytes[span.start..span.start + span.len];
        Some((slice(name), value.map(slice)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}
