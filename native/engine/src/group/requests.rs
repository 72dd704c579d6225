//! The requests of the group protocol, in whatever version the broker speaks.

use std::collections::HashMap;
use std::time::Duration;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::classic::{Heartbeat, JoinOutcome, Joined};
use super::membership::Coordinator;
use super::metadata::{decode_assignment, encode_assignment, Subscription, PROTOCOL_TYPE};
use super::{
    AssignedPartition, CommitOutcome, GroupConfig, GroupMember, JoinWish, OffsetToCommit,
    TopicPartitions,
};
use crate::cluster::Cluster;
use crate::error::{check, Error};
use crate::net::{Connection, Endpoint, NetError};
use brod_protocol::error::ErrorCode;

/// Limit for a request that brokers answer at once.
const PROMPT: Duration = Duration::from_secs(5);

/// First versions that know static members (KIP-345).
mod static_member_since {
    pub const JOIN: i16 = 5;
    pub const SYNC: i16 = 3;
    pub const HEARTBEAT: i16 = 3;
    pub const LEAVE: i16 = 3;
    pub const COMMIT: i16 = 7;
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(config: &GroupConfig) -> GroupId {
    GroupId(text(&config.group_id))
}

/// The group instance id in a version that may be too old for it. A static member that a broker
/// takes for a dynamic one would be a silent surprise.
fn instance_id(config: &GroupConfig, version: i16, since: i16) -> Result<Option<StrBytes>, Error> {
    match &config.group_instance_id {
        Some(_) if version < since => Err(ErrorCode::UNSUPPORTED_VERSION.into()),
        id => Ok(id.as_deref().map(text)),
    }
}

/// Asks any broker who coordinates the group.
pub async fn find_coordinator(cluster: &Cluster, group: &str) -> Result<Coordinator, Error> {
    let connection = cluster.any_connection().await?;
    let version = connection.versions().pick::<FindCoordinatorRequest>()?;
    let request = FindCoordinatorRequest::default();
    let request = if version >= 4 {
        request.with_coordinator_keys(vec![text(group)])
    } else {
        request.with_key(text(group))
    };
    let response = connection.call_version(&request, version, PROMPT).await?;
    let (code, message, node, host, port) = if version >= 4 {
        let found = response.coordinators.into_iter().next();
        let found = found.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        (
            found.error_code,
            found.error_message,
            found.node_id,
            found.host,
            found.port,
        )
    } else {
        (
            response.error_code,
            response.error_message,
            response.node_id,
            response.host,
            response.port,
        )
    };
    if code != 0 {
        return Err(Error::Kafka {
            code: ErrorCode(code),
            message: message.map(|m| m.to_string()).filter(|m| !m.is_empty()),
        });
    }
    let port = u16::try_from(port).map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    let endpoint = Endpoint {
        host: host.to_string(),
        port,
    };
    // Connections are made by node id, so the cluster must know the node, and where it is now.
    if cluster.endpoint(node.0).as_ref() != Some(&endpoint) {
        cluster.connect().await?;
    }
    Ok(Coordinator {
        node: node.0,
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
    let metadata = Subscription::encode(&wish.topics, &wish.user_data);
    let protocol = |name: &String| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(metadata.clone())
    };
    let request = JoinGroupRequest::default()
        .with_group_id(group_id(config))
        .with_session_timeout_ms(millis(config.session_timeout))
        .with_rebalance_timeout_ms(millis(config.rebalance_timeout))
        .with_member_id(text(member_id))
        .with_group_instance_id(instance_id(config, version, static_member_since::JOIN)?)
        .with_protocol_type(text(PROTOCOL_TYPE))
        .with_protocols(config.protocols.iter().map(protocol).collect());
    let limit = held_limit(config);
    let response = connection.call_version(&request, version, limit).await?;
    let code = ErrorCode(response.error_code);
    if code == ErrorCode::MEMBER_ID_REQUIRED && !response.member_id.is_empty() {
        let member_id = response.member_id.to_string();
        return Ok(JoinOutcome::MemberIdRequired(member_id));
    }
    check(response.error_code)?;
    joined(response).map(JoinOutcome::Joined)
}

fn joined(response: JoinGroupResponse) -> Result<Joined, Error> {
    let leader = response.leader == response.member_id;
    let members = response
        .members
        .into_iter()
        .map(|member| {
            let member_id = member.member_id.to_string();
            let subscription = Subscription::decode(member.metadata).map_err(|_| {
                let text = format!("subscription of member {member_id} does not parse");
                Error::Net(NetError::Protocol(text))
            })?;
            Ok(GroupMember {
                member_id,
                group_instance_id: member.group_instance_id.map(|id| id.to_string()),
                subscription,
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Joined {
        member_id: response.member_id.to_string(),
        generation: response.generation_id,
        protocol: response
            .protocol_name
            .map(|name| name.to_string())
            .unwrap_or_default(),
        leader,
        skip_assignment: response.skip_assignment,
        members,
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
    let assignment = |(member_id, partitions): &(String, TopicPartitions)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member_id))
            .with_assignment(encode_assignment(partitions))
    };
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(config))
        .with_generation_id(generation)
        .with_member_id(text(member_id))
        .with_group_instance_id(instance_id(config, version, static_member_since::SYNC)?)
        .with_protocol_type(Some(text(PROTOCOL_TYPE)))
        .with_protocol_name(Some(text(protocol)))
        .with_assignments(assignments.iter().map(assignment).collect());
    let limit = held_limit(config);
    let response = connection.call_version(&request, version, limit).await?;
    check(response.error_code)?;
    decode_assignment(response.assignment)
        .map_err(|_| Error::Net(NetError::Protocol("assignment does not parse".into())))
}

/// Tells the coordinator that the member lives.
pub async fn heartbeat(
    connection: &Connection,
    config: &GroupConfig,
    heartbeat: &Heartbeat,
) -> Result<(), Error> {
    let version = connection.versions().pick::<HeartbeatRequest>()?;
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(config))
        .with_generation_id(heartbeat.generation)
        .with_member_id(text(&heartbeat.member_id))
        .with_group_instance_id(instance_id(
            config,
            version,
            static_member_since::HEARTBEAT,
        )?);
    // Two more must have their chance before the session is over.
    let limit = config.session_timeout / 3;
    let response = connection.call_version(&request, version, limit).await?;
    check(response.error_code)
}

/// Leaves the group, so that the others need not wait for the session timeout.
pub async fn leave(
    connection: &Connection,
    config: &GroupConfig,
    member_id: &str,
) -> Result<(), Error> {
    let version = connection.versions().pick::<LeaveGroupRequest>()?;
    let request = LeaveGroupRequest::default().with_group_id(group_id(config));
    let request = if version >= static_member_since::LEAVE {
        request.with_members(vec![MemberIdentity::default()
            .with_member_id(text(member_id))
            .with_group_instance_id(config.group_instance_id.as_deref().map(text))])
    } else {
        request.with_member_id(text(member_id))
    };
    let response = connection.call_version(&request, version, PROMPT).await?;
    check(response.error_code)?;
    response
        .members
        .iter()
        .try_for_each(|member| check(member.error_code))
}

/// The committed offsets of the partitions, in their order.
pub async fn fetch_offsets(
    connection: &Connection,
    config: &GroupConfig,
    partitions: &TopicPartitions,
) -> Result<Vec<AssignedPartition>, Error> {
    let version = connection.versions().pick::<OffsetFetchRequest>()?;
    // Offsets of transactions that are still open are waited for (KIP-447).
    let request = OffsetFetchRequest::default().with_require_stable(version >= 7);
    let request = if version >= 8 {
        let topics = partitions.iter().map(|(topic, numbers)| {
            OffsetFetchRequestTopics::default()
                .with_name(TopicName(text(topic)))
                .with_partition_indexes(numbers.clone())
        });
        request.with_groups(vec![OffsetFetchRequestGroup::default()
            .with_group_id(group_id(config))
            .with_topics(Some(topics.collect()))])
    } else {
        let topics = partitions.iter().map(|(topic, numbers)| {
            OffsetFetchRequestTopic::default()
                .with_name(TopicName(text(topic)))
                .with_partition_indexes(numbers.clone())
        });
        request
            .with_group_id(group_id(config))
            .with_topics(Some(topics.collect()))
    };
    let response = connection.call_version(&request, version, PROMPT).await?;
    check(response.error_code)?;
    let mut committed = HashMap::new();
    for group in response.groups {
        check(group.error_code)?;
        for topic in group.topics {
            for p in topic.partitions {
                check(p.error_code)?;
                let name = topic.name.to_string();
                committed.insert((name, p.partition_index), (p.committed_offset, p.metadata));
            }
        }
    }
    for topic in response.topics {
        for p in topic.partitions {
            check(p.error_code)?;
            let name = topic.name.to_string();
            committed.insert((name, p.partition_index), (p.committed_offset, p.metadata));
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
                metadata: metadata.map(|m| m.to_string()).unwrap_or_default(),
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
    let version = commit_version(connection, config)?;
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    let mut by_topic = HashMap::new();
    for offset in offsets {
        let index = *by_topic.entry(&offset.topic).or_insert_with(|| {
            let topic = TopicName(text(&offset.topic));
            topics.push(OffsetCommitRequestTopic::default().with_name(topic));
            topics.len() - 1
        });
        topics[index].partitions.push(
            OffsetCommitRequestPartition::default()
                .with_partition_index(offset.partition)
                .with_committed_offset(offset.offset)
                .with_committed_metadata(Some(text(&offset.metadata))),
        );
    }
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(config))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member_id))
        .with_group_instance_id(instance_id(config, version, static_member_since::COMMIT)?)
        .with_retention_time_ms(config.retention_ms)
        .with_topics(topics);
    let response = connection.call_version(&request, version, limit).await?;
    let mut refused = CommitOutcome::new();
    for topic in response.topics {
        for p in topic.partitions {
            let code = ErrorCode(p.error_code);
            if code.concerns_group() {
                return Err(code.into());
            }
            if !code.is_ok() {
                refused.push((topic.name.to_string(), p.partition_index, code));
            }
        }
    }
    Ok(refused)
}

/// The newest version, but one that carries a retention time where the user wants one and the
/// broker still takes it.
fn commit_version(connection: &Connection, config: &GroupConfig) -> Result<i16, Error> {
    const LAST_WITH_RETENTION: i16 = 4;
    let newest = connection.versions().pick::<OffsetCommitRequest>()?;
    let oldest = connection
        .versions()
        .range(ApiKey::OffsetCommit as i16)
        .map_or(newest, |(oldest, _)| oldest);
    let wanted = config.retention_ms >= 0 && config.group_instance_id.is_none();
    Ok(if wanted && oldest <= LAST_WITH_RETENTION {
        newest.min(LAST_WITH_RETENTION)
    } else {
        newest
    })
}

/// Limit for what a broker holds back until the other members have done their part.
fn held_limit(config: &GroupConfig) -> Duration {
    config.rebalance_timeout.max(config.session_timeout) + PROMPT
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
