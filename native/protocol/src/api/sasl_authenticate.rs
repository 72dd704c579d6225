//! SaslAuthenticate: the tokens of a SASL mechanism (KIP-152).

use kafka_protocol::messages::ApiKey;

use super::{Api, SHORT};
use crate::shape::build::{bytes, fields, int16, int64, nullable_string};

/// This API.
pub const API: Api = Api::new(
    ("SaslAuthenticate", ApiKey::SaslAuthenticate),
    (0, 2),
    2,
    fields(&[
        int16("error_code"),
        nullable_string("error_message"),
        bytes("auth_bytes"),
        int64("session_lifetime_ms").since(1),
    ]),
)
.answers(SHORT);
