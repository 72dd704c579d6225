//! Leaders that a broker names when it refuses a fetch (KIP-951). The metadata says all the time
//! that the first broker leads. Version 12, which the client speaks, has the leader's field; where
//! the leader listens comes with 16 and is tested with the producer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::cluster::ClusterConfig;
use brod_engine::consumer::Consumers;

use crate::broker::{Broker, Kind};
use crate::{cluster, connect, earliest, until, Event, Subscriber, HELD_BYTES, LIMIT};

/// Two brokers that the metadata names; the first one leads since `epoch`.
pub(crate) async fn pair(epoch: i32) -> [Arc<Broker>; 2] {
    let brokers = [Broker::start_as(1).await, Broker::start_as(2).await];
    let known: Vec<_> = brokers.iter().map(|b| (b.node, b.port)).collect();
    for broker in &brokers {
        broker.change(|log| {
            log.brokers = known.clone();
            log.leader_epoch = epoch;
            log.epoch_end = i64::MAX;
        });
    }
    brokers
}

/// Has got the message at offset 0 from the first broker.
async fn subscribed(consumers: &Arc<Consumers>, first: &Broker) -> Subscriber {
    first.append(0, 0, &["a"], Kind::default());
    let mut subscriber = Subscriber::start(consumers, 0, earliest()).await;
    assert_eq!(subscriber.offsets(1).await, [0]);
    subscriber
}

/// The broker says that `to` leads, until it has done so twice: the first time was of no use.
async fn refuse_twice(broker: &Broker, to: (i32, i32)) {
    broker.change(|log| {
        log.refused = 0;
        log.moved.insert(0, to);
    });
    until("asked again", || broker.change(|log| log.refused >= 2)).await;
    broker.change(|log| log.moved.clear());
}

fn metadata_requests(brokers: &[Arc<Broker>; 2]) -> u32 {
    let counts = brokers.iter();
    counts
        .map(|b| b.change(|log| log.metadata_requests))
        .sum::<u32>()
}

#[tokio::test]
async fn a_leader_that_a_refusal_names_is_fetched_from_at_once() {
    let brokers = pair(0).await;
    let consumers = connect(&brokers[0]).await;
    let mut subscriber = subscribed(&consumers, &brokers[0]).await;
    let mut fastest = Duration::MAX;
    for epoch in 1..=10 {
        let to = epoch as usize % 2;
        let (from, to) = (&brokers[1 - to], &brokers[to]);
        let offset = i64::from(epoch);
        to.append(0, offset, &["x"], Kind::default());
        to.change(|log| log.moved.clear());
        let start = Instant::now();
        from.change(|log| {
            log.refused = 0;
            log.moved.insert(0, (to.node, epoch));
        });
        assert_eq!(subscriber.next().await, Event::Message(offset, "x".into()));
        fastest = fastest.min(start.elapsed());
        assert_eq!(subscriber.consumer.info().node, Some(to.node));
        assert_eq!(from.change(|log| log.refused), 1);
        subscriber.consumer.ack(offset);
        from.append(0, offset, &["x"], Kind::default());
    }
    // What is tried again after an error waits for 80 ms at least.
    assert!(fastest < Duration::from_millis(60), "{fastest:?}");
}

#[tokio::test]
async fn a_leader_of_an_epoch_that_is_no_newer_is_ignored() {
    let brokers = pair(5).await;
    let [first, second] = &brokers;
    let consumers = connect(first).await;
    let mut subscriber = subscribed(&consumers, first).await;
    refuse_twice(first, (2, 4)).await;
    refuse_twice(first, (2, 5)).await;
    first.append(0, 1, &["b"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [1]);
    assert_eq!(second.change(|log| log.fetches.len()), 0);

    second.append(0, 2, &["c"], Kind::default());
    first.change(|log| log.moved.insert(0, (2, 6)));
    assert_eq!(subscriber.offsets(1).await, [2]);
    first.change(|log| log.moved.clear());
    let (fetches, asked) = (
        first.change(|log| log.fetches.len()),
        metadata_requests(&brokers),
    );
    refuse_twice(second, (1, 5)).await;
    // The metadata, which was asked for meanwhile, is as old.
    until("metadata", || metadata_requests(&brokers) > asked).await;
    refuse_twice(second, (1, 6)).await;
    second.append(0, 3, &["d"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [3]);
    assert_eq!(first.change(|log| log.fetches.len()), fetches);
}

#[tokio::test]
async fn a_leader_whose_address_nobody_told_waits_for_the_metadata() {
    let brokers = pair(0).await;
    let [first, second] = &brokers;
    let known = first.change(|log| std::mem::replace(&mut log.brokers, vec![(1, first.port)]));
    let consumers = connect(first).await;
    let mut subscriber = subscribed(&consumers, first).await;
    second.append(0, 1, &["b"], Kind::default());
    first.change(|log| log.moved.insert(0, (2, 1)));
    until("asked again", || first.change(|log| log.refused >= 2)).await;
    assert_eq!(second.change(|log| log.fetches.len()), 0);
    first.change(|log| log.brokers = known);
    assert_eq!(subscriber.offsets(1).await, [1]);
}

#[tokio::test]
async fn a_leader_that_hangs_is_left_for_the_next_one_as_soon_as_there_is_one() {
    let brokers = pair(0).await;
    let consumers = connect(&brokers[0]).await;
    let mut subscriber = subscribed(&consumers, &brokers[0]).await;
    brokers[0].change(|log| log.fetches_hang = true);
    for (broker, kind) in brokers.iter().zip([0, 1]) {
        broker.change(|log| (log.leader, log.leader_epoch) = (Some(2), 1));
        let kind = Kind {
            epoch: kind,
            ..Kind::default()
        };
        broker.append(0, 1, &["b"], kind);
    }
    let start = Instant::now();
    assert_eq!(subscriber.offsets(1).await, [1]);
    // Not when the answer has been given up.
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_fetch_that_is_not_answered_within_request_timeout_is_repeated() {
    let broker = Broker::start().await;
    let config = ClusterConfig {
        request_timeout: LIMIT / 20,
        ..ClusterConfig::default()
    };
    let consumers = Consumers::new(cluster(&broker, config).await, "", HELD_BYTES);
    let mut subscriber = subscribed(&consumers, &broker).await;
    // A fetch that begins a session follows a lost connection.
    let begun = || broker.change(|log| log.fetches.iter().filter(|(epoch, _)| *epoch == 0).count());
    broker.change(|log| log.fetches_hang = true);
    let before = begun();
    until("asked anew", || begun() >= before + 2).await;
    broker.change(|log| log.fetches_hang = false);
    broker.append(0, 1, &["b"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [1]);
}
