//! A fetch session (KIP-227): the broker remembers what was asked for, so that a request names only
//! what changed. Without I/O.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

pub(super) use brod_protocol::api::fetch::{Ask, Key};
use brod_protocol::api::{fetch, TopicId};
use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::TopicName;

/// Fetch requests know sessions from this version on.
const FIRST_VERSION: i16 = 7;

/// What a request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub session_id: i32,
    pub session_epoch: i32,
    pub ask: Vec<(Key, Ask)>,
    /// With the topic's id, as the broker has it.
    pub forget: Vec<(Key, Option<TopicId>)>,
}

/// The topics of the partitions that are wanted, by id.
#[derive(Debug, Default)]
struct Topics {
    /// The name, and how many partitions.
    named: HashMap<TopicId, (TopicName, usize)>,
    /// Partitions of topics whose ids are not known.
    unknown: usize,
}

impl Topics {
    fn add(&mut self, id: Option<TopicId>, name: &TopicName) {
        match id {
            Some(id) => {
                let new = || (name.clone(), 0);
                self.named.entry(id).or_insert_with(new).1 += 1;
            }
            None => self.unknown += 1,
        }
    }

    fn remove(&mut self, id: Option<TopicId>) {
        let Some(id) = id else {
            self.unknown -= 1;
            return;
        };
        if let Some((_, partitions)) = self.named.get_mut(&id) {
            *partitions -= 1;
            if *partitions == 0 {
                self.named.remove(&id);
            }
        }
    }
}

/// Session of one connection's requests, of which one is under way at a time.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// 0: there is none.
    id: i32,
    epoch: i32,
    wanted: IndexMap<Key, Ask>,
    /// Of `wanted`.
    topics: Topics,
    /// The session's topics are named by ids: all requests of a session name them alike.
    is_by_id: bool,
    /// As the broker has them.
    known: IndexMap<Key, Ask>,
    changed: HashSet<Key>,
    /// Where the next request without a session starts, so that the first partitions do not fill
    /// every answer.
    turn: usize,
}

impl Session {
    /// Wants a partition, or something else of it.
    pub(super) fn want(&mut self, key: &Key, ask: Ask) {
        let former = self.wanted.insert(key.clone(), ask);
        if former == Some(ask) {
            return;
        }
        self.changed.insert(key.clone());
        if former.is_none_or(|former| former.topic_id != ask.topic_id) {
            self.topics.add(ask.topic_id, &key.0);
            if let Some(former) = former {
                self.topics.remove(former.topic_id);
            }
        }
    }

    /// The ids of all topics are known: requests may name them so (KIP-516).
    pub(super) fn knows_ids(&self) -> bool {
        self.topics.unknown == 0
    }

    /// The name of a topic of which something is wanted.
    pub(super) fn topic(&self, id: TopicId) -> Option<TopicName> {
        let (name, _) = self.topics.named.get(&id)?;
        Some(name.clone())
    }

    /// Goes on at another offset of a partition that is wanted.
    pub(super) fn update(&mut self, key: &Key, offset: i64, max_bytes: i32) {
        if let Some(wanted) = self.wanted.get(key).copied() {
            self.want(
                key,
                Ask {
                    offset,
                    max_bytes,
                    ..wanted
                },
            );
        }
    }

    /// Wants it no more.
    pub(super) fn drop(&mut self, key: &Key) {
        if let Some(former) = self.wanted.swap_remove(key) {
            self.changed.insert(key.clone());
            self.topics.remove(former.topic_id);
        }
    }

    /// The next request, in this version of Fetch.
    pub(super) fn plan(&mut self, version: i16) -> Plan {
        if self.is_by_id != fetch::is_by_id(version) {
            self.restart();
            self.is_by_id = !self.is_by_id;
        }
        if self.id == 0 || version < FIRST_VERSION {
            return self.plan_all(version);
        }
        let mut ask = Vec::new();
        let mut forget = Vec::new();
        for key in self.changed.drain() {
            match self.wanted.get(&key) {
                Some(wanted) => {
                    let known = self.known.insert(key.clone(), *wanted);
                    if known == Some(*wanted) {
                        continue;
                    }
                    // The topic was made again: to the broker its partitions are others.
                    let other = known.filter(|known| known.topic_id != wanted.topic_id);
                    if let (Some(other), true) = (other, self.is_by_id) {
                        forget.push((key.clone(), other.topic_id));
                    }
                    ask.push((key, *wanted));
                }
                None => {
                    if let Some(known) = self.known.swap_remove(&key) {
                        forget.push((key, known.topic_id));
                    }
                }
            }
        }
        Plan {
            session_id: self.id,
            session_epoch: self.epoch,
            ask,
            forget,
        }
    }

