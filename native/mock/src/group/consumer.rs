//! A group of KIP-848: the coordinator shares out the partitions, and members come to what they should
//! have one heartbeat after the other, each giving up before another takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::call::Millis;
use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment as DescribedAssignment, DescribedGroup, Member as DescribedMember,
    TopicPartitions as DescribedPartitions,
};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::assignors::{range, uniform, Partitions, Wish};
use super::{Asker, Config, Topics};

const LEAVES: i32 = -1;
/// A static member leaves, and will be back.
const LEAVES_FOR_A_WHILE: i32 = -2;

/// A member of a KIP-848 group.
#[derive(Debug)]
pub(super) struct Member {
    epoch: i32,
    previous_epoch: i32,
    instance_id: Option<StrBytes>,
    rack_id: Option<StrBytes>,
    client_id: StrBytes,
    client_host: StrBytes,
    rebalance_timeout: Millis,
    topics: BTreeSet<TopicName>,
    assignor: Option<StrBytes>,
    /// What it may consume.
    assigned: Partitions,
    /// What it was told to give up, and still has as far as is known.
    revoking: Partitions,
    target: Partitions,
    expires: Millis,
    /// Until when it must have given up what it is told to.
    revokes_until: Option<Millis>,
}

/// A group of KIP-848.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) epoch: i32,
    pub(super) members: BTreeMap<StrBytes, Member>,
    config: Config,
    /// Partition counts by which partitions were shared out.
    counts: BTreeMap<Uuid, i32>,
}

impl Consumer {
    pub(super) fn new(config: Config) -> Consumer {
        Consumer {
            epoch: 0,
            members: BTreeMap::new(),
            config,
            counts: BTreeMap::new(),
        }
    }

