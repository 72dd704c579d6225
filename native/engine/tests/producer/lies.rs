//! A broker whose answer claims more than there is memory for. That is an error of its connection;
//! when it was an allocation, it ended the process.

use std::time::Duration;

use brod_engine::cluster::{Cluster, ClusterConfig};
use brod_engine::error::Error;
use brod_engine::net::{ConnectOptions, Connection, Endpoint, NetError};
use brod_engine::producer::{Cause, Failure, Idempotence, ProducerConfig};
use kafka_protocol::messages::{ApiKey, MetadataRequest, ProduceRequest};
use kafka_protocol::protocol::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::broker::Broker;
use crate::closing::{client, open};
use crate::{until, Producer, LIMIT};

fn endpoint(broker: &Broker) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port: broker.port,
    }
}

fn is_told(error: &NetError) -> bool {
    matches!(error, NetError::Protocol(text) if text.contains("claims 2147483647,"))
}

async fn call_fails<R: Request + Default>(broker: &Broker) {
    let options = ConnectOptions::default();
    let connection = Connection::open(&endpoint(broker), &options).await.unwrap();
    let key = ApiKey::try_from(R::KEY).unwrap();
    broker.change(|state| state.lie = Some(key));
    let error = connection.call(&R::default(), LIMIT).await.err().unwrap();
    assert!(is_told(&error), "{key:?}: {error}");
    assert!(connection.is_closed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_fails_when_an_answer_lies() {
    let broker = Broker::start_as(1).await;
    call_fails::<MetadataRequest>(&broker).await;
    call_fails::<ProduceRequest>(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_answer_to_the_version_query_is_not_kafka() {
    // An error code and the number of APIs, as version 3 has it, and version 0.
    for start in [
        &[0, 0, 0x80, 0x80, 0x80, 0x80, 0x08],
        &[0, 35, 0x7f, 0xff, 0xff, 0xff, 0xff],
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
        };
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; socket.read_i32().await.unwrap() as usize];
            socket.read_exact(&mut request).await.unwrap();
            let answer = [&request[4..8], start, &[0; 100]].concat();
            socket.write_i32(answer.len() as i32).await.unwrap();
            socket.write_all(&answer).await.unwrap();
            // Open until the other side closes.
            let _ = socket.read_i32().await;
        });
        let opened = Connection::open(&endpoint, &ConnectOptions::default()).await;
        let error = opened.err().unwrap();
        assert!(matches!(error, NetError::NotKafka(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_connects_once_the_metadata_are_true() {
    let broker = Broker::start_as(1).await;
    broker.change(|state| state.lie = Some(ApiKey::Metadata));
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![endpoint(&broker)],
        ..ClusterConfig::default()
    });
    match cluster.connect().await {
        Err(Error::Unreachable(why)) => assert!(is_told(&why[0].1), "{why:?}"),
        other => panic!("{other:?}"),
    }
    cluster.connect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lying_answer_was_for_is_sent_again() {
    let broker = Broker::start_as(1).await;
    let (_cluster, mut producer) = Producer::start(&broker, Duration::from_millis(10)).await;
    broker.change(|state| state.lie = Some(ApiKey::Produce));
    producer.send("a");
    assert_eq!(producer.result().await, Ok(0));
    assert!(broker.change(|state| state.lie.is_none()));
}

/// Brokers that are starting were seen to do so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_leaves_out_produce_is_asked_again() {
    let broker = Broker::start_as(1).await;
    broker.change(|state| state.lacks_produce = true);
    let (_cluster, producers) = client(&broker).await;
    let config = ProducerConfig {
        retry_backoff: Duration::from_millis(10),
        idempotence: Idempotence::Off,
        ..ProducerConfig::default()
    };
    let mut producer = open(&producers, 0, config);
    producer.send("a");
    assert_eq!(
        producer.result().await,
        Err(Failure::RetriesUsedUp(Cause::Net(
            NetError::UnsupportedApi {
                api: "Produce".into()
            }
        )))
    );
    assert!(broker.change(|state| state.told_so) > 2);
    let (_cluster, mut producer) = Producer::start(&broker, Duration::from_millis(10)).await;
    let before = broker.change(|state| state.told_so);
    producer.send("b");
    until("nobody asked for versions", || {
        broker.change(|state| state.told_so) > before
    })
    .await;
    broker.change(|state| state.lacks_produce = false);
    assert_eq!(producer.result().await, Ok(0));
}
