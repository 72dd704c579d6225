//! Snappy blocks, with or without the framing of the xerial library.
//!
//! The Java client writes and expects the framing; other clients have written bare blocks, so both
//! are read.

use std::io;

use bytes::Bytes;

use super::compress::{Codec, CodecError};

/// Magic, version 1, oldest compatible version 1.
const HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const MAGIC: usize = 8;
const BLOCK: usize = 32 * 1024;
/// The most that snappy can expand a byte: a copy of 64 bytes takes three.
const MAX_EXPANSION: usize = 22;

/// Appends `input`, compressed, to `out`.
pub(crate) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(&HEADER);
    for block in input.chunks(BLOCK) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let written = encoder.compress(block, &mut out[start..])?;
        out.truncate(start + written);
        // A block of 32 KB never grows near 4 GB.
        out[length_at..start].copy_from_slice(&(written as u32).to_be_bytes());
    }
    Ok(())
}

/// Appends `input`, decompressed, to `out`, which then has at most `limit` bytes.
pub(crate) fn decompress(input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), CodecError> {
    if !input.starts_with(&HEADER[..MAGIC]) {
        return append_block(input, out, limit);
    }
    let mut rest = input;
    while let Some(block) = next_block(&mut rest)? {
        append_block(block, out, limit)?;
    }
    Ok(())
}

/// The next framed block, if there is one.
fn next_block<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, CodecError> {
    // Streams that were concatenated repeat the header.
    while rest.starts_with(&HEADER[..MAGIC]) {
        *rest = rest
            .get(HEADER.len()..)
            .ok_or_else(|| malformed("the stream header is cut off"))?;
    }
    if rest.is_empty() {
        return Ok(None);
    }
    let (length, after) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed("a block length is cut off"))?;
    let (block, after) = after
        .split_at_checked(u32::from_be_bytes(*length) as usize)
        .ok_or_else(|| malformed("a block is longer than the data"))?;
    *rest = after;
    Ok(Some(block))
}

/// Block by block; a bare block is one.
pub(crate) struct Blocks {
    input: Bytes,
    framed: bool,
}

impl Blocks {
    pub(crate) fn new(input: Bytes) -> Self {
        let framed = input.starts_with(&HEADER[..MAGIC]);
        Blocks { input, framed }
    }

    /// Appends the next block to `out`: of at most `most` bytes, or 64 KB. False: there are no more.
    pub(crate) fn more(&mut self, out: &mut Vec<u8>, most: usize) -> Result<bool, CodecError> {
        let whole = std::mem::take(&mut self.input);
        let limit = out.len().saturating_add(most.max(2 * BLOCK));
        if !self.framed {
            append_block(&whole, out, limit)?;
            return Ok(false);
        }
        let mut rest = &whole[..];
        let Some(block) = next_block(&mut rest)? else {
            return Ok(false);
        };
        append_block(block, out, limit)?;
        self.input = whole.slice(whole.len() - rest.len()..);
        Ok(true)
    }

    /// How many bytes this takes.
    pub(crate) fn held(&self) -> usize {
        self.input.len()
    }
}

fn append_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), CodecError> {
    let declared = snap::raw::decompress_len(block).map_err(snap_error)?;
    if declared > block.len().saturating_mul(MAX_EXPANSION) {
        return Err(malformed("a block declares more than it can hold"));
    }
    if declared > limit - out.len() {
        return Err(CodecError::LimitExceeded { limit });
    }
    let start = out.len();
    out.resize(start + declared, 0);
    snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(snap_error)?;
    Ok(())
}

fn snap_error(error: snap::Error) -> CodecError {
    CodecError::Malformed {
        codec: Codec::Snappy,
        source: error.into(),
    }
}

fn malformed(what: &str) -> CodecError {
    CodecError::malformed(Codec::Snappy, what)
}
