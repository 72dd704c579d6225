//! Replicas that the leader sends consumers to (KIP-392), and leaders that do not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::cluster::{Cluster, ClusterConfig, Leader};
use brod_engine::consumer::{BeginOffset, ConsumerConfig, Consumers};
use tokio::sync::mpsc;

use crate::broker::{Broker, Kind};
use crate::leaders::pair;
use crate::{cluster, earliest, until, Event, Recorder, Subscriber};

struct Replicated {
    leader: Arc<Broker>,
    replica: Arc<Broker>,
    cluster: Arc<Cluster>,
    subscriber: Subscriber,
    _consumers: Arc<Consumers>,
}

impl Replicated {
    /// Has got a message from the replica.
    async fn start(config: ClusterConfig) -> Self {
        let [leader, replica] = pair(0).await;
        let cluster = cluster(&leader, config).await;
        let consumers = Consumers::new(cluster.clone(), "here", crate::HELD_BYTES);
        for broker in [&leader, &replica] {
            broker.append(0, 0, &["a"], Kind::default());
        }
        leader.change(|log| log.preferred = Some(2));
        let mut subscriber = Subscriber::start(&consumers, 0, earliest()).await;
        assert_eq!(subscriber.offsets(1).await, [0]);
        assert_eq!(subscriber.consumer.info().node, Some(2));
        Replicated {
            leader,
            replica,
            cluster,
            subscriber,
            _consumers: consumers,
        }
    }

    fn append(&self, offset: i64) {
        for broker in [&self.leader, &self.replica] {
            broker.append(0, offset, &["x"], Kind::default());
        }
    }

    async fn is_at(&self, node: i32) {
        until("another broker", || {
            self.subscriber.consumer.info().node == Some(node)
        })
        .await;
    }

    fn known(&self, brokers: &[&Broker]) {
        let brokers: Vec<_> = brokers.iter().map(|b| (b.node, b.port)).collect();
        for broker in [&self.leader, &self.replica] {
            broker.change(|log| log.brokers = brokers.clone());
        }
    }
}

#[tokio::test]
async fn a_replica_that_is_not_known_is_asked_for() {
    let mut test = Replicated::start(ClusterConfig::default()).await;
    // It restarts: the metadata lacks it, and the leader goes on naming it.
    test.known(&[&test.leader]);
    let asked = test.leader.change(|log| log.fetches.len());
    test.cluster.request_refresh();
    until("the leader has named it", || {
        test.leader.change(|log| log.fetches.len() >= asked + 2)
    })
    .await;
    let (fetches, metadata) = test
        .leader
        .change(|log| (log.fetches.len() - asked, log.metadata_requests));
    assert!(fetches < 10, "{fetches} fetches in a loop");
    until("metadata", || {
        let replica = test.replica.change(|log| log.metadata_requests);
        test.leader.change(|log| log.metadata_requests) + replica > metadata
    })
    .await;
    test.known(&[&test.leader, &test.replica]);
    test.is_at(2).await;
    test.append(1);
    assert_eq!(test.subscriber.offsets(1).await, [1]);
}

#[tokio::test]
async fn a_replica_that_dies_is_left_for_the_leader() {
    let mut test = Replicated::start(ClusterConfig::default()).await;
    test.leader.change(|log| log.preferred = None);
    test.replica.change(|log| log.gone = true);
    test.append(1);
    assert_eq!(test.subscriber.offsets(1).await, [1]);
    assert_eq!(test.subscriber.consumer.info().node, Some(1));
}

#[tokio::test]
async fn what_the_leader_said_counts_for_a_while_only() {
    let mut test = Replicated::start(ClusterConfig {
        metadata_max_age: Duration::from_millis(50),
        ..ClusterConfig::default()
    })
    .await;
    test.leader.change(|log| log.preferred = None);
    test.is_at(1).await;
    test.append(1);
    assert_eq!(test.subscriber.offsets(1).await, [1]);
}

/// The second broker leads and does not say where the log of the former leader ends.
async fn hanging() -> Replicated {
    let test = Replicated::start(ClusterConfig::default()).await;
    test.replica.change(|log| log.epochs_hang = true);
    lead(&test, 2, 1);
    until("asked", || {
        test.replica.change(|log| log.epoch_requests > 0)
    })
    .await;
    test.leader.change(|log| log.preferred = None);
    test
}

fn lead(test: &Replicated, node: i32, epoch: i32) {
    let leader = Leader { node, epoch };
    test.cluster.learn_leader("t", 0, leader, None);
}

#[tokio::test]
async fn a_leader_that_does_not_answer_is_left_for_the_next_one() {
    let mut test = hanging().await;
    test.append(1);
    let start = Instant::now();
    lead(&test, 1, 2);
    assert_eq!(test.subscriber.offsets(1).await, [1]);
    // Not when the question has been given up.
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_leader_that_does_not_answer_is_asked_again() {
    let mut test = hanging().await;
    test.replica.change(|log| log.epochs_hang = false);
    test.append(1);
    assert_eq!(test.subscriber.offsets(1).await, [1]);
    assert_eq!(test.replica.change(|log| log.epoch_requests), 2);
}

#[tokio::test]
async fn a_subscribe_does_not_wait_for_what_the_one_before_asked() {
    let test = hanging().await;
    let (sender, mut events) = mpsc::unbounded_channel();
    let config = ConsumerConfig {
        begin_offset: BeginOffset::Offset(0),
        ..ConsumerConfig::default()
    };
    let start = Instant::now();
    let consumer = &test.subscriber.consumer;
    let answer = consumer.subscribe(config, Arc::new(Recorder(sender)));
    assert_eq!(answer.await.unwrap(), Ok(()));
    assert_eq!(events.recv().await, Some(Event::Message(0, "a".into())));
    assert!(start.elapsed() < Duration::from_secs(4));
}
