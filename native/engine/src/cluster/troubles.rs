//! Topics that cannot be used although brokers answer, as an operator wants to be told: what lasts, and once a minute.
//! No I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Elections, restarts of brokers and topics that are being made take less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// What lasts is told again after so long.
pub(crate) const QUIET: Duration = Duration::from_secs(60);
/// What was not seen for so long had passed meanwhile.
const GAP: Duration = Duration::from_secs(30);

/// What is wrong with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// It is not there, or partitions of it have no leader.
    Unavailable,
    /// Its leaders refuse batches, which are sent again.
    Refused,
}

/// The troubles of one client.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    by_topic: HashMap<(Trouble, Arc<str>), Lasting>,
}

#[derive(Debug)]
struct Lasting {
    since: Instant,
    seen: Instant,
    told: Option<Instant>,
}

impl Troubles {
    /// It is there, or still is. Some: it is to be told, and has lasted for so long.
    pub(super) fn seen(
        &mut self,
        what: Trouble,
        topic: &Arc<str>,
        now: Instant,
    ) -> Option<Duration> {
        let begins = || Lasting {
            since: now,
            seen: now,
            told: None,
        };
        let lasting = self.by_topic.entry((what, topic.clone()));
        let lasting = lasting.or_insert_with(begins);
        if now > lasting.seen + GAP {
            *lasting = begins();
        }
        lasting.seen = now;
        let lasts = now.saturating_duration_since(lasting.since);
        let is_quiet = lasting.told.is_some_and(|told| now < told + QUIET);
        if lasts < PATIENCE || is_quiet {
            return None;
        }
        lasting.told = Some(now);
        Some(lasts)
    }

    /// It is not there. Some: it was told, and has lasted for so long.
    pub(super) fn over(
        &mut self,
        what: Trouble,
        topic: &Arc<str>,
        now: Instant,
    ) -> Option<Duration> {
        if self.by_topic.is_empty() {
            return None;
        }
        let lasted = self.by_topic.remove(&(what, topic.clone()))?;
        let is_told = lasted.told.is_some();
        is_told.then(|| now.saturating_duration_since(lasted.since))
    }

    /// Topics that have it, as was told; by name.
    pub(super) fn lasting(&self, what: Trouble, now: Instant) -> Vec<Arc<str>> {
        let lasts = |lasting: &Lasting| lasting.told.is_some() && now <= lasting.seen + GAP;
        let all = self.by_topic.iter();
        let mut topics: Vec<_> = all
            .filter(|((trouble, _), lasting)| *trouble == what && lasts(lasting))
            .map(|((_, topic), _)| topic.clone())
            .collect();
        topics.sort();
        topics
    }

    /// Forgets those of other topics.
    pub(super) fn keep(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.by_topic.retain(|(_, topic), _| is_wanted(topic));
    }
}

/// As a line has it: parts of a second say nothing of what is told after ten.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn told_at(troubles: &mut Troubles, seconds: impl Iterator<Item = u32>) -> Vec<u32> {
        let start = Instant::now();
        let topic: Arc<str> = "t".into();
        seconds
            .filter(|second| {
                let lasts = troubles.seen(Trouble::Refused, &topic, start + *second * SECOND);
                lasts.is_some()
            })
            .collect()
    }

    #[test]
    fn what_lasts_is_told_after_ten_seconds_and_once_a_minute() {
        let mut troubles = Troubles::default();
        assert_eq!(told_at(&mut troubles, 0..140), [10, 70, 130]);
    }

    #[test]
    fn what_comes_and_goes_is_not_told() {
        let mut troubles = Troubles::default();
        let now_and_then = (0..10).map(|time| time * 31);
        assert_eq!(told_at(&mut troubles, now_and_then), [] as [u32; 0]);
    }

    #[test]
    fn the_end_is_told_of_what_was_told() {
        let mut troubles = Troubles::default();
        let (topic, start): (Arc<str>, _) = ("t".into(), Instant::now());
        let unavailable = Trouble::Unavailable;
        assert_eq!(troubles.seen(unavailable, &topic, start), None);
        assert_eq!(troubles.over(unavailable, &topic, start + SECOND), None);
        for second in 0..11 {
            troubles.seen(unavailable, &topic, start + second * SECOND);
        }
        assert_eq!(troubles.over(Trouble::Refused, &topic, start), None);
        let end = start + 12 * SECOND;
        assert_eq!(troubles.over(unavailable, &topic, end), Some(12 * SECOND));
        assert_eq!(troubles.over(unavailable, &topic, end), None);
    }

    #[test]
    fn a_topic_has_what_was_told_until_that_is_over_or_was_not_seen_for_long() {
        let mut troubles = Troubles::default();
        let (topic, start): (Arc<str>, _) = ("t".into(), Instant::now());
        let (unavailable, refused) = (Trouble::Unavailable, Trouble::Refused);
        for second in 0..=10 {
            let now = start + second * SECOND;
            assert_eq!(troubles.lasting(refused, now), []);
            troubles.seen(refused, &topic, now);
            troubles.seen(unavailable, &topic, now);
        }
        let last = start + 10 * SECOND;
        assert_eq!(troubles.lasting(refused, last), ["t".into()]);
        assert_eq!(troubles.lasting(refused, last + GAP + SECOND), []);
        troubles.over(unavailable, &topic, last);
        assert_eq!(troubles.lasting(unavailable, last), []);
    }

    #[test]
    fn topics_that_nobody_uses_any_more_are_forgotten() {
        let mut troubles = Troubles::default();
        told_at(&mut troubles, 0..11);
        troubles.keep(|topic| topic != "t");
        assert!(troubles.by_topic.is_empty());
    }
}
