//! A consumer's settings. Names and defaults are brod's (its consumer configuration).

use std::time::Duration;

pub use brod_protocol::isolation::Isolation;

/// Where a subscription starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeginOffset {
    /// At this offset; whether it exists shows in the first fetch.
    Offset(i64),
    /// At the oldest message that is kept.
    Earliest,
    /// Behind the newest message (with [`Isolation::ReadCommitted`]: the newest stable one).
    Latest,
    /// At the first message of this time or later, in ms since 1970; at the end if there is none.
    Timestamp(i64),
}

/// What happens when the offset asked for does not exist (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetResetPolicy {
    /// The subscriber is told, and has to subscribe again.
    ResetBySubscriber,
    /// Go on at the oldest message.
    ResetToEarliest,
    /// Go on behind the newest message.
    ResetToLatest,
}

/// Settings of one partition's consumer.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Where to start.
    pub begin_offset: BeginOffset,
    /// What a broker collects, up to `max_wait`, before it answers. 0 counts as 1: a broker that
    /// answers at once with nothing would have to be asked in a loop.
    pub min_bytes: i32,
    /// What one fetch of this partition may return; a larger message is fetched all the same.
    pub max_bytes: i32,
    /// How long a broker may wait for `min_bytes`.
    pub max_wait: Duration,
    /// Fetching goes on until more messages than this ...
    pub prefetch_count: i64,
    /// ... and more bytes than this are delivered and not acked.
    pub prefetch_bytes: i64,
    /// See [`OffsetResetPolicy`].
    pub offset_reset_policy: OffsetResetPolicy,
    /// See [`Isolation`].
    pub isolation: Isolation,
    /// A batch that decompresses to more bytes than this is an error.
    pub max_batch_bytes: usize,
}

/// Who sets more than these defaults gets what they set; up to them, the partitions of a client
/// share what they hold in memory (ADR 9).
pub(crate) const SHARED_MAX_BYTES: i32 = 1024 * 1024;
pub(crate) const SHARED_PREFETCH_BYTES: i64 = 102_400;

impl Default for ConsumerConfig {
    fn default() -> Self {
        ConsumerConfig {
            begin_offset: BeginOffset::Latest,
            min_bytes: 0,
            max_bytes: SHARED_MAX_BYTES,
            max_wait: Duration::from_secs(10),
            prefetch_count: 10,
            prefetch_bytes: SHARED_PREFETCH_BYTES,
            offset_reset_policy: OffsetResetPolicy::ResetBySubscriber,
            isolation: Isolation::ReadCommitted,
            max_batch_bytes: 256 * 1024 * 1024,
        }
    }
}