    /// A request that starts no session, for those who never have one.
    pub(super) fn plan_apart(&mut self) -> Plan {
        self.changed.clear();
        let wanted = self.wanted.iter();
        Plan {
            session_id: 0,
            session_epoch: -1,
            ask: wanted.map(|(key, ask)| (key.clone(), *ask)).collect(),
            forget: Vec::new(),
        }
    }

    fn plan_all(&mut self, version: i16) -> Plan {
        self.changed.clear();
        self.known = self.wanted.clone();
        let turn = self.turn % self.wanted.len().max(1);
        self.turn = turn + 1;
        let (first, second) = (self.wanted.iter().skip(turn), self.wanted.iter().take(turn));
        Plan {
            session_id: 0,
            session_epoch: if version < FIRST_VERSION { -1 } else { 0 },
            ask: first
                .chain(second)
                .map(|(key, ask)| (key.clone(), *ask))
                .collect(),
            forget: Vec::new(),
        }
    }

    /// The request was answered without an error for the whole; `id` is what the answer says.
    pub(super) fn answered(&mut self, id: i32) {
        if self.id == 0 {
            // A broker without room for one more session says 0: everything is named every time.
            self.id = id;
            self.epoch = 1;
        } else if id == self.id {
            self.epoch = if self.epoch == i32::MAX {
                1
            } else {
                self.epoch + 1
            };
        } else {
            self.restart();
        }
    }

    /// The request failed: the next one names everything. True if it failed because the broker
    /// does not have the session any more, so that it can be sent again at once.
    pub(super) fn failed(&mut self, code: ErrorCode) -> bool {
        let had_session = self.id != 0;
        self.restart();
        had_session && code.is_fetch_session_lost()
    }

