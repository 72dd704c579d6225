//! One group of the classic protocol, as its coordinator sees it: members join, the group comes to rest,
//! one of them shares out the work, and all of them say that they live. Pure: time comes in as `now`, and
//! whoever is answered later stands in [`Classic::answers`].

use std::collections::BTreeMap;

use crate::call::Millis;
use brod_protocol::error::ErrorCode;
use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Answer, Asker, Ticket};

/// The first version that gives a new member its id before it joins (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// The first version whose leader can be told that the assignment stands (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

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

/// A member that has joined once.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Set by the user for a static member (KIP-345).
    pub(super) instance_id: Option<StrBytes>,
    /// How its client calls itself.
    pub(super) client_id: StrBytes,
    /// Where it comes from.
    pub(super) client_host: StrBytes,
    /// Protocols that it knows, the best first, each with what it tells the leader.
    pub(super) protocols: Vec<(StrBytes, Bytes)>,
    /// What the leader gave it.
    pub(super) assignment: Bytes,
    session_timeout: Millis,
    rebalance_timeout: Millis,
    expires: Millis,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    synced: bool,
}

impl Member {
    /// What it tells the leader of `protocol`.
    pub(super) fn metadata(&self, protocol: &StrBytes) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    fn touch(&mut self, now: Millis) {
        self.expires = now + self.session_timeout;
    }

    /// Whoever waits for an answer is alive.
    fn is_expired(&self, now: Millis) -> bool {
        self.joining.is_none() && self.syncing.is_none() && self.expires <= now
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

    /// JoinGroup. `new_id` is the id of a member that has none yet.
    pub(super) fn join(
        &mut self,
        asker: Asker,
        request: &JoinGroupRequest,
        new_id: StrBytes,
        now: Millis,
    ) {
        if let Err(code) = self.try_join(&asker, request, new_id, now) {
            let response = JoinGroupResponse::default()
                .with_error_code(code.0)
                .with_generation_id(-1)
                .with_protocol_name(asker.no_protocol())
                .with_member_id(request.member_id.clone());
            self.answer(asker.ticket, response);
        }
    }

    fn try_join(
        &mut self,
        asker: &Asker,
        request: &JoinGroupRequest,
        new_id: StrBytes,
        now: Millis,
    ) -> Result<(), ErrorCode> {
        self.check_protocols(request)?;
        let id = &request.member_id;
        match &request.group_instance_id {
            Some(instance) => {
                let known = self.static_members.get(instance).cloned();
                match known {
                    Some(old) if id.is_empty() => {
                        self.replace_static(asker, request, &old, new_id, now);
                        return Ok(());
                    }
                    None if !id.is_empty() => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                    Some(known) if known != *id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                    Some(_) => {}
                    None => {
                        self.add(asker, request, new_id, now);
                        return Ok(());
                    }
                }
            }
            None if id.is_empty() && asker.version >= MEMBER_ID_REQUIRED_FROM => {
                let until = now + millis(request.session_timeout_ms);
                self.pending.insert(new_id.clone(), until);
                let response = JoinGroupResponse::default()
                    .with_error_code(ErrorCode::MEMBER_ID_REQUIRED.0)
                    .with_generation_id(-1)
                    .with_protocol_name(asker.no_protocol())
                    .with_member_id(new_id);
                self.answer(asker.ticket, response);
                return Ok(());
            }
            None if id.is_empty() => {
                self.add(asker, request, new_id, now);
                return Ok(());
            }
            None => {}
        }
        if self.pending.remove(id).is_some() {
            self.add(asker, request, id.clone(), now);
            return Ok(());
        }
        self.join_again(asker, request, now)
    }

    /// A member that the group knows joins once more.
    fn join_again(
        &mut self,
        asker: &Asker,
        request: &JoinGroupRequest,
        now: Millis,
    ) -> Result<(), ErrorCode> {
        let id = &request.member_id;
        let leads = self.leader.as_ref() == Some(id);
        let state = self.state;
        let member = self.members.get_mut(id);
        let member = member.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let same = member.protocols == protocols(request);
        let repeats = match state {
            State::CompletingRebalance(_) => same,
            State::Stable => same && !leads,
            State::PreparingRebalance(_) => false,
            State::Empty => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
        };
        if repeats {
            // Its last answer was lost: it is told the same again.
            member.touch(now);
            let response = self.joined(id, leads);
            self.answer(asker.ticket, response);
            return Ok(());
        }
        member.update(request);
        self.wait_for_join(asker, id.clone());
        self.rebalance(now);
        Ok(())
    }

    /// Sets the member waiting; its earlier request, which its client has given up, is answered too.
    fn wait_for_join(&mut self, asker: &Asker, id: StrBytes) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if let Some(before) = member.joining.replace(asker.ticket) {
            let response = failed_join(ErrorCode::UNKNOWN_MEMBER_ID, id);
            self.answer(before, response);
        }
    }

