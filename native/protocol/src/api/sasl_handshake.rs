//! SaslHandshake: which mechanisms a broker knows.

use kafka_protocol::messages::ApiKey;

use super::{Api, SHORT};
use crate::shape::build::{fields, int16, list, string};
use crate::shape::Fields;

/// This API.
pub const API: Api = Api::new(
    ("SaslHandshake", ApiKey::SaslHandshake),
    (0, 1),
    i16::MAX,
    fields(&[int16("error_code"), list("mechanisms", &MECHANISM)]),
)
.answers(SHORT);

const MECHANISM: Fields = fields(&[string("mechanism")]);
