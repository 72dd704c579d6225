//! Callers that are held up because all producers together buffer too much.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use brod_engine::cluster::{Cluster, ClusterConfig};
use brod_engine::net::Endpoint;
use brod_engine::producer::{
    Append, Failure, Idempotence, Partition, ProducerConfig, Producers, Replies, WhenFull,
};
use brod_protocol::batch_writer::BatchWriter;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::broker::Broker;
use crate::closing::client_with_room;
use crate::{until, Calls, Producer, Recorder, LIMIT};

/// Tells which partition's callers may go on. The first that may writes its next message at once.
struct Callers {
    partition: OnceLock<Arc<Partition<Callers>>>,
    room: mpsc::UnboundedSender<i32>,
    greedy: Arc<OnceLock<()>>,
}

impl Replies for Callers {
    type Acks = Calls;
    type Waiter = ();

    fn delivered(&self, _: Calls, _: i64) {}
    fn flush(&self) {}
    fn failed(&self, _: Calls, _: &Failure) {}

    fn room(&self, _: Vec<()>) {
        let partition = self.partition.get().unwrap();
        if self.greedy.set(()).is_ok() {
            append(partition, None);
        }
        let _ = self.room.send(partition.index());
    }

    fn stopped(&self, _: &Failure) {}
    fn sent(&self, _: u32, _: usize) {}
}

fn append(partition: &Arc<Partition<Callers>>, waiter: Option<()>) -> Append {
    give(partition, WhenFull::Take, || waiter)
}

