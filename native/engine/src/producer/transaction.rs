//! What a producer needs of the transaction that its records belong to (KIP-98).

use std::sync::Arc;

/// The transaction, as a producer of one of its partitions sees it. It gives the producer its id with
/// [`super::Partition::begin`], and lets it send with [`super::Partition::joined`].
pub trait Transaction: std::fmt::Debug + Send + Sync {
    /// The transactional id, which requests carry.
    fn id(&self) -> &str;
    /// The partition has something to send, and is to be added to the transaction. Asked once a
    /// transaction; does not wait.
    fn add(&self, topic: &Arc<str>, partition: i32);
}

/// How far a partition is with joining the transaction under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    /// Its records belong to none, and need not wait.
    Unneeded,
    /// No transaction is under way.
    Idle,
    /// To be added before the next batch.
    Outside,
    /// The transaction has been asked to add it.
    Joining,
    /// Batches may be sent.
    Inside,
}
