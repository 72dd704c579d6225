//! SyncGroup: members get what the leader has shared out.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Classic, State};
use crate::call::Millis;
use crate::group::Ticket;

impl Classic {
    /// SyncGroup.
    pub(in crate::group) fn sync(
        &mut self,
        ticket: Ticket,
        request: &SyncGroupRequest,
        now: Millis,
    ) {
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
}

pub(super) fn failed_sync(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code.0)
}
