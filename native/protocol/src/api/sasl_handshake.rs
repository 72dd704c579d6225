//! SaslHandshake: which mechanisms a broker knows.

use kafka_protocol::messages::{ApiKey, SaslHandshakeRequest, SaslHandshakeResponse};

use super::{text, Api, SHORT};
use crate::error::ErrorCode;
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

/// The version after which tokens come with nothing but their length before them (Kafka 0.10).
pub const BARE: i16 = 0;

/// The version after which tokens come in SaslAuthenticate requests (KIP-152).
pub const FRAMED: i16 = 1;

/// The broker does not go on with the mechanism.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: ErrorCode,
    /// What it would go on with.
    pub offered: Vec<String>,
}

/// Names the mechanism whose tokens come next.
pub fn request(mechanism: &str) -> SaslHandshakeRequest {
    SaslHandshakeRequest::default().with_mechanism(text(mechanism))
}

/// Whether the broker knows the mechanism.
pub fn read(response: &SaslHandshakeResponse) -> Result<(), Refused> {
    let code = ErrorCode(response.error_code);
    if code.is_ok() {
        return Ok(());
    }
    let offered = response.mechanisms.iter();
    Err(Refused {
        code,
        offered: offered.map(|name| name.to_string()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;

    #[test]
    fn the_mechanism_is_named_in_every_version() {
        for version in versions::<SaslHandshakeRequest>() {
            let read = as_read(&request("SCRAM-SHA-256"), version);
            assert_eq!(read.mechanism.as_str(), "SCRAM-SHA-256");
        }
    }

    #[test]
    fn a_refusal_tells_what_is_offered_in_every_version() {
        let code = ErrorCode::UNSUPPORTED_SASL_MECHANISM;
        let offered = || vec!["PLAIN".to_owned(), "GSSAPI".to_owned()];
        for version in versions::<SaslHandshakeRequest>() {
            let known = SaslHandshakeResponse::default()
                .with_mechanisms(offered().iter().map(|name| text(name)).collect());
            let refused = known.clone().with_error_code(code.0);
            let known = over_the_wire::<SaslHandshakeRequest>(&known, version);
            assert_eq!(read(&known), Ok(()));
            let refused = over_the_wire::<SaslHandshakeRequest>(&refused, version);
            let offered = offered();
            assert_eq!(read(&refused), Err(Refused { code, offered }));
        }
    }
}
