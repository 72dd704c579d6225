//! Which handler answers to which API.

use brod_protocol::WireError;
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest};
use kafka_protocol::protocol::{Decodable, Encodable, Request};

use crate::api;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::shapes;
use crate::throttle::Throttled;

/// Decodes a request, has it answered, and encodes the answer's body.
pub(crate) fn dispatch(
    cluster: &mut Cluster,
    connection: &mut Connection,
    call: &Call,
    api_key: i16,
    body: Bytes,
) -> Result<Answer<Bytes>, WireError> {
    let Ok(key) = ApiKey::try_from(api_key) else {
        cluster.complain(format!("nobody knows an API {api_key}"));
        return Ok(Answer::Close);
    };
    if !cluster.config.version.answers(key, call.version) {
        // The one refusal that tells a newer client what it may ask (KIP-511).
        return match key {
            ApiKey::ApiVersions => {
                let response = api::api_versions::unsupported(cluster);
                brod_protocol::encode_response::<ApiVersionsRequest>(&response, 0).map(Answer::Now)
            }
            _ => {
                let (version, release) = (call.version, cluster.config.version);
                cluster.complain(format!(
                    "{key:?} is not offered in version {version} as {release:?}"
                ));
                Ok(Answer::Close)
            }
        };
    }
    let stranger = !cluster.config.users.is_empty() && connection.principal.is_none();
    let open_to_all = matches!(
        key,
        ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate
    );
    if stranger && !open_to_all {
        cluster.complain(format!("{key:?} comes before a login"));
        return Ok(Answer::Close);
    }
    // The message crate allocates for as many elements as an array claims to have.
    if let Some(shape) = shapes::of(key) {
        let checked = shape.check(&body, call.version);
        checked.map_err(|why| WireError::Malformed(why.to_string()))?;
    }
    let on = On {
        cluster,
        connection,
        call,
        body,
    };
    match key {
        ApiKey::ApiVersions => on.call(api::api_versions::handle),
        ApiKey::AlterClientQuotas => on.call(api::quotas::alter),
        ApiKey::AlterConfigs => on.call(api::configs::alter),
        ApiKey::CreatePartitions => on.call(api::admin::create_partitions),
        ApiKey::DeleteRecords => on.call(api::admin::delete_records),
        ApiKey::DescribeClientQuotas => on.call(api::quotas::describe),
        ApiKey::DescribeCluster => on.call(api::admin::describe_cluster),
        ApiKey::DescribeConfigs => on.call(api::configs::describe),
        ApiKey::IncrementalAlterConfigs => on.call(api::configs::alter_incrementally),
        ApiKey::CreateTopics => on.call(api::topics::create),
        ApiKey::DeleteTopics => on.call(api::topics::delete),
        ApiKey::Fetch => on.call(api::fetch::handle),
        ApiKey::ListOffsets => on.call(api::list_offsets::handle),
        ApiKey::OffsetForLeaderEpoch => on.call(api::offset_for_leader_epoch::handle),
        ApiKey::Produce => on.call(api::produce::handle),
        ApiKey::Metadata => on.call(api::metadata::handle),
        ApiKey::SaslHandshake => on.call(api::sasl::handshake),
        ApiKey::SaslAuthenticate => on.call(api::sasl::authenticate),
        ApiKey::FindCoordinator => on.call(api::groups::find_coordinator),
        ApiKey::JoinGroup => on.call(api::groups::join),
        ApiKey::SyncGroup => on.call(api::groups::sync),
        ApiKey::Heartbeat => on.call(api::groups::heartbeat),
        ApiKey::LeaveGroup => on.call(api::groups::leave),
        ApiKey::ListGroups => on.call(api::groups::list),
        ApiKey::DescribeGroups => on.call(api::groups::describe),
        ApiKey::DeleteGroups => on.call(api::groups::delete),
        ApiKey::OffsetDelete => on.call(api::groups::delete_offsets),
        ApiKey::ConsumerGroupHeartbeat => on.call(api::groups::consumer_heartbeat),
        ApiKey::ConsumerGroupDescribe => on.call(api::groups::describe_consumers),
        ApiKey::OffsetCommit => on.call(api::offsets::commit),
        ApiKey::OffsetFetch => on.call(api::offsets::fetch),
        ApiKey::InitProducerId => on.call(api::txns::init),
        ApiKey::AddPartitionsToTxn => on.call(api::txns::add_partitions),
        ApiKey::AddOffsetsToTxn => on.call(api::txns::add_offsets),
        ApiKey::EndTxn => on.call(api::txns::end),
        ApiKey::TxnOffsetCommit => on.call(api::txns::commit_offsets),
        ApiKey::GetTelemetrySubscriptions => on.call(api::telemetry::subscriptions),
        ApiKey::PushTelemetry => on.call(api::telemetry::push),
        _ => Ok(Answer::Close),
    }
}

struct On<'a> {
    cluster: &'a mut Cluster,
    connection: &'a mut Connection,
    call: &'a Call,
    body: Bytes,
}

