//! What one transactional id asks its coordinator, in which order, and what that means for the
//! transaction under way. No I/O, no clock: `now` is an argument.
//!
//! One request at a time is asked of the coordinator. Whoever drives the machine does what [`State::next`]
//! says, reports with [`State::answered`], and tells others what [`State::told`] hands out.

mod answers;

use std::collections::{BTreeSet, VecDeque};
use std::mem::{discriminant, Discriminant};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::error::ErrorCode;

/// A partition of a topic.
pub(super) type Place = (Arc<str>, i32);

/// The first wait for a coordinator that is busy: the transaction before is mostly ended within
/// milliseconds.
const FIRST_WAIT: Duration = Duration::from_millis(2);

/// What the coordinator is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// FindCoordinator of the transactional id.
    FindCoordinator,
    /// InitProducerId: fences those before, and ends what they left open. With the producer id that there
    /// is, if nobody else has taken over since (KIP-360).
    Init(Option<ProducerId>),
    /// AddPartitionsToTxn.
    AddPartitions(Vec<Place>),
    /// Offsets become part of the transaction. The number is the caller's.
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

/// How brokers do transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Partitions and groups are added one by one, and the epoch stays (KIP-98).
    V1,
    /// Batches and offsets add themselves, and each transaction has an epoch of its own (KIP-890).
    V2,
}

/// The coordinator's answer to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is done.
    Done,
    /// To [`Step::Init`].
    Producer(ProducerId, Protocol),
    /// To [`Step::End`], with what the next transaction is written under (KIP-890).
    Next(ProducerId),
}

/// Why a transaction cannot be committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// It can be aborted, and the next one begun.
    Abortable(ErrorCode),
    /// Another producer has the transactional id, or may not have it: nothing follows.
    Fatal(ErrorCode),
    /// The coordinator was not reached, or was busy, for as long as a step may take; how the last attempt
    /// went.
    Timeout(Option<Error>),
    /// It was open for longer than the coordinator lets it be, which has aborted it.
    Expired,
    /// The broker lacks an API.
    Unsupported(Error),
    /// The client was closed.
    Closed,
}

impl Trouble {
    /// Whether the transactional id is lost with it.
    fn is_fatal(&self) -> bool {
        !matches!(self, Trouble::Abortable(_) | Trouble::Timeout(_))
    }
}

/// What others are to be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    /// A transaction is under way, and its batches carry this id.
    Begun(ProducerId, Protocol),
    /// Batches for these partitions may be sent.
    Joined(Vec<Place>),
    /// The offsets of this number are part of the transaction, or are not.
    Offsets(u64, Result<(), Trouble>),
    /// The transaction is committed or aborted, as was asked.
    Ended(Result<(), Trouble>),
    /// It can no longer be committed: what waits for it fails.
    Failed(Trouble),
    /// The coordinator has not done what it was asked for so long, and said this last.
    Waits(Error, Duration),
    /// It has, after so long: there was a [`Told::Waits`].
    GoesOn(Duration),
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// To be given a producer id, once a transaction is wanted.
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
pub(super) struct Limits {
    /// The longest wait between two attempts of a step.
    pub(super) backoff: Duration,
    /// What a step may take with all its attempts.
    pub(super) step: Duration,
    /// How long the coordinator lets a transaction be open.
    pub(super) transaction: Duration,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct State {
    limits: Limits,
    phase: Phase,
    coordinator_known: bool,
    producer: Option<ProducerId>,
    protocol: Protocol,
    /// A transaction is to be begun as soon as one can be.
    begins: bool,
    /// Where it goes on then, if it had begun before.
    resumes: Option<Phase>,
    /// Part of the transaction.
    inside: BTreeSet<Place>,
    /// To be added to it.
    wanted: BTreeSet<Place>,
    /// To be committed with it.
    offsets: VecDeque<u64>,
    /// Something was refused before a broker was asked for it.
    refused: bool,
    /// The first batches are held back until then, where they add themselves.
    held_until: Option<Instant>,
    /// When the coordinator first heard of the transaction.
    opened: Option<Instant>,
    /// Nothing follows, but the coordinator may not know: it is told once that what is open is to be aborted.
    parting: bool,
    asked: Option<Step>,
    /// Which kind of step the deadline and the attempts are of.
    under_way: Option<Discriminant<Step>>,
    retry_at: Option<Instant>,
    /// Attempts of the step under way.
    attempts: u32,
    last_error: Option<Error>,
    /// When the step under way has to be done.
    deadline: Option<Instant>,
    /// When [`Told::Waits`] was told of it last.
    wait_told: Option<Instant>,
    told: Vec<Told>,
}

impl State {
    /// A transactional id that nobody has asked for yet.
    pub(super) fn new(limits: Limits) -> Self {
        State {
            limits,
            phase: Phase::Starting,
            coordinator_known: false,
            producer: None,
            protocol: Protocol::V1,
            begins: false,
            resumes: None,
            inside: BTreeSet::new(),
            wanted: BTreeSet::new(),
            offsets: VecDeque::new(),
            refused: false,
            held_until: None,
            opened: None,
            parting: false,
            asked: None,
            under_way: None,
            retry_at: None,
            attempts: 0,
            last_error: None,
            deadline: None,
            wait_told: None,
            told: Vec::new(),
        }
    }

