//! What a member knows of its topics: which are not there, and which have grown.

use std::time::Instant;

use super::{Action, Member, Phase};
use crate::group::classic::actions::Counted;
use crate::group::{AssignedPartition, Event, PartitionCounts};

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
        self.growth_wait = (2 * self.growth_wait).min(interval);
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

    /// Whether the partition came while the group was there, as far as this member has seen or was told.
    /// That is so until something is committed: a generation may end before its members have read.
    pub(super) fn is_new(&self, partition: &AssignedPartition) -> bool {
        let before = self.grown_from.get(&partition.topic);
        before.is_some_and(|count| partition.partition >= *count)
    }

    /// Topics that the group has left are forgotten; one that has shrunk has been made again.
    pub(super) fn remember(&mut self, counted: &Counted) {
        let before = std::mem::take(&mut self.grown_from);
        for (topic, now) in &counted.counts {
            let before = before.get(topic).copied();
            let first = match before {
                before if counted.hidden.contains(topic) => before,
                before => Some(before.unwrap_or(*now).min(*now)),
            };
            self.grown_from
                .extend(first.map(|count| (topic.clone(), count)));
        }
    }

    /// What a leader tells those that have not seen the topics grow.
    pub(super) fn growth(&self) -> PartitionCounts {
        let Some(generation) = self.generation.as_ref().filter(|g| g.joined.leader) else {
            return PartitionCounts::new();
        };
        let before = self.grown_from.iter();
        before
            .filter(|(topic, before)| {
                generation
                    .counts
                    .get(*topic)
                    .is_some_and(|now| now > before)
            })
            .map(|(topic, before)| (topic.clone(), *before))
            .collect()
    }

    pub(super) fn learn_growth(&mut self, grown_from: &PartitionCounts) {
        for (topic, told) in grown_from {
            let before = self.grown_from.entry(topic.clone()).or_insert(*told);
            *before = (*before).min(*told);
        }
    }

    /// Growth of the topics is noticed by whoever keeps their metadata fresh.
    pub(super) fn watch<'a>(&mut self, topics: impl Iterator<Item = &'a String>) {
        self.actions.push(Action::Watch(topics.cloned().collect()));
    }
}
