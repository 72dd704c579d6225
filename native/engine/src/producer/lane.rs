//! One of a broker's lanes: a connection, what is in flight there, and what waits for it.
//!
//! A broker works on one request of a connection at a time, and on nothing between its answer and the
//! next request. With a second connection it always has one at hand. A partition's batches keep to
//! one lane, so they arrive in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::acks::Replies;
use super::batch::Batch;
use super::distance::Distance;
use super::partition::Partition;
use super::queue::Queue;
use super::size_limit::SizeLimit;
use crate::cluster::{Cluster, Leader, NodeId, Purpose, Snapshot, TopicId, LATE};
use crate::error::Error;
use crate::net::{Connection, Endpoint, NetError};

/// Lanes to one broker.
pub(super) const LANES: usize = ANSWERED + 1;
/// Those whose requests are answered.
const ANSWERED: usize = 2;

/// So many neighbouring partitions of a topic share a lane. One request with the batches of all
/// partitions costs less than two with a few each, so a topic of no more has one lane.
const NEIGHBOURS: usize = 64;

/// The lane of a partition, to whichever broker leads it. Where no answers are wanted it is one of its own: a broker that throttles
/// reads nothing from the connection for a while, and says so in its answers alone.
pub(super) fn lane_of(partition: i32, acks: i16) -> usize {
    match acks {
        0 => ANSWERED,
        _ => partition.unsigned_abs() as usize / NEIGHBOURS % ANSWERED,
    }
}

/// A batch in flight, and whose it is.
pub(super) struct Item<R: Replies> {
    pub partition: Arc<Partition<R>>,
    /// To whom it was sent.
    pub leader: Leader,
    /// As known when the batch was taken.
    pub topic_id: Option<TopicId>,
    pub batch: Batch<R::Acks>,
}

/// A request in flight.
pub(super) struct Request<R: Replies> {
    pub answer: oneshot::Receiver<Result<Bytes, NetError>>,
    pub sent: Instant,
    pub deadline: Instant,
    /// How long the broker had wanted to be left alone when the deadline was set.
    pub throttled: Duration,
    pub version: i16,
    /// Of its batches.
    pub bytes: usize,
    /// False with acks 0: being written is all there is to wait for.
    pub answered: bool,
    pub items: Vec<Item<R>>,
}

/// What a lane waits for.
pub(super) enum Event {
    /// The first request in line is answered, or its connection failed.
    Answer(Result<Bytes, NetError>),
    /// An attempt to connect has ended.
    Connected(Result<(), Error>),
}

/// When a request that is not answered is looked at. Time in which the broker wants to be left alone does not count.
pub(super) struct AnswerLimits {
    /// Whether the broker still leads.
    pub late: Instant,
    /// It is given up.
    pub deadline: Instant,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send>>;

/// See the module's text.
pub(super) struct Lane<R: Replies> {
    purpose: Purpose,
    /// Partitions that may have something to send.
    pub queue: Queue<Arc<Partition<R>>>,
    /// In the order in which they are answered.
    pub in_flight: VecDeque<Request<R>>,
    connection: Option<Connection>,
    connecting: Option<Connecting>,
    /// How far away the broker is.
    pub distance: Distance,
    /// How large requests may be.
    pub size_limit: SizeLimit,
    /// The last request was as large as it may be, and there was more to send.
    pub was_full: bool,
    /// When it was last looked whether a late broker still leads.
    looked: Option<Instant>,
    /// The version of the snapshot by which the queue was last looked through.
    routed_by: Option<u64>,
}

impl<R: Replies> Lane<R> {
    /// The lane with this number, not connected yet.
    pub(super) fn new(number: u32) -> Self {
        Lane {
            purpose: Purpose::Produce(number),
            queue: Queue::new(),
            in_flight: VecDeque::new(),
            connection: None,
            connecting: None,
            distance: Distance::default(),
            size_limit: SizeLimit::of_requests(),
            was_full: false,
            looked: None,
            routed_by: None,
        }
    }

    /// Its connection, if it is open. Otherwise that comes, or fails, as an [`Event`].
    pub(super) fn connection(
        &mut self,
        cluster: &Arc<Cluster>,
        node: NodeId,
    ) -> Option<Connection> {
        if let Some(connection) = self.connection.as_ref().filter(|c| !c.is_closed()) {
            return Some(connection.clone());
        }
        self.connection = None;
        if self.connecting.is_none() {
            let (cluster, purpose) = (cluster.clone(), self.purpose.clone());
            self.connecting = Some(Box::pin(async move {
                let late = Instant::now() + LATE;
                let connecting = cluster.connection(node, purpose);
                cluster.watched(late, connecting).await
            }));
        }
        None
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.is_some()
    }