    /// Begins a transaction, once there is a producer id for it: [`Told::Begun`]. False: one is under way,
    /// or none can be any more.
    pub(super) fn begin(&mut self) -> bool {
        match self.phase {
            Phase::Starting | Phase::Ready if !self.begins => self.begins = true,
            _ => return false,
        }
        self.begin_if_ready();
        true
    }

    /// A transactional id that nobody has asked for in its name, or that was given away, has a producer id all the
    /// same: the next transaction asks for none. Its first batches wait until `held_until`.
    pub(super) fn adopt(&mut self, producer: ProducerId, held_until: Instant) {
        if self.phase == Phase::Starting && !self.begins {
            self.producer = Some(producer);
            self.protocol = Protocol::V2;
            self.phase = Phase::Ready;
            self.held_until = Some(held_until);
        }
    }

    /// Gives the producer id of the next transaction to whoever begins it. None: that one has to ask.
    pub(super) fn give_away(&mut self) -> Option<ProducerId> {
        if self.phase != Phase::Ready || self.protocol != Protocol::V2 {
            return None;
        }
        self.phase = Phase::Starting;
        self.producer.take()
    }

    /// The producer id that was adopted is out of date, and nothing is stored under it: the transaction under way begins
    /// anew, with one that is asked for. False: there is none that could.
    pub(super) fn begin_anew(&mut self) -> bool {
        let is_under_way = matches!(self.phase, Phase::Open | Phase::Ending { commit: true });
        if !is_under_way || self.asked.is_some() {
            return false;
        }
        self.resumes = Some(std::mem::replace(&mut self.phase, Phase::Starting));
        self.begins = true;
        self.producer = None;
        self.inside.clear();
        self.wanted.clear();
        (self.opened, self.held_until) = (None, None);
        self.step_over();
        true
    }

    /// The offsets that are being committed are not, and come again. False: something else was asked.
    pub(super) fn takes_offsets_back(&mut self) -> bool {
        let takes = matches!(self.asked, Some(Step::CommitOffsets(_)));
        if takes {
            self.asked = None;
        }
        takes
    }

    fn begin_if_ready(&mut self) {
        if let (true, Phase::Ready, Some(producer)) = (self.begins, &self.phase, self.producer) {
            self.begins = false;
            self.phase = self.resumes.take().unwrap_or(Phase::Open);
            self.told.push(Told::Begun(producer, self.protocol));
        }
    }

    /// A partition has something to send. Nothing happens where no transaction takes it.
    pub(super) fn add(&mut self, place: Place, now: Instant) {
        let takes = matches!(self.phase, Phase::Open | Phase::Ending { commit: true });
        if !takes {
            return;
        }
        match self.protocol {
            Protocol::V1 => {
                if !self.inside.contains(&place) {
                    self.wanted.insert(place);
                }
            }
            Protocol::V2 => {
                self.wanted.insert(place);
                self.join_unless_held(now);
            }
        }
    }

    /// Where batches add themselves, they may be sent, from some time on.
    fn join_unless_held(&mut self, now: Instant) {
        if self.protocol == Protocol::V1
            || self.wanted.is_empty()
            || self.held_until.is_some_and(|until| now < until)
        {
            return;
        }
        self.held_until = None;
        self.opened.get_or_insert(now);
        let places = std::mem::take(&mut self.wanted);
        self.inside.extend(places.iter().cloned());
        self.told.push(Told::Joined(places.into_iter().collect()));
    }

