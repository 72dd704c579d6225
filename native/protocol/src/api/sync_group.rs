//! SyncGroup: the second half of a rebalance.

use super::{check, group_id, text, Api, ApiError, Membership};
use crate::shape::build::{bytes, fields, int16, int32, nullable_string};
use bytes::Bytes;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{ApiKey, SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

/// This API.
pub const API: Api = Api::new(
    ("SyncGroup", ApiKey::SyncGroup),
    (0, 5),
    4,
    fields(&[
        int32("throttle_time_ms").since(1),
        int16("error_code"),
        nullable_string("protocol_type").since(5),
        nullable_string("protocol_name").since(5),
        bytes("assignment"),
    ]),
);

/// First version that knows static members (KIP-345).
const STATIC_MEMBERS: i16 = 3;

/// Sends the leader's assignments by member id, or none, and asks for the member's own.
pub fn request(
    version: i16,
    member: &Membership<'_>,
    protocol_type: &str,
    protocol: &str,
    assignments: impl IntoIterator<Item = (String, Bytes)>,
) -> Result<SyncGroupRequest, ApiError> {
    let assignments = assignments.into_iter().map(|(member_id, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(StrBytes::from_string(member_id))
            .with_assignment(assignment)
    });
    Ok(SyncGroupRequest::default()
        .with_group_id(group_id(member.group_id))
        .with_generation_id(member.generation)
        .with_member_id(text(member.member_id))
        .with_group_instance_id(member.instance_id(version, STATIC_MEMBERS)?)
        .with_protocol_type(Some(text(protocol_type)))
        .with_protocol_name(Some(text(protocol)))
        .with_assignments(assignments.collect()))
}

/// The member's own assignment, as the leader wrote it.
pub fn read(response: SyncGroupResponse) -> Result<Bytes, ApiError> {
    check(response.error_code)?;
    Ok(response.assignment)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn assignments_go_out_and_come_back_in_every_version() {
        let member = Membership {
            group_id: "g",
            instance_id: None,
            member_id: "m",
            generation: 4,
        };
        for version in versions::<SyncGroupRequest>() {
            let assignment = ("m".to_owned(), Bytes::from_static(b"all"));
            let sent = request(version, &member, "consumer", "range", [assignment]).unwrap();
            let sent = as_read(&sent, version);
            assert_eq!((sent.group_id.as_str(), sent.generation_id), ("g", 4));
            assert_eq!(sent.member_id.as_str(), "m");
            assert_eq!(sent.assignments[0].member_id.as_str(), "m");
            assert_eq!(sent.assignments[0].assignment, "all");
            let name = sent.protocol_name.as_deref();
            assert_eq!(name, (version >= 5).then_some("range"));
            let response = SyncGroupResponse::default().with_assignment(Bytes::from_static(b"a"));
            let response = over_the_wire::<SyncGroupRequest>(&response, version);
            assert_eq!(read(response), Ok(Bytes::from_static(b"a")));
        }
    }

    #[test]
    fn a_static_member_is_not_taken_for_a_dynamic_one() {
        let member = Membership {
            group_id: "g",
            instance_id: Some("i"),
            member_id: "m",
            generation: 4,
        };
        for version in versions::<SyncGroupRequest>() {
            let sent = request(version, &member, "consumer", "range", []);
            if version < STATIC_MEMBERS {
                assert_eq!(sent, Err(ErrorCode::UNSUPPORTED_VERSION.into()));
            } else {
                let sent = as_read(&sent.unwrap(), version);
                assert_eq!(sent.group_instance_id.as_deref(), Some("i"));
            }
        }
    }
}
