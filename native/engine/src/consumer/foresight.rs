//! Where logs begin that are about to be asked for. Who subscribes to the partitions of a topic one after the other, from
//! the earliest offset on, would wait for an answer of a broker a thousand times; so the question for one is one for some of
//! those that have a consumer and no subscriber yet, too. Without I/O or clock of its own.
//!
//! What is known in advance may not be true any more when it is used, after a deletion of records, say: whoever is told by a
//! fetch that there is no such offset asks again (see [`Position::foreseen`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::routing::Position;
use crate::cluster::{Leader, TopicId};

/// For so long an answer counts, and a question belongs to a series.
const COUNTS_FOR: Duration = Duration::from_secs(1);
/// Of one question: as many are subscribed to while the answer counts, where brokers are near.
const MOST_AHEAD: usize = 250;

/// The log that something is known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Log {
    /// Who was asked.
    pub leader: Leader,
    /// None: not known.
    pub topic_id: Option<TopicId>,
}

/// A partition that has a consumer, and no subscriber yet.
#[derive(Debug)]
enum Unread {
    NotAsked,
    Asked,
    Begins {
        log: Log,
        at: (i64, i32),
        told: Instant,
    },
}

#[derive(Debug, Default)]
struct Topic {
    unread: BTreeMap<i32, Unread>,
    /// How many begins somebody wanted to know in this series, and when the last one.
    series: Option<(usize, Instant)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    topics: HashMap<Arc<str>, Topic>,
}

impl Foresight {
    /// A partition has a consumer.
    pub(super) fn opened(&mut self, topic: &Arc<str>, partition: i32) {
        let topic = self.topics.entry(topic.clone()).or_default();
        topic.unread.insert(partition, Unread::NotAsked);
    }

