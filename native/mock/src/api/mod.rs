//! Handlers, one file an API or a few that belong together. Each is a function of the cluster, the
//! connection, the call and the request.

pub(crate) mod api_versions;
pub(crate) mod metadata;

use kafka_protocol::protocol::StrBytes;

/// Text for a response.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
