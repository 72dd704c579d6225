//! Batches that are larger than a partition's share of an answer.

use std::time::Duration;

use brod_engine::consumer::ConsumerConfig;

use crate::broker::Broker;
use crate::{connect, earliest, until, Event, Subscriber};

#[tokio::test]
async fn large_batches_of_many_partitions_do_not_come_one_by_one() {
    const PARTITIONS: i32 = 40;
    let broker = Broker::start().await;
    broker.change(|log| log.is_strict = true);
    let consumers = connect(&broker).await;
    let config = ConsumerConfig {
        max_wait: Duration::from_millis(200),
        ..earliest()
    };
    let mut subscribers = Vec::new();
    for partition in 0..PARTITIONS {
        subscribers.push(Subscriber::start(&consumers, partition, config.clone()).await);
    }
    until("one session has all partitions", || {
        broker.change(|log| log.session.len() == PARTITIONS as usize)
    })
    .await;
    let before = broker.change(|log| log.fetches.len());
    // Three times what a round brings.
    let value = "a".repeat(3 * 8 * 1024 * 1024 / PARTITIONS as usize);
    broker.append_to_all(PARTITIONS, &value);
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.next().await, Event::Message(0, value.clone()));
    }
    let fetches = broker.change(|log| log.fetches.len()) - before;
    assert!(fetches < 10, "{fetches} fetches");
}
