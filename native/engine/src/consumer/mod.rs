//! The consumer: fetches partitions ahead of their subscribers, within limits.
//!
//! [`Partition`](partition::Partition), [`Answer`](answer::Answer) and [`Session`](session::Session)
//! are the rules, without I/O.
//! A fetcher per broker drives them; the router decides which fetcher a partition belongs to.

mod answer;
mod config;
mod delivery;
mod fetcher;
mod offsets;
mod partition;
mod poll;
mod request;
mod router;
mod session;
mod shared;
mod sink;
mod window;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use config::{BeginOffset, ConsumerConfig, Isolation, OffsetResetPolicy};
pub use sink::{DecodedBatch, Delivered, MessageSet, Sink};

use crate::cluster::{Cluster, Interest, NodeId};
use crate::error::Error;
use fetcher::FetcherHandle;
use shared::Shared;

/// A subscribe whose begin offset a broker cannot tell within this time fails.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// By topic and partition.
type Partitions = HashMap<(Arc<str>, i32), Arc<Shared>>;

/// What a round of fetches over all partitions of a client brings, as far as `max_bytes` allows.
/// Subscribers hold a round or two in memory; with many partitions, a full `max_bytes` of each
/// would be gigabytes. Settings above the defaults are not cut (ADR 9).
const ROUND_BYTES: i32 = 4 * 1024 * 1024;

/// What each of `partitions` may return of a round.
fn share(partitions: usize) -> i32 {
    ROUND_BYTES / i32::try_from(partitions.max(1)).unwrap_or(i32::MAX)
}

/// The consumers of one client.
pub struct Consumers {
    cluster: Arc<Cluster>,
    runtime: Handle,
    /// Sent to brokers, which may name a replica that is nearer than the leader (KIP-392).
    rack_id: String,
    partitions: Mutex<Partitions>,
    share: Arc<AtomicI32>,
    fetchers: Mutex<HashMap<(NodeId, Isolation), Weak<FetcherHandle>>>,
    /// Held while topics are looked up, so that a thousand subscribes ask once.
    lookup: tokio::sync::Mutex<()>,
}

impl Consumers {
    /// Must be called on a tokio runtime, which then runs all fetching. `rack_id` may be empty.
    pub fn new(cluster: Arc<Cluster>, rack_id: &str) -> Arc<Self> {
        let consumers = Arc::new(Consumers {
            cluster,
            runtime: Handle::current(),
            rack_id: rack_id.to_owned(),
            partitions: Mutex::default(),
            share: Arc::new(AtomicI32::new(share(1))),
            fetchers: Mutex::default(),
            lookup: tokio::sync::Mutex::default(),
        });
        let task = router::follow_changes(Arc::downgrade(&consumers), consumers.cluster.clone());
        consumers
            .cluster
            .supervise(&consumers.runtime, "consumer router", task);
        consumers
    }

    /// A consumer of one partition; fetches nothing before it is subscribed. None when there is one
    /// of the same partition: a fetch session knows a partition once.
    pub fn open(self: &Arc<Self>, topic: &str, partition: i32) -> Option<Consumer> {
        let shared = Arc::new(Shared::new(topic, partition, self.share.clone()));
        let key = (shared.topic.clone(), partition);
        {
            let mut partitions = self.partitions.lock();
            if partitions.contains_key(&key) {
                return None;
            }
            partitions.insert(key, shared.clone());
            self.share.store(share(partitions.len()), Ordering::Relaxed);
        }
        Some(Consumer {
            consumers: self.clone(),
            shared,
            _interest: self.cluster.watch_topic(topic),
        })
    }
}

/// A consumer of one partition. No method blocks; dropping it closes it.
pub struct Consumer {
    consumers: Arc<Consumers>,
    shared: Arc<Shared>,
    _interest: Interest,
}

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

impl Consumer {
    /// Starts a subscription, in place of the one that there may be; what was fetched for that one
    /// is dropped. The answer comes when the begin offset is known, within a few seconds; until a
    /// delivery under way to the former sink has ended it does not come.
    ///
    /// [`Error::Closed`]: another subscribe, an unsubscribe or a close came in between.
    pub fn subscribe(
        &self,
        config: ConsumerConfig,
        sink: Arc<dyn Sink>,
    ) -> oneshot::Receiver<Result<(), Error>> {
        let begin = config.begin_offset;
        let generation = self.shared.start(config, sink);
        let consumers = self.consumers.clone();
        let shared = self.shared.clone();
        self.answer(async move {
            let limit = Instant::now() + RESOLVE_LIMIT;
            consumers.position(&shared, generation, begin, limit).await
        })
    }

    /// Goes on at another offset, with the same sink, once that offset is known. Answers as
    /// [`Consumer::subscribe`] does; with [`Error::Closed`] when there is no subscription. After an
    /// error fetching goes on as if nothing had been asked.
    pub fn seek(&self, to: BeginOffset) -> oneshot::Receiver<Result<(), Error>> {
        let seek = self.shared.seek_starts();
        let consumers = self.consumers.clone();
        let shared = self.shared.clone();
        self.answer(async move {
            let seek = seek.ok_or(Error::Closed)?;
            let limit = Instant::now() + RESOLVE_LIMIT;
            consumers.seek_to(&shared, seek, to, limit).await
        })
    }

    fn answer(
        &self,
        result: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> oneshot::Receiver<Result<(), Error>> {
        let (reply, answer) = oneshot::channel();
        self.consumers.runtime.spawn(async move {
            let _ = reply.send(result.await);
        });
        answer
    }

    /// Ends the subscription. A delivery that is under way may still reach the sink.
    pub fn unsubscribe(&self) {
        self.shared.stop();
    }

    /// The subscriber is done with everything up to `offset`.
    pub fn ack(&self, offset: i64) {
        self.shared.ack(&self.consumers, offset);
    }

    /// Fetches no more, until [`Consumer::resume`].
    pub fn pause(&self) {
        self.shared.set_paused(&self.consumers, true);
    }

    /// See [`Consumer::pause`].
    pub fn resume(&self) {
        self.shared.set_paused(&self.consumers, false);
    }

    /// What is known of it.
    pub fn info(&self) -> Info {
        self.shared.info()
    }

    /// Ends it for good.
    pub fn close(&self) {
        self.shared.stop();
        let mut partitions = self.consumers.partitions.lock();
        let key = (self.shared.topic.clone(), self.shared.partition);
        if partitions
            .get(&key)
            .is_some_and(|known| Arc::ptr_eq(known, &self.shared))
        {
            partitions.remove(&key);
            self.consumers
                .share
                .store(share(partitions.len()), Ordering::Relaxed);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.close();
    }
}
