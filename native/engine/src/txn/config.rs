//! What a transaction is opened with, and the offsets that become part of it.

use std::time::Duration;

use super::state::Limits;
use crate::producer::ProducerConfig;

/// Settings of a transactional id's producer.
#[derive(Debug, Clone)]
pub struct TransactionConfig {
    /// The transactional id.
    pub id: String,
    /// How long the coordinator lets a transaction be open: it aborts those that are older.
    pub transaction_timeout: Duration,
    /// What one attempt to ask a coordinator may take.
    pub attempt_timeout: Duration,
    /// What a question may take with all its attempts.
    pub step_timeout: Duration,
    /// The longest wait between two attempts.
    pub backoff: Duration,
    /// Of its producers. They are idempotent, with acks of all replicas, whatever it says.
    pub producer: ProducerConfig,
}

impl TransactionConfig {
    /// What the state machine needs of it.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            backoff: self.backoff,
            step: self.step_timeout,
            transaction: self.transaction_timeout,
        }
    }
}

/// A member of a group, in whose name offsets are committed (KIP-447).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// In which generation it got its partitions.
    pub generation: i32,
    /// Its id.
    pub member_id: String,
    /// Of a static member.
    pub instance_id: Option<String>,
}

/// Offsets that a group has got to once the transaction commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetsToAdd {
    /// The group.
    pub group_id: String,
    /// Who commits; None: nobody checks whether that is still the one to do so.
    pub member: Option<GroupMember>,
    /// Topic, partition, offset, and what is stored along with it.
    pub offsets: Vec<(String, i32, i64, String)>,
}
