//! A producer's settings. Names and defaults are brod's (its producer configuration).

use std::sync::Arc;
use std::time::Duration;

use brod_protocol::compress::Codec;

use super::identity::Source;
use super::transaction::Transaction;

/// Whether batches carry a producer id, epoch and sequence, so that a broker drops repeats
/// (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotence {
    /// On where the broker knows it, the ACLs allow it and `required_acks` is all.
    Auto,
    /// On; the producer fails where that cannot be.
    On,
    /// Off.
    Off,
}

/// Settings of one partition's producer.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// Calls that may wait for the wire before further callers are held up.
    pub partition_buffer_limit: u32,
    /// Batches of this partition in flight at once. At most 5 count when idempotent. None: one, and as many as its distance
    /// is worth to a broker that is far away, where idempotence keeps their order.
    pub partition_onwire_limit: Option<usize>,
    /// A batch is closed before it exceeds this many bytes, before compression. A single call
    /// may exceed it alone.
    pub max_batch_size: usize,
    /// Batches join in a request up to this many bytes. A single batch may exceed it alone.
    pub max_request_size: usize,
    /// How often a batch is sent again; negative: without limit.
    pub max_retries: i32,
    /// Wait before a batch is sent again.
    pub retry_backoff: Duration,
    /// -1 all in-sync replicas, 1 the leader, 0 nobody.
    pub required_acks: i16,
    /// How long the broker may wait for replicas.
    pub ack_timeout: Duration,
    /// Codec of new batches.
    pub codec: Codec,
    /// The codec's level; None: its default.
    pub compression_level: Option<i32>,
    /// How long a batch may wait for more calls although it could be sent.
    pub max_linger: Duration,
    /// With this many calls a batch does not linger.
    pub max_linger_count: u32,
    /// What a call may take in all, from the call to the last retry.
    pub delivery_timeout: Duration,
    /// See [`Idempotence`].
    pub idempotence: Idempotence,
    /// What its records belong to; None: they stand for themselves.
    pub transaction: Option<Arc<dyn Transaction>>,
    /// A fixed version for Produce requests; None: negotiated.
    pub produce_version: Option<i16>,
    /// Report each request sent (brod's only telemetry event).
    pub report_requests: bool,
}

/// For those who use the engine by itself. The defaults of brod's users are in Erlang.
impl Default for ProducerConfig {
    fn default() -> Self {
        ProducerConfig {
            partition_buffer_limit: 512,
            partition_onwire_limit: None,
            max_batch_size: 1024 * 1024,
            max_request_size: 1024 * 1024,
            max_retries: 3,
            retry_backoff: Duration::from_millis(500),
            required_acks: -1,
            ack_timeout: Duration::from_secs(10),
            codec: Codec::None,
            compression_level: None,
            max_linger: Duration::ZERO,
            max_linger_count: 0,
            delivery_timeout: Duration::from_secs(120),
            idempotence: Idempotence::Auto,
            transaction: None,
            produce_version: None,
            report_requests: false,
        }
    }
}

impl ProducerConfig {
    /// Batches of one partition in flight at once: a broker remembers the last five batches
    /// of a producer id, so more could not be told apart from repeats. `worth`: how many the
    /// distance of the broker is worth.
    pub(super) fn in_flight_limit(&self, idempotent: bool, worth: usize) -> usize {
        if idempotent {
            self.partition_onwire_limit.unwrap_or(worth).clamp(1, 5)
        } else {
            self.partition_onwire_limit.unwrap_or(1).max(1)
        }
    }

    /// Where the producer id comes from. Idempotence needs the answer of all replicas.
    pub(super) fn identity_source(&self) -> Source {
        match self.idempotence {
            _ if self.transaction.is_some() => Source::Transaction,
            _ if self.required_acks != -1 => Source::Nowhere,
            Idempotence::Off => Source::Nowhere,
            Idempotence::Auto => Source::Client { required: false },
            Idempotence::On => Source::Client { required: true },
        }
    }

    /// The version for Produce requests, of those that the broker speaks up to `negotiated`.
    pub(super) fn version(&self, negotiated: i16) -> i16 {
        let newest = match &self.transaction {
            Some(transaction) => negotiated.min(transaction.produce_version()),
            None => negotiated,
        };
        self.produce_version
            .map_or(newest, |fixed| fixed.clamp(3, newest))
    }

    /// The transactional id, where there is one.
    pub(super) fn transactional_id(&self) -> Option<&str> {
        self.transaction.as_deref().map(Transaction::id)
    }
}
