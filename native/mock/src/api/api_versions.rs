//! ApiVersions (KIP-35, KIP-511): what the release that the broker looks like offers.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::text;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::versions::Release;

pub(crate) fn handle(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    _request: ApiVersionsRequest,
) -> Answer<ApiVersionsResponse> {
    if let Some(code) = call.refused() {
        return Answer::Now(ApiVersionsResponse::default().with_error_code(code.0));
    }
    Answer::Now(offer(cluster))
}

/// To a version that the broker does not know.
pub(crate) fn unsupported(cluster: &Cluster) -> ApiVersionsResponse {
    offer(cluster).with_error_code(ErrorCode::UNSUPPORTED_VERSION.0)
}

fn offer(cluster: &Cluster) -> ApiVersionsResponse {
    let release = cluster.config.version;
    let takes_metrics = cluster.config.client_metrics.is_some();
    let keys = release.apis().filter(|(key, _, _)| {
        // Brokers that have nowhere to put metrics do not have it.
        takes_metrics || !is_telemetry(*key)
    });
    let keys = keys.map(|(key, oldest, newest)| {
        // Brokers go on offering the oldest ones for clients that take their lack for an ancient broker.
        let oldest = if key == ApiKey::Produce { 0 } else { oldest };
        let version = ApiVersion::default().with_api_key(key as i16);
        version.with_min_version(oldest).with_max_version(newest)
    });
    let response = ApiVersionsResponse::default().with_api_keys(keys.collect());
    let Some(features) = features(release) else {
        return response;
    };
    let supported = features.iter().map(|(name, oldest, newest)| {
        let feature = SupportedFeatureKey::default().with_name(text(name));
        feature.with_min_version(*oldest).with_max_version(*newest)
    });
    let finalized = features.iter().map(|(name, _, newest)| {
        let feature = FinalizedFeatureKey::default().with_name(text(name));
        feature
            .with_min_version_level(*newest)
            .with_max_version_level(*newest)
    });
    response
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(1)
}

fn is_telemetry(key: ApiKey) -> bool {
    matches!(
        key,
        ApiKey::GetTelemetrySubscriptions | ApiKey::PushTelemetry
    )
}

/// Names, and the oldest and newest level (KIP-584); the newest is in force.
type Features = &'static [(&'static str, i16, i16)];

fn features(release: Release) -> Option<Features> {
    match release {
        Release::V0_11 | Release::V1_1 | Release::V2_8 => None,
        Release::V3_9 => Some(&[("metadata.version", 1, 21)]),
        Release::V4_1 => Some(&[
            ("group.version", 0, 1),
            ("metadata.version", 7, 27),
            ("transaction.version", 0, 2),
        ]),
    }
}
