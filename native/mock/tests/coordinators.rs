//! What coordinators answer, as it comes over the wire.

use brod_mock::{Applied, Cluster, Config, Connection, Plan};
use brod_protocol::error::ErrorCode;
use brod_protocol::header::RequestHeader;
use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message, Request, StrBytes};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

struct Client {
    cluster: Cluster,
    connection: Connection,
}

impl Client {
    /// Of a cluster of one broker.
    fn new() -> Client {
        let config = Config {
            topics: [("topic".to_owned(), 2)].into(),
            ..Config::default()
        };
        let mut cluster = Cluster::new(config, &[9092]);
        let connection = cluster.connected(1);
        Client {
            cluster,
            connection,
        }
    }

    /// The answer, or the waiter's id.
    fn ask<R>(&mut self, request: &R, version: i16) -> Result<R::Response, u64>
    where
        R: Request + Encodable,
        R::Response: Decodable,
    {
        let header = RequestHeader {
            api_key: R::KEY,
            version,
            correlation_id: 1,
            client_id: Some("client".into()),
        };
        let body = brod_protocol::encode(request, version).unwrap();
        let applied = self
            .cluster
            .apply(&mut self.connection, &header, body, &Plan::default(), 0);
        let body = match applied {
            Applied::Answer(body) => body,
            Applied::Later(id) => {
                let completed = self.cluster.take_completed();
                match completed.into_iter().find(|(known, _)| *known == id) {
                    Some((_, body)) => body,
                    None => return Err(id),
                }
            }
            other => panic!("API {} version {version}: {other:?}", R::KEY),
        };
        Ok(read(body, version))
    }
}

fn read<M: Decodable>(mut body: Bytes, version: i16) -> M {
    let message = M::decode(&mut body, version).unwrap();
    assert!(body.is_empty(), "bytes are left over");
    message
}

/// In every version that both the message crate and the mock know.
fn in_every_version<R>(oldest: i16, newest: i16)
where
    R: Request + Encodable + Default,
    R::Response: Decodable,
{
    for version in oldest..=newest.min(<R as Message>::VERSIONS.max) {
        let mut client = Client::new();
        let answered = client.ask(&R::default(), version);
        assert!(answered.is_ok(), "API {} version {version}", R::KEY);
    }
}

#[test]
fn every_version_of_every_api_of_coordinators_is_answered() {
    in_every_version::<FindCoordinatorRequest>(0, 6);
    in_every_version::<JoinGroupRequest>(0, 9);
    in_every_version::<SyncGroupRequest>(0, 5);
    in_every_version::<HeartbeatRequest>(0, 4);
    in_every_version::<LeaveGroupRequest>(0, 5);
    in_every_version::<ListGroupsRequest>(0, 5);
    in_every_version::<DescribeGroupsRequest>(0, 6);
    in_every_version::<DeleteGroupsRequest>(0, 2);
    in_every_version::<OffsetDeleteRequest>(0, 0);
    in_every_version::<ConsumerGroupHeartbeatRequest>(1, 1);
    in_every_version::<ConsumerGroupDescribeRequest>(1, 1);
    in_every_version::<OffsetCommitRequest>(2, 9);
    in_every_version::<OffsetFetchRequest>(1, 9);
    in_every_version::<InitProducerIdRequest>(0, 5);
    in_every_version::<AddPartitionsToTxnRequest>(0, 5);
    in_every_version::<AddOffsetsToTxnRequest>(0, 4);
    in_every_version::<EndTxnRequest>(0, 5);
    in_every_version::<TxnOffsetCommitRequest>(0, 5);
}

#[test]
fn a_member_joins_and_commits_in_every_version() {
    for version in 0..=9 {
        let mut client = Client::new();
        let group = GroupId(text("group"));
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"wishes"));
        let mut join = JoinGroupRequest::default()
            .with_group_id(group.clone())
            .with_session_timeout_ms(1000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let mut joined = client.ask(&join, version).unwrap();
        if version >= 4 {
            assert_eq!(joined.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
            join.member_id = joined.member_id;
            joined = client.ask(&join, version).unwrap();
        }
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        assert_eq!(joined.leader, joined.member_id);
        let assignment = sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(Bytes::from_static(b"all"));
        let sync = SyncGroupRequest::default()
            .with_group_id(group.clone())
            .with_member_id(joined.member_id.clone())
            .with_generation_id(1)
            .with_assignments(vec![assignment]);
        let synced = client.ask(&sync, version.min(4)).unwrap();
        assert_eq!(synced.assignment, "all");

        let partition = offset_commit_request::OffsetCommitRequestPartition::default()
            .with_partition_index(1)
            .with_committed_offset(5)
            .with_committed_metadata(Some(text("why")));
        let topic = offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(TopicName(text("topic")))
            .with_partitions(vec![partition]);
        let commit = OffsetCommitRequest::default()
            .with_group_id(group.clone())
            .with_member_id(joined.member_id)
            .with_generation_id_or_member_epoch(1)
            .with_topics(vec![topic]);
        let committed = client.ask(&commit, version.clamp(2, 9)).unwrap();
        assert_eq!(committed.topics[0].partitions[0].error_code, 0);

        let fetch_version = version.clamp(2, 9);
        let mut fetch = OffsetFetchRequest::default();
        if fetch_version >= 8 {
            let all = offset_fetch_request::OffsetFetchRequestGroup::default()
                .with_group_id(group)
                .with_topics(None);
            fetch.groups = vec![all];
        } else {
            fetch = fetch.with_group_id(group).with_topics(None);
        }
        let fetched = client.ask(&fetch, fetch_version).unwrap();
        let offset = match fetch_version >= 8 {
            true => fetched.groups[0].topics[0].partitions[0].committed_offset,
            false => fetched.topics[0].partitions[0].committed_offset,
        };
        assert_eq!(offset, 5);
    }
}

#[test]
fn another_broker_says_that_it_does_not_coordinate_the_group() {
    let mut client = Client::new();
    client.cluster = Cluster::new(Config::default(), &[1, 2, 3]);
    let codes = [1, 2, 3].map(|broker| {
        client.connection = client.cluster.connected(broker);
        let request = HeartbeatRequest::default().with_group_id(GroupId(text("group")));
        client.ask(&request, 4).unwrap().error_code
    });
    let here = codes
        .iter()
        .filter(|code| **code == ErrorCode::UNKNOWN_MEMBER_ID.0);
    let elsewhere = codes
        .iter()
        .filter(|code| **code == ErrorCode::NOT_COORDINATOR.0);
    assert_eq!((here.count(), elsewhere.count()), (1, 2));
}
