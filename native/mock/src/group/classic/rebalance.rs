//! A rebalance: from the first member that has to join again to the next generation.

use std::collections::BTreeMap;

use brod_protocol::error::ErrorCode;
use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::JoinGroupResponse;
use kafka_protocol::protocol::StrBytes;

use super::sync::failed_sync;
use super::{Classic, State};
use crate::call::Millis;

impl Classic {
    /// Asks all members to join again, unless that is under way.
    pub(super) fn rebalance(&mut self, now: Millis) {
        let preparing = matches!(self.state, State::PreparingRebalance(_));
        self.initial = self.state == State::Empty || (self.initial && preparing);
        match self.state {
            State::PreparingRebalance(_) => {}
            State::Empty => self.state = State::PreparingRebalance(now + self.initial_delay),
            State::CompletingRebalance(_) | State::Stable => {
                for member in self.members.values_mut() {
                    member.assignment = Bytes::new();
                    if let Some(ticket) = member.syncing.take() {
                        member.touch(now);
                        let response = failed_sync(ErrorCode::REBALANCE_IN_PROGRESS);
                        self.answers.push((ticket, response.into()));
                    }
                }
                self.state = State::PreparingRebalance(now + self.rebalance_timeout());
            }
        }
        self.complete_join_if_all(now);
    }

    fn rebalance_timeout(&self) -> Millis {
        let timeouts = self.members.values().map(|m| m.rebalance_timeout);
        timeouts.max().unwrap_or_default()
    }

    pub(super) fn complete_join_if_all(&mut self, now: Millis) {
        let State::PreparingRebalance(at) = self.state else {
            return;
        };
        // A new group waits for others, for the delay that it was told.
        let waits = self.initial && at > now;
        let all = self.members.values().all(|member| member.joining.is_some());
        if all && self.pending.is_empty() && !waits {
            self.complete_join(now);
        }
    }

    /// The next generation is there, of those that have joined.
    pub(super) fn complete_join(&mut self, now: Millis) {
        self.members
            .retain(|_, member| member.joining.is_some() || member.instance_id.is_some());
        let members = &self.members;
        self.static_members.retain(|_, id| members.contains_key(id));
        let joined = |id: &StrBytes| self.members.get(id).is_some_and(|m| m.joining.is_some());
        if !self.members.is_empty() && !self.members.values().any(|m| m.joining.is_some()) {
            // Only static members that are away: they have until their sessions end.
            self.state = State::PreparingRebalance(now + self.rebalance_timeout());
            return;
        }
        self.generation += 1;
        if self.members.is_empty() {
            self.state = State::Empty;
            self.protocol = None;
            self.leader = None;
            return;
        }
        if !self.leader.as_ref().is_some_and(joined) {
            self.leader = self.members.keys().find(|id| joined(id)).cloned();
        }
        self.protocol = self.choose_protocol();
        self.state = State::CompletingRebalance(now + self.rebalance_timeout());
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let leads = self.leader.as_ref() == Some(&id);
            let response = self.joined(&id, leads);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            member.synced = false;
            member.assignment = Bytes::new();
            if let Some(ticket) = member.joining.take() {
                member.touch(now);
                self.answer(ticket, response);
            }
        }
    }

    /// Each member votes for the first of its protocols that all know.
    fn choose_protocol(&self) -> Option<StrBytes> {
        let known = |name: &StrBytes| {
            let mut all = self.members.values();
            all.all(|m| m.protocols.iter().any(|(other, _)| other == name))
        };
        let mut votes: BTreeMap<&StrBytes, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| known(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(name, _)| name.clone())
    }

    /// The answer to a member that is in the current generation.
    pub(super) fn joined(&self, id: &StrBytes, with_members: bool) -> JoinGroupResponse {
        let protocol = self.protocol.clone().unwrap_or_default();
        let mut response = JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.clone())
            .with_protocol_name(Some(protocol.clone()))
            .with_leader(self.leader.clone().unwrap_or_default())
            .with_member_id(id.clone());
        if with_members {
            let all = self.members.iter().map(|(id, member)| {
                JoinGroupResponseMember::default()
                    .with_member_id(id.clone())
                    .with_group_instance_id(member.instance_id.clone())
                    .with_metadata(member.metadata(&protocol))
            });
            response.members = all.collect();
        }
        response
    }

    /// Members that joined and then were silent for a rebalance timeout go.
    pub(super) fn drop_unsynced(&mut self, now: Millis) {
        let silent = self.members.iter().filter(|(_, member)| !member.synced);
        let silent: Vec<_> = silent.map(|(id, _)| id.clone()).collect();
        for id in &silent {
            self.remove(id, now);
        }
    }
}