    /// Offsets are to be committed with the transaction.
    pub(super) fn commit_offsets(&mut self, number: u64) {
        let why = match &self.phase {
            Phase::Open => return self.offsets.push_back(number),
            Phase::Starting if self.resumes == Some(Phase::Open) => {
                return self.offsets.push_back(number);
            }
            Phase::Spoiled(why) | Phase::Over(why) => why.clone(),
            _ => Trouble::Abortable(ErrorCode::INVALID_TXN_STATE),
        };
        self.told.push(Told::Offsets(number, Err(why)));
    }

    /// Something that was to be part of the transaction was refused without asking a broker.
    pub(super) fn refused_before(&mut self) {
        self.refused = true;
    }

    /// A batch was not stored, or nobody knows whether it was: the transaction cannot be committed.
    pub(super) fn failed(&mut self, why: Trouble, now: Instant) {
        match why {
            Trouble::Fatal(code) | Trouble::Abortable(code) if self.is_expired(code, now) => {
                self.fail(Trouble::Expired);
            }
            why if why.is_fatal() => self.fail(why),
            why => self.spoil(why),
        }
    }

    /// The client was closed.
    pub(super) fn closed(&mut self) {
        self.asked = None;
        self.fail(Trouble::Closed);
    }

    /// Commits or aborts, once what is in flight is answered. One that can no longer be committed is not:
    /// that is the answer, and it is to be aborted then. One without records and offsets needs no broker.
    pub(super) fn end(&mut self, commit: bool) {
        match self.phase.clone() {
            Phase::Open => self.phase = Phase::Ending { commit },
            Phase::Starting if self.resumes == Some(Phase::Open) => {
                self.resumes = Some(Phase::Ending { commit });
            }
            Phase::Spoiled(why) if commit => self.told.push(Told::Ended(Err(why))),
            Phase::Spoiled(_) => self.phase = Phase::Ending { commit: false },
            Phase::Over(why) => self.told.push(Told::Ended(Err(why))),
            Phase::Starting | Phase::Ready | Phase::Ending { .. } => {
                let why = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
                self.told.push(Told::Ended(Err(why)));
            }
        }
        let aborts = Phase::Ending { commit: false };
        if self.phase == aborts || self.resumes.as_ref() == Some(&aborts) {
            self.wanted.clear();
            let why = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
            self.drop_offsets(&why);
        }
    }

    /// A commit or an abort is under way.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. })
    }

    /// What is in flight has to be answered before the coordinator is asked what there is to ask.
    pub(super) fn awaits_idle(&self) -> bool {
        self.is_ending() || self.parting
    }

    /// There is a transaction that would have to be aborted.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Spoiled(_))
    }

    /// What is to be done now. `busy`: batches are waiting or in flight. A step is handed out once, until it
    /// is answered.
    pub(super) fn next(&mut self, now: Instant, busy: bool) -> Step {
        if self.asked.is_some() {
            return Step::Idle;
        }
        self.join_unless_held(now);
        if let (Protocol::V2, false, Some(until)) =
            (self.protocol, self.wanted.is_empty(), self.held_until)
        {
            return Step::Wait(until);
        }
        let Some(step) = self.wanted_step(busy) else {
            return Step::Idle;
        };
        let kind = Some(discriminant(&step));
        if self.under_way != kind {
            // An abort has its own time, whatever was tried in vain before.
            self.step_over();
            self.under_way = kind;
        }
        let deadline = *self.deadline.get_or_insert(now + self.limits.step);
        if now >= deadline {
            let why = Trouble::Timeout(self.last_error.take());
            self.give_up(why);
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
        if matches!(step, Step::AddPartitions(_) | Step::CommitOffsets(_)) {
            // It may be open from now on, even if no answer comes.
            self.opened.get_or_insert(now);
        }
        self.asked = Some(step.clone());
        step
    }

    fn wanted_step(&mut self, busy: bool) -> Option<Step> {
        match self.phase {
            Phase::Starting if self.begins => return Some(Step::Init(self.producer)),
            Phase::Over(_) if self.parting && !busy => return Some(Step::End { commit: false }),
            Phase::Open | Phase::Ending { .. } => {}
            _ => return None,
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
        if busy {
            return None;
        }
        if self.opened.is_none() {
            let refused = self.refused;
            let invalid = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
            self.ended(commit, if refused { Err(invalid) } else { Ok(()) });
            return None;
        }
        Some(Step::End { commit })
    }

    /// What others are to be told since this was last asked, in order.
    pub(super) fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
}

#[cfg(test)]
mod tests;
