//! One task per broker: takes the ready batches of the partitions that the broker leads into common
//! Produce requests, and hands each batch's result back to its partition.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ProduceRequest};

use super::acks::Replies;
use super::buffer::{Destination, Take};
use super::failure::{Cause, Failure};
use super::inbox::Inbox;
use super::lane::{Event, Item, Lane, Request, LANES};
use super::partition::{Host, Partition};
use super::request::{fitting, gathered, goes_with, seal, AROUND_BATCH};
use super::responses;
use super::shared::Shared;
use super::timers::Timers;
use crate::error::Error;
use crate::net::{Connection, Endpoint, NetError};
use brod_protocol::api::produce::{self, Part};
use brod_protocol::body::Body;
use brod_protocol::header::strip_response_header;

/// Batches that fill a request. The sooner a request is answered, the sooner its callers write the
/// next messages: with 1,000 partitions in one request all callers would wait for all of them, and
/// the batches that they fill meanwhile would be half as large.
const FULL_REQUEST: usize = 64;

/// Records that fill a request of so many batches. Where callers wait for each of their messages,
/// batches have one record, and waiting makes them no larger.
const FULL_REQUEST_RECORDS: u32 = 512;

/// Requests in flight to one broker, over all lanes, where more are not worth it for its distance
/// but they are full: nothing could join them.
const MAX_FULL_REQUESTS: usize = 2;

/// What waits for a broker that throttles is looked at so often, whether it has waited too long.
const THROTTLED_CHECK: Duration = Duration::from_secs(1);

const PRODUCE: i16 = ApiKey::Produce as i16;

struct Task<R: Replies> {
    inbox: Arc<Inbox<R>>,
    shared: Arc<Shared<R>>,
    timers: Timers<Arc<Partition<R>>>,
    lanes: [Lane<R>; LANES],
}

/// Sends until the cluster is closed.
pub(super) async fn run<R: Replies>(inbox: Arc<Inbox<R>>, shared: Arc<Shared<R>>) {
    let (cluster, first_lane) = (shared.cluster.clone(), shared.first_lane);
    let mut changes = cluster.changes();
    let mut task = Task {
        inbox: inbox.clone(),
        shared,
        timers: Timers::new(),
        lanes: std::array::from_fn(|number| Lane::new(first_lane + number as u32)),
    };
    loop {
        task.send_ready();
        let deadline = task.next_deadline();
        let is_connecting = task.lanes.iter().any(Lane::is_connecting);
        tokio::select! {
            biased;
            _ = cluster.closed().cancelled() => break,
            (lane, event) = next_event(&mut task.lanes) => match event {
                Event::Answer(answer) => task.answered(lane, answer),
                Event::Connected(result) => task.connected(lane, result),
            },
            _ = inbox.notify.notified() => {}
            _ = changes.changed(), if is_connecting => {}
            _ = sleep_until(deadline) => task.deadline_passed(),
        }
    }
    task.close();
}

