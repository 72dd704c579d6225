//! One member of one consumer group.
//!
//! A group protocol is a state machine without I/O behind the trait [`protocol::GroupProtocol`];
//! [`classic`] is the one there is. [`driver`] carries out what it decides: a task a member that sends
//! the requests and keeps the time. [`commits`] orders the commits, whatever the protocol.

mod classic;
mod commands;
mod commits;
mod driver;
mod handle;
mod protocol;
mod requests;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

pub use commands::{EventSink, Reply};
pub use handle::Group;

use crate::error::Error;
use crate::net::Endpoint;
pub use brod_protocol::consumer_protocol::Subscription;
use brod_protocol::error::ErrorCode;

/// Partitions by topic, in an order that matters to the reader.
pub type TopicPartitions = Vec<(String, Vec<i32>)>;

/// Number of partitions by topic.
pub type PartitionCounts = BTreeMap<String, i32>;

/// Who shares out the partitions when this member is the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignBy {
    /// The engine, by the protocol that the group agreed on.
    Engine,
    /// The owner, who is asked with [`Event::Assign`].
    Owner,
}

/// Configuration of a member.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The group.
    pub group_id: String,
    /// The broker drops the member when no heartbeat came for this long.
    pub session_timeout: Duration,
    /// How long the broker waits for members to join again in a rebalance.
    pub rebalance_timeout: Duration,
    /// Time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// How many refused joins in a row are tried again.
    pub max_rejoin_attempts: u32,
    /// Wait before a refused join is tried again.
    pub rejoin_delay: Duration,
    /// How long the broker keeps committed offsets, in ms; -1: as it is configured.
    pub retention_ms: i64,
    /// Makes the member a static one (KIP-345).
    pub group_instance_id: Option<String>,
    /// Names of assignment protocols, preferred first.
    pub protocols: Vec<String>,
    /// See [`AssignBy`].
    pub assignment: AssignBy,
    /// Whether [`Assigned`] carries the committed offsets.
    pub fetch_offsets: bool,
    /// Whether a leader has topics created that do not exist, if the cluster permits it.
    pub create_topics: bool,
    /// How often the leader looks whether topics have gained partitions.
    pub growth_check_interval: Duration,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Given by the broker.
    pub member_id: String,
    /// Of a static member.
    pub group_instance_id: Option<String>,
    /// What it asked for.
    pub subscription: Subscription,
}

/// A partition that this member is to consume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignedPartition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The committed offset, if there is one and it was asked for. 0 for a partition without one that
    /// came while the member was in the group.
    pub offset: Option<i64>,
    /// What was committed along with the offset.
    pub metadata: String,
}

/// What a generation brings this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Given by the broker.
    pub member_id: String,
    /// Number of the generation; commits name it.
    pub generation: i32,
    /// Whether this member was elected to share out the partitions.
    pub leader: bool,
    /// The protocol that the group agreed on.
    pub protocol: String,
    /// In the order of the assignment.
    pub partitions: Vec<AssignedPartition>,
}

/// Why a generation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeReason {
    /// The group changes. Commits are still taken.
    Rebalance,
    /// Topics have more partitions than the leader has shared out. Commits are still taken.
    PartitionsAdded,
    /// Topics have been made again with fewer partitions than the leader has shared out. Commits are still taken.
    PartitionsGone,
    /// The broker told that the member has no part in the generation any more.
    Lost(ErrorCode),
    /// No heartbeat got through for the session timeout.
    HeartbeatTimeout,
}

impl RevokeReason {
    /// The reason as a word.
    pub fn name(self) -> &'static str {
        match self {
            RevokeReason::Rebalance => ErrorCode::REBALANCE_IN_PROGRESS.name(),
            RevokeReason::PartitionsAdded => "partitions_added",
            RevokeReason::PartitionsGone => "partitions_gone",
            RevokeReason::Lost(code) => code.name(),
            RevokeReason::HeartbeatTimeout => "hb_timeout",
        }
    }
}

/// Why a member gave up.
#[derive(Debug, Clone, PartialEq)]
pub enum DownReason {
    /// The broker refused the join once more than [`GroupConfig::max_rejoin_attempts`].
    MaxRejoinAttempts(Error),
    /// The client was closed.
    ClientDown,
}

/// What the owner is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The generation ends: finish, commit, and join again. At most one for each `Assigned`.
    Revoke(RevokeReason),
    /// This member leads and [`GroupConfig::assignment`] is the owner: [`Group::assign`] is due.
    Assign {
        /// All members, this one first.
        members: Vec<GroupMember>,
        /// Every partition of every topic that any member asked for, sorted.
        partitions: Vec<(String, i32)>,
    },
    /// The member has its partitions.
    Assigned(Assigned),
    /// The group asked for topics that do not exist. Told to the leader, when the list changes.
    UnknownTopics(Vec<String>),
    /// The coordinator was found, or it moved.
    Coordinator(Endpoint),
    /// A join did not go through and is tried again. `attempt` counts refusals by the broker; 0
    /// for what passes by itself, like a lost connection, which is retried without limit.
    Retrying {
        /// Refusals in a row.
        attempt: u32,
        /// What happened.
        reason: Error,
    },
    /// Nothing more is told. After [`DownReason::ClientDown`] commits are still taken for the rebalance
    /// timeout, and the member can still leave.
    Down(DownReason),
}

/// One offset to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// Topic of the partition.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// The next offset to consume.
    pub offset: i64,
    /// Stored along with it.
    pub metadata: String,
}

/// How a commit ended, if the broker took it at all: the partitions that it refused one by one.
pub type CommitOutcome = Vec<(String, i32, ErrorCode)>;

/// What the owner joins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinTerms {
    /// Comes back with every event.
    pub join_id: i64,
    /// Topics to consume.
    pub topics: Vec<String>,
    /// Passed on to whoever shares out the partitions.
    pub user_data: Bytes,
}