    fn restart(&mut self) {
        self.id = 0;
        self.epoch = 0;
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> Key {
        brod_protocol::api::fetch::key("t", partition)
    }

    fn ask(offset: i64) -> Ask {
        Ask {
            topic_id: None,
            offset,
            leader_epoch: 3,
            max_bytes: 100,
        }
    }

    fn partitions(plan: &Plan) -> Vec<i32> {
        let mut all: Vec<_> = plan
            .ask
            .iter()
            .map(|((_, partition), _)| *partition)
            .collect();
        all.sort_unstable();
        all
    }

    fn started() -> Session {
        let mut session = Session::default();
        session.want(&key(0), ask(10));
        session.want(&key(1), ask(20));
        let plan = session.plan(12);
        assert_eq!((plan.session_id, plan.session_epoch), (0, 0));
        assert_eq!(partitions(&plan), [0, 1]);
        session.answered(77);
        session
    }

    #[test]
    fn names_only_what_changed() {
        let mut session = started();
        session.want(&key(0), ask(10));
        let idle = session.plan(12);
        assert_eq!((idle.session_id, idle.session_epoch), (77, 1));
        assert!(idle.ask.is_empty() && idle.forget.is_empty());
        session.answered(77);
        session.want(&key(0), ask(11));
        session.want(&key(2), ask(0));
        session.drop(&key(1));
        let plan = session.plan(12);
        assert_eq!(plan.session_epoch, 2);
        assert_eq!(partitions(&plan), [0, 2]);
        assert_eq!(plan.forget, [(key(1), None)]);
    }

    #[test]
    fn what_has_changed_is_forgotten_by_a_lane_that_has_no_session_too() {
        let mut session = Session::default();
        for partition in 0..100 {
            session.want(&key(partition), ask(10));
            let plan = session.plan_apart();
            assert_eq!((plan.session_id, plan.session_epoch), (0, -1));
            assert_eq!(partitions(&plan), [partition]);
            session.drop(&key(partition));
        }
        session.plan_apart();
        assert!(session.changed.is_empty());
    }

    #[test]
    fn a_partition_that_leaves_and_comes_back_between_requests_is_not_mentioned() {
        let mut session = started();
        session.drop(&key(1));
        session.want(&key(1), ask(20));
        session.want(&key(2), ask(0));
        session.drop(&key(2));
        let plan = session.plan(12);
        assert!(plan.ask.is_empty() && plan.forget.is_empty());
    }

    #[test]
    fn starts_over_when_the_broker_lost_the_session() {
        let mut session = started();
        session.plan(12);
        assert!(session.failed(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        let plan = session.plan(12);
        assert_eq!((plan.session_id, plan.session_epoch), (0, 0));
        assert_eq!(partitions(&plan), [0, 1]);
        // Without a session that cannot be the reason, and trying at once would be a loop.
        assert!(!session.failed(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    }

    #[test]
    fn a_broker_that_gives_no_session_is_told_everything_in_turns() {
        let mut session = Session::default();
        for partition in 0..3 {
            session.want(&key(partition), ask(0));
        }
        let first: Vec<i32> = (0..3)
            .map(|_| {
                let plan = session.plan(12);
                session.answered(0);
                assert_eq!((plan.session_id, plan.session_epoch), (0, 0));
                assert_eq!(plan.ask.len(), 3);
                plan.ask[0].0 .1
            })
            .collect();
        assert_eq!(first, [0, 1, 2]);
        assert_eq!(session.plan(6).session_epoch, -1);
    }

    fn topic(number: u8) -> Option<TopicId> {
        TopicId::new([number; 16])
    }

    fn of_topic(number: u8, offset: i64) -> Ask {
        Ask {
            topic_id: topic(number),
            ..ask(offset)
        }
    }

    #[test]
    fn a_partition_of_a_topic_that_was_made_again_takes_the_place_of_the_one_before() {
        let mut session = Session::default();
        session.want(&key(0), of_topic(1, 10));
        session.want(&key(1), of_topic(1, 20));
        session.plan(13);
        session.answered(77);
        session.want(&key(0), of_topic(2, 0));
        let plan = session.plan(13);
        assert_eq!(plan.session_epoch, 1);
        assert_eq!(plan.ask, [(key(0), of_topic(2, 0))]);
        assert_eq!(plan.forget, [(key(0), topic(1))]);
        session.answered(77);
        session.drop(&key(1));
        assert_eq!(session.plan(13).forget, [(key(1), topic(1))]);
    }

    #[test]
    fn a_partition_that_is_named_by_its_name_is_not_forgotten_when_the_topic_is_made_again() {
        let mut session = Session::default();
        session.want(&key(0), of_topic(1, 10));
        session.plan(12);
        session.answered(77);
        session.want(&key(0), of_topic(2, 0));
        let plan = session.plan(12);
        assert_eq!((partitions(&plan), plan.forget), (vec![0], vec![]));
    }

    #[test]
    fn all_topics_are_named_alike_and_a_session_begins_anew_when_that_changes() {
        let mut session = Session::default();
        session.want(&key(0), of_topic(1, 10));
        assert!(session.knows_ids());
        session.plan(13);
        session.answered(77);
        session.want(&key(1), ask(20));
        assert!(!session.knows_ids());
        let plan = session.plan(12);
        assert_eq!((plan.session_id, plan.session_epoch), (0, 0));
        assert_eq!(partitions(&plan), [0, 1]);
        session.answered(78);
        session.drop(&key(1));
        assert!(session.knows_ids());
        assert_eq!(session.plan(13).session_id, 0);
    }

    #[test]
    fn a_topic_has_a_name_as_long_as_something_of_it_is_wanted() {
        let mut session = Session::default();
        let name = |session: &Session, number| topic(number).and_then(|id| session.topic(id));
        session.want(&key(0), of_topic(1, 10));
        session.want(&key(1), of_topic(1, 10));
        session.update(&key(1), 11, 100);
        session.drop(&key(0));
        assert_eq!(name(&session, 1), Some(key(1).0));
        session.want(&key(1), of_topic(2, 0));
        assert_eq!(name(&session, 1), None);
        assert_eq!(name(&session, 2), Some(key(1).0));
        session.drop(&key(1));
        assert_eq!(name(&session, 2), None);
    }

    #[test]
    fn the_epoch_skips_what_means_no_session() {
        let mut session = started();
        session.epoch = i32::MAX;
        session.plan(12);
        session.answered(77);
        assert_eq!(session.plan(12).session_epoch, 1);
    }
}
