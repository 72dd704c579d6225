//! Heartbeat: a member of a group lives.

use super::{check, group_id, text, Api, ApiError, Membership, SHORT};
use crate::shape::build::{fields, int16, int32};
use kafka_protocol::messages::{ApiKey, HeartbeatRequest, HeartbeatResponse};

/// This API.
pub const API: Api = Api::new(
    ("Heartbeat", ApiKey::Heartbeat),
    (0, 4),
    4,
    fields(&[int32("throttle_time_ms").since(1), int16("error_code")]),
)
.answers(SHORT);

/// First version that knows static members (KIP-345).
const STATIC_MEMBERS: i16 = 3;

/// Tells the coordinator that the member lives.
pub fn request(version: i16, member: &Membership<'_>) -> Result<HeartbeatRequest, ApiError> {
    Ok(HeartbeatRequest::default()
        .with_group_id(group_id(member.group_id))
        .with_generation_id(member.generation)
        .with_member_id(text(member.member_id))
        .with_group_instance_id(member.instance_id(version, STATIC_MEMBERS)?))
}

/// Whether the member is still one.
pub fn read(response: &HeartbeatResponse) -> Result<(), ApiError> {
    check(response.error_code)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_heartbeat_names_the_member_in_every_version() {
        for version in versions::<HeartbeatRequest>() {
            let mut member = Membership {
                group_id: "g",
                instance_id: None,
                member_id: "m",
                generation: 4,
            };
            let read = as_read(&request(version, &member).unwrap(), version);
            assert_eq!((read.group_id.as_str(), read.generation_id), ("g", 4));
            assert_eq!(read.member_id.as_str(), "m");
            member.instance_id = Some("i");
            let sent = request(version, &member);
            if version < STATIC_MEMBERS {
                assert_eq!(sent, Err(ErrorCode::UNSUPPORTED_VERSION.into()));
            } else {
                let read = as_read(&sent.unwrap(), version);
                assert_eq!(read.group_instance_id.as_deref(), Some("i"));
            }
        }
    }

    #[test]
    fn the_code_is_read_in_every_version() {
        let code = ErrorCode::REBALANCE_IN_PROGRESS;
        for version in versions::<HeartbeatRequest>() {
            let response = HeartbeatResponse::default().with_error_code(code.0);
            let response = over_the_wire::<HeartbeatRequest>(&response, version);
            assert_eq!(read(&response), Err(code.into()));
        }
        assert_eq!(read(&HeartbeatResponse::default()), Ok(()));
    }
}
