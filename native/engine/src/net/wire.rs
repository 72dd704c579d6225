//! What the two loops of a connection share, and the one that reads: it hands each frame that comes to whoever waits for it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use brod_protocol::body::Body;
use brod_protocol::frame::{FrameReader, MAX_FRAME};
use brod_protocol::header::strip_response_header;
use brod_protocol::legacy::Sent;
use brod_protocol::throttle::throttle_time;
use brod_protocol::ApiVersions;
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, oneshot, Notify};
use tokio_util::sync::CancellationToken;

use super::old_broker::translate;
use super::throttle::Throttle;
use super::{ConnectOptions, Endpoint, NetError};
use crate::stats::{BrokerStats, Event, Stats};

/// Who waits for the answer to a request.
pub(super) type Reply = oneshot::Sender<Result<Bytes, NetError>>;

/// What the writer does next.
pub(super) enum Turn {
    /// Writes a request.
    Request(Outgoing),
    /// Writes nothing else until these are written and their queue is closed.
    Exclusive(mpsc::UnboundedReceiver<Turn>),
    /// Waits until all that was written is answered, and says so.
    Settle(oneshot::Sender<()>),
    /// Writes what comes here, as it comes, until that queue is closed; whatever the broker sends
    /// meanwhile goes back the other way.
    Loan {
        to_broker: mpsc::Receiver<Bytes>,
        from_broker: mpsc::Sender<Bytes>,
    },
}

/// A request to write.
pub(super) struct Outgoing {
    pub head: Head,
    pub body: Body,
    /// False for Produce with acks 0: `reply` is told once the request is written.
    pub expects_response: bool,
    pub reply: Reply,
}

/// What stands before a request's body.
pub(super) enum Head {
    /// A length and a request header.
    Request { api_key: i16, version: i16 },
    /// A length alone: SASL as in Kafka 0.10.
    Bare,
}

/// Who waits for the next frame.
pub(super) enum Pending {
    Answer {
        correlation_id: i32,
        api_key: i16,
        version: i16,
        /// The longest answer that is taken, in bytes.
        longest: usize,
        /// How the request was rewritten for an old broker.
        rewritten: Option<Sent>,
        /// When it was written, and its bytes.
        asked: (Instant, usize),
        reply: Reply,
    },
    Bare(Reply),
    Loan(mpsc::Sender<Bytes>),
}

/// What the handles and the loops of a connection share.
pub(super) struct Shared {
    pub endpoint: Endpoint,
    pub client_id: String,
    pub versions: OnceLock<ApiVersions>,
    pub round_trip: OnceLock<Duration>,
    /// Requests in flight, in order: a broker answers in the order of the requests.
    pub pending: Mutex<VecDeque<Pending>>,
    /// Told of each answer.
    answered: Notify,
    pub closed: CancellationToken,
    /// What the first who ended it gave as the reason.
    ended: OnceLock<NetError>,
    pub throttle: Mutex<Throttle>,
    pub stats: Arc<Stats>,
    /// Of the broker at the other end.
    pub broker: Arc<BrokerStats>,
    /// Set once the connection can be used.
    pub established: AtomicBool,
    opened: Instant,
    /// When a request was last written, in ms since `opened`.
    used: AtomicU64,
}

impl Shared {
    pub(super) fn new(endpoint: Endpoint, options: &ConnectOptions) -> Self {
        let stats = options.stats.clone();
        Shared {
            broker: stats.broker(&endpoint),
            stats,
            established: AtomicBool::new(false),
            endpoint,
            client_id: options.client_id.clone(),
            versions: OnceLock::new(),
            round_trip: OnceLock::new(),
            pending: Mutex::default(),
            answered: Notify::new(),
            closed: CancellationToken::new(),
            ended: OnceLock::new(),
            throttle: Mutex::default(),
            opened: Instant::now(),
            used: AtomicU64::new(0),
        }
    }

    /// Ends the connection, which is lost; who waits for an answer is told why.
    pub(super) fn fail(&self, error: NetError) {
        let why = Event::Disconnected(error.to_string());
        self.end(error, why);
    }

    /// Ends the connection, which is not needed any more.
    pub(super) fn hang_up(&self, why: &'static str) {
        self.end(NetError::Closed, Event::Closed(why));
    }

    /// Ends the connection. The journal is told `why`, and who waits for an answer the error.
    pub(super) fn end(&self, error: NetError, why: Event) {
        // Set under the lock, so that no request slips in behind the last drain.
        let (waiting, is_first) = {
            let mut pending = self.pending.lock();
            let is_first = self.ended.set(error.clone()).is_ok();
            (std::mem::take(&mut *pending), is_first)
        };
        if is_first && self.established.load(Ordering::Acquire) {
            match why {
                Event::Closed(_) => self.broker.closes.count(),
                _ => self.broker.disconnects.count(),
            }
            self.stats.journal.note(&self.endpoint, why);
        }
        self.closed.cancel();
        for request in waiting {
            match request {
                Pending::Answer { reply, .. } | Pending::Bare(reply) => {
                    let _ = reply.send(Err(error.clone()));
                }
                Pending::Loan(_) => {}
            }
        }
    }

