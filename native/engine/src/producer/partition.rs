//! One partition's producer as its users hold it: the buffer behind a lock, and the callers that
//! are held up.

mod admission;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use admission::{Append, WhenFull};

use super::acks::{Acks, Replies};
use super::budget::Budget;
use super::buffer::{Buffer, Destination, Outcome, Take};
use super::config::ProducerConfig;
use super::failure::{Cause, Failure};
use super::lane::lane_of;
use super::timers::Waits;
use crate::cluster::{Interest, Leader, NodeId, Snapshot, TopicId};
use crate::stats::ProduceStats;
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::error::ErrorCode;

struct State<R: Replies> {
    buffer: Buffer<R::Acks>,
    /// Taken from the budget, and not used yet.
    reserved: usize,
    /// Their calls are in the buffer.
    waiters: VecDeque<R::Waiter>,
    /// Their calls are not: they come again.
    applicants: VecDeque<R::Waiter>,
    /// The budget will tell when there are bytes for them.
    waits_for_bytes: bool,
    /// `Replies::stopped` has been called.
    stop_told: bool,
    /// It is being called.
    tells_stop: bool,
    /// Results that have left the buffer and are not told yet. The stop is told after them.
    telling: u32,
    /// `Replies::handed_over` is to be called once nothing is being told.
    hands_over: bool,
    /// The leader as of a version of the cluster's metadata.
    leader: (u64, Result<Leader, ErrorCode>),
    /// Another one is another topic of the same name (KIP-516).
    topic_id: Option<TopicId>,
}

/// What a partition needs of the client that it belongs to.
pub(super) trait Host<R: Replies>: Send + Sync {
    /// Hands the partition to the task of its leader, or to the router while there is none.
    fn route(&self, partition: Arc<Partition<R>>);
    /// Runs a task on the engine's threads.
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>);
    /// What is counted of a partition that is opened with these settings.
    fn stats(&self, topic: &Arc<str>, index: i32, config: &ProducerConfig) -> Arc<ProduceStats>;
}

/// See the module's text.
pub struct Partition<R: Replies> {
    host: Arc<dyn Host<R>>,
    budget: Arc<Budget<Weak<Partition<R>>>>,
    topic: Arc<str>,
    index: i32,
    config: ProducerConfig,
    replies: R,
    state: Mutex<State<R>>,
    /// Which leader the topic has is kept fresh while this lives.
    _interest: Interest,
    /// What it has done.
    stats: Arc<ProduceStats>,
    /// Calls dropped since that was last told.
    dropped: AtomicU64,
}

impl<R: Replies> Waits for Arc<Partition<R>> {
    fn waits_for(&self, timer: Instant) -> bool {
        self.state.lock().buffer.waits_for(timer)
    }
}

impl<R: Replies> Partition<R> {
    pub(super) fn new(
        host: Arc<dyn Host<R>>,
        budget: Arc<Budget<Weak<Partition<R>>>>,
        interest: Interest,
        topic: &str,
        index: i32,
        config: ProducerConfig,
        replies: R,
    ) -> Arc<Self> {
        let mut buffer = Buffer::new(&config);
        buffer.identity_asked();
        let state = State {
            buffer,
            reserved: 0,
            waiters: VecDeque::new(),
            applicants: VecDeque::new(),
            waits_for_bytes: false,
            stop_told: false,
            tells_stop: false,
            telling: 0,
            hands_over: false,
            leader: (0, Err(ErrorCode::LEADER_NOT_AVAILABLE)),
            topic_id: None,
        };
        // Names are compared for each batch: one that all partitions share is in the cache by then.
        let shared = interest.topic().cloned();
        let topic = shared.unwrap_or_else(|| topic.into());
        Arc::new(Partition {
            stats: host.stats(&topic, index, &config),
            host,
            budget,
            topic,
            index,
            config,
            replies,
            state: Mutex::new(state),
            _interest: interest,
            dropped: AtomicU64::new(0),
        })
    }

    /// The topic's name.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The partition's number.
    pub fn index(&self) -> i32 {
        self.index
    }

    /// The settings it was opened with.
    pub fn config(&self) -> &ProducerConfig {
        &self.config
    }

    /// Who is told about its records.
    pub fn replies(&self) -> &R {
        &self.replies
    }

    /// What it has done so far.
    pub fn stats(&self) -> &ProduceStats {
        &self.stats
    }

    /// Records in the batch that would be sent next.
    pub(super) fn next_records(&self) -> u32 {
        self.state.lock().buffer.next_records()
    }

