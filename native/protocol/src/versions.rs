//! Which versions of which API a broker speaks (KIP-35).

use std::collections::HashMap;

use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::protocol::Request;

use super::{api, WireError};

/// The version ranges of one broker, by API key.
#[derive(Debug, Clone, Default)]
pub struct ApiVersions {
    ranges: HashMap<i16, (i16, i16)>,
    /// Levels of the cluster's features (KIP-584).
    features: HashMap<String, i16>,
}

impl ApiVersions {
    /// As the broker says.
    pub fn from_response(response: &ApiVersionsResponse) -> Self {
        let ranges = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        let features = response.finalized_features.iter();
        let features = features
            .map(|feature| (feature.name.to_string(), feature.max_version_level))
            .collect();
        ApiVersions { ranges, features }
    }

    /// The level of a feature that is in force in the whole cluster (KIP-584); 0 where there is none.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The range that the broker offers for the API, if it knows it.
    pub fn range(&self, api_key: i16) -> Option<(i16, i16)> {
        self.ranges.get(&api_key).copied()
    }

    /// All that the broker offers, by API key; none if it was not asked.
    pub fn ranges(&self) -> impl Iterator<Item = (i16, (i16, i16))> + '_ {
        self.ranges.iter().map(|(key, range)| (*key, *range))
    }

    /// The newest version of `R` that the broker and this client speak.
    ///
    /// A broker that was not asked (`query_api_versions` false) is taken to speak the oldest
    /// version that this client does.
    pub fn pick<R: Request>(&self) -> Result<i16, WireError> {
        let api = const { api::of_request::<R>() };
        let (oldest, newest) = api.versions;
        if self.ranges.is_empty() {
            return Ok(oldest);
        }
        let unsupported = || WireError::UnsupportedApi {
            api: api.name.to_owned(),
        };
        let (min, max) = self.range(R::KEY).ok_or_else(unsupported)?;
        let version = max.min(newest);
        if version < min || version < oldest {
            return Err(unsupported());
        }
        Ok(version)
    }
}
