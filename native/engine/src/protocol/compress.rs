//! Compression of the records section of a batch, as Kafka's own clients write and read it.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, FrameDecoder, FrameEncoder, FrameInfo};
use thiserror::Error;

/// How the records of a batch are compressed. The numbers are those of a batch's attributes.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub enum Codec {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    /// The codec that a batch's attributes name; `None` for a number that Kafka does not define.
    pub const fn from_attributes(attributes: i16) -> Option<Codec> {
        match attributes & 0x07 {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, Error)]
pub enum CodecError {
    #[error("decompressed records exceed the limit of {limit} bytes")]
    LimitExceeded { limit: usize },
    #[error("{codec:?} data is malformed: {source}")]
    Malformed { codec: Codec, source: io::Error },
    #[error("{codec:?} compression failed: {source}")]
    Compress { codec: Codec, source: io::Error },
}

/// Appends `input`, compressed, to `out`.
///
/// `level` is the codec's own scale, clamped to what it knows (gzip 0 to 9, zstd about -7 to 22);
/// `None` or a negative gzip level takes the codec's default. Snappy and lz4 have no levels.
pub fn compress(
    codec: Codec,
    level: Option<i32>,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    match codec {
        Codec::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Codec::Gzip => compress_gzip(level, input, out),
        Codec::Snappy => snappy::compress(input, out),
        Codec::Lz4 => compress_lz4(input, out),
        Codec::Zstd => compress_zstd(level, input, out),
    }
    .map_err(|source| CodecError::Compress { codec, source })
}

/// Decompresses `input` into at most `limit` bytes.
///
/// Nothing is allocated because a header says so: the result grows with what comes out. Beside the
/// result, lz4 takes buffers of at most some 8 MB and zstd reserves the window that the data asks
/// for, at most 128 MB, touching only what it fills.
pub fn decompress(codec: Codec, input: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    match codec {
        Codec::None if input.len() > limit => Err(CodecError::LimitExceeded { limit }),
        Codec::None => Ok(input.to_vec()),
        Codec::Gzip => read_limited(codec, MultiGzDecoder::new(input), input.len(), limit),
        Codec::Snappy => snappy::decompress(input, limit),
        Codec::Lz4 => read_limited(codec, FrameDecoder::new(input), input.len(), limit),
        Codec::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input)
                .map_err(|source| CodecError::Malformed { codec, source })?;
            read_limited(codec, decoder, input.len(), limit)
        }
    }
}

fn compress_gzip(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = match level.map(u32::try_from) {
        Some(Ok(level)) => flate2::Compression::new(level.min(9)),
        Some(Err(_)) | None => flate2::Compression::default(),
    };
    let mut encoder = GzEncoder::new(out, level);
    encoder.write_all(input)?;
    encoder.finish()?;
    Ok(())
}

fn compress_lz4(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // The Java client refuses frames whose blocks depend on each other.
    let info = FrameInfo::new().block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input)?;
    encoder.finish()?;
    Ok(())
}

fn compress_zstd(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let start = out.len();
    out.resize(start + zstd::zstd_safe::compress_bound(input.len()), 0);
    let written = zstd::bulk::compress_to_buffer(input, &mut out[start..], level)?;
    out.truncate(start + written);
    Ok(())
}

fn read_limited(
    codec: Codec,
    reader: impl Read,
    input_len: usize,
    limit: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(input_len.saturating_mul(4).min(limit));
    // One byte more than allowed tells "just fits" from "too much".
    let ceiling = u64::try_from(limit).map_or(u64::MAX, |limit| limit.saturating_add(1));
    reader
        .take(ceiling)
        .read_to_end(&mut out)
        .map_err(|source| CodecError::Malformed { codec, source })?;
    if out.len() > limit {
        return Err(CodecError::LimitExceeded { limit });
    }
    Ok(out)
}

/// Snappy blocks, with or without the framing of the xerial library.
///
/// The Java client writes and expects the framing; other clients have written bare blocks, so both
/// are read.
mod snappy {
    use super::{Codec, CodecError};
    use std::io;

    /// Magic, version 1, oldest compatible version 1.
    const HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
    const MAGIC: usize = 8;
    const BLOCK: usize = 32 * 1024;
    /// The most that snappy can expand a byte: a copy of 64 bytes takes three.
    const MAX_EXPANSION: usize = 22;

    pub fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
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

