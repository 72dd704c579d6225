//! The requests of a member, sent and answered.

use tokio::time::timeout;

use super::actions::{Answer, Request};
use crate::cluster::{Cluster, NodeId};
use crate::error::Error;
use crate::group::membership::Link;
use crate::group::{requests, PartitionCounts};
use brod_protocol::error::ErrorCode;

/// Sends a request and waits for its answer.
pub async fn ask(link: Link, request: Request) -> Answer {
    let (cluster, config) = (&*link.cluster, &*link.config);
    match request {
        Request::FindCoordinator => {
            Answer::Coordinator(requests::find_coordinator(cluster, &config.group_id).await)
        }
        Request::CountPartitions { topics, create } => {
            Answer::Partitions(count_partitions(cluster, &topics, create).await)
        }
        Request::Join {
            node,
            member_id,
            wish,
        } => {
            let joined = async {
                let connection = link.connection(node).await?;
                requests::join(&connection, config, &member_id, &wish).await
            };
            Answer::Joined(joined.await)
        }
        Request::Sync {
            node,
            generation,
            member_id,
            protocol,
            assignments,
        } => {
            let synced = async {
                let connection = link.connection(node).await?;
                requests::sync(
                    &connection,
                    config,
                    generation,
                    &member_id,
                    &protocol,
                    &assignments,
                )
                .await
            };
            Answer::Synced(synced.await)
        }
        Request::FetchOffsets { node, partitions } => {
            let offsets = async {
                let connection = link.connection(node).await?;
                requests::fetch_offsets(&connection, config, &partitions).await
            };
            Answer::Offsets(offsets.await)
        }
        Request::Heartbeat(heartbeat) => {
            let taken = async {
                let connection = link.connection(heartbeat.node).await?;
                requests::heartbeat(&connection, config, &heartbeat).await
            };
            let result = taken.await;
            Answer::Heartbeat(heartbeat, result)
        }
    }
}

/// How many partitions the topics have; 0 for a topic that does not exist (yet).
async fn count_partitions(
    cluster: &Cluster,
    topics: &[String],
    create: bool,
) -> Result<PartitionCounts, Error> {
    let limit = cluster.config().metadata_timeout;
    let response = timeout(limit, cluster.fetch_metadata(Some(topics), create))
        .await
        .map_err(|_| Error::Timeout)??;
    let mut counts: PartitionCounts = topics.iter().map(|t| (t.clone(), 0)).collect();
    for topic in response.topics {
        let Some(name) = topic.name else { continue };
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        counts.insert(name.to_string(), count);
    }
    Ok(counts)
}

/// Leaves on the member's own connection, which outlives the client.
pub async fn leave(
    link: Link,
    member_id: String,
    coordinator: Option<NodeId>,
) -> Result<(), Error> {
    if member_id.is_empty() {
        return Ok(());
    }
    let (cluster, config) = (&*link.cluster, &*link.config);
    let node = match coordinator {
        Some(node) => node,
        None => {
            requests::find_coordinator(cluster, &config.group_id)
                .await?
                .node
        }
    };
    let connection = link.connection(node).await?;
    match requests::leave(&connection, config, &member_id).await {
        // The broker has let go of the member already.
        Err(error) if error.code() == Some(ErrorCode::UNKNOWN_MEMBER_ID) => Ok(()),
        result => result,
    }
}
