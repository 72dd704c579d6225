//! Message sets: what stood in place of record batches before Kafka 0.11, magic 0 and, from 0.10 on, 1.
//!
//! Messages stand one after the other. Compressed ones are a message set of their own, in the value of a
//! wrapper. Offsets inside of it are absolute with magic 0; with magic 1 they count from its start, and the
//! wrapper has that of the last.

use bytes::{Buf, BufMut, Bytes};
use flate2::Crc;
use thiserror::Error;

use crate::batch_reader::TimestampType;
use crate::compress::{compress, decompress, Codec, CodecError};

/// Offset and length, which the length does not count.
const PREFIX: usize = 12;
const APPEND_TIME: i8 = 0x08;
/// A time that nobody has set.
const NO_TIME: i64 = -1;

/// The format of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Magic {
    /// Without timestamps.
    V0 = 0,
    /// Since Kafka 0.10 (KIP-32).
    V1 = 1,
}

/// A message to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMessage<'a> {
    /// In ms since 1970; magic 0 has none.
    pub timestamp: i64,
    /// Null where it is none.
    pub key: Option<&'a [u8]>,
    /// Null where it is none: a tombstone.
    pub value: Option<&'a [u8]>,
}

/// A message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// In the partition.
    pub offset: i64,
    /// None with magic 0.
    pub timestamp: Option<(TimestampType, i64)>,
    /// Null where it is none.
    pub key: Option<Bytes>,
    /// Null where it is none.
    pub value: Option<Bytes>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSet {
    /// Those that are whole.
    pub messages: Vec<Message>,
    /// Bytes that the first message takes, when not one is whole: so many are to be asked for.
    pub incomplete: Option<usize>,
}

/// Why a message set cannot be read.
#[derive(Debug, Error)]
pub enum MessageSetError {
    /// A message that does not parse.
    #[error("message at offset {offset} is malformed: {what}")]
    Malformed {
        /// As it says.
        offset: i64,
        /// What is wrong.
        what: &'static str,
    },
    /// A message that is not what was written.
    #[error("message at offset {offset} has another checksum than it says")]
    Checksum {
        /// As it says.
        offset: i64,
    },
    /// A format that is none, or that of record batches.
    #[error("message at offset {offset} has magic {magic}")]
    UnsupportedMagic {
        /// As it says.
        offset: i64,
        /// As it says.
        magic: i8,
    },
    /// What a wrapper holds does not unpack.
    #[error("message at offset {offset}: {source}")]
    Codec {
        /// Of the wrapper.
        offset: i64,
        /// Why.
        source: CodecError,
    },
}

