//! Record batches that are closed: what a Produce request carries, given to another producer identity or taken apart again
//! where a broker's answer asks for it.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::batch_reader::{batches, BatchError};
use super::batch_writer::{headers_payload, BatchWriter};
use super::body::Body;
use super::layout as at;
use super::memory;

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

/// Values that are not in a batch's buffer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lent {
    /// With the positions in the buffer before which they belong, in order.
    pub(crate) values: Vec<(usize, Bytes)>,
    /// Bytes of all of them.
    pub(crate) len: usize,
}

impl Lent {
    pub(crate) fn push(&mut self, at: usize, value: Bytes) {
        self.len += value.len();
        self.values.push((at, value));
    }

    /// Forgets those behind position `end`.
    pub(crate) fn truncate(&mut self, end: usize) {
        let kept = self.values.partition_point(|(at, _)| *at <= end);
        let forgotten = self.values.drain(kept..);
        self.len -= forgotten.map(|(_, value)| value.len()).sum::<usize>();
    }

    /// All of the batch from position `from` on, in its order; no value is before that.
    pub(crate) fn with<'a>(
        &'a self,
        buffer: &'a [u8],
        mut from: usize,
    ) -> impl Iterator<Item = &'a [u8]> {
        let values = self.values.iter().flat_map(move |(at, value)| {
            let before = &buffer[std::mem::replace(&mut from, *at)..*at];
            [before, &value[..]]
        });
        let end = self.values.last().map_or(from, |(at, _)| *at);
        values.chain(std::iter::once(&buffer[end..]))
    }
}

/// A batch in the form that a Produce request carries.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    /// From the base offset to the last record, without the values that are lent to it.
    pub(crate) bytes: Bytes,
    pub(crate) lent: Lent,
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

/// Writes who produces it, and with that its checksum.
pub(crate) fn put_identity(
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
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}
