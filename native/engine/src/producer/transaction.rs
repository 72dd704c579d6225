//! What a producer needs of the transaction that its records belong to (KIP-98).

use std::sync::Arc;
use std::time::Instant;

use super::failure::Failure;
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::error::ErrorCode;

/// The transaction, as a producer of one of its partitions sees it. It gives the producer its id with
/// [`super::Partition::begin`], asks for what was gathered with [`super::Partition::release`], and lets it send with
/// [`super::Partition::joined`]. Nothing here waits.
pub trait Transaction: std::fmt::Debug + Send + Sync {
    /// The transactional id, which requests carry.
    fn id(&self) -> &str;
    /// The newest version of Produce that says what the transaction is (KIP-890).
    fn produce_version(&self) -> i16;
    /// The partition has something to send, and is to be added to the transaction. Asked once a
    /// transaction.
    fn add(&self, topic: &Arc<str>, partition: i32);
    /// Records will not be delivered; their callers are told right afterwards what this returns, but for those of
    /// `untold` calls, which nobody waits for.
    fn failed(&self, why: Failure, untold: bool) -> Failure;
    /// A batch was refused because there is another producer than `this`. True: the transaction begins anew, as if the
    /// batch had never been sent, which waits for [`super::Partition::begin`].
    fn begins_anew(&self, this: ProducerId, code: ErrorCode) -> bool;
    /// A batch was stored. Told before [`Self::settled`].
    fn stored(&self);
    /// All that was sent is answered and told, for now.
    fn settled(&self);
    /// A batch is late, although its partition may have no other leader. Leaders ask the transaction's coordinator before they
    /// store a batch (KIP-890), and that may hang: somebody is to look whether another one coordinates by now.
    fn late(&self);
    /// When that was so, the last time.
    fn coordinator_moved(&self) -> Option<Instant>;
}

/// How far a partition is with joining the transaction under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    /// Its records belong to none, and need not wait.
    Unneeded,
    /// No transaction is under way.
    Idle,
    /// As `Outside`, and batches that nobody waits for are not sent yet.
    Gathering,
    /// To be added before the next batch.
    Outside,
    /// The transaction has been asked to add it.
    Joining,
    /// Batches may be sent.
    Inside,
}