    fn check_protocols(&self, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        let inconsistent = Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        if request.protocols.is_empty() || request.protocol_type.is_empty() {
            return inconsistent;
        }
        if self.members.is_empty() {
            return Ok(());
        }
        if self.protocol_type.as_ref() != Some(&request.protocol_type) {
            return inconsistent;
        }
        let others = self.members.iter().filter(|(id, member)| {
            **id != request.member_id
                && (request.group_instance_id.is_none()
                    || member.instance_id != request.group_instance_id)
        });
        let others: Vec<_> = others.collect();
        let all_know = |name: &StrBytes| {
            let mut all = others.iter();
            all.all(|(_, member)| member.protocols.iter().any(|(known, _)| known == name))
        };
        match request.protocols.iter().any(|p| all_know(&p.name)) {
            true => Ok(()),
            false => inconsistent,
        }
    }

    fn add(&mut self, asker: &Asker, request: &JoinGroupRequest, id: StrBytes, now: Millis) {
        if let Some(instance) = &request.group_instance_id {
            self.static_members.insert(instance.clone(), id.clone());
        }
        self.protocol_type = Some(request.protocol_type.clone());
        self.members
            .insert(id.clone(), Member::new(asker, request, now));
        self.leader.get_or_insert(id);
        self.rebalance(now);
    }

    /// A static member comes back without its id: it takes the place of its predecessor, which is fenced.
    fn replace_static(
        &mut self,
        asker: &Asker,
        request: &JoinGroupRequest,
        old: &StrBytes,
        new_id: StrBytes,
        now: Millis,
    ) {
        let Some(mut before) = self.members.remove(old) else {
            return;
        };
        if let Some(ticket) = before.joining.take() {
            let response = failed_join(ErrorCode::FENCED_INSTANCE_ID, old.clone());
            self.answer(ticket, response);
        }
        if let Some(ticket) = before.syncing.take() {
            self.answer(ticket, failed_sync(ErrorCode::FENCED_INSTANCE_ID));
        }
        let mut member = Member::new(asker, request, now);
        member.assignment = before.assignment.clone();
        let chosen = self.protocol.clone().unwrap_or_default();
        let same = before.metadata(&chosen) == member.metadata(&chosen);
        let led = self.leader.as_ref() == Some(old);
        if led {
            self.leader = Some(new_id.clone());
        }
        if let Some(instance) = &request.group_instance_id {
            self.static_members.insert(instance.clone(), new_id.clone());
        }
        if self.state != State::Stable || !same {
            self.members.insert(new_id, member);
            return self.rebalance(now);
        }
        member.joining = None;
        member.synced = true;
        self.members.insert(new_id.clone(), member);
        let skips = asker.version >= SKIP_ASSIGNMENT_FROM;
        let mut response = self.joined(&new_id, led && skips);
        response.skip_assignment = led && skips;
        if led && !skips {
            // An old client that hears of itself as the leader would share out anew.
            response.leader = old.clone();
        }
        self.answer(asker.ticket, response);
    }

