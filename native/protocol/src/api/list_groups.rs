//! ListGroups: the groups that a broker coordinates.

use kafka_protocol::messages::{ApiKey, ListGroupsRequest, ListGroupsResponse};

use super::{check, Api, ApiError};
use crate::shape::build::{fields, int16, int32, list, string};

/// This API.
pub const API: Api = Api::new(
    ("ListGroups", ApiKey::ListGroups),
    (0, 5),
    3,
    fields(&[
        int32("throttle_time_ms").since(1),
        int16("error_code"),
        list(
            "groups",
            &fields(&[
                string("group_id"),
                string("protocol_type"),
                string("group_state").since(4),
                string("group_type").since(5),
            ]),
        ),
    ]),
);

/// A group, in few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub group_id: String,
    /// `consumer` for consumer groups; empty for one that only stores offsets.
    pub protocol_type: String,
}

/// Asks for all groups, of all types and in all states.
pub fn request() -> ListGroupsRequest {
    ListGroupsRequest::default()
}

/// In the broker's order.
pub fn read(response: ListGroupsResponse) -> Result<Vec<ListedGroup>, ApiError> {
    check(response.error_code)?;
    let groups = response.groups.into_iter().map(|group| ListedGroup {
        group_id: group.group_id.to_string(),
        protocol_type: group.protocol_type.to_string(),
    });
    Ok(groups.collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::super::{group_id, text};
    use super::*;
    use crate::error::ErrorCode;
    use kafka_protocol::messages::list_groups_response::ListedGroup as Listed;

    #[test]
    fn groups_are_asked_for_and_read_in_every_version() {
        for version in versions::<ListGroupsRequest>() {
            let sent = as_read(&request(), version);
            assert!(sent.states_filter.is_empty() && sent.types_filter.is_empty());
            let group = Listed::default()
                .with_group_id(group_id("g"))
                .with_protocol_type(text("consumer"));
            let response = ListGroupsResponse::default().with_groups(vec![group]);
            let groups = read(over_the_wire::<ListGroupsRequest>(&response, version));
            let expected = ListedGroup {
                group_id: "g".into(),
                protocol_type: "consumer".into(),
            };
            assert_eq!(groups, Ok(vec![expected]));
            let code = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
            let refused = ListGroupsResponse::default().with_error_code(code.0);
            let refused = over_the_wire::<ListGroupsRequest>(&refused, version);
            assert_eq!(read(refused), Err(code.into()));
        }
    }
}
