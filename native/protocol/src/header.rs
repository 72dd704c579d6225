//! Request bodies out, response bodies in: what stands between a message and its frame.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, Request};

use super::WireError;

/// Encodes a request's body in `version`.
pub fn encode<R: Request>(request: &R, version: i16) -> Result<Bytes, WireError> {
    let mut body = BytesMut::with_capacity(256);
    Encodable::encode(request, &mut body, version)
        .map_err(|error| WireError::Malformed(format!("request not encodable: {error}")))?;
    Ok(body.freeze())
}

/// Takes the header off a response frame (KIP-482). The correlation id is not looked at.
pub fn strip_response_header(
    mut frame: Bytes,
    api_key: i16,
    version: i16,
) -> Result<Bytes, WireError> {
    if frame.len() < 4 {
        return Err(WireError::Malformed("response header is cut off".into()));
    }
    frame.advance(4);
    let header_version = ApiKey::try_from(api_key)
        .map(|key| key.response_header_version(version))
        .unwrap_or(0);
    if header_version >= 1 {
        skip_tagged_fields(&mut frame)?;
    }
    Ok(frame)
}

fn skip_tagged_fields(frame: &mut Bytes) -> Result<(), WireError> {
    let cut = || WireError::Malformed("response header is cut off".into());
    let count = read_uvarint(frame).ok_or_else(cut)?;
    for _ in 0..count {
        let _tag = read_uvarint(frame).ok_or_else(cut)?;
        let size = read_uvarint(frame).ok_or_else(cut)? as usize;
        if frame.len() < size {
            return Err(cut());
        }
        frame.advance(size);
    }
    Ok(())
}

fn read_uvarint(buf: &mut Bytes) -> Option<u32> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        if !buf.has_remaining() {
            return None;
        }
        let byte = buf.get_u8();
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
