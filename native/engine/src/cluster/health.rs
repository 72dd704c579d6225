//! Which brokers can be reached, as an operator wants to be told: when that changes, not at each attempt. No I/O.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::NodeId;
use crate::net::Endpoint;

/// A broker that comes and goes is spoken of at most that often.
const QUIET: Duration = Duration::from_secs(10);

/// The outages of one client.
#[derive(Debug, Default)]
pub(super) struct Health {
    outages: HashMap<NodeId, Outage>,
    /// Where the last attempt to connect has failed.
    unreachable: HashSet<Endpoint>,
}

#[derive(Debug)]
struct Outage {
    /// None: it is over.
    since: Option<Instant>,
    /// When the last outage was told.
    told: Option<Instant>,
    /// Whether this one was.
    is_told: bool,
}

impl Health {
    /// The broker could not be connected to. True: tell that it is lost.
    pub(super) fn failed(&mut self, node: NodeId, now: Instant) -> bool {
        let outage = self.outages.entry(node).or_insert(Outage {
            since: None,
            told: None,
            is_told: false,
        });
        if outage.since.is_none() {
            outage.since = Some(now);
            outage.is_told = false;
        }
        if outage.is_told || outage.told.is_some_and(|told| now < told + QUIET) {
            return false;
        }
        outage.told = Some(now);
        outage.is_told = true;
        true
    }

    /// What came of an attempt to connect.
    pub(super) fn attempted(&mut self, endpoint: &Endpoint, is_open: bool) {
        if is_open {
            self.unreachable.remove(endpoint);
        } else if !self.unreachable.contains(endpoint) {
            self.unreachable.insert(endpoint.clone());
        }
    }

    /// Whether it is not known to be back since an attempt has failed.
    pub(super) fn is_unreachable(&self, endpoint: &Endpoint) -> bool {
        self.unreachable.contains(endpoint)
    }

    /// A connection to the broker is open. Some: tell that it is back after so long.
    pub(super) fn connected(&mut self, node: NodeId, now: Instant) -> Option<Duration> {
        let outage = self.outages.get_mut(&node)?;
        let since = outage.since.take()?;
        outage.is_told.then(|| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(health.connected(1, now), None);
        assert!(health.failed(1, now));
        assert!(!health.failed(1, now + SECOND));
        assert!(!health.failed(1, now + 60 * SECOND));
        assert!(health.failed(2, now));
        assert_eq!(health.connected(1, now + 61 * SECOND), Some(61 * SECOND));
        assert_eq!(health.connected(1, now + 62 * SECOND), None);
    }

    #[test]
    fn a_broker_that_comes_and_goes_is_told_of_seldom() {
        let (mut health, now) = (Health::default(), Instant::now());
        let mut told = 0;
        for second in 0..100 {
            told += u32::from(health.failed(1, now + second * SECOND));
            health.connected(1, now + second * SECOND);
        }
        assert_eq!(told, 10);
    }

    #[test]
    fn a_broker_is_unreachable_from_an_attempt_that_failed_to_one_that_did_not() {
        let mut health = Health::default();
        let [one, other] = [1, 2].map(|port| Endpoint {
            host: "b".into(),
            port,
        });
        health.attempted(&one, true);
        assert!(!health.is_unreachable(&one));
        health.attempted(&one, false);
        health.attempted(&one, false);
        assert!(health.is_unreachable(&one) && !health.is_unreachable(&other));
        health.attempted(&one, true);
        assert!(!health.is_unreachable(&one));
    }

    #[test]
    fn an_outage_that_goes_on_is_told_although_one_has_just_been() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(health.failed(1, now));
        health.connected(1, now + SECOND);
        assert!(!health.failed(1, now + 2 * SECOND));
        assert_eq!(health.connected(1, now + 3 * SECOND), None);
        assert!(!health.failed(1, now + 4 * SECOND));
        assert!(health.failed(1, now + 10 * SECOND));
        assert_eq!(health.connected(1, now + 14 * SECOND), Some(10 * SECOND));
    }
}
