//! Asking the leader of a partition, wherever it moves.

use std::future::Future;
use std::time::Duration;

use super::retry::Retry;
use crate::cluster::{Cluster, NodeId};
use crate::error::Error;
use crate::net::Endpoint;
use brod_protocol::error::ErrorCode;

/// The broker that leads a partition. Waits a little for an election that is under way.
pub async fn find_leader(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    limit: Duration,
) -> Result<(NodeId, Endpoint), Error> {
    at_leader(cluster, topic, partition, limit, |node| async move {
        let endpoint = cluster.endpoint(node);
        Ok((node, endpoint.ok_or(ErrorCode::BROKER_NOT_AVAILABLE)?))
    })
    .await
}

/// Runs `ask` with the leader's node id; again, after fresh metadata, when the leader turns out to
/// be another one or to be gone.
pub(super) async fn at_leader<T, F>(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    limit: Duration,
    ask: impl Fn(NodeId) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let _interest = cluster.watch_topic(topic);
    let mut retry = Retry::within(limit);
    loop {
        let asked = match cluster.leader(topic, partition).await {
            Ok(leader) => ask(leader.node).await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(answer) => return Ok(answer),
            Err(error) => retry.after(error).await?,
        }
        cluster
            .fetch_metadata(Some(&[topic.to_owned()]), false)
            .await?;
    }
}
