//! Topics, their partitions and who leads them.

use std::collections::{BTreeMap, HashMap};

use brod_protocol::error::ErrorCode;
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

/// Why something is refused: code, and what is said of it, if anything.
pub(crate) type Refusal = (ErrorCode, Option<String>);

/// With words of Kafka's.
pub(crate) fn refuse<T>(code: ErrorCode, why: impl Into<String>) -> Result<T, Refusal> {
    Err((code, Some(why.into())))
}

/// Whether Kafka takes this as the name of a topic.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let why = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > LONGEST_NAME {
        format!("the length of '{name}' is longer than the max allowed length {LONGEST_NAME}")
    } else if !name.chars().all(legal) {
        format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        )
    } else {
        return Ok(());
    };
    let why = format!("Topic name is invalid: {why}");
    refuse(ErrorCode::INVALID_TOPIC_EXCEPTION, why)
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

    /// A topic whose name differs in dots and underscores alone: names of metrics have only one of them.
    pub(crate) fn collides_with(&self, name: &str) -> Option<&str> {
        let dotless = name.replace('.', "_");
        let mut names = self.by_name.keys();
        let other = names.find(|known| *known != name && known.replace('.', "_") == dotless);
        other.map(String::as_str)
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
