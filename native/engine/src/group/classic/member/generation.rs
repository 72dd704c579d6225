//! How a generation lives and ends: heartbeats, and what their errors and those of commits say.

use std::time::Instant;

use super::{Action, Member, Phase, FENCED_DELAY, HEARTBEAT};
use crate::cluster::NodeId;
use crate::error::Error;
use crate::group::classic::actions::{Heartbeat, Request};
use crate::group::trouble::{trouble, Trouble};
use crate::group::{DownReason, Event, RevokeReason};
use brod_protocol::error::ErrorCode;

impl Member {
    pub(super) fn heartbeat_answer(
        &mut self,
        sent: &Heartbeat,
        result: Result<(), Error>,
        now: Instant,
    ) {
        self.heartbeat_in_flight = false;
        let rebalance = matches!(&result, Err(error)
            if error.code() == Some(ErrorCode::REBALANCE_IN_PROGRESS));
        if self.generation_id() == Some(sent.generation) && (result.is_ok() || rebalance) {
            self.alive = sent.sent;
            self.backoff.reset();
        }
        if let Err(error) = result {
            self.generation_trouble(sent.node, sent.generation, &error, now);
        }
        self.step(now);
    }

    /// What a heartbeat's or a commit's error says of the generation and the coordinator.
    pub(super) fn generation_trouble(
        &mut self,
        node: NodeId,
        generation: i32,
        error: &Error,
        now: Instant,
    ) {
        let present = self.generation_id() == Some(generation);
        match error.code() {
            Some(ErrorCode::REBALANCE_IN_PROGRESS) => {
                if present {
                    self.rebalance();
                }
                return;
            }
            Some(code) if code.is_membership_lost() => {
                if present {
                    self.lose(RevokeReason::Lost(code), now);
                }
                return;
            }
            _ => {}
        }
        match trouble(error) {
            // Without its client a member finds no other coordinator.
            Trouble::Elsewhere if self.told_down => {
                self.next_heartbeat = now + self.backoff.next_wait()
            }
            Trouble::Elsewhere => {
                if self.coordinator.as_ref().is_some_and(|c| c.node == node) {
                    self.coordinator = None;
                    self.wait(now);
                }
            }
            Trouble::Busy => self.next_heartbeat = now + self.backoff.next_wait(),
            // A heartbeat that is refused again and again ends with the session timeout.
            Trouble::Closed | Trouble::Refused => {}
        }
    }

    fn rebalance(&mut self) {
        match self.phase {
            Phase::Stable => self.revoke(RevokeReason::Rebalance),
            Phase::Counting | Phase::AwaitingOwner | Phase::FetchingOffsets(_) => self.rejoin(),
            _ => {}
        }
    }

    pub(super) fn lose(&mut self, why: RevokeReason, now: Instant) {
        let fenced = why == RevokeReason::Lost(ErrorCode::FENCED_INSTANCE_ID);
        match why {
            RevokeReason::Lost(ErrorCode::FENCED_INSTANCE_ID) => {
                self.member_id.clear();
                self.hold_off(now + FENCED_DELAY);
            }
            RevokeReason::Lost(ErrorCode::UNKNOWN_MEMBER_ID) => self.member_id.clear(),
            _ => {}
        }
        match self.phase {
            Phase::Stable => {
                self.revoke(why);
                self.end_generation(Phase::Idle);
            }
            Phase::Revoking => {
                // Said once more: an owner that is not to take the place back must not answer with a join.
                if fenced {
                    self.tell(Event::Revoke(why));
                }
                self.end_generation(Phase::Idle);
            }
            _ if fenced => {
                self.rejoin();
                self.join_failed(ErrorCode::FENCED_INSTANCE_ID.into(), now);
            }
            _ => self.rejoin(),
        }
    }

    pub(super) fn revoke(&mut self, why: RevokeReason) {
        self.phase = Phase::Revoking;
        self.tell(Event::Revoke(why));
    }

    pub(super) fn rejoin(&mut self) {
        self.end_generation(Phase::Joining);
    }

    fn end_generation(&mut self, next: Phase) {
        self.generation = None;
        self.phase = next;
        // What blocks the connection must be answered before the next join can go out on it.
        self.in_flight.take_if(|request| !request.held);
    }

    pub(super) fn go_down(&mut self, reason: DownReason) {
        self.end_generation(Phase::Down);
        self.tell_down(reason);
    }

    pub(super) fn tell_down(&mut self, reason: DownReason) {
        self.tell(Event::Down(reason));
        self.told_down = true;
    }

    /// Whether the generation lives by heartbeats; not so while the broker holds a request.
    pub(super) fn beats(&self) -> bool {
        self.generation.is_some() && !matches!(self.phase, Phase::Syncing(_))
    }

    pub(super) fn expiry(&self) -> Instant {
        self.alive + self.config.session_timeout
    }

    pub(super) fn send_heartbeat(&mut self, now: Instant) {
        let due = self.beats() && !self.heartbeat_in_flight && now >= self.next_heartbeat;
        let (Some(coordinator), Some(generation)) = (&self.coordinator, self.generation_id())
        else {
            return;
        };
        if !due {
            return;
        }
        let heartbeat = Heartbeat {
            node: coordinator.node,
            generation,
            member_id: self.member_id.clone(),
            sent: now,
        };
        self.heartbeat_in_flight = true;
        self.next_heartbeat = now + self.config.heartbeat_interval;
        self.actions
            .push(Action::Send(HEARTBEAT, Request::Heartbeat(heartbeat)));
    }
}
