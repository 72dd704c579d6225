//! Which broker coordinates a group or a transactional id.

use std::time::Duration;

use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::retry::Retry;
use super::{call, string};
use crate::cluster::{Cluster, NodeId};
use crate::error::Error;
use crate::net::Endpoint;
use brod_protocol::error::ErrorCode;

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinatorKind {
    /// A consumer group.
    Group,
    /// A transactional id.
    Transaction,
}

/// The broker that coordinates `id`. Waits a little for one that is being elected, or whose
/// internal topic the cluster is just creating.
///
/// The broker is one of the cluster's snapshot afterwards.
pub async fn find_coordinator(
    cluster: &Cluster,
    kind: CoordinatorKind,
    id: &str,
    limit: Duration,
) -> Result<(NodeId, Endpoint), Error> {
    let mut retry = Retry::within(limit);
    loop {
        let found = match ask(cluster, kind, id).await {
            Ok(node) => known(cluster, node).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(coordinator) => return Ok(coordinator),
            // Nothing to wait for where not a single broker answers.
            Err(error @ Error::Unreachable(_)) => return Err(error),
            Err(error) => retry.after(error).await?,
        }
    }
}

async fn ask(cluster: &Cluster, kind: CoordinatorKind, id: &str) -> Result<NodeId, Error> {
    let connection = cluster.any_connection().await?;
    let request = |version| request(version, kind, id);
    coordinator_in(&call(cluster, &connection, request).await?)
}

/// The broker and where it listens, from fresh metadata if it is a new one.
async fn known(cluster: &Cluster, node: NodeId) -> Result<(NodeId, Endpoint), Error> {
    if cluster.endpoint(node).is_none() {
        cluster.fetch_metadata(Some(&[]), false).await?;
    }
    let endpoint = cluster.endpoint(node);
    Ok((node, endpoint.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?))
}

/// Up to version 3 there is one id, later a list of ids in another field. Version 0 knows groups
/// only: there is no way to ask it for anything else, and encoding the request fails.
fn request(version: i16, kind: CoordinatorKind, id: &str) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default().with_key_type(match kind {
        CoordinatorKind::Group => 0,
        CoordinatorKind::Transaction => 1,
    });
    if version <= 3 {
        return request.with_key(string(id));
    }
    request.with_coordinator_keys(vec![string(id)])
}

/// As the request, the answer has two shapes.
fn coordinator_in(response: &FindCoordinatorResponse) -> Result<NodeId, Error> {
    let (code, message, node) = match response.coordinators.first() {
        Some(found) => (found.error_code, &found.error_message, found.node_id),
        None => (
            response.error_code,
            &response.error_message,
            response.node_id,
        ),
    };
    if code != 0 {
        return Err(Error::Kafka {
            code: ErrorCode(code),
            message: message.as_ref().map(|text| text.to_string()),
        });
    }
    Ok(node.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use brod_protocol::encode;
    use kafka_protocol::messages::find_coordinator_response::Coordinator;
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::protocol::{Decodable, Message};

    #[test]
    fn the_id_is_asked_for_in_every_version() {
        let versions = FindCoordinatorRequest::VERSIONS;
        for version in versions.min..=versions.max {
            let kind = match version {
                0 => CoordinatorKind::Group,
                _ => CoordinatorKind::Transaction,
            };
            let mut bytes = encode(&request(version, kind, "id"), version).unwrap();
            let read = FindCoordinatorRequest::decode(&mut bytes, version).unwrap();
            let id = read.coordinator_keys.first().unwrap_or(&read.key);
            assert_eq!(id.as_str(), "id", "version {version}");
            assert_eq!(read.key_type, i8::from(version > 0));
        }
    }

    #[test]
    fn both_shapes_of_the_answer_are_read() {
        let old = FindCoordinatorResponse::default().with_node_id(BrokerId(3));
        assert_eq!(coordinator_in(&old), Ok(3));
        let found = |code: ErrorCode| {
            let found = Coordinator::default()
                .with_node_id(BrokerId(4))
                .with_error_code(code.0);
            FindCoordinatorResponse::default().with_coordinators(vec![found])
        };
        assert_eq!(coordinator_in(&found(ErrorCode::NO_ERROR)), Ok(4));
        let code = ErrorCode::COORDINATOR_NOT_AVAILABLE;
        assert_eq!(
            coordinator_in(&found(code)).map_err(|error| error.code()),
            Err(Some(code))
        );
        let old = old.with_error_code(code.0);
        assert_eq!(
            coordinator_in(&old).map_err(|error| error.code()),
            Err(Some(code))
        );
    }
}
