//! The requests of the classic protocol, sent and answered, in whatever version the broker speaks.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use tokio::time::timeout;

use super::actions::{Answer, Counted, Heartbeat, JoinOutcome, Joined, Request};
use crate::cluster::{self, Cluster, NodeId, LATE};
use crate::error::Error;
use crate::group::protocol::Link;
use crate::group::requests::{fetch_offsets, find_coordinator, membership, PROMPT};
use crate::group::{GroupConfig, GroupMember, JoinTerms, PartitionCounts, TopicPartitions};
use crate::net::{Connection, NetError};
use brod_protocol::api::join_group::{self, Join};
use brod_protocol::api::{heartbeat, leave_group, sync_group};
use brod_protocol::consumer_protocol::{Assignment, Subscription, PROTOCOL_TYPE};
use brod_protocol::error::ErrorCode;
use brod_protocol::WireError;

/// What waits for other members is late after so long: a question of each member a second would be too much.
const HELD: Duration = Duration::from_secs(5);

/// Sends a request and waits for its answer.
pub(super) async fn ask(link: Link, request: Request) -> Answer {
    let (cluster, config) = (&*link.cluster, &*link.config);
    match request {
        Request::FindCoordinator => {
            Answer::Coordinator(find_coordinator(cluster, &config.group_id).await)
        }
        Request::CountPartitions { topics, create } => {
            Answer::Partitions(count_partitions(cluster, &topics, create).await)
        }
        Request::Join {
            node,
            member_id,
            terms,
        } => {
            let joined = async {
                let connection = link.connection(node).await?;
                join(&connection, config, &member_id, &terms).await
            };
            Answer::Joined(unless_moved(&link, node, HELD, joined).await)
        }
        Request::Sync {
            node,
            generation,
            member_id,
            protocol,
            assignments,
            grown_from,
        } => {
            let synced = async {
                let connection = link.connection(node).await?;
                sync(
                    &connection,
                    config,
                    generation,
                    &member_id,
                    &protocol,
                    &assignments,
                    &grown_from,
                )
                .await
            };
            Answer::Synced(unless_moved(&link, node, HELD, synced).await)
        }
        Request::FetchOffsets { node, partitions } => {
            let offsets = async {
                let connection = link.connection(node).await?;
                fetch_offsets(&connection, config, &partitions).await
            };
            Answer::Offsets(offsets.await)
        }
        Request::Heartbeat(mut heartbeat) => {
            let taken = async {
                let connection = link.connection(heartbeat.node).await?;
                let read = connection.ready_at(Instant::now());
                beat(&connection, config, &heartbeat).await?;
                Ok(read)
            };
            let taken = unless_moved(&link, heartbeat.node, LATE, taken).await;
            let result = taken.map(|read| {
                // A broker that throttles has not seen it before.
                heartbeat.sent = heartbeat.sent.max(read.min(Instant::now()));
            });
            Answer::Heartbeat(heartbeat, result)
        }
    }
}

/// Waits for what the coordinator answers, unless that is late and the group has another one by now.
async fn unless_moved<T>(
    link: &Link,
    node: NodeId,
    every: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let group_id = &link.config.group_id;
    let find = || async { Ok(find_coordinator(&link.cluster, group_id).await?.node) };
    cluster::unless_moved(node, every, answer, find).await
}

/// Joins; the answer comes when all members have joined.
async fn join(
    connection: &Connection,
    config: &GroupConfig,
    member_id: &str,
    terms: &JoinTerms,
) -> Result<JoinOutcome, Error> {
    let version = connection.versions().pick::<JoinGroupRequest>()?;
    let join = Join {
        session_timeout: config.session_timeout,
        rebalance_timeout: config.rebalance_timeout,
        protocol_type: PROTOCOL_TYPE,
        protocols: &config.protocols,
        metadata: Subscription::encode(&terms.topics, &terms.user_data)?,
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
async fn sync(
    connection: &Connection,
    config: &GroupConfig,
    generation: i32,
    member_id: &str,
    protocol: &str,
    assignments: &[(String, TopicPartitions)],
    grown_from: &PartitionCounts,
) -> Result<Assignment, Error> {
    let version = connection.versions().pick::<SyncGroupRequest>()?;
    let encoded = |(member_id, partitions): &(String, TopicPartitions)| {
        let assignment = Assignment::encode(partitions, grown_from)?;
        Ok((member_id.clone(), assignment))
    };
    let assignments: Result<Vec<_>, WireError> = assignments.iter().map(encoded).collect();
    let member = membership(config, generation, member_id);
    let request = sync_group::request(version, &member, PROTOCOL_TYPE, protocol, assignments?)?;
    let limit = held_limit(config);
    let response = connection.call_version(&request, version, limit).await?;
    Assignment::decode(sync_group::read(response)?)
        .map_err(|_| Error::Net(NetError::Protocol("assignment does not parse".into())))
}

/// Tells the coordinator that the member lives.
async fn beat(
    connection: &Connection,
    config: &GroupConfig,
    beat: &Heartbeat,
) -> Result<(), Error> {
    let version = connection.versions().pick::<HeartbeatRequest>()?;
    let member = membership(config, beat.generation, &beat.member_id);
    let request = heartbeat::request(version, &member)?;
    // Two more must have their chance before the session is over.
    let limit = config.session_timeout / 3;
    let response = connection.call_version(&request, version, limit).await?;
    Ok(heartbeat::read(&response)?)
}

/// How many partitions the topics have; 0 for a topic that does not exist (yet) or is not shown.
async fn count_partitions(
    cluster: &Cluster,
    topics: &[String],
    create: bool,
) -> Result<Counted, Error> {
    let limit = cluster.config().metadata_timeout;
    let response = timeout(limit, cluster.fetch_metadata(Some(topics), create))
        .await
        .map_err(|_| Error::Timeout)??;
    let mut counted = Counted {
        counts: topics.iter().map(|t| (t.clone(), 0)).collect(),
        hidden: BTreeSet::new(),
    };
    for topic in response.topics {
        let Some(name) = topic.name else { continue };
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let is_not_there = matches!(
            topic.error,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::LEADER_NOT_AVAILABLE
        );
        if count == 0 && !is_not_there {
            counted.hidden.insert(name.clone());
        }
        counted.counts.insert(name, count);
    }
    Ok(counted)
}

/// Leaves the group, so that the others need not wait for the session timeout. Goes over the
/// member's own connection, which outlives the client.
pub(super) async fn leave(
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
        None => find_coordinator(cluster, &config.group_id).await?.node,
    };
    let connection = link.connection(node).await?;
    let version = connection.versions().pick::<LeaveGroupRequest>()?;
    let request = leave_group::request(version, &membership(config, -1, &member_id));
    let response = connection.call_version(&request, version, PROMPT).await?;
    match leave_group::read(version, &response, &member_id).map_err(Error::from) {
        // The broker has let go of the member already.
        Err(error) if error.code() == Some(ErrorCode::UNKNOWN_MEMBER_ID) => Ok(()),
        result => result,
    }
}

/// Limit for what a broker holds back until the other members have done their part.
fn held_limit(config: &GroupConfig) -> Duration {
    config.rebalance_timeout.max(config.session_timeout) + PROMPT
}
