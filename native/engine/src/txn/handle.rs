//! The owner's side: commands go to the task of the transactional id, replies come from the engine's
//! threads.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::common::Common;
use super::config::{OffsetsToAdd, TransactionConfig};
use super::driver::Driver;
use super::gate::Gate;
use super::lanes::Lanes;
use super::link::{Command, Link, Reply};
use super::requests::Asker;
use super::state::{State, Trouble};
use crate::cluster::{Cluster, Purpose};
use crate::producer::{Partition, Producers, Replies};
use crate::tasks::boxed;

/// All transactions of one client.
pub struct Transactions<R: Replies> {
    common: Arc<Common>,
    buffer_bytes: usize,
    /// By lane, made when they are first needed.
    producers: Mutex<Vec<Arc<Producers<R>>>>,
    lanes: Arc<Lanes>,
}

impl<R: Replies> Transactions<R> {
    /// Transactions over `cluster`; `buffer_bytes` bounds what those of a lane buffer together.
    pub fn new(cluster: Arc<Cluster>, buffer_bytes: usize) -> Self {
        Transactions {
            common: Arc::new(Common::new(cluster)),
            buffer_bytes,
            producers: Mutex::default(),
            lanes: Arc::default(),
        }
    }

    /// A producer for a transactional id. Asks nobody before [`Transactional::begin`]. Must be called on a tokio
    /// runtime.
    pub fn open(&self, config: TransactionConfig) -> Transactional<R> {
        let lane = self.lanes.enter();
        let (commands, receiver) = mpsc::unbounded_channel();
        let link = Arc::new(Link::new(config.id.clone(), self.common.clone(), commands));
        let state = State::new(config.limits());
        let asker = Asker {
            cluster: self.common.cluster.clone(),
            purpose: Purpose::Transaction(lane.number()),
            id: config.id.into(),
            transaction_timeout: config.transaction_timeout,
            limit: config.attempt_timeout,
        };
        let producers = self.producers(lane.number());
        let gate = Arc::new(Gate::new(producers, link.clone(), config.producer));
        let common = self.common.clone();
        let driver = Driver::new(
            common.clone(),
            state,
            asker,
            gate.clone(),
            link.clone(),
            receiver,
        );
        let runtime = Handle::current();
        let to_forget = gate.clone();
        common
            .cluster
            .supervise(&runtime, "transaction", async move {
                driver.run().await;
                to_forget.forget();
                drop(lane);
            });
        Transactional {
            common,
            gate,
            link,
            runtime,
        }
    }

    fn producers(&self, lane: u32) -> Arc<Producers<R>> {
        let mut producers = self.producers.lock();
        while producers.len() <= lane as usize {
            // The client's own are group 0.
            let group = producers.len() as u32 + 1;
            let cluster = self.common.cluster.clone();
            producers.push(Arc::new(Producers::apart(
                cluster,
                self.buffer_bytes,
                group,
            )));
        }
        producers[lane as usize].clone()
    }
}

/// The producer of one transactional id. Dropped without [`Transactional::end`], a transaction that is open is
/// aborted.
pub struct Transactional<R: Replies> {
    common: Arc<Common>,
    gate: Arc<Gate<R>>,
    link: Arc<Link>,
    /// Replies come from its threads, never from the caller's.
    runtime: Handle,
}

impl<R: Replies> Transactional<R> {
    /// Begins a transaction. That fences all other producers of the id, and ends what they have left open; where
    /// the last transaction of the id in this client has just ended, that has been done already.
    pub fn begin(&self, reply: Reply) {
        self.send(Command::Begin(reply.into()));
    }

    /// Runs `body`, which appends records, with the producer of a partition. `replies` is asked for if
    /// there is none yet.
    pub fn with_partition<T>(
        &self,
        topic: &str,
        index: i32,
        replies: impl FnOnce() -> R,
        body: impl FnOnce(&Arc<Partition<R>>) -> T,
    ) -> Result<T, Trouble> {
        let replies = || {
            self.common.keep_fresh(topic);
            replies()
        };
        self.gate.with(topic, index, replies, body)
    }

    /// As [`Self::with_partition`], for a partition that it was called for before, in a transaction that takes records.
    /// `None` otherwise: `body` was not run.
    pub fn with_known_partition<T>(
        &self,
        topic: &str,
        index: i32,
        body: impl FnOnce(&Arc<Partition<R>>) -> T,
    ) -> Option<T> {
        self.gate.with_known(topic, index, body)
    }

    /// Why no records are taken, if the transaction has failed.
    pub fn trouble(&self) -> Option<Trouble> {
        self.gate.trouble()
    }

    /// Something that was to be part of the transaction was refused without asking.
    pub fn note_refusal(&self) {
        self.send(Command::Refused);
    }

    /// Makes offsets part of the transaction.
    pub fn add_offsets(&self, offsets: OffsetsToAdd, reply: Reply) {
        self.send(Command::Offsets(offsets, reply.into()));
    }

    /// Commits or aborts. A commit waits for all records that were appended before.
    pub fn end(&self, commit: bool, reply: Reply) {
        self.gate.shut();
        self.send(Command::End(commit, reply.into()));
    }

    /// Aborts what is open, in the background.
    pub fn close(&self) {
        self.gate.shut();
        self.send(Command::Close);
    }

    fn send(&self, command: Command) {
        if let Err(unsent) = self.link.send(command) {
            self.runtime.spawn(boxed(async move { drop(unsent) }));
        }
    }
}

impl<R: Replies> Drop for Transactional<R> {
    fn drop(&mut self) {
        self.close();
    }
}
