//! A fetch session (KIP-227): the broker remembers what was asked for, so that a request names only
//! what changed. Without I/O.

use std::collections::HashSet;

use indexmap::IndexMap;

pub(super) use brod_protocol::api::fetch::{Ask, Key};
use brod_protocol::error::ErrorCode;

/// Fetch requests know sessions from this version on.
const FIRST_VERSION: i16 = 7;

/// What a request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub session_id: i32,
    pub session_epoch: i32,
    pub ask: Vec<(Key, Ask)>,
    pub forget: Vec<Key>,
}

impl Plan {
    /// A request that starts no session.
    pub(super) fn without_session<'a>(wanted: impl Iterator<Item = (&'a Key, &'a Ask)>) -> Self {
        Plan {
            session_id: 0,
            session_epoch: -1,
            ask: wanted.map(|(key, ask)| (key.clone(), *ask)).collect(),
            forget: Vec::new(),
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
        if self.wanted.insert(key.clone(), ask) != Some(ask) {
            self.changed.insert(key.clone());
        }
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

    /// All that is wanted.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&Key, &Ask)> {
        self.wanted.iter()
    }

    /// Wants it no more.
    pub(super) fn drop(&mut self, key: &Key) {
        if self.wanted.swap_remove(key).is_some() {
            self.changed.insert(key.clone());
        }
    }

    /// The next request, in this version of Fetch.
    pub(super) fn plan(&mut self, version: i16) -> Plan {
        if self.id == 0 || version < FIRST_VERSION {
            return self.plan_all(version);
        }
        let mut ask = Vec::new();
        let mut forget = Vec::new();
        for key in self.changed.drain() {
            match self.wanted.get(&key) {
                Some(wanted) => {
                    if self.known.insert(key.clone(), *wanted) != Some(*wanted) {
                        ask.push((key, *wanted));
                    }
                }
                None => {
                    if self.known.swap_remove(&key).is_some() {
                        forget.push(key);
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
        assert_eq!(plan.forget, [key(1)]);
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

    #[test]
    fn the_epoch_skips_what_means_no_session() {
        let mut session = started();
        session.epoch = i32::MAX;
        session.plan(12);
        session.answered(77);
        assert_eq!(session.plan(12).session_epoch, 1);
    }
}
