//! One group of the classic protocol, as its coordinator sees it: members join, the group comes to rest,
//! one of them shares out the work, and all of them say that they live. Pure: time comes in as `now`, and
//! whoever is answered later stands in [`Classic::answers`].

mod join;
mod member;
mod rebalance;
mod sync;

use std::collections::BTreeMap;

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::protocol::StrBytes;

use super::{Answer, Ticket};
use crate::call::Millis;
use join::failed_join;
use sync::failed_sync;

pub(super) use member::Member;

/// What `DescribeGroups` calls the states of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No members.
    Empty,
    /// Waits until all members have joined, or until then.
    PreparingRebalance(Millis),
    /// Waits for the leader's assignment, and for members to ask for theirs until then.
    CompletingRebalance(Millis),
    /// All members can have their assignments.
    Stable,
}

impl State {
    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance(_) => "PreparingRebalance",
            State::CompletingRebalance(_) => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// A group of the classic protocol.
#[derive(Debug)]
pub(super) struct Classic {
    /// What it waits for.
    pub(super) state: State,
    /// Count of rebalances.
    pub(super) generation: i32,
    /// What its members say that it is; `consumer` for consumers.
    pub(super) protocol_type: Option<StrBytes>,
    /// Chosen among those that all members know.
    pub(super) protocol: Option<StrBytes>,
    /// Who shares out the work.
    pub(super) leader: Option<StrBytes>,
    /// By member id.
    pub(super) members: BTreeMap<StrBytes, Member>,
    /// Member ids by instance id.
    static_members: BTreeMap<StrBytes, StrBytes>,
    /// Ids that were handed out and have not joined yet, and when they are forgotten.
    pending: BTreeMap<StrBytes, Millis>,
    /// How long a new group waits for more members.
    initial_delay: Millis,
    /// The rebalance that is under way began with no members.
    initial: bool,
    /// What is to be sent now; whoever drives the group takes it.
    pub(super) answers: Vec<(Ticket, Answer)>,
}

impl Classic {
    /// An empty group. `initial_delay` is Kafka's `group.initial.rebalance.delay.ms`.
    pub(super) fn new(initial_delay: Millis) -> Classic {
        Classic {
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            initial_delay,
            initial: false,
            answers: Vec::new(),
        }
    }

    /// Nobody is in it, and nobody is about to come.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// When [`Classic::expire`] has something to do next.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let state = match self.state {
            State::PreparingRebalance(at) | State::CompletingRebalance(at) => Some(at),
            State::Empty | State::Stable => None,
        };
        let sessions = self.members.values().filter_map(|member| {
            (member.joining.is_none() && member.syncing.is_none()).then_some(member.expires)
        });
        let pending = self.pending.values().copied();
        state.into_iter().chain(sessions).chain(pending).min()
    }

    /// Members whose sessions have run out go, and a rebalance does not wait for ever.
    pub(super) fn expire(&mut self, now: Millis) {
        let pending = self.pending.len();
        self.pending.retain(|_, at| *at > now);
        let gone = self.members.iter().filter(|(_, m)| m.is_expired(now));
        let gone: Vec<_> = gone.map(|(id, _)| id.clone()).collect();
        for id in &gone {
            self.remove(id, now);
        }
        match self.state {
            State::PreparingRebalance(at) if at <= now => self.complete_join(now),
            State::PreparingRebalance(_) if pending != self.pending.len() => {
                self.complete_join_if_all(now);
            }
            State::CompletingRebalance(at) if at <= now => self.drop_unsynced(now),
            _ => {}
        }
    }

    /// Heartbeat.
    pub(super) fn heartbeat(
        &mut self,
        id: &StrBytes,
        instance: Option<&StrBytes>,
        generation: i32,
        now: Millis,
    ) -> ErrorCode {
        if let Err(code) = self.check_member(id, instance) {
            return code;
        }
        if generation != self.generation {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        if let Some(member) = self.members.get_mut(id) {
            member.touch(now);
        }
        match self.state {
            State::Empty => ErrorCode::UNKNOWN_MEMBER_ID,
            State::PreparingRebalance(_) => ErrorCode::REBALANCE_IN_PROGRESS,
            State::CompletingRebalance(_) | State::Stable => ErrorCode::NO_ERROR,
        }
    }

    /// One member of a LeaveGroup.
    pub(super) fn leave(&mut self, who: &MemberIdentity, now: Millis) -> ErrorCode {
        if self.pending.remove(&who.member_id).is_some() {
            self.complete_join_if_all(now);
            return ErrorCode::NO_ERROR;
        }
        let id = match &who.group_instance_id {
            // An administrator removes a static member without knowing its id.
            Some(instance) if who.member_id.is_empty() => {
                self.static_members.get(instance).cloned()
            }
            instance => {
                if let Err(code) = self.check_member(&who.member_id, instance.as_ref()) {
                    return code;
                }
                Some(who.member_id.clone())
            }
        };
        match id {
            Some(id) => {
                self.remove(&id, now);
                ErrorCode::NO_ERROR
            }
            None => ErrorCode::UNKNOWN_MEMBER_ID,
        }
    }

    /// Whether a member may commit offsets now. Who is in no group commits with generation -1 and no id.
    pub(super) fn check_commit(
        &mut self,
        id: &StrBytes,
        instance: Option<&StrBytes>,
        generation: i32,
        transactional: bool,
        now: Millis,
    ) -> Result<(), ErrorCode> {
        let anonymous = generation < 0 && id.is_empty() && instance.is_none();
        if anonymous && (self.members.is_empty() || transactional) {
            return Ok(());
        }
        if generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check_member(id, instance)?;
        if generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        if let Some(member) = self.members.get_mut(id) {
            member.touch(now);
        }
        match self.state {
            State::CompletingRebalance(_) if !transactional => {
                Err(ErrorCode::REBALANCE_IN_PROGRESS)
            }
            _ => Ok(()),
        }
    }

    fn check_member(&self, id: &StrBytes, instance: Option<&StrBytes>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(known) if known != id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        match self.members.contains_key(id) {
            true => Ok(()),
            false => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn remove(&mut self, id: &StrBytes, now: Millis) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        if let Some(instance) = &member.instance_id {
            self.static_members.remove(instance);
        }
        if let Some(ticket) = member.joining {
            let response = failed_join(ErrorCode::UNKNOWN_MEMBER_ID, id.clone());
            self.answer(ticket, response);
        }
        if let Some(ticket) = member.syncing {
            self.answer(ticket, failed_sync(ErrorCode::UNKNOWN_MEMBER_ID));
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = None;
        }
        self.rebalance(now);
    }

    fn answer(&mut self, ticket: Ticket, answer: impl Into<Answer>) {
        self.answers.push((ticket, answer.into()));
    }
}
