//! Runs one member: a task that does what the state machine wants done, and keeps its time. It does
//! not know which group protocol that is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use super::commands::{Command, EventSink, Reply};
use super::commits::{Batch, CommitQueue, Done as Over, Step};
use super::protocol::{Action, GroupProtocol, Link};
use super::{requests, CommitOutcome, PartitionCounts};
use crate::cluster::{Interest, NodeId};
use crate::error::Error;
use crate::tasks::boxed;

/// Bounds everything that closing does.
const CLOSE_LIMIT: Duration = Duration::from_secs(4);
/// Limit for one attempt at a commit.
const COMMIT_ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

type CommitReply = Reply<CommitOutcome>;

/// What a task brings back.
enum Done<Answer> {
    Answer(u64, Answer),
    Commit(Batch<CommitReply>, Result<CommitOutcome, Error>),
}

pub(super) struct Driver<M: GroupProtocol> {
    member: M,
    link: Link,
    commands: mpsc::UnboundedReceiver<Command>,
    events: EventSink,
    commits: CommitQueue<CommitReply>,
    /// The last coordinator.
    connected_to: Option<NodeId>,
    watched: BTreeMap<String, Interest>,
    changes: watch::Receiver<u64>,
    tasks: JoinSet<Done<M::Answer>>,
}

