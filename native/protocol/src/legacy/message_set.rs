//! Message sets, the format of magic 0 and 1: what brokers before Kafka 0.11 take and give, and what
//! newer ones still give of logs that are as old.
//!
//! A message stands alone, with its offset and its checksum. Compressed ones stand in the value of a
//! wrapper. In magic 1 there are timestamps, and offsets within a wrapper count from its first message
//! (KIP-31, KIP-32).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::batch_reader::{batches, Batch, BatchError};
use crate::compress::{compress, decompress, Codec, CodecError};
use crate::error::ErrorCode;
use crate::layout as at;
use crate::varint::{varint_size, varlong_size, write_varint, write_varlong};

/// Offset and size, before what the size counts.
const PREFIX: usize = 12;
/// What the checksum covers starts here, behind the offset, the size and the checksum.
const MAGIC: usize = PREFIX + 4;
/// Checksum, magic, attributes, two lengths.
const MIN_SIZE: usize = 14;
/// The smallest message.
pub(crate) const LEAST: usize = PREFIX + MIN_SIZE;
/// What a message takes beside its key and its value, at most.
const OVERHEAD: usize = PREFIX + MIN_SIZE + 8;

/// The wrapper of compressed messages, as far as it says how they are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrapper {
    magic: i8,
    /// Its own, which is that of its last message.
    offset: i64,
    /// The broker's, in place of each message's own.
    append_time: Option<i64>,
}

#[derive(Debug)]
struct Message {
    offset: i64,
    magic: i8,
    attributes: i8,
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

impl Message {
    fn codec(&self) -> Result<Codec, BatchError> {
        // The codecs that came later have no number here.
        let number = i16::from(self.attributes & 0x07);
        match Codec::from_attributes(number) {
            Some(Codec::Zstd) | None => Err(BatchError::UnknownCodec {
                base_offset: self.offset,
                number,
            }),
            Some(codec) => Ok(codec),
        }
    }

