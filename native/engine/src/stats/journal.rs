//! What has happened lately: the last few hundred events of a client, numbered.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// So many are kept.
const KEPT: usize = 256;

/// Something that happens seldom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection can be used; how long that took, in microseconds.
    Connected(u64),
    /// No connection could be made.
    ConnectFailed(String),
    /// A connection that could be used was lost.
    Disconnected(String),
    /// One has been closed because it was not needed any more.
    Closed(&'static str),
    /// The broker has accepted the client's credentials, with this mechanism.
    Authenticated(String),
    /// It has not.
    AuthenticationFailed(String),
    /// The broker asks for a pause of so many ms.
    Throttled(u64),
    /// The client went back to where it first found the cluster.
    Rebootstrapped,
}

/// An event in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Counts up by one.
    pub number: u64,
    /// `host:port` of the broker, or nothing.
    pub broker: String,
    /// What happened.
    pub event: Event,
}

/// See the module. Any number of readers follow it, each by the number that it has seen last.
#[derive(Debug, Default)]
pub struct Journal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    events: VecDeque<Noted>,
}

impl Journal {
    /// Takes an event in. The oldest one goes where there are too many.
    pub fn note(&self, broker: &impl ToString, event: Event) {
        let broker = broker.to_string();
        let mut state = self.0.lock();
        state.last += 1;
        let number = state.last;
        if state.events.len() >= KEPT {
            state.events.pop_front();
        }
        state.events.push_back(Noted {
            number,
            broker,
            event,
        });
    }

    /// Those after the one with this number, as far as they are still known. 0: all.
    pub fn since(&self, number: u64) -> Vec<Noted> {
        let state = self.0.lock();
        let later = state.events.iter().filter(|noted| noted.number > number);
        later.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_is_new_to_them_and_no_more_than_is_kept() {
        let journal = Journal::default();
        for pause in 1..=300 {
            journal.note(&"kafka:9092", Event::Throttled(pause));
        }
        assert_eq!(journal.since(299).len(), 1);
        assert_eq!(journal.since(300), []);
        let all = journal.since(0);
        assert_eq!((all.len(), all[0].number), (KEPT, 45));
        assert_eq!(all[0].event, Event::Throttled(45));
    }
}
