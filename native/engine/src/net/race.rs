//! Which of a host's addresses is tried when (RFC 8305, Happy Eyeballs). No I/O.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{AddressFamily, SocketOptions};

/// So long an address may keep to itself before the next one is tried beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The addresses that may be tried, each once, both families in turn. The resolver's first choice stays
/// first.
pub(super) fn order(found: &[SocketAddr], options: &SocketOptions) -> Vec<SocketAddr> {
    let allowed = |address: &&SocketAddr| {
        let by_family = match options.family {
            AddressFamily::Any => true,
            AddressFamily::V4 => address.is_ipv4(),
            AddressFamily::V6 => address.is_ipv6(),
        };
        let reachable = |local: std::net::IpAddr| local.is_ipv4() == address.is_ipv4();
        by_family && options.local_address.is_none_or(reachable)
    };
    let mut seen = HashSet::new();
    let found: Vec<_> = found
        .iter()
        .filter(allowed)
        .filter(|address| seen.insert(**address))
        .copied()
        .collect();
    let Some(first) = found.first() else {
        return found;
    };
    let (mut preferred, mut other): (VecDeque<SocketAddr>, VecDeque<SocketAddr>) = found
        .iter()
        .copied()
        .partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut ordered = Vec::with_capacity(found.len());
    while ordered.len() < found.len() {
        ordered.extend(preferred.pop_front());
        ordered.extend(other.pop_front());
    }
    ordered
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Connect to the address, beside those that are under way.
    Start(SocketAddr),
    /// Wait for an attempt to end, or until then.
    Wait(Option<Instant>),
    /// All have failed.
    Lost,
}

/// Attempts to reach one host.
pub(super) struct Race {
    waiting: VecDeque<SocketAddr>,
    running: usize,
    next_at: Instant,
}

impl Race {
    pub(super) fn new(addresses: &[SocketAddr], now: Instant) -> Self {
        Race {
            waiting: addresses.iter().copied().collect(),
            running: 0,
            next_at: now,
        }
    }

    pub(super) fn step(&mut self, now: Instant) -> Step {
        if self.waiting.is_empty() {
            return match self.running {
                0 => Step::Lost,
                _ => Step::Wait(None),
            };
        }
        if now < self.next_at {
            return Step::Wait(Some(self.next_at));
        }
        match self.waiting.pop_front() {
            Some(address) => {
                self.running += 1;
                self.next_at = now + ATTEMPT_DELAY;
                Step::Start(address)
            }
            None => Step::Lost,
        }
    }

    /// An attempt has failed: the next one need not wait.
    pub(super) fn failed(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        self.next_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        let parse = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), 9092);
        list.iter().map(parse).collect()
    }

    #[test]
    fn families_take_turns_and_the_first_choice_of_the_resolver_stays_first() {
        let found = addresses(&["::1", "::2", "::3", "10.0.0.1", "::1"]);
        let ordered = order(&found, &SocketOptions::default());
        assert_eq!(ordered, addresses(&["::1", "10.0.0.1", "::2", "::3"]));
        let found = addresses(&["10.0.0.1", "10.0.0.2", "::1"]);
        let ordered = order(&found, &SocketOptions::default());
        assert_eq!(ordered, addresses(&["10.0.0.1", "::1", "10.0.0.2"]));
    }

    #[test]
    fn only_addresses_of_the_family_that_was_asked_for_are_tried() {
        let found = addresses(&["::1", "10.0.0.1"]);
        let family = |family| SocketOptions {
            family,
            ..SocketOptions::default()
        };
        assert_eq!(
            order(&found, &family(AddressFamily::V4)),
            addresses(&["10.0.0.1"])
        );
        assert_eq!(
            order(&found, &family(AddressFamily::V6)),
            addresses(&["::1"])
        );
        let bound = SocketOptions {
            local_address: Some("127.0.0.1".parse().unwrap()),
            ..SocketOptions::default()
        };
        assert_eq!(order(&found, &bound), addresses(&["10.0.0.1"]));
    }

    #[test]
    fn an_address_that_does_not_answer_gets_a_quarter_of_a_second_to_itself() {
        let start = Instant::now();
        let all = addresses(&["::1", "10.0.0.1"]);
        let mut race = Race::new(&all, start);
        assert_eq!(race.step(start), Step::Start(all[0]));
        assert_eq!(race.step(start), Step::Wait(Some(start + ATTEMPT_DELAY)));
        let later = start + ATTEMPT_DELAY;
        assert_eq!(race.step(later), Step::Start(all[1]));
        assert_eq!(race.step(later), Step::Wait(None));
        race.failed(later);
        assert_eq!(race.step(later), Step::Wait(None));
        race.failed(later);
        assert_eq!(race.step(later), Step::Lost);
    }

    #[test]
    fn behind_an_address_that_refuses_the_next_one_is_tried_at_once() {
        let start = Instant::now();
        let all = addresses(&["::1", "10.0.0.1"]);
        let mut race = Race::new(&all, start);
        assert_eq!(race.step(start), Step::Start(all[0]));
        race.failed(start);
        assert_eq!(race.step(start), Step::Start(all[1]));
    }

    #[test]
    fn a_host_without_an_address_is_lost() {
        let now = Instant::now();
        assert_eq!(Race::new(&[], now).step(now), Step::Lost);
    }
}
