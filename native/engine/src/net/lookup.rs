//! Names that are looked up, each on one thread at a time: what hangs holds up nobody who asks for another name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

use super::attempt::Attempt;
use super::{Endpoint, NetError, Resolver};
use crate::tasks::on_thread;

type Found = Result<Vec<SocketAddr>, NetError>;

/// Where answers will be, under the resolvers that were asked.
type UnderWay = HashMap<(usize, Endpoint), (Attempt, watch::Receiver<Option<Found>>)>;

/// Who asks again waits for the same answer.
static UNDER_WAY: Mutex<Option<UnderWay>> = Mutex::new(None);

/// The addresses of a host. There is no limit: who asks knows how long to wait.
pub(super) async fn look_up(endpoint: &Endpoint, resolver: &Resolver) -> Found {
    let (mut answer, asked) = ask(endpoint, resolver);
    if let Some(asked) = asked {
        let resolver = resolver.clone();
        // Its thread goes on where nobody waits any more.
        on_thread(move || asked.answer(&resolver)).await?;
    }
    let found = answer.wait_for(Option::is_some).await;
    match found.as_deref() {
        Ok(Some(found)) => found.clone(),
        // Who asked first had no thread for it.
        _ => Err(std::io::Error::from(std::io::ErrorKind::WouldBlock).into()),
    }
}

/// Where the answer will be, and who has to find it unless somebody does already.
fn ask(
    endpoint: &Endpoint,
    resolver: &Resolver,
) -> (watch::Receiver<Option<Found>>, Option<Asked>) {
    let mut under_way = UNDER_WAY.lock();
    let under_way = under_way.get_or_insert_default();
    let key = (resolver.id(), endpoint.clone());
    let now = Instant::now();
    let attempt = match under_way.get(&key) {
        None => Attempt::first(now),
        Some((other, answer)) => match other.next(now) {
            None => return (answer.clone(), None),
            Some(next) => next,
        },
    };
    let (found, answer) = watch::channel(None);
    under_way.insert(key.clone(), (attempt, answer.clone()));
    (answer, Some(Asked { key, found }))
}

/// A lookup that is under way, until it is dropped.
struct Asked {
    key: (usize, Endpoint),
    found: watch::Sender<Option<Found>>,
}

impl Asked {
    fn answer(self, resolver: &Resolver) {
        let Endpoint { host, port } = &self.key.1;
        let found = resolver.look_up(host, *port).map_err(|_| not_found());
        self.found.send_replace(Some(found));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(under_way) = &mut *UNDER_WAY.lock() {
            under_way.remove(&self.key);
        }
    }
}

/// Why a name has no address. Where there is no descriptor left to ask anybody with, the system's resolver says that there is no such
/// name.
fn not_found() -> NetError {
    match Socket::new(Domain::IPV4, Type::DGRAM, None) {
        Ok(_) => NetError::HostNotFound,
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{mpsc, Arc};
    use std::time::Duration;

    use super::super::attempt::PATIENCE;
    use super::*;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint {
            host: host.into(),
            port: 9092,
        }
    }

    #[tokio::test]
    async fn names_that_hang_have_a_thread_each_and_hold_up_no_other() {
        let (go_on, waits) = mpsc::channel::<()>();
        let waits = Mutex::new(waits);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let resolver = Resolver::new(move |host, _| {
            if host.starts_with("hangs") {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = waits.lock().recv();
            }
            Ok(vec!["127.0.0.1:9092".parse().unwrap()])
        });
        let hanging: Vec<_> = (0..100)
            .map(|n| {
                let resolver = resolver.clone();
                let name = endpoint(&format!("hangs{}", n % 20));
                tokio::spawn(async move { look_up(&name, &resolver).await })
            })
            .collect();
        let all_asked = async {
            while asked.load(Ordering::SeqCst) < 20 {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), all_asked).await;
        assert!(in_time.is_ok(), "{asked:?} of 20 names are looked up");
        assert!(look_up(&endpoint("fine"), &resolver).await.is_ok());
        drop(go_on);
        for one in hanging {
            assert!(one.await.unwrap().is_ok());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 20);
    }

    #[tokio::test]
    async fn beside_what_hangs_for_long_a_name_is_looked_up_again() {
        let resolver = Resolver::new(|_, _| Ok(vec!["127.0.0.1:9092".parse().unwrap()]));
        let name = endpoint("stuck");
        let (_never, answer) = watch::channel(None);
        let long_ago = Attempt::first(Instant::now() - 2 * PATIENCE);
        let key = (resolver.id(), name.clone());
        UNDER_WAY
            .lock()
            .get_or_insert_default()
            .insert(key, (long_ago, answer));
        assert!(look_up(&name, &resolver).await.is_ok());
    }

    #[tokio::test]
    async fn a_resolver_that_panics_is_asked_again() {
        let resolver = Resolver::new(|host, _| match host {
            "panics" => panic!("as it should"),
            _ => Err(std::io::ErrorKind::Other.into()),
        });
        for _ in 0..2 {
            assert!(look_up(&endpoint("panics"), &resolver).await.is_err());
        }
        let unknown = look_up(&endpoint("unknown"), &resolver).await;
        assert_eq!(unknown, Err(NetError::HostNotFound));
    }
}
