//! Reads lz4 frames.
//!
//! The crate's own reader gets memory for two whole blocks of each frame, up to 8 MB for a batch of
//! any size, and clears it.

use bytes::Bytes;
use lz4_flex::block::decompress_into_with_dict;

use super::compress::{Codec, CodecError};

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Set in a block's length: the block is not compressed.
const STORED: u32 = 1 << 31;
/// How far back a block may refer to what came before it.
const DICTIONARY: usize = 64 * 1024;

/// What a frame says of its blocks.
struct Header {
    /// Blocks refer to the ones before them.
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    /// The most that a block decompresses to.
    block_size: usize,
}

/// Appends `input`, decompressed, to `out`, which then has at most `limit` bytes. `block` is memory
/// for a block.
///
/// Checksums are passed over: a batch has one of its own.
pub(crate) fn decompress(
    mut input: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
    block: &mut Vec<u8>,
) -> Result<(), CodecError> {
    while !input.is_empty() {
        let header = read_header(&mut input)?;
        let start = out.len();
        // A frame may end without its mark.
        while !input.is_empty() {
            let length = u32::from_le_bytes(*take_array(&mut input)?);
            if length == 0 {
                take(&mut input, if header.content_checksum { 4 } else { 0 })?;
                break;
            }
            let data = take(&mut input, (length & !STORED) as usize)?;
            take(&mut input, if header.block_checksums { 4 } else { 0 })?;
            if length & STORED != 0 {
                append(data, out, limit)?;
                continue;
            }
            if block.len() < header.block_size {
                *block = vec![0; header.block_size];
            }
            let before = if header.linked {
                &out[start.max(out.len().saturating_sub(DICTIONARY))..]
            } else {
                &[]
            };
            let size = decompress_into_with_dict(data, &mut block[..header.block_size], before)
                .map_err(|error| malformed(&error.to_string()))?;
            append(&block[..size], out, limit)?;
        }
    }
    Ok(())
}

/// A frame after the other, block by block.
pub(crate) struct Blocks {
    input: Bytes,
    /// Of the frame under way.
    header: Option<Header>,
    /// What its blocks may refer to.
    before: Vec<u8>,
    block: Vec<u8>,
}

impl Blocks {
    pub(crate) fn new(input: Bytes) -> Self {
        Blocks {
            input,
            header: None,
            before: Vec::new(),
            block: Vec::new(),
        }
    }

    /// Appends the next block, at most 4 MB, to `out`. False: there are no more.
    pub(crate) fn more(&mut self, out: &mut Vec<u8>) -> Result<bool, CodecError> {
        let whole = self.input.clone();
        let mut input = &whole[..];
        let more = self.read(&mut input, out)?;
        self.input = whole.slice(whole.len() - input.len()..);
        Ok(more)
    }

