//! Which versions of which API a broker speaks (KIP-35).

use std::collections::HashMap;

use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::protocol::Request;

use super::api::Api;
use super::{api, legacy, WireError};

/// The APIs up to this key are taken to be known to a broker that was not asked: brokers that cannot be
/// asked are older than the others.
const NEWEST_UNASKED: i16 = api::delete_topics::API.key;

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

    /// The newest version of `R` that the broker and this client speak; the oldest that is encoded and
    /// decoded here, if the broker's are older still: see [`ApiVersions::on_wire`].
    ///
    /// A broker that was not asked (`query_api_versions` false) is taken to speak the oldest version of
    /// what brokers spoke when they could not be asked.
    pub fn pick<R: Request>(&self) -> Result<i16, WireError> {
        let api = const { api::of_request::<R>() };
        let (oldest, newest) = api.versions;
        let unsupported = || WireError::UnsupportedApi {
            api: api.name.to_owned(),
        };
        if self.ranges.is_empty() {
            return match api.key <= NEWEST_UNASKED {
                true => Ok(oldest),
                false => Err(unsupported()),
            };
        }
        let (min, max) = self.range(R::KEY).ok_or_else(unsupported)?;
        let version = max.min(newest);
        if version < min || version < legacy::oldest(api) {
            return Err(unsupported());
        }
        Ok(version.max(oldest))
    }

    /// As [`ApiVersions::pick`], of a request whose topics' ids are all known, or not: a version in which topics
    /// are named by their ids (KIP-516) where they are, and the broker and this client speak one.
    pub fn pick_knowing<R: Request>(&self, ids: bool) -> Result<i16, WireError> {
        match self.pick_by_id::<R>().filter(|_| ids) {
            Some(version) => Ok(version),
            None => self.pick::<R>(),
        }
    }

    fn pick_by_id<R: Request>(&self) -> Option<i16> {
        let api = const { api::of_request::<R>() };
        let (oldest, newest) = api.by_id?;
        let (min, max) = self.range(R::KEY)?;
        let version = max.min(newest);
        (version >= oldest.max(min)).then_some(version)
    }

    /// The version in which a request goes out that is encoded in `version`: another one where the broker
    /// is so old that the request has to be rewritten ([`legacy::request`]).
    pub fn on_wire(&self, api_key: i16, version: i16) -> i16 {
        let is_oldest = |api: &Api| version == api.versions.0;
        if !legacy::rewritten(api_key).is_some_and(is_oldest) {
            return version;
        }
        match self.range(api_key) {
            Some((_, max)) => version.min(max),
            None if self.ranges.is_empty() => legacy::OLDEST,
            None => version,
        }
    }
}
