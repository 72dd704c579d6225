//! JoinGroup: who may come in, under which id, and what those hear who are there already.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::member::{millis, protocols, Member};
use super::sync::failed_sync;
use super::{Classic, State};
use crate::call::Millis;
use crate::group::Asker;

/// The first version that gives a new member its id before it joins (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// The first version whose leader can be told that the assignment stands (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

impl Classic {
    /// JoinGroup. `new_id` is the id of a member that has none yet.
    pub(in crate::group) fn join(
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
}

pub(super) fn failed_join(code: ErrorCode, member_id: StrBytes) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code.0)
        .with_generation_id(-1)
        .with_protocol_name(Some(StrBytes::new()))
        .with_member_id(member_id)
}
