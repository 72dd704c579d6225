//! What one transactional id asks its coordinator, in which order, and what that means for the
//! transaction under way. No I/O, no clock: `now` is an argument.
//!
//! One request at a time is asked of the coordinator. Whoever drives the machine does what [`State::next`]
//! says, reports with [`State::answered`], and tells others what [`State::told`] hands out.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::error::ErrorCode;

/// A partition of a topic.
pub type Place = (Arc<str>, i32);

/// What the coordinator is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// FindCoordinator of the transactional id.
    FindCoordinator,
    /// InitProducerId: fences those before, and ends what they left open.
    Init,
    /// AddPartitionsToTxn.
    AddPartitions(Vec<Place>),
    /// AddOffsetsToTxn, and then TxnOffsetCommit to the group's coordinator. The number is the caller's.
    CommitOffsets(u64),
    /// EndTxn.
    End {
        /// Otherwise it is aborted.
        commit: bool,
    },
    /// Nothing before this instant.
    Wait(Instant),
    /// Nothing before the next event.
    Idle,
}

/// The coordinator's answer to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// To [`Step::Init`], and to [`Step::End`] from brokers that give each transaction an epoch (KIP-890).
    Producer(ProducerId),
}

/// Why a transaction cannot be committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// It can be aborted, and the next one begun.
    Abortable(ErrorCode),
    /// Another producer has the transactional id, or may not have it: nothing follows.
    Fatal(ErrorCode),
    /// The coordinator was not reached, or was busy, for as long as a step may take.
    Timeout,
}

/// What others are to be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A transaction is under way, and its batches carry this id.
    Begun(ProducerId),
    /// Batches for these partitions may be sent.
    Joined(Vec<Place>),
    /// The offsets of this number are part of the transaction, or are not.
    Offsets(u64, Result<(), Trouble>),
    /// The transaction is committed or aborted, as was asked.
    Ended(Result<(), Trouble>),
    /// It can no longer be committed: what waits for it fails.
    Failed(Trouble),
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// To be given a producer id.
    Starting,
    /// None is under way.
    Ready,
    Open,
    /// As `Open`, but it can only be aborted.
    Spoiled(Trouble),
    /// To be ended once no batch is in flight.
    Ending {
        commit: bool,
    },
    Over(Trouble),
}

/// Limits of a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Between two attempts of a step.
    pub backoff: Duration,
    /// What a step may take with all its attempts.
    pub step: Duration,
}

/// See the module's text.
#[derive(Debug)]
pub struct State {
    limits: Limits,
    phase: Phase,
    coordinator_known: bool,
    producer: Option<ProducerId>,
    /// Part of the transaction.
    inside: BTreeSet<Place>,
    /// To be added to it.
    wanted: BTreeSet<Place>,
    /// To be committed with it.
    offsets: VecDeque<u64>,
    has_offsets: bool,
    /// Batches in flight.
    in_flight: u64,
    asked: Option<Step>,
    retry_at: Option<Instant>,
    /// When the step under way has to be done.
    deadline: Option<Instant>,
    told: Vec<Told>,
}

impl State {
    /// A transactional id that nobody has asked for yet.
    pub fn new(limits: Limits) -> Self {
        State {
            limits,
            phase: Phase::Starting,
            coordinator_known: false,
            producer: None,
            inside: BTreeSet::new(),
            wanted: BTreeSet::new(),
            offsets: VecDeque::new(),
            has_offsets: false,
            in_flight: 0,
            asked: None,
            retry_at: None,
            deadline: None,
            told: Vec::new(),
        }
    }

    /// Begins a transaction. False: one is under way, or none can be any more.
    pub fn begin(&mut self) -> bool {
        match (&self.phase, self.producer) {
            (Phase::Ready, Some(producer)) => {
                self.phase = Phase::Open;
                self.told.push(Told::Begun(producer));
                true
            }
            _ => false,
        }
    }