fn give<R: Replies<Acks = Calls, Waiter = ()>>(
    partition: &Arc<Partition<R>>,
    when: WhenFull,
    waiter: impl FnOnce() -> Option<()>,
) -> Append {
    let fill = |writer: &mut BatchWriter, calls: &mut Calls, _| {
        writer.push(0, None, Some(b"value"), &[]);
        calls.0 += 1;
        Ok::<(), Infallible>(())
    };
    partition.append(when, fill, waiter).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_whose_bytes_another_one_took_is_not_forgotten() {
    let broker = Broker::start_as(1).await;
    let (_cluster, producers) = client_with_room(&broker, 1).await;
    let (sender, mut room) = mpsc::unbounded_channel();
    let greedy = Arc::new(OnceLock::new());
    let open = |index| {
        let config = ProducerConfig {
            idempotence: Idempotence::Off,
            ..ProducerConfig::default()
        };
        let callers = Callers {
            partition: OnceLock::new(),
            room: sender.clone(),
            greedy: greedy.clone(),
        };
        let partition = producers.open("t", index, config, callers);
        assert!(partition.replies().partition.set(partition.clone()).is_ok());
        partition
    };
    let [first, second] = [0, 1].map(open);
    broker.change(|state| state.held = Some(0));
    assert_eq!(append(&first, Some(())), Append::Wait);
    until("held", || broker.change(|state| state.is_holding)).await;
    assert_eq!(append(&second, Some(())), Append::Wait);
    broker.change(|state| state.held = None);
    let mut told = Vec::new();
    for _ in 0..2 {
        let next = timeout(LIMIT, room.recv()).await;
        told.push(next.expect("a caller waits for ever").unwrap());
    }
    told.sort();
    assert_eq!(told, [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_taken_while_the_buffer_is_full_is_told_of_room_and_sent_once() {
    let broker = Broker::start_as(1).await;
    let (_cluster, mut producer) = Producer::start(&broker, LIMIT).await;
    let limit = producer.partition.config().partition_buffer_limit;
    broker.change(|state| state.held = Some(0));
    producer.send("first");
    until("held", || broker.change(|state| state.is_holding)).await;
    for _ in 0..limit {
        producer.send("buffered");
    }
    let try_last = || {
        let fill = |writer: &mut BatchWriter, calls: &mut Calls, _| {
            writer.push(0, None, Some(b"last"), &[]);
            calls.0 += 1;
            Ok::<(), Infallible>(())
        };
        producer.partition.append(WhenFull::Wait, fill, || Some(()))
    };
    assert_eq!(try_last().unwrap(), Append::Full);
    assert_eq!(producer.partition.load(), (limit, 1, 1));
    broker.change(|state| state.held = None);
    until("let in", || producer.partition.load().2 == 0).await;
    assert_eq!(try_last().unwrap(), Append::Done);
    for _ in 0..3 {
        assert!(producer.result().await.is_ok());
    }
    let values = broker.change(|state| state.values.clone());
    assert_eq!(values.len(), 2 + limit as usize);
    assert_eq!(values.iter().filter(|value| *value == "last").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_waits_loses_calls_only_while_too_many_bytes_are_buffered() {
    let broker = Broker::start_as(1).await;
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![Endpoint {
            host: "127.0.0.1".into(),
            port: broker.port,
        }],
        ..ClusterConfig::default()
    });
    cluster.connect().await.unwrap();
    let producers = Producers::new(cluster.clone(), 100_000);
    let config = ProducerConfig {
        idempotence: Idempotence::Off,
        partition_buffer_limit: 1,
        ..ProducerConfig::default()
    };
    let (sender, results) = mpsc::unbounded_channel();
    let partition = producers.open("t", 0, config, Recorder(sender));
    let mut producer = Producer { partition, results };
    broker.change(|state| state.held = Some(0));
    producer.send("first");
    until("held", || broker.change(|state| state.is_holding)).await;
    let partition = producer.partition.clone();
    let give = || {
        let fill = |writer: &mut BatchWriter, calls: &mut Calls, _| {
            writer.push(0, None, Some(&[b'v'; 1000]), &[]);
            calls.0 += 1;
            Ok::<(), Infallible>(())
        };
        partition.append(WhenFull::Drop, fill, || None).unwrap()
    };
    let taken = (0..1000).filter(|_| give() == Append::Done).count();
    assert!(
        (50..110).contains(&taken),
        "{taken} calls of 1 KB in 100 KB"
    );
    broker.change(|state| state.held = None);
    for _ in 0..2 {
        assert!(producer.result().await.is_ok());
    }
    until("there is room again", || give() == Append::Done).await;
}

/// Notes that results have been told, bytes given back with them, and that callers may go on.
#[derive(Default)]
struct Noted {
    is_flushed: AtomicBool,
    has_room: AtomicBool,
}

impl Replies for Noted {
    type Acks = Calls;
    type Waiter = ();

    fn delivered(&self, _: Calls, _: i64) {}
    fn flush(&self) {
        self.is_flushed.store(true, Ordering::SeqCst);
    }
    fn failed(&self, _: Calls, _: &Failure) {}
    fn room(&self, _: Vec<()>) {
        self.has_room.store(true, Ordering::SeqCst);
    }
    fn stopped(&self, _: &Failure) {}
    fn sent(&self, _: u32, _: usize) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_come_back_while_a_call_is_turned_away_let_it_in() {
    let broker = Broker::start_as(1).await;
    let (_cluster, producers) = client_with_room(&broker, 1).await;
    let open = |index| {
        let config = ProducerConfig {
            idempotence: Idempotence::Off,
            ..ProducerConfig::default()
        };
        producers.open("t", index, config, Noted::default())
    };
    let [busy, idle] = [0, 1].map(open);
    broker.change(|state| state.held = Some(0));
    assert_eq!(give(&busy, WhenFull::Take, || None), Append::Done);
    until("held", || broker.change(|state| state.is_holding)).await;
    // Whoever gives them back finds nobody yet who waits for them.
    let bytes_come_back = || {
        broker.change(|state| state.held = None);
        let start = std::time::Instant::now();
        while !busy.replies().is_flushed.load(Ordering::SeqCst) && start.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(())
    };
    let turned_away = give(&idle, WhenFull::Wait, bytes_come_back);
    assert_eq!(turned_away, Append::Full);
    let has_room = || idle.replies().has_room.load(Ordering::SeqCst);
    until("a caller waits for ever", has_room).await;
    assert_eq!(give(&idle, WhenFull::Wait, || None), Append::Done);
}
