//! ApiVersions: which versions of which API a broker speaks (KIP-35).

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest};
use kafka_protocol::protocol::StrBytes;

use super::{Api, ApiError};
use crate::error::ErrorCode;
use crate::frame::MAX_FRAME;
use crate::shape::build::{bool, fields, int16, int32, int64, list, string};
use crate::shape::Fields;
use crate::{decode_response, ApiVersions, WireError};

/// This API.
pub const API: Api = Api::new(
    ("ApiVersions", ApiKey::ApiVersions),
    (0, 4),
    3,
    Fields {
        plain: &[
            int16("error_code"),
            list(
                "api_keys",
                &fields(&[int16("api_key"), int16("min_version"), int16("max_version")]),
            ),
            int32("throttle_time_ms").since(1),
        ],
        tagged: &[
            (0, list("supported_features", &FEATURE)),
            (1, int64("finalized_features_epoch")),
            (2, list("finalized_features", &FEATURE)),
            (3, bool("zk_migration_ready")),
        ],
    },
)
// The first thing that is asked. What answers in TLS seems to be long, and hangs up, which says more.
.answers(MAX_FRAME);

/// A name, and a range of versions.
const FEATURE: Fields = fields(&[string("name"), int16("version"), int16("version")]);

/// The version to ask in first: brokers that do not know it say so in the shape of version 0.
pub const FIRST: i16 = 3;

/// What a broker makes of the question.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It speaks these.
    Versions(ApiVersions),
    /// It is to be asked again in version 0.
    TooNew,
}

/// Asks, and says which client it is (KIP-511) in versions that have room for it.
pub fn request(version: i16, name: &'static str, software: &'static str) -> ApiVersionsRequest {
    if version < FIRST {
        return ApiVersionsRequest::default();
    }
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str(name))
        .with_client_software_version(StrBytes::from_static_str(software))
}

/// Reads the answer to a request of `version`. What is no answer of a broker's is an error.
pub fn read(version: i16, body: Bytes) -> Result<Answer, ApiError> {
    let decode = |version| decode_response::<ApiVersionsRequest>(body.clone(), version);
    let malformed = |error: WireError| ApiError::Malformed(error.to_string());
    match decode(version) {
        Ok(response) if response.error_code == 0 => {
            Ok(Answer::Versions(ApiVersions::from_response(&response)))
        }
        Ok(response) if version == 0 => Err(ErrorCode(response.error_code).into()),
        Err(error) if version == 0 => Err(malformed(error)),
        _ => {
            let old = decode(0).map_err(malformed)?;
            match ErrorCode(old.error_code) {
                ErrorCode::UNSUPPORTED_VERSION => Ok(Answer::TooNew),
                code => Err(code.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, versions};
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};
    use kafka_protocol::messages::ApiVersionsResponse;
    use kafka_protocol::protocol::Encodable;

    fn answered(response: &ApiVersionsResponse, version: i16) -> Bytes {
        let mut bytes = BytesMut::new();
        response.encode(&mut bytes, version).unwrap();
        bytes.freeze()
    }

    #[test]
    fn ranges_are_read_in_every_version() {
        let fetch = ApiVersion::default()
            .with_api_key(1)
            .with_min_version(4)
            .with_max_version(17);
        let response = ApiVersionsResponse::default().with_api_keys(vec![fetch]);
        for version in versions::<ApiVersionsRequest>() {
            let read_back = as_read(&request(version, "brod", "1.0"), version);
            let name = if version >= FIRST { "brod" } else { "" };
            assert_eq!(read_back.client_software_name.as_str(), name);
            let Ok(Answer::Versions(found)) = read(version, answered(&response, version)) else {
                panic!("version {version}");
            };
            assert_eq!(found.range(1), Some((4, 17)));
            assert_eq!(found.range(0), None);
        }
    }

    #[test]
    fn levels_of_features_are_read_in_versions_that_have_them() {
        let feature = FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str("transaction.version"))
            .with_max_version_level(2);
        let response = ApiVersionsResponse::default().with_finalized_features(vec![feature]);
        for version in FIRST..=API.versions.1 {
            let Ok(Answer::Versions(found)) = read(version, answered(&response, version)) else {
                panic!("version {version}");
            };
            assert_eq!(found.feature("transaction.version"), 2);
            assert_eq!(found.feature("group.version"), 0);
        }
    }

    #[test]
    fn a_broker_that_is_too_old_for_the_question_is_told_from_one_that_is_none() {
        let code = ErrorCode::UNSUPPORTED_VERSION;
        let response = ApiVersionsResponse::default().with_error_code(code.0);
        let too_new = read(FIRST, answered(&response, 0));
        assert!(matches!(too_new, Ok(Answer::TooNew)));
        let other = ApiVersionsResponse::default().with_error_code(1);
        assert!(read(FIRST, answered(&other, 0)).is_err());
        assert!(read(FIRST, Bytes::from_static(b"HTTP")).is_err());
    }
}
