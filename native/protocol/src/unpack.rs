//! A batch that is unpacked as far as its records are wanted.
//!
//! A few hundred KB of a compressed batch may stand for gigabytes. Most do not: what unpacks to
//! [`WHOLE`] bytes or to as many as are asked for is unpacked at once, which is cheapest. Of a larger
//! one the decoder's state is kept between parts, and the beginning of the record that comes next.

use std::fmt;
use std::io::{self, Read};

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use zstd::zstd_safe::{self, DCtx, InBuffer, OutBuffer};

use super::batch_reader::{Batch, BatchError, Found, Records};
use super::compress::{decompress, Codec, CodecError};
use super::legacy::message_set;
use super::records::{Frame, RecordsV2, Share};
use super::varint::read_varint;
use super::{lz4, snappy};

/// A batch that unpacks to no more than this is unpacked at once, however little is asked for.
pub const WHOLE: usize = 2 * 1024 * 1024;

/// Unpacked at a time beyond what is asked for.
const CHUNK: usize = 64 * 1024;

/// Bytes of the longest length.
const MAX_VARINT: usize = 5;

/// See the module and [`Batch::unpack`].
pub struct Unpacking {
    frame: Frame,
    codec: Codec,
    limit: usize,
    state: State,
}

enum State {
    /// As it came.
    Packed(Bytes),
    /// All that is left, unpacked.
    Whole(Records),
    Stream(Box<Stream>),
    Done,
}

impl Unpacking {
    pub(super) fn new(batch: &Batch, limit: usize) -> Result<Unpacking, BatchError> {
        let codec = batch.codec()?;
        if let Some(wrapper) = batch.wrapper {
            let batch = message_set::unwrap(wrapper, codec, &batch.payload, limit)?;
            return Unpacking::new(&batch, limit);
        }
        let frame = Frame::new(batch, limit);
        let state = if codec == Codec::None || batch.payload.is_empty() {
            State::Whole(Records::V2(RecordsV2::new(frame, batch.payload.clone())?))
        } else {
            State::Packed(batch.payload.clone())
        };
        Ok(Unpacking {
            frame,
            codec,
            limit,
            state,
        })
    }

    /// The next records, as many as are wanted. None: there are no more. Nothing comes after an error.
    ///
    /// Beside the part that is returned, and for as long as there are more, the batch takes as much
    /// memory as [`Unpacking::held`] says.
    pub fn next(&mut self, share: Share) -> Result<Option<Records>, BatchError> {
        if let State::Packed(payload) = &self.state {
            let whole = share.bytes.min(share.memory).max(WHOLE).min(self.limit);
            self.state = match decompress(self.codec, payload, whole) {
                Ok(bytes) => State::Whole(Records::V2(RecordsV2::new(self.frame, bytes.into())?)),
                Err(CodecError::LimitExceeded { .. }) if whole < self.limit => {
                    let payload = payload.clone();
                    let stream = Stream::new(self.frame, self.codec, payload, self.limit);
                    State::Stream(Box::new(stream))
                }
                Err(error) => {
                    self.state = State::Done;
                    return Err(self.frame.failed(error));
                }
            };
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Whole(mut records) => {
                if let Some(rest) = records.split_off(share) {
                    self.state = State::Whole(rest);
                }
                Ok(Some(records))
            }
            State::Stream(mut stream) => {
                let part = stream.next(share)?;
                if part.is_some() {
                    self.state = State::Stream(stream);
                }
                Ok(part)
            }
            State::Packed(_) | State::Done => Ok(None),
        }
    }

    /// The offsets of what comes next are not below this one. None: nothing comes.
    pub fn next_offset(&self) -> Option<i64> {
        match &self.state {
            State::Packed(_) => Some(self.frame.offset_behind(-1)),
            State::Whole(records) => Some(records.first_offset()),
            State::Stream(stream) => Some(self.frame.offset_behind(stream.delta)),
            State::Done => None,
        }
    }

    /// How many bytes the batch takes between two parts: as it came, what is unpacked already, and
    /// about what the decoder keeps.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Packed(payload) => payload.len(),
            State::Whole(records) => records.bytes().len(),
            State::Stream(stream) => stream.held(),
            State::Done => 0,
        }
    }
}

impl fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacking")
            .field("frame", &self.frame)
            .field("codec", &self.codec)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

struct Stream {
    frame: Frame,
    source: Source,
    /// Unpacked, and not given out.
    carry: Bytes,
    /// How many bytes may still come.
    left: usize,
    limit: usize,
    ended: bool,
    /// What was given out, and the last one's offset.
    records: u32,
    delta: i32,
}

impl Stream {
    fn new(frame: Frame, codec: Codec, payload: Bytes, limit: usize) -> Self {
        Stream {
            frame,
            source: Source::new(codec, payload),
            carry: Bytes::new(),
            left: limit,
            limit,
            ended: false,
            records: 0,
            delta: -1,
        }
    }