    /// A partition has something to send. Nothing happens where no transaction takes it.
    pub fn add(&mut self, place: Place) {
        if self.phase == Phase::Open && !self.inside.contains(&place) {
            self.wanted.insert(place);
        }
    }

    /// Offsets are to be committed with the transaction.
    pub fn commit_offsets(&mut self, number: u64) {
        match &self.phase {
            Phase::Open => self.offsets.push_back(number),
            Phase::Spoiled(why) | Phase::Over(why) => {
                let why = why.clone();
                self.told.push(Told::Offsets(number, Err(why)));
            }
            _ => {
                let why = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
                self.told.push(Told::Offsets(number, Err(why)));
            }
        }
    }

    /// A batch is sent.
    pub fn sent(&mut self) {
        self.in_flight += 1;
    }

    /// A batch was answered: stored, or refused for good.
    pub fn settled(&mut self, result: Result<(), ErrorCode>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match result {
            Ok(()) => {}
            Err(code) if code.is_fatal_for_transactions() => self.fail(Trouble::Fatal(code)),
            Err(code) => self.spoil(Trouble::Abortable(code)),
        }
    }

    /// Commits or aborts, once what is in flight is answered. One that can no longer be committed is not:
    /// that is the answer, and it is to be aborted then. One without records and offsets needs no broker.
    pub fn end(&mut self, commit: bool) {
        match self.phase.clone() {
            Phase::Open => self.phase = Phase::Ending { commit },
            Phase::Spoiled(why) if commit => self.told.push(Told::Ended(Err(why))),
            Phase::Spoiled(_) => self.phase = Phase::Ending { commit: false },
            Phase::Over(why) => self.told.push(Told::Ended(Err(why))),
            Phase::Starting | Phase::Ready | Phase::Ending { .. } => {
                let why = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
                self.told.push(Told::Ended(Err(why)));
            }
        }
        if matches!(self.phase, Phase::Ending { .. }) {
            if !matches!(self.phase, Phase::Ending { commit: true }) {
                self.wanted.clear();
            }
            self.drop_offsets_of_an_abort();
        }
    }

    fn drop_offsets_of_an_abort(&mut self) {
        if self.phase == (Phase::Ending { commit: false }) {
            let why = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
            let dropped = self.offsets.drain(..);
            self.told
                .extend(dropped.map(|number| Told::Offsets(number, Err(why.clone()))));
        }
    }

    /// What is to be done now. A step is handed out once, until it is answered.
    pub fn next(&mut self, now: Instant) -> Step {
        if self.asked.is_some() {
            return Step::Idle;
        }
        let Some(step) = self.wanted_step() else {
            return Step::Idle;
        };
        let deadline = *self.deadline.get_or_insert(now + self.limits.step);
        if now >= deadline {
            self.give_up(Trouble::Timeout);
            return Step::Idle;
        }
        if let Some(at) = self.retry_at.filter(|at| now < *at) {
            return Step::Wait(at.min(deadline));
        }
        self.retry_at = None;
        let step = if self.coordinator_known {
            step
        } else {
            Step::FindCoordinator
        };
        self.asked = Some(step.clone());
        step
    }

    fn wanted_step(&mut self) -> Option<Step> {
        match self.phase {
            Phase::Starting => return Some(Step::Init),
            Phase::Ready | Phase::Spoiled(_) | Phase::Over(_) => return None,
            Phase::Open | Phase::Ending { .. } => {}
        }
        if !self.wanted.is_empty() {
            return Some(Step::AddPartitions(self.wanted.iter().cloned().collect()));
        }
        if let Some(number) = self.offsets.front() {
            return Some(Step::CommitOffsets(*number));
        }
        let Phase::Ending { commit } = self.phase else {
            return None;
        };
        if self.in_flight > 0 {
            return None;
        }
        if self.inside.is_empty() && !self.has_offsets {
            self.ended();
            return None;
        }
        Some(Step::End { commit })
    }

