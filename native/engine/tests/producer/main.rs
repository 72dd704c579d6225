//! The producer against scripted brokers; here those that name the leader when they refuse a batch
//! (KIP-951). The metadata says all the time that the first broker leads.

mod broker;
mod closing;
mod far;
mod hanging;
mod lanes;
mod lies;
mod limits;
mod room;
#[path = "../support/server.rs"]
mod server;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::cluster::{Cluster, ClusterConfig};
use brod_engine::net::{Endpoint, NetError};
use brod_engine::producer::{
    Acks, Cause, Failure, Idempotence, Partition, ProducerConfig, Producers, Replies, Split,
    WhenFull,
};
use brod_protocol::batch_writer::BatchWriter;
use broker::{Broker, Named};
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

/// Counts its calls, each of one record.
#[derive(Default)]
struct Calls(u32);

impl Acks for Calls {
    type Mark = u32;

    fn mark(&self) -> u32 {
        self.0
    }

    fn rollback(&mut self, mark: u32) {
        self.0 = mark;
    }

    fn calls(&self) -> u32 {
        self.0
    }

    fn call_at(&self, at: u32) -> Option<std::ops::Range<u32>> {
        (at < self.0).then_some(at..at + 1)
    }

    fn split(self, at: u32) -> Split<Self> {
        Split {
            before: Calls(at),
            across: None,
            after: Calls(self.0 - at),
        }
    }
}

struct Recorder(mpsc::UnboundedSender<Result<i64, Failure>>);

impl Replies for Recorder {
    type Acks = Calls;
    type Waiter = ();

    fn delivered(&self, _: Calls, base_offset: i64) {
        let _ = self.0.send(Ok(base_offset));
    }

    fn flush(&self) {}

    fn failed(&self, _: Calls, why: &Failure) {
        let _ = self.0.send(Err(why.clone()));
    }

    fn room(&self, _: Vec<()>) {}
    fn stopped(&self, _: &Failure) {}
    fn sent(&self, _: u32, _: usize) {}
}

struct Producer {
    partition: Arc<Partition<Recorder>>,
    results: mpsc::UnboundedReceiver<Result<i64, Failure>>,
}

impl Producer {
    /// For partition 0, with a client of its own. `retry_backoff`: what is refused waits so long,
    /// unless there is another broker to turn to; it is sent again until it is taken.
    async fn start(first: &Broker, retry_backoff: Duration) -> (Arc<Cluster>, Producer) {
        let (cluster, [producer]) = Producer::start_all(first, retry_backoff, [0]).await;
        (cluster, producer)
    }

    /// As [`Self::start`], for several partitions.
    async fn start_all<const N: usize>(
        first: &Broker,
        retry_backoff: Duration,
        partitions: [i32; N],
    ) -> (Arc<Cluster>, [Producer; N]) {
        let producer = ProducerConfig {
            max_retries: -1,
            retry_backoff,
            idempotence: Idempotence::Off,
            ..ProducerConfig::default()
        };
        Producer::start_with(first, ClusterConfig::default(), producer, partitions).await
    }

    async fn start_with<const N: usize>(
        first: &Broker,
        cluster: ClusterConfig,
        config: ProducerConfig,
        partitions: [i32; N],
    ) -> (Arc<Cluster>, [Producer; N]) {
        let cluster = Cluster::start(ClusterConfig {
            bootstrap: vec![Endpoint {
                host: "127.0.0.1".into(),
                port: first.port,
            }],
            ..cluster
        });
        cluster.connect().await.unwrap();
        let producers = Producers::new(cluster.clone(), usize::MAX);
        let open = |partition| {
            let (sender, results) = mpsc::unbounded_channel();
            let partition = producers.open("t", partition, config.clone(), Recorder(sender));
            Producer { partition, results }
        };
        (cluster, partitions.map(open))
    }

    fn send(&self, value: &str) {
        let fill = |writer: &mut BatchWriter, calls: &mut Calls, _| {
            writer.push(0, None, Some(value.as_bytes()), &[]);
            calls.0 += 1;
            Ok::<(), Infallible>(())
        };
        assert!(self.partition.append(WhenFull::Take, fill, || None).is_ok());
    }

    async fn result(&mut self) -> Result<i64, Failure> {
        let result = timeout(LIMIT, self.results.recv()).await;
        result.expect("nothing came").unwrap()
    }
}

