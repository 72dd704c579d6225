//! Runs one member: a task that sends what the state machine wants sent, and keeps its time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::actions::{Action, Answer, Heartbeat, Request};
use super::member::Member;
use super::trouble::is_retriable;
use super::{
    requests, CommitOutcome, Event, GroupConfig, JoinWish, OffsetToCommit, PartitionCounts,
    TopicPartitions,
};
use crate::cluster::{Cluster, Interest, NodeId, Purpose};
use crate::error::Error;
use brod_protocol::error::ErrorCode;

/// Bounds everything that closing does.
const CLOSE_LIMIT: Duration = Duration::from_secs(4);
/// Limit for one attempt at a commit.
const COMMIT_ATTEMPT_LIMIT: Duration = Duration::from_secs(10);
/// Wait before a commit is tried again.
const COMMIT_RETRY_WAIT: Duration = Duration::from_millis(100);

/// Takes the member's events, with the JoinId that they belong to. Called in order, from the
/// engine's threads; must not block.
pub type EventSink = Box<dyn FnMut(i64, Event) + Send>;

/// Takes the result of one call. Called exactly once, from the engine's threads; must not block.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

enum Command {
    Join(JoinWish),
    Assign(i64, Vec<(String, TopicPartitions)>),
    Commit(Commit),
    Close(bool, Reply<()>),
}

struct Commit {
    generation: i32,
    offsets: Arc<Vec<OffsetToCommit>>,
    deadline: Instant,
    reply: Reply<CommitOutcome>,
}

/// A handle to a member. Dropped without [`Group::close`], the member closes by itself, and leaves
/// the group unless it is a static member.
pub struct Group {
    commands: mpsc::UnboundedSender<Command>,
    /// Replies come from its threads, never from the caller's.
    runtime: Handle,
}

impl Group {
    /// Starts the member's task on the current tokio runtime. Sends nothing before the first join.
    pub fn open(cluster: Arc<Cluster>, config: GroupConfig, events: EventSink) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (commands, receiver) = mpsc::unbounded_channel();
        let config = Arc::new(config);
        let driver = Driver {
            member: Member::new(config.clone(), Instant::now()),
            changes: cluster.changes(),
            cluster,
            config,
            // A connection of its own: a broker that holds a join holds all that is behind it.
            purpose: Purpose::Group(NEXT.fetch_add(1, Ordering::Relaxed)),
            connected_to: None,
            commands: receiver,
            events,
            commits: VecDeque::new(),
            commit_in_flight: false,
            commit_not_before: None,
            tasks: JoinSet::new(),
            interests: Vec::new(),
        };
        let runtime = Handle::current();
        let cluster = driver.cluster.clone();
        cluster.supervise(&runtime, "group member", driver.run());
        Group { commands, runtime }
    }

    /// Joins, or gives up the present generation and joins again.
    pub fn join(&self, wish: JoinWish) {
        let _ = self.commands.send(Command::Join(wish));
    }

    /// The answer to [`Event::Assign`]: partitions by member id.
    pub fn assign(&self, join_id: i64, assignments: Vec<(String, TopicPartitions)>) {
        let _ = self.commands.send(Command::Assign(join_id, assignments));
    }

    /// Commits offsets for a generation; what passes by itself is retried for `limit`.
    ///
    /// Answers the partitions that the broker refused one by one. Refuses any generation but the
    /// present one with `illegal_generation`. Commits go out one after the other, in order.
    pub fn commit(
        &self,
        generation: i32,
        offsets: Vec<OffsetToCommit>,
        limit: Duration,
        reply: Reply<CommitOutcome>,
    ) {
        let commit = Commit {
            generation,
            offsets: Arc::new(offsets),
            deadline: Instant::now() + limit,
            reply,
        };
        if let Err(mpsc::error::SendError(Command::Commit(commit))) =
            self.commands.send(Command::Commit(commit))
        {
            self.runtime
                .spawn(async move { (commit.reply)(Err(Error::Closed)) });
        }
    }

    /// Closes the member within 5 s. With `leave`, it leaves the group first.
    pub fn close(&self, leave: bool, reply: Reply<()>) {
        if let Err(mpsc::error::SendError(Command::Close(_, reply))) =
            self.commands.send(Command::Close(leave, reply))
        {
            self.runtime.spawn(async move { reply(Ok(())) });
        }
    }
}

/// What a task brings back.
enum Done {
    Answer(u64, Answer),
    Heartbeat(Heartbeat, Result<(), Error>),
    Commit(Commit, NodeId, Result<CommitOutcome, Error>),
}

struct Driver {
    cluster: Arc<Cluster>,
    config: Arc<GroupConfig>,
    member: Member,
    purpose: Purpose,
    /// The last coordinator.
    connected_to: Option<NodeId>,
    commands: mpsc::UnboundedReceiver<Command>,
    events: EventSink,
    /// One goes out at a time, so that none overtakes an older one.
    commits: VecDeque<Commit>,
    commit_in_flight: bool,
    commit_not_before: Option<Instant>,
    changes: watch::Receiver<u64>,
    tasks: JoinSet<Done>,
    /// In the topics of the last join.
    interests: Vec<Interest>,
}

