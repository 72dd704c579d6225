//! Decompression of the records section of a batch.
//!
//! A thread unpacks into memory that it keeps, and gives out a copy of the right size. Memory that
//! grew with its content would be up to twice as large, for as long as subscribers hold the batch,
//! and getting it anew each time costs more than the copy.

use std::cell::RefCell;
use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::zstd_safe::{self, DCtx, InBuffer, OutBuffer, ResetDirective};

use super::compress::{Codec, CodecError};
use super::{lz4, snappy};

/// The most memory of each kind that a thread keeps.
const KEPT_BYTES: usize = 2 * 1024 * 1024;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

#[derive(Default)]
struct Kept {
    buffer: Vec<u8>,
    /// Of lz4.
    block: Vec<u8>,
    zstd: Option<DCtx<'static>>,
}

/// Decompresses `input` into at most `limit` bytes.
///
/// Nothing is allocated because a header says so: memory grows with what comes out. Beside the
/// result, lz4 takes a block of at most 4 MB and zstd reserves the window that the data asks
/// for, at most 128 MB, touching only what it fills.
pub fn decompress(codec: Codec, input: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    KEPT.with_borrow_mut(|kept| {
        let mut out = std::mem::take(&mut kept.buffer);
        out.clear();
        kept.decompress(codec, input, limit, &mut out)?;
        if out.len() > KEPT_BYTES {
            out.shrink_to_fit();
            return Ok(out);
        }
        let exact = out.as_slice().to_vec();
        out.shrink_to(KEPT_BYTES);
        kept.buffer = out;
        Ok(exact)
    })
}

impl Kept {
    fn decompress(
        &mut self,
        codec: Codec,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        if codec != Codec::Snappy {
            out.reserve(input.len().saturating_mul(4).min(limit));
        }
        match codec {
            Codec::None => read_limited(codec, input, out, limit),
            Codec::Gzip => read_limited(codec, MultiGzDecoder::new(input), out, limit),
            Codec::Snappy => snappy::decompress(input, out, limit),
            Codec::Lz4 => {
                let mut block = std::mem::take(&mut self.block);
                lz4::decompress(input, out, limit, &mut block)?;
                if block.len() <= KEPT_BYTES {
                    self.block = block;
                }
                Ok(())
            }
            Codec::Zstd => self.decompress_zstd(input, out, limit),
        }
    }

    fn decompress_zstd(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), CodecError> {
        let malformed = |source| CodecError::Malformed {
            codec: Codec::Zstd,
            source,
        };
        let failed = |code| malformed(io::Error::other(zstd_safe::get_error_name(code)));
        let mut context = self.zstd.take().unwrap_or_default();
        context.reset(ResetDirective::SessionOnly).map_err(failed)?;
        let mut source = InBuffer::around(input);
        loop {
            if out.len() == out.capacity() {
                // One byte more than allowed tells "just fits" from "too much".
                let room = (limit - out.len()).saturating_add(1);
                out.reserve_exact(out.len().clamp(1, room));
            }
            let before = (source.pos(), out.len());
            let mut sink = OutBuffer::around_pos(out, before.1);
            let left = context
                .decompress_stream(&mut sink, &mut source)
                .map_err(failed)?;
            if out.len() > limit {
                return Err(CodecError::LimitExceeded { limit });
            }
            if left == 0 && source.pos() == input.len() {
                break;
            }
            if (source.pos(), out.len()) == before {
                return Err(malformed(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if context.sizeof() <= KEPT_BYTES {
            self.zstd = Some(context);
        }
        Ok(())
    }
}

fn read_limited(
    codec: Codec,
    reader: impl Read,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    // As above.
    let ceiling = u64::try_from(limit).map_or(u64::MAX, |limit| limit.saturating_add(1));
    reader
        .take(ceiling)
        .read_to_end(out)
        .map_err(|source| CodecError::Malformed { codec, source })?;
    if out.len() > limit {
        return Err(CodecError::LimitExceeded { limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::compress::compress;
    use super::*;

    const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn packed(codec: Codec, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, None, input, &mut out).expect("compresses");
        out
    }

    #[test]
    fn a_result_takes_no_more_memory_than_it_has_bytes() {
        for codec in CODECS {
            // The memory that is kept grows, is used again, is too small and is not grown for good.
            for size in [1000, 1_500_000, 20, 2 * KEPT_BYTES, 70_000] {
                let input = vec![7; size];
                let out = decompress(codec, &packed(codec, &input), size).expect("decompresses");
                assert!(out == input, "{codec:?} {size}");
                assert_eq!(out.capacity(), size, "{codec:?}");
            }
        }
        KEPT.with_borrow(|kept| assert!(kept.buffer.capacity() <= KEPT_BYTES));
    }

    #[test]
    fn a_failure_does_not_show_in_the_next_batch() {
        let input: Vec<u8> = (0..100_000u64).map(|i| (i * i / 97) as u8).collect();
        for codec in CODECS {
            let good = packed(codec, &input);
            let cut_off = decompress(codec, &good[..good.len() / 2], input.len());
            assert!(
                matches!(cut_off, Err(CodecError::Malformed { .. })),
                "{codec:?}"
            );
            assert!(decompress(codec, &good, input.len() - 1).is_err());
            assert!(decompress(codec, &good, input.len()).expect("decompresses") == input);
        }
    }

    #[test]
    fn zstd_frames_may_follow_each_other() {
        let twice = [packed(Codec::Zstd, b"some "), packed(Codec::Zstd, b"text")].concat();
        let out = decompress(Codec::Zstd, &twice, 9).expect("decompresses");
        assert_eq!(out, b"some text");
        assert!(decompress(Codec::Zstd, &twice, 8).is_err());
    }
}
