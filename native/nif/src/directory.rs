//! Producers by client, topic and partition: the way of `brod:produce/5` to a partition.
//!
//! Every message is looked up here, by all schedulers at once, so a lookup writes to no memory that
//! they share: no lock, and no counter of references (an ETS table has both).

use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use papaya::{Equivalent, HashMap};
use rustler::types::atom::Atom;

use crate::producer::Producer;

#[derive(PartialEq, Eq)]
struct Key {
    client: Atom,
    topic: Box<[u8]>,
    partition: i32,
}

/// A key that owns nothing.
pub struct Place<'a> {
    /// The client's name.
    pub client: Atom,
    /// The topic's name.
    pub topic: &'a [u8],
    /// The partition's number.
    pub partition: i32,
}

impl Hash for Place<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Equal atoms are equal words.
        self.client.as_c_arg().hash(state);
        self.topic.hash(state);
        self.partition.hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (client, topic, partition) = (self.client, &*self.topic, self.partition);
        Place {
            client,
            topic,
            partition,
        }
        .hash(state);
    }
}

impl Equivalent<Key> for Place<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.partition == key.partition && self.client == key.client && *self.topic == *key.topic
    }
}

// What is removed is freed some tens of removals later: a producer that is withdrawn is closed, and
// holds no messages any more.
static DIRECTORY: LazyLock<HashMap<Key, Producer, RandomState>> =
    LazyLock::new(|| HashMap::builder().hasher(RandomState::default()).build());

/// Runs `body` with the producer of a partition, if there is one.
#[inline]
pub fn with<R>(place: &Place<'_>, body: impl FnOnce(&Producer) -> R) -> Option<R> {
    DIRECTORY.pin().get(place).map(body)
}

/// Makes a producer known, in place of the one before.
pub fn publish(place: Place<'_>, producer: Producer) {
    let key = Key {
        client: place.client,
        topic: place.topic.into(),
        partition: place.partition,
    };
    DIRECTORY.pin().insert(key, producer);
}

/// Forgets a partition's producer, unless another one has taken its place.
pub fn withdraw(place: &Place<'_>, is_it: impl Fn(&Producer) -> bool) {
    // An error says that another one stays.
    let _ = DIRECTORY
        .pin()
        .remove_if(place, |_, producer| is_it(producer));
}
