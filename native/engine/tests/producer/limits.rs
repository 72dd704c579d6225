//! What brokers limit: the size of requests, and how fast they come.

use super::*;
use crate::closing::client;
use std::time::Duration;

/// Producers of many partitions that all have a batch while the broker holds the first one's request.
async fn gathered(
    broker: &Broker,
    partitions: i32,
    value: usize,
    change: impl Fn(&mut ProducerConfig),
) -> (Arc<Cluster>, Vec<Producer>) {
    let (cluster, producers) = client(broker).await;
    let mut config = ProducerConfig {
        retry_backoff: Duration::from_millis(10),
        idempotence: Idempotence::Off,
        ..ProducerConfig::default()
    };
    change(&mut config);
    let open = |partition| {
        let (sender, results) = mpsc::unbounded_channel();
        let partition = producers.open("t", partition, config.clone(), Recorder(sender));
        Producer { partition, results }
    };
    let all: Vec<_> = (0..partitions).map(open).collect();
    broker.change(|state| state.held = Some(0));
    all[0].send("first");
    until("held", || broker.change(|state| state.is_holding)).await;
    for producer in &all[1..] {
        producer.send(&"x".repeat(value));
    }
    broker.change(|state| state.held = None);
    (cluster, all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_join_in_a_request_up_to_its_size_and_a_larger_one_goes_alone() {
    let broker = Broker::start_as(1).await;
    let limit = 10_000;
    let (_cluster, mut all) =
        gathered(&broker, 40, 1_000, |config| config.max_request_size = limit).await;
    all[0].send(&"y".repeat(3 * limit));
    for producer in &mut all {
        assert!(producer.result().await.is_ok());
    }
    assert!(all[0].result().await.is_ok());
    let sizes = broker.change(|state| state.sizes.clone());
    let alone = sizes.iter().filter(|size| **size > limit).count();
    assert_eq!(alone, 1, "{sizes:?}");
    let joined = sizes
        .iter()
        .filter(|size| **size > limit / 2 && **size <= limit)
        .count();
    assert!(joined >= 3, "they still join: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_batches_join_by_the_size_that_they_have_then() {
    let broker = Broker::start_as(1).await;
    let (_cluster, mut all) = gathered(&broker, 40, 1_000, |config| {
        config.max_request_size = 10_000;
        config.codec = brod_protocol::compress::Codec::Zstd;
    })
    .await;
    for producer in &mut all {
        assert!(producer.result().await.is_ok());
    }
    let requests = broker.change(|state| state.requests);
    assert!(requests <= 3, "{requests} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_up_on_large_requests_gets_smaller_ones() {
    let broker = Broker::start_as(1).await;
    broker.change(|state| state.size_limit = Some(150_000));
    let (_cluster, mut all) = gathered(&broker, 40, 20_000, |_| {}).await;
    for producer in &mut all {
        assert!(producer.result().await.is_ok());
    }
    let sizes = broker.change(|state| state.sizes.clone());
    let refused = sizes.iter().filter(|size| **size > 150_000).count();
    assert!((1..=4).contains(&refused), "{sizes:?}");
}

/// With one acknowledging replica nothing tells a repeat from the first time, so none may be sent
/// because the broker takes its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_broker_throttles_the_time_for_an_answer_does_not_run() {
    let broker = Broker::start_as(1).await;
    let (cluster, producers) = client(&broker).await;
    let config = ProducerConfig {
        required_acks: 1,
        partition_onwire_limit: Some(4),
        ..ProducerConfig::default()
    };
    let (sender, results) = mpsc::unbounded_channel();
    let partition = producers.open("t", 0, config, Recorder(sender));
    let mut producer = Producer { partition, results };
    broker.change(|state| state.throttle = 700);
    producer.send("a");
    assert_eq!(producer.result().await, Ok(0));
    producer.send("b");
    assert_eq!(producer.result().await, Ok(1));
    let early = broker.change(|state| state.early);
    assert_eq!(early, 0, "it was sent all the same");
    assert_eq!(broker.change(|state| state.values.clone()), ["a", "b"]);
    drop(cluster);
}
