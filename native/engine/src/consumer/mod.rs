//! The consumer: fetches partitions ahead of their subscribers, within limits.
//!
//! Decisions: [`Routing`](routing::Routing) says which broker a partition is fetched from, with
//! [`Subscription`](subscription::Subscription), which says what of it is to be fetched, and
//! [`CompletedFetch`](completed_fetch::CompletedFetch), which unpacks what came. [`Session`](session::Session)
//! and [`poll`] say how it is asked for.
//!
//! I/O: a [`driver`] a partition, which does what its routing says, and a [`fetcher`] a broker.

mod budget;
mod completed_fetch;
mod config;
mod driver;
mod fetch_queue;
mod fetcher;
mod foresight;
mod info;
mod offsets;
mod passing;
mod poll;
mod routing;
mod session;
mod sink;
mod subscription;
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
pub use info::Info;
pub use sink::{DecodedBatch, Delivered, MessageSet, Sink};

use crate::cluster::{is_topic_name, Cluster, Interest};
use crate::error::Error;
use crate::stats::ConsumeStats;
use crate::tasks::boxed;
use budget::Budget;
use driver::{Environment, PartitionDriver};
use fetch_queue::FetchQueues;
use offsets::Offsets;

/// A subscribe whose begin offset a broker cannot tell within this time fails.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// By topic and partition.
type Partitions = HashMap<(Arc<str>, i32), Arc<PartitionDriver>>;

/// What a round of fetches over all partitions of a client brings, as far as `max_bytes` allows.
/// Subscribers hold a round or two in memory; with many partitions, a full `max_bytes` of each
/// would be gigabytes. Settings above the defaults are not cut (ADR 9).
const ROUND_BYTES: i32 = 8 * 1024 * 1024;

/// What each of `partitions` may return of a round.
fn share(partitions: usize) -> i32 {
    ROUND_BYTES / i32::try_from(partitions.max(1)).unwrap_or(i32::MAX)
}

/// Why there is no consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is one of the same partition: a fetch session knows a partition once.
    #[error("the partition has a consumer")]
    AlreadyOpen,
    /// No topic can have such a name: nobody would ever say who leads it.
    #[error("not a topic's name")]
    InvalidTopic,
}

/// The consumers of one client.
pub struct Consumers {
    environment: Arc<Environment>,
    partitions: Mutex<Partitions>,
    share: Arc<AtomicI32>,
}

impl Consumers {
    /// Must be called on a tokio runtime, which then runs all fetching. `rack_id` may be empty. `held_bytes` is
    /// what fetches that wait for room in their windows may hold in all; what is beyond that is fetched
    /// again when there is room (ADR 14).
    pub fn new(cluster: Arc<Cluster>, rack_id: &str, held_bytes: usize) -> Arc<Self> {
        let runtime = Handle::current();
        let rack_id: Arc<str> = rack_id.into();
        let queues = {
            let (cluster, runtime) = (cluster.clone(), runtime.clone());
            FetchQueues::new(cluster.closed().clone(), move |queue| {
                fetcher::start(&cluster, &runtime, &rack_id, &queue)
            })
        };
        let consumers = Arc::new(Consumers {
            environment: Arc::new(Environment {
                offsets: Offsets::new(cluster.clone()),
                cluster: cluster.clone(),
                runtime: runtime.clone(),
                held: Budget::new(held_bytes),
                queues,
            }),
            partitions: Mutex::default(),
            share: Arc::new(AtomicI32::new(share(1))),
        });
        let task = follow_changes(Arc::downgrade(&consumers), cluster.clone());
        cluster.supervise(&runtime, "consumer routing", task);
        consumers
    }

    /// A consumer of one partition; fetches nothing before it is subscribed.
    pub fn open(self: &Arc<Self>, topic: &str, partition: i32) -> Result<Consumer, OpenError> {
        if !is_topic_name(topic) {
            return Err(OpenError::InvalidTopic);
        }
        let share_of_one = self.share.clone();
        let environment = self.environment.clone();
        let driver = PartitionDriver::new(environment, topic, partition, share_of_one);
        let driver = Arc::new(driver);
        let key = (driver.topic().clone(), partition);
        let offsets = &self.environment.offsets;
        {
            let mut partitions = self.partitions.lock();
            if partitions.contains_key(&key) {
                return Err(OpenError::AlreadyOpen);
            }
            partitions.insert(key, driver.clone());
            offsets.opened(driver.topic(), partition);
            self.share.store(share(partitions.len()), Ordering::Relaxed);
        }
        Ok(Consumer {
            consumers: self.clone(),
            driver,
            _interest: self.environment.cluster.watch_topic(topic),
        })
    }

