//! Builds v2 record batches straight in wire form.
//!
//! Records go behind space for the header in one buffer; sealing writes the header in place, so an
//! uncompressed batch is never copied. Nor are values that are lent to it: these stay where they are, and
//! the batch knows where in the buffer they belong.

use bytes::Bytes;
use thiserror::Error;

use super::compress::{compress, Codec, CodecError};
use super::layout as at;
use super::memory::Memory;
use super::sealed_batch::{put, put_identity, Lent, SealedBatch};
use super::varint::{put_varint, put_varlong, varint_size, varlong_size, write_varint};

/// The most that stands in a record before its key: its length, attributes, timestamp and offset deltas, and the
/// key's length.
const MAX_RECORD_PREFIX: usize = 5 + 1 + 10 + 5 + 5;

/// A header of a record: its name, and its value, which may be null.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Why a batch could not be sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// It has no record.
    #[error("a batch without records cannot be sent")]
    Empty,
    /// Its length does not fit where it is written.
    #[error("a batch of {size} bytes is more than the protocol can carry")]
    TooLarge {
        /// In bytes.
        size: usize,
    },
    /// It does not compress.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// What is decided when a batch is closed: who produces it and how it is compressed.
#[derive(Debug, Clone, Copy)]
pub struct SealOptions {
    /// -1 when the producer is not idempotent; so are the next two.
    pub producer_id: i64,
    /// See `producer_id`.
    pub producer_epoch: i16,
    /// See `producer_id`.
    pub base_sequence: i32,
    /// How it is compressed.
    pub codec: Codec,
    /// The codec's own scale; `None` for its default.
    pub level: Option<i32>,
    /// Whether it is part of a transaction.
    pub transactional: bool,
}

impl Default for SealOptions {
    /// No compression, not idempotent, not in a transaction.
    fn default() -> Self {
        SealOptions {
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            codec: Codec::None,
            level: None,
            transactional: false,
        }
    }
}

/// A state to which a writer can go back.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    len: usize,
    state: State,
}

#[derive(Debug, Clone, Copy)]
struct State {
    count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    payload: usize,
}

/// The value of a record.
enum Value<'a> {
    Null,
    /// Copied into the buffer.
    Copied(&'a [u8]),
    /// Left where it is.
    Lent(Bytes),
}

/// An open batch.
#[derive(Debug)]
pub struct BatchWriter {
    buf: Memory,
    lent: Lent,
    state: State,
}

impl BatchWriter {
    /// An empty batch with room for `capacity` bytes, the header's 61 included.
    pub fn new(capacity: usize) -> Self {
        let mut buf = Memory::with_capacity(capacity.max(at::HEADER));
        buf.resize(at::HEADER, 0);
        BatchWriter {
            buf,
            lent: Lent::default(),
            state: State {
                count: 0,
                base_timestamp: 0,
                max_timestamp: i64::MIN,
                payload: 0,
            },
        }
    }

