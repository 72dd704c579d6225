//! Callers that are held up because all producers together buffer too much.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use brod_engine::cluster::{Cluster, ClusterConfig};
use brod_engine::net::Endpoint;
use brod_engine::producer::{
    Append, Failure, Idempotence, Partition, ProducerConfig, Producers, Replies, WhenFull,
};
use brod_protocol::batch_writer::BatchWriter;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::broker::Broker;
use crate::{until, Calls, LIMIT};

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
    let fill = |writer: &mut BatchWriter, calls: &mut Calls, _| {
        writer.push(0, None, Some(b"value"), &[]);
        calls.0 += 1;
        Ok::<(), Infallible>(())
    };
    partition.append(WhenFull::Take, fill, || waiter).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_whose_bytes_another_one_took_is_not_forgotten() {
    let broker = Broker::start_as(1).await;
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![Endpoint {
            host: "127.0.0.1".into(),
            port: broker.port,
        }],
        ..ClusterConfig::default()
    });
    cluster.connect().await.unwrap();
    let producers = Producers::new(cluster.clone(), 1);
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
