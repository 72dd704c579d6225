//! Kafka's APIs, one a file: how a request is written in each version, how the answer is read, its
//! shape, and the versions that this client speaks.
//!
//! To add one: a file with its [`Api`], a line in [`ALL`], and a line in `tests/response_shapes`, which
//! holds the shape against the message crate.

use std::collections::HashMap;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, GroupId, TopicName};
use kafka_protocol::protocol::{Message, Request, StrBytes};

use crate::frame::MAX_FRAME;
use crate::shape::build::{fields, int32, nullable_string, string};
use crate::shape::{Fields, Shape};

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod api_versions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_groups;
pub mod end_txn;
mod error;
pub mod fetch;
pub mod find_coordinator;
pub mod get_telemetry_subscriptions;
pub mod heartbeat;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
mod membership;
pub mod metadata;
pub mod offset_commit;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod push_telemetry;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod sync_group;
mod topic_id;
pub mod txn_offset_commit;

pub use error::{check, refusal, ApiError};
pub use membership::Membership;
pub use topic_id::TopicId;

/// All of them, by API key.
pub const ALL: &[&Api] = &[
    &produce::API,
    &fetch::API,
    &list_offsets::API,
    &metadata::API,
    &offset_commit::API,
    &offset_fetch::API,
    &find_coordinator::API,
    &join_group::API,
    &heartbeat::API,
    &leave_group::API,
    &sync_group::API,
    &describe_groups::API,
    &list_groups::API,
    &api_versions::API,
    &create_topics::API,
    &delete_topics::API,
    &init_producer_id::API,
    &offset_for_leader_epoch::API,
    &add_partitions_to_txn::API,
    &add_offsets_to_txn::API,
    &end_txn::API,
    &txn_offset_commit::API,
    &sasl_handshake::API,
    &sasl_authenticate::API,
    &get_telemetry_subscriptions::API,
    &push_telemetry::API,
];

/// What this client knows of one of Kafka's APIs.
pub struct Api {
    /// Kafka's name of it.
    pub name: &'static str,
    /// Kafka's number of it.
    pub key: i16,
    /// The oldest and the newest version that this client speaks. Where there are [`Api::by_id`], the newest
    /// one in which topics are named by their names.
    pub versions: (i16, i16),
    /// The oldest and the newest version in which topics are named by their ids (KIP-516), for those who know
    /// them.
    pub by_id: Option<(i16, i16)>,
    /// Of its responses, in all versions that the message crate knows.
    pub shape: Shape,
    /// The longest answer, in bytes, that is taken from a broker. For Fetch see
    /// [`longest_answer`].
    pub longest_answer: usize,
}

/// For answers of a fixed size, or nearly.
const SHORT: usize = 1024 * 1024;
/// For answers that grow with the cluster: a million groups, members of many groups.
const LONG: usize = 64 * 1024 * 1024;
/// For the largest that grow so: a million partitions.
const LONGEST: usize = 128 * 1024 * 1024;

impl Api {
    const fn new(
        (name, key): (&'static str, ApiKey),
        (oldest, newest): (i16, i16),
        flexible: i16,
        body: Fields,
    ) -> Api {
        Api {
            name,
            key: key as i16,
            versions: (oldest, newest),
            by_id: None,
            shape: Shape {
                oldest,
                newest,
                flexible,
                body,
            },
            longest_answer: LONG,
        }
    }

    /// Newer versions are not spoken.
    const fn up_to(mut self, version: i16) -> Api {
        self.versions.1 = version;
        self
    }

    /// From this version on topics are named by their ids.
    const fn by_id_from(mut self, version: i16) -> Api {
        self.by_id = Some((version, self.versions.1));
        self.versions.1 = version - 1;
        self
    }

    const fn answers(mut self, longest: usize) -> Api {
        self.longest_answer = longest;
        self
    }
}

/// The API of this key.
pub const fn of(key: i16) -> Option<&'static Api> {
    let mut i = 0;
    while i < ALL.len() {
        if ALL[i].key == key {
            return Some(ALL[i]);
        }
        i += 1;
    }
    None
}

