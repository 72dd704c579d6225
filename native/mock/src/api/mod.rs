//! Handlers, one file an API or a few that belong together. Each is a function of the cluster, the
//! connection, the call and the request.

pub(crate) mod admin;
pub(crate) mod api_versions;
pub(crate) mod configs;
pub(crate) mod fetch;
pub(crate) mod groups;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod offsets;
pub(crate) mod produce;
pub(crate) mod quotas;
pub(crate) mod sasl;
pub(crate) mod telemetry;
pub(crate) mod topics;
pub(crate) mod txns;

use kafka_protocol::protocol::StrBytes;

/// Text for a response.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
