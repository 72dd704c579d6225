//! FindCoordinator: which broker coordinates a group or a transactional id.

use super::{text, Api, ApiError, SHORT};
use crate::shape::build::{fields, int16, int32, list, nullable_string, string};
use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest, FindCoordinatorResponse};

/// This API.
pub const API: Api = Api::new(
    ("FindCoordinator", ApiKey::FindCoordinator),
    (0, 6),
    3,
    fields(&[
        int32("throttle_time_ms").since(1),
        int16("error_code").until(3),
        nullable_string("error_message").since(1).until(3),
        int32("node_id").until(3),
        string("host").until(3),
        int32("port").until(3),
        list(
            "coordinators",
            &fields(&[
                string("key"),
                int32("node_id"),
                string("host"),
                int32("port"),
                int16("error_code"),
                nullable_string("error_message"),
            ]),
        )
        .since(4),
    ]),
)
.answers(SHORT);

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinatorKind {
    /// A consumer group.
    Group,
    /// A transactional id.
    Transaction,
}

/// A broker that coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinator {
    /// Its node id.
    pub node: i32,
    /// Where it listens.
    pub host: String,
    /// As the broker says it, which may be no port.
    pub port: i32,
}

/// From this version on there is a list of ids, in another field.
const LISTS: i16 = 4;

/// Asks for one id's coordinator. Version 0 knows groups only: there is no way to ask it for anything
/// else, and encoding the request fails.
pub fn request(version: i16, kind: CoordinatorKind, id: &str) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default().with_key_type(match kind {
        CoordinatorKind::Group => 0,
        CoordinatorKind::Transaction => 1,
    });
    if version < LISTS {
        return request.with_key(text(id));
    }
    request.with_coordinator_keys(vec![text(id)])
}

/// The coordinator of the id that was asked for.
pub fn read(version: i16, response: FindCoordinatorResponse) -> Result<Coordinator, ApiError> {
    let r = response;
    let (code, message, node, host, port) = if version < LISTS {
        (r.error_code, r.error_message, r.node_id, r.host, r.port)
    } else {
        let found = r.coordinators.into_iter().next();
        let r = found.ok_or_else(|| ApiError::lacks(API.name, "a coordinator"))?;
        (r.error_code, r.error_message, r.node_id, r.host, r.port)
    };
    ApiError::check(code, message.as_deref())?;
    Ok(Coordinator {
        node: node.0,
        host: host.to_string(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;
    use kafka_protocol::messages::find_coordinator_response;
    use kafka_protocol::messages::BrokerId;

    #[test]
    fn the_id_is_asked_for_in_every_version() {
        for version in versions::<FindCoordinatorRequest>() {
            let kind = match version {
                0 => CoordinatorKind::Group,
                _ => CoordinatorKind::Transaction,
            };
            let read = as_read(&request(version, kind, "id"), version);
            let id = read.coordinator_keys.first().unwrap_or(&read.key);
            assert_eq!(id.as_str(), "id", "version {version}");
            assert_eq!(read.key_type, i8::from(version > 0));
        }
    }

    fn answer(version: i16, code: ErrorCode, words: &str) -> Result<Coordinator, ApiError> {
        let message = (version >= 1).then(|| text(words));
        let response = if version < LISTS {
            FindCoordinatorResponse::default()
                .with_error_code(code.0)
                .with_error_message(message)
                .with_node_id(BrokerId(3))
                .with_host(text("h"))
                .with_port(9092)
        } else {
            let found = find_coordinator_response::Coordinator::default()
                .with_error_code(code.0)
                .with_error_message(message)
                .with_node_id(BrokerId(3))
                .with_host(text("h"))
                .with_port(9092);
            FindCoordinatorResponse::default().with_coordinators(vec![found])
        };
        let response = over_the_wire::<FindCoordinatorRequest>(&response, version);
        read(version, response)
    }

    #[test]
    fn the_coordinator_or_the_refusal_is_read_in_every_version() {
        for version in versions::<FindCoordinatorRequest>() {
            let found = answer(version, ErrorCode::NO_ERROR, "").unwrap();
            assert_eq!((found.node, found.host, found.port), (3, "h".into(), 9092));
            let code = ErrorCode::COORDINATOR_NOT_AVAILABLE;
            assert_eq!(answer(version, code, ""), Err(code.into()));
            let Err(ApiError::Refused { message, .. }) = answer(version, code, "words") else {
                panic!("no refusal");
            };
            assert_eq!(message.as_deref(), (version >= 1).then_some("words"));
        }
    }

    #[test]
    fn an_answer_about_nothing_is_no_coordinator() {
        let nothing = read(LISTS, FindCoordinatorResponse::default());
        assert!(matches!(nothing, Err(ApiError::Malformed(_))));
    }
}
