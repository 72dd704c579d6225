//! The coordinators of groups: members of the classic protocol and of KIP-848, and the offsets that groups
//! commit. Pure: events come in with the time, answers go out, and [`Groups::deadline`] says when
//! [`Groups::expire`] wants to be called. Which broker coordinates a group is the cluster's affair.

mod admin;
mod assignors;
mod classic;
mod consumer;
mod offsets;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::call::Millis;
use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    ResponseKind, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use classic::Classic;
use consumer::Consumer;
use offsets::Offsets;

/// Names a request that is answered later.
pub(crate) type Ticket = u64;

/// What is answered later.
pub(crate) type Answer = ResponseKind;

/// The first version of LeaveGroup that names several members.
const LEAVES_MANY_FROM: i16 = 3;

/// Who asks, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asker {
    /// The answer is given under this name.
    pub(crate) ticket: Ticket,
    /// Version of the request.
    pub(crate) version: i16,
    /// How the client calls itself.
    pub(crate) client_id: StrBytes,
    /// Where it comes from.
    pub(crate) client_host: StrBytes,
}

impl Asker {
    /// JoinGroup's protocol name in a failure: null where it may be.
    fn no_protocol(&self) -> Option<StrBytes> {
        (self.version < 7).then(StrBytes::new)
    }
}

/// What coordinators must know of topics.
pub(crate) trait Topics {
    /// How many partitions a topic has; `None` where there is no such topic.
    fn partitions(&self, topic: &str) -> Option<i32>;
    /// Its id.
    fn id(&self, topic: &str) -> Option<Uuid>;
    /// Names of all topics, in order.
    fn names(&self) -> Vec<String>;
}

/// What brokers are told in `server.properties`.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// `group.initial.rebalance.delay.ms`
    pub(crate) initial_delay: Millis,
    /// `group.min.session.timeout.ms`
    pub(crate) min_session_timeout: Millis,
    /// `group.max.session.timeout.ms`
    pub(crate) max_session_timeout: Millis,
    /// `group.consumer.session.timeout.ms`
    pub(crate) consumer_session_timeout: Millis,
    /// `group.consumer.heartbeat.interval.ms`
    pub(crate) consumer_heartbeat_interval: Millis,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            initial_delay: 0,
            min_session_timeout: 100,
            max_session_timeout: 1_800_000,
            consumer_session_timeout: 45_000,
            consumer_heartbeat_interval: 5_000,
        }
    }
}

#[derive(Debug)]
enum Members {
    Classic(Classic),
    Consumer(Consumer),
}

#[derive(Debug)]
struct Group {
    members: Members,
    offsets: Offsets,
}

impl Group {
    fn is_empty(&self) -> bool {
        match &self.members {
            Members::Classic(classic) => classic.members.is_empty(),
            Members::Consumer(consumer) => consumer.members.is_empty(),
        }
    }
}

/// All groups of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<GroupId, Group>,
    config: Config,
    named: u64,
    answers: Vec<(Ticket, Answer)>,
}

impl Groups {
    /// Answers to requests that were waiting, and to those just made.
    pub(crate) fn take_answers(&mut self) -> Vec<(Ticket, Answer)> {
        for group in self.groups.values_mut() {
            if let Members::Classic(classic) = &mut group.members {
                self.answers.append(&mut classic.answers);
            }
        }
        std::mem::take(&mut self.answers)
    }

