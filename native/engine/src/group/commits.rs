//! The order of a member's commits: one goes out at a time, so that none overtakes an older one.
//! What came up meanwhile goes out together. A plain data structure; time is an argument.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::protocol::CommitTarget;
use super::trouble::is_retriable;
use super::{CommitOutcome, OffsetToCommit};
use crate::error::Error;
use brod_protocol::error::ErrorCode;

/// Wait before a commit is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(100);
/// Offsets in one request, unless a single commit has more.
const MAX_OFFSETS: usize = 20_000;

/// Offsets that the owner wants committed.
#[derive(Debug)]
pub(super) struct Commit<R> {
    /// In the name of this generation.
    pub generation: i32,
    /// What is committed.
    pub offsets: Vec<OffsetToCommit>,
    /// Until when it may be tried.
    pub deadline: Instant,
    /// Who is told.
    pub reply: R,
}

/// Commits of one generation that go out in one request.
#[derive(Debug)]
pub(super) struct Batch<R> {
    /// Where to.
    pub target: CommitTarget,
    /// In the name of this generation.
    pub generation: i32,
    /// Of each partition the newest offset.
    pub offsets: Arc<Vec<OffsetToCommit>>,
    /// Of the commit whose time is up first.
    pub deadline: Instant,
    commits: Vec<Commit<R>>,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Step<R> {
    /// Send; the outcome goes to [`CommitQueue::done`].
    Send(Batch<R>),
    /// Tell the owner that this one cannot go any more.
    Refuse(Commit<R>, Error),
}

/// A commit that is over, and how it ended.
pub(super) type Done<R> = (Commit<R>, Result<CommitOutcome, Error>);

/// See the module's text.
#[derive(Debug)]
pub(super) struct CommitQueue<R> {
    waiting: VecDeque<Commit<R>>,
    in_flight: bool,
    not_before: Option<Instant>,
}

impl<R> CommitQueue<R> {
    /// An empty queue.
    pub(super) fn new() -> Self {
        CommitQueue {
            waiting: VecDeque::new(),
            in_flight: false,
            not_before: None,
        }
    }

    /// Adds a commit behind all others.
    pub(super) fn push(&mut self, commit: Commit<R>) {
        self.waiting.push_back(commit);
    }

    /// Whether the outcome of a batch is owed.
    pub(super) fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// When [`CommitQueue::step`] has something to do, if nothing else happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = self.waiting.front().filter(|_| !self.in_flight)?;
        let retry = self.not_before.unwrap_or(next.deadline);
        Some(retry.min(next.deadline))
    }

    /// The next thing to do, until there is none. `target` says whether commits of a generation may
    /// go out, and where to once the coordinator is known.
    pub(super) fn step(
        &mut self,
        target: impl FnOnce(i32) -> Result<Option<CommitTarget>, ErrorCode>,
        now: Instant,
    ) -> Option<Step<R>> {
        let next = self.waiting.front()?;
        let target = match target(next.generation) {
            Err(code) => return self.refuse(code.into()),
            Ok(_) if now >= next.deadline => return self.refuse(Error::Timeout),
            Ok(target) => target,
        };
        if self.in_flight || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        self.in_flight = target.is_some();
        target.map(|target| Step::Send(self.batch(target, now)))
    }

    fn refuse(&mut self, why: Error) -> Option<Step<R>> {
        let commit = self.waiting.pop_front()?;
        Some(Step::Refuse(commit, why))
    }

    fn batch(&mut self, target: CommitTarget, now: Instant) -> Batch<R> {
        let mut commits: Vec<Commit<R>> = Vec::new();
        let mut size = 0;
        while let Some(next) = self.waiting.front() {
            let fits = commits.first().is_none_or(|first| {
                first.generation == next.generation
                    && size + next.offsets.len() <= MAX_OFFSETS
                    && now < next.deadline
            });
            if !fits {
                break;
            }
            size += next.offsets.len();
            commits.extend(self.waiting.pop_front());
        }
        let mut newest = HashMap::new();
        for offset in commits.iter().flat_map(|commit| &commit.offsets) {
            newest.insert((&offset.topic, offset.partition), offset);
        }
        Batch {
            target,
            generation: commits.first().map_or(-1, |commit| commit.generation),
            offsets: Arc::new(newest.into_values().cloned().collect()),
            deadline: commits.iter().map(|c| c.deadline).min().unwrap_or(now),
            commits,
        }
    }

    /// Takes the outcome of a batch. Commits that may still go through go out again, before all
    /// others; the others are over.
    pub(super) fn done(
        &mut self,
        batch: Batch<R>,
        result: Result<CommitOutcome, Error>,
        now: Instant,
    ) -> Vec<Done<R>> {
        self.in_flight = false;
        let commits = batch.commits;
        let error = match result {
            Ok(refused) => return commits.into_iter().map(|c| own(c, &refused)).collect(),
            Err(error) => error,
        };
        if !is_retriable(&error) {
            let over = |commit| (commit, Err(error.clone()));
            return commits.into_iter().map(over).collect();
        }
        if error != Error::Timeout {
            self.not_before = Some(now + RETRY_WAIT);
        }
        let (again, over): (Vec<_>, Vec<_>) = commits.into_iter().partition(|c| now < c.deadline);
        for commit in again.into_iter().rev() {
            self.waiting.push_front(commit);
        }
        over.into_iter()
            .map(|commit| (commit, Err(error.clone())))
            .collect()
    }

    /// All that wait, which are not going to be sent.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Commit<R>> + '_ {
        self.waiting.drain(..)
    }
}