    /// The coordinator has answered the step that was handed out.
    pub fn answered(&mut self, answer: Result<Reply, Error>, now: Instant) {
        let Some(step) = self.asked.take() else {
            return;
        };
        match answer {
            Ok(reply) => {
                self.deadline = None;
                self.done(step, reply);
            }
            Err(Error::Kafka { code, .. }) => self.refused(step, code, now),
            // Nobody knows what was done; all steps can be repeated.
            Err(_) => {
                self.coordinator_known = false;
                self.again(now);
            }
        }
    }

    fn again(&mut self, now: Instant) {
        self.retry_at = Some(now + self.limits.backoff);
    }

    fn done(&mut self, step: Step, reply: Reply) {
        match step {
            Step::FindCoordinator => self.coordinator_known = true,
            Step::Init => {
                if let Reply::Producer(producer) = reply {
                    self.producer = Some(producer);
                    self.phase = Phase::Ready;
                }
            }
            Step::AddPartitions(places) => {
                for place in &places {
                    self.wanted.remove(place);
                }
                self.inside.extend(places.iter().cloned());
                self.told.push(Told::Joined(places));
            }
            Step::CommitOffsets(number) => {
                self.offsets.retain(|other| *other != number);
                self.has_offsets = true;
                self.told.push(Told::Offsets(number, Ok(())));
            }
            Step::End { .. } => {
                if let Reply::Producer(producer) = reply {
                    self.producer = Some(producer);
                }
                self.ended();
            }
            Step::Wait(_) | Step::Idle => {}
        }
    }

    fn ended(&mut self) {
        self.phase = Phase::Ready;
        self.inside.clear();
        self.wanted.clear();
        self.has_offsets = false;
        self.told.push(Told::Ended(Ok(())));
    }

    fn refused(&mut self, step: Step, code: ErrorCode, now: Instant) {
        if code.is_fatal_for_transactions() {
            return self.fail(Trouble::Fatal(code));
        }
        if code.is_coordinator_in_doubt() {
            self.coordinator_known = false;
            return self.again(now);
        }
        // The transaction before is still being ended, or the coordinator has just moved.
        if code.is_retriable() {
            return self.again(now);
        }
        self.deadline = None;
        match step {
            // Without a producer id there is nothing to abort.
            Step::FindCoordinator | Step::Init => self.fail(Trouble::Fatal(code)),
            Step::CommitOffsets(number) => {
                self.offsets.retain(|other| *other != number);
                let why = Trouble::Abortable(code);
                self.told.push(Told::Offsets(number, Err(why.clone())));
                self.spoil(why);
            }
            _ => self.spoil(Trouble::Abortable(code)),
        }
    }

    fn give_up(&mut self, why: Trouble) {
        self.deadline = None;
        self.retry_at = None;
        match self.phase {
            Phase::Open => self.spoil(why),
            // Nobody knows whether it is committed: the next producer id ends it.
            _ => self.fail(why),
        }
    }

    /// The transaction can only be aborted.
    fn spoil(&mut self, why: Trouble) {
        let tells = match self.phase {
            Phase::Open => Told::Failed(why.clone()),
            Phase::Ending { commit: true } => Told::Ended(Err(why.clone())),
            _ => return,
        };
        self.phase = Phase::Spoiled(why.clone());
        self.wanted.clear();
        let dropped = self.offsets.drain(..);
        self.told
            .extend(dropped.map(|number| Told::Offsets(number, Err(why.clone()))));
        self.told.push(tells);
    }

    /// Nothing follows.
    fn fail(&mut self, why: Trouble) {
        if matches!(self.phase, Phase::Over(_)) {
            return;
        }
        let ending = matches!(self.phase, Phase::Ending { .. });
        self.phase = Phase::Over(why.clone());
        self.wanted.clear();
        let dropped = self.offsets.drain(..);
        self.told
            .extend(dropped.map(|number| Told::Offsets(number, Err(why.clone()))));
        self.told.push(match ending {
            true => Told::Ended(Err(why)),
            false => Told::Failed(why),
        });
    }

    /// What others are to be told since this was last asked, in order.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
}

#[cfg(test)]
mod tests;
