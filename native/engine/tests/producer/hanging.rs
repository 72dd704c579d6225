//! A leader that takes batches and does not answer.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hanging_broker_has_goes_to_the_next_leader_as_soon_as_there_is_one() {
    let (first, second) = (Broker::start_as(1).await, Broker::start_as(2).await);
    let brokers = vec![(1, first.port), (2, second.port)];
    first.change(|state| state.brokers = brokers.clone());
    second.change(|state| state.brokers = brokers);
    first.change(|state| state.held = Some(0));
    let (_cluster, mut producer) = Producer::start(&first, Duration::from_millis(10)).await;
    producer.send("a");
    until("held", || first.change(|state| state.is_holding)).await;
    for broker in [&first, &second] {
        broker.change(|state| (state.leader, state.leader_epoch) = (Some(2), 1));
    }
    // An answer is waited for twice as long as this test waits.
    assert_eq!(producer.result().await, Ok(0));
    assert_eq!(second.change(|state| state.values.clone()), ["a"]);
}

/// A producer whose answers may take a twentieth of the time that a test waits, though brokers may take `ack_timeout`.
async fn impatient(broker: &Broker, max_retries: i32) -> (Arc<Cluster>, Producer) {
    let cluster = ClusterConfig {
        request_timeout: LIMIT / 20,
        ..ClusterConfig::default()
    };
    let config = ProducerConfig {
        max_retries,
        retry_backoff: Duration::from_millis(10),
        idempotence: Idempotence::Off,
        ..ProducerConfig::default()
    };
    let (cluster, [producer]) = Producer::start_with(broker, cluster, config, [0]).await;
    (cluster, producer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_not_answered_within_request_timeout_is_sent_again() {
    let broker = Broker::start_as(1).await;
    broker.change(|state| state.held = Some(0));
    let (_cluster, mut producer) = impatient(&broker, -1).await;
    producer.send("a");
    until("sent again", || broker.change(|state| state.arrived >= 2)).await;
    broker.change(|state| state.held = None);
    assert!(producer.result().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_never_answered_within_request_timeout_uses_up_its_retries() {
    let broker = Broker::start_as(1).await;
    broker.change(|state| state.held = Some(0));
    let (_cluster, mut producer) = impatient(&broker, 2).await;
    producer.send("a");
    let why = Failure::RetriesUsedUp(Cause::Net(NetError::Timeout));
    assert_eq!(producer.result().await, Err(why));
}
