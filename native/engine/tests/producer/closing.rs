//! What ends a producer from outside, and what its calls are told.

use brod_engine::net::NetError;
use brod_engine::producer::{AppendError, Cause};

use super::*;

impl Producer {
    fn is_closed(&self) -> bool {
        let nothing = |_: &mut BatchWriter, _: &mut Calls, _| Err(());
        self.partition.append(WhenFull::Take, nothing, || None) == Err(AppendError::Closed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_cluster_closes_all_its_producers() {
    let broker = Broker::start_as(1).await;
    let (cluster, [mut busy, idle]) =
        Producer::start_all(&broker, Duration::from_millis(10), [0, 1]).await;
    broker.change(|state| state.held = Some(0));
    busy.send("a");
    until("on the wire", || broker.change(|state| state.is_holding)).await;
    cluster.close();
    until("closed", || busy.is_closed() && idle.is_closed()).await;
    assert_eq!(busy.result().await, Err(Failure::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_of_a_closed_cluster_takes_nothing() {
    let broker = Broker::start_as(1).await;
    let (cluster, producers) = client(&broker).await;
    cluster.close();
    let late = open(&producers, 0, ProducerConfig::default());
    until("closed", || late.is_closed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_producer_without_leader_is_forgotten() {
    let broker = Broker::start_as(1).await;
    let (_cluster, producers) = client(&broker).await;
    // The topic has no such partition; it is asked for for a long time.
    let config = ProducerConfig {
        max_retries: -1,
        retry_backoff: LIMIT * 6,
        idempotence: Idempotence::Off,
        ..ProducerConfig::default()
    };
    let mut producer = open(&producers, 100, config);
    producer.send("a");
    let partition = Arc::downgrade(&producer.partition);
    producer.partition.close();
    assert_eq!(producer.result().await, Err(Failure::Closed));
    drop(producer);
    until("forgotten", || partition.strong_count() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_too_long_are_told_what_for() {
    let broker = Broker::start_as(1).await;
    // The one that leads cannot be reached.
    broker.change(|state| state.brokers = vec![(1, 1)]);
    let (_cluster, producers) = client(&broker).await;
    let config = ProducerConfig {
        delivery_timeout: Duration::from_secs(2),
        idempotence: Idempotence::Off,
        ..ProducerConfig::default()
    };
    let mut producer = open(&producers, 0, config);
    producer.send("a");
    let cause = Cause::Net(NetError::Refused);
    let failure = Failure::DeliveryTimeout(Some(cause));
    assert_eq!(producer.result().await, Err(failure));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_producers_is_not_asked_for() {
    let broker = Broker::start_as(1).await;
    let (cluster, producers) = client(&broker).await;
    let first = open(&producers, 0, ProducerConfig::default());
    let second = open(&producers, 1, ProducerConfig::default());
    drop(first);
    let asked_for = |topics: &[&str]| {
        cluster.request_refresh();
        broker.change(|state| state.asked_for == topics)
    };
    until("asked for", || asked_for(&["t"])).await;
    drop(second);
    until("asked for no more", || asked_for(&[])).await;
}

pub(crate) async fn client(broker: &Broker) -> (Arc<Cluster>, Producers<Recorder>) {
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![Endpoint {
            host: "127.0.0.1".into(),
            port: broker.port,
        }],
        ..ClusterConfig::default()
    });
    cluster.connect().await.unwrap();
    let producers = Producers::new(cluster.clone(), usize::MAX);
    (cluster, producers)
}

pub(crate) fn open(
    producers: &Producers<Recorder>,
    partition: i32,
    config: ProducerConfig,
) -> Producer {
    let (sender, results) = mpsc::unbounded_channel();
    let partition = producers.open("t", partition, config, Recorder(sender));
    Producer { partition, results }
}
