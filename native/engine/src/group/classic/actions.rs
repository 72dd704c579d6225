//! What the state machine sends, and what comes back.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::cluster::NodeId;
use crate::error::Error;
use crate::group::protocol::Coordinator;
use crate::group::{AssignedPartition, GroupMember, JoinTerms, PartitionCounts, TopicPartitions};
use brod_protocol::consumer_protocol::Assignment;

/// Requests of the join sequence, and the heartbeat beside it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    FindCoordinator,
    Join {
        node: NodeId,
        member_id: String,
        terms: JoinTerms,
    },
    /// Asks any broker how many partitions the topics have.
    CountPartitions {
        topics: Vec<String>,
        /// Topics that do not exist are to be created.
        create: bool,
    },
    Sync {
        node: NodeId,
        generation: i32,
        member_id: String,
        protocol: String,
        /// Empty unless leader.
        assignments: Vec<(String, TopicPartitions)>,
        /// Goes to all members along with them.
        grown_from: PartitionCounts,
    },
    FetchOffsets {
        node: NodeId,
        partitions: TopicPartitions,
    },
    Heartbeat(Heartbeat),
}

/// A heartbeat to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub node: NodeId,
    pub generation: i32,
    pub member_id: String,
    /// The broker has not seen it before.
    pub sent: Instant,
}

/// A successful JoinGroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Joined {
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
pub(crate) enum JoinOutcome {
    Joined(Joined),
    /// Join again with this id (KIP-394).
    MemberIdRequired(String),
}

/// How many partitions topics have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Of all that were asked for; 0 where there is nothing to consume.
    pub counts: PartitionCounts,
    /// Those that may exist and are not shown to this client: they say nothing of growth.
    pub hidden: BTreeSet<String>,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Coordinator(Result<Coordinator, Error>),
    Joined(Result<JoinOutcome, Error>),
    Partitions(Result<Counted, Error>),
    Synced(Result<Assignment, Error>),
    Offsets(Result<Vec<AssignedPartition>, Error>),
    Heartbeat(Heartbeat, Result<(), Error>),
}
