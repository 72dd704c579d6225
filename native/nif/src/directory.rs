//! Producers by process, and by client, topic and partition: the way of `brod:produce/5` to a partition. Transactions by
//! process.
//!
//! Every message is looked up here, by all schedulers at once, so a lookup writes to no memory that
//! they share: no lock, and no counter of references (an ETS table has both).

use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use papaya::{Equivalent, HashMap};
use rustler::sys::ErlNifTerm;
use rustler::types::atom::Atom;
use rustler::Term;

use crate::producer::Producer;
use crate::txn::Txn;

#[derive(PartialEq, Eq)]
struct Key {
    client: Atom,
    topic: Box<[u8]>,
    partition: i32,
}

/// A key that owns nothing.
pub(crate) struct Place<'a> {
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

/// A process of this node. Its pid is a word that differs from all other terms.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Process(ErlNifTerm);

impl Process {
    /// Of anything but a pid of this node, it is a process that has opened nothing.
    pub(crate) fn new(pid: Term<'_>) -> Self {
        Process(pid.as_c_arg())
    }
}

// What is removed is freed some tens of removals later: a producer that is withdrawn is closed, and
// holds no messages any more.
static BY_PLACE: LazyLock<HashMap<Key, Producer, RandomState>> =
    LazyLock::new(|| HashMap::builder().hasher(RandomState::default()).build());
static BY_PROCESS: LazyLock<HashMap<Process, Producer, RandomState>> =
    LazyLock::new(|| HashMap::builder().hasher(RandomState::default()).build());
// The same holds for a transaction that has ended.
static TRANSACTIONS: LazyLock<HashMap<Process, Txn, RandomState>> =
    LazyLock::new(|| HashMap::builder().hasher(RandomState::default()).build());

/// What `body` makes of the producer of a partition; `nobody` where there is none.
#[inline]
pub(crate) fn at<R>(place: &Place<'_>, nobody: R, body: impl FnOnce(&Producer) -> R) -> R {
    BY_PLACE.pin().get(place).map_or(nobody, body)
}

/// What `body` makes of the producer that a process has opened; `nobody` if `pid` is none that has.
#[inline]
pub(crate) fn of<R>(pid: Term<'_>, nobody: R, body: impl FnOnce(&Producer) -> R) -> R {
    BY_PROCESS
        .pin()
        .get(&Process::new(pid))
        .map_or(nobody, body)
}

/// Makes the producer of a process known.
pub(crate) fn enter(process: Process, producer: Producer) {
    BY_PROCESS.pin().insert(process, producer);
}

/// Makes the producer of a partition known, in place of the one before.
pub(crate) fn publish(place: Place<'_>, producer: Producer) {
    let key = Key {
        client: place.client,
        topic: place.topic.into(),
        partition: place.partition,
    };
    BY_PLACE.pin().insert(key, producer);
}

/// Forgets the producer of a process, unless the process has opened another one.
pub(crate) fn leave(process: &Process, is_it: impl Fn(&Producer) -> bool) {
    // An error says that another one stays.
    let _ = BY_PROCESS
        .pin()
        .remove_if(process, |_, producer| is_it(producer));
}

/// Forgets a partition's producer, unless another one has taken its place.
pub(crate) fn withdraw(place: &Place<'_>, is_it: impl Fn(&Producer) -> bool) {
    let _ = BY_PLACE
        .pin()
        .remove_if(place, |_, producer| is_it(producer));
}

/// Runs `body` with the transaction that a process has opened, if `pid` is one that has.
#[inline]
pub(crate) fn transaction_of<R>(pid: Term<'_>, body: impl FnOnce(&Txn) -> R) -> Option<R> {
    TRANSACTIONS.pin().get(&Process::new(pid)).map(body)
}

/// Makes the transaction of a process known.
pub(crate) fn enter_transaction(process: Process, txn: Txn) {
    TRANSACTIONS.pin().insert(process, txn);
}

/// Forgets the transaction of a process, unless the process has opened another one.
pub(crate) fn leave_transaction(process: &Process, is_it: impl Fn(&Txn) -> bool) {
    // An error says that another one stays.
    let _ = TRANSACTIONS.pin().remove_if(process, |_, txn| is_it(txn));
}
