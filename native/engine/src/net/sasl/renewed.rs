//! Credentials that expire, kept for all connections of a client and renewed in time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{watch, Notify};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::renewal::{Act, Offer, Renewal};
use super::{BoxFuture, CredentialsError, Provider};
use crate::tasks::boxed;

/// Credentials that are good for some time.
pub trait Perishable: Clone + Send + Sync + 'static {
    /// How long, from when they were provided. None: for ever.
    fn lifetime(&self) -> Option<Duration>;
}

/// Keeps what another provider provides and asks it again after 80 % of the lifetime. One question is
/// under way at most, whoever waits for it. A task does that, from the first use until this is dropped.
pub struct Renewed<T> {
    shared: Arc<Shared<T>>,
    task: Mutex<Option<AbortHandle>>,
}

struct Shared<T> {
    /// Whose they are, in the log.
    client: Box<str>,
    source: Box<dyn Provider<T>>,
    renewal: Mutex<Renewal<T>>,
    wanted: Notify,
    answered: watch::Sender<()>,
}

impl<T: Perishable> Renewed<T> {
    /// Keeps what `source` provides for the client of that name.
    pub fn new(client: &str, source: impl Provider<T> + 'static) -> Self {
        let shared = Shared {
            client: client.into(),
            source: Box::new(source),
            renewal: Mutex::new(Renewal::new()),
            wanted: Notify::new(),
            answered: watch::Sender::new(()),
        };
        Renewed {
            shared: Arc::new(shared),
            task: Mutex::new(None),
        }
    }

    fn wake_task(&self) {
        let mut task = self.task.lock();
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            let renew = self.shared.clone().renew();
            *task = Some(tokio::spawn(boxed(renew)).abort_handle());
        }
        self.shared.wanted.notify_one();
    }
}

impl<T> Drop for Renewed<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

impl<T: Perishable> Provider<T> for Renewed<T> {
    fn provide(&self) -> BoxFuture<'_, Result<T, CredentialsError>> {
        Box::pin(async {
            let mut answered = self.shared.answered.subscribe();
            loop {
                let offer = self.shared.renewal.lock().want(now());
                match offer {
                    Offer::Value(value) => return Ok(value),
                    Offer::Failed(error) => return Err(error),
                    Offer::Wait => self.wake_task(),
                }
                // It cannot fail: the sender is in what `self` holds.
                let _ = answered.changed().await;
            }
        })
    }

    fn refused(&self) {
        self.shared.renewal.lock().refused(now());
    }
}

impl<T: Perishable> Shared<T> {
    /// In a function of its own, so that the lock's guard is not part of the future.
    fn act(&self) -> Act {
        self.renewal.lock().act(now())
    }

    async fn renew(self: Arc<Self>) {
        loop {
            match self.act() {
                Act::Ask => {
                    let answer = self.source.provide().await;
                    self.take(answer);
                }
                Act::Sleep(until) => {
                    tokio::select! {
                        _ = self.wanted.notified() => {}
                        _ = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn take(&self, answer: Result<T, CredentialsError>) {
        let mut renewal = self.renewal.lock();
        let client = &*self.client;
        match answer {
            Ok(value) => {
                let lifetime = value.lifetime();
                if let Some(outage) = renewal.succeeded(value, lifetime, now()) {
                    let after = format!("{:.1} s", outage.as_secs_f64());
                    tracing::info!(client, after, "new credentials again");
                }
            }
            Err(error) => {
                tracing::warn!(client, %error, "no new credentials");
                renewal.failed(error, now());
            }
        }
        drop(renewal);
        self.answered.send_replace(());
    }
}

async fn sleep_until(time: Option<std::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// The clock of the runtime, which tests may hold.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Debug, Clone, PartialEq)]
    struct Ticket(usize);

    impl Perishable for Ticket {
        fn lifetime(&self) -> Option<Duration> {
            Some(Duration::from_secs(100))
        }
    }

    /// Takes a second to issue a ticket; fails the calls of which it is told.
    #[derive(Default)]
    struct Office {
        calls: Arc<AtomicUsize>,
        busy: AtomicUsize,
        fails: Vec<usize>,
    }

    impl Provider<Ticket> for Office {
        fn provide(&self) -> BoxFuture<'_, Result<Ticket, CredentialsError>> {
            Box::pin(async {
                let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
                assert_eq!(
                    self.busy.fetch_add(1, Ordering::SeqCst),
                    0,
                    "asked twice at a time"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.busy.fetch_sub(1, Ordering::SeqCst);
                if self.fails.contains(&number) {
                    return Err(CredentialsError::None(format!("call {number}")));
                }
                Ok(Ticket(number))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_come_at_once_ask_once_and_get_the_same() {
        let tickets = Arc::new(Renewed::new("c", Office::default()));
        let mut connections = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let tickets = tickets.clone();
            connections.spawn(async move { tickets.provide().await });
        }
        for ticket in connections.join_all().await {
            assert_eq!(ticket, Ok(Ticket(1)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_renewed_in_time_without_anybody_waiting() {
        let tickets = Renewed::new("c", Office::default());
        let start = Instant::now();
        assert_eq!(tickets.provide().await, Ok(Ticket(1)));
        for (second, number) in [(80, 1), (83, 2), (163, 2), (165, 3)] {
            tokio::time::sleep_until(start + Duration::from_secs(second)).await;
            let asked = Instant::now();
            assert_eq!(tickets.provide().await, Ok(Ticket(number)), "at {second} s");
            assert_eq!(asked.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_hear_of_a_failure_and_later_ones_ask_again() {
        let office = Office {
            fails: vec![1],
            ..Office::default()
        };
        let tickets = Renewed::new("c", office);
        let failure = Err(CredentialsError::None("call 1".into()));
        let both = tokio::join!(tickets.provide(), tickets.provide());
        assert_eq!(both, (failure.clone(), failure.clone()));
        assert_eq!(tickets.provide().await, failure);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(tickets.provide().await, Ok(Ticket(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_ticket_is_not_given_out_again() {
        let tickets = Renewed::new("c", Office::default());
        assert_eq!(tickets.provide().await, Ok(Ticket(1)));
        tokio::time::sleep(Duration::from_secs(20)).await;
        tickets.refused();
        assert_eq!(tickets.provide().await, Ok(Ticket(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_once_the_client_is_gone() {
        let office = Office::default();
        let calls = office.calls.clone();
        let tickets = Renewed::new("c", office);
        assert_eq!(tickets.provide().await, Ok(Ticket(1)));
        drop(tickets);
        tokio::time::sleep(Duration::from_secs(1_000)).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