    /// Over which of a broker's lanes it goes.
    pub(super) fn lane(&self) -> usize {
        lane_of(self.index, self.config.required_acks)
    }

    /// The broker that leads the partition. Looked up once for each change of the metadata: this is
    /// asked for every batch.
    pub(super) fn leader(&self, snapshot: &Snapshot) -> Result<NodeId, ErrorCode> {
        self.place(snapshot).0.map(|leader| leader.node)
    }

    /// As [`Self::leader`], with its epoch, and the id of the topic, if it is known.
    pub(super) fn place(
        &self,
        snapshot: &Snapshot,
    ) -> (Result<Leader, ErrorCode>, Option<TopicId>) {
        let mut state = self.state.lock();
        if state.leader.0 != snapshot.version {
            state.leader = (snapshot.version, snapshot.leader(&self.topic, self.index));
            let id = snapshot.topic_id(&self.topic).or(state.topic_id);
            if state.topic_id.is_some() && id != state.topic_id {
                state.buffer.topic_made_again();
            }
            state.topic_id = id;
        }
        (state.leader.1, state.topic_id)
    }

    /// The question for work of the sender to the broker `to`.
    pub(super) fn take(
        self: &Arc<Self>,
        now: Instant,
        room: usize,
        to: Destination,
    ) -> Take<R::Acks> {
        let mut state = self.state.lock();
        let taken = state.buffer.take(&self.config, now, room, to);
        if matches!(taken, Take::Batch { .. }) {
            self.let_go(state);
        }
        taken
    }