impl On<'_> {
    fn call<R>(
        self,
        handler: impl FnOnce(&mut Cluster, &mut Connection, &Call, R) -> Answer<R::Response>,
    ) -> Result<Answer<Bytes>, WireError>
    where
        R: Request + Decodable,
        R::Response: Encodable + Throttled,
    {
        let version = self.call.version;
        let request = brod_protocol::decode_request::<R>(self.body, version)?;
        Ok(
            match handler(self.cluster, self.connection, self.call, request) {
                Answer::Now(mut response) => {
                    response.throttle(self.call.waiter.throttle);
                    Answer::Now(brod_protocol::encode_response::<R>(&response, version)?)
                }
                Answer::Later => Answer::Later,
                Answer::Never => Answer::Never,
                Answer::Close => Answer::Close,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use brod_protocol::header::RequestHeader;
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    use kafka_protocol::messages::*;

    use crate::{Applied, Cluster, Config, Plan, Release};

    /// In each version that any release offers; the answer must come, and be one that a client reads.
    fn ask<R>(request: impl Fn(i16, uuid::Uuid) -> R)
    where
        R: kafka_protocol::protocol::Request,
    {
        for release in [
            Release::V0_11,
            Release::V1_1,
            Release::V2_8,
            Release::V3_9,
            Release::V4_1,
        ] {
            let topics = [("t".to_owned(), 1)].into();
            let config = Config {
                version: release,
                topics,
                ..Config::default()
            };
            let mut cluster = Cluster::new(config, &[9092]);
            let id = cluster.topics.get("t").unwrap().id;
            let mut connection = cluster.connected(1);
            let Some((_, oldest, newest)) =
                release.apis().find(|(key, _, _)| *key as i16 == R::KEY)
            else {
                continue;
            };
            for version in oldest..=newest {
                let body = brod_protocol::encode(&request(version, id), version).unwrap();
                let header = RequestHeader {
                    api_key: R::KEY,
                    version,
                    correlation_id: 1,
                    client_id: None,
                };
                let plan = Plan {
                    throttle: 5,
                    ..Plan::default()
                };
                let applied = cluster.apply(&mut connection, &header, body, &plan, 0);
                let Applied::Answer(mut body) = applied else {
                    panic!("{release:?}, version {version}: {applied:?}");
                };
                <R::Response as kafka_protocol::protocol::Decodable>::decode(&mut body, version)
                    .unwrap();
                assert!(body.is_empty());
            }
        }
    }

    fn t() -> TopicName {
        TopicName(crate::api::text("t"))
    }

    #[test]
    fn every_version_that_is_offered_is_answered() {
        ask(|_, _| ApiVersionsRequest::default());
        ask(|_, _| MetadataRequest::default().with_topics(Some(vec![])));
        ask(|_, _| DeleteTopicsRequest::default());
        ask(|_, _| AlterClientQuotasRequest::default());
        ask(|_, _| DescribeClientQuotasRequest::default());
        ask(|_, _| DescribeClusterRequest::default());
        ask(|_, _| {
            let topic = create_partitions_request::CreatePartitionsTopic::default();
            let topic = topic.with_name(t()).with_count(2).with_assignments(None);
            CreatePartitionsRequest::default().with_topics(vec![topic])
        });
        ask(|_, _| {
            let topic = delete_records_request::DeleteRecordsTopic::default();
            let topic = topic
                .with_name(t())
                .with_partitions(vec![Default::default()]);
            DeleteRecordsRequest::default().with_topics(vec![topic])
        });
        ask(|_, _| {
            let topic = describe_configs_request::DescribeConfigsResource::default();
            let topic = topic
                .with_resource_type(2)
                .with_resource_name(crate::api::text("t"));
            let topic = topic.with_configuration_keys(None);
            DescribeConfigsRequest::default().with_resources(vec![topic])
        });
        ask(|_, _| {
            let topic = alter_configs_request::AlterConfigsResource::default();
            let topic = topic
                .with_resource_type(2)
                .with_resource_name(crate::api::text("t"));
            AlterConfigsRequest::default().with_resources(vec![topic])
        });
        ask(|_, _| {
            let topic = incremental_alter_configs_request::AlterConfigsResource::default();
            let topic = topic
                .with_resource_type(2)
                .with_resource_name(crate::api::text("t"));
            IncrementalAlterConfigsRequest::default().with_resources(vec![topic])
        });
        ask(|_, _| {
            let topic = create_topics_request::CreatableTopic::default().with_name(t());
            CreateTopicsRequest::default().with_topics(vec![topic])
        });
        ask(|_, _| {
            let partition = ListOffsetsPartition::default().with_timestamp(-2);
            let topic = ListOffsetsTopic::default()
                .with_name(t())
                .with_partitions(vec![partition]);
            ListOffsetsRequest::default().with_topics(vec![topic])
        });
        ask(|version, id| {
            let topic =
                fetch_request::FetchTopic::default().with_partitions(vec![Default::default()]);
            let topic = if version < 13 {
                topic.with_topic(t())
            } else {
                topic.with_topic_id(id)
            };
            FetchRequest::default().with_topics(vec![topic])
        });
        ask(|version, id| {
            let topic = produce_request::TopicProduceData::default()
                .with_partition_data(vec![Default::default()]);
            let topic = if version < 13 {
                topic.with_name(t())
            } else {
                topic.with_topic_id(id)
            };
            ProduceRequest::default()
                .with_acks(-1)
                .with_topic_data(vec![topic])
        });
        ask(|_, _| {
            let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
                .with_topic(t())
                .with_partitions(vec![Default::default()]);
            OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
        });
    }
}