    pub fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        if !input.starts_with(&HEADER[..MAGIC]) {
            append_block(input, &mut out, limit)?;
            return Ok(out);
        }
        let mut rest = input;
        while !rest.is_empty() {
            // Streams that were concatenated repeat the header.
            if rest.starts_with(&HEADER[..MAGIC]) {
                rest = rest
                    .get(HEADER.len()..)
                    .ok_or_else(|| malformed("the stream header is cut off"))?;
                continue;
            }
            let (length, after) = rest
                .split_first_chunk::<4>()
                .ok_or_else(|| malformed("a block length is cut off"))?;
            let length = u32::from_be_bytes(*length) as usize;
            let block = after
                .get(..length)
                .ok_or_else(|| malformed("a block is longer than the data"))?;
            append_block(block, &mut out, limit)?;
            rest = &after[length..];
        }
        Ok(out)
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

    fn malformed(what: &'static str) -> CodecError {
        CodecError::Malformed {
            codec: Codec::Snappy,
            source: io::Error::new(io::ErrorKind::InvalidData, what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CODECS: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    fn compressed(codec: Codec, level: Option<i32>, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, level, input, &mut out).expect("compresses");
        out
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * i / 97) as u8).collect()
    }

    #[test]
    fn round_trip_at_every_size_and_level() {
        for codec in CODECS {
            for len in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 300_000] {
                let input = sample(len);
                for level in [None, Some(-3), Some(1), Some(9), Some(1000)] {
                    let packed = compressed(codec, level, &input);
                    assert!(
                        decompress(codec, &packed, len).expect("decompresses") == input,
                        "{codec:?} {len} {level:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_limit_holds_to_the_byte() {
        for codec in CODECS {
            let packed = compressed(codec, None, &[7; 100_000]);
            assert!(matches!(
                decompress(codec, &packed, 99_999),
                Err(CodecError::LimitExceeded { limit: 99_999 })
            ));
        }
    }

    #[test]
    fn appends_behind_what_is_there() {
        for codec in CODECS {
            let mut out = b"head".to_vec();
            compress(codec, None, b"body", &mut out).expect("compresses");
            assert_eq!(&out[..4], b"head");
            assert_eq!(
                decompress(codec, &out[4..], 100).expect("decompresses"),
                b"body"
            );
        }
    }

    #[test]
    fn reads_bare_and_concatenated_snappy() {
        let input = sample(100_000);
        let bare = snap::raw::Encoder::new()
            .compress_vec(&input)
            .expect("compresses");
        assert!(decompress(Codec::Snappy, &bare, input.len()).expect("bare") == input);

        let twice = [
            compressed(Codec::Snappy, None, &input),
            compressed(Codec::Snappy, None, b"more"),
        ]
        .concat();
        let expected = [input.as_slice(), b"more"].concat();
        assert!(
            decompress(Codec::Snappy, &twice, expected.len()).expect("concatenated") == expected
        );
    }

    #[test]
    fn snappy_lengths_are_not_believed() {
        // Declares 4 GB in five bytes.
        let bare = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(
            decompress(Codec::Snappy, &bare, usize::MAX),
            Err(CodecError::Malformed { .. })
        ));
        let mut framed = compressed(Codec::Snappy, None, b"hello");
        framed[16] = 0xff;
        assert!(decompress(Codec::Snappy, &framed, 1000).is_err());
    }

    #[test]
    fn the_most_compressible_snappy_is_within_the_expansion_bound() {
        let input = vec![0; 1 << 20];
        let bare = snap::raw::Encoder::new()
            .compress_vec(&input)
            .expect("compresses");
        assert_eq!(
            decompress(Codec::Snappy, &bare, input.len()).expect("decompresses"),
            input
        );
    }

    #[test]
    fn lz4_blocks_are_independent() {
        let packed = compressed(Codec::Lz4, None, &sample(300_000));
        // Magic, then the flags: version 1, and the bit for independent blocks.
        assert_eq!(packed[..4], [0x04, 0x22, 0x4d, 0x18]);
        assert_eq!(packed[4] & 0xe0, 0x60);
    }

    #[test]
    fn codec_numbers() {
        for codec in CODECS {
            assert_eq!(Codec::from_attributes(codec as i16 | 0x18), Some(codec));
        }
        for undefined in 5..8 {
            assert_eq!(Codec::from_attributes(undefined), None);
        }
    }

    proptest! {
        #[test]
        fn damaged_input_never_panics_nor_exceeds_the_limit(
            codec in proptest::sample::select(&CODECS),
            len in 0usize..2000,
            cut: prop::sample::Index,
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut packed = compressed(codec, None, &sample(len));
            packed.truncate(cut.index(packed.len() + 1));
            for (at, byte) in flips {
                if !packed.is_empty() {
                    let at = at.index(packed.len());
                    packed[at] = byte;
                }
            }
            if let Ok(out) = decompress(codec, &packed, 1500) {
                prop_assert!(out.len() <= 1500);
            }
        }
    }
}