    /// Passes an event through the buffer's state machine, tells whom it concerns, and queues
    /// the partition if there is something to send.
    pub(super) fn event(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Buffer<R::Acks>, &ProducerConfig) -> Option<Outcome<R::Acks>>,
    ) {
        let mut state = self.state.lock();
        let outcome = change(&mut state.buffer, &self.config);
        let tells = u32::from(outcome.is_some());
        state.telling += tells;
        let mut freed = state.buffer.take_freed();
        if state.buffer.is_idle() {
            freed += std::mem::take(&mut state.reserved);
        }
        let wants_queueing = state.buffer.wants_queueing(&self.config);
        drop(state);
        match outcome {
            Some(Outcome::Delivered(acks, base_offset)) => {
                self.stats.batches_acked.count();
                if let Some(transaction) = &self.config.transaction {
                    transaction.stored();
                }
                self.replies.delivered(acks, base_offset)
            }
            Some(Outcome::Settled(all)) => {
                for (acks, result) in all {
                    match result {
                        Ok(base_offset) => {
                            self.stats.batches_acked.count();
                            if let Some(transaction) = &self.config.transaction {
                                transaction.stored();
                            }
                            self.replies.delivered(acks, base_offset);
                        }
                        Err(why) => {
                            self.stats.batches_failed.count();
                            let why = match &self.config.transaction {
                                Some(transaction) => transaction.failed(why, acks.has_untold()),
                                None => why,
                            };
                            self.replies.failed(acks, &why);
                        }
                    }
                }
            }
            Some(Outcome::Retried) => self.stats.batches_retried.count(),
            None => {}
        }
        admission::tell_of_bytes(self.budget.release(freed));
        if wants_queueing {
            self.host.route(self.clone());
        }
        self.tell_if_stopped(tells);
        if let Some(transaction) = &self.config.transaction {
            transaction.settled();
        }
    }

    fn tell_if_stopped(self: &Arc<Self>, told: u32) {
        let mut state = self.state.lock();
        state.telling -= told;
        if state.telling > 0 || state.tells_stop {
            return;
        }
        if std::mem::take(&mut state.hands_over) {
            drop(state);
            self.replies.handed_over();
            state = self.state.lock();
        }
        let is_time = state.telling == 0 && !state.stop_told;
        let Some(why) = state.buffer.stopped().filter(|_| is_time).cloned() else {
            return self.let_go(state);
        };
        state.stop_told = true;
        state.tells_stop = true;
        let mut released: Vec<_> = state.waiters.drain(..).collect();
        released.extend(state.applicants.drain(..));
        drop(state);
        if !released.is_empty() {
            self.replies.room(released);
        }
        if why != Failure::Closed {
            self.stats.ended(Instant::now());
        }
        self.replies.stopped(&why);
        self.state.lock().tells_stop = false;
        // Who hands over meanwhile is answered behind it.
        self.tell_if_stopped(0);
    }

    pub(super) fn identity_arrived(
        self: &Arc<Self>,
        identity: Result<Option<ProducerId>, ErrorCode>,
    ) {
        self.event(|buffer, _| match identity {
            Ok(identity) => {
                buffer.set_identity(identity);
                None
            }
            Err(code) => {
                let why = Failure::NotRetriable(code);
                Some(Outcome::Settled(buffer.stop(why)))
            }
        });
    }

    /// A transaction begins, whose batches carry this producer id. They wait for [`Self::joined`], and what nobody waits
    /// for waits for [`Self::release`] as well.
    pub fn begin(self: &Arc<Self>, producer: ProducerId) {
        self.event(|buffer, _| {
            buffer.begin(producer);
            None
        });
    }

    /// What was gathered is to be sent. True: there is something, and [`Self::joined`] is to follow.
    pub fn release(self: &Arc<Self>) -> bool {
        let mut has_gathered = false;
        self.event(|buffer, _| {
            has_gathered = buffer.release();
            None
        });
        has_gathered
    }

    /// The transaction takes no more records: what there is need not linger.
    pub fn hasten(self: &Arc<Self>) {
        self.event(|buffer, _| {
            buffer.hasten();
            None
        });
    }

    /// The partition has been added to the transaction under way.
    pub fn joined(self: &Arc<Self>) {
        self.event(|buffer, _| {
            buffer.joined();
            None
        });
    }

    /// The transaction has ended: what comes waits for the next one.
    pub fn transaction_ended(self: &Arc<Self>) {
        self.event(|buffer, _| {
            buffer.transaction_ended();
            None
        });
    }

    /// Asks the transaction to add the partition.
    pub(super) fn join(&self) {
        if let Some(transaction) = &self.config.transaction {
            transaction.add(&self.topic, self.index);
        }
    }

    /// The brokers say that there is no such partition.
    pub(super) fn unknown(self: &Arc<Self>, now: Instant) {
        self.event(|buffer, config| buffer.unknown(config, now));
    }

    /// Takes no more, because of `code`, and what is not in flight fails with it.
    pub fn refused(self: &Arc<Self>, code: ErrorCode) {
        let why = Failure::NotRetriable(code);
        self.event(|buffer, _| Some(Outcome::Settled(buffer.stop(why))));
    }

    /// What is to be told if the wait is too long.
    pub(super) fn waits_because(&self, cause: Cause) {
        self.state.lock().buffer.waits_because(cause);
    }

    /// True: it has nothing to send, and is no longer counted as queued.
    pub(super) fn leaves_queue_if_empty(&self) -> bool {
        self.state.lock().buffer.leaves_queue_if_empty()
    }

    /// What waited too long fails.
    pub(super) fn expire(self: &Arc<Self>, now: Instant) {
        self.event(|buffer, config| buffer.expire(config, now));
    }

    /// How long the broker may take to answer a request of this partition, or to read it where it is not to answer. Then
    /// nobody tells of a quota, for which it may read nothing for as long as quotas are averaged over (11 s). A connection that
    /// is given up meanwhile would have what was written to it stored behind what goes over the next one.
    pub(super) fn answer_limit(&self) -> Duration {
        let grace = match self.config.required_acks {
            0 => 30,
            _ => 10,
        };
        self.config.ack_timeout + Duration::from_secs(grace)
    }

    /// Takes no more. What is not in flight fails at once, the rest when its answer comes.
    pub fn close(self: &Arc<Self>) {
        self.event(|buffer, _| Some(Outcome::Settled(buffer.stop(Failure::Closed))));
    }

    /// Has `Replies::handed_over` called once all results are told that are being told now. For
    /// after [`Self::close`]: while a producer is busy, there may always be one.
    pub fn hand_over(self: &Arc<Self>) {
        self.state.lock().hands_over = true;
        self.tell_if_stopped(0);
    }

    /// Nothing is in flight, and all results are told.
    pub fn is_answered(&self) -> bool {
        let state = self.state.lock();
        state.buffer.in_flight() == 0 && state.telling == 0
    }

    /// Why it takes no more; None while it does.
    pub fn stop_reason(&self) -> Option<Failure> {
        self.state.lock().buffer.stop_reason().cloned()
    }

    /// Nothing waits, nothing is in flight, and all results are told.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.buffer.is_idle() && state.telling == 0
    }

    /// Calls not sent yet, batches in flight, callers held up.
    pub fn load(&self) -> (u32, usize, usize) {
        let state = self.state.lock();
        (
            state.buffer.buffered_calls(),
            state.buffer.in_flight(),
            state.waiters.len() + state.applicants.len(),
        )
    }
}