    /// Shows each consumer: topic, partition, what is known of it, what it has done, and whether an error has stopped it.
    pub fn each(&self, mut show: impl FnMut(&str, i32, Info, &ConsumeStats, bool)) {
        let all: Vec<_> = self.partitions.lock().values().cloned().collect();
        for driver in all {
            show(
                driver.topic(),
                driver.partition(),
                driver.info(),
                driver.stats(),
                driver.is_stopped(),
            );
        }
    }

    fn forget(&self, driver: &Arc<PartitionDriver>) {
        let mut partitions = self.partitions.lock();
        let key = (driver.topic().clone(), driver.partition());
        let is_it = |known: &Arc<PartitionDriver>| Arc::ptr_eq(known, driver);
        if partitions.get(&key).is_some_and(is_it) {
            partitions.remove(&key);
            let offsets = &self.environment.offsets;
            offsets.forget(driver.topic(), driver.partition());
            self.share.store(share(partitions.len()), Ordering::Relaxed);
        }
    }
}

/// Tells all partitions when the metadata changes, until the client closes.
async fn follow_changes(consumers: Weak<Consumers>, cluster: Arc<Cluster>) {
    let mut changes = cluster.changes();
    loop {
        tokio::select! {
            _ = cluster.closed().cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        let Some(consumers) = consumers.upgrade() else {
            return;
        };
        let all: Vec<_> = consumers.partitions.lock().values().cloned().collect();
        for driver in all {
            driver.metadata_changed();
        }
    }
}

/// A consumer of one partition. No method blocks; dropping it closes it.
pub struct Consumer {
    consumers: Arc<Consumers>,
    driver: Arc<PartitionDriver>,
    _interest: Interest,
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
        let generation = self.driver.subscribe(config, sink);
        let driver = self.driver.clone();
        if begin != BeginOffset::Earliest {
            let offsets = &self.consumers.environment.offsets;
            offsets.forget(driver.topic(), driver.partition());
        }
        self.answer(async move {
            let limit = Instant::now() + RESOLVE_LIMIT;
            driver.find_position(generation, begin, limit).await
        })
    }

    /// Goes on at another offset, with the same sink, once that offset is known. Answers as
    /// [`Consumer::subscribe`] does; with [`Error::Closed`] when there is no subscription. After an
    /// error fetching goes on as if nothing had been asked.
    pub fn seek(&self, to: BeginOffset) -> oneshot::Receiver<Result<(), Error>> {
        let seek = self.driver.seek_starts();
        let driver = self.driver.clone();
        self.answer(async move {
            let seek = seek.ok_or(Error::Closed)?;
            let limit = Instant::now() + RESOLVE_LIMIT;
            driver.seek_to(seek, to, limit).await
        })
    }

    fn answer(
        &self,
        result: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> oneshot::Receiver<Result<(), Error>> {
        let (reply, answer) = oneshot::channel();
        self.consumers.environment.runtime.spawn(boxed(async move {
            let _ = reply.send(result.await);
        }));
        answer
    }

    /// Ends the subscription. A delivery that is under way may still reach the sink, until [`Consumer::quiet`].
    pub fn unsubscribe(&self) {
        self.driver.unsubscribe();
    }

    /// Waits for the end of a delivery that is under way, if there is one: a set of messages at most, where there is no
    /// subscription.
    pub async fn quiet(&self) {
        self.driver.quiet().await;
    }

    /// The subscriber is done with everything up to `offset`.
    pub fn ack(&self, offset: i64) {
        self.driver.ack(offset);
    }

    /// Fetches no more, until [`Consumer::resume`].
    pub fn pause(&self) {
        self.driver.set_paused(true);
    }

    /// See [`Consumer::pause`].
    pub fn resume(&self) {
        self.driver.set_paused(false);
    }

    /// What is known of it.
    pub fn info(&self) -> Info {
        self.driver.info()
    }

    /// Ends it for good.
    pub fn close(&self) {
        self.driver.unsubscribe();
        self.consumers.forget(&self.driver);
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.close();
    }
}
