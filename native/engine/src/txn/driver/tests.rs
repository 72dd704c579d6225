use std::ops::Range;

use parking_lot::Mutex;

use super::*;
use crate::cluster::{Cluster, ClusterConfig, Purpose};
use crate::producer::{Acks, Failure, ProducerConfig, Producers, Split};
use crate::txn::link::Reply;
use crate::txn::state::Limits;

const ID: ProducerId = ProducerId { id: 7, epoch: 3 };

/// Nobody is told anything.
#[derive(Default)]
struct Nobody;

impl Acks for Nobody {
    type Mark = ();
    fn mark(&self) {}
    fn rollback(&mut self, (): ()) {}
    fn calls(&self) -> u32 {
        0
    }
    fn call_at(&self, _at: u32) -> Option<Range<u32>> {
        None
    }
    fn split(self, _at: u32) -> Split<Self> {
        Split {
            before: Nobody,
            across: None,
            after: Nobody,
        }
    }
}

impl Replies for Nobody {
    type Acks = Nobody;
    type Waiter = ();
    fn delivered(&self, _acks: Nobody, _base_offset: i64) {}
    fn flush(&self) {}
    fn failed(&self, _acks: Nobody, _why: &Failure) {}
    fn room(&self, _waiters: Vec<()>) {}
    fn stopped(&self, _why: &Failure) {}
    fn sent(&self, _records: u32, _payload: usize) {}
}

/// Nothing is known of the transactional id, and nobody can be asked.
fn idle() -> (Driver<Nobody>, Arc<Link>) {
    let cluster = Cluster::start(ClusterConfig::default());
    let limit = Duration::from_secs(10);
    let state = State::new(Limits {
        backoff: limit,
        step: limit,
        transaction: limit,
    });
    let (commands, receiver) = mpsc::unbounded_channel();
    let common = Arc::new(Common::new(cluster.clone()));
    let link = Arc::new(Link::new("id".into(), common.clone(), commands));
    let asker = Asker {
        cluster: cluster.clone(),
        purpose: Purpose::Transaction(0),
        id: "id".into(),
        transaction_timeout: limit,
        limit,
    };
    let producers = Arc::new(Producers::new(cluster.clone(), usize::MAX));
    let gate = Gate::new(producers, link.clone(), ProducerConfig::default());
    let driver = Driver::new(common, state, asker, Arc::new(gate), link.clone(), receiver);
    (driver, link)
}

/// A transaction is under way, with a partition in it that has nothing left to send.
fn begun() -> (Driver<Nobody>, Arc<Link>) {
    let (mut driver, link) = idle();
    let now = Instant::now();
    driver.state.adopt(ID, now);
    assert!(driver.state.begin());
    driver.state.add(("t".into(), 0), now);
    driver.act();
    (driver, link)
}

fn caller(reply: impl FnOnce(Result<(), Trouble>) + Send + 'static) -> Caller {
    let reply: Reply = Box::new(reply);
    reply.into()
}

/// A batch fails just when the task looks whether there is still one: it has looked for commands before.
#[tokio::test]
async fn a_batch_that_fails_last_is_known_before_the_commit() {
    let (mut driver, link) = begun();
    let ended = Arc::new(Mutex::new(None));
    let told = ended.clone();
    driver.command(Command::End(
        true,
        caller(move |result| *told.lock() = Some(result)),
    ));
    let why = Trouble::Abortable(ErrorCode::MESSAGE_TOO_LARGE);
    assert!(link.send(Command::Failed(why.clone())).is_ok());
    driver.act();
    assert!(driver.asking.is_none(), "it is committed without the batch");
    assert_eq!(*ended.lock(), Some(Err(why)));
}

#[tokio::test]
async fn who_waits_for_a_transaction_to_begin_is_answered_when_it_is_closed() {
    let (driver, link) = idle();
    let answer = Arc::new(Mutex::new(None));
    let told = answer.clone();
    let begin = Command::Begin(caller(move |result| *told.lock() = Some(result)));
    assert!(link.send(begin).is_ok());
    assert!(link.send(Command::Close).is_ok());
    driver.run().await;
    assert_eq!(*answer.lock(), Some(Err(Trouble::Closed)));
}
