//! What the scripted brokers of the tests have in common: connections, metadata.

#[path = "wire.rs"]
pub(crate) mod wire;

use std::future::Future;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpListener;
pub(crate) use wire::{encoded, talk, Versions};

/// The topic of the tests.
pub(crate) fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

/// What all brokers say: `t` has a hundred partitions, and `leader` leads them. `brokers` by node id, with
/// their ports.
pub(crate) fn metadata(brokers: &[(i32, u16)], leader: i32, epoch: i32) -> MetadataResponse {
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(epoch)
    };
    let topic = MetadataResponseTopic::default()
        .with_name(Some(topic()))
        .with_partitions((0..100).map(partition).collect());
    let brokers = brokers.iter().map(|(node, port)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(*node))
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port((*port).into())
    });
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_topics(vec![topic])
}

/// Serves all connections. `versions` is asked for each what the broker offers there. `answer` is given the
/// API, the version and the body of a request, and gives the body of the answer; None hangs up.
pub(crate) fn serve<A, F>(
    listener: TcpListener,
    versions: impl Fn() -> Versions + Send + 'static,
    answer: A,
) where
    A: Fn(ApiKey, i16, Bytes) -> F + Clone + Send + 'static,
    F: Future<Output = Option<BytesMut>> + Send,
{
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (answer, versions) = (answer.clone(), versions());
            tokio::spawn(async move { talk(socket, versions, answer).await });
        }
    });
}
