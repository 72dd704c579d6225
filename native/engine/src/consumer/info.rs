//! What a consumer tells of itself.

use crate::cluster::NodeId;

/// What is known of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Counts subscribes and seeks.
    pub generation: u64,
    /// The first offset that was not acked; None before it is known. Outlives the subscription.
    pub next_offset: Option<i64>,
    /// The offset that is fetched next.
    pub position: Option<i64>,
    /// As of the last answer.
    pub high_watermark: Option<i64>,
    /// As of the last answer.
    pub last_stable_offset: Option<i64>,
    /// Messages between `next_offset` and the end that the subscriber can see.
    pub lag: Option<i64>,
    /// Delivered and not acked.
    pub pending_count: i64,
    /// Their keys and values.
    pub pending_bytes: i64,
    /// Between pause and resume.
    pub paused: bool,
    /// True from subscribe to unsubscribe, unless an error stopped it.
    pub active: bool,
    /// The broker that it is fetched from.
    pub node: Option<NodeId>,
}
