//! What a client has done, counted: for metrics, and for whoever looks into a running client.
//!
//! Counters are written once a request, a batch or a delivery, never once a message, and are read by whoever
//! wants to know. What happens seldom, such as a lost connection, is noted in [`Journal`] as well.

mod counter;
mod histogram;
mod journal;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::net::Endpoint;

pub use counter::Counter;
pub use histogram::{Histogram, BOUNDS_US};
pub use journal::{Event, Journal, Noted};

/// What a client has done. Shared by all of its connections.
#[derive(Debug, Default)]
pub struct Stats {
    /// What has happened lately.
    pub journal: Journal,
    /// How often the client went back to where it first found the cluster (KIP-1102, KIP-899).
    pub rebootstraps: Counter,
    /// The name among all clients that a broker has given this one (KIP-714).
    pub instance: Mutex<Option<[u8; 16]>>,
    brokers: Mutex<HashMap<Endpoint, Arc<BrokerStats>>>,
    produced: Mutex<HashMap<Place, Arc<ProduceStats>>>,
    consumed: Mutex<HashMap<Place, Arc<ConsumeStats>>>,
}

/// A topic and a number of its partitions.
pub type Place = (Arc<str>, i32);

/// The counters of so many partitions are kept although nobody counts any more.
const KEPT: usize = 1024;

fn of_place<T: Default>(
    all: &mut HashMap<Place, Arc<T>>,
    topic: &Arc<str>,
    partition: i32,
) -> Arc<T> {
    // Topics may come and go for as long as the client lives.
    if all.len() == all.capacity() && all.len() > KEPT {
        all.retain(|_, counters| Arc::strong_count(counters) > 1);
    }
    let place = (topic.clone(), partition);
    all.entry(place).or_default().clone()
}

fn which<T>(all: &HashMap<Place, Arc<T>>, is_it: impl Fn(&T) -> bool) -> Vec<Place> {
    let found = all.iter().filter(|(_, counters)| is_it(counters));
    found.map(|(place, _)| place.clone()).collect()
}

impl Stats {
    /// The counters of the broker that listens there.
    pub fn broker(&self, endpoint: &Endpoint) -> Arc<BrokerStats> {
        let mut brokers = self.brokers.lock();
        brokers.entry(endpoint.clone()).or_default().clone()
    }

    /// The counters of a partition's producers, one after the other: one that is started again goes on counting.
    pub fn produced(&self, topic: &Arc<str>, partition: i32) -> Arc<ProduceStats> {
        of_place(&mut self.produced.lock(), topic, partition)
    }

    /// The same of its consumers.
    pub fn consumed(&self, topic: &Arc<str>, partition: i32) -> Arc<ConsumeStats> {
        of_place(&mut self.consumed.lock(), topic, partition)
    }

    /// Where an error has ended the producer a moment ago, and nothing was stored since. There may be none just now: it is
    /// started again.
    pub fn failing_producers(&self) -> Vec<Place> {
        let now = Instant::now();
        which(&self.produced.lock(), |stats| stats.is_failing(now))
    }

    /// Where an error has stopped the consumer a moment ago, and nothing was fetched since. There may be none just now either.
    pub fn failing_consumers(&self) -> Vec<Place> {
        let now = Instant::now();
        which(&self.consumed.lock(), |stats| stats.is_failing(now))
    }

    /// A broker has accepted the client's credentials, or has not.
    pub fn authenticated(&self, endpoint: &Endpoint, mechanism: &str, result: Result<(), String>) {
        let broker = self.broker(endpoint);
        let event = match result {
            Ok(()) => {
                broker.authentications.count();
                Event::Authenticated(mechanism.to_owned())
            }
            Err(why) => {
                broker.auth_failures.count();
                Event::AuthenticationFailed(why)
            }
        };
        self.journal.note(endpoint, event);
    }

    /// All brokers that there has been a connection to, or an attempt.
    pub fn brokers(&self) -> Vec<(Endpoint, Arc<BrokerStats>)> {
        let brokers = self.brokers.lock();
        let all = brokers.iter();
        all.map(|(endpoint, stats)| (endpoint.clone(), stats.clone()))
            .collect()
    }
}

/// Numbers of Kafka's APIs that are counted one by one.
const APIS: usize = 128;

/// What went on between the client and one broker, over all connections.
#[derive(Debug)]
pub struct BrokerStats {
    /// Connections that could be used.
    pub connects: Counter,
    /// Attempts that failed, whatever the reason.
    pub connect_failures: Counter,
    /// Of those, the ones where the broker did not accept the client's credentials; and sessions not renewed.
    pub auth_failures: Counter,
    /// How often the broker has accepted the client's credentials.
    pub authentications: Counter,
    /// Connections that were lost: the broker closed them, or something was wrong with them.
    pub disconnects: Counter,
    /// Connections that the client closed because it did not need them any more.
    pub closes: Counter,
    /// Bytes written, with TLS' own not counted.
    pub bytes_sent: Counter,
    /// Bytes of responses.
    pub bytes_received: Counter,
    /// Responses that asked for a pause (KIP-219).
    pub throttles: Counter,
    /// The pauses asked for together, in ms.
    pub throttled_ms: Counter,
    apis: [OnceLock<Box<ApiStats>>; APIS],
}

