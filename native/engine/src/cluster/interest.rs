//! Which topics' metadata is kept fresh: for as long as somebody holds an [`Interest`] in them. No I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

/// The longest name that Kafka takes.
const LONGEST_NAME: usize = 249;

/// Whether a broker would take the name for a topic's. Others are never asked for: one that is too long for
/// the protocol would spoil the request in which it stands beside the others.
pub fn is_topic_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=LONGEST_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(is_known)
}

/// The topics of interest.
#[derive(Debug, Default)]
pub(super) struct Interests(Mutex<HashMap<Arc<str>, Holders>>);

#[derive(Debug, Default)]
struct Holders {
    count: usize,
    /// Until then the topic stays without a holder.
    lingers_until: Option<Instant>,
}

/// Somebody's interest in a topic. It ends with this value.
#[derive(Debug)]
pub struct Interest {
    interests: Arc<Interests>,
    /// None: no topic can have that name.
    topic: Option<Arc<str>>,
}

impl Interests {
    /// Counts one more holder.
    pub(super) fn hold(self: &Arc<Self>, topic: &str) -> Interest {
        let topic = is_topic_name(topic).then(|| {
            let mut holders = self.0.lock();
            let name = match holders.get_key_value(topic) {
                Some((name, _)) => name.clone(),
                None => topic.into(),
            };
            holders.entry(name.clone()).or_default().count += 1;
            name
        });
        Interest {
            interests: self.clone(),
            topic,
        }
    }

    /// Keeps a topic, which somebody is interested in now, until `until`: whoever looked it up may do so again.
    pub(super) fn linger(&self, topic: &str, until: Instant) {
        if let Some(holders) = self.0.lock().get_mut(topic) {
            holders.lingers_until = holders.lingers_until.max(Some(until));
        }
    }

    /// Ends what has lingered long enough.
    pub(super) fn expire(&self, now: Instant) {
        self.0.lock().retain(|_, holders| {
            holders.lingers_until = holders.lingers_until.filter(|until| *until > now);
            holders.count > 0 || holders.lingers_until.is_some()
        });
    }

    /// Whether anybody is interested in a topic.
    pub(super) fn contains(&self, topic: &str) -> bool {
        self.0.lock().contains_key(topic)
    }

    /// How many topics are of interest.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// The topics that have holders.
    pub(super) fn held(&self) -> Vec<Arc<str>> {
        let all = self.0.lock();
        let held = all.iter().filter(|(_, holders)| holders.count > 0);
        held.map(|(name, _)| name.clone()).collect()
    }

    /// All topics of interest.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.lock().keys().map(|name| name.to_string()).collect()
    }

    fn release(&self, topic: &str) {
        let mut all = self.0.lock();
        let Some(holders) = all.get_mut(topic) else {
            return;
        };
        holders.count = holders.count.saturating_sub(1);
        if holders.count == 0 && holders.lingers_until.is_none() {
            all.remove(topic);
        }
    }
}

impl Interest {
    /// The topic's name, one for all who are interested in it. None: no topic can have that name.
    pub fn topic(&self) -> Option<&Arc<str>> {
        self.topic.as_ref()
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if let Some(topic) = &self.topic {
            self.interests.release(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn interest_ends_with_its_last_holder() {
        let interests = Arc::new(Interests::default());
        let (first, second) = (interests.hold("t"), interests.hold("t"));
        drop(first);
        assert_eq!(interests.names(), ["t"]);
        drop(second);
        assert!(!interests.contains("t"));
    }

    #[test]
    fn a_topic_that_was_looked_up_stays_for_a_while() {
        let interests = Arc::new(Interests::default());
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let lookup = interests.hold("t");
        interests.linger("t", now + second);
        drop(lookup);
        interests.expire(now);
        assert!(interests.contains("t"));
        interests.expire(now + second);
        assert!(!interests.contains("t"));
    }

    #[test]
    fn a_topic_in_use_does_not_expire() {
        let interests = Arc::new(Interests::default());
        let now = Instant::now();
        let _held = interests.hold("t");
        interests.linger("t", now);
        interests.expire(now);
        assert!(interests.contains("t"));
    }

    #[test]
    fn names_that_no_topic_can_have_are_not_kept() {
        let interests = Arc::new(Interests::default());
        let long = "x".repeat(LONGEST_NAME + 1);
        for name in [&long, "", ".", "..", "a b", "ü", "a/b"] {
            let _held = interests.hold(name);
            assert!(interests.names().is_empty(), "{name}");
        }
        for name in [&long[1..], "...", "a.B_c-9"] {
            assert!(is_topic_name(name), "{name}");
        }
    }
}