/// What of a batch's outcome is about this commit.
fn own<R>(commit: Commit<R>, refused: &CommitOutcome) -> Done<R> {
    if refused.is_empty() {
        return (commit, Ok(CommitOutcome::new()));
    }
    let mine: HashSet<_> = commit
        .offsets
        .iter()
        .map(|o| (o.topic.as_str(), o.partition))
        .collect();
    let refused = refused
        .iter()
        .filter(|(topic, partition, _)| mine.contains(&(topic.as_str(), *partition)))
        .cloned()
        .collect();
    (commit, Ok(refused))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::NetError;

    const LIMIT: Duration = Duration::from_secs(5);

    fn commit(reply: u32, partition: i32, offset: i64, now: Instant) -> Commit<u32> {
        let offset = OffsetToCommit {
            topic: "t".into(),
            partition,
            offset,
            metadata: String::new(),
        };
        Commit {
            generation: 1,
            offsets: vec![offset],
            deadline: now + LIMIT,
            reply,
        }
    }

    fn here(generation: i32) -> Result<Option<CommitTarget>, ErrorCode> {
        let target = CommitTarget {
            node: 1,
            member_id: "me".into(),
        };
        match generation {
            1 => Ok(Some(target)),
            _ => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }

    fn sent(queue: &mut CommitQueue<u32>, now: Instant) -> Batch<u32> {
        match queue.step(here, now) {
            Some(Step::Send(batch)) => batch,
            other => panic!("{other:?}"),
        }
    }

    fn in_batch(batch: &Batch<u32>) -> Vec<(i32, i64)> {
        let mut offsets: Vec<_> = batch
            .offsets
            .iter()
            .map(|o| (o.partition, o.offset))
            .collect();
        offsets.sort();
        offsets
    }

    fn told(done: Vec<Done<u32>>) -> Vec<(u32, Result<CommitOutcome, Error>)> {
        done.into_iter().map(|(c, r)| (c.reply, r)).collect()
    }

    #[test]
    fn one_is_under_way_at_a_time_and_the_rest_goes_out_together() {
        let now = Instant::now();
        let mut queue = CommitQueue::new();
        queue.push(commit(1, 0, 10, now));
        let first = sent(&mut queue, now);
        queue.push(commit(2, 0, 20, now));
        queue.push(commit(3, 1, 5, now));
        queue.push(commit(4, 0, 30, now));
        assert!(queue.step(here, now).is_none() && queue.deadline().is_none());
        assert_eq!(told(queue.done(first, Ok(vec![]), now)), [(1, Ok(vec![]))]);
        let second = sent(&mut queue, now);
        assert_eq!(in_batch(&second), [(0, 30), (1, 5)]);
        let refused = vec![("t".to_owned(), 1, ErrorCode::TOPIC_AUTHORIZATION_FAILED)];
        let done = told(queue.done(second, Ok(refused.clone()), now));
        assert_eq!(done, [(2, Ok(vec![])), (3, Ok(refused)), (4, Ok(vec![]))]);
        assert!(queue.step(here, now).is_none() && !queue.in_flight());
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_in_order_until_its_time_is_up() {
        let mut now = Instant::now();
        let start = now;
        let mut queue = CommitQueue::new();
        queue.push(commit(1, 0, 10, now));
        let first = sent(&mut queue, now);
        now += Duration::from_secs(1);
        queue.push(commit(2, 0, 20, now));
        let closed = Error::Net(NetError::Closed);
        assert!(queue.done(first, Err(closed), now).is_empty());
        assert!(queue.step(here, now).is_none());
        assert_eq!(queue.deadline(), Some(now + RETRY_WAIT));
        now += RETRY_WAIT;
        let again = sent(&mut queue, now);
        assert_eq!(in_batch(&again), [(0, 20)]);
        assert_eq!(again.deadline, start + LIMIT);
        now = start + LIMIT;
        let done = told(queue.done(again, Err(Error::Timeout), now));
        assert_eq!(done, [(1, Err(Error::Timeout))]);
        assert_eq!(in_batch(&sent(&mut queue, now)), [(0, 20)]);
    }

    #[test]
    fn without_a_coordinator_commits_wait_for_their_time() {
        let now = Instant::now();
        let mut queue = CommitQueue::new();
        queue.push(commit(1, 0, 10, now));
        assert!(queue.step(|_| Ok(None), now).is_none());
        assert_eq!(queue.deadline(), Some(now + LIMIT));
        let step = queue.step(|_| Ok(None), now + LIMIT);
        assert!(matches!(step, Some(Step::Refuse(c, Error::Timeout)) if c.reply == 1));
        assert!(queue.deadline().is_none());
    }

    #[test]
    fn a_commit_of_another_generation_is_refused_and_one_that_fails_is_told() {
        let now = Instant::now();
        let mut queue = CommitQueue::new();
        queue.push(Commit {
            generation: 2,
            ..commit(1, 0, 10, now)
        });
        queue.push(commit(2, 0, 10, now));
        let step = queue.step(here, now);
        let illegal: Error = ErrorCode::ILLEGAL_GENERATION.into();
        assert!(matches!(step, Some(Step::Refuse(c, e)) if c.reply == 1 && e == illegal));
        let batch = sent(&mut queue, now);
        let done = told(queue.done(batch, Err(ErrorCode::REBALANCE_IN_PROGRESS.into()), now));
        let rebalance = ErrorCode::REBALANCE_IN_PROGRESS.into();
        assert_eq!(done, [(2, Err(rebalance))]);
    }
}
