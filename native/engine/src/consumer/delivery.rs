//! Takes in one partition's part of a fetch answer: checks, decompresses, hands on. What the window
//! has no room for waits for acks.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use kafka_protocol::messages::fetch_response::PartitionData;
use parking_lot::MutexGuard;
use tokio::time::Instant;

use super::answer::{Answer, End};
use super::partition::Wish;
use super::shared::{suspend, Shared, State};
use super::sink::{DecodedBatch, Delivered, MessageSet, Sink};
use super::Consumers;
use crate::cluster::{Leader, NodeId};
use brod_protocol::api::fetch::aborted;
use brod_protocol::error::ErrorCode;

/// A damaged batch may have been damaged on its way only, and is worth another fetch.
const DAMAGED_TRIES: u32 = 2;
/// A broker that answers with what was not asked for may still be settling.
const FRUITLESS_TRIES: u32 = 5;

/// Why a delivery stopped.
enum Stop {
    End(End),
    /// The window is full.
    Full,
    Panic,
}

/// A delivery under way.
struct Job {
    shared: Arc<Shared>,
    sink: Arc<dyn Sink>,
    generation: u64,
    high_watermark: i64,
    answer: Answer,
}

impl Consumers {
    /// Takes in what `node` answered to the fetch `claim`. Returns what to fetch next, if the fetch
    /// keeps the partition.
    pub(super) fn take_in(
        self: &Arc<Self>,
        node: NodeId,
        shared: &Arc<Shared>,
        claim: u64,
        data: PartitionData,
    ) -> Option<Wish> {
        let code = ErrorCode(data.error_code);
        if !code.is_ok() {
            let text = format!("broker {node} refused the fetch: {code}");
            self.failed(shared, claim, code, text);
            self.learn_leader(shared, &data);
            return None;
        }
        let mut state = shared.lock();
        if state.claim != Some(claim) {
            return None;
        }
        state
            .rules
            .answered(data.high_watermark, data.last_stable_offset);
        let preferred = data.preferred_read_replica.0;
        if preferred >= 0 && preferred != node {
            if !self.cluster.snapshot().brokers.contains_key(&preferred) {
                // It has just come (back). The leader would say the same, and at once.
                self.retry_later(shared, &mut state);
                return None;
            }
            let until = Instant::now() + self.cluster.config().metadata_max_age;
            state.preferred = Some((preferred, until));
            state.unroute();
            drop(state);
            self.route(shared);
            return None;
        }
        let records = data.records.unwrap_or_default();
        state.rules.came(records.len());
        if records.is_empty() {
            return state.keep(claim);
        }
        let aborted = aborted(data.aborted_transactions.as_deref());
        let rules = &state.rules;
        let limit = rules.config().max_batch_bytes;
        let answer = Answer::new(records, aborted, rules.position(), limit);
        let job = Job::start(shared, &mut state, answer)?;
        drop(state);
        if !self.deliver(job) {
            return None;
        }
        let mut state = shared.lock();
        let wish = state.keep(claim);
        // Taken from this fetch meanwhile, as by a pause and resume: another one may go on.
        state.enqueue(shared);
        wish
    }

    /// The answer to the fetch `claim` had no batch of this partition, though there are some and it had
    /// room. Returns what to fetch next, as [`Self::take_in`].
    pub(super) fn passed_over(&self, shared: &Shared, claim: u64) -> Option<Wish> {
        let mut state = shared.lock();
        if state.claim == Some(claim) {
            state.rules.came(0);
        }
        state.keep(claim)
    }

    /// Goes on with an answer that waits for room, if there is some now.
    pub(super) fn go_on(self: &Arc<Self>, shared: &Arc<Shared>, state: &mut State) {
        let Some(answer) = state.rules.take_waiting() else {
            return;
        };
        let Some(job) = Job::start(shared, state, answer) else {
            return;
        };
        let consumers = self.clone();
        self.runtime.spawn(async move {
            let shared = job.shared.clone();
            if consumers.deliver(job) {
                shared.lock().enqueue(&shared);
            }
        });
    }

