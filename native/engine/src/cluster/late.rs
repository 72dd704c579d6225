//! Brokers that do not answer in time. The cluster notices one that hangs, and others lead and coordinate instead of it,
//! long before the time for its answer is up.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::{timeout, timeout_at};

use super::{Cluster, NodeId};
use crate::error::Error;

/// A broker that has not answered for so long may hang.
pub const LATE: Duration = Duration::from_secs(1);

/// Waits for what `node` answers as a coordinator, unless that is late and `find` says that another one coordinates by now.
/// It is looked `every` so often.
///
/// Fails with [`Error::Timeout`] then; nobody knows what the former one has done.
pub async fn unless_moved<T, F>(
    node: NodeId,
    every: Duration,
    answer: impl Future<Output = Result<T, Error>>,
    find: impl Fn() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<NodeId, Error>>,
{
    let mut answer = pin!(answer);
    loop {
        if let Ok(answer) = timeout(every, &mut answer).await {
            return answer;
        }
        tokio::select! {
            answer = &mut answer => return answer,
            found = find() => if found.is_ok_and(|other| other != node) {
                return Err(Error::Timeout);
            }
        }
    }
}

impl Cluster {
    /// Waits for what a leader does. While it is `late`, the brokers are asked who leads by now: [`Cluster::changes`] tells.
    pub async fn watched<T>(&self, mut late: Instant, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        loop {
            match timeout_at(late.into(), &mut answer).await {
                Ok(answer) => return answer,
                Err(_) => self.request_refresh(),
            }
            late = Instant::now() + LATE;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_coordinator_is_left_as_soon_as_another_one_is_found() {
        let asked = Cell::new(0);
        // None can be found first, then the one that hangs, then its successor.
        let find = || {
            asked.set(asked.get() + 1);
            let found = match asked.get() {
                1 => Err(Error::Timeout),
                2 => Ok(1),
                _ => Ok(2),
            };
            async move { found }
        };
        let start = tokio::time::Instant::now();
        let answer = unless_moved(1, SECOND, std::future::pending::<Result<(), _>>(), find).await;
        assert_eq!(answer, Err(Error::Timeout));
        assert_eq!((start.elapsed(), asked.get()), (3 * SECOND, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_while_nobody_knows_another_one() {
        for after in [SECOND / 2, 5 * SECOND] {
            let answer = async move {
                tokio::time::sleep(after).await;
                Ok("done")
            };
            // Finding one takes longer than the answer.
            let find = || async {
                tokio::time::sleep(60 * SECOND).await;
                Ok(2)
            };
            assert_eq!(unless_moved(1, SECOND, answer, find).await, Ok("done"));
        }
    }
}