    fn read(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, CodecError> {
        while !input.is_empty() {
            let header = match &self.header {
                Some(header) => header,
                None => {
                    self.before.clear();
                    self.header.insert(read_header(input)?)
                }
            };
            // A frame may end without its mark.
            if input.is_empty() {
                break;
            }
            let length = u32::from_le_bytes(*take_array(input)?);
            if length == 0 {
                take(input, if header.content_checksum { 4 } else { 0 })?;
                self.header = None;
                continue;
            }
            let data = take(input, (length & !STORED) as usize)?;
            take(input, if header.block_checksums { 4 } else { 0 })?;
            let start = out.len();
            if length & STORED != 0 {
                out.extend_from_slice(data);
            } else {
                self.block.resize(header.block_size, 0);
                let size = decompress_into_with_dict(data, &mut self.block, &self.before)
                    .map_err(|error| malformed(&error.to_string()))?;
                out.extend_from_slice(&self.block[..size]);
            }
            if header.linked {
                let block = &out[start.max(out.len().saturating_sub(DICTIONARY))..];
                let kept = DICTIONARY - block.len();
                self.before.drain(..self.before.len().saturating_sub(kept));
                self.before.extend_from_slice(block);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// How many bytes this takes.
    pub(crate) fn held(&self) -> usize {
        self.input.len() + self.before.capacity() + self.block.capacity()
    }
}

fn read_header(input: &mut &[u8]) -> Result<Header, CodecError> {
    if *take_array(input)? != MAGIC {
        return Err(malformed("this is no frame"));
    }
    let [flags, sizes] = *take_array(input)?;
    if flags >> 6 != 1 {
        return Err(malformed("a frame of an unknown version"));
    }
    if flags & 0x01 != 0 {
        return Err(malformed("it needs a dictionary"));
    }
    let content_size = if flags & 0x08 != 0 { 8 } else { 0 };
    // And a checksum of the header.
    take(input, content_size + 1)?;
    let block_size = match sizes >> 4 & 0x07 {
        number @ 4..=7 => 1 << (8 + 2 * number),
        _ => return Err(malformed("blocks of an unknown size")),
    };
    Ok(Header {
        linked: flags & 0x20 == 0,
        block_checksums: flags & 0x10 != 0,
        content_checksum: flags & 0x04 != 0,
        block_size,
    })
}

fn append(data: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), CodecError> {
    if data.len() > limit.saturating_sub(out.len()) {
        return Err(CodecError::LimitExceeded { limit });
    }
    out.extend_from_slice(data);
    Ok(())
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], CodecError> {
    let (taken, rest) = input.split_at_checked(length).ok_or_else(cut_off)?;
    *input = rest;
    Ok(taken)
}

fn take_array<'a, const N: usize>(input: &mut &'a [u8]) -> Result<&'a [u8; N], CodecError> {
    let (array, rest) = input.split_first_chunk().ok_or_else(cut_off)?;
    *input = rest;
    Ok(array)
}

fn cut_off() -> CodecError {
    malformed("it is cut off")
}

fn malformed(what: &str) -> CodecError {
    CodecError::malformed(Codec::Lz4, what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    fn packed(info: FrameInfo, input: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(input).expect("compresses");
        encoder.finish().expect("ends")
    }

    /// At once, and block by block.
    fn unpacked(input: &[u8]) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        let whole = decompress(input, &mut out, 1 << 20, &mut Vec::new());
        let mut blocks = Blocks::new(Bytes::copy_from_slice(input));
        let mut in_parts = Vec::new();
        let end = loop {
            match blocks.more(&mut in_parts) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(whole.is_ok(), end.is_ok());
        assert!(whole.is_err() || in_parts == out);
        whole.map(|()| out)
    }

    /// Repeats at a distance, and parts that do not compress.
    fn sample() -> Vec<u8> {
        let mut state = 1u32;
        let noise: Vec<u8> = (0..70_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        [&noise[..], &noise[..50_000], &[7; 100_000], &noise[..]].concat()
    }

    #[test]
    fn reads_frames_of_every_kind() {
        let input = sample();
        for mode in [BlockMode::Independent, BlockMode::Linked] {
            for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
                for checks in [false, true] {
                    let info = FrameInfo::new()
                        .block_mode(mode)
                        .block_size(size)
                        .block_checksums(checks)
                        .content_checksum(checks)
                        .content_size(checks.then_some(input.len() as u64));
                    let frame = packed(info, &input);
                    assert!(
                        unpacked(&frame).expect("reads") == input,
                        "{mode:?} {size:?} {checks}"
                    );
                    let twice = [&frame[..], &frame[..]].concat();
                    let expected = [&input[..], &input[..]].concat();
                    assert!(unpacked(&twice).expect("reads both") == expected);
                }
            }
        }
    }

    #[test]
    fn a_block_does_not_reach_into_the_frame_before() {
        let linked = || FrameInfo::new().block_mode(BlockMode::Linked);
        let first = packed(linked(), b"before");
        // A match of 4 bytes, 6 back, with nothing before it in its frame.
        let mut second = packed(linked(), b"x")[..7].to_vec();
        second.extend_from_slice(&[8, 0, 0, 0, 0x00, 6, 0, 0x40, b'a', b'b', b'c', b'd']);
        assert!(unpacked(&[first, second].concat()).is_err());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let frame = packed(FrameInfo::new(), b"some text, some more text");
        let changed = |at: usize, byte: u8| {
            let mut frame = frame.clone();
            frame[at] = byte;
            frame
        };
        assert!(unpacked(&frame).is_ok());
        for bad in [
            changed(0, 0),
            changed(4, 0xe0),
            changed(4, 0x61),
            changed(5, 0x30),
        ] {
            assert!(matches!(unpacked(&bad), Err(CodecError::Malformed { .. })));
        }
        for cut in 1..frame.len() - 8 {
            assert!(cut == 7 || unpacked(&frame[..cut]).is_err(), "{cut}");
        }
    }
}