/// Waits for what no event tells of.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Two brokers that the metadata names; the first one leads since `epoch`.
async fn pair(epoch: i32) -> [Arc<Broker>; 2] {
    let brokers = [Broker::start_as(1).await, Broker::start_as(2).await];
    let known: Vec<_> = brokers.iter().map(|b| (b.node, b.port)).collect();
    for broker in &brokers {
        broker.change(|state| {
            state.brokers = known.clone();
            state.leader_epoch = epoch;
        });
    }
    brokers
}

fn named(node: i32, epoch: i32) -> Option<Named> {
    Some(Named {
        node,
        epoch,
        port: None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_a_refusal_names_is_sent_to_at_once() {
    let [first, second] = pair(0).await;
    // Longer than the test waits.
    let (_cluster, mut producer) = Producer::start(&first, LIMIT * 6).await;
    producer.send("a");
    assert_eq!(producer.result().await, Ok(0));
    first.change(|state| state.moved = named(2, 1));
    producer.send("b");
    assert_eq!(producer.result().await, Ok(0));
    assert_eq!(first.change(|state| state.refused), 1);
    second.change(|state| state.moved = named(1, 2));
    first.change(|state| state.moved = None);
    producer.send("c");
    assert_eq!(producer.result().await, Ok(1));
    assert_eq!(second.change(|state| state.refused), 1);
    assert_eq!(first.change(|state| state.values.clone()), ["a", "c"]);
    assert_eq!(second.change(|state| state.values.clone()), ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_of_an_epoch_that_is_no_newer_is_ignored() {
    let [first, second] = pair(5).await;
    let (_cluster, mut producer) = Producer::start(&first, Duration::from_millis(10)).await;
    for (epoch, value) in [(4, "a"), (5, "b")] {
        first.change(|state| {
            state.refused = 0;
            state.moved = named(2, epoch);
        });
        producer.send(value);
        until("sent again", || first.change(|state| state.refused >= 2)).await;
        first.change(|state| state.moved = None);
        assert!(producer.result().await.is_ok());
    }
    assert_eq!(first.change(|state| state.values.clone()), ["a", "b"]);
    first.change(|state| state.moved = named(2, 6));
    producer.send("c");
    assert!(producer.result().await.is_ok());
    assert_eq!(second.change(|state| state.values.clone()), ["c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_the_metadata_does_not_know_is_reached_where_the_refusal_says() {
    let [first, second] = [Broker::start_as(1).await, Broker::start_as(2).await];
    second.change(|state| state.brokers = vec![(1, first.port)]);
    let (cluster, mut producer) = Producer::start(&first, Duration::from_millis(10)).await;
    // Nobody says where: all there is to do is to ask again.
    first.change(|state| state.moved = named(2, 1));
    producer.send("a");
    until("sent again", || first.change(|state| state.refused >= 2)).await;
    assert_eq!(cluster.endpoint(2), None);
    first.change(|state| {
        state.moved = Some(Named {
            node: 2,
            epoch: 1,
            port: Some(second.port),
        });
    });
    assert_eq!(producer.result().await, Ok(0));
    // The metadata still does not know it, and it has to be connected to once more.
    cluster
        .fetch_metadata(Some(&["t".into()]), false)
        .await
        .unwrap();
    cluster.connect().await.unwrap();
    second.change(|state| state.hang_up = true);
    producer.send("b");
    assert_eq!(producer.result().await, Ok(1));
    assert_eq!(second.change(|state| state.values.clone()), ["a", "b"]);
    assert!(first.change(|state| state.values.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_at_another_address_is_sent_to_there() {
    let [seed, former, later] = [
        Broker::start_as(2).await,
        Broker::start_as(1).await,
        Broker::start_as(1).await,
    ];
    for broker in [&seed, &former] {
        broker.change(|state| state.brokers = vec![(1, former.port)]);
    }
    let (cluster, mut producer) = Producer::start(&seed, Duration::from_millis(500)).await;
    producer.send("a");
    assert_eq!(producer.result().await, Ok(0));
    former.change(|state| state.gone = true);
    // As a broker in a container: the same one, of the same leader epoch, advertised elsewhere.
    seed.change(|state| state.brokers = vec![(1, later.port)]);
    for value in ["b", "c"] {
        producer.send(value);
        let result = producer.result().await;
        assert!(result.is_ok(), "{result:?}");
    }
    assert_eq!(former.change(|state| state.values.clone()), ["a"]);
    assert_eq!(later.change(|state| state.values.clone()), ["b", "c"]);
    assert_eq!(cluster.endpoint(1).map(|e| e.port), Some(later.port));
}