    /// Takes out what waits for the broker to be connected to, although others lead it by now: an attempt to connect to
    /// one that is gone may take long. Looks once at each version of the snapshot.
    pub(super) fn led_by_others(
        &mut self,
        cluster: &Cluster,
        node: NodeId,
    ) -> Vec<Arc<Partition<R>>> {
        if !self.is_connecting() {
            return Vec::new();
        }
        let snapshot = cluster.snapshot();
        if self.routed_by.replace(snapshot.version) == Some(snapshot.version) {
            return Vec::new();
        }
        let leads = |partition: &Arc<Partition<R>>| partition.leader(&snapshot).ok() == Some(node);
        let (stay, go): (Vec<_>, Vec<_>) = self.queue.drain().partition(leads);
        for partition in stay {
            self.queue.push(partition);
        }
        go
    }

    /// Until when the broker would let a request wait (KIP-219), if it would. It said so on this connection: the next
    /// one is another one to it.
    pub(super) fn throttled_until(&self, now: Instant) -> Option<Instant> {
        let connection = self.connection.as_ref().filter(|c| !c.is_closed())?;
        Some(connection.ready_at(now)).filter(|until| *until > now)
    }

    /// Closes the connection, for what is wrong with it: what is in flight fails.
    pub(super) fn disconnect(&mut self, why: &NetError) {
        if let Some(connection) = self.connection.take() {
            connection.give_up(why);
        }
    }

    /// Waits for what happens next.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Some(request) = self.in_flight.front_mut() {
            if let Poll::Ready(answer) = Pin::new(&mut request.answer).poll(context) {
                return Poll::Ready(Event::Answer(answer.unwrap_or(Err(NetError::Closed))));
            }
        }
        let Some(attempt) = &mut self.connecting else {
            return Poll::Pending;
        };
        let connected = std::task::ready!(attempt.as_mut().poll(context));
        self.connecting = None;
        Poll::Ready(Event::Connected(connected.map(|connection| {
            self.distance = Distance::default();
            if let Some(time) = connection.round_trip() {
                self.distance.took(time);
            }
            self.connection = Some(connection);
        })))
    }

    /// True, if the broker is late, and the next time is not there yet: somebody has to look whether it still leads.
    pub(super) fn is_late(&mut self, now: Instant) -> bool {
        let is_late = self.limits().is_some_and(|limits| limits.late <= now);
        if is_late {
            self.looked = Some(now);
        }
        is_late
    }

    /// Whether the broker leads none of the partitions any more that the first request in line has batches of, and another
    /// one does. If it worked, it would have said so.
    pub(super) fn others_lead(&self, snapshot: &Snapshot) -> bool {
        let items = self.in_flight.front().map(|request| &request.items);
        let led = items.into_iter().flatten().filter_map(|item| {
            let leader = item.partition.place(snapshot).0.ok()?;
            Some((item.leader, leader))
        });
        let mut others = led.map(|(former, leader)| snapshot.is_replaced(former, leader));
        others
            .next()
            .is_some_and(|first| first && others.all(|is_other| is_other))
    }

    /// Whether the transaction that the first request in line belongs to has another coordinator than when that was sent. Its
    /// leader may still wait for the one before. It may also have heard a little later than this client who that is. If
    /// nobody knows yet, it will be the next time.
    pub(super) fn coordinator_moved(&self) -> bool {
        let Some(request) = self.in_flight.front() else {
            return false;
        };
        let item = request.items.first();
        let transaction = item.and_then(|item| item.partition.config().transaction.as_deref());
        transaction.is_some_and(|transaction| {
            transaction.late();
            let moved = transaction.coordinator_moved();
            moved.is_some_and(|at| request.sent < at + LATE)
        })
    }

    /// Where it is connected to.
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.connection.as_ref().map(Connection::endpoint)
    }

    /// Of the first request in line.
    pub(super) fn limits(&self) -> Option<AnswerLimits> {
        let request = self.in_flight.front()?;
        let total = self.connection.as_ref().map(Connection::throttled);
        let throttled = total.map_or(Duration::ZERO, |total| {
            total.saturating_sub(request.throttled)
        });
        let sent = request.sent + throttled;
        Some(AnswerLimits {
            late: self.looked.map_or(sent, |looked| looked.max(sent)) + LATE,
            deadline: request.deadline + throttled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_topic_has_one_lane_and_a_large_one_uses_all() {
        for acks in [-1, 1] {
            assert!((0..NEIGHBOURS as i32).all(|partition| lane_of(partition, acks) == 0));
            let mut partitions = [0; ANSWERED];
            for partition in 0..1024 {
                partitions[lane_of(partition, acks)] += 1;
            }
            assert_eq!(partitions, [1024 / ANSWERED; ANSWERED]);
        }
    }

    #[test]
    fn who_is_not_answered_is_in_nobody_elses_lane() {
        assert!((0..1024).all(|partition| lane_of(partition, 0) == ANSWERED));
    }
}