    /// Whether no request can succeed any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// What to say of a request that came too late: why the connection has ended.
    pub(super) fn why_ended(&self) -> NetError {
        self.ended.get().cloned().unwrap_or(NetError::Closed)
    }

    /// Enters somebody who waits for a frame. False: the connection has failed.
    pub(super) fn expect(&self, pending: Pending) -> bool {
        let mut queue = self.pending.lock();
        if self.has_ended() {
            return false;
        }
        queue.push_back(pending);
        true
    }

    pub(super) fn touch(&self) {
        let since = self.opened.elapsed().as_millis() as u64;
        self.used.store(since, Ordering::Relaxed);
    }

    /// When a request was last written.
    pub(super) fn last_used(&self) -> Instant {
        self.opened + Duration::from_millis(self.used.load(Ordering::Relaxed))
    }

    /// Whether an answer is waited for.
    pub(super) fn is_busy(&self) -> bool {
        !self.pending.lock().is_empty()
    }

    /// Waits until no answer is waited for, or the connection has ended.
    pub(super) async fn settled(&self) {
        loop {
            let mut answered = pin!(self.answered.notified());
            // From now on none is missed.
            answered.as_mut().enable();
            if !self.is_busy() {
                return;
            }
            tokio::select! {
                _ = self.closed.cancelled() => return,
                _ = answered => {}
            }
        }
    }
}

/// Fails the connection when one of its tasks ends, however it ends.
pub(super) struct FailOnDrop(pub Arc<Shared>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.fail(NetError::Closed);
    }
}

/// Reads until the connection fails.
pub(super) async fn read_loop<R: AsyncRead + Unpin>(mut socket: R, shared: Arc<Shared>) {
    let _guard = FailOnDrop(shared.clone());
    let mut frames = FrameReader::default();
    let error = loop {
        let read = tokio::select! {
            _ = shared.closed.cancelled() => break NetError::Closed,
            read = socket.read_buf(frames.space()) => read,
        };
        match read {
            Ok(0) => break NetError::Closed,
            Ok(_) => {}
            Err(error) => break error.into(),
        }
        if let Err(error) = deliver(&mut frames, &shared) {
            break error;
        }
    };
    shared.fail(error);
}

/// Hands every whole frame to whoever waits for it.
fn deliver(frames: &mut FrameReader, shared: &Shared) -> Result<(), NetError> {
    loop {
        let longest = match shared.pending.lock().front() {
            Some(Pending::Bare(_) | Pending::Loan(_)) => None,
            Some(Pending::Answer { longest, .. }) => Some(*longest),
            None => Some(MAX_FRAME),
        };
        let frame = match longest {
            None => frames.next_bare_frame()?,
            Some(longest) => frames.next_frame(longest)?,
        };
        let Some(frame) = frame else { return Ok(()) };
        let broker = &shared.broker;
        broker.bytes_received.add(frame.len() as u64 + 4);
        let mut pending = shared.pending.lock();
        match pending.pop_front() {
            None => return Err(NetError::NotKafka("it answers what was not asked".into())),
            Some(Pending::Bare(reply)) => {
                let _ = reply.send(Ok(frame));
                shared.answered.notify_waiters();
            }
            Some(Pending::Loan(borrower)) => {
                let mut whole = BytesMut::with_capacity(4 + frame.len());
                whole.put_u32(frame.len() as u32);
                whole.put_slice(&frame);
                let taken = borrower.try_send(whole.freeze());
                pending.push_front(Pending::Loan(borrower));
                if let Err(mpsc::error::TrySendError::Full(_)) = taken {
                    return Err(NetError::NotKafka("it answers what was not asked".into()));
                }
            }
            Some(Pending::Answer {
                correlation_id,
                api_key,
                version,
                rewritten,
                asked: (asked, sent),
                reply,
                ..
            }) => {
                drop(pending);
                shared.answered.notify_waiters();
                broker.answered(api_key, sent, frame.len() + 4, asked.elapsed());
                let answered = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
                if answered != correlation_id {
                    let error = NetError::NotKafka("it answers out of order".into());
                    let _ = reply.send(Err(error.clone()));
                    return Err(error);
                }
                let frame = match rewritten {
                    None => frame,
                    Some(sent) => match translate(sent, frame) {
                        Ok(frame) => frame,
                        Err(error) => {
                            let error = NetError::from(error);
                            let _ = reply.send(Err(error.clone()));
                            return Err(error);
                        }
                    },
                };
                if let Ok(body) = strip_response_header(frame.clone(), api_key, version) {
                    let time = throttle_time(api_key, version, &body);
                    if !time.is_zero() {
                        shared.throttle.lock().impose(time, Instant::now());
                        let ms = time.as_millis() as u64;
                        broker.throttles.count();
                        broker.throttled_ms.add(ms);
                        let journal = &shared.stats.journal;
                        journal.note(&shared.endpoint, Event::Throttled(ms));
                    }
                }
                let _ = reply.send(Ok(frame));
            }
        }
    }
}
