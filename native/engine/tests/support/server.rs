//! What the scripted brokers of the tests have in common: frames, versions, metadata.

use std::future::Future;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, MetadataResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The APIs that a broker offers, and the newest version of each.
pub type Versions = &'static [(ApiKey, i16)];

/// The topic of the tests.
pub fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

/// What all brokers say: `t` has a hundred partitions, and `leader` leads them. `brokers` by node id, with
/// their ports.
pub fn metadata(brokers: &[(i32, u16)], leader: i32, epoch: i32) -> MetadataResponse {
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

/// Serves all connections. `answer` is given the API, the version and the body of a request, and
/// gives the body of the answer; None hangs up.
pub fn serve<A, F>(listener: TcpListener, versions: Versions, answer: A)
where
    A: Fn(ApiKey, i16, Bytes) -> F + Clone + Send + 'static,
    F: Future<Output = Option<BytesMut>> + Send,
{
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move { talk(socket, versions, answer).await });
        }
    });
}

async fn talk<A, F>(mut socket: TcpStream, versions: Versions, answer: A) -> Option<()>
where
    A: Fn(ApiKey, i16, Bytes) -> F,
    F: Future<Output = Option<BytesMut>>,
{
    loop {
        let size = socket.read_i32().await.ok()?;
        let mut frame = vec![0; size as usize];
        socket.read_exact(&mut frame).await.ok()?;
        let mut frame = Bytes::from(frame);
        let key = ApiKey::try_from(i16::from_be_bytes([frame[0], frame[1]])).unwrap();
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        let header =
            RequestHeader::decode(&mut frame, key.request_header_version(version)).unwrap();
        let body = match key {
            ApiKey::ApiVersions => encoded(&api_versions(versions), version),
            _ => answer(key, version, frame).await?,
        };
        let mut head = BytesMut::new();
        head.put_i32(header.correlation_id);
        if key.response_header_version(version) == 1 {
            head.put_u8(0);
        }
        let size = (head.len() + body.len()) as i32;
        let whole = [&size.to_be_bytes()[..], &head, &body].concat();
        socket.write_all(&whole).await.ok()?;
    }
}

/// A response as it goes on the wire.
pub fn encoded(response: &impl Encodable, version: i16) -> BytesMut {
    let mut body = BytesMut::new();
    response.encode(&mut body, version).unwrap();
    body
}

fn api_versions(versions: Versions) -> ApiVersionsResponse {
    let keys = versions.iter().map(|(key, max)| {
        ApiVersion::default()
            .with_api_key(*key as i16)
            .with_max_version(*max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}
