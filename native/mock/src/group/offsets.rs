//! Offsets that groups commit: at once, or when the transaction commits in which they were sent.

use std::collections::BTreeMap;

use crate::call::Millis;
use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{check_id, Classic, Group, Groups, Members, Topics};

/// `offset.metadata.max.bytes`
const MOST_METADATA: usize = 4096;
/// The first version of OffsetFetch that asks for several groups.
const FETCHES_MANY_FROM: i16 = 8;

/// What is committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The next one to consume.
    pub(crate) offset: i64,
    /// Leader epoch of the last message consumed; -1 where the client did not say.
    pub(crate) leader_epoch: i32,
    /// The user's own words.
    pub(crate) metadata: StrBytes,
}

type ByPartition = BTreeMap<(TopicName, i32), Committed>;

/// The offsets of a group.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    pub(super) committed: ByPartition,
    /// By producer id: sent in a transaction that is open.
    pending: BTreeMap<i64, ByPartition>,
}

impl Offsets {
    fn is_pending(&self, key: &(TopicName, i32)) -> bool {
        self.pending
            .values()
            .any(|offsets| offsets.contains_key(key))
    }

    fn get(&self, key: &(TopicName, i32), stable: bool) -> Result<Committed, ErrorCode> {
        if stable && self.is_pending(key) {
            return Err(ErrorCode::UNSTABLE_OFFSET_COMMIT);
        }
        let none = Committed {
            offset: -1,
            leader_epoch: -1,
            metadata: StrBytes::new(),
        };
        Ok(self.committed.get(key).cloned().unwrap_or(none))
    }
}