impl Default for BrokerStats {
    fn default() -> Self {
        BrokerStats {
            connects: Counter::default(),
            connect_failures: Counter::default(),
            auth_failures: Counter::default(),
            authentications: Counter::default(),
            disconnects: Counter::default(),
            closes: Counter::default(),
            bytes_sent: Counter::default(),
            bytes_received: Counter::default(),
            throttles: Counter::default(),
            throttled_ms: Counter::default(),
            apis: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

/// Requests of one API to one broker.
#[derive(Debug, Default)]
pub struct ApiStats {
    /// Bytes of requests.
    pub bytes_sent: Counter,
    /// Bytes of responses.
    pub bytes_received: Counter,
    /// From the writing of a request to the whole of its response.
    pub latency: Histogram,
}

impl BrokerStats {
    /// A request has been answered.
    pub fn answered(&self, api: i16, sent: usize, received: usize, took: Duration) {
        let Some(api) = self.api(api) else { return };
        api.bytes_sent.add(sent as u64);
        api.bytes_received.add(received as u64);
        api.latency.record(took);
    }

    fn api(&self, key: i16) -> Option<&ApiStats> {
        let slot = self.apis.get(usize::try_from(key).ok()?)?;
        Some(slot.get_or_init(Box::default))
    }

    /// What was asked so far, by Kafka's number of the API.
    pub fn apis(&self) -> impl Iterator<Item = (i16, &ApiStats)> {
        let all = self.apis.iter().enumerate();
        all.filter_map(|(key, slot)| Some((key as i16, &**slot.get()?)))
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        let ended = self.disconnects.get() + self.closes.get();
        self.connects.get().saturating_sub(ended)
    }
}

/// What a partition's producer has done.
#[derive(Debug, Default)]
pub struct ProduceStats {
    /// Batches written, again for each retry.
    pub batches_sent: Counter,
    /// Their records.
    pub records_sent: Counter,
    /// Their bytes on the wire.
    pub bytes_sent: Counter,
    /// Batches that a broker has stored.
    pub batches_acked: Counter,
    /// Batches whose callers were told an error.
    pub batches_failed: Counter,
    /// Batches that are to be sent once more.
    pub batches_retried: Counter,
    /// When an error ended a producer the last time, and how many batches had been stored by then.
    ended: Mutex<Option<(Instant, u64)>>,
}

impl ProduceStats {
    /// An error has ended the producer.
    pub(crate) fn ended(&self, now: Instant) {
        *self.ended.lock() = Some((now, self.batches_acked.get()));
    }

    /// Whether an error has ended a producer a moment ago, and nothing was stored since.
    fn is_failing(&self, now: Instant) -> bool {
        let ended = *self.ended.lock();
        ended.is_some_and(|(at, acked)| is_recent(at, now) && acked == self.batches_acked.get())
    }
}

/// What a partition's consumer has done.
#[derive(Debug, Default)]
pub struct ConsumeStats {
    /// Answers to fetches that named the partition.
    pub fetches: Counter,
    /// Bytes of batches as they came.
    pub bytes_fetched: Counter,
    /// Messages handed to subscribers.
    pub records: Counter,
    /// Bytes of their keys and values.
    pub bytes: Counter,
    /// How often fetching stopped because the window was full or the consumer was paused.
    pub pauses: Counter,
    /// Errors that stopped the consumer.
    pub errors: Counter,
    /// The last of them, until a broker answers with messages or none.
    failed: Mutex<Option<Instant>>,
}

/// What an error has stopped is started again and again, within seconds, while the error lasts.
const FAILS_FOR: Duration = Duration::from_secs(60);

fn is_recent(failed: Instant, now: Instant) -> bool {
    now.saturating_duration_since(failed) < FAILS_FOR
}

impl ConsumeStats {
    /// An error has stopped the consumer.
    pub(crate) fn failed(&self, now: Instant) {
        self.errors.count();
        *self.failed.lock() = Some(now);
    }

    /// A fetch has succeeded.
    pub(crate) fn works(&self) {
        *self.failed.lock() = None;
    }

    /// Whether an error has stopped the consumer a moment ago, and nothing was fetched since.
    pub(crate) fn is_failing(&self, now: Instant) -> bool {
        let failed = *self.failed.lock();
        failed.is_some_and(|at| is_recent(at, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_started_again_goes_on_counting_and_topics_that_are_gone_are_forgotten() {
        let stats = Stats::default();
        let of = |number: i32| stats.produced(&number.to_string().into(), 0);
        of(0).batches_sent.count();
        let open = of(1);
        open.batches_sent.count();
        assert_eq!(of(0).batches_sent.get(), 1);
        for number in 2..100_000 {
            of(number);
        }
        assert_eq!(of(1).batches_sent.get(), 1);
        let kept = stats.produced.lock().len();
        assert!(kept < 10 * KEPT, "{kept}");
    }
}
