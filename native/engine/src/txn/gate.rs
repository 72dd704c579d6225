//! The producers of the partitions that a transaction writes to. Records come in while it is open, and
//! none that would belong to the next one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::link::Link;
use super::state::{Place, Trouble};
use crate::producer::{Idempotence, Partition, ProducerConfig, Producers, Replies};
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::error::ErrorCode;

/// See the module's text.
pub(super) struct Gate<R: Replies> {
    producers: Arc<Producers<R>>,
    config: ProducerConfig,
    inside: RwLock<Inside<R>>,
}

struct Inside<R: Replies> {
    /// What batches carry, while a transaction takes records.
    open: Option<ProducerId>,
    /// Why none does.
    trouble: Option<Trouble>,
    /// Some producer has stopped: the next transaction has others.
    stale: bool,
    /// What nobody waits for is not sent yet.
    gathers: bool,
    topics: HashMap<Arc<str>, HashMap<i32, Arc<Partition<R>>>>,
}

impl<R: Replies> Inside<R> {
    fn find(&self, topic: &str, index: i32) -> Option<&Arc<Partition<R>>> {
        self.topics.get(topic)?.get(&index)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Partition<R>>> {
        self.topics.values().flat_map(HashMap::values)
    }

    fn check_open(&self) -> Result<ProducerId, Trouble> {
        let invalid = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
        self.open
            .ok_or_else(|| self.trouble.clone().unwrap_or(invalid))
    }
}

impl<R: Replies> Gate<R> {
    /// Closed until a transaction begins.
    pub(super) fn new(
        producers: Arc<Producers<R>>,
        link: Arc<Link>,
        config: ProducerConfig,
    ) -> Self {
        Gate {
            producers,
            config: ProducerConfig {
                idempotence: Idempotence::On,
                required_acks: -1,
                transaction: Some(link),
                ..config
            },
            inside: RwLock::new(Inside {
                open: None,
                trouble: None,
                stale: false,
                gathers: true,
                topics: HashMap::new(),
            }),
        }
    }

    /// Runs `body` with a partition's producer, if there is a transaction that takes records.
    pub(super) fn with<T>(
        &self,
        topic: &str,
        index: i32,
        replies: impl FnOnce() -> R,
        body: impl FnOnce(&Arc<Partition<R>>) -> T,
    ) -> Result<T, Trouble> {
        let inside = self.inside.read();
        inside.check_open()?;
        if let Some(partition) = inside.find(topic, index) {
            return Ok(body(partition));
        }
        drop(inside);
        let mut inside = self.inside.write();
        let producer = inside.check_open()?;
        if let Some(partition) = inside.find(topic, index) {
            return Ok(body(partition));
        }
        let config = self.config.clone();
        let partition = self.producers.open(topic, index, config, replies());
        partition.begin(producer);
        if !inside.gathers {
            partition.release();
        }
        let topic = partition.topic().clone();
        let partitions = inside.topics.entry(topic).or_default();
        partitions.insert(index, partition.clone());
        Ok(body(&partition))
    }

    /// As [`Self::with`], if the transaction has the partition's producer already.
    pub(super) fn with_known<T>(
        &self,
        topic: &str,
        index: i32,
        body: impl FnOnce(&Arc<Partition<R>>) -> T,
    ) -> Option<T> {
        let inside = self.inside.read();
        inside.open?;
        inside.find(topic, index).map(body)
    }

    /// A transaction is under way.
    pub(super) fn begin(&self, producer: ProducerId) {
        let mut inside = self.inside.write();
        if std::mem::take(&mut inside.stale) {
            inside.topics.clear();
        }
        (inside.open, inside.trouble) = (Some(producer), None);
        inside.gathers = true;
        inside.all().for_each(|partition| partition.begin(producer));
    }

    /// No more records come: what there is does not linger.
    pub(super) fn hasten(&self) {
        let inside = self.inside.read();
        inside.all().for_each(|partition| partition.hasten());
    }

    /// What was gathered is to be sent: for these partitions, once they have joined. From now on nothing is gathered.
    pub(super) fn release(&self) -> Vec<Place> {
        let mut inside = self.inside.write();
        inside.gathers = false;
        let with_records = inside.all().filter(|partition| partition.release());
        with_records
            .map(|partition| (partition.topic().clone(), partition.index()))
            .collect()
    }

    /// Batches for these may be sent.
    pub(super) fn joined(&self, places: &[Place]) {
        let inside = self.inside.read();
        for (topic, index) in places {
            if let Some(partition) = inside.find(topic, *index) {
                partition.joined();
            }
        }
    }

    /// Takes no more records. What is here is still sent.
    pub(super) fn shut(&self) {
        self.inside.write().open = None;
    }

    /// Nothing more is sent, and what waits fails.
    pub(super) fn refuse(&self, why: &Trouble) {
        for partition in self.stop(Some(why)) {
            partition.refused(why.code());
        }
    }

    /// Nothing more is sent: an abort drops what waits.
    pub(super) fn abort(&self) {
        for partition in self.stop(None) {
            partition.close();
        }
    }

    /// Takes no more records, and returns the producers, which the next transaction has no use for. They are told
    /// outside of the lock.
    fn stop(&self, why: Option<&Trouble>) -> Vec<Arc<Partition<R>>> {
        let mut inside = self.inside.write();
        (inside.open, inside.stale) = (None, true);
        if let Some(why) = why {
            inside.trouble.get_or_insert_with(|| why.clone());
        }
        inside.all().cloned().collect()
    }

    /// The transaction has ended: what comes belongs to the next one.
    pub(super) fn ended(&self) {
        let inside = self.inside.read();
        inside
            .all()
            .for_each(|partition| partition.transaction_ended());
    }

    /// Whether anything is to be answered.
    pub(super) fn is_in_flight(&self) -> bool {
        let inside = self.inside.read();
        let in_flight = inside.all().any(|partition| !partition.is_answered());
        in_flight
    }

    /// Whether anything waits to be sent or to be answered.
    pub(super) fn is_busy(&self) -> bool {
        self.inside
            .read()
            .all()
            .any(|partition| !partition.is_idle())
    }

    /// Lets the partitions go, when no transaction will come any more. Whoever holds the handle may hold it for long.
    pub(super) fn forget(&self) {
        let topics = {
            let mut inside = self.inside.write();
            inside.open = None;
            std::mem::take(&mut inside.topics)
        };
        drop(topics);
    }

    /// Why no records are taken, if a transaction has failed.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.inside.read().trouble.clone()
    }
}
