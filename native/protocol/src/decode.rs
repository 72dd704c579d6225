//! The one place where responses are decoded.

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Request};

use super::{api, WireError};

/// Decodes the body of a response to `R`, once its lengths are checked.
pub fn decode_response<R: Request>(
    mut body: Bytes,
    version: i16,
) -> Result<R::Response, WireError> {
    let api = const { api::of_request::<R>() };
    let error = |why: &dyn std::fmt::Display| {
        let name = api.name;
        WireError::Malformed(format!("{name} response of version {version}: {why}"))
    };
    api.shape.check(&body, version).map_err(|why| error(&why))?;
    R::Response::decode(&mut body, version).map_err(|why| error(&why))
}
