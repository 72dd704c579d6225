//! What becomes of a connection with time: closed when nothing is asked any more, authenticated again
//! before its session ends.

use std::time::{Duration, Instant};

use super::connection::{Connection, WeakConnection};
use super::handshake::{self, Session};
use super::sasl::Sasl;
use super::{ConnectOptions, NetError};
use crate::tasks::boxed;

/// How much of a session passes before it is renewed.
const RENEW_AT: f64 = 0.8;
/// Brokers refuse to renew a session twice within a second, as they would a client that is no client of SASL. Sessions are that
/// short where a token is about to expire and there is no other one.
const SHORTEST: Duration = Duration::from_secs(1);

/// Watches over a connection that is ready, as long as somebody holds it.
pub(super) fn watch(connection: &Connection, options: &ConnectOptions, session: Session) {
    let plan = Plan::new(options.max_idle, session, Instant::now());
    let Some(due) = plan.next(Instant::now(), Instant::now(), false).at() else {
        return;
    };
    let watcher = Watcher {
        connection: connection.downgrade(),
        sasl: options.sasl.clone(),
        limit: options.connect_timeout,
        plan,
    };
    tokio::spawn(boxed(watcher.run(due)));
}

struct Watcher {
    connection: WeakConnection,
    sasl: Option<Sasl>,
    limit: Duration,
    plan: Plan,
}

impl Watcher {
    async fn run(mut self, mut due: Instant) {
        loop {
            let shared = self.connection.shared();
            tokio::select! {
                biased;
                _ = shared.closed.cancelled() => return,
                _ = tokio::time::sleep_until(due.into()) => {}
            }
            let now = Instant::now();
            match self.plan.next(now, shared.last_used(), shared.is_busy()) {
                Next::Wait(until) => due = until,
                Next::Never => return,
                Next::Close => {
                    tracing::debug!(broker = %shared.endpoint, "idle connection closed");
                    return shared.hang_up("idle");
                }
                Next::Renew => {
                    let Some(connection) = self.connection.upgrade() else {
                        return;
                    };
                    if let Err(error) = self.renew(&connection).await {
                        return connection.fail(error);
                    }
                    due = Instant::now();
                }
            }
        }
    }

    fn note(&self, sasl: &Sasl, result: Result<(), String>) {
        let shared = self.connection.shared();
        let stats = &shared.stats;
        stats.authenticated(&shared.endpoint, sasl.name(), result);
    }

    async fn renew(&mut self, connection: &Connection) -> Result<(), NetError> {
        let Some(sasl) = self.sasl.clone() else {
            return Ok(());
        };
        let (client, broker) = (connection.client_id(), connection.endpoint());
        match handshake::again(connection, &sasl, self.limit).await {
            Ok(session) => {
                self.note(&sasl, Ok(()));
                self.plan.renewed(session, Instant::now());
            }
            // Nothing was sent yet. The session lasts a while longer, and a token may come.
            Err(NetError::Sasl(error)) if !error.is_refusal() => {
                let is_idle = !self.connection.shared().is_busy();
                // Whoever asks next would be hung up on without a word. A new connection says what is missing.
                if is_idle && self.plan.is_over(Instant::now()) {
                    return Err(error.into());
                }
                tracing::warn!(client, %broker, %error, "session not renewed yet");
                self.plan.postponed(Instant::now());
            }
            Err(NetError::Sasl(error)) => {
                tracing::warn!(client, %broker, %error, "the broker did not accept the client again");
                self.note(&sasl, Err(error.to_string()));
                return Err(error.into());
            }
            // The connection is lost, as it may be at any time: that says nothing of the credentials.
            Err(error) => {
                tracing::debug!(client, %broker, %error, "connection lost while the session was renewed");
                return Err(error);
            }
        }
        Ok(())
    }
}

/// What to do about a connection.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Look again then.
    Wait(Instant),
    /// It has been idle for too long.
    Close,
    /// Its session is about to end.
    Renew,
    /// Nothing will ever be due.
    Never,
}

impl Next {
    fn at(&self) -> Option<Instant> {
        match self {
            Next::Wait(until) => Some(*until),
            _ => None,
        }
    }
}