/// Waits until something happens in one of the lanes.
async fn next_event<R: Replies>(lanes: &mut [Lane<R>; LANES]) -> (usize, Event) {
    poll_fn(|context| {
        let mut lanes = lanes.iter_mut().enumerate();
        let event = lanes.find_map(|(number, lane)| match lane.poll_event(context) {
            Poll::Ready(event) => Some((number, event)),
            Poll::Pending => None,
        });
        event.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

impl<R: Replies> Task<R> {
    fn send_ready(&mut self) {
        let now = Instant::now();
        while let Some(partition) = self.timers.due(now) {
            let lane = partition.lane();
            self.lanes[lane].queue.push(partition);
        }
        while let Some((lane, connection)) = self.next_lane(now) {
            self.send_one(lane, &connection, now);
        }
        for lane in &mut self.lanes {
            for partition in lane.led_by_others(&self.shared.cluster, self.inbox.node) {
                self.shared.route(partition);
            }
        }
    }

    /// Takes in what is new, and picks the lane to send on. None: there is nothing to do before the
    /// next event, among which is that enough has come to do something.
    fn next_lane(&mut self, now: Instant) -> Option<(usize, Connection)> {
        let in_flight: usize = self.lanes.iter().map(|lane| lane.in_flight.len()).sum();
        let enough = |lane: &Lane<R>| {
            let may_follow = in_flight < MAX_FULL_REQUESTS;
            // One lane does not wait for another one's answers.
            let alone = lane.in_flight.is_empty() || in_flight < lane.distance.requests();
            if alone || (may_follow && lane.was_full) {
                1
            } else if may_follow {
                FULL_REQUEST
            } else {
                usize::MAX
            }
        };
        self.inbox.empty(|lane, partitions| {
            let lane = &mut self.lanes[lane];
            for partition in partitions {
                lane.queue.push(partition);
            }
            enough(lane).saturating_sub(lane.queue.len())
        });
        let (cluster, node) = (&self.shared.cluster, self.inbox.node);
        let lanes = self.lanes.iter_mut().enumerate();
        lanes
            .filter(|(_, lane)| {
                lane.queue.len() >= enough(lane) && lane.throttled_until(now).is_none()
            })
            .filter_map(|(number, lane)| {
                let connection = lane.connection(cluster, node)?;
                Some((lane.in_flight.len(), number, connection))
            })
            .min_by_key(|(in_flight, ..)| *in_flight)
            .map(|(_, number, connection)| (number, connection))
    }

    fn connected(&mut self, lane: usize, result: Result<(), Error>) {
        let Err(error) = result else { return };
        tracing::debug!(node = self.inbox.node, %error, "cannot connect to send");
        let cause = match &error {
            Error::Unreachable(failures) => failures.last().map(|(_, why)| why.clone()),
            Error::Net(why) => Some(why.clone()),
            _ => None,
        };
        // Others may lead by now, and what has waited too long fails.
        let now = Instant::now();
        let waiting: Vec<_> = self.lanes[lane].queue.drain().collect();
        for partition in waiting {
            if let Some(why) = &cause {
                partition.waits_because(Cause::Net(why.clone()));
            }
            partition.expire(now);
            self.shared.route(partition);
        }
        if matches!(error, Error::Kafka { .. }) {
            self.shared.cluster.request_refresh();
        }
    }

    /// Puts one request in flight, if any partition in the lane's queue has a batch.
    fn send_one(&mut self, lane: usize, connection: &Connection, now: Instant) {
        let mut items: Vec<Item<R>> = Vec::new();
        let (mut other_kind, mut more_behind) = (Vec::new(), Vec::new());
        let (mut bytes, mut records) = (0, 0);
        let snapshot = self.shared.cluster.snapshot();
        let to = Destination {
            node: self.inbox.node,
            worth: self.lanes[lane].distance.requests(),
        };
        let Lane {
            queue,
            size_limit,
            was_full,
            ..
        } = &mut self.lanes[lane];
        *was_full = false;
        queue.arrange(FULL_REQUEST, |partition| partition.next_records());
        while let Some(waiting) = queue.pop() {
            let partition = &waiting.item;
            let (leader, topic_id) = partition.place(&snapshot);
            let Some(leader) = leader.ok().filter(|leader| leader.node == to.node) else {
                self.shared.route(waiting.item);
                continue;
            };
            if items
                .first()
                .is_some_and(|first| !goes_with(&first.partition, partition))
            {
                other_kind.push(waiting);
                continue;
            }
            let room = match items.is_empty() {
                // A batch that is larger by itself goes alone.
                true => usize::MAX,
                false => gathered(partition.config(), size_limit).saturating_sub(bytes),
            };
            let around = AROUND_BATCH + partition.topic().len();
            let room = room.saturating_sub(around);
            match partition.take(now, room, to) {
                Take::Batch { batch, more } => {
                    bytes += batch.request_bytes() + around;
                    records += batch.records();
                    if more {
                        more_behind.push(partition.clone());
                    }
                    items.push(Item {
                        partition: waiting.item,
                        leader,
                        topic_id,
                        batch,
                    });
                    let full = items.len() >= FULL_REQUEST && records >= FULL_REQUEST_RECORDS;
                    if full {
                        break;
                    }
                }
                Take::NoRoom => {
                    *was_full = true;
                    other_kind.push(waiting);
                    break;
                }
                Take::At(at) => self.timers.push(at, waiting.item),
                Take::NeedsIdentity(at) => {
                    self.shared.give_identity(partition.clone());
                    self.timers.push(at, waiting.item);
                }
                Take::NotInTransaction(at) => {
                    partition.join();
                    self.timers.push(at, waiting.item);
                }
                Take::Expired => partition.expire(now),
                Take::Idle => {}
            }
        }
        queue.put_back(other_kind);
        for partition in more_behind {
            queue.push(partition);
        }
        if !items.is_empty() {
            self.submit(lane, connection, items, now);
        }
    }

    fn submit(
        &mut self,
        lane: usize,
        connection: &Connection,
        mut items: Vec<Item<R>>,
        now: Instant,
    ) {
        let mut batches = seal(&mut items);
        while !items.is_empty() {
            let config = items[0].partition.config();
            let limit = self.lanes[lane].size_limit.at_most(config.max_request_size);
            let count = fitting(&items, &batches, limit);
            let (rest, more) = (items.split_off(count), batches.split_off(count));
            self.write(lane, connection, items, batches, now);
            (items, batches) = (rest, more);
        }
    }

    /// Puts one request in flight.
    fn write(
        &mut self,
        lane: usize,
        connection: &Connection,
        items: Vec<Item<R>>,
        batches: Vec<Body>,
        now: Instant,
    ) {
        let bytes = batches.iter().map(Body::len).sum();
        let config = items[0].partition.config();
        let acks = config.required_acks;
        let transactional_id = config.transactional_id();
        let timeout_ms = i32::try_from(config.ack_timeout.as_millis()).unwrap_or(i32::MAX);
        for (item, batch) in items.iter().zip(&batches) {
            let stats = item.partition.stats();
            stats.batches_sent.count();
            stats.records_sent.add(item.batch.records().into());
            stats.bytes_sent.add(batch.len() as u64);
        }
        let knows_ids = items.iter().all(|item| item.topic_id.is_some());
        let parts = items.iter().zip(batches).map(|(item, batch)| Part {
            topic: item.partition.topic(),
            topic_id: item.topic_id,
            partition: item.partition.index(),
            batch,
        });
        let encoded = connection
            .versions()
            .pick_knowing::<ProduceRequest>(knows_ids)
            .map_err(NetError::from)
            .and_then(|negotiated| {
                let version = config.version(negotiated);
                let body = produce::encode(version, transactional_id, acks, timeout_ms, parts)?;
                Ok((body, version))
            });
        let (body, version) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                if matches!(error, NetError::UnsupportedApi { .. }) {
                    // A broker that is just starting may not say all that it speaks: it is asked again.
                    self.lanes[lane].disconnect(&error);
                }
                return responses::failed(items, &error, now);
            }
        };
        for item in &items {
            if item.partition.config().report_requests {
                item.partition
                    .replies()
                    .sent(item.batch.records(), item.batch.payload());
            }
        }
        let limits = items.iter().map(|item| item.partition.answer_limit());
        let limit = match acks {
            // There is no answer to be late.
            0 => limits.max(),
            _ => limits
                .max()
                .min(Some(self.shared.cluster.config().request_timeout)),
        };
        let answer = connection.submit(body, PRODUCE, version, acks != 0);
        let deadline = connection.ready_at(now) + limit.unwrap_or_default();
        self.lanes[lane].in_flight.push_back(Request {
            answer,
            sent: now,
            deadline,
            throttled: connection.throttled(),
            version,
            bytes,
            answered: acks != 0,
            items,
        });
    }

    /// The lane's first request in line is answered, or its connection failed.
    fn answered(&mut self, lane: usize, answer: Result<Bytes, NetError>) {
        let lane = &mut self.lanes[lane];
        let Some(request) = lane.in_flight.pop_front() else {
            return;
        };
        let now = Instant::now();
        if !request.answered && answer.is_ok() {
            // What is behind it could not be written before it.
            let took = now.saturating_duration_since(request.sent);
            let behind = lane.in_flight.iter_mut();
            behind.for_each(|request| request.deadline += took);
            return responses::written(request.items);
        }
        if answer.is_ok() {
            lane.distance
                .took(now.saturating_duration_since(request.sent));
            lane.size_limit.answered();
        }
        let results = answer.and_then(|frame| {
            let results = strip_response_header(frame, PRODUCE, request.version)
                .map_err(NetError::from)
                .and_then(|body| Ok(produce::decode(body, request.version)?));
            if let Err(error) = &results {
                lane.disconnect(error);
            }
            results
        });
        match results {
            Ok(results) => {
                let (shared, node) = (&self.shared, self.inbox.node);
                responses::answered(shared, node, request.items, results, now);
            }
            Err(error) => {
                if matches!(error, NetError::Closed | NetError::Io { .. }) {
                    lane.size_limit.closed_after(request.bytes);
                }
                self.shared.cluster.request_refresh();
                responses::failed(request.items, &error, now);
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let answers = self.lanes.iter().filter_map(Lane::limits);
        let answers = answers.map(|limits| limits.late.min(limits.deadline));
        let now = Instant::now();
        let lanes = self.lanes.iter();
        let throttled = lanes.filter_map(|lane| lane.throttled_until(now));
        let throttled = throttled.map(|until| until.min(now + THROTTLED_CHECK));
        answers.chain(self.timers.next()).chain(throttled).min()
    }

    fn deadline_passed(&mut self) {
        let now = Instant::now();
        for lane in 0..LANES {
            if self.lanes[lane].throttled_until(now).is_some() {
                self.lanes[lane]
                    .queue
                    .iter()
                    .for_each(|partition| partition.expire(now));
            }
            let is_late = self.lanes[lane].is_late(now);
            // A broker that hangs, or waits for one that does: whatever it was asked is asked again.
            let others_know =
                is_late && (self.others_lead(lane) || self.lanes[lane].coordinator_moved());
            let is_over = |lane: &Lane<R>| lane.limits().is_some_and(|at| at.deadline <= now);
            if others_know || is_over(&self.lanes[lane]) {
                self.lanes[lane].disconnect(&NetError::Timeout);
                self.answered(lane, Err(NetError::Timeout));
            }
        }
    }

    /// Whether others lead by now than the broker that is late. If it is not known, it will be the next time.
    fn others_lead(&self, lane: usize) -> bool {
        let cluster = &self.shared.cluster;
        cluster.request_refresh();
        let others_lead = self.lanes[lane].others_lead(&cluster.snapshot());
        if others_lead {
            let (client, node) = (&*cluster.config().connect.client_id, self.inbox.node);
            // Metadata do not name it any more.
            let broker = self.lanes[lane].endpoint().map(Endpoint::to_string);
            let broker = broker.unwrap_or_default();
            tracing::warn!(client, broker, node, "broker hangs, others lead by now");
        }
        others_lead
    }

    /// The client is closed: whatever is left fails.
    fn close(&mut self) {
        let mut left: Vec<_> = self.timers.drain().collect();
        self.inbox.empty(|_, partitions| {
            left.extend(partitions);
            1
        });
        for lane in &mut self.lanes {
            left.extend(lane.queue.drain());
            for item in lane.in_flight.drain(..).flat_map(|request| request.items) {
                item.partition.close();
                // Whatever it has stopped for, nothing is sent again.
                item.partition
                    .event(|buffer, _| Some(buffer.give_up(item.batch, Failure::Closed)));
            }
        }
        for partition in left {
            partition.close();
        }
    }
}