    /// Delivers what the window has room for. False: there is nothing to fetch before the partition
    /// is routed anew.
    fn deliver(self: &Arc<Self>, mut job: Job) -> bool {
        let stop = catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or(Stop::Panic);
        let shared = &job.shared;
        let mut state = shared.lock();
        state.rules.delivery_ends();
        shared.delivery_ended.notify_waiters();
        if state.rules.generation() != job.generation {
            return false;
        }
        match stop {
            Stop::End(End::Done) => true,
            Stop::Full => {
                // What a new leader may not have is not to wait for it.
                if state.check.is_none() {
                    state.rules.wait_for_room(job.answer);
                    // Acks may have come since the delivery stopped.
                    self.go_on(shared, &mut state);
                }
                true
            }
            Stop::End(End::Nothing) => {
                let position = state.rules.position();
                let text =
                    format!("nothing at or behind offset {position} in what was fetched there");
                self.try_again(
                    state,
                    shared,
                    FRUITLESS_TRIES,
                    ErrorCode::CORRUPT_MESSAGE,
                    text,
                );
                false
            }
            Stop::End(End::Unreadable(error)) => {
                let code = error.code();
                let tries = match code {
                    ErrorCode::CORRUPT_MESSAGE => DAMAGED_TRIES,
                    _ => 1,
                };
                self.try_again(state, shared, tries, code, error.to_string());
                false
            }
            Stop::Panic => {
                let text = "the engine failed on a fetched batch".to_owned();
                suspend(state, ErrorCode::UNKNOWN_SERVER_ERROR, text);
                false
            }
        }
    }

    /// An answer was of no use: fetches again later, or gives up after so many tries.
    fn try_again(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        shared: &Arc<Shared>,
        tries: u32,
        code: ErrorCode,
        text: String,
    ) {
        if state.rules.fails_for_good(tries) {
            suspend(state, code, text);
            return;
        }
        tracing::warn!(topic = %shared.topic, partition = shared.partition, "{text}");
        self.retry_later(shared, &mut state);
    }

    /// An error may name the leader to turn to (KIP-951). Apache Kafka does so from Fetch 16 on, which
    /// this client does not speak yet; the field is there since 12. Where that leader listens is told
    /// from 16 on only.
    fn learn_leader(&self, shared: &Shared, data: &PartitionData) {
        let leader = &data.current_leader;
        if leader.leader_id.0 >= 0 && leader.leader_epoch >= 0 {
            let leader = Leader {
                node: leader.leader_id.0,
                epoch: leader.leader_epoch,
            };
            self.cluster
                .learn_leader(&shared.topic, shared.partition, leader, None);
        }
    }
}

impl Job {
    /// None: nobody is subscribed.
    fn start(shared: &Arc<Shared>, state: &mut State, answer: Answer) -> Option<Job> {
        let sink = state.sink.clone()?;
        state.rules.delivery_starts();
        let rules = &state.rules;
        Some(Job {
            shared: shared.clone(),
            sink,
            generation: rules.generation(),
            high_watermark: rules.visible_end().unwrap_or_else(|| rules.position()),
            answer,
        })
    }

    fn run(&mut self) -> Stop {
        while let Some(room) = self.room() {
            let (set, end) = self.answer.take(room);
            if let Err(stop) = self.hand_on(set) {
                return stop;
            }
            if let Some(end) = end {
                return Stop::End(end);
            }
        }
        Stop::Full
    }

    fn room(&self) -> Option<usize> {
        self.shared.lock().rules.room()
    }

    fn hand_on(&self, set: Vec<DecodedBatch>) -> Result<(), Stop> {
        let mut delivered = Delivered::new();
        if !set.is_empty() {
            delivered = self.sink.deliver(MessageSet {
                generation: self.generation,
                topic: self.shared.topic.clone(),
                partition: self.shared.partition,
                high_watermark: self.high_watermark,
                batches: set,
                memory: self.answer.memory().clone(),
            });
        }
        let failed = delivered.failed.take();
        let reached = self.answer.reached();
        let position = match failed {
            None => reached.0,
            Some(_) => delivered.last_offset().map_or(0, |last| last + 1),
        };
        let mut state = self.shared.lock();
        let rules = &mut state.rules;
        rules.delivered(self.generation, delivered, position, reached.1);
        match failed {
            Some(error) => Err(Stop::End(End::Unreadable(error))),
            None if rules.generation() != self.generation => Err(Stop::End(End::Done)),
            None => Ok(()),
        }
    }
}