    /// Asks all members to join again, unless that is under way.
    fn rebalance(&mut self, now: Millis) {
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

    fn complete_join_if_all(&mut self, now: Millis) {
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
    fn complete_join(&mut self, now: Millis) {
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
    fn joined(&self, id: &StrBytes, with_members: bool) -> JoinGroupResponse {
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

    /// SyncGroup.
    pub(super) fn sync(&mut self, ticket: Ticket, request: &SyncGroupRequest, now: Millis) {
        if let Err(code) = self.try_sync(ticket, request, now) {
            self.answer(ticket, failed_sync(code));
        }
    }

    fn try_sync(
        &mut self,
        ticket: Ticket,
        request: &SyncGroupRequest,
        now: Millis,
    ) -> Result<(), ErrorCode> {
        let id = &request.member_id;
        self.check_member(id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs =
            |told: &Option<StrBytes>, ours: &Option<StrBytes>| told.is_some() && told != ours;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let leads = self.leader.as_ref() == Some(id);
        let state = self.state;
        let member = self.members.get_mut(id);
        let member = member.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        member.touch(now);
        match state {
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance(_) => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Stable => {
                member.synced = true;
                self.answer_sync(ticket, id);
                Ok(())
            }
            State::CompletingRebalance(_) => {
                member.synced = true;
                if let Some(before) = member.syncing.replace(ticket) {
                    self.answer(before, failed_sync(ErrorCode::UNKNOWN_MEMBER_ID));
                }
                if leads {
                    self.share_out(request, now);
                }
                Ok(())
            }
        }
    }

    fn share_out(&mut self, request: &SyncGroupRequest, now: Millis) {
        for share in &request.assignments {
            if let Some(member) = self.members.get_mut(&share.member_id) {
                member.assignment = share.assignment.clone();
            }
        }
        self.state = State::Stable;
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if let Some(ticket) = member.syncing.take() {
                member.touch(now);
                self.answer_sync(ticket, &id);
            }
        }
    }

    fn answer_sync(&mut self, ticket: Ticket, id: &StrBytes) {
        let member = self.members.get(id);
        let response = SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.clone())
            .with_protocol_name(self.protocol.clone())
            .with_assignment(member.map(|m| m.assignment.clone()).unwrap_or_default());
        self.answer(ticket, response);
    }

    /// Members that joined and then were silent for a rebalance timeout go.
    fn drop_unsynced(&mut self, now: Millis) {
        let silent = self.members.iter().filter(|(_, member)| !member.synced);
        let silent: Vec<_> = silent.map(|(id, _)| id.clone()).collect();
        for id in &silent {
            self.remove(id, now);
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

impl Member {
    fn new(asker: &Asker, request: &JoinGroupRequest, now: Millis) -> Member {
        let mut member = Member {
            instance_id: request.group_instance_id.clone(),
            client_id: asker.client_id.clone(),
            client_host: asker.client_host.clone(),
            protocols: Vec::new(),
            assignment: Bytes::new(),
            session_timeout: 0,
            rebalance_timeout: 0,
            expires: now,
            joining: Some(asker.ticket),
            syncing: None,
            synced: false,
        };
        member.update(request);
        member.touch(now);
        member
    }

    fn update(&mut self, request: &JoinGroupRequest) {
        self.protocols = protocols(request);
        self.session_timeout = millis(request.session_timeout_ms);
        // Version 0 has no rebalance timeout: the session's stands for it.
        self.rebalance_timeout = match request.rebalance_timeout_ms {
            timeout if timeout > 0 => millis(timeout),
            _ => self.session_timeout,
        };
    }
}

fn protocols(request: &JoinGroupRequest) -> Vec<(StrBytes, Bytes)> {
    let all = request.protocols.iter();
    all.map(|p| (p.name.clone(), p.metadata.clone())).collect()
}

fn millis(timeout: i32) -> Millis {
    timeout.max(0).into()
}

fn failed_join(code: ErrorCode, member_id: StrBytes) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code.0)
        .with_generation_id(-1)
        .with_protocol_name(Some(StrBytes::new()))
        .with_member_id(member_id)
}

fn failed_sync(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code.0)
}
