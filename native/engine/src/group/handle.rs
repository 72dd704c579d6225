//! The owner's side of a member: commands go to its task, replies come from the engine's threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::classic::Member;
use super::commands::{Command, EventSink, Reply};
use super::commits::Commit;
use super::driver::Driver;
use super::protocol::Link;
use super::{CommitOutcome, GroupConfig, JoinTerms, OffsetToCommit, TopicPartitions};
use crate::cluster::{Cluster, Purpose};
use crate::error::Error;
use crate::tasks::boxed;

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
        let member = Member::new(config.clone(), Instant::now(), rand::random());
        let link = Link {
            cluster: cluster.clone(),
            config,
            purpose: Purpose::Group(NEXT.fetch_add(1, Ordering::Relaxed)),
        };
        let driver = Driver::new(member, link, receiver, events);
        let runtime = Handle::current();
        cluster.supervise(&runtime, "group member", driver.run());
        Group { commands, runtime }
    }

    /// Joins, or gives up the present generation and joins again.
    pub fn join(&self, terms: JoinTerms) {
        let _ = self.commands.send(Command::Join(terms));
    }

    /// The answer to [`Event::Assign`]: partitions by member id.
    pub fn assign(&self, join_id: i64, assignments: Vec<(String, TopicPartitions)>) {
        let _ = self.commands.send(Command::Assign(join_id, assignments));
    }

    /// Commits offsets for a generation; what passes by itself is retried for `limit`.
    ///
    /// Answers the partitions that the broker refused one by one. Refuses any generation but the
    /// present one with `illegal_generation`. Commits take effect and are answered in their order.
    pub fn commit(
        &self,
        generation: i32,
        offsets: Vec<OffsetToCommit>,
        limit: Duration,
        reply: Reply<CommitOutcome>,
    ) {
        let commit = Commit {
            generation,
            offsets,
            deadline: Instant::now() + limit,
            reply,
        };
        if let Err(mpsc::error::SendError(Command::Commit(commit))) =
            self.commands.send(Command::Commit(commit))
        {
            self.runtime
                .spawn(boxed(async move { (commit.reply)(Err(Error::Closed)) }));
        }
    }

    /// Closes the member within 5 s. With `leave`, it leaves the group first.
    pub fn close(&self, leave: bool, reply: Reply<()>) {
        if let Err(mpsc::error::SendError(Command::Close(_, reply))) =
            self.commands.send(Command::Close(leave, reply))
        {
            self.runtime.spawn(boxed(async move { reply(Ok(())) }));
        }
    }
}
