//! What the coordinator's answers mean for the transaction under way.

use std::time::{Duration, Instant};

use super::{Phase, Reply, State, Step, Told, Trouble, FIRST_WAIT};
use crate::cluster::{PATIENCE, QUIET};
use crate::error::Error;
use crate::net::NetError;
use crate::txn::trouble;
use brod_protocol::error::ErrorCode;

/// A coordinator may hear later than others of a partition whose messages are done with, but not for long.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(5);

impl State {
    /// The coordinator has answered the step that was handed out.
    pub(in crate::txn) fn answered(&mut self, answer: Result<Reply, Error>, now: Instant) {
        let Some(step) = self.asked.take() else {
            return;
        };
        if matches!(self.phase, Phase::Over(_)) {
            return self.answered_in_parting(&step, answer.is_ok());
        }
        match answer {
            Ok(reply) => {
                // To know the coordinator is no progress: a step may always be asked of the wrong one.
                if step != Step::FindCoordinator {
                    if let (Some(_), Some(lasted)) = (self.wait_told, self.step_lasts(now)) {
                        self.told.push(Told::GoesOn(lasted));
                    }
                    self.step_over();
                }
                self.done(step, reply);
            }
            Err(Error::Kafka { code, message }) => {
                self.last_error = Some(Error::Kafka { code, message });
                self.refused(step, code, now);
                self.tell_of_wait(now);
            }
            Err(error @ Error::Net(NetError::UnsupportedApi { .. })) => {
                self.step_over();
                self.fail(Trouble::Unsupported(error));
            }
            Err(Error::Closed) => self.fail(Trouble::Closed),
            // Nobody knows what was done; all steps can be repeated.
            Err(error) => {
                self.last_error = Some(error);
                self.coordinator_known = false;
                self.retry_at = Some(now + self.limits.backoff);
                self.tell_of_wait(now);
            }
        }
    }

    /// Nobody hears of an answer before the step has taken its whole time. Whoever looks for what everything waits for finds
    /// it sooner.
    fn tell_of_wait(&mut self, now: Instant) {
        let (Some(lasts), Some(error)) = (self.step_lasts(now), &self.last_error) else {
            return;
        };
        let is_quiet = self.wait_told.is_some_and(|told| now < told + QUIET);
        if lasts >= PATIENCE && !is_quiet {
            self.told.push(Told::Waits(error.clone(), lasts));
            self.wait_told = Some(now);
        }
    }

    fn step_lasts(&self, now: Instant) -> Option<Duration> {
        let left = self.deadline?.saturating_duration_since(now);
        Some(self.limits.step.saturating_sub(left))
    }

    /// One attempt: whoever has the id now ends it otherwise, or the coordinator does for its age.
    fn answered_in_parting(&mut self, step: &Step, ok: bool) {
        match step {
            Step::FindCoordinator => {
                self.coordinator_known = ok;
                self.parting &= ok;
            }
            Step::End { commit: false } => self.parting = false,
            _ => {}
        }
    }

    pub(super) fn step_over(&mut self) {
        self.deadline = None;
        self.wait_told = None;
        self.retry_at = None;
        self.attempts = 0;
        self.last_error = None;
    }

