//! What the state machine asks to have done, and what comes back.

use std::time::Instant;

use super::{AssignedPartition, Event, GroupMember, JoinWish, PartitionCounts, TopicPartitions};
use crate::cluster::NodeId;
use crate::error::Error;
use crate::net::Endpoint;

/// The broker that coordinates the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinator {
    /// Its node id.
    pub node: NodeId,
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// A request of the join sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    FindCoordinator,
    Join {
        node: NodeId,
        member_id: String,
        wish: JoinWish,
    },
    /// Asks any broker how many partitions the topics have.
    CountPartitions {
        topics: Vec<String>,
    },
    Sync {
        node: NodeId,
        generation: i32,
        member_id: String,
        protocol: String,
        /// Empty unless leader.
        assignments: Vec<(String, TopicPartitions)>,
    },
    FetchOffsets {
        node: NodeId,
        partitions: TopicPartitions,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send, and bring the answer with the same number.
    Send(u64, Request),
    /// Send, and bring the answer to [`Member::heartbeat_answer`].
    Heartbeat(Heartbeat),
    /// Tell the owner.
    Tell(i64, Event),
}

/// A heartbeat to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub node: NodeId,
    pub generation: i32,
    pub member_id: String,
    pub sent: Instant,
}

/// A successful JoinGroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    pub member_id: String,
    pub generation: i32,
    pub protocol: String,
    pub leader: bool,
    /// The broker keeps the assignment that it has (KIP-814).
    pub skip_assignment: bool,
    /// Empty unless leader.
    pub members: Vec<GroupMember>,
}

/// How a broker took a JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinOutcome {
    Joined(Joined),
    /// Join again with this id (KIP-394).
    MemberIdRequired(String),
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Coordinator(Result<Coordinator, Error>),
    Joined(Result<JoinOutcome, Error>),
    Partitions(Result<PartitionCounts, Error>),
    Synced(Result<TopicPartitions, Error>),
    Offsets(Result<Vec<AssignedPartition>, Error>),
}

/// Where a commit goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitTarget {
    pub node: NodeId,
    pub member_id: String,
}
