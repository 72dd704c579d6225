//! Requests to brokers that are older than what is spoken here, and their answers.

use brod_protocol::legacy::{self, Sent};
use brod_protocol::WireError;
use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{Head, Outgoing, Shared};

/// Rewrites a request that the broker would not understand. None: it goes as it is.
pub(super) fn rewrite(shared: &Shared, request: &mut Outgoing) -> Result<Option<Sent>, WireError> {
    let Head::Request { api_key, version } = request.head else {
        return Ok(None);
    };
    let on_wire = match shared.versions.get() {
        Some(versions) => versions.on_wire(api_key, version),
        // It is still being asked.
        None => version,
    };
    if on_wire == version {
        return Ok(None);
    }
    let (body, sent) = legacy::request(api_key, on_wire, request.body.clone())?;
    request.body = body;
    Ok(Some(sent))
}

/// The answer to a request that was rewritten, as one to the request as it was. The header of both is a
/// correlation id.
pub(super) fn translate(sent: Sent, mut frame: Bytes) -> Result<Bytes, WireError> {
    let mut whole = BytesMut::from(&frame.split_to(4)[..]);
    whole.put_slice(&sent.response(frame)?);
    Ok(whole.freeze())
}