    fn next(&mut self, share: Share) -> Result<Option<Records>, BatchError> {
        let bytes = share.bytes.min(share.memory);
        self.fill(bytes.clamp(1, self.limit.max(1)))?;
        let left = self.frame.record_count() - self.records;
        if left == 0 && self.carry.is_empty() {
            return Ok(None);
        }
        if left == 0 {
            return Err(self.frame.mismatch(Found::More));
        }
        // One record must be there to its end.
        self.fill(MAX_VARINT)?;
        let mut end = 0;
        let length = read_varint(&self.carry, &mut end);
        if let Some(length) = length.and_then(|length| usize::try_from(length).ok()) {
            self.fill(end.saturating_add(length))?;
        }
        let mut part = RecordsV2 {
            bytes: self.carry.clone(),
            record_count: left,
            frame: self.frame,
            delta_before: self.delta,
        };
        let taken = part.within(share);
        if taken.count == 0 {
            // Shows what is wrong.
            self.records = self.frame.record_count();
            self.carry.clear();
            return Ok(Some(Records::V2(part)));
        }
        part.bytes = self.carry.split_to(taken.bytes);
        part.record_count = taken.count;
        self.records += taken.count;
        self.delta = taken.delta;
        Ok(Some(Records::V2(part)))
    }

    /// Has `wanted` bytes unpacked, or all there are.
    fn fill(&mut self, wanted: usize) -> Result<(), BatchError> {
        if self.ended || self.carry.len() >= wanted {
            return Ok(());
        }
        let wanted = wanted.saturating_add(CHUNK);
        let mut unpacked = Vec::with_capacity(wanted.min(WHOLE));
        unpacked.extend_from_slice(&self.carry);
        while !self.ended && unpacked.len() < wanted {
            let before = unpacked.len();
            // One byte more than allowed tells "just fits" from "too much".
            let most = (wanted - before).min(self.left.saturating_add(1));
            let more = self.source.more(&mut unpacked, most);
            self.ended = !more.map_err(|error| self.frame.failed(error))?;
            let came = unpacked.len() - before;
            self.left = self.left.checked_sub(came).ok_or_else(|| {
                let limit = self.limit;
                self.frame.failed(CodecError::LimitExceeded { limit })
            })?;
        }
        self.carry = unpacked.into();
        Ok(())
    }

    fn held(&self) -> usize {
        self.carry.len() + self.source.held()
    }
}

/// A decoder between two parts.
enum Source {
    Gzip(Box<MultiGzDecoder<Reader<Bytes>>>),
    Snappy(snappy::Blocks),
    Lz4(lz4::Blocks),
    Zstd(Zstd),
}

impl Source {
    fn new(codec: Codec, payload: Bytes) -> Source {
        match codec {
            // What is not compressed is not streamed.
            Codec::None | Codec::Gzip => {
                Source::Gzip(Box::new(MultiGzDecoder::new(payload.reader())))
            }
            Codec::Snappy => Source::Snappy(snappy::Blocks::new(payload)),
            Codec::Lz4 => Source::Lz4(lz4::Blocks::new(payload)),
            Codec::Zstd => Source::Zstd(Zstd {
                context: DCtx::create(),
                input: payload,
                at: 0,
            }),
        }
    }

    /// Appends about `most` bytes to `out`, at least one. False: there are no more.
    fn more(&mut self, out: &mut Vec<u8>, most: usize) -> Result<bool, CodecError> {
        match self {
            Source::Gzip(decoder) => {
                let came = decoder.by_ref().take(most as u64).read_to_end(out);
                let codec = Codec::Gzip;
                let came = came.map_err(|source| CodecError::Malformed { codec, source })?;
                Ok(came == most)
            }
            Source::Snappy(blocks) => blocks.more(out, most),
            Source::Lz4(blocks) => blocks.more(out),
            Source::Zstd(stream) => stream.more(out, most),
        }
    }

    fn held(&self) -> usize {
        match self {
            Source::Gzip(decoder) => decoder.get_ref().get_ref().len() + GZIP_STATE,
            Source::Snappy(blocks) => blocks.held(),
            Source::Lz4(blocks) => blocks.held(),
            Source::Zstd(stream) => stream.input.len() + stream.context.sizeof(),
        }
    }
}

/// The window and the tables of a gzip decoder.
const GZIP_STATE: usize = 48 * 1024;

struct Zstd {
    context: DCtx<'static>,
    input: Bytes,
    at: usize,
}

impl Zstd {
    fn more(&mut self, out: &mut Vec<u8>, most: usize) -> Result<bool, CodecError> {
        let malformed = |source| CodecError::Malformed {
            codec: Codec::Zstd,
            source,
        };
        out.reserve(most);
        let start = out.len();
        let mut source = InBuffer::around(&self.input);
        source.set_pos(self.at);
        loop {
            let before = (source.pos(), out.len());
            let mut sink = OutBuffer::around_pos(out, before.1);
            let left = self
                .context
                .decompress_stream(&mut sink, &mut source)
                .map_err(|code| malformed(io::Error::other(zstd_safe::get_error_name(code))))?;
            self.at = source.pos();
            if left == 0 && self.at == self.input.len() {
                return Ok(false);
            }
            if out.len() - start >= most || out.len() == out.capacity() {
                return Ok(true);
            }
            if (source.pos(), out.len()) == before {
                return Err(malformed(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
