//! Which versions of which API a broker speaks (KIP-35).

use std::collections::HashMap;

use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::{Message, Request};

use super::WireError;

/// The newest version of each API that this client uses although its schemas know newer ones.
/// Produce 13 and Fetch 13 replace topic names by topic ids, which would need a name lookup per
/// response on the hot path. What that costs: brokers name the new leader in a refused fetch from
/// version 16 on only (KIP-951), in a refused produce from version 10 on.
fn newest_used(api_key: i16) -> i16 {
    const PRODUCE: i16 = ApiKey::Produce as i16;
    const FETCH: i16 = ApiKey::Fetch as i16;
    const OFFSET_COMMIT: i16 = ApiKey::OffsetCommit as i16;
    const OFFSET_FETCH: i16 = ApiKey::OffsetFetch as i16;
    match api_key {
        PRODUCE | FETCH => 12,
        OFFSET_COMMIT | OFFSET_FETCH => 9,
        _ => i16::MAX,
    }
}

/// The version ranges of one broker, by API key.
#[derive(Debug, Clone, Default)]
pub struct ApiVersions {
    ranges: HashMap<i16, (i16, i16)>,
}

impl ApiVersions {
    pub fn from_response(response: &ApiVersionsResponse) -> Self {
        let ranges = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        ApiVersions { ranges }
    }

    /// The range that the broker offers for the API, if it knows it.
    pub fn range(&self, api_key: i16) -> Option<(i16, i16)> {
        self.ranges.get(&api_key).copied()
    }

    /// The newest version of `R` that the broker, the schemas and this client speak.
    ///
    /// A broker that was not asked (`query_api_versions` false) is taken to speak the oldest
    /// version that the schemas know.
    pub fn pick<R: Request>(&self) -> Result<i16, WireError> {
        if self.ranges.is_empty() {
            return Ok(R::VERSIONS.min);
        }
        let unsupported = || WireError::UnsupportedApi {
            api: ApiKey::try_from(R::KEY)
                .map(|key| format!("{key:?}"))
                .unwrap_or_else(|()| R::KEY.to_string()),
        };
        let (min, max) = self.range(R::KEY).ok_or_else(unsupported)?;
        let version = max
            .min(<R as Message>::VERSIONS.max)
            .min(newest_used(R::KEY));
        if version < min || version < <R as Message>::VERSIONS.min {
            return Err(unsupported());
        }
        Ok(version)
    }
}
