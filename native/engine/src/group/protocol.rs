//! What the driver knows of a group protocol: a state machine that is told what happens and the
//! time, and answers with [`Action`]s and its next deadline. The classic protocol is one; KIP-429
//! and KIP-848 members stand beside it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use super::{Event, GroupConfig, JoinTerms, PartitionCounts, TopicPartitions};
use crate::cluster::{Cluster, NodeId, Purpose};
use crate::error::Error;
use crate::net::{Connection, Endpoint};
use brod_protocol::error::ErrorCode;

/// The broker that coordinates the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coordinator {
    /// Its node id.
    pub node: NodeId,
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// Where a commit goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommitTarget {
    /// The coordinator.
    pub node: NodeId,
    /// In whose name.
    pub member_id: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action<Request> {
    /// Send, and bring the answer with the same number.
    Send(u64, Request),
    /// Tell the owner, with the JoinId that it belongs to.
    Tell(i64, Event),
    /// Keep the metadata of these topics fresh, and of no others.
    Watch(BTreeSet<String>),
    /// Have the metadata of the watched topics looked at again.
    RefreshMetadata,
}

/// How a member reaches its brokers.
#[derive(Clone)]
pub(super) struct Link {
    /// The cluster that the group is in.
    pub cluster: Arc<Cluster>,
    /// Of the member.
    pub config: Arc<GroupConfig>,
    /// A connection of the member's own: a broker that holds a join holds all that is behind it.
    pub purpose: Purpose,
}

impl Link {
    /// The member's own connection to a broker.
    pub(super) async fn connection(&self, node: NodeId) -> Result<Connection, Error> {
        let connection = self.cluster.connection(node, self.purpose.clone()).await?;
        // The session goes on while the broker wants to be left alone.
        connection.heed_throttle_at_most(self.config.session_timeout / 3);
        Ok(connection)
    }
}

/// The decisions of one member, in one group protocol.
pub(super) trait GroupProtocol: Send + 'static {
    /// What it sends.
    type Request: Send + 'static;
    /// What comes back.
    type Answer: Send + 'static;

    /// What is to be done now, in this order.
    fn actions(&mut self) -> Vec<Action<Self::Request>>;

    /// When [`GroupProtocol::tick`] is due, if nothing else happens before.
    fn deadline(&self) -> Option<Instant>;

    /// Time has passed.
    fn tick(&mut self, now: Instant);

    /// The owner joins, giving up what it has.
    fn join(&mut self, terms: JoinTerms, now: Instant);

    /// The owner has shared out the partitions.
    fn assign(&mut self, join_id: i64, shares: Vec<(String, TopicPartitions)>, now: Instant);

    /// The answer to [`Action::Send`].
    fn answer(&mut self, number: u64, answer: Self::Answer, now: Instant);

    /// How many partitions the watched topics have, as now known.
    fn partitions_seen(&mut self, seen: &PartitionCounts, now: Instant);

    /// The client was closed. The owner is told, and may still commit and leave.
    fn client_closed(&mut self);

    /// The group's coordinator, if known.
    fn coordinator(&self) -> Option<&Coordinator>;

    /// Whether a commit of this generation may go out; `Ok(None)`: once the coordinator is found.
    fn commit_target(&self, generation: i32) -> Result<Option<CommitTarget>, ErrorCode>;

    /// How a commit failed.
    fn commit_failed(&mut self, node: NodeId, generation: i32, error: &Error, now: Instant);

    /// Whether an answer under way has to be waited for before the member can leave.
    fn awaits_answer_to_leave(&self) -> bool;

    /// Whether a broker holds an answer back, and with it all else on the member's connection.
    fn is_held(&self) -> bool;

    /// Sends a request and waits for its answer.
    fn ask(link: Link, request: Self::Request) -> impl Future<Output = Self::Answer> + Send;

    /// Leaves the group, so that the others need not wait for the session timeout.
    fn leave(&self, link: Link) -> impl Future<Output = Result<(), Error>> + Send;
}
