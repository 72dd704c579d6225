//! Which broker coordinates a group or a transactional id.

use std::time::Duration;

use super::retry::Retry;
use crate::cluster::{Cluster, NodeId};
use crate::error::Error;
use crate::net::Endpoint;
use brod_protocol::api::find_coordinator::{self, Coordinator, CoordinatorKind};
use brod_protocol::error::ErrorCode;

/// The broker that coordinates `id`. Waits a little for one that is being elected, or whose
/// internal topic the cluster is just creating.
///
/// The cluster knows afterwards where the broker listens.
pub async fn find_coordinator(
    cluster: &Cluster,
    kind: CoordinatorKind,
    id: &str,
    limit: Duration,
) -> Result<(NodeId, Endpoint), Error> {
    let mut retry = Retry::within(limit);
    loop {
        let found = match ask(cluster, kind, id).await {
            Ok(found) => known(cluster, found).await,
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

async fn ask(cluster: &Cluster, kind: CoordinatorKind, id: &str) -> Result<Coordinator, Error> {
    let request = |version| Ok(find_coordinator::request(version, kind, id));
    let (version, response) = cluster.ask_any(request).await?;
    Ok(find_coordinator::read(version, response)?)
}

/// The broker and where it listens, from fresh metadata if it is a new one.
async fn known(cluster: &Cluster, found: Coordinator) -> Result<(NodeId, Endpoint), Error> {
    let node = found.node;
    if cluster.endpoint(node).is_none() {
        cluster.fetch_metadata(Some(&[]), false).await?;
    }
    if let Some(endpoint) = Endpoint::named(&found.host, found.port) {
        cluster.learn_coordinator(node, &endpoint);
    }
    let endpoint = cluster.endpoint(node);
    Ok((node, endpoint.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?))
}