struct Plan {
    max_idle: Option<Duration>,
    renewal: Option<Renewal>,
}

#[derive(Clone, Copy)]
struct Renewal {
    at: Instant,
    ends: Instant,
}

impl Plan {
    fn new(max_idle: Option<Duration>, session: Session, now: Instant) -> Self {
        let mut plan = Plan {
            max_idle,
            renewal: None,
        };
        plan.renewed(session, now);
        plan
    }

    fn renewed(&mut self, session: Session, now: Instant) {
        self.renewal = session.map(|lifetime| Renewal {
            at: now + lifetime.mul_f64(RENEW_AT).max(SHORTEST),
            ends: now + lifetime,
        });
    }

    /// The session has ended.
    fn is_over(&self, now: Instant) -> bool {
        self.renewal.is_some_and(|renewal| renewal.ends <= now)
    }

    /// There was nothing to renew the session with: again after a part of what is left of it.
    fn postponed(&mut self, now: Instant) {
        if let Some(renewal) = &mut self.renewal {
            let left = renewal.ends.saturating_duration_since(now);
            renewal.at = now + (left / 4).max(Duration::from_millis(500));
        }
    }

    fn next(&self, now: Instant, last_used: Instant, busy: bool) -> Next {
        if self.renewal.is_some_and(|renewal| renewal.at <= now) {
            return Next::Renew;
        }
        let idle = self.max_idle.map(|limit| match busy {
            // An answer is waited for: it is in use now.
            true => now + limit,
            false => last_used + limit,
        });
        if idle.is_some_and(|at| at <= now) {
            return Next::Close;
        }
        let renewal = self.renewal.map(|renewal| renewal.at);
        match idle.into_iter().chain(renewal).min() {
            Some(at) => Next::Wait(at),
            None => Next::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_connection_is_closed_when_nothing_was_asked_for_so_long() {
        let start = Instant::now();
        let plan = Plan::new(Some(10 * SECOND), None, start);
        assert_eq!(
            plan.next(start, start, false),
            Next::Wait(start + 10 * SECOND)
        );
        let used = start + 4 * SECOND;
        assert_eq!(
            plan.next(start + 10 * SECOND, used, false),
            Next::Wait(start + 14 * SECOND)
        );
        assert_eq!(plan.next(start + 14 * SECOND, used, false), Next::Close);
    }

    #[test]
    fn a_connection_that_waits_for_an_answer_is_not_idle() {
        let start = Instant::now();
        let plan = Plan::new(Some(10 * SECOND), None, start);
        let now = start + 60 * SECOND;
        assert_eq!(plan.next(now, start, true), Next::Wait(now + 10 * SECOND));
    }

    #[test]
    fn a_session_is_renewed_when_four_fifths_of_it_are_over() {
        let start = Instant::now();
        let mut plan = Plan::new(None, Some(10 * SECOND), start);
        assert_eq!(
            plan.next(start, start, false),
            Next::Wait(start + 8 * SECOND)
        );
        let now = start + 8 * SECOND;
        assert_eq!(plan.next(now, start, true), Next::Renew);
        plan.renewed(Some(5 * SECOND), now);
        assert_eq!(plan.next(now, start, true), Next::Wait(now + 4 * SECOND));
    }

    #[test]
    fn a_session_is_not_renewed_before_brokers_permit_it() {
        let start = Instant::now();
        let mut plan = Plan::new(None, Some(10 * SECOND), start);
        plan.renewed(Some(SECOND / 2), start);
        assert_eq!(
            plan.next(start, start, true),
            Next::Wait(start + SECOND),
            "it ends before, which a renewal mends"
        );
    }

    #[test]
    fn a_session_that_could_not_be_renewed_is_tried_again_before_it_ends() {
        let start = Instant::now();
        let mut plan = Plan::new(None, Some(100 * SECOND), start);
        let now = start + 80 * SECOND;
        plan.postponed(now);
        assert_eq!(
            plan.next(now, start, false),
            Next::Wait(start + 85 * SECOND)
        );
    }

    #[test]
    fn a_connection_without_limits_is_left_alone() {
        let now = Instant::now();
        assert_eq!(
            Plan::new(None, None, now).next(now, now, false),
            Next::Never
        );
    }
}
