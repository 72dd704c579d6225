//! Drives the routing of one partition: passes on what happens, does what it asks for, and hands what
//! was fetched to the subscriber. The only place where the state of a partition is changed.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::AtomicI32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::budget::Budget;
use super::completed_fetch::{CompletedFetch, End};
use super::config::{BeginOffset, ConsumerConfig};
use super::fetch_queue::{Feed, FetchQueue, FetchQueues};
use super::info::Info;
use super::offsets::Offsets;
use super::passing::{code_of, may_pass};
use super::routing::{
    Action, Answered, Begun, Delivery, DeliveryEnd, EpochEnd, FetchId, Routing, Seek,
};
use super::session::Key;
use super::sink::{DecodedBatch, Delivered, MessageSet, Sink};
use super::subscription::NextFetch;
use crate::cluster::{Backoff, Cluster, Leader, NodeId};
use crate::error::Error;
use brod_protocol::api::fetch;
use brod_protocol::error::ErrorCode;

/// Waits between questions for an offset that did not go through.
const OFFSET_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

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
        self.event(|routing| routing.set_paused(paused));
    }

    /// See [`Routing::info`].
    pub(super) fn info(&self) -> Info {
        self.state.lock().routing.info()
    }

    /// Finds the position of a subscription, and starts fetching from there.
    pub(super) async fn find_position(
        self: &Arc<Self>,
        generation: u64,
        to: BeginOffset,
        limit: tokio::time::Instant,
    ) -> Result<(), Error> {
        match self.resolve(generation, to, Some(limit)).await {
            Ok(position) => self.begin(generation, position).await,
            Err(error) => {
                self.event(|routing| routing.has_no_position(generation));
                Err(error)
            }
        }
    }

    /// Goes on at another position. When that cannot be found out, the subscription goes on where it
    /// is: a seek that failed has done nothing.
    pub(super) async fn seek_to(
        self: &Arc<Self>,
        seek: Seek,
        to: BeginOffset,
        limit: tokio::time::Instant,
    ) -> Result<(), Error> {
        let position = self.resolve(seek.generation, to, Some(limit)).await?;
        let generation = self
            .event(|routing| routing.seek_ends(seek))
            .ok_or(Error::Closed)?;
        self.begin(generation, position).await
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
    ) -> Option<(NextFetch, i32)> {
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
        let cluster = &self.environment.cluster;
        let named_leader = answer.leader.as_ref().map(|named| Leader {
            node: named.node,
            epoch: named.epoch,
        });
        let (snapshot, now) = (cluster.snapshot(), Instant::now());
        let named_for = cluster.config().metadata_max_age;
        let (answered, sink) = self.change(|state| {
            let routing = &mut state.routing;
            let answered = routing.answered(id, from, answer, named_for, &snapshot, now);
            (answered, state.sink.clone())
        });
        if let Some(leader) = named_leader {
            cluster.learn_leader(&self.topic, self.partition, leader, None);
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
                offset,
                epoch,
            } => self.spawn(move |this| async move {
                // Another subscription or seek needs no error.
                let _ = this.begin(generation, (offset, epoch)).await;
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
                let sink = state.sink.clone();
                failures.extend(sink.map(|sink| (sink, generation, code, text)));
            }
            Action::Warn(text) => {
                tracing::warn!(topic = %self.topic, partition = self.partition, "{text}");
            }
        }
    }

    fn spawn<F>(self: &Arc<Self>, task: impl FnOnce(Arc<Self>) -> F)
    where
        F: std::future::Future<Output = ()> + Send + 'static,
    {
        self.environment.runtime.spawn(task(self.clone()));
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

    async fn ask_epoch_end(self: Arc<Self>, check: u64, leader: Leader, epoch: i32) {
        let offsets = &self.environment.offsets;
        let end = match offsets.end_of_epoch(&self.key, leader, epoch).await {
            Ok((end, epoch)) => EpochEnd::At(end, epoch),
            Err(error) if may_pass(&error) => EpochEnd::Passing,
            Err(_) => EpochEnd::Unknown,
        };
        let (snapshot, now) = (self.environment.cluster.snapshot(), Instant::now());
        self.event(|routing| routing.epoch_end(check, end, &snapshot, now));
    }

    /// Finds another offset to go on at, as long as it takes.
    async fn reset(self: Arc<Self>, generation: u64, to: BeginOffset, why: String) {
        match self.resolve(generation, to, None).await {
            // Another subscription or seek needs no error.
            Ok(position) => {
                let _ = self.begin(generation, position).await;
            }
            Err(Error::Closed) => {}
            Err(error) => {
                let code = code_of(&error).unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
                let text = format!("{why}; no offset to go on at: {error}");
                self.event(|routing| routing.reset_failed(generation, code, text));
            }
        }
    }

    /// The offset that is meant, and its leader epoch (-1: unknown). Without `limit` it is tried until
    /// the generation is over.
    async fn resolve(
        &self,
        generation: u64,
        to: BeginOffset,
        limit: Option<tokio::time::Instant>,
    ) -> Result<(i64, i32), Error> {
        if let BeginOffset::Offset(offset) = to {
            return Ok((offset, -1));
        }
        let cluster = &self.environment.cluster;
        let mut backoff = Backoff::new(OFFSET_BACKOFF.0, OFFSET_BACKOFF.1, rand::random());
        loop {
            let isolation = {
                let state = self.state.lock();
                let subscription = state.routing.subscription();
                if subscription.generation() != generation {
                    return Err(Error::Closed);
                }
                subscription.config().isolation
            };
            let ask = self.environment.offsets.find(&self.key, to, isolation);
            let found = match limit {
                Some(limit) => tokio::time::timeout_at(limit, ask)
                    .await
                    .unwrap_or(Err(Error::Timeout)),
                None => ask.await,
            };
            let error = match found {
                Err(error) if may_pass(&error) => error,
                settled => return settled,
            };
            let wait = backoff.next_wait();
            if limit.is_some_and(|limit| tokio::time::Instant::now() + wait >= limit) {
                return Err(error);
            }
            cluster.request_refresh();
            tokio::select! {
                _ = cluster.closed().cancelled() => return Err(Error::Closed),
                _ = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Starts fetching from where a subscription was found to begin.
    async fn begin(self: &Arc<Self>, generation: u64, position: (i64, i32)) -> Result<(), Error> {
        loop {
            let mut ended = std::pin::pin!(self.delivery_ended.notified());
            ended.as_mut().enable();
            let (snapshot, now) = (self.environment.cluster.snapshot(), Instant::now());
            match self.event(|routing| routing.begin(generation, position, &snapshot, now)) {
                Begun::Yes => return Ok(()),
                Begun::Over => return Err(Error::Closed),
                Begun::Delivering => ended.await,
            }
        }
    }

    /// Hands on what there is room for, to the one who had subscribed when it came.
    fn deliver(self: &Arc<Self>, mut delivery: Delivery, sink: Option<Arc<dyn Sink>>) {
        let generation = delivery.generation;
        let hand_on = || match &sink {
            Some(sink) => self.hand_on_all(&**sink, &mut delivery),
            None => Some(DeliveryEnd::End(End::Done)),
        };
        let end = catch_unwind(AssertUnwindSafe(hand_on))
            .unwrap_or(Some(DeliveryEnd::Panic))
            .unwrap_or_else(|| self.full(delivery.fetched));
        let now = Instant::now();
        self.event(|routing| routing.delivery_ends(generation, end, now));
        self.delivery_ended.notify_waiters();
    }

    /// The rest waits for room, or is fetched again.
    fn full(&self, mut rest: CompletedFetch) -> DeliveryEnd {
        match rest.may_wait(&self.environment.held) {
            true => DeliveryEnd::Full(Box::new(rest)),
            false => DeliveryEnd::End(End::Done),
        }
    }

    /// None: the window is full.
    fn hand_on_all(
        self: &Arc<Self>,
        sink: &dyn Sink,
        delivery: &mut Delivery,
    ) -> Option<DeliveryEnd> {
        while let Some(room) = self.room() {
            let (set, end) = delivery.fetched.take(room);
            let stop = self.hand_on(sink, delivery, set);
            if let Some(end) = stop.or(end) {
                return Some(DeliveryEnd::End(end));
            }
        }
        None
    }

    fn room(&self) -> Option<usize> {
        self.state.lock().routing.room()
    }

    /// Some: nothing more is to be handed on.
    fn hand_on(
        self: &Arc<Self>,
        sink: &dyn Sink,
        delivery: &Delivery,
        set: Vec<DecodedBatch>,
    ) -> Option<End> {
        let mut delivered = Delivered::new();
        if !set.is_empty() {
            delivered = sink.deliver(MessageSet {
                generation: delivery.generation,
                topic: self.topic.clone(),
                partition: self.partition,
                high_watermark: delivery.high_watermark,
                batches: set,
                memory: delivery.fetched.memory().clone(),
            });
        }
        let failed = delivered.failed.take();
        let (mut position, epoch) = delivery.fetched.reached();
        if failed.is_some() {
            position = delivered.last_offset().map_or(0, |last| last + 1);
        }
        let generation = delivery.generation;
        let is_present =
            self.event(|routing| routing.delivered(generation, delivered, (position, epoch)));
        match failed {
            Some(error) => Some(End::Unreadable(error)),
            None => (!is_present).then_some(End::Done),
        }
    }
}