/// The API of a request. Does not compile for one that is not here: its answer could not be checked,
/// so it is not decoded either.
pub(crate) const fn of_request<R: Request>() -> &'static Api {
    let Some(api) = of(R::KEY) else {
        panic!("brod_protocol::api lacks this API");
    };
    let decoded = <R::Response as Message>::VERSIONS;
    assert!(
        api.shape.oldest == decoded.min && api.shape.newest == decoded.max,
        "brod_protocol::api has this API in other versions than kafka-protocol"
    );
    let encoded = <R as Message>::VERSIONS;
    let newest = match api.by_id {
        Some((_, newest)) => newest,
        None => api.versions.1,
    };
    assert!(
        api.versions.0 >= encoded.min && newest <= encoded.max,
        "kafka-protocol cannot write this API's requests in all versions that brod_protocol::api speaks"
    );
    api
}

/// The longest answer that a broker may give to this request, in bytes: a frame that says it is
/// longer is not read.
pub fn longest_answer(key: i16, version: i16, body: &[u8]) -> usize {
    match of(key) {
        _ if key == fetch::API.key => fetch::longest_answer(version, body),
        Some(api) => api.longest_answer,
        // Asked by somebody who writes requests himself.
        None => MAX_FRAME,
    }
}

/// The broker that a partition moved to (KIP-951).
const LEADER: Fields = fields(&[int32("leader_id"), int32("leader_epoch")]);

const NODE_ENDPOINT: Fields = fields(&[
    int32("node_id"),
    string("host"),
    int32("port"),
    nullable_string("rack"),
]);

/// A leader that a response names along with a refusal (KIP-951).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedLeader {
    /// Its node id.
    pub node: i32,
    /// Since which election.
    pub epoch: i32,
    /// Where it listens, if the response says so: host and port. The port may be none.
    pub endpoint: Option<(String, i32)>,
}

/// Partitions by topic.
pub type TopicPartitions = Vec<(String, Vec<i32>)>;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn group_id(id: &str) -> GroupId {
    GroupId(text(id))
}

/// As fields of requests have it.
fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Partitions, or what is said of them, gathered by topic, in the order in which each topic came first.
fn by_topic<'a, T>(parts: impl IntoIterator<Item = (&'a str, T)>) -> Vec<(&'a str, Vec<T>)> {
    let mut topics: Vec<(&str, Vec<T>)> = Vec::new();
    let mut at: HashMap<&str, usize> = HashMap::new();
    for (topic, part) in parts {
        let at = *at.entry(topic).or_insert_with(|| {
            topics.push((topic, Vec::new()));
            topics.len() - 1
        });
        topics[at].1.push(part);
    }
    topics
}

/// A text of a response that may be null.
fn owned(text: Option<StrBytes>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod testing {
    use bytes::BytesMut;
    use kafka_protocol::protocol::{Decodable, Encodable, Request};

    use super::of_request;

    /// The versions that this client speaks.
    pub(super) fn versions<R: Request>() -> std::ops::RangeInclusive<i16> {
        let (oldest, newest) = of_request::<R>().versions;
        oldest..=newest
    }

    /// Those among them and behind them, in which topics are named by ids too.
    pub(super) fn all_versions<R: Request>() -> std::ops::RangeInclusive<i16> {
        let api = of_request::<R>();
        api.versions.0..=api.by_id.map_or(api.versions.1, |(_, newest)| newest)
    }

    /// A request as a broker reads it.
    pub(super) fn as_read<R: Request + Decodable>(request: &R, version: i16) -> R {
        let mut bytes = crate::encode(request, version)
            .unwrap_or_else(|error| panic!("version {version}: {error}"));
        let read = R::decode(&mut bytes, version).unwrap();
        assert!(bytes.is_empty());
        read
    }

    /// A response as this client reads it from the wire.
    pub(super) fn over_the_wire<R: Request>(response: &R::Response, version: i16) -> R::Response
    where
        R::Response: Encodable,
    {
        let mut bytes = BytesMut::new();
        response.encode(&mut bytes, version).unwrap();
        crate::decode_response::<R>(bytes.freeze(), version).unwrap()
    }
}
