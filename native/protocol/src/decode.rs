//! The one place where responses are decoded.

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Message, Request};

use super::shape::Shape;
use super::{shapes, WireError};

/// Decodes the body of a response to `R`, once its lengths are checked.
pub fn decode_response<R: Request>(
    mut body: Bytes,
    version: i16,
) -> Result<R::Response, WireError> {
    let shape = const { shape_of::<R>() };
    let error = |why: &dyn std::fmt::Display| {
        let api = shape.api;
        WireError::Malformed(format!("{api} response of version {version}: {why}"))
    };
    shape.check(&body, version).map_err(|why| error(&why))?;
    R::Response::decode(&mut body, version).map_err(|why| error(&why))
}

/// Runs in the compiler: a response that could not be checked is not decoded either.
const fn shape_of<R: Request>() -> &'static Shape {
    let Some(shape) = shapes::of(R::KEY) else {
        panic!("protocol::shapes lacks this API");
    };
    let decoded = <R::Response as Message>::VERSIONS;
    assert!(
        shape.oldest == decoded.min && shape.newest == decoded.max,
        "protocol::shapes has this API in other versions than kafka-protocol"
    );
    shape
}
