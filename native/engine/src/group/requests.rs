//! The requests that all group protocols share: who coordinates the group, and committed offsets.

use std::collections::HashMap;
use std::time::Duration;

use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};

use super::protocol::Coordinator;
use super::{AssignedPartition, CommitOutcome, GroupConfig, OffsetToCommit, TopicPartitions};
use crate::cluster::Cluster;
use crate::error::Error;
use crate::net::{Connection, Endpoint, NetError};
use brod_protocol::api::find_coordinator::{self, CoordinatorKind};
use brod_protocol::api::offset_commit::{self, Commit};
use brod_protocol::api::{self, offset_fetch, Membership};
use brod_protocol::error::ErrorCode;

/// Limit for a request that brokers answer at once.
pub(super) const PROMPT: Duration = Duration::from_secs(5);

/// The member as requests name it.
pub(super) fn membership<'a>(
    config: &'a GroupConfig,
    generation: i32,
    member_id: &'a str,
) -> Membership<'a> {
    Membership {
        group_id: &config.group_id,
        instance_id: config.group_instance_id.as_deref(),
        member_id,
        generation,
    }
}

/// Asks any broker who coordinates the group.
pub(super) async fn find_coordinator(cluster: &Cluster, group: &str) -> Result<Coordinator, Error> {
    let request = |version| {
        Ok(find_coordinator::request(
            version,
            CoordinatorKind::Group,
            group,
        ))
    };
    let (version, response) = cluster.ask_any(request).await?;
    let found = find_coordinator::read(version, response)?;
    let endpoint = Endpoint::named(&found.host, found.port);
    let endpoint = endpoint.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    // Connections are made by node id, so the cluster must know the node, and where it is now.
    if cluster.endpoint(found.node).as_ref() != Some(&endpoint) {
        cluster.connect().await?;
    }
    cluster.learn_coordinator(found.node, &endpoint);
    Ok(Coordinator {
        node: found.node,
        endpoint,
    })
}

/// The committed offsets of the partitions, in their order.
pub(super) async fn fetch_offsets(
    connection: &Connection,
    config: &GroupConfig,
    partitions: &TopicPartitions,
) -> Result<Vec<AssignedPartition>, Error> {
    let version = connection.versions().pick::<OffsetFetchRequest>()?;
    // Offsets of transactions that are still open are waited for (KIP-447).
    let request = offset_fetch::request(version, &config.group_id, Some(partitions), true);
    let response = connection.call_version(&request, version, PROMPT).await?;
    let mut committed = HashMap::new();
    for topic in offset_fetch::read(version, response)? {
        for p in topic.partitions {
            api::check(p.error.0)?;
            committed.insert((topic.name.clone(), p.partition), (p.offset, p.metadata));
        }
    }
    let mut found = Vec::new();
    for (topic, numbers) in partitions {
        for &partition in numbers {
            let answer = committed.remove(&(topic.clone(), partition));
            let (offset, metadata) = answer.ok_or_else(|| {
                let text = format!("no offset of {topic}-{partition} in the answer");
                Error::Net(NetError::Protocol(text))
            })?;
            found.push(AssignedPartition {
                topic: topic.clone(),
                partition,
                offset: (offset >= 0).then_some(offset),
                metadata,
            });
        }
    }
    Ok(found)
}

/// Commits offsets; `limit` bounds the one attempt.
pub(super) async fn commit(
    connection: &Connection,
    config: &GroupConfig,
    generation: i32,
    member_id: &str,
    offsets: &[OffsetToCommit],
    limit: Duration,
) -> Result<CommitOutcome, Error> {
    let member = membership(config, generation, member_id);
    let version = commit_version(connection, &member, config.retention_ms)?;
    let asked = offsets
        .iter()
        .map(|offset| (offset.topic.as_str(), offset.partition));
    let offsets = offsets.iter().map(|offset| Commit {
        topic: &offset.topic,
        partition: offset.partition,
        offset: offset.offset,
        metadata: &offset.metadata,
    });
    let request = offset_commit::request(version, &member, config.retention_ms, offsets)?;
    let response = connection.call_version(&request, version, limit).await?;
    Ok(offset_commit::read(&response, asked)?)
}

fn commit_version(
    connection: &Connection,
    member: &Membership<'_>,
    retention_ms: i64,
) -> Result<i16, Error> {
    let newest = connection.versions().pick::<OffsetCommitRequest>()?;
    let range = connection.versions().range(offset_commit::API.key);
    let oldest = range.map_or(newest, |(oldest, _)| oldest);
    Ok(offset_commit::version_for(
        newest,
        oldest,
        member,
        retention_ms,
    ))
}