    /// Somebody subscribes to it, or it has no consumer any more.
    pub(super) fn forget(&mut self, name: &str, partition: i32) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.unread.remove(&partition);
            if topic.unread.is_empty() {
                self.topics.remove(name);
            }
        }
    }

    /// Somebody who subscribes wants to know where the log begins. Some: it was asked for in advance.
    pub(super) fn wanted(
        &mut self,
        name: &str,
        partition: i32,
        log: Log,
        now: Instant,
    ) -> Option<Position> {
        let topic = self.topics.get_mut(name)?;
        let before = topic.series.filter(|(_, last)| now < *last + COUNTS_FOR);
        topic.series = Some((before.map_or(0, |(count, _)| count) + 1, now));
        let known = topic.unread.remove(&partition);
        if topic.unread.is_empty() {
            self.topics.remove(name);
        }
        match known? {
            Unread::Begins { log: of, at, told } if of == log && now < told + COUNTS_FOR => {
                let (offset, epoch) = at;
                let foreseen = true;
                Some(Position {
                    offset,
                    epoch,
                    foreseen,
                })
            }
            _ => None,
        }
    }

    /// A broker is about to be asked for the begin of a partition's log: which others of the topic to ask for, of those
    /// that it leads, and how it does. As many as were wanted lately: nobody asks for a thousand who wants to know one.
    pub(super) fn ahead(
        &mut self,
        name: &str,
        partition: i32,
        led_there: impl Fn(i32) -> Option<Leader>,
    ) -> Vec<(i32, Leader)> {
        let Some(topic) = self.topics.get_mut(name) else {
            return Vec::new();
        };
        let wanted = topic.series.map_or(0, |(count, _)| count - 1);
        let next = topic.unread.range(partition..);
        let others = next.chain(topic.unread.range(..partition));
        let ahead: Vec<_> = others
            .filter(|(_, state)| matches!(state, Unread::NotAsked))
            .filter_map(|(other, _)| Some((*other, led_there(*other)?)))
            .take(wanted.min(MOST_AHEAD))
            .collect();
        for (other, _) in &ahead {
            topic.unread.insert(*other, Unread::Asked);
        }
        ahead
    }

    /// What a broker said of one of [`Foresight::ahead`]: offset and leader epoch.
    pub(super) fn learn(
        &mut self,
        name: &str,
        partition: i32,
        log: Log,
        at: (i64, i32),
        now: Instant,
    ) {
        let topic = self.topics.get_mut(name);
        let state = topic.and_then(|topic| topic.unread.get_mut(&partition));
        if let Some(state) = state {
            let told = now;
            *state = Unread::Begins { log, at, told };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Log = Log {
        leader: Leader { node: 1, epoch: 5 },
        topic_id: None,
    };

    fn led(_partition: i32) -> Option<Leader> {
        Some(LOG.leader)
    }

    fn opened(partitions: i32) -> (Foresight, Instant) {
        let mut foresight = Foresight::default();
        for partition in 0..partitions {
            foresight.opened(&"t".into(), partition);
        }
        (foresight, Instant::now())
    }

    /// Subscribes to all, one after the other; how many had to be asked for.
    fn questions(foresight: &mut Foresight, partitions: i32, now: Instant) -> Vec<usize> {
        let mut questions = Vec::new();
        for partition in 0..partitions {
            match foresight.wanted("t", partition, LOG, now) {
                Some(position) => assert_eq!(position.offset, i64::from(partition) * 10),
                None => {
                    let ahead = foresight.ahead("t", partition, led);
                    questions.push(ahead.len());
                    for (other, _) in ahead {
                        let at = (i64::from(other) * 10, -1);
                        foresight.learn("t", other, LOG, at, now);
                    }
                }
            }
        }
        questions
    }

    #[test]
    fn a_thousand_partitions_take_few_questions_and_one_takes_one() {
        let (mut foresight, now) = opened(1000);
        let questions = questions(&mut foresight, 1000, now);
        assert_eq!(questions[..4], [0, 1, 3, 7]);
        assert!(questions.len() < 15, "{questions:?}");
        assert!(
            foresight.topics.is_empty(),
            "nothing is left to be asked for"
        );
    }

    #[test]
    fn who_comes_by_now_and_then_asks_for_one_partition() {
        let (mut foresight, mut now) = opened(100);
        for partition in 0..10 {
            assert_eq!(foresight.wanted("t", partition, LOG, now), None);
            assert!(foresight.ahead("t", partition, led).is_empty());
            now += COUNTS_FOR;
        }
    }

    #[test]
    fn a_leader_is_asked_for_what_it_leads() {
        let (mut foresight, now) = opened(10);
        foresight.wanted("t", 0, LOG, now);
        foresight.wanted("t", 1, LOG, now);
        foresight.wanted("t", 2, LOG, now);
        let even = |partition| led(partition).filter(|_| partition % 2 == 0);
        let ahead = foresight.ahead("t", 2, even);
        assert_eq!(ahead, [(4, LOG.leader), (6, LOG.leader)]);
        // Until its answer is there, others ask for themselves.
        assert_eq!(foresight.wanted("t", 4, LOG, now), None);
        foresight.learn("t", 4, LOG, (0, 0), now);
        assert_eq!(foresight.ahead("t", 4, even), [(8, LOG.leader)]);
        foresight.forget("t", 6);
        foresight.learn("t", 6, LOG, (0, 0), now);
        assert_eq!(foresight.wanted("t", 6, LOG, now), None, "it was closed");
    }

    #[test]
    fn what_was_said_by_another_leader_or_long_ago_does_not_count() {
        let known = |log, later| {
            let (mut foresight, now) = opened(3);
            foresight.wanted("t", 0, LOG, now);
            foresight.wanted("t", 1, LOG, now);
            assert_eq!(foresight.ahead("t", 1, led), [(2, LOG.leader)]);
            foresight.learn("t", 2, LOG, (7, 5), now);
            foresight.wanted("t", 2, log, now + later)
        };
        let position = Position {
            offset: 7,
            epoch: 5,
            foreseen: true,
        };
        assert_eq!(known(LOG, Duration::ZERO), Some(position));
        assert_eq!(known(LOG, COUNTS_FOR), None);
        let leader = Leader { node: 1, epoch: 6 };
        assert_eq!(known(Log { leader, ..LOG }, Duration::ZERO), None);
        let topic_id = TopicId::new([1; 16]);
        assert_eq!(known(Log { topic_id, ..LOG }, Duration::ZERO), None);
    }
}
