//! Drives the routing of one partition: passes on what happens, does what it asks for, and hands what
//! was fetched to the subscriber. The only place where the state of a partition is changed.

mod delivery;
mod positions;

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::budget::Budget;
use super::config::ConsumerConfig;
use super::fetch_queue::{Feed, FetchQueue, FetchQueues};
use super::info::Info;
use super::offsets::Offsets;
use super::passing::code_of;
use super::routing::{Action, Answered, Claimed, FetchId, Routing, Seek};
use super::session::Key;
use super::sink::Sink;
use super::subscription::NextFetch;
use crate::cluster::{Cluster, Leader, NodeId};
use crate::error::Error;
use crate::net::Endpoint;
use crate::stats::ConsumeStats;
use crate::tasks::boxed;
use brod_protocol::api::fetch;
use brod_protocol::error::ErrorCode;

/// What the partitions of a client have in common.
pub(super) struct Environment {
    pub cluster: Arc<Cluster>,
    pub runtime: Handle,
    pub offsets: Offsets,
    /// For fetches that wait for room.
    pub held: Arc<Budget>,
    pub queues: FetchQueues<PartitionDriver>,
}

/// What the lock protects. It is held for moments only, never while a sink is called.
struct State {
    routing: Routing,
    sink: Option<Arc<dyn Sink>>,
    feed: Option<Arc<Feed<PartitionDriver>>>,
}

/// See the module.
pub(super) struct PartitionDriver {
    environment: Arc<Environment>,
    topic: Arc<str>,
    partition: i32,
    /// Topic and partition as in requests.
    key: Key,
    state: Mutex<State>,
    delivery_ended: Notify,
    stats: Arc<ConsumeStats>,
    /// Whether an error was the last that came of a fetch.
    failed: AtomicBool,
}

impl PartitionDriver {
    /// Of a partition that nobody has subscribed to. `share`: see [`Routing::new`].
    pub(super) fn new(
        environment: Arc<Environment>,
        topic: &str,
        partition: i32,
        share: Arc<AtomicI32>,
    ) -> Self {
        let key = fetch::key(topic, partition);
        let topic: Arc<str> = topic.into();
        PartitionDriver {
            stats: environment.cluster.stats().consumed(&topic, partition),
            environment,
            topic: topic.clone(),
            partition,
            key,
            state: Mutex::new(State {
                routing: Routing::new(topic, partition, share, rand::random()),
                sink: None,
                feed: None,
            }),
            delivery_ended: Notify::new(),
            failed: AtomicBool::new(false),
        }
    }

    pub(super) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(super) fn partition(&self) -> i32 {
        self.partition
    }

    /// Topic and partition as in requests.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// What it has done so far.
    pub(super) fn stats(&self) -> &ConsumeStats {
        &self.stats
    }

    // What users do.

    /// See [`Routing::subscribe`].
    pub(super) fn subscribe(self: &Arc<Self>, config: ConsumerConfig, sink: Arc<dyn Sink>) -> u64 {
        let (generation, former) = self.change(|state| {
            let former = state.sink.replace(sink);
            (state.routing.subscribe(config), former)
        });
        // Dropping a sink may close this very partition, which takes the lock.
        drop(former);
        generation
    }

    /// See [`Routing::unsubscribe`].
    pub(super) fn unsubscribe(self: &Arc<Self>) {
        let former = self.change(|state| {
            state.routing.unsubscribe();
            state.sink.take()
        });
        // As above.
        drop(former);
    }

    /// See [`Routing::seek_starts`].
    pub(super) fn seek_starts(self: &Arc<Self>) -> Option<Seek> {
        self.event(Routing::seek_starts)
    }

    /// See [`Routing::ack`].
    pub(super) fn ack(self: &Arc<Self>, offset: i64) {
        self.event(|routing| routing.ack(offset));
    }

    /// See [`Routing::set_paused`].
    pub(super) fn set_paused(self: &Arc<Self>, paused: bool) {
        if paused {
            self.stats.pauses.count();
        }
        self.event(|routing| routing.set_paused(paused));
    }

    /// See [`Routing::info`].
    pub(super) fn info(&self) -> Info {
        self.state.lock().routing.info()
    }

    /// Whether an error keeps it, or had stopped the one before it a moment ago and nothing was fetched since.
    pub(super) fn is_stopped(&self) -> bool {
        let waits_for_user = self.failed.load(Ordering::Relaxed) && !self.info().active;
        waits_for_user || self.stats.is_failing(Instant::now())
    }

    // What the cluster and the fetchers tell.

    /// See [`Routing::metadata_changed`].
    pub(super) fn metadata_changed(self: &Arc<Self>) {
        let (snapshot, now) = (self.environment.cluster.snapshot(), Instant::now());
        self.event(|routing| routing.metadata_changed(&snapshot, now));
    }

    /// See [`Routing::claim`]. None as well when the partition belongs to another queue by now.
    pub(super) fn claim(
        self: &Arc<Self>,
        queue: &Arc<FetchQueue<PartitionDriver>>,
        id: FetchId,
    ) -> Option<Claimed> {
        self.change(|state| {
            let feed = state.feed.as_ref()?;
            let is_here = feed.holds(queue);
            is_here.then(|| state.routing.claim(id)).flatten()
        })
    }

