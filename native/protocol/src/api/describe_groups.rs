//! DescribeGroups: the state of groups and who is in them.

use std::collections::HashSet;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, DescribeGroupsRequest, DescribeGroupsResponse};

use super::{group_id, owned, Api, ApiError};
use crate::error::ErrorCode;
use crate::shape::build::{bytes, fields, int16, int32, list, nullable_string, string};
use crate::shape::Fields;

/// This API.
// From 6 on an unknown group is an error and no longer a group in state `Dead`, which is what
// callers know.
pub const API: Api = Api::new(
    ("DescribeGroups", ApiKey::DescribeGroups),
    (0, 6),
    5,
    fields(&[
        int32("throttle_time_ms").since(1),
        list(
            "groups",
            &fields(&[
                int16("error_code"),
                nullable_string("error_message").since(6),
                string("group_id"),
                string("group_state"),
                string("protocol_type"),
                string("protocol_data"),
                list("members", &DESCRIBED_MEMBER),
                int32("authorized_operations").since(3),
            ]),
        ),
    ]),
)
.up_to(5);

const DESCRIBED_MEMBER: Fields = fields(&[
    string("member_id"),
    nullable_string("group_instance_id").since(4),
    string("client_id"),
    string("client_host"),
    bytes("member_metadata"),
    bytes("member_assignment"),
]);

/// A group as its coordinator describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Why it is not described.
    pub error: ErrorCode,
    /// Its id.
    pub group_id: String,
    /// In Kafka's words, such as `Stable`; `Dead` for one that does not exist.
    pub state: String,
    /// `consumer` for consumer groups.
    pub protocol_type: String,
    /// The assignment protocol that the group agreed on.
    pub protocol: String,
    /// Who is in it.
    pub members: Vec<DescribedMember>,
}

/// A member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribedMember {
    /// Given by the broker.
    pub member_id: String,
    /// Of a static member; else empty.
    pub instance_id: String,
    /// As the member's client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// What it joined with.
    pub metadata: Bytes,
    /// What it got.
    pub assignment: Bytes,
}

/// Asks for groups that the broker coordinates.
pub fn request<'a>(groups: impl IntoIterator<Item = &'a str>) -> DescribeGroupsRequest {
    DescribeGroupsRequest::default().with_groups(groups.into_iter().map(group_id).collect())
}

/// The groups that it was `asked` for, in the broker's order.
pub fn read<'a>(
    response: DescribeGroupsResponse,
    asked: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<DescribedGroup>, ApiError> {
    let answered: HashSet<&str> = response
        .groups
        .iter()
        .map(|g| g.group_id.as_str())
        .collect();
    ApiError::check_all_named(API.name, asked, &answered)?;
    let groups = response.groups.into_iter().map(|group| DescribedGroup {
        error: ErrorCode(group.error_code),
        group_id: group.group_id.to_string(),
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        protocol: group.protocol_data.to_string(),
        members: group
            .members
            .into_iter()
            .map(|member| DescribedMember {
                member_id: member.member_id.to_string(),
                instance_id: owned(member.group_instance_id),
                client_id: member.client_id.to_string(),
                client_host: member.client_host.to_string(),
                metadata: member.member_metadata,
                assignment: member.member_assignment,
            })
            .collect(),
    });
    Ok(groups.collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::super::text;
    use super::*;
    use kafka_protocol::messages::describe_groups_response::{
        DescribedGroup as Group, DescribedGroupMember as Member,
    };

    #[test]
    fn groups_and_members_are_read_in_every_version() {
        for version in versions::<DescribeGroupsRequest>() {
            let sent = as_read(&request(["a", "b"]), version);
            assert_eq!(sent.groups, vec![group_id("a"), group_id("b")]);
            let member = Member::default()
                .with_member_id(text("m"))
                .with_client_id(text("c"))
                .with_client_host(text("h"))
                .with_member_metadata(Bytes::from_static(b"topics"))
                .with_member_assignment(Bytes::from_static(b"all"));
            let group = Group::default()
                .with_group_id(group_id("a"))
                .with_group_state(text("Stable"))
                .with_protocol_type(text("consumer"))
                .with_protocol_data(text("range"))
                .with_members(vec![member]);
            let response = DescribeGroupsResponse::default().with_groups(vec![group]);
            let member = DescribedMember {
                member_id: "m".into(),
                instance_id: String::new(),
                client_id: "c".into(),
                client_host: "h".into(),
                metadata: Bytes::from_static(b"topics"),
                assignment: Bytes::from_static(b"all"),
            };
            let group = DescribedGroup {
                error: ErrorCode::NO_ERROR,
                group_id: "a".into(),
                state: "Stable".into(),
                protocol_type: "consumer".into(),
                protocol: "range".into(),
                members: vec![member],
            };
            let response = over_the_wire::<DescribeGroupsRequest>(&response, version);
            assert_eq!(read(response.clone(), ["a"]), Ok(vec![group]));
            let lacks = Err(ApiError::lacks("DescribeGroups", "b"));
            assert_eq!(read(response, ["a", "b"]), lacks);
        }
    }
}