    /// Appends a record. `timestamp_ms` is milliseconds since 1970; null and empty keys and values
    /// are different things.
    #[inline]
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        let value = value.map_or(Value::Null, Value::Copied);
        self.push_value(timestamp_ms, key, value, headers);
    }

    /// As [`Self::push`], with a value that is not copied unless the batch is compressed. Worth it for some
    /// kilobytes and more, as each value goes to the socket as a piece of its own.
    pub fn push_lent(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Bytes,
        headers: &[Header<'_>],
    ) {
        self.push_value(timestamp_ms, key, Value::Lent(value), headers);
    }

    #[inline(always)]
    fn push_value(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Value<'_>,
        headers: &[Header<'_>],
    ) {
        if self.state.count == 0 {
            self.state.base_timestamp = timestamp_ms;
        }
        let timestamp_delta = timestamp_ms.wrapping_sub(self.state.base_timestamp);
        let offset_delta = self.state.count as i32;
        let key_len = nullable_len(key);
        let (value_len, value_size, copied) = match &value {
            Value::Null => (-1, 0, 0),
            Value::Copied(value) => (length_field(value.len()), value.len(), value.len()),
            Value::Lent(value) => (length_field(value.len()), value.len(), 0),
        };
        let key_size = key.map_or(0, <[u8]>::len);

        let size = 1
            + varlong_size(timestamp_delta)
            + varint_size(offset_delta)
            + varint_size(key_len)
            + key_size
            + varint_size(value_len)
            + value_size
            + headers_size(headers);

        let needed = size - value_size + copied + MAX_RECORD_PREFIX;
        if self.buf.capacity() - self.buf.len() < needed {
            self.buf.grow(needed);
        }
        let mut prefix = [0; MAX_RECORD_PREFIX];
        let mut end = put_varint(&mut prefix, 0, length_field(size));
        end += 1; // attributes: none are defined
        end = put_varlong(&mut prefix, end, timestamp_delta);
        end = put_varint(&mut prefix, end, offset_delta);
        end = put_varint(&mut prefix, end, key_len);
        // All of it, as what has a constant size is copied without a call.
        let start = self.buf.len();
        self.buf.extend_from_slice(&prefix);
        self.buf.truncate(start + end);
        if let Some(key) = key {
            self.buf.extend_from_slice(key);
        }
        write_varint(&mut self.buf, value_len);
        match value {
            Value::Null => {}
            Value::Copied(value) => self.buf.extend_from_slice(value),
            Value::Lent(value) => self.lent.push(self.buf.len(), value),
        }
        write_varint(&mut self.buf, length_field(headers.len()));
        for &(name, value) in headers {
            write_varint(&mut self.buf, length_field(name.len()));
            self.buf.extend_from_slice(name);
            write_varint(&mut self.buf, nullable_len(value));
            self.buf.extend_from_slice(value.unwrap_or_default());
        }

        self.state.payload += key_size + value_size + headers_payload(headers);
        self.state.count += 1;
        self.state.max_timestamp = self.state.max_timestamp.max(timestamp_ms);
    }

    /// Records so far.
    #[inline]
    pub fn record_count(&self) -> u32 {
        self.state.count
    }

    /// Bytes of keys, values and headers so far.
    #[inline]
    pub fn payload(&self) -> usize {
        self.state.payload
    }

    /// Whether there are no records yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.state.count == 0
    }

    /// Bytes so far, the header's 61 included, before compression.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len() + self.lent.len
    }

    /// As [`Self::len`], without the values that are lent to it.
    #[inline]
    pub fn copied(&self) -> usize {
        self.buf.len()
    }

    /// The state now, to come back to with [`BatchWriter::rollback`].
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark {
            len: self.buf.len(),
            state: self.state,
        }
    }

    /// Undoes every push since `mark` was taken from this writer. Marks taken later are void.
    pub fn rollback(&mut self, mark: Mark) {
        self.buf.truncate(mark.len);
        self.lent.truncate(mark.len);
        self.state = mark.state;
    }

    /// All of it in one buffer.
    fn gathered(buf: Memory, lent: &Lent) -> Memory {
        if lent.values.is_empty() {
            return buf;
        }
        let mut whole = Memory::of_size(buf.len() + lent.len);
        for piece in lent.with(&buf, 0) {
            whole.extend_from_slice(piece);
        }
        whole
    }

    /// Closes the batch: compresses the records and writes the header.
    ///
    /// Records that the codec does not make smaller are sent as they are.
    pub fn seal(mut self, options: SealOptions) -> Result<SealedBatch, SealError> {
        if self.is_empty() {
            return Err(SealError::Empty);
        }
        let uncompressed_len = self.len();
        // Readers hold the records section in one array, so this binds compressed batches too.
        if i32::try_from(uncompressed_len).is_err() {
            return Err(SealError::TooLarge {
                size: uncompressed_len,
            });
        }
        let (mut bytes, codec) = match options.codec {
            Codec::None => (self.buf, Codec::None),
            codec => {
                let lent = std::mem::take(&mut self.lent);
                packed(Self::gathered(self.buf, &lent), codec, options.level)?
            }
        };

        let mut attributes = codec as i16;
        if options.transactional {
            attributes |= at::TRANSACTIONAL_BIT;
        }
        // The count and the length fit because the whole fits 31 bits.
        let batch_length = (bytes.len() + self.lent.len - at::LENGTH_PREFIX) as i32;
        let count = self.state.count as i32;
        put(&mut bytes, at::BASE_OFFSET, 0i64.to_be_bytes());
        put(&mut bytes, at::BATCH_LENGTH, batch_length.to_be_bytes());
        put(
            &mut bytes,
            at::PARTITION_LEADER_EPOCH,
            (-1i32).to_be_bytes(),
        );
        put(&mut bytes, at::MAGIC, at::MAGIC_V2.to_be_bytes());
        put(&mut bytes, at::ATTRIBUTES, attributes.to_be_bytes());
        put(&mut bytes, at::LAST_OFFSET_DELTA, (count - 1).to_be_bytes());
        put(
            &mut bytes,
            at::BASE_TIMESTAMP,
            self.state.base_timestamp.to_be_bytes(),
        );
        put(
            &mut bytes,
            at::MAX_TIMESTAMP,
            self.state.max_timestamp.to_be_bytes(),
        );
        put(&mut bytes, at::RECORD_COUNT, count.to_be_bytes());
        put_identity(
            &mut bytes,
            &self.lent,
            options.producer_id,
            options.producer_epoch,
            options.base_sequence,
        );
        Ok(SealedBatch {
            bytes: bytes.freeze(),
            lent: self.lent,
            record_count: self.state.count,
            uncompressed_len,
            payload: self.state.payload,
        })
    }
}

/// The bytes of headers' names and values.
pub(crate) fn headers_payload(headers: &[Header<'_>]) -> usize {
    let of_header = |&(name, value): &Header<'_>| name.len() + value.map_or(0, <[u8]>::len);
    headers.iter().map(of_header).sum()
}

/// The batch with its records compressed, and the codec that they are in at last.
fn packed(plain: Memory, codec: Codec, level: Option<i32>) -> Result<(Memory, Codec), CodecError> {
    let mut out = Memory::with_capacity(at::HEADER + plain.len() / 2);
    out.resize(at::HEADER, 0);
    compress(codec, level, &plain[at::HEADER..], &mut out)?;
    if out.len() < plain.len() {
        Ok((out, codec))
    } else {
        Ok((plain, Codec::None))
    }
}

/// A length as the wire has it. One beyond 31 bits makes the batch too large to be sealed, so what
/// is written for it is never sent.
#[inline]
fn length_field(len: usize) -> i32 {
    len as i32
}

#[inline]
fn nullable_len(bytes: Option<&[u8]>) -> i32 {
    bytes.map_or(-1, |bytes| length_field(bytes.len()))
}

#[inline]
fn headers_size(headers: &[Header<'_>]) -> usize {
    let mut size = varint_size(length_field(headers.len()));
    for (name, value) in headers {
        size += varint_size(length_field(name.len()))
            + name.len()
            + varint_size(nullable_len(*value))
            + value.map_or(0, <[u8]>::len);
    }
    size
}