    pub(super) fn state_name(&self) -> &'static str {
        let settled =
            |m: &Member| m.epoch == self.epoch && m.revoking.is_empty() && m.assigned == m.target;
        match self.members.values().all(settled) {
            _ if self.members.is_empty() => "Empty",
            true => "Stable",
            false => "Reconciling",
        }
    }

    pub(super) fn subscribed(&self) -> Vec<String> {
        let all = self.members.values().flat_map(|member| &member.topics);
        all.map(|topic| topic.to_string()).collect()
    }

    pub(super) fn deadline(&self) -> Option<Millis> {
        let all = self.members.values();
        all.flat_map(|m| [Some(m.expires), m.revokes_until])
            .flatten()
            .min()
    }

    pub(super) fn expire(&mut self, now: Millis, topics: &dyn Topics) {
        let before = self.members.len();
        self.members
            .retain(|_, m| m.expires > now && m.revokes_until.is_none_or(|until| until > now));
        if self.members.len() != before {
            self.share_out(topics);
        }
    }

    /// `new_id` is the id of a member that has none.
    pub(super) fn heartbeat(
        &mut self,
        asker: &Asker,
        request: &ConsumerGroupHeartbeatRequest,
        new_id: StrBytes,
        topics: &dyn Topics,
        now: Millis,
    ) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
        if request.member_epoch < 0 {
            return self.leave(request, topics, now);
        }
        if let Some(assignor) = &request.server_assignor {
            if !matches!(assignor.as_str(), "uniform" | "range") {
                return Err(ErrorCode::UNSUPPORTED_ASSIGNOR);
            }
        }
        let id = match request.member_epoch {
            0 => self.join(asker, request, new_id, now)?,
            epoch => {
                self.check_heartbeat(&request.member_id, epoch, request)?;
                request.member_id.clone()
            }
        };
        let changed = self.update(&id, request, now)?;
        if changed || self.counts != self.counts_now(topics) {
            self.share_out(topics);
        }
        let moved = self.reconcile(&id, request, now);
        let member = self.members.get(&id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let interval = self.config.consumer_heartbeat_interval;
        // Whoever tells all is told all.
        let tell = moved || request.member_epoch == 0 || request.subscribed_topic_names.is_some();
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(id))
            .with_member_epoch(member.epoch)
            .with_heartbeat_interval_ms(i32::try_from(interval).unwrap_or(i32::MAX))
            .with_assignment(tell.then(|| assignment(&member.assigned))))
    }

    fn join(
        &mut self,
        asker: &Asker,
        request: &ConsumerGroupHeartbeatRequest,
        new_id: StrBytes,
        now: Millis,
    ) -> Result<StrBytes, ErrorCode> {
        let owns = request
            .topic_partitions
            .as_ref()
            .is_some_and(|all| !all.is_empty());
        let topics =
            request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
        if request.rebalance_timeout_ms < 0 || !topics || owns {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let mut assigned = Partitions::new();
        if let Some(instance) = &request.instance_id {
            let same = |(_, m): &(&StrBytes, &Member)| m.instance_id.as_ref() == Some(instance);
            let before = self.members.iter().find(same);
            if let Some((old, member)) = before.map(|(id, member)| (id.clone(), member)) {
                if old != new_id && member.epoch != LEAVES_FOR_A_WHILE {
                    return Err(ErrorCode::UNRELEASED_INSTANCE_ID);
                }
                // It gets what it had.
                assigned = member.target.clone();
                self.members.remove(&old);
            }
        }
        let member = self
            .members
            .entry(new_id.clone())
            .or_insert_with(|| Member {
                epoch: 0,
                previous_epoch: 0,
                instance_id: request.instance_id.clone(),
                rack_id: request.rack_id.clone(),
                client_id: asker.client_id.clone(),
                client_host: asker.client_host.clone(),
                rebalance_timeout: 0,
                topics: BTreeSet::new(),
                assignor: None,
                target: assigned,
                assigned: Partitions::new(),
                revoking: Partitions::new(),
                expires: now,
                revokes_until: None,
            });
        // Whoever joins once more has lost all it had.
        member.assigned.clear();
        member.revoking.clear();
        member.revokes_until = None;
        Ok(new_id)
    }

    fn check_heartbeat(
        &self,
        id: &StrBytes,
        epoch: i32,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let member = self.members.get(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member.instance_id != request.instance_id && request.instance_id.is_some() {
            return Err(ErrorCode::FENCED_INSTANCE_ID);
        }
        // The answer that told of the epoch may have been lost; then it still owns what it had.
        match epoch == member.epoch || epoch == member.previous_epoch {
            true => Ok(()),
            false => Err(ErrorCode::FENCED_MEMBER_EPOCH),
        }
    }

    /// Takes over what the member says of itself; whether that asks for new shares.
    fn update(
        &mut self,
        id: &StrBytes,
        request: &ConsumerGroupHeartbeatRequest,
        now: Millis,
    ) -> Result<bool, ErrorCode> {
        let timeout = self.config.consumer_session_timeout;
        let member = self
            .members
            .get_mut(id)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        member.expires = now + timeout;
        if request.rebalance_timeout_ms >= 0 {
            member.rebalance_timeout = request.rebalance_timeout_ms.into();
        }
        let mut changed = request.member_epoch == 0;
        if let Some(names) = &request.subscribed_topic_names {
            let names: BTreeSet<_> = names.iter().cloned().collect();
            changed |= names != member.topics;
            member.topics = names;
        }
        if request.server_assignor.is_some() && request.server_assignor != member.assignor {
            member.assignor = request.server_assignor.clone();
            changed = true;
        }
        if let Some(owned) = &request.topic_partitions {
            let owned: BTreeSet<_> = owned
                .iter()
                .flat_map(|t| t.partitions.iter().map(|index| (t.topic_id, *index)))
                .collect();
            for (topic, set) in &mut member.revoking {
                set.retain(|index| owned.contains(&(*topic, *index)));
            }
            member.revoking.retain(|_, set| !set.is_empty());
            if member.revoking.is_empty() {
                member.revokes_until = None;
            }
        }
        Ok(changed)
    }

    fn counts_now(&self, topics: &dyn Topics) -> BTreeMap<Uuid, i32> {
        let names: BTreeSet<_> = self.members.values().flat_map(|m| &m.topics).collect();
        let known = names
            .into_iter()
            .filter_map(|name| Some((topics.id(name)?, topics.partitions(name)?)));
        known.collect()
    }

    /// A new epoch, with new shares.
    fn share_out(&mut self, topics: &dyn Topics) {
        self.epoch += 1;
        self.counts = self.counts_now(topics);
        let wishes: BTreeMap<_, _> = self
            .members
            .iter()
            .map(|(id, member)| {
                let wish = Wish {
                    topics: member
                        .topics
                        .iter()
                        .filter_map(|name| topics.id(name))
                        .collect(),
                    has: member.target.clone(),
                };
                (id.clone(), wish)
            })
            .collect();
        let shares = match self.assignor() {
            "range" => range(&wishes, &self.counts),
            _ => uniform(&wishes, &self.counts),
        };
        for (id, share) in shares {
            if let Some(member) = self.members.get_mut(&id) {
                member.target = share;
            }
        }
    }

    /// The one that most members want.
    fn assignor(&self) -> &'static str {
        let wanted = self.members.values().filter_map(|m| m.assignor.as_deref());
        let (mut ranged, mut others) = (0, 0);
        wanted.for_each(|name| match name {
            "range" => ranged += 1,
            _ => others += 1,
        });
        match ranged > others {
            true => "range",
            false => "uniform",
        }
    }

    /// One step of a member towards its target; whether its assignment is another now.
    fn reconcile(
        &mut self,
        id: &StrBytes,
        request: &ConsumerGroupHeartbeatRequest,
        now: Millis,
    ) -> bool {
        let mut taken: BTreeSet<(Uuid, i32)> = BTreeSet::new();
        for (_, other) in self.members.iter().filter(|(other, _)| *other != id) {
            taken.extend(pairs(&other.assigned));
            taken.extend(pairs(&other.revoking));
        }
        let epoch = self.epoch;
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        if !member.revoking.is_empty() {
            return false;
        }
        let target: BTreeSet<_> = pairs(&member.target).collect();
        let had: BTreeSet<_> = pairs(&member.assigned).collect();
        let lost: BTreeSet<_> = had.difference(&target).copied().collect();
        if !lost.is_empty() {
            member.assigned = collect(had.intersection(&target).copied());
            // Of a member that says that it has nothing there is nothing to wait for.
            if request
                .topic_partitions
                .as_ref()
                .is_none_or(|owned| !owned.is_empty())
            {
                member.revoking = collect(lost.into_iter());
                member.revokes_until = Some(now + member.rebalance_timeout);
            }
            return true;
        }
        let now_has = collect(target.difference(&taken).copied());
        let moved = now_has != member.assigned || member.epoch != epoch;
        member.assigned = now_has;
        if member.epoch != epoch {
            member.previous_epoch = member.epoch;
            member.epoch = epoch;
        }
        moved
    }

    fn leave(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        topics: &dyn Topics,
        now: Millis,
    ) -> Result<ConsumerGroupHeartbeatResponse, ErrorCode> {
        let id = &request.member_id;
        let member = self
            .members
            .get_mut(id)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if request.member_epoch == LEAVES_FOR_A_WHILE && member.instance_id.is_some() {
            member.epoch = LEAVES_FOR_A_WHILE;
            member.assigned.clear();
            member.revoking.clear();
            member.revokes_until = None;
            member.expires = now + self.config.consumer_session_timeout;
        } else {
            self.members.remove(id);
            self.share_out(topics);
        }
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(id.clone()))
            .with_member_epoch(request.member_epoch.clamp(LEAVES_FOR_A_WHILE, LEAVES)))
    }

    /// Whether a member may commit.
    pub(super) fn check_commit(&self, id: &StrBytes, epoch: i32) -> Result<(), ErrorCode> {
        if epoch < 0 && id.is_empty() && self.members.is_empty() {
            return Ok(());
        }
        self.check_epoch(id, epoch)
    }

    pub(super) fn check_epoch(&self, id: &StrBytes, epoch: i32) -> Result<(), ErrorCode> {
        if id.is_empty() && epoch < 0 {
            return Ok(());
        }
        let member = self.members.get(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        match epoch == member.epoch {
            true => Ok(()),
            false => Err(ErrorCode::STALE_MEMBER_EPOCH),
        }
    }

    pub(super) fn describe(
        &self,
        described: DescribedGroup,
        topics: &dyn Topics,
    ) -> DescribedGroup {
        let names: BTreeMap<Uuid, String> = topics
            .names()
            .into_iter()
            .filter_map(|name| Some((topics.id(&name)?, name)))
            .collect();
        let shown = |partitions: &Partitions| {
            let all = partitions.iter().map(|(topic, set)| {
                let name = names.get(topic).cloned().unwrap_or_default();
                DescribedPartitions::default()
                    .with_topic_id(*topic)
                    .with_topic_name(StrBytes::from_string(name).into())
                    .with_partitions(set.iter().copied().collect())
            });
            DescribedAssignment::default().with_topic_partitions(all.collect())
        };
        let members = self.members.iter().map(|(id, member)| {
            DescribedMember::default()
                .with_member_id(id.clone())
                .with_instance_id(member.instance_id.clone())
                .with_rack_id(member.rack_id.clone())
                .with_member_epoch(member.epoch)
                .with_client_id(member.client_id.clone())
                .with_client_host(member.client_host.clone())
                .with_subscribed_topic_names(member.topics.iter().cloned().collect())
                .with_assignment(shown(&member.assigned))
                .with_target_assignment(shown(&member.target))
                .with_member_type(1)
        });
        described
            .with_group_state(StrBytes::from_static_str(self.state_name()))
            .with_group_epoch(self.epoch)
            .with_assignment_epoch(self.epoch)
            .with_assignor_name(StrBytes::from_static_str(self.assignor()))
            .with_members(members.collect())
    }
}

fn pairs(partitions: &Partitions) -> impl Iterator<Item = (Uuid, i32)> + '_ {
    let all = partitions.iter();
    all.flat_map(|(topic, set)| set.iter().map(|index| (*topic, *index)))
}

fn collect(pairs: impl Iterator<Item = (Uuid, i32)>) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic, index) in pairs {
        partitions.entry(topic).or_default().insert(index);
    }
    partitions
}

fn assignment(partitions: &Partitions) -> Assignment {
    let all = partitions.iter().map(|(topic, set)| {
        TopicPartitions::default()
            .with_topic_id(*topic)
            .with_partitions(set.iter().copied().collect())
    });
    Assignment::default().with_topic_partitions(all.collect())
}
