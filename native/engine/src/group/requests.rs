//! The requests of the group protocol, in whatever version the broker speaks.

use std::collections::HashMap;
use std::time::Duration;

use kafka_protocol::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};

use super::classic::{Heartbeat, JoinOutcome, Joined};
use super::membership::Coordinator;
use super::{
    AssignedPartition, CommitOutcome, GroupConfig, GroupMember, JoinWish, OffsetToCommit,
    TopicPartitions,
};
use crate::cluster::Cluster;
use crate::error::Error;
use crate::net::{Connection, Endpoint, NetError};
use brod_protocol::api::find_coordinator::{self, CoordinatorKind};
use brod_protocol::api::join_group::{self, Join};
use brod_protocol::api::offset_commit::{self, Commit};
use brod_protocol::api::{self, heartbeat, leave_group, offset_fetch, sync_group, Membership};
use brod_protocol::consumer_protocol::{
    decode_assignment, encode_assignment, Subscription, PROTOCOL_TYPE,
};
use brod_protocol::error::ErrorCode;
use brod_protocol::WireError;

/// Limit for a request that brokers answer at once.
const PROMPT: Duration = Duration::from_secs(5);

fn membership<'a>(config: &'a GroupConfig, generation: i32, member_id: &'a str) -> Membership<'a> {
    Membership {
        group_id: &config.group_id,
        instance_id: config.group_instance_id.as_deref(),
        member_id,
        generation,
    }
}

/// Asks any broker who coordinates the group.
pub async fn find_coordinator(cluster: &Cluster, group: &str) -> Result<Coordinator, Error> {
    let connection = cluster.any_connection().await?;
    let version = connection.versions().pick::<FindCoordinatorRequest>()?;
    let request = find_coordinator::request(version, CoordinatorKind::Group, group);
    let response = connection.call_version(&request, version, PROMPT).await?;
    let found = find_coordinator::read(version, response)?;
    let endpoint = Endpoint::named(&found.host, found.port);
    let endpoint = endpoint.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    // Connections are made by node id, so the cluster must know the node, and where it is now.
    if cluster.endpoint(found.node).as_ref() != Some(&endpoint) {
        cluster.connect().await?;
    }
    Ok(Coordinator {
        node: found.node,
        endpoint,
    })
}

/// Joins; the answer comes when all members have joined.
pub async fn join(
    connection: &Connection,
    config: &GroupConfig,
    member_id: &str,
    wish: &JoinWish,
) -> Result<JoinOutcome, Error> {
    let version = connection.versions().pick::<JoinGroupRequest>()?;
    let join = Join {
        session_timeout: config.session_timeout,
        rebalance_timeout: config.rebalance_timeout,
        protocol_type: PROTOCOL_TYPE,
        protocols: &config.protocols,
        metadata: Subscription::encode(&wish.topics, &wish.user_data)?,
    };
    let request = join_group::request(version, &membership(config, -1, member_id), &join)?;
    let limit = held_limit(config);
    let response = connection.call_version(&request, version, limit).await?;
    Ok(match join_group::read(response)? {
        join_group::JoinOutcome::MemberIdRequired(id) => JoinOutcome::MemberIdRequired(id),
        join_group::JoinOutcome::Joined(answer) => JoinOutcome::Joined(joined(answer)?),
    })
}

fn joined(answer: join_group::Joined) -> Result<Joined, Error> {
    let member = |member: join_group::Member| {
        let member_id = member.member_id;
        let subscription = Subscription::decode(member.metadata).map_err(|_| {
            let text = format!("subscription of member {member_id} does not parse");
            Error::Net(NetError::Protocol(text))
        })?;
        Ok(GroupMember {
            member_id,
            group_instance_id: member.instance_id,
            subscription,
        })
    };
    let members: Result<_, Error> = answer.members.into_iter().map(member).collect();
    Ok(Joined {
        member_id: answer.member_id,
        generation: answer.generation,
        protocol: answer.protocol,
        leader: answer.leader,
        skip_assignment: answer.skip_assignment,
        members: members?,
    })
}

/// Sends the leader's assignments, or none; the answer comes when the leader has sent them.
pub async fn sync(
    connection: &Connection,
    config: &GroupConfig,
    generation: i32,
    member_id: &str,
    protocol: &str,
    assignments: &[(String, TopicPartitions)],
) -> Result<TopicPartitions, Error> {
    let version = connection.versions().pick::<SyncGroupRequest>()?;
    let encoded = |(member_id, partitions): &(String, TopicPartitions)| {
        Ok((member_id.clone(), encode_assignment(partitions)?))
    };
    let assignments: Result<Vec<_>, WireError> = assignments.iter().map(encoded).collect();
    let member = membership(config, generation, member_id);
    let request = sync_group::request(version, &member, PROTOCOL_TYPE, protocol, assignments?)?;
    let limit = held_limit(config);
    let response = connection.call_version(&request, version, limit).await?;
    decode_assignment(sync_group::read(response)?)
        .map_err(|_| Error::Net(NetError::Protocol("assignment does not parse".into())))
}

/// Tells the coordinator that the member lives.
pub async fn heartbeat(
    connection: &Connection,
    config: &GroupConfig,
    heartbeat: &Heartbeat,
) -> Result<(), Error> {
    let version = connection.versions().pick::<HeartbeatRequest>()?;
    let member = membership(config, heartbeat.generation, &heartbeat.member_id);
    let request = heartbeat::request(version, &member)?;
    // Two more must have their chance before the session is over.
    let limit = config.session_timeout / 3;
    let response = connection.call_version(&request, version, limit).await?;
    Ok(heartbeat::read(&response)?)
}

/// Leaves the group, so that the others need not wait for the session timeout.
pub async fn leave(
    connection: &Connection,
    config: &GroupConfig,
    member_id: &str,
) -> Result<(), Error> {
    let version = connection.versions().pick::<LeaveGroupRequest>()?;
    let request = leave_group::request(version, &membership(config, -1, member_id));
    let response = connection.call_version(&request, version, PROMPT).await?;
    Ok(leave_group::read(&response)?)
}

/// The committed offsets of the partitions, in their order.
pub async fn fetch_offsets(
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
pub async fn commit(
    connection: &Connection,
    config: &GroupConfig,
    generation: i32,
    member_id: &str,
    offsets: &[OffsetToCommit],
    limit: Duration,
) -> Result<CommitOutcome, Error> {
    let member = membership(config, generation, member_id);
    let version = commit_version(connection, &member, config.retention_ms)?;
    let offsets = offsets.iter().map(|offset| Commit {
        topic: &offset.topic,
        partition: offset.partition,
        offset: offset.offset,
        metadata: &offset.metadata,
    });
    let request = offset_commit::request(version, &member, config.retention_ms, offsets)?;
    let response = connection.call_version(&request, version, limit).await?;
    Ok(offset_commit::read(response)?)
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

/// Limit for what a broker holds back until the other members have done their part.
fn held_limit(config: &GroupConfig) -> Duration {
    config.rebalance_timeout.max(config.session_timeout) + PROMPT
}