impl Driver {
    async fn run(mut self) {
        let cluster = self.cluster.clone();
        let closed = cluster.closed();
        let (leave, reply) = loop {
            self.act();
            self.send_commit();
            let deadline = self.deadline();
            let watching = self.member.assigned_counts().is_some();
            tokio::select! {
                _ = closed.cancelled() => {
                    self.member.client_closed();
                    self.act();
                    break (false, None);
                }
                command = self.commands.recv() => match command {
                    Some(Command::Close(leave, reply)) => break (leave, Some(reply)),
                    Some(command) => self.obey(command),
                    None => break (self.config.group_instance_id.is_none(), None),
                },
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.done(done),
                    Err(error) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Err(_) => {}
                },
                Ok(()) = self.changes.changed(), if watching => self.compare_partitions(),
                _ = sleep_until(deadline.unwrap_or_else(Instant::now).into()),
                    if deadline.is_some() => self.member.tick(Instant::now()),
            }
        };
        self.finish(leave, reply).await;
    }

    fn deadline(&self) -> Option<Instant> {
        let commit = match self.commits.front() {
            Some(next) if !self.commit_in_flight => Some(
                self.commit_not_before
                    .map_or(next.deadline, |at| at.min(next.deadline)),
            ),
            _ => None,
        };
        [self.member.deadline(), commit].into_iter().flatten().min()
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Join(wish) => self.member.join(wish, now),
            Command::Assign(join_id, assignments) => self.member.assign(join_id, assignments, now),
            Command::Commit(commit) => self.commits.push_back(commit),
            // The loop takes it.
            Command::Close(..) => {}
        }
    }

    fn act(&mut self) {
        for action in self.member.actions() {
            match action {
                Action::Tell(join_id, event) => (self.events)(join_id, event),
                Action::Send(number, request) => self.send(number, request),
                Action::Heartbeat(heartbeat) => {
                    let (cluster, config) = (self.cluster.clone(), self.config.clone());
                    let purpose = self.purpose.clone();
                    self.tasks.spawn(async move {
                        let result = async {
                            let connection = cluster.connection(heartbeat.node, purpose).await?;
                            requests::heartbeat(&connection, &config, &heartbeat).await
                        };
                        let result = result.await;
                        Done::Heartbeat(heartbeat, result)
                    });
                }
            }
        }
        if let Some(coordinator) = self.member.coordinator() {
            let before = self.connected_to.replace(coordinator.node);
            if let Some(before) = before.filter(|node| *node != coordinator.node) {
                self.cluster.forget_connection(before, self.purpose.clone());
            }
        }
    }

    fn send(&mut self, number: u64, request: Request) {
        if let Request::CountPartitions { topics } = &request {
            // Growth is noticed by the refresher.
            self.interests = topics.iter().map(|t| self.cluster.watch_topic(t)).collect();
        }
        let (cluster, config) = (self.cluster.clone(), self.config.clone());
        let purpose = self.purpose.clone();
        self.tasks.spawn(async move {
            Done::Answer(number, ask(&cluster, &config, purpose, request).await)
        });
    }

    fn done(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Answer(number, answer) => self.member.answer(number, answer, now),
            Done::Heartbeat(sent, result) => self.member.heartbeat_answer(sent, result, now),
            Done::Commit(commit, node, result) => {
                self.commit_in_flight = false;
                let Err(error) = result else {
                    return (commit.reply)(result);
                };
                // The owner's time being up says nothing of the coordinator.
                if error != Error::Timeout {
                    self.member
                        .commit_failed(node, commit.generation, &error, now);
                }
                if is_retriable(&error) && error != Error::Timeout {
                    self.commit_not_before = Some(now + COMMIT_RETRY_WAIT);
                    self.commits.push_front(commit);
                } else {
                    (commit.reply)(Err(error));
                }
            }
        }
    }

    /// Sends the next commit if it is its time, and refuses those that cannot go any more.
    fn send_commit(&mut self) {
        let now = Instant::now();
        while let Some(commit) = self.commits.front() {
            let refusal = match self.member.commit_target(commit.generation) {
                Err(code) => Error::from(code),
                Ok(_) if now >= commit.deadline => Error::Timeout,
                Ok(_) if self.commit_in_flight => return,
                Ok(_) if self.commit_not_before.is_some_and(|at| now < at) => return,
                Ok(None) => {
                    self.commit_not_before = None;
                    return;
                }
                Ok(Some(target)) => {
                    self.commit_not_before = None;
                    if let Some(commit) = self.commits.pop_front() {
                        self.spawn_commit(commit, target.node, target.member_id);
                    }
                    return;
                }
            };
            if let Some(commit) = self.commits.pop_front() {
                (commit.reply)(Err(refusal));
            }
        }
    }

    fn spawn_commit(&mut self, commit: Commit, node: NodeId, member_id: String) {
        self.commit_in_flight = true;
        let (cluster, config) = (self.cluster.clone(), self.config.clone());
        let purpose = self.purpose.clone();
        self.tasks.spawn(async move {
            let attempt = async {
                let connection = cluster.connection(node, purpose).await?;
                requests::commit(
                    &connection,
                    &config,
                    commit.generation,
                    &member_id,
                    &commit.offsets,
                    COMMIT_ATTEMPT_LIMIT,
                )
                .await
            };
            // Given up without closing the connection, which others wait on.
            let result = timeout_at(commit.deadline.into(), attempt)
                .await
                .unwrap_or(Err(Error::Timeout));
            Done::Commit(commit, node, result)
        });
    }

    fn compare_partitions(&mut self) {
        let Some(assigned) = self.member.assigned_counts() else {
            return;
        };
        let snapshot = self.cluster.snapshot();
        let seen = assigned
            .keys()
            .filter_map(|name| {
                let topic = snapshot.topics.get(name.as_str())?;
                let count = i32::try_from(topic.partitions.len()).ok()?;
                Some((name.clone(), count))
            })
            .collect();
        self.member.partitions_seen(&seen, Instant::now());
    }

    async fn finish(mut self, leave: bool, reply: Option<Reply<()>>) {
        for commit in self.commits.drain(..) {
            (commit.reply)(Err(Error::Closed));
        }
        self.commands.close();
        // A commit under way is answered, and an id on its way is needed to leave. Everything else
        // is of no use any more.
        let end = Instant::now() + CLOSE_LIMIT;
        while self.commit_in_flight || (leave && self.member.awaits_member_id()) {
            match timeout_at(end.into(), self.tasks.join_next()).await {
                Ok(Some(Ok(Done::Commit(commit, _, result)))) => {
                    self.commit_in_flight = false;
                    (commit.reply)(result);
                }
                Ok(Some(Ok(Done::Answer(number, answer)))) => {
                    self.member.answer(number, answer, Instant::now())
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.tasks.abort_all();
        let result = if leave {
            let coordinator = self.member.coordinator().map(|c| c.node);
            let member_id = self.member.member_id().to_owned();
            let left = leave_group(&self.cluster, &self.config, &member_id, coordinator);
            timeout_at(end.into(), left)
                .await
                .unwrap_or(Err(Error::Timeout))
        } else {
            Ok(())
        };
        if let Some(node) = self.connected_to {
            self.cluster.forget_connection(node, self.purpose.clone());
        }
        if let Err(error) = &result {
            let group = &self.config.group_id;
            tracing::warn!(%group, %error, "the member could not leave its group");
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
}

/// Leaves on the coordinator's main connection: the member's own may be held by a join.
async fn leave_group(
    cluster: &Cluster,
    config: &GroupConfig,
    member_id: &str,
    coordinator: Option<NodeId>,
) -> Result<(), Error> {
    if member_id.is_empty() {
        return Ok(());
    }
    let node = match coordinator {
        Some(node) => node,
        None => {
            requests::find_coordinator(cluster, &config.group_id)
                .await?
                .node
        }
    };
    let connection = cluster.connection(node, Purpose::Main).await?;
    match requests::leave(&connection, config, member_id).await {
        // The broker has let go of the member already.
        Err(error) if error.code() == Some(ErrorCode::UNKNOWN_MEMBER_ID) => Ok(()),
        result => result,
    }
}

async fn ask(
    cluster: &Cluster,
    config: &GroupConfig,
    purpose: Purpose,
    request: Request,
) -> Answer {
    match request {
        Request::FindCoordinator => {
            Answer::Coordinator(requests::find_coordinator(cluster, &config.group_id).await)
        }
        Request::CountPartitions { topics } => {
            Answer::Partitions(count_partitions(cluster, &topics).await)
        }
        Request::Join {
            node,
            member_id,
            wish,
        } => Answer::Joined(
            async {
                let connection = cluster.connection(node, purpose).await?;
                requests::join(&connection, config, &member_id, &wish).await
            }
            .await,
        ),
        Request::Sync {
            node,
            generation,
            member_id,
            protocol,
            assignments,
        } => Answer::Synced(
            async {
                let connection = cluster.connection(node, purpose).await?;
                requests::sync(
                    &connection,
                    config,
                    generation,
                    &member_id,
                    &protocol,
                    &assignments,
                )
                .await
            }
            .await,
        ),
        Request::FetchOffsets { node, partitions } => Answer::Offsets(
            async {
                let connection = cluster.connection(node, purpose).await?;
                requests::fetch_offsets(&connection, config, &partitions).await
            }
            .await,
        ),
    }
}

/// How many partitions the topics have; 0 for a topic that does not exist (yet).
async fn count_partitions(cluster: &Cluster, topics: &[String]) -> Result<PartitionCounts, Error> {
    let limit = cluster.config().metadata_timeout;
    let response = timeout(limit, cluster.fetch_metadata(Some(topics), false))
        .await
        .map_err(|_| Error::Timeout)??;
    let mut counts: PartitionCounts = topics.iter().map(|t| (t.clone(), 0)).collect();
    for topic in response.topics {
        let Some(name) = topic.name else { continue };
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        counts.insert(name.to_string(), count);
    }
    Ok(counts)
}
