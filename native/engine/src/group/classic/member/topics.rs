//! What a member knows of its topics: which are not there, and which have grown.

use std::time::Instant;

use super::{Action, Member, Phase};
use crate::group::{Event, PartitionCounts};

impl Member {
    /// The partition counts that the present assignment rests on, if this member made it.
    pub(super) fn assigned_counts(&self) -> Option<&PartitionCounts> {
        let generation = self.generation.as_ref()?;
        (self.phase == Phase::Stable && generation.joined.leader).then_some(&generation.counts)
    }

    /// A topic that is not there may just have been asked for: it is looked for sooner at first.
    pub(super) fn plan_growth_check(&mut self, now: Instant) {
        let interval = self.config.growth_check_interval;
        let wait = if self.unknown_topics().is_empty() {
            interval
        } else {
            self.growth_wait.min(interval)
        };
        self.growth_wait *= 2;
        self.next_growth_check = now + wait;
    }

    pub(super) fn unknown_topics(&self) -> Vec<String> {
        let counts = self.generation.iter().flat_map(|g| &g.counts);
        counts
            .filter(|(_, count)| **count == 0)
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    pub(super) fn tell_unknown_topics(&mut self) {
        let unknown = self.unknown_topics();
        if unknown != self.told_unknown {
            self.told_unknown.clone_from(&unknown);
            if !unknown.is_empty() {
                self.tell(Event::UnknownTopics(unknown));
            }
        }
    }

    /// Growth of the topics is noticed by whoever keeps their metadata fresh.
    pub(super) fn watch<'a>(&mut self, topics: impl Iterator<Item = &'a String>) {
        self.actions.push(Action::Watch(topics.cloned().collect()));
    }
}
