//! LeaveGroup: a member goes, so that the others need not wait for the session timeout.

use std::collections::HashSet;

use super::{check, group_id, text, Api, ApiError, Membership, SHORT};
use crate::shape::build::{fields, int16, int32, list, nullable_string, string};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{ApiKey, LeaveGroupRequest, LeaveGroupResponse};

/// This API.
pub const API: Api = Api::new(
    ("LeaveGroup", ApiKey::LeaveGroup),
    (0, 5),
    4,
    fields(&[
        int32("throttle_time_ms").since(1),
        int16("error_code"),
        list(
            "members",
            &fields(&[
                string("member_id"),
                nullable_string("group_instance_id"),
                int16("error_code"),
            ]),
        )
        .since(3),
    ]),
)
.answers(SHORT);

/// From this version on several members may leave at once, and they may be static (KIP-345).
const LISTS: i16 = 3;

/// Takes one member out of its group. A version that is too old for its instance id takes it out by
/// its member id.
pub fn request(version: i16, member: &Membership<'_>) -> LeaveGroupRequest {
    let request = LeaveGroupRequest::default().with_group_id(group_id(member.group_id));
    if version < LISTS {
        return request.with_member_id(text(member.member_id));
    }
    request.with_members(vec![MemberIdentity::default()
        .with_member_id(text(member.member_id))
        .with_group_instance_id(member.instance_id.map(text))])
}

/// Whether the member is out.
pub fn read(version: i16, response: &LeaveGroupResponse, member_id: &str) -> Result<(), ApiError> {
    check(response.error_code)?;
    if version < LISTS {
        return Ok(());
    }
    let mut answered = HashSet::new();
    for member in &response.members {
        answered.insert(member.member_id.as_str());
        check(member.error_code)?;
    }
    ApiError::check_all_named(API.name, [member_id], &answered)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;
    use kafka_protocol::messages::leave_group_response::MemberResponse;

    #[test]
    fn the_member_is_named_in_every_version() {
        let member = Membership {
            group_id: "g",
            instance_id: Some("i"),
            member_id: "m",
            generation: 4,
        };
        for version in versions::<LeaveGroupRequest>() {
            let read = as_read(&request(version, &member), version);
            let instance = read.members.first().map(|m| m.group_instance_id.clone());
            let id = read
                .members
                .first()
                .map_or(&read.member_id, |m| &m.member_id);
            assert_eq!((read.group_id.as_str(), id.as_str()), ("g", "m"));
            assert_eq!(instance, (version >= LISTS).then(|| Some(text("i"))));
        }
    }

    fn of_member(id: &str, code: ErrorCode) -> LeaveGroupResponse {
        let member = MemberResponse::default()
            .with_member_id(text(id))
            .with_error_code(code.0);
        LeaveGroupResponse::default().with_members(vec![member])
    }

    #[test]
    fn the_members_own_code_counts_as_the_requests() {
        let code = ErrorCode::UNKNOWN_MEMBER_ID;
        for version in versions::<LeaveGroupRequest>() {
            let response = match version {
                LISTS.. => of_member("m", code),
                _ => LeaveGroupResponse::default().with_error_code(code.0),
            };
            let response = over_the_wire::<LeaveGroupRequest>(&response, version);
            assert_eq!(read(version, &response, "m"), Err(code.into()));
        }
    }

    #[test]
    fn a_member_of_which_nothing_is_said_may_not_be_out() {
        let of_all = LeaveGroupResponse::default;
        for version in versions::<LeaveGroupRequest>() {
            let lacks = || Err(ApiError::lacks("LeaveGroup", "m"));
            let answers = match version {
                LISTS.. => vec![
                    (of_member("m", ErrorCode::NO_ERROR), Ok(())),
                    (of_member("n", ErrorCode::NO_ERROR), lacks()),
                    (of_all(), lacks()),
                ],
                _ => vec![(of_all(), Ok(()))],
            };
            for (response, expected) in answers {
                let response = over_the_wire::<LeaveGroupRequest>(&response, version);
                assert_eq!(read(version, &response, "m"), expected);
            }
        }
    }
}