    fn done(&mut self, step: Step, reply: Reply) {
        match step {
            Step::FindCoordinator => self.coordinator_known = true,
            Step::Init(_) => {
                if let Reply::Producer(producer, protocol) = reply {
                    self.producer = Some(producer);
                    self.protocol = protocol;
                    self.phase = Phase::Ready;
                    self.begin_if_ready();
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
                self.told.push(Told::Offsets(number, Ok(())));
            }
            Step::End { commit } => {
                let next = match reply {
                    Reply::Next(producer) => Some(producer),
                    _ => None,
                };
                self.ended(commit, Ok(()));
                match next {
                    Some(producer) => self.producer = Some(producer),
                    // What was sent last may still arrive, under the epoch that the next one would have.
                    None if !commit => self.phase = Phase::Starting,
                    None => {}
                }
            }
            Step::Wait(_) | Step::Idle => {}
        }
    }

    pub(super) fn ended(&mut self, commit: bool, result: Result<(), Trouble>) {
        self.phase = match (&result, commit) {
            // The coordinator says that there was none: its epoch may be any.
            (Err(_), _) if self.opened.is_some() => Phase::Starting,
            _ => Phase::Ready,
        };
        self.step_over();
        self.inside.clear();
        self.wanted.clear();
        self.refused = false;
        self.opened = None;
        self.held_until = None;
        self.told.push(Told::Ended(result));
    }

    fn refused(&mut self, step: Step, code: ErrorCode, now: Instant) {
        if self.is_expired(code, now) {
            return self.fail(Trouble::Expired);
        }
        if code.is_fatal_for_transactions() {
            return self.fail(Trouble::Fatal(code));
        }
        if code.is_coordinator_in_doubt() {
            self.coordinator_known = false;
            self.retry_at = Some(now + self.limits.backoff);
            return;
        }
        let is_unknown = code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            && matches!(step, Step::CommitOffsets(_))
            && self
                .step_lasts(now)
                .is_some_and(|lasts| lasts >= UNKNOWN_LIMIT);
        if code.is_retriable() && !is_unknown {
            // The transaction before is still being ended, or the coordinator has just moved.
            let wait = FIRST_WAIT * (1 << self.attempts.min(10));
            self.attempts += 1;
            self.retry_at = Some(now + wait.min(self.limits.backoff));
            return;
        }
        self.step_over();
        match step {
            // Without a producer id there is nothing to abort.
            Step::FindCoordinator | Step::Init(_) => self.fail(Trouble::Fatal(code)),
            Step::CommitOffsets(number) => {
                self.offsets.retain(|other| *other != number);
                let why = Trouble::Abortable(code);
                self.told.push(Told::Offsets(number, Err(why.clone())));
                self.spoil(why);
            }
            // Nothing of it has reached the coordinator.
            Step::End { commit } if code == ErrorCode::INVALID_TXN_STATE => {
                self.ended(commit, Err(Trouble::Abortable(code)));
            }
            Step::End { commit: false } => {
                self.fail(Trouble::Fatal(code));
                self.parting = false;
            }
            _ => self.spoil(Trouble::Abortable(code)),
        }
    }

    /// From when on the coordinator may have aborted what is open, for its age.
    pub(in crate::txn) fn expires_at(&self) -> Option<Instant> {
        self.opened.map(|opened| opened + self.limits.transaction)
    }

    pub(super) fn is_expired(&self, code: ErrorCode, now: Instant) -> bool {
        trouble::may_mean_expiry(code) && self.expires_at().is_some_and(|at| now >= at)
    }

    pub(super) fn give_up(&mut self, why: Trouble) {
        self.step_over();
        match self.phase {
            Phase::Open => self.spoil(why),
            Phase::Over(_) => self.parting = false,
            // Nobody knows whether it is committed: the next producer id ends it.
            _ => self.fail(why),
        }
    }

    /// The transaction can only be aborted.
    pub(super) fn spoil(&mut self, why: Trouble) {
        if self.resumes.is_some() {
            // There is nothing yet that could be aborted.
            return self.fail(why);
        }
        let tells = match self.phase {
            Phase::Open => Told::Failed(why.clone()),
            Phase::Ending { commit: true } => Told::Ended(Err(why.clone())),
            _ => return,
        };
        self.phase = Phase::Spoiled(why.clone());
        self.wanted.clear();
        self.drop_offsets(&why);
        self.told.push(tells);
    }

    pub(super) fn drop_offsets(&mut self, why: &Trouble) {
        let dropped = self.offsets.drain(..);
        self.told
            .extend(dropped.map(|number| Told::Offsets(number, Err(why.clone()))));
    }

    /// Nothing follows.
    pub(super) fn fail(&mut self, why: Trouble) {
        if matches!(self.phase, Phase::Over(_)) {
            return;
        }
        let ending = self.is_ending() || matches!(self.resumes, Some(Phase::Ending { .. }));
        // A partition's broker may take a producer for fenced that its coordinator knows as the newest (KIP-588). What it
        // leaves open would hold up readers, and members of its group, until it is too old. Of another's transaction
        // the coordinator aborts nothing: the epoch is another.
        self.parting =
            self.opened.is_some() && matches!(why, Trouble::Fatal(_) | Trouble::Unsupported(_));
        self.phase = Phase::Over(why.clone());
        self.step_over();
        self.begins = false;
        self.wanted.clear();
        self.drop_offsets(&why);
        self.told.push(match ending {
            true => Told::Ended(Err(why)),
            false => Told::Failed(why),
        });
    }
}
