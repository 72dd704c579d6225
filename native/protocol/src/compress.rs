//! Compression of the records section of a batch, as Kafka's own clients write and read it.

use std::io::{self, Write};

use flate2::{Compress, Compression, FlushCompress, Status};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use thiserror::Error;
use zstd::zstd_safe::{self, CCtx};

pub use super::decompress::decompress;
use super::memory::Kept;
use super::snappy;

/// A context that has grown to more memory than this is not kept.
const KEPT_CONTEXT: usize = 4 * 1024 * 1024;

/// The largest window there is, as the gzip program takes it: 32 KB, in powers of two.
const GZIP_WINDOW: u8 = 15;

/// Contexts of each kind that are kept: as many as threads of the engine may compress at a time. They
/// do not belong to threads, because compressing moves from thread to thread.
const KEPT: usize = 4;

static ZSTD: Kept<CCtx<'static>> = Kept::new(KEPT);
/// With the levels that they were made for.
static GZIP: Kept<(Compression, Compress)> = Kept::new(KEPT);

/// How the records of a batch are compressed. The numbers are those of a batch's attributes.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub enum Codec {
    #[default]
    /// Not at all.
    None = 0,
    /// Of gzip's format.
    Gzip = 1,
    /// In blocks, framed as the Java client does.
    Snappy = 2,
    /// In lz4 frames.
    Lz4 = 3,
    /// Since Kafka 2.1 (KIP-110).
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
    /// There is more to unpack than is allowed.
    #[error("decompressed records exceed the limit of {limit} bytes")]
    LimitExceeded {
        /// In bytes.
        limit: usize,
    },
    /// The data is not what the codec makes.
    #[error("{codec:?} data is malformed: {source}")]
    Malformed {
        /// Which it is said to be.
        codec: Codec,
        /// What is wrong.
        source: io::Error,
    },
    /// The codec did not do it.
    #[error("{codec:?} compression failed: {source}")]
    Compress {
        /// Which one.
        codec: Codec,
        /// Why.
        source: io::Error,
    },
}

impl CodecError {
    /// Data that is not what the codec makes, and in which way.
    pub(super) fn malformed(codec: Codec, what: &str) -> Self {
        CodecError::Malformed {
            codec,
            source: io::Error::new(io::ErrorKind::InvalidData, what),
        }
    }
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

fn compress_gzip(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = match level.map(u32::try_from) {
        Some(Ok(level)) => Compression::new(level.min(9)),
        Some(Err(_)) | None => Compression::default(),
    };
    let mut context = match GZIP.take() {
        Some((kept, context)) if kept == level => context,
        _ => Compress::new_gzip(level, GZIP_WINDOW),
    };
    let mut rest = input;
    loop {
        out.reserve(rest.len() / 4 + 1024);
        let before = context.total_in();
        let status = context.compress_vec(rest, out, FlushCompress::Finish)?;
        rest = &rest[(context.total_in() - before) as usize..];
        if status == Status::StreamEnd {
            break;
        }
    }
    context.reset();
    GZIP.put((level, context));
    Ok(())
}

fn compress_lz4(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // The Java client refuses frames whose blocks depend on each other.
    // Blocks of 64 KB are what it writes itself.
    let info = FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input)?;
    encoder.finish()?;
    Ok(())
}

fn compress_zstd(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let mut context = ZSTD.take().unwrap_or_default();
    let start = out.len();
    out.resize(start + zstd_safe::compress_bound(input.len()), 0);
    let written = context
        .compress(&mut out[start..], input, level)
        .map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))?;
    out.truncate(start + written);
    if context.sizeof() <= KEPT_CONTEXT {
        ZSTD.put(context);
    }
    Ok(())
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