    /// See [`Routing::release`].
    pub(super) fn release(self: &Arc<Self>, id: FetchId) {
        self.event(|routing| routing.release(id));
    }

    /// See [`Routing::passed_over`].
    pub(super) fn passed_over(self: &Arc<Self>, id: FetchId) -> Option<NextFetch> {
        self.event(|routing| routing.passed_over(id))
    }

    /// The fetch failed as a whole.
    pub(super) fn fetch_failed(self: &Arc<Self>, id: FetchId, error: &Error) {
        let now = Instant::now();
        self.event(|routing| match code_of(error) {
            Some(code) => routing.refused(id, code, error.to_string(), now),
            None => routing.fetch_failed(id, now),
        });
    }

    /// What the broker `from` answered. Hands it on as far as there is room, and returns what to fetch
    /// next, if the fetch keeps the partition.
    pub(super) fn answered(
        self: &Arc<Self>,
        id: FetchId,
        from: NodeId,
        answer: fetch::Partition,
    ) -> Option<NextFetch> {
        self.stats.fetches.count();
        self.stats.bytes_fetched.add(answer.records.len() as u64);
        if answer.error.is_ok() {
            self.failed.store(false, Ordering::Relaxed);
            self.stats.works();
        }
        let cluster = &self.environment.cluster;
        let named_leader = answer.leader.clone();
        let (snapshot, now) = (cluster.snapshot(), Instant::now());
        let named_for = cluster.config().metadata_max_age;
        let (answered, sink) = self.change(|state| {
            let routing = &mut state.routing;
            let answered = routing.answered(id, from, answer, named_for, &snapshot, now);
            (answered, state.sink.clone())
        });
        if let Some(named) = named_leader {
            let leader = Leader {
                node: named.node,
                epoch: named.epoch,
            };
            let listens = named.endpoint;
            let endpoint = listens.and_then(|(host, port)| Endpoint::named(&host, port));
            cluster.learn_leader(&self.topic, self.partition, leader, endpoint.as_ref());
        }
        match answered {
            Answered::Next(next) => next,
            Answered::Deliver(delivery) => {
                self.deliver(*delivery, sink);
                self.event(|routing| routing.keep(id))
            }
        }
    }

    // What the routing asks for.

    fn event<T>(self: &Arc<Self>, happens: impl FnOnce(&mut Routing) -> T) -> T {
        self.change(|state| happens(&mut state.routing))
    }

    /// Changes the state and does what follows from that.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let mut failures = Vec::new();
        while let Some(action) = state.routing.next_action() {
            self.perform(&mut state, action, &mut failures);
        }
        drop(state);
        for (sink, generation, code, text) in failures {
            sink.error(generation, code, text);
        }
        result
    }

    fn perform(
        self: &Arc<Self>,
        state: &mut State,
        action: Action,
        failures: &mut Vec<(Arc<dyn Sink>, u64, ErrorCode, String)>,
    ) {
        match action {
            Action::Route(node, isolation) => {
                state.feed = Some(self.environment.queues.feed(node, isolation));
            }
            Action::Unroute => state.feed = None,
            Action::Enqueue { behind } => {
                if let Some(feed) = &state.feed {
                    feed.push(self.clone(), behind);
                }
            }
            Action::Revoke(id) => {
                if let Some(feed) = &state.feed {
                    feed.revoked(self.key.clone(), id);
                }
            }
            Action::RefreshMetadata => self.environment.cluster.request_refresh(),
            Action::WakeAt(time) => self.spawn(|this| this.wake_at(time)),
            Action::AskEpochEnd {
                check,
                leader,
                epoch,
            } => self.spawn(|this| this.ask_epoch_end(check, leader, epoch)),
            Action::FindOffset {
                generation,
                to,
                why,
            } => self.spawn(|this| this.reset(generation, to, why)),
            Action::Begin {
                generation,
                position,
            } => self.spawn(move |this| async move {
                // Another subscription or seek needs no error.
                let _ = this.begin(generation, position).await;
            }),
            Action::Deliver(delivery) => {
                let sink = state.sink.clone();
                self.spawn(|this| async move { this.deliver(*delivery, sink) });
            }
            Action::Fail {
                generation,
                code,
                text,
            } => {
                self.failed.store(true, Ordering::Relaxed);
                self.stats.failed(Instant::now());
                let sink = state.sink.clone();
                failures.extend(sink.map(|sink| (sink, generation, code, text)));
            }
            Action::Warn(text) => {
                let client = &*self.environment.cluster.config().connect.client_id;
                tracing::warn!(client, topic = %self.topic, partition = self.partition, "{text}");
            }
        }
    }

    fn spawn<F>(self: &Arc<Self>, task: impl FnOnce(Arc<Self>) -> F)
    where
        F: std::future::Future<Output = ()> + Send + 'static,
    {
        self.environment.runtime.spawn(boxed(task(self.clone())));
    }

    async fn wake_at(self: Arc<Self>, time: Instant) {
        let cluster = &self.environment.cluster;
        tokio::select! {
            _ = cluster.closed().cancelled() => return,
            _ = tokio::time::sleep_until(time.into()) => {}
        }
        // The timer of the runtime counts in milliseconds.
        let (snapshot, now) = (cluster.snapshot(), Instant::now().max(time));
        self.event(|routing| routing.wake(&snapshot, now));
    }
}
