//! What administrators ask of groups.

use std::collections::BTreeSet;

use brod_protocol::consumer_protocol::{Subscription, PROTOCOL_TYPE};
use brod_protocol::error::ErrorCode;
use bytes::Bytes;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumer;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::classic::State;
use super::{Group, Groups, Members, Topics};

/// The first version of DescribeGroups that says of a group that it is not there.
const NOT_FOUND_FROM: i16 = 6;
/// "Operations were not asked for."
const NO_OPERATIONS: i32 = i32::MIN;
/// What somebody may do with a group where there are no ACLs, as bits of Kafka's AclOperation (KIP-430): read, delete,
/// describe, describe_configs, alter_configs.
const ALL_OF_A_GROUP: i32 = 0b1101_0100_1000;

impl Groups {
    /// ListGroups.
    pub(crate) fn list(&self, request: &ListGroupsRequest) -> ListGroupsResponse {
        let wanted = |filter: &[StrBytes], name: &str| {
            filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(name))
        };
        let all = self.groups.iter().map(|(id, group)| {
            let (state, kind, protocol_type) = match &group.members {
                Members::Classic(classic) => {
                    let protocol_type = classic.protocol_type.clone().unwrap_or_default();
                    (classic.state.name(), "Classic", protocol_type)
                }
                Members::Consumer(consumer) => {
                    let protocol_type = StrBytes::from_static_str(PROTOCOL_TYPE);
                    (consumer.state_name(), "Consumer", protocol_type)
                }
            };
            ListedGroup::default()
                .with_group_id(id.clone())
                .with_protocol_type(protocol_type)
                .with_group_state(StrBytes::from_static_str(state))
                .with_group_type(StrBytes::from_static_str(kind))
        });
        let listed = all.filter(|group| {
            wanted(&request.states_filter, &group.group_state)
                && wanted(&request.types_filter, &group.group_type)
        });
        ListGroupsResponse::default().with_groups(listed.collect())
    }

    /// DescribeGroups.
    pub(crate) fn describe(
        &self,
        version: i16,
        request: &DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let operations = match request.include_authorized_operations {
            true => ALL_OF_A_GROUP,
            false => NO_OPERATIONS,
        };
        let groups = request.groups.iter().map(|id| {
            let described = DescribedGroup::default()
                .with_group_id(id.clone())
                .with_authorized_operations(operations);
            let Some(Members::Classic(classic)) = self.groups.get(id).map(|g| &g.members) else {
                let described = described.with_group_state(StrBytes::from_static_str("Dead"));
                return match version >= NOT_FOUND_FROM {
                    true => described
                        .with_authorized_operations(NO_OPERATIONS)
                        .with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.0)
                        .with_error_message(Some(not_found(id))),
                    false => described,
                };
            };
            // While a group looks for its protocol nothing is said of it.
            let is_stable = classic.state == State::Stable;
            let protocol = classic.protocol.clone().filter(|_| is_stable);
            let protocol = protocol.unwrap_or_default();
            let members = classic.members.iter().map(|(id, member)| {
                DescribedGroupMember::default()
                    .with_member_id(id.clone())
                    .with_group_instance_id(member.instance_id.clone())
                    .with_client_id(member.client_id.clone())
                    .with_client_host(member.client_host.clone())
                    .with_member_metadata(if is_stable {
                        member.metadata(&protocol)
                    } else {
                        Bytes::new()
                    })
                    .with_member_assignment(if is_stable {
                        member.assignment.clone()
                    } else {
                        Bytes::new()
                    })
            });
            described
                .with_group_state(StrBytes::from_static_str(classic.state.name()))
                .with_protocol_type(classic.protocol_type.clone().unwrap_or_default())
                .with_protocol_data(protocol.clone())
                .with_members(members.collect())
        });
        DescribeGroupsResponse::default().with_groups(groups.collect())
    }

    /// ConsumerGroupDescribe (KIP-848).
    pub(crate) fn describe_consumers(
        &self,
        request: &ConsumerGroupDescribeRequest,
        topics: &dyn Topics,
    ) -> ConsumerGroupDescribeResponse {
        let groups = request.group_ids.iter().map(|id| {
            let described = DescribedConsumer::default()
                .with_group_id(id.clone())
                .with_authorized_operations(NO_OPERATIONS);
            match self.groups.get(id).map(|group| &group.members) {
                Some(Members::Consumer(consumer)) => consumer.describe(described, topics),
                _ => described
                    .with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.0)
                    .with_error_message(Some(not_found(id))),
            }
        });
        ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
    }

    /// DeleteGroups.
    pub(crate) fn delete(&mut self, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
        let names: BTreeSet<_> = request.groups_names.iter().collect();
        let results = names.into_iter().map(|id| {
            let code = match self.groups.get(id) {
                None => ErrorCode::GROUP_ID_NOT_FOUND,
                Some(group) if !group.is_empty() => ErrorCode::NON_EMPTY_GROUP,
                Some(_) => {
                    self.groups.remove(id);
                    ErrorCode::NO_ERROR
                }
            };
            DeletableGroupResult::default()
                .with_group_id(id.clone())
                .with_error_code(code.0)
        });
        DeleteGroupsResponse::default().with_results(results.collect())
    }

    /// OffsetDelete (KIP-496).
    pub(crate) fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        topics: &dyn Topics,
    ) -> OffsetDeleteResponse {
        let response = OffsetDeleteResponse::default();
        let Some(group) = self.groups.get_mut(&request.group_id) else {
            return response.with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.0);
        };
        let subscribed = match subscriptions(group) {
            Some(subscribed) => subscribed,
            None => return response.with_error_code(ErrorCode::NON_EMPTY_GROUP.0),
        };
        let results = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let code = if topics
                    .partitions(&topic.name)
                    .is_none_or(|count| !(0..count).contains(&index))
                {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                } else if subscribed.iter().any(|name| *name == **topic.name) {
                    ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
                } else {
                    let key = (topic.name.clone(), index);
                    group.offsets.committed.remove(&key);
                    ErrorCode::NO_ERROR
                };
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(code.0)
            });
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        response.with_topics(results.collect())
    }
}

/// Topics that members consume; `None` where members do not say.
fn subscriptions(group: &Group) -> Option<Vec<String>> {
    match &group.members {
        Members::Classic(classic) if classic.members.is_empty() => Some(Vec::new()),
        Members::Classic(classic) => {
            if classic.protocol_type.as_deref() != Some(PROTOCOL_TYPE) {
                return None;
            }
            let all = classic
                .members
                .values()
                .flat_map(|member| &member.protocols);
            let read = all.filter_map(|(_, bytes)| Subscription::decode(bytes.clone()).ok());
            Some(read.flat_map(|subscription| subscription.topics).collect())
        }
        Members::Consumer(consumer) => Some(consumer.subscribed()),
    }
}

fn not_found(id: &GroupId) -> StrBytes {
    StrBytes::from_string(format!("Group {} not found.", id.as_str()))
}
