//! Reads record batches out of what a Fetch response carries; message sets of the formats before v2
//! become batches, too.
//!
//! Nothing is trusted: every length is checked against the bytes that are there, and a batch's
//! checksum before anything of it is given out.

use bytes::Bytes;
use thiserror::Error;

use super::compress::{decompress, Codec, CodecError};
use super::error::ErrorCode;
use super::layout as at;
use super::legacy::message_set::{self, Wrapper};
pub use super::records::{ControlType, Headers, Record, RecordIter, Records, Span};
use super::records::{Frame, RecordsV2};
use super::unpack::Unpacking;

/// Why bytes are not the record batches that they should be.
#[derive(Debug, Error)]
pub enum BatchError {
    /// A format that is not read here.
    #[error("record format version {magic} at offset {base_offset} is not supported here")]
    UnsupportedMagic {
        /// The format version.
        magic: i8,
        /// The batch's first offset.
        base_offset: i64,
    },
    /// A length that no batch has.
    #[error("batch at offset {base_offset} declares an impossible length of {length} bytes")]
    InvalidLength {
        /// The batch's first offset.
        base_offset: i64,
        /// As it says.
        length: i32,
    },
    /// Brokers send the first batch whole, whatever its size, or nothing (KIP-74).
    #[error("the first batch is cut off: it takes {size} bytes, and {found} came")]
    FirstCutOff {
        /// As it says.
        size: usize,
        /// What is there.
        found: usize,
    },
    /// Damaged on its way or on a disk.
    #[error("batch at offset {base_offset} is corrupt: checksum {computed:#010x}, expected {expected:#010x}")]
    BadChecksum {
        /// The batch's first offset.
        base_offset: i64,
        /// As it says.
        expected: u32,
        /// Of what came.
        computed: u32,
    },
    /// A number in the header that makes no sense.
    #[error("batch at offset {base_offset} has an invalid {field}: {value}")]
    InvalidField {
        /// The batch's first offset.
        base_offset: i64,
        /// Its name.
        field: &'static str,
        /// What it says.
        value: i64,
    },
    /// Compressed in a way that is newer than this client.
    #[error("batch at offset {base_offset} names codec {number}, which is unknown")]
    UnknownCodec {
        /// The batch's first offset.
        base_offset: i64,
        /// The codec's number.
        number: i16,
    },
    /// The records do not unpack, or to too much.
    #[error("batch at offset {base_offset}: {source}")]
    Codec {
        /// The batch's first offset.
        base_offset: i64,
        /// What is wrong.
        source: CodecError,
    },
    /// More or fewer records than the header says.
    #[error("batch at offset {base_offset} declares {declared} records but holds {found}")]
    CountMismatch {
        /// The batch's first offset.
        base_offset: i64,
        /// As its header says.
        declared: u32,
        /// What is there.
        found: Found,
    },
    /// A record that does not parse.
    #[error("record {index} of the batch at offset {base_offset} is malformed: {what}")]
    MalformedRecord {
        /// The batch's first offset.
        base_offset: i64,
        /// The place of the record in the batch, from 0.
        index: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// A record whose offset is not behind the one before, or outside of the batch.
    #[error("record {index} of the batch at offset {base_offset} has offset delta {delta} out of order or range")]
    InvalidOffsetDelta {
        /// The batch's first offset.
        base_offset: i64,
        /// The place of the record in the batch, from 0.
        index: u32,
        /// As it says.
        delta: i32,
    },
    /// A record that takes more memory than it may.
    #[error("record {index} of the batch at offset {base_offset} takes {memory} bytes of memory, more than the limit of {limit}")]
    RecordTooLarge {
        /// The batch's first offset.
        base_offset: i64,
        /// The place of the record in the batch, from 0.
        index: u32,
        /// Its bytes, and what its headers take beside them.
        memory: usize,
        /// See [`Batch::records`].
        limit: usize,
    },
    /// A marker of a transaction that does not parse.
    #[error("control record at offset {offset} has a malformed key")]
    MalformedControlRecord {
        /// Its offset.
        offset: i64,
    },
}

impl From<Box<BatchError>> for BatchError {
    fn from(error: Box<BatchError>) -> BatchError {
        *error
    }
}

impl BatchError {
    /// The error code that subscribers get to see.
    pub fn code(&self) -> ErrorCode {
        match self {
            BatchError::UnsupportedMagic { .. } => ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
            BatchError::UnknownCodec { .. } => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            BatchError::Codec {
                source: CodecError::LimitExceeded { .. },
                ..
            }
            | BatchError::RecordTooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
            _ => ErrorCode::CORRUPT_MESSAGE,
        }
    }
}

/// How the records that are there compare with the count that a batch declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Than the header says.
    Fewer,
    /// Than the header says.
    More,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Found::Fewer => "fewer",
            Found::More => "more",
        })
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
    /// not even its length is there); `None` when the bytes ended with a batch. The number is what
    /// the batch says of itself, and not to be relied on.
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
        let mut least = at::HEADER;
        match buf.get(at::MAGIC).map(|&magic| magic as i8) {
            Some(at::MAGIC_V2) => {}
            Some(0 | 1) => {
                let read = message_set::read(&mut self.rest)?;
                self.incomplete = read.as_ref().err().copied();
                return Ok(read.ok());
            }
            Some(magic) => return Err(BatchError::UnsupportedMagic { magic, base_offset }),
            None => least = message_set::LEAST,
        }
        let size = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(at::LENGTH_PREFIX))
            .filter(|&size| size >= least)
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
    /// The offset of the first record.
    pub base_offset: i64,
    /// The epoch of the leader that appended it (KIP-101).
    pub partition_leader_epoch: i32,
    /// As on the wire; see the methods.
    pub attributes: i16,
    /// From the first offset to the last.
    pub last_offset_delta: i32,
    /// In ms since 1970; the records count from it.
    pub base_timestamp: i64,
    /// The newest record's, or when the broker appended the batch.
    pub max_timestamp: i64,
    /// Of an idempotent or transactional producer; else -1.
    pub producer_id: i64,
    /// The producer's epoch; -1 without one.
    pub producer_epoch: i16,
    /// The first record's sequence number; -1 without a producer id.
    pub base_sequence: i32,
    /// As the batch says.
    pub record_count: u32,
    /// The records section as it came, compressed or not.
    pub payload: Bytes,
    /// The payload holds messages of an old format, and nothing else is known of them.
    pub(crate) wrapper: Option<Wrapper>,
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
        // The offset behind the batch must be one, too.
        let last = base_offset.checked_add(last_offset_delta.into());
        if base_offset < 0 || last.is_none_or(|last| last == i64::MAX) {
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
            wrapper: None,
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
    /// memory already: they are shared. A record whose bytes and headers take more memory than `limit`
    /// shows in iterating.
    ///
    /// For batches that may unpack to a lot see [`Batch::unpack`].
    pub fn records(&self, limit: usize) -> Result<Records, BatchError> {
        let codec = self.codec()?;
        if let Some(wrapper) = self.wrapper {
            return message_set::unwrap(wrapper, codec, &self.payload, limit)?.records(limit);
        }
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
        RecordsV2::new(Frame::new(self, limit), bytes).map(Records::V2)
    }

    /// The records, part by part: what is unpacked is what is asked for. `limit` is as in
    /// [`Batch::records`], and counts all parts together.
    pub fn unpack(&self, limit: usize) -> Result<Unpacking, BatchError> {
        Unpacking::new(self, limit)
    }
}

/// The bytes of a fixed field; the caller has checked that they are there.
#[inline]
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
