//! The shapes of all responses that this engine decodes, in the versions that `kafka-protocol`
//! knows. Where one is missing or lacks a version, `decode_response` does not compile.

use kafka_protocol::messages::ApiKey;

use super::shape::{Field, Fields, Kind, Null, Shape};

mod groups;
mod sasl;
mod topics;

/// By API key.
pub const ALL: &[&Shape] = &[
    &topics::PRODUCE,
    &topics::FETCH,
    &topics::LIST_OFFSETS,
    &topics::METADATA,
    &groups::OFFSET_COMMIT,
    &groups::OFFSET_FETCH,
    &groups::FIND_COORDINATOR,
    &groups::JOIN_GROUP,
    &groups::HEARTBEAT,
    &groups::LEAVE_GROUP,
    &groups::SYNC_GROUP,
    &groups::DESCRIBE_GROUPS,
    &groups::LIST_GROUPS,
    &topics::API_VERSIONS,
    &topics::CREATE_TOPICS,
    &topics::DELETE_TOPICS,
    &topics::INIT_PRODUCER_ID,
    &topics::OFFSET_FOR_LEADER_EPOCH,
    &sasl::SASL_HANDSHAKE,
    &sasl::SASL_AUTHENTICATE,
];

/// The shape of the API's responses.
pub const fn of(api_key: i16) -> Option<&'static Shape> {
    let mut i = 0;
    while i < ALL.len() {
        if ALL[i].api_key == api_key {
            return Some(ALL[i]);
        }
        i += 1;
    }
    None
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        since: 0,
        until: i16::MAX,
    }
}

impl Field {
    const fn since(mut self, version: i16) -> Field {
        self.since = version;
        self
    }

    const fn until(mut self, version: i16) -> Field {
        self.until = version;
        self
    }
}

const fn bool(name: &'static str) -> Field {
    field(name, Kind::Fixed(1))
}

const fn int8(name: &'static str) -> Field {
    field(name, Kind::Fixed(1))
}

const fn int16(name: &'static str) -> Field {
    field(name, Kind::Fixed(2))
}

const fn int32(name: &'static str) -> Field {
    field(name, Kind::Fixed(4))
}

const fn int64(name: &'static str) -> Field {
    field(name, Kind::Fixed(8))
}

const fn uuid(name: &'static str) -> Field {
    field(name, Kind::Fixed(16))
}

const fn string(name: &'static str) -> Field {
    field(name, Kind::Text(Null::Refused))
}

const fn nullable_string(name: &'static str) -> Field {
    field(name, Kind::Text(Null::Allowed))
}

const fn bytes(name: &'static str) -> Field {
    field(name, Kind::Blob(Null::Refused))
}

const fn records(name: &'static str) -> Field {
    field(name, Kind::Blob(Null::Allowed))
}

const fn int32s(name: &'static str) -> Field {
    field(name, Kind::Numbers(4))
}

const fn list(name: &'static str, element: &'static Fields) -> Field {
    field(name, Kind::List(element, Null::Refused))
}

const fn nullable_list(name: &'static str, element: &'static Fields) -> Field {
    field(name, Kind::List(element, Null::Allowed))
}

const fn tagged(name: &'static str, fields: &'static Fields) -> Field {
    field(name, Kind::Struct(fields))
}

const fn fields(plain: &'static [Field]) -> Fields {
    Fields { plain, tagged: &[] }
}

const fn shape(
    (api, api_key): (&'static str, ApiKey),
    (oldest, newest): (i16, i16),
    flexible: i16,
    body: Fields,
) -> Shape {
    Shape {
        api,
        api_key: api_key as i16,
        oldest,
        newest,
        flexible,
        body,
    }
}
