//! Each codec: what is packed here is unpacked to itself, and what is not takes no more than it may.

use brod_protocol::compress::{compress, decompress, Codec};

/// Of what is unpacked.
const LIMIT: usize = 1024 * 1024;

/// The first byte is the codec, the second one a limit in KB.
pub fn run(data: &[u8]) {
    let Some(([codec, limit], input)) = super::head(data) else {
        return;
    };
    let codec = Codec::from_attributes(i16::from(codec) % 5).unwrap_or_default();
    let limit = (usize::from(limit) * 1024).min(LIMIT);
    if let Ok(out) = decompress(codec, input, limit) {
        assert!(out.len() <= limit);
        assert_eq!(out.len(), out.capacity());
    }
    if data.len() % 4 == 0 {
        let mut packed = Vec::new();
        compress(codec, None, input, &mut packed).expect("what is in memory is compressed");
        let out = decompress(codec, &packed, input.len()).expect("what we pack");
        assert_eq!(out, input);
    }
}