    fn is_append_time(&self) -> bool {
        self.magic >= 1 && i16::from(self.attributes) & at::LOG_APPEND_TIME_BIT != 0
    }
}

/// Takes the messages at the front of `buf`: those of one wrapper, or all up to the next wrapper, the next
/// magic or the end. None: the first one is cut off, and takes as many bytes as are returned.
pub(crate) fn read(buf: &mut Bytes) -> Result<Result<Batch, usize>, BatchError> {
    let first = match next(buf)? {
        Ok(message) => message,
        Err(size) => return Ok(Err(size)),
    };
    if first.codec()? != Codec::None {
        let wrapper = Wrapper {
            magic: first.magic,
            offset: first.offset,
            append_time: first.is_append_time().then_some(first.timestamp),
        };
        return Ok(Ok(Batch {
            // How many there are shows in unpacking.
            record_count: 1,
            attributes: i16::from(first.attributes),
            payload: first.value.unwrap_or_default(),
            wrapper: Some(wrapper),
            ..empty(first.offset, first.timestamp)
        }));
    }
    let mut batch = empty(first.offset, first.timestamp);
    batch.attributes = i16::from(first.attributes) & at::LOG_APPEND_TIME_BIT;
    let mut records = Vec::new();
    push(&mut records, &mut batch, &first)?;
    loop {
        let mut rest = buf.clone();
        let same = rest
            .get(at::MAGIC)
            .is_some_and(|&magic| magic as i8 == first.magic);
        // What is wrong with the next one shows when it is its turn.
        let Some(Ok(Ok(message))) = same.then(|| next(&mut rest)) else {
            break;
        };
        let follows = message.offset > batch.last_offset()
            && i32::try_from(message.offset - batch.base_offset).is_ok();
        // A batch has one append time.
        let is_like = message.attributes == first.attributes
            && (!first.is_append_time() || message.timestamp == first.timestamp);
        if !follows || !is_like {
            break;
        }
        push(&mut records, &mut batch, &message)?;
        *buf = rest;
    }
    batch.payload = records.into();
    Ok(Ok(batch))
}

/// The messages of a wrapper as an uncompressed batch; they unpack to at most `limit` bytes.
pub(crate) fn unwrap(
    wrapper: Wrapper,
    codec: Codec,
    payload: &[u8],
    limit: usize,
) -> Result<Batch, BatchError> {
    let failed = |source| BatchError::Codec {
        base_offset: wrapper.offset,
        source,
    };
    let mut inner = Bytes::from(decompress(codec, payload, limit).map_err(failed)?);
    let mut messages = Vec::new();
    while !inner.is_empty() {
        let message = next(&mut inner)?
            .map_err(|_| failed(CodecError::malformed(codec, "a message is cut off")))?;
        if message.attributes & 0x07 != 0 {
            return Err(failed(CodecError::malformed(
                codec,
                "a wrapper in a wrapper",
            )));
        }
        messages.push(message);
    }
    let last = messages.last().map_or(0, |message| message.offset);
    // Producers number them from 0; then the wrapper's offset is the last one's. Old ones have their own.
    let shift = if wrapper.magic >= 1 {
        wrapper.offset.wrapping_sub(last)
    } else {
        0
    };
    for message in &mut messages {
        message.offset = message.offset.wrapping_add(shift);
    }
    let first = messages.first();
    let mut batch = empty(
        first.map_or(wrapper.offset, |message| message.offset),
        first.map_or(-1, |message| message.timestamp),
    );
    let mut records = Vec::with_capacity(payload.len());
    for message in &messages {
        push(&mut records, &mut batch, message)?;
    }
    if let Some(time) = wrapper.append_time {
        batch.attributes = at::LOG_APPEND_TIME_BIT;
        batch.max_timestamp = time;
    }
    batch.payload = records.into();
    Ok(batch)
}

/// The message at the front, taken off; or how many bytes it takes, if it is cut off.
fn next(buf: &mut Bytes) -> Result<Result<Message, usize>, BatchError> {
    if buf.len() < PREFIX {
        return Ok(Err(OVERHEAD));
    }
    let mut head = buf.slice(..PREFIX);
    let (offset, length) = (head.get_i64(), head.get_i32());
    let invalid = || BatchError::InvalidLength {
        base_offset: offset,
        length,
    };
    let size = usize::try_from(length).map_err(|_| invalid())?;
    if size < MIN_SIZE {
        return Err(invalid());
    }
    if buf.len() - PREFIX < size {
        return Ok(Err(PREFIX.saturating_add(size)));
    }
    let malformed = |what| BatchError::MalformedRecord {
        base_offset: offset,
        index: 0,
        what,
    };
    let mut message = buf.slice(PREFIX..PREFIX + size);
    let expected = message.get_u32();
    let mut crc = flate2::Crc::new();
    crc.update(&message);
    if crc.sum() != expected {
        return Err(BatchError::BadChecksum {
            base_offset: offset,
            expected,
            computed: crc.sum(),
        });
    }
    if offset < 0 || offset == i64::MAX {
        return Err(BatchError::InvalidField {
            base_offset: offset,
            field: "offset",
            value: offset,
        });
    }
    let (magic, attributes) = (message.get_i8(), message.get_i8());
    if !(0..=1).contains(&magic) {
        return Err(BatchError::UnsupportedMagic {
            magic,
            base_offset: offset,
        });
    }
    let timestamp = match magic {
        0 => -1,
        _ => message
            .try_get_i64()
            .map_err(|_| malformed("it has no timestamp"))?,
    };
    let mut field = |what| match message.try_get_i32() {
        Ok(-1) => Ok(None),
        Ok(len) => match usize::try_from(len) {
            Ok(len) if len <= message.len() => Ok(Some(message.split_to(len))),
            _ => Err(malformed(what)),
        },
        Err(_) => Err(malformed(what)),
    };
    let (key, value) = (field("key")?, field("value")?);
    buf.advance(PREFIX + size);
    Ok(Ok(Message {
        offset,
        magic,
        attributes,
        timestamp,
        key,
        value,
    }))
}

/// A batch without records.
fn empty(base_offset: i64, base_timestamp: i64) -> Batch {
    Batch {
        base_offset,
        partition_leader_epoch: -1,
        attributes: 0,
        last_offset_delta: 0,
        base_timestamp,
        max_timestamp: base_timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
        payload: Bytes::new(),
        wrapper: None,
    }
}

/// Appends a message in the form that records of batches have.
fn push(records: &mut Vec<u8>, batch: &mut Batch, message: &Message) -> Result<(), BatchError> {
    let delta = message.offset.wrapping_sub(batch.base_offset);
    let delta = i32::try_from(delta).map_err(|_| BatchError::InvalidField {
        base_offset: batch.base_offset,
        field: "offset",
        value: message.offset,
    })?;
    let late = message.timestamp.wrapping_sub(batch.base_timestamp);
    let size =
        |text: &Option<Bytes>| varint_size(length(text)) + text.as_ref().map_or(0, Bytes::len);
    // Attributes and the number of headers take a byte each.
    let body =
        2 + varlong_size(late) + varint_size(delta) + size(&message.key) + size(&message.value);
    write_varint(records, i32::try_from(body).unwrap_or(i32::MAX));
    records.push(0);
    write_varlong(records, late);
    write_varint(records, delta);
    for text in [&message.key, &message.value] {
        write_varint(records, length(text));
        records.extend_from_slice(text.as_deref().unwrap_or_default());
    }
    records.push(0);
    batch.last_offset_delta = delta;
    batch.max_timestamp = batch.max_timestamp.max(message.timestamp);
    batch.record_count += 1;
    Ok(())
}

fn length(text: &Option<Bytes>) -> i32 {
    let length = |text: &Bytes| i32::try_from(text.len()).unwrap_or(i32::MAX);
    text.as_ref().map_or(-1, length)
}

/// A producer's batch as a message set. Fails with what a broker answers to what the old format cannot
/// hold: headers, and codecs that came later.
pub(crate) fn from_batch(batch: Bytes, magic: i8) -> Result<Bytes, ErrorCode> {
    let mut set = BytesMut::with_capacity(batch.len() * 2);
    for batch in batches(batch) {
        let batch = batch.map_err(|error| error.code())?;
        let codec = batch.codec().map_err(|error| error.code())?;
        if codec == Codec::Zstd {
            return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
        }
        let messages = match codec {
            Codec::None => &mut set,
            _ => &mut BytesMut::with_capacity(batch.payload.len() * 4),
        };
        // It was ours before it was packed, and fitted into memory.
        let records = batch
            .records(usize::MAX >> 1)
            .map_err(|error| error.code())?;
        for record in records.iter() {
            let record = record.map_err(|error| error.code())?;
            if record.headers.len() > 0 {
                return Err(ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT);
            }
            let text = |span: Option<_>| span.map(|span| records.slice(span));
            let (key, value) = (text(record.key), text(record.value));
            write(
                messages,
                magic,
                record.offset,
                0,
                record.timestamp,
                key,
                value,
            );
        }
        if codec != Codec::None {
            let mut packed = Vec::new();
            compress(codec, None, messages, &mut packed).map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
            if codec == Codec::Lz4 && magic == 0 {
                miscount(&mut packed);
            }
            let attributes = codec as i8;
            let last = batch.last_offset();
            write(
                &mut set,
                magic,
                last,
                attributes,
                batch.max_timestamp,
                None,
                Some(&packed),
            );
        }
    }
    Ok(set.freeze())
}

fn write(
    set: &mut BytesMut,
    magic: i8,
    offset: i64,
    attributes: i8,
    timestamp: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) {
    let start = set.len();
    set.put_i64(offset);
    // Size and checksum come last.
    set.put_u64(0);
    set.put_i8(magic);
    set.put_i8(attributes);
    if magic >= 1 {
        set.put_i64(timestamp);
    }
    for text in [key, value] {
        // Batches have these lengths in as many bits.
        set.put_i32(text.map_or(-1, |text| text.len() as i32));
        set.put_slice(text.unwrap_or_default());
    }
    let message = &mut set[start..];
    let size = (message.len() - PREFIX) as u32;
    let mut crc = flate2::Crc::new();
    crc.update(&message[MAGIC..]);
    message[8..12].copy_from_slice(&size.to_be_bytes());
    message[12..16].copy_from_slice(&crc.sum().to_be_bytes());
}

/// Brokers of magic 0 expect an lz4 frame's header with a checksum that counts the frame's magic number
/// in (KIP-57 names the fault).
fn miscount(frame: &mut [u8]) {
    // The number, the flags, the block size; our frames say nothing more before the checksum.
    if let Some((checked, rest)) = frame.split_at_mut_checked(6) {
        if let Some(sum) = rest.first_mut() {
            *sum = (twox_hash::XxHash32::oneshot(0, checked) >> 8) as u8;
        }
    }
}
