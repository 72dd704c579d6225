//! Topics, their partitions and who leads them.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::storage::Log;

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    /// The broker that leads; none while all its replicas are down.
    pub leader: Option<i32>,
    /// Counts elections.
    pub leader_epoch: i32,
    /// The preferred leader is the first.
    pub replicas: Vec<i32>,
    /// All replicas' alike: replication takes no time.
    pub log: Log,
    /// By how much the high watermark that is told is wrong.
    pub lie: i64,
}

impl Partition {
    /// The high watermark, or what is told to be it.
    pub(crate) fn high_watermark(&self) -> i64 {
        (self.log.end() + self.lie).max(0)
    }
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub id: Uuid,
    pub partitions: Vec<Partition>,
    /// What was set; anything else has its default.
    pub configs: BTreeMap<String, String>,
}

/// All topics, by name and by id.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: BTreeMap<String, Topic>,
    names: HashMap<Uuid, String>,
    created: u64,
}

/// The longest name that Kafka takes.
const LONGEST_NAME: usize = 249;

/// Whether Kafka takes this as the name of a topic.
pub(crate) fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name != "."
        && name != ".."
        && !has_illegal_characters(name)
}

pub(crate) fn has_illegal_characters(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.chars().all(legal)
}

impl Topics {
    pub(crate) fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.by_name
            .iter()
            .map(|(name, topic)| (name.as_str(), topic))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Topic)> {
        self.by_name
            .iter_mut()
            .map(|(name, topic)| (name.as_str(), topic))
    }

    /// The name that goes with an id.
    pub(crate) fn name_of(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// The partition, if it is there.
    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        let index = usize::try_from(index).ok()?;
        self.get(topic)?.partitions.get(index)
    }

    /// The partition, if it is there.
    pub(crate) fn partition_mut(&mut self, topic: &str, index: i32) -> Option<&mut Partition> {
        let index = usize::try_from(index).ok()?;
        self.get_mut(topic)?.partitions.get_mut(index)
    }

    /// A topic with partitions whose replicas are given. The name must be free.
    pub(crate) fn create(
        &mut self,
        name: &str,
        replicas: Vec<Vec<i32>>,
        configs: BTreeMap<String, String>,
    ) {
        self.created += 1;
        // Ids that one reads easily in a log. The upper half keeps them off the reserved ones.
        let id = Uuid::from_u64_pair(0x6272_6f64_6d6f_636b, self.created);
        self.names.insert(id, name.to_owned());
        let partitions = replicas.into_iter().map(Partition::new).collect();
        let topic = Topic {
            id,
            partitions,
            configs,
        };
        self.by_name.insert(name.to_owned(), topic);
    }

    /// Whether it was there.
    pub(crate) fn delete(&mut self, name: &str) -> bool {
        let Some(topic) = self.by_name.remove(name) else {
            return false;
        };
        self.names.remove(&topic.id);
        true
    }
}

impl Partition {
    pub(crate) fn new(replicas: Vec<i32>) -> Self {
        Partition {
            leader: replicas.first().copied(),
            leader_epoch: 0,
            replicas,
            log: Log::default(),
            lie: 0,
        }
    }
}
