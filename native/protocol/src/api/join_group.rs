//! JoinGroup: the first half of a rebalance.

use std::time::Duration;

use super::{check, group_id, millis, owned, text, Api, ApiError, Membership};
use crate::error::ErrorCode;
use crate::shape::build::{bool, bytes, fields, int16, int32, list, nullable_string, string};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{ApiKey, JoinGroupRequest, JoinGroupResponse};

/// This API.
pub const API: Api = Api::new(
    ("JoinGroup", ApiKey::JoinGroup),
    (0, 9),
    6,
    fields(&[
        int32("throttle_time_ms").since(2),
        int16("error_code"),
        int32("generation_id"),
        nullable_string("protocol_type").since(7),
        nullable_string("protocol_name"),
        string("leader"),
        bool("skip_assignment").since(9),
        string("member_id"),
        list(
            "members",
            &fields(&[
                string("member_id"),
                nullable_string("group_instance_id").since(5),
                bytes("metadata"),
            ]),
        ),
    ]),
);

/// First version that knows static members (KIP-345).
const STATIC_MEMBERS: i16 = 5;

/// What a member joins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join<'a> {
    /// How long it may be silent.
    pub session_timeout: Duration,
    /// How long it may take to join again when the group rebalances.
    pub rebalance_timeout: Duration,
    /// `consumer` for consumer groups.
    pub protocol_type: &'a str,
    /// Names of assignment protocols, preferred first.
    pub protocols: &'a [String],
    /// What the leader gets to see, the same for all protocols.
    pub metadata: Bytes,
}

/// A successful join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// Of this member.
    pub member_id: String,
    /// Of the group.
    pub generation: i32,
    /// The protocol that the group agreed on.
    pub protocol: String,
    /// Whether this member was elected to share out the partitions.
    pub leader: bool,
    /// The broker keeps the assignment that it has (KIP-814).
    pub skip_assignment: bool,
    /// Empty unless leader.
    pub members: Vec<Member>,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Given by the broker.
    pub member_id: String,
    /// Of a static member.
    pub instance_id: Option<String>,
    /// What it joined with.
    pub metadata: Bytes,
}

/// How a broker took a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinOutcome {
    /// The member is in.
    Joined(Joined),
    /// Join again with this id (KIP-394).
    MemberIdRequired(String),
}

/// Joins `member`'s group. Refused where the version is too old for its instance id.
pub fn request(
    version: i16,
    member: &Membership<'_>,
    join: &Join<'_>,
) -> Result<JoinGroupRequest, ApiError> {
    let protocol = |name: &String| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(join.metadata.clone())
    };
    Ok(JoinGroupRequest::default()
        .with_group_id(group_id(member.group_id))
        .with_session_timeout_ms(millis(join.session_timeout))
        .with_rebalance_timeout_ms(millis(join.rebalance_timeout))
        .with_member_id(text(member.member_id))
        .with_group_instance_id(member.instance_id(version, STATIC_MEMBERS)?)
        .with_protocol_type(text(join.protocol_type))
        .with_protocols(join.protocols.iter().map(protocol).collect()))
}

/// How the broker took it.
pub fn read(response: JoinGroupResponse) -> Result<JoinOutcome, ApiError> {
    let member_id = response.member_id.to_string();
    if ErrorCode(response.error_code) == ErrorCode::MEMBER_ID_REQUIRED && !member_id.is_empty() {
        return Ok(JoinOutcome::MemberIdRequired(member_id));
    }
    check(response.error_code)?;
    let members = response.members.into_iter().map(|member| Member {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.map(|id| id.to_string()),
        metadata: member.metadata,
    });
    Ok(JoinOutcome::Joined(Joined {
        leader: response.leader == response.member_id,
        member_id,
        generation: response.generation_id,
        protocol: owned(response.protocol_name),
        skip_assignment: response.skip_assignment,
        members: members.collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;

    const MEMBER: Membership<'static> = Membership {
        group_id: "g",
        instance_id: None,
        member_id: "m",
        generation: -1,
    };

    #[test]
    fn a_join_says_all_that_its_version_has_room_for() {
        let protocols = ["range".to_owned(), "roundrobin".to_owned()];
        let join = Join {
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            protocol_type: "consumer",
            protocols: &protocols,
            metadata: Bytes::from_static(b"topics"),
        };
        let fixed = Membership {
            instance_id: Some("i"),
            ..MEMBER
        };
        for version in versions::<JoinGroupRequest>() {
            let read = as_read(&request(version, &MEMBER, &join).unwrap(), version);
            assert_eq!(
                (read.group_id.as_str(), read.member_id.as_str()),
                ("g", "m")
            );
            assert_eq!(read.session_timeout_ms, 10_000);
            let expected = if version >= 1 { 30_000 } else { -1 };
            assert_eq!(read.rebalance_timeout_ms, expected);
            let names: Vec<_> = read.protocols.iter().map(|p| p.name.as_str()).collect();
            assert_eq!(names, ["range", "roundrobin"]);
            assert_eq!(read.protocols[1].metadata, "topics");
            match request(version, &fixed, &join) {
                Ok(request) => {
                    assert!(version >= STATIC_MEMBERS);
                    let read = as_read(&request, version);
                    assert_eq!(read.group_instance_id.as_deref(), Some("i"));
                }
                Err(error) => {
                    assert!(version < STATIC_MEMBERS);
                    assert_eq!(error, ErrorCode::UNSUPPORTED_VERSION.into());
                }
            }
        }
    }

    #[test]
    fn the_leader_sees_all_members_in_every_version() {
        for version in versions::<JoinGroupRequest>() {
            let member = JoinGroupResponseMember::default()
                .with_member_id(text("m"))
                .with_metadata(Bytes::from_static(b"topics"));
            let response = JoinGroupResponse::default()
                .with_generation_id(4)
                .with_protocol_name(Some(text("range")))
                .with_leader(text("m"))
                .with_member_id(text("m"))
                .with_members(vec![member]);
            let read = read(over_the_wire::<JoinGroupRequest>(&response, version)).unwrap();
            let expected = Joined {
                member_id: "m".into(),
                generation: 4,
                protocol: "range".into(),
                leader: true,
                skip_assignment: false,
                members: vec![Member {
                    member_id: "m".into(),
                    instance_id: None,
                    metadata: Bytes::from_static(b"topics"),
                }],
            };
            assert_eq!(read, JoinOutcome::Joined(expected));
        }
    }

    #[test]
    fn a_member_id_to_join_with_is_no_error() {
        let response = |id: &str| {
            JoinGroupResponse::default()
                .with_error_code(ErrorCode::MEMBER_ID_REQUIRED.0)
                .with_member_id(text(id))
        };
        let required = JoinOutcome::MemberIdRequired("m".into());
        assert_eq!(read(response("m")), Ok(required));
        assert_eq!(
            read(response("")),
            Err(ErrorCode::MEMBER_ID_REQUIRED.into())
        );
    }
}