impl Groups {
    /// OffsetCommit.
    pub(crate) fn commit(
        &mut self,
        request: &OffsetCommitRequest,
        topics: &dyn Topics,
        now: Millis,
    ) -> OffsetCommitResponse {
        let who = Committer {
            group: &request.group_id,
            member: &request.member_id,
            instance: request.group_instance_id.as_ref(),
            generation: request.generation_id_or_member_epoch,
            transactional: false,
        };
        let partitions = request.topics.iter().flat_map(|topic| {
            let indexes = topic.partitions.iter().map(|p| p.partition_index);
            indexes.map(|index| (&topic.name, index))
        });
        let was_there = self.groups.contains_key(&request.group_id);
        let mut group = match any_known(topics, partitions) {
            true => self.check_committer(&who, now),
            false => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        };
        let results = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| {
                let key = (topic.name.clone(), p.partition_index);
                let offset = Committed {
                    offset: p.committed_offset,
                    leader_epoch: p.committed_leader_epoch,
                    metadata: p.committed_metadata.clone().unwrap_or_default(),
                };
                let code = commit_one(&mut group, topics, key, offset, |offsets, key, offset| {
                    offsets.committed.insert(key, offset);
                });
                OffsetCommitResponsePartition::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(code.0)
            });
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        let results = results.collect();
        // Nobody becomes a group by what is refused, either.
        if let Some(group) = self.groups.get(&request.group_id).filter(|_| !was_there) {
            if group.offsets.committed.is_empty() {
                self.groups.remove(&request.group_id);
            }
        }
        OffsetCommitResponse::default().with_topics(results)
    }

    /// TxnOffsetCommit, from a producer that its transaction's coordinator has let pass: seen by nobody until
    /// [`Groups::end_transaction`].
    pub(crate) fn commit_in_transaction(
        &mut self,
        request: &TxnOffsetCommitRequest,
        fenced: Option<ErrorCode>,
        topics: &dyn Topics,
        now: Millis,
    ) -> TxnOffsetCommitResponse {
        let who = Committer {
            group: &request.group_id,
            member: &request.member_id,
            instance: request.group_instance_id.as_ref(),
            generation: request.generation_id,
            transactional: true,
        };
        let partitions = request.topics.iter().flat_map(|topic| {
            let indexes = topic.partitions.iter().map(|p| p.partition_index);
            indexes.map(|index| (&topic.name, index))
        });
        let mut group = match fenced {
            Some(code) => Err(code),
            None if !any_known(topics, partitions) => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            None => self.check_committer(&who, now),
        };
        let results = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| {
                let key = (topic.name.clone(), p.partition_index);
                let offset = Committed {
                    offset: p.committed_offset,
                    leader_epoch: p.committed_leader_epoch,
                    metadata: p.committed_metadata.clone().unwrap_or_default(),
                };
                let code = commit_one(&mut group, topics, key, offset, |offsets, key, offset| {
                    let pending = offsets.pending.entry(request.producer_id.0);
                    pending.or_default().insert(key, offset);
                });
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(code.0)
            });
            TxnOffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        TxnOffsetCommitResponse::default().with_topics(results.collect())
    }

    /// A transaction in which offsets of this group were sent has ended.
    pub(crate) fn end_transaction(&mut self, group: &GroupId, producer_id: i64, committed: bool) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        let pending = group.offsets.pending.remove(&producer_id);
        if committed {
            group.offsets.committed.extend(pending.unwrap_or_default());
        }
    }

    /// The offsets of a deleted topic go with it.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        for group in self.groups.values_mut() {
            let keep = |(name, _): &(TopicName, i32)| name.as_str() != topic;
            group.offsets.committed.retain(|key, _| keep(key));
            for pending in group.offsets.pending.values_mut() {
                pending.retain(|key, _| keep(key));
            }
        }
    }

    /// What a group has committed, for tests that wait until it has caught up.
    pub(crate) fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<Committed> {
        let id = GroupId(StrBytes::from_string(group.to_owned()));
        let topic = TopicName(StrBytes::from_string(topic.to_owned()));
        let offsets = &self.groups.get(&id)?.offsets;
        offsets.committed.get(&(topic, partition)).cloned()
    }

    fn check_committer(
        &mut self,
        who: &Committer<'_>,
        now: Millis,
    ) -> Result<&mut Group, ErrorCode> {
        check_id(who.group)?;
        if !self.groups.contains_key(who.group) {
            if who.generation >= 0 {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
            // Whoever only keeps offsets here is in no group, and yet makes one.
            let group = Group {
                members: Members::Classic(Classic::new(self.config.initial_delay)),
                offsets: Offsets::default(),
            };
            self.groups.insert(who.group.clone(), group);
        }
        let group = self.groups.get_mut(who.group);
        let group = group.ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        match &mut group.members {
            Members::Classic(classic) => classic.check_commit(
                who.member,
                who.instance,
                who.generation,
                who.transactional,
                now,
            )?,
            Members::Consumer(consumer) => consumer.check_commit(who.member, who.generation)?,
        }
        Ok(group)
    }

    /// OffsetFetch. Older versions ask for one group, in a form of their own: they are answered as if they asked for
    /// one among several.
    pub(crate) fn fetch_offsets(
        &self,
        version: i16,
        request: &OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        let stable = request.require_stable;
        if version >= FETCHES_MANY_FROM {
            let groups = request.groups.iter();
            let groups = groups.map(|wanted| self.fetch_offsets_of(wanted, stable));
            return OffsetFetchResponse::default().with_groups(groups.collect());
        }
        let topics = request.topics.as_ref().map(|topics| {
            let topics = topics.iter().map(|topic| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic.name.clone())
                    .with_partition_indexes(topic.partition_indexes.clone())
            });
            topics.collect()
        });
        let wanted = OffsetFetchRequestGroup::default()
            .with_group_id(request.group_id.clone())
            .with_topics(topics);
        let group = self.fetch_offsets_of(&wanted, stable);
        let topics = group.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|p| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(p.partition_index)
                    .with_committed_offset(p.committed_offset)
                    .with_committed_leader_epoch(p.committed_leader_epoch)
                    .with_metadata(p.metadata)
                    .with_error_code(p.error_code)
            });
            OffsetFetchResponseTopic::default()
                .with_name(topic.name)
                .with_partitions(partitions.collect())
        });
        OffsetFetchResponse::default()
            .with_error_code(group.error_code)
            .with_topics(topics.collect())
    }

    /// Of all topics, if none are named.
    fn fetch_offsets_of(
        &self,
        wanted: &OffsetFetchRequestGroup,
        stable: bool,
    ) -> OffsetFetchResponseGroup {
        let result = OffsetFetchResponseGroup::default().with_group_id(wanted.group_id.clone());
        if let Err(code) = self.check_reader(wanted) {
            return result.with_error_code(code.0);
        }
        let none = Offsets::default();
        let group = self.groups.get(&wanted.group_id);
        let offsets = group.map_or(&none, |group| &group.offsets);
        let mut partitions: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
        match &wanted.topics {
            Some(topics) => partitions.extend(
                topics
                    .iter()
                    .map(|topic| (&topic.name, topic.partition_indexes.clone())),
            ),
            None => {
                for (topic, partition) in offsets.committed.keys() {
                    partitions.entry(topic).or_default().push(*partition);
                }
            }
        }
        let topics = partitions.into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|index| {
                let found = OffsetFetchResponsePartitions::default().with_partition_index(index);
                match offsets.get(&(topic.clone(), index), stable) {
                    Ok(c) => found
                        .with_committed_offset(c.offset)
                        .with_committed_leader_epoch(c.leader_epoch)
                        .with_metadata(Some(c.metadata)),
                    Err(code) => found
                        .with_committed_offset(-1)
                        .with_metadata(Some(StrBytes::new()))
                        .with_error_code(code.0),
                }
            });
            OffsetFetchResponseTopics::default()
                .with_name(topic.clone())
                .with_partitions(partitions.collect())
        });
        result.with_topics(topics.collect())
    }

    fn check_reader(&self, wanted: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
        let Some(member) = &wanted.member_id else {
            return Ok(());
        };
        match self
            .groups
            .get(&wanted.group_id)
            .map(|group| &group.members)
        {
            Some(Members::Consumer(consumer)) => consumer.check_epoch(member, wanted.member_epoch),
            _ => Ok(()),
        }
    }
}

/// Who commits.
struct Committer<'a> {
    group: &'a GroupId,
    member: &'a StrBytes,
    instance: Option<&'a StrBytes>,
    generation: i32,
    transactional: bool,
}

/// Brokers look whether a partition is there before they look who commits.
fn is_known(topics: &dyn Topics, topic: &TopicName, index: i32) -> bool {
    let count = topics.partitions(topic).unwrap_or(0);
    (0..count).contains(&index)
}

fn any_known<'a>(
    topics: &dyn Topics,
    partitions: impl IntoIterator<Item = (&'a TopicName, i32)>,
) -> bool {
    let mut all = partitions.into_iter();
    all.any(|(topic, index)| is_known(topics, topic, index))
}

/// Has `store` put an offset where it belongs, if all that it takes is there; what its partition is answered.
fn commit_one(
    group: &mut Result<&mut Group, ErrorCode>,
    topics: &dyn Topics,
    key: (TopicName, i32),
    offset: Committed,
    store: impl FnOnce(&mut Offsets, (TopicName, i32), Committed),
) -> ErrorCode {
    match group {
        _ if !is_known(topics, &key.0, key.1) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(code) => *code,
        Ok(_) if offset.metadata.len() > MOST_METADATA => ErrorCode::OFFSET_METADATA_TOO_LARGE,
        Ok(group) => {
            store(&mut group.offsets, key, offset);
            ErrorCode::NO_ERROR
        }
    }
}
