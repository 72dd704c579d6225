//! Requests to brokers that are older than what is spoken here, and their answers.

use brod_protocol::body::Body;
use brod_protocol::legacy::{self, Sent};
use brod_protocol::{ApiVersions, WireError};
use bytes::{BufMut, Bytes, BytesMut};

/// Rewrites the body of a request that a broker of these versions would not understand. None: it goes as it
/// is.
pub(super) fn rewrite(
    versions: &ApiVersions,
    api_key: i16,
    version: i16,
    body: &mut Body,
) -> Result<Option<Sent>, WireError> {
    let on_wire = versions.on_wire(api_key, version);
    if on_wire == version {
        return Ok(None);
    }
    let (rewritten, sent) = legacy::request(api_key, on_wire, body.clone().into_bytes())?;
    *body = rewritten.into();
    Ok(Some(sent))
}

/// The answer to a request that was rewritten, as one to the request as it was. The header of both is a
/// correlation id.
pub(super) fn translate(sent: Sent, mut frame: Bytes) -> Result<Bytes, WireError> {
    let mut whole = BytesMut::from(&frame.split_to(4)[..]);
    whole.put_slice(&sent.response(frame)?);
    Ok(whole.freeze())
}
