//! Builds v2 record batches straight in wire form.
//!
//! Records go behind space for the header in one buffer; sealing writes the header in place, so an
//! uncompressed batch is never copied. Nor are values that are lent to it: these stay where they are, and
//! the batch knows where in the buffer they belong.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::batch_reader::{batches, BatchError};
use super::body::Body;
use super::compress::{compress, Codec, CodecError};
use super::layout as at;
use super::memory::{self, Memory};
use super::varint::{put_varint, put_varlong, varint_size, varlong_size, write_varint};

/// The most that a record takes beside its key, value and headers: its length, attributes, timestamp
/// and offset deltas, the lengths of key and value, the count of headers.
const MAX_RECORD_OVERHEAD: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
/// What stands before the key: all of the above but the value's length and the header count.
const MAX_RECORD_PREFIX: usize = 5 + 1 + 10 + 5 + 5;
/// The lengths of a header's key and value.
const MAX_HEADER_OVERHEAD: usize = 5 + 5;

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

/// Why a sealed batch could not be split.
#[derive(Debug, Error)]
pub enum SplitError {
    /// There is no such record.
    #[error("cannot split at record {at}: the batch holds {count}")]
    OutOfRange {
        /// Where to split.
        at: u32,
        /// How many there are.
        count: u32,
    },
    /// Its bytes are not what was written.
    #[error("the sealed batch cannot be read back: {0}")]
    Unreadable(#[from] BatchError),
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

/// Values that are not in a batch's buffer.
#[derive(Debug, Clone, Default)]
struct Lent {
    /// With the positions in the buffer before which they belong, in order.
    values: Vec<(usize, Bytes)>,
    /// Bytes of all of them.
    len: usize,
}

impl Lent {
    fn push(&mut self, at: usize, value: Bytes) {
        self.len += value.len();
        self.values.push((at, value));
    }

    /// Forgets those behind position `end`.
    fn truncate(&mut self, end: usize) {
        let kept = self.values.partition_point(|(at, _)| *at <= end);
        let forgotten = self.values.drain(kept..);
        self.len -= forgotten.map(|(_, value)| value.len()).sum::<usize>();
    }

    /// All of the batch from position `from` on, in its order; no value is before that.
    fn with<'a>(&'a self, buffer: &'a [u8], mut from: usize) -> impl Iterator<Item = &'a [u8]> {
        let values = self.values.iter().flat_map(move |(at, value)| {
            let before = &buffer[std::mem::replace(&mut from, *at)..*at];
            [before, &value[..]]
        });
        let end = self.values.last().map_or(from, |(at, _)| *at);
        values.chain(std::iter::once(&buffer[end..]))
    }
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

/// The most bytes that a record can take. `headers_len` comes from [`headers_size_bound`].
#[inline]
pub const fn record_size_bound(key_len: usize, value_len: usize, headers_len: usize) -> usize {
    MAX_RECORD_OVERHEAD + key_len + value_len + headers_len
}

/// The most bytes that `headers` can take in a record.
pub fn headers_size_bound(headers: &[Header<'_>]) -> usize {
    headers.len() * MAX_HEADER_OVERHEAD + headers_payload(headers)
}

/// A batch in the form that a Produce request carries.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    /// From the base offset to the last record, without the values that are lent to it.
    bytes: Bytes,
    lent: Lent,
    /// How many records it has.
    pub record_count: u32,
    /// Size with the header, as it was before compression.
    pub uncompressed_len: usize,
    /// Bytes of keys, values and headers.
    pub payload: usize,
}

impl SealedBatch {
    /// Its size in a request.
    #[allow(clippy::len_without_is_empty)] // It has a record.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.lent.len
    }

    /// As it goes into a request, from the base offset to the last record.
    pub fn body(&self) -> Body {
        let mut pieces = Body::default();
        let mut from = 0;
        for (at, value) in &self.lent.values {
            pieces.push(self.bytes.slice(std::mem::replace(&mut from, *at)..*at));
            pieces.push(value.clone());
        }
        pieces.push(self.bytes.slice(from..));
        pieces
    }

    /// As [`Self::body`], in one piece.
    pub fn to_bytes(&self) -> Bytes {
        self.body().into_bytes()
    }

    /// Gives the batch to another producer identity, for a retry after that changed.
    ///
    /// The bytes are copied only when someone else holds them too, such as a request in flight.
    pub fn reseal(&mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) {
        let mut bytes = std::mem::take(&mut self.bytes)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let lent = &self.lent;
        put_identity(&mut bytes, lent, producer_id, producer_epoch, base_sequence);
        self.bytes = bytes.freeze();
    }
}

/// Takes a batch apart into two open ones, with the records before `at_record` and those from it on.
///
/// For a broker that answers that the batch is too large. Fails when `at_record` is more than the
/// batch holds; 0 and the count itself leave one half empty.
pub fn split(
    batch: &SealedBatch,
    at_record: u32,
) -> Result<(BatchWriter, BatchWriter), SplitError> {
    if at_record > batch.record_count {
        return Err(SplitError::OutOfRange {
            at: at_record,
            count: batch.record_count,
        });
    }
    let mut halves = parts(batch, |_, _, index| index == at_record)?.into_iter();
    let mut next = || halves.next().unwrap_or_else(|| BatchWriter::new(0));
    Ok((next(), next()))
}

/// Takes a batch apart into open ones whose keys, values and headers are `limit` bytes at most, unless a single record has
/// more.
pub fn split_by_size(batch: &SealedBatch, limit: usize) -> Result<Vec<BatchWriter>, SplitError> {
    parts(batch, |part, size, _| {
        part.record_count() > 0 && part.payload().saturating_add(size) > limit
    })
}

/// Another part begins where `begins` says so, which sees the part before, the bytes of the next record's key, value and
/// headers, and its position.
fn parts(
    batch: &SealedBatch,
    begins: impl Fn(&BatchWriter, usize, u32) -> bool,
) -> Result<Vec<BatchWriter>, SplitError> {
    let open = || BatchWriter::new(batch.uncompressed_len.min(memory::LARGE));
    let (mut closed, mut part) = (Vec::new(), open());
    for read in batches(batch.to_bytes()) {
        // What this client made itself takes what it takes.
        let records = read?.records(usize::MAX)?;
        let mut headers = Vec::new();
        for (index, record) in (0u32..).zip(records.iter()) {
            let record = record.map_err(|error| *error)?;
            headers.clear();
            headers.extend(record.headers);
            let key = record.key.map(|span| records.slice(span));
            let value = record.value.map(|span| records.slice(span));
            let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
            let payload = size(key) + size(value) + headers_payload(&headers);
            if begins(&part, payload, index) {
                closed.push(std::mem::replace(&mut part, open()));
            }
            part.push(record.timestamp, key, value, &headers);
        }
    }
    closed.push(part);
    Ok(closed)
}

/// The bytes of headers' names and values.
fn headers_payload(headers: &[Header<'_>]) -> usize {
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

fn put_identity(
    bytes: &mut [u8],
    lent: &Lent,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
) {
    put(bytes, at::PRODUCER_ID, producer_id.to_be_bytes());
    put(bytes, at::PRODUCER_EPOCH, producer_epoch.to_be_bytes());
    put(bytes, at::BASE_SEQUENCE, base_sequence.to_be_bytes());
    let pieces = lent.with(bytes, at::ATTRIBUTES);
    let crc = pieces.fold(0, crc32c::crc32c_append);
    put(bytes, at::CRC, crc.to_be_bytes());
}

#[inline]
fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
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
