//! Responses of the SASL handshake.

use kafka_protocol::messages::ApiKey;

use super::super::shape::{Fields, Shape};
use super::{bytes, fields, int16, int64, list, nullable_string, shape, string};

pub(super) const SASL_HANDSHAKE: Shape = shape(
    ("SaslHandshake", ApiKey::SaslHandshake),
    (0, 1),
    i16::MAX,
    fields(&[int16("error_code"), list("mechanisms", &MECHANISM)]),
);

const MECHANISM: Fields = fields(&[string("mechanism")]);

pub(super) const SASL_AUTHENTICATE: Shape = shape(
    ("SaslAuthenticate", ApiKey::SaslAuthenticate),
    (0, 2),
    2,
    fields(&[
        int16("error_code"),
        nullable_string("error_message"),
        bytes("auth_bytes"),
        int64("session_lifetime_ms").since(1),
    ]),
);
