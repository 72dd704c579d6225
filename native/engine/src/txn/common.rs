//! What the transactions of a client know together: coordinators, and topics that are written to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::kept::{KeptIds, Pace};
use crate::cluster::{Cluster, Interest, NodeId};

/// Topics whose metadata is kept although no transaction writes to them now.
const REMEMBERED_TOPICS: usize = 256;

/// Coordinators that are kept in mind.
const REMEMBERED_COORDINATORS: usize = 10_000;

/// What the transactions of a client have in common.
pub(super) struct Common {
    pub cluster: Arc<Cluster>,
    /// By transactional id.
    pub coordinators: Remembered,
    /// By group.
    pub groups: Remembered,
    /// Producer ids that need not be asked for.
    pub kept: Mutex<KeptIds>,
    /// Of what is written under those.
    pub pace: Mutex<Pace>,
    topics: Mutex<HashMap<String, Interest>>,
}

impl Common {
    /// Nothing is known yet.
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Common {
            cluster,
            coordinators: Remembered::default(),
            groups: Remembered::default(),
            kept: Mutex::default(),
            pace: Mutex::default(),
            topics: Mutex::default(),
        }
    }

    /// Keeps the topic's metadata: the next transaction would have to ask for it again.
    pub(super) fn keep_fresh(&self, topic: &str) {
        let mut topics = self.topics.lock();
        if topics.contains_key(topic) {
            return;
        }
        if topics.len() >= REMEMBERED_TOPICS {
            topics.clear();
        }
        topics.insert(topic.to_owned(), self.cluster.watch_topic(topic));
    }
}

/// Brokers that coordinate something, as far as anybody knows.
#[derive(Default)]
pub(super) struct Remembered(Mutex<HashMap<String, Known>>);

struct Known {
    node: NodeId,
    /// When it was another one, and no more.
    moved: Option<Instant>,
}

impl Remembered {
    /// Who it was last time.
    pub(super) fn get(&self, id: &str) -> Option<NodeId> {
        self.0.lock().get(id).map(|known| known.node)
    }

    /// Since when it has been this one, if it was another one before.
    pub(super) fn moved(&self, id: &str) -> Option<Instant> {
        self.0.lock().get(id)?.moved
    }

    /// It is this one.
    pub(super) fn put(&self, id: &str, node: NodeId) {
        let mut all = self.0.lock();
        if all.len() >= REMEMBERED_COORDINATORS {
            all.clear();
        }
        let moved = match all.get(id) {
            Some(known) if known.node != node => Some(Instant::now()),
            Some(known) => known.moved,
            None => None,
        };
        all.insert(id.to_owned(), Known { node, moved });
    }

    /// It seems to be another one.
    pub(super) fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }
}