    /// When [`Groups::expire`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let all = self.groups.values();
        all.filter_map(|group| match &group.members {
            Members::Classic(classic) => classic.deadline(),
            Members::Consumer(consumer) => consumer.deadline(),
        })
        .min()
    }

    /// Sessions and rebalances that have taken too long end.
    pub(crate) fn expire(&mut self, now: Millis, topics: &dyn Topics) {
        for group in self.groups.values_mut() {
            match &mut group.members {
                Members::Classic(classic) => classic.expire(now),
                Members::Consumer(consumer) => consumer.expire(now, topics),
            }
        }
    }

    /// State, generation and members of a group, for tests that wait until it is stable.
    pub(crate) fn look(&self, group: &str) -> Option<(&'static str, i32, usize)> {
        let id = GroupId(StrBytes::from_string(group.to_owned()));
        let group = self.groups.get(&id)?;
        Some(match &group.members {
            Members::Classic(c) => (c.state.name(), c.generation, c.members.len()),
            Members::Consumer(c) => (c.state_name(), c.epoch, c.members.len()),
        })
    }

    /// JoinGroup; answered under the asker's ticket.
    pub(crate) fn join(&mut self, asker: Asker, request: &JoinGroupRequest, now: Millis) {
        if let Err(code) = self.try_join(&asker, request, now) {
            let response = JoinGroupResponse::default()
                .with_error_code(code.0)
                .with_generation_id(-1)
                .with_protocol_name(asker.no_protocol())
                .with_member_id(request.member_id.clone());
            self.answers.push((asker.ticket, response.into()));
        }
    }

    fn try_join(
        &mut self,
        asker: &Asker,
        request: &JoinGroupRequest,
        now: Millis,
    ) -> Result<(), ErrorCode> {
        check_id(&request.group_id)?;
        let timeout = Millis::from(request.session_timeout_ms);
        if timeout < self.config.min_session_timeout || timeout > self.config.max_session_timeout {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        if !request.member_id.is_empty() && !self.groups.contains_key(&request.group_id) {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        let base = request
            .group_instance_id
            .as_ref()
            .unwrap_or(&asker.client_id);
        let new_id = self.new_member_id(&base.clone());
        let classic = self.classic_or_new(&request.group_id)?;
        classic.join(asker.clone(), request, new_id, now);
        Ok(())
    }

    fn new_member_id(&mut self, base: &str) -> StrBytes {
        self.named += 1;
        // In the form of Kafka's: the client's name and a UUID.
        let unique = Uuid::from_u128(0x6d6f_636b_u128 << 96 | 4 << 76 | u128::from(self.named));
        StrBytes::from_string(format!("{base}-{unique}"))
    }

    /// A group without members may change its protocol.
    fn classic_or_new(&mut self, id: &GroupId) -> Result<&mut Classic, ErrorCode> {
        let delay = self.config.initial_delay;
        let group = self.groups.entry(id.clone()).or_insert_with(|| Group {
            members: Members::Classic(Classic::new(delay)),
            offsets: Offsets::default(),
        });
        if matches!(&group.members, Members::Consumer(c) if c.members.is_empty()) {
            group.members = Members::Classic(Classic::new(delay));
        }
        match &mut group.members {
            Members::Classic(classic) => Ok(classic),
            Members::Consumer(_) => Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        }
    }

    fn classic(&mut self, id: &GroupId) -> Result<&mut Classic, ErrorCode> {
        check_id(id)?;
        match self.groups.get_mut(id).map(|group| &mut group.members) {
            Some(Members::Classic(classic)) => Ok(classic),
            _ => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    /// SyncGroup; answered under the ticket.
    pub(crate) fn sync(&mut self, ticket: Ticket, request: &SyncGroupRequest, now: Millis) {
        match self.classic(&request.group_id) {
            Ok(classic) => classic.sync(ticket, request, now),
            Err(code) => {
                let response = SyncGroupResponse::default().with_error_code(code.0);
                self.answers.push((ticket, response.into()));
            }
        }
    }

    /// Heartbeat.
    pub(crate) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        now: Millis,
    ) -> HeartbeatResponse {
        let instance = request.group_instance_id.as_ref();
        let code = match self.classic(&request.group_id) {
            Ok(classic) => {
                classic.heartbeat(&request.member_id, instance, request.generation_id, now)
            }
            Err(code) => code,
        };
        HeartbeatResponse::default().with_error_code(code.0)
    }

    /// LeaveGroup.
    pub(crate) fn leave(
        &mut self,
        version: i16,
        request: &LeaveGroupRequest,
        now: Millis,
    ) -> LeaveGroupResponse {
        let mut response = LeaveGroupResponse::default();
        let classic = match self.classic(&request.group_id) {
            Ok(classic) => classic,
            Err(code) => return response.with_error_code(code.0),
        };
        if version < LEAVES_MANY_FROM {
            let who = MemberIdentity::default().with_member_id(request.member_id.clone());
            return response.with_error_code(classic.leave(&who, now).0);
        }
        for who in &request.members {
            let code = classic.leave(who, now);
            let left = MemberResponse::default()
                .with_member_id(who.member_id.clone())
                .with_group_instance_id(who.group_instance_id.clone())
                .with_error_code(code.0);
            response.members.push(left);
        }
        response
    }

    /// ConsumerGroupHeartbeat (KIP-848).
    pub(crate) fn consumer_heartbeat(
        &mut self,
        asker: &Asker,
        request: &ConsumerGroupHeartbeatRequest,
        topics: &dyn Topics,
        now: Millis,
    ) -> ConsumerGroupHeartbeatResponse {
        self.try_consumer_heartbeat(asker, request, topics, now)
            .unwrap_or_else(|code| {
                ConsumerGroupHeartbeatResponse::default().with_error_code(code.0)
            })
    }

    fn try_consumer_heartbeat(
        &mut self,
        asker: &Asker,
        request: &ConsumerGroupHeartbeatRequest,
        topics: &dyn Topics,
        now: Millis,
    ) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
        check_id(&request.group_id)?;
        let new_id = match request.member_id.is_empty() {
            true => self.new_member_id(&asker.client_id),
            false => request.member_id.clone(),
        };
        let joins = request.member_epoch == 0;
        if joins {
            let config = &self.config;
            let new = || Members::Consumer(Consumer::new(config.clone()));
            let group = self.groups.entry(request.group_id.clone());
            let group = group.or_insert_with(|| Group {
                members: new(),
                offsets: Offsets::default(),
            });
            if matches!(&group.members, Members::Classic(c) if c.is_empty()) {
                group.members = new();
            }
        }
        match self
            .groups
            .get_mut(&request.group_id)
            .map(|g| &mut g.members)
        {
            Some(Members::Consumer(consumer)) => {
                consumer.heartbeat(asker, request, new_id, topics, now)
            }
            // Moving live members over from the classic protocol is not done here.
            Some(Members::Classic(_)) if joins => Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
            _ => Err(ErrorCode::GROUP_ID_NOT_FOUND),
        }
    }
}

fn check_id(id: &GroupId) -> Result<(), ErrorCode> {
    match id.is_empty() {
        true => Err(ErrorCode::INVALID_GROUP_ID),
        false => Ok(()),
    }
}
