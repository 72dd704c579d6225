//! What ends a producer from outside, and what its calls are told.

use brod_engine::net::NetError;
use brod_engine::producer::{AppendError, Cause};
use brod_protocol::error::ErrorCode;

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

/// The engine tells callers of what it has when the client closes, in whichever order its tasks come to that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_producer_has_in_flight_that_stops_by_itself_fails_with_its_cluster() {
    for _ in 0..20 {
        let broker = Broker::start_as(1).await;
        let (cluster, mut producer) = Producer::start(&broker, Duration::from_millis(10)).await;
        broker.change(|state| state.held = Some(0));
        producer.send("a");
        until("on the wire", || broker.change(|state| state.is_holding)).await;
        let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
        producer.partition.refused(code);
        cluster.close();
        assert_eq!(producer.result().await, Err(Failure::Closed));
        let partition = Arc::downgrade(&producer.partition);
        drop((producer, cluster));
        until("forgotten", || partition.strong_count() == 0).await;
    }
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

pub(crate) async fn client<R: Replies>(broker: &Broker) -> (Arc<Cluster>, Producers<R>) {
    client_with_room(broker, usize::MAX).await
}

/// For so many bytes.
pub(crate) async fn client_with_room<R: Replies>(
    broker: &Broker,
    bytes: usize,
) -> (Arc<Cluster>, Producers<R>) {
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![Endpoint {
            host: "127.0.0.1".into(),
            port: broker.port,
        }],
        ..ClusterConfig::default()
    });
    cluster.connect().await.unwrap();
    let producers = Producers::new(cluster.clone(), bytes);
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

/// Notes what it is told of the end. While it is told that the producer has stopped, its process goes.
#[derive(Default)]
struct Leaving {
    partition: std::sync::OnceLock<std::sync::Weak<Partition<Leaving>>>,
    told: parking_lot::Mutex<Vec<&'static str>>,
}

impl Replies for Leaving {
    type Acks = Calls;
    type Waiter = ();

    fn delivered(&self, _: Calls, _: i64) {}
    fn flush(&self) {}
    fn failed(&self, _: Calls, _: &Failure) {}
    fn room(&self, _: Vec<()>) {}

    fn stopped(&self, _: &Failure) {
        let partition = self.partition.get().unwrap().upgrade().unwrap();
        partition.hand_over();
        self.told.lock().push("stopped");
    }

    fn handed_over(&self) {
        self.told.lock().push("handed over");
    }

    fn sent(&self, _: u32, _: usize) {}
}

/// What follows would come to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_goes_while_the_end_is_told_is_told_first() {
    let broker = Broker::start_as(1).await;
    let (_cluster, producers) = client(&broker).await;
    let partition = producers.open("t", 0, ProducerConfig::default(), Leaving::default());
    let place = &partition.replies().partition;
    assert!(place.set(Arc::downgrade(&partition)).is_ok());
    partition.close();
    let told = || partition.replies().told.lock().clone();
    until("handed over", || told().contains(&"handed over")).await;
    assert_eq!(told(), ["stopped", "handed over"]);
}