impl<M: GroupProtocol> Driver<M> {
    /// A driver that has not begun.
    pub(super) fn new(
        member: M,
        link: Link,
        commands: mpsc::UnboundedReceiver<Command>,
        events: EventSink,
    ) -> Self {
        Driver {
            changes: link.cluster.changes(),
            member,
            link,
            commands,
            events,
            commits: CommitQueue::new(),
            connected_to: None,
            watched: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Serves the owner until it closes the member. When the client was closed, the owner has the time
    /// of a rebalance to commit and leave.
    pub(super) async fn run(mut self) {
        let cluster = self.link.cluster.clone();
        let closed = cluster.closed();
        let mut grace: Option<Instant> = None;
        let leave_unasked = self.link.config.group_instance_id.is_none();
        let (leave, reply) = loop {
            self.act();
            self.step_commits();
            let deadline = [self.member.deadline(), self.commits.deadline()];
            let deadline = deadline.into_iter().flatten().min();
            tokio::select! {
                _ = closed.cancelled(), if grace.is_none() => {
                    self.member.client_closed();
                    grace = Some(Instant::now() + self.link.config.rebalance_timeout);
                }
                _ = sleep_until(grace.unwrap_or_else(Instant::now).into()), if grace.is_some() => {
                    break (leave_unasked, None)
                }
                command = self.commands.recv() => match command {
                    Some(Command::Join(terms)) => self.member.join(terms, Instant::now()),
                    Some(Command::Assign(join_id, shares)) => {
                        self.member.assign(join_id, shares, Instant::now())
                    }
                    Some(Command::Commit(commit)) => self.commits.push(commit),
                    Some(Command::Close(leave, reply)) => break (leave, Some(reply)),
                    None => break (leave_unasked, None),
                },
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.done(done),
                    Err(error) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Err(_) => {}
                },
                Ok(()) = self.changes.changed(), if !self.watched.is_empty() => {
                    self.show_partitions()
                }
                _ = sleep_until(deadline.unwrap_or_else(Instant::now).into()),
                    if deadline.is_some() => self.member.tick(Instant::now()),
            }
        };
        self.finish(leave, reply).await;
    }

    fn act(&mut self) {
        for action in self.member.actions() {
            match action {
                Action::Tell(join_id, event) => (self.events)(join_id, event),
                Action::Send(number, request) => {
                    let asked = M::ask(self.link.clone(), request);
                    self.tasks
                        .spawn(boxed(async move { Done::Answer(number, asked.await) }));
                }
                Action::Watch(topics) => self.watch(topics),
                Action::RefreshMetadata => self.link.cluster.request_refresh(),
            }
        }
        if let Some(coordinator) = self.member.coordinator() {
            let before = self.connected_to.replace(coordinator.node);
            if let Some(before) = before.filter(|node| *node != coordinator.node) {
                self.forget_connection(before);
            }
        }
    }

    fn watch(&mut self, topics: BTreeSet<String>) {
        self.watched.retain(|topic, _| topics.contains(topic));
        for topic in topics {
            let cluster = &self.link.cluster;
            self.watched
                .entry(topic)
                .or_insert_with_key(|topic| cluster.watch_topic(topic));
        }
    }

    fn show_partitions(&mut self) {
        let snapshot = self.link.cluster.snapshot();
        let count = |name: &String| {
            let topic = snapshot.topics.get(name.as_str())?;
            Some((name.clone(), i32::try_from(topic.partitions.len()).ok()?))
        };
        let seen: PartitionCounts = self.watched.keys().filter_map(count).collect();
        self.member.partitions_seen(&seen, Instant::now());
    }

    fn done(&mut self, done: Done<M::Answer>) {
        let now = Instant::now();
        match done {
            Done::Answer(number, answer) => self.member.answer(number, answer, now),
            Done::Commit(batch, result) => {
                // The owner's time being up says nothing of the coordinator.
                if let Some(error) = result.as_ref().err().filter(|e| **e != Error::Timeout) {
                    self.member
                        .commit_failed(batch.target.node, batch.generation, error, now);
                }
                tell_over(self.commits.done(batch, result, now));
            }
        }
    }

    /// Sends the next commits if it is their time, and refuses those that cannot go any more.
    fn step_commits(&mut self) {
        let now = Instant::now();
        let member = &self.member;
        while let Some(step) = self
            .commits
            .step(|generation| member.commit_target(generation), now)
        {
            match step {
                Step::Refuse(commit, why) => (commit.reply)(Err(why)),
                Step::Send(batch) => {
                    self.tasks
                        .spawn(boxed(send_commits(self.link.clone(), batch)));
                }
            }
        }
    }

    async fn finish(mut self, leave: bool, reply: Option<Reply<()>>) {
        for commit in self.commits.drain() {
            (commit.reply)(Err(Error::Closed));
        }
        self.commands.close();
        // A commit under way is answered, and an id on its way is needed to leave. Everything else
        // is of no use any more.
        let end = Instant::now() + CLOSE_LIMIT;
        while self.commits.in_flight() || (leave && self.member.awaits_answer_to_leave()) {
            match timeout_at(end.into(), self.tasks.join_next()).await {
                Ok(Some(Ok(done))) => self.done(done),
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        for commit in self.commits.drain() {
            (commit.reply)(Err(Error::Closed));
        }
        self.tasks.abort_all();
        if let Some(node) = self.connected_to.filter(|_| self.member.is_held()) {
            self.forget_connection(node);
        }
        let result = if leave {
            let left = self.member.leave(self.link.clone());
            timeout_at(end.into(), left)
                .await
                .unwrap_or(Err(Error::Timeout))
        } else {
            Ok(())
        };
        // Whoever had to look for the coordinator to leave has connected to one more.
        let cluster = &self.link.cluster;
        cluster.forget_connections(&self.link.purpose);
        if let Err(error) = &result {
            let group = &self.link.config.group_id;
            let client = &*self.link.cluster.config().connect.client_id;
            tracing::warn!(client, %group, %error, "the member could not leave its group");
        }
        if let Some(reply) = reply {
            reply(result);
        }
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Commit(commit) => (commit.reply)(Err(Error::Closed)),
                Command::Close(_, reply) => reply(Ok(())),
                Command::Join(_) | Command::Assign(..) => {}
            }
        }
    }

    fn forget_connection(&self, node: NodeId) {
        let purpose = self.link.purpose.clone();
        self.link.cluster.forget_connection(node, purpose);
    }
}

fn tell_over(over: Vec<Over<CommitReply>>) {
    for (commit, result) in over {
        (commit.reply)(result);
    }
}

async fn send_commits<Answer>(link: Link, batch: Batch<CommitReply>) -> Done<Answer> {
    let attempt = async {
        let connection = link.connection(batch.target.node).await?;
        requests::commit(
            &connection,
            &link.config,
            batch.generation,
            &batch.target.member_id,
            &batch.offsets,
            COMMIT_ATTEMPT_LIMIT,
        )
        .await
    };
    // Given up without closing the connection, which others wait on.
    let result = timeout_at(batch.deadline.into(), attempt)
        .await
        .unwrap_or(Err(Error::Timeout));
    Done::Commit(batch, result)
}