/// Writes messages as a producer does: one after the other, or packed in a wrapper.
pub fn encode(
    magic: Magic,
    codec: Codec,
    messages: &[NewMessage<'_>],
) -> Result<Vec<u8>, CodecError> {
    let mut set = Vec::new();
    for (offset, message) in (0..).zip(messages) {
        put(&mut set, magic, Codec::None, offset, message);
    }
    if codec == Codec::None || messages.is_empty() {
        return Ok(set);
    }
    let mut packed = Vec::new();
    compress(codec, None, &set, &mut packed)?;
    if codec == Codec::Lz4 && magic == Magic::V0 {
        break_lz4_checksum(&mut packed);
    }
    let wrapper = NewMessage {
        timestamp: messages
            .iter()
            .map(|m| m.timestamp)
            .max()
            .unwrap_or(NO_TIME),
        key: None,
        value: Some(&packed),
    };
    let last = messages.len() as i64 - 1;
    let mut out = Vec::with_capacity(packed.len() + 64);
    // Brokers set the offsets anew; before that the wrapper has that of its last.
    put(&mut out, magic, codec, last, &wrapper);
    Ok(out)
}

fn put(out: &mut Vec<u8>, magic: Magic, codec: Codec, offset: i64, message: &NewMessage<'_>) {
    out.put_i64(offset);
    let length_at = out.len();
    out.put_u64(0); // length and checksum
    let checked_at = out.len();
    out.put_i8(magic as i8);
    out.put_i8(codec as i8);
    if magic == Magic::V1 {
        out.put_i64(message.timestamp);
    }
    for part in [message.key, message.value] {
        match part {
            Some(bytes) => {
                out.put_i32(bytes.len() as i32);
                out.extend_from_slice(bytes);
            }
            None => out.put_i32(-1),
        }
    }
    let checksum = crc32(&out[checked_at..]);
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    out[length_at + 4..checked_at].copy_from_slice(&checksum.to_be_bytes());
}

/// Reads what a broker sent. A message that is cut off ends it; what wrappers hold may take `limit` bytes in all.
pub fn decode(mut buf: Bytes, limit: usize) -> Result<MessageSet, MessageSetError> {
    let mut messages = Vec::new();
    let mut left = limit;
    let incomplete = loop {
        match next(&mut buf)? {
            Next::Message(found) if found.codec == Codec::None => messages.push(found.message),
            Next::Message(found) => left -= unwrap(found, left, &mut messages)?,
            Next::CutOff(size) => break (messages.is_empty() && size > 0).then_some(size),
        }
    };
    Ok(MessageSet {
        messages,
        incomplete,
    })
}

/// A message, which may be a wrapper.
struct Found {
    magic: Magic,
    codec: Codec,
    message: Message,
}

enum Next {
    Message(Found),
    /// Bytes that it takes as a whole; 0 where there is nothing.
    CutOff(usize),
}

fn next(buf: &mut Bytes) -> Result<Next, MessageSetError> {
    if buf.is_empty() {
        return Ok(Next::CutOff(0));
    }
    let (Some(offset), Some(length)) = (peek_i64(buf), buf.get(8..PREFIX)) else {
        return Ok(Next::CutOff(PREFIX));
    };
    let malformed = |what| MessageSetError::Malformed { offset, what };
    let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    let length = usize::try_from(length).map_err(|_| malformed("its length is negative"))?;
    if buf.len() - PREFIX < length {
        return Ok(Next::CutOff(PREFIX + length));
    }
    buf.advance(PREFIX);
    let mut body = buf.split_to(length);
    let cut = || malformed("it is cut off");
    let checksum = body.try_get_u32().map_err(|_| cut())?;
    let correct = checksum == crc32(&body);
    let magic = match body.try_get_i8().map_err(|_| cut())? {
        0 => Magic::V0,
        1 => Magic::V1,
        magic => return Err(MessageSetError::UnsupportedMagic { offset, magic }),
    };
    if !correct {
        return Err(MessageSetError::Checksum { offset });
    }
    let attributes = body.try_get_i8().map_err(|_| cut())?;
    let codec = Codec::from_attributes(attributes.into())
        .ok_or_else(|| malformed("its codec is unknown"))?;
    let timestamp = match magic {
        Magic::V0 => None,
        Magic::V1 => {
            let kind = match attributes & APPEND_TIME {
                0 => TimestampType::Create,
                _ => TimestampType::Append,
            };
            Some((kind, body.try_get_i64().map_err(|_| cut())?))
        }
    };
    let key = nullable(&mut body).ok_or_else(cut)?;
    let value = nullable(&mut body).ok_or_else(cut)?;
    if !body.is_empty() {
        return Err(malformed("there is more than its value"));
    }
    let message = Message {
        offset,
        timestamp,
        key,
        value,
    };
    Ok(Next::Message(Found {
        magic,
        codec,
        message,
    }))
}

fn peek_i64(buf: &Bytes) -> Option<i64> {
    buf.first_chunk().map(|bytes| i64::from_be_bytes(*bytes))
}

fn nullable(body: &mut Bytes) -> Option<Option<Bytes>> {
    match usize::try_from(body.try_get_i32().ok()?) {
        Err(_) => Some(None),
        Ok(length) if length > body.len() => None,
        Ok(length) => Some(Some(body.split_to(length))),
    }
}

/// Adds what a wrapper holds; how many bytes that was.
fn unwrap(
    wrapper: Found,
    limit: usize,
    messages: &mut Vec<Message>,
) -> Result<usize, MessageSetError> {
    let offset = wrapper.message.offset;
    let malformed = |what| MessageSetError::Malformed { offset, what };
    let packed = wrapper.message.value.unwrap_or_default();
    let unpacked = decompress(wrapper.codec, &packed, limit)
        .map_err(|source| MessageSetError::Codec { offset, source })?;
    let size = unpacked.len();
    let mut inner = Bytes::from(unpacked);
    let first = messages.len();
    loop {
        match next(&mut inner)? {
            Next::Message(found) if found.codec != Codec::None || found.magic != wrapper.magic => {
                return Err(malformed("it holds what is none of its messages"));
            }
            Next::Message(found) => messages.push(found.message),
            Next::CutOff(0) => break,
            Next::CutOff(_) => return Err(malformed("what it holds is cut off")),
        }
    }
    let Some(last) = messages[first..].last().map(|message| message.offset) else {
        return Err(malformed("it holds nothing"));
    };
    if wrapper.magic == Magic::V1 {
        let base = offset
            .checked_sub(last)
            .ok_or_else(|| malformed("its offset is out of range"))?;
        for message in &mut messages[first..] {
            message.offset = message
                .offset
                .checked_add(base)
                .ok_or_else(|| malformed("an offset in it is out of range"))?;
            // The broker set the wrapper's time, and did not unpack it for the others.
            if let Some((TimestampType::Append, _)) = wrapper.message.timestamp {
                message.timestamp = wrapper.message.timestamp;
            }
        }
    }
    Ok(size)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Before Kafka 0.10 the checksum of an lz4 frame's header was made over its magic number too, and brokers
/// expect it so.
fn break_lz4_checksum(frame: &mut [u8]) {
    let end = lz4_descriptor_end(frame);
    if end < frame.len() {
        frame[end] = (xxh32(&frame[..end]) >> 8) as u8;
    }
}

/// Where the checksum of a frame's header stands.
fn lz4_descriptor_end(frame: &[u8]) -> usize {
    const CONTENT_SIZE: u8 = 0x08;
    let flags = frame.get(4).copied().unwrap_or_default();
    4 + 2 + if flags & CONTENT_SIZE == 0 { 0 } else { 8 }
}

/// Of fewer than 16 bytes.
fn xxh32(bytes: &[u8]) -> u32 {
    const PRIME_1: u32 = 0x9e37_79b1;
    const PRIME_2: u32 = 0x85eb_ca77;
    const PRIME_3: u32 = 0xc2b2_ae3d;
    const PRIME_4: u32 = 0x27d4_eb2f;
    const PRIME_5: u32 = 0x1656_67b1;
    let mut hash = PRIME_5.wrapping_add(bytes.len() as u32);
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        hash = hash.wrapping_add(word.wrapping_mul(PRIME_3));
        hash = hash.rotate_left(17).wrapping_mul(PRIME_4);
    }
    for byte in words.remainder() {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIME_5));
        hash = hash.rotate_left(11).wrapping_mul(PRIME_1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests;
