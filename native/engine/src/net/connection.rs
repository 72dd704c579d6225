//! A connection to one broker: requests pipelined, answered in their order.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use brod_protocol::body::Body;
use brod_protocol::header::strip_response_header;
use brod_protocol::{decode_response, encode, ApiVersions};
use bytes::Bytes;
use kafka_protocol::protocol::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::sasl::Loan;
use super::wire::{read_loop, Head, Outgoing, Shared, Turn};
use super::writer::write_loop;
use super::{dial, ConnectOptions, Endpoint, NetError};
use crate::stats::Event;
use crate::tasks::boxed;

/// A handle to an open connection. Clones share it; it closes when the last one is dropped, when
/// [`Connection::close`] is called, or when either side fails.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    turns: mpsc::UnboundedSender<Turn>,
}

/// A queue to a connection that nobody else writes to until it is dropped.
pub(super) struct Exclusive {
    shared: Arc<Shared>,
    turns: mpsc::UnboundedSender<Turn>,
}

/// Finds a connection again while somebody else holds it.
pub(super) struct WeakConnection {
    shared: Arc<Shared>,
    turns: mpsc::WeakUnboundedSender<Turn>,
}

impl Connection {
    /// Connects to the first of the host's addresses that lets the client in: TCP, TLS, the version
    /// query unless told not to, SASL.
    ///
    /// `options.connect_timeout` bounds all of it, name lookup included.
    pub async fn open(endpoint: &Endpoint, options: &ConnectOptions) -> Result<Self, NetError> {
        dial::open(endpoint, options).await
    }

    /// Starts the two loops over a stream's halves. Nothing was sent over it yet.
    pub(super) fn start<R, W>(
        reads: R,
        writes: W,
        endpoint: &Endpoint,
        options: &ConnectOptions,
    ) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (turns, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(endpoint.clone(), options));
        tokio::spawn(boxed(write_loop(writes, queue, shared.clone())));
        tokio::spawn(boxed(read_loop(reads, shared.clone())));
        Connection { shared, turns }
    }

    /// What the broker said in the handshake. Later values are ignored.
    pub(super) fn learn(&self, versions: ApiVersions, round_trip: Option<Duration>) {
        let _ = self.shared.versions.set(versions);
        if let Some(time) = round_trip {
            let _ = self.shared.round_trip.set(time);
        }
    }

    /// It can be used: its end is one that is counted and told.
    pub(super) fn established(&self) {
        self.shared.established.store(true, Ordering::Release);
    }

    /// Nobody else's requests are written between those of the returned queue.
    pub(super) fn exclusive(&self) -> Exclusive {
        let (turns, queue) = mpsc::unbounded_channel();
        let _ = self.turns.send(Turn::Exclusive(queue));
        Exclusive {
            shared: self.shared.clone(),
            turns,
        }
    }

    pub(super) fn downgrade(&self) -> WeakConnection {
        WeakConnection {
            shared: self.shared.clone(),
            turns: self.turns.downgrade(),
        }
    }

    /// Ends the connection; who waits for an answer is told why.
    pub(super) fn fail(&self, error: NetError) {
        self.shared.fail(error);
    }

    /// The broker's address as it was connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// What the client calls itself.
    pub(super) fn client_id(&self) -> &str {
        &self.shared.client_id
    }

    /// What the broker speaks.
    pub fn versions(&self) -> &ApiVersions {
        static NONE: OnceLock<ApiVersions> = OnceLock::new();
        self.shared
            .versions
            .get()
            .unwrap_or_else(|| NONE.get_or_init(ApiVersions::default))
    }

    /// How long the broker took to answer the version query, if it was asked.
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.round_trip.get().copied()
    }

    /// True once no request can succeed any more.
    pub fn is_closed(&self) -> bool {
        self.shared.has_ended()
    }

    /// Waits until the connection is closed, by either side.
    pub async fn wait_closed(&self) {
        self.shared.closed.cancelled().await
    }

    /// Closes at once, because it is not needed any more; requests under way fail with [`NetError::Closed`].
    pub fn close(&self) {
        self.shared.hang_up("closed by the client");
    }

    /// As [`Connection::close`], because something is wrong with it: it counts as lost.
    pub(crate) fn give_up(&self, why: &NetError) {
        let why = Event::Disconnected(why.to_string());
        self.shared.end(NetError::Closed, why);
    }

    /// Sends `request` in the newest version that both sides speak and waits for the answer.
    ///
    /// A request that times out closes the connection: answers come in order, so all that is
    /// behind it would wait as well.
    pub async fn call<R: Request>(
        &self,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, NetError> {
        let version = self.versions().pick::<R>()?;
        self.call_version(request, version, limit).await
    }

    /// As [`Connection::call`], in a version that the caller picked.
    pub async fn call_version<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response, NetError> {
        let body = encode(request, version)?;
        let answer = self.exchange_within(body, R::KEY, version, limit).await?;
        decode_response::<R>(answer, version)
            .map_err(NetError::from)
            .inspect_err(|error| self.shared.fail(error.clone()))
    }

    /// Queues an encoded request body, at once; what is returned waits for the body of the answer.
    ///
    /// A request that times out closes the connection, as with [`Connection::call`].
    pub fn exchange_within(
        &self,
        body: Bytes,
        api_key: i16,
        version: i16,
        limit: Duration,
    ) -> impl Future<Output = Result<Bytes, NetError>> + Send + 'static {
        let answer = self.submit(body, api_key, version, true);
        let connection = self.clone();
        async move {
            let Some(frame) = connection.in_time(limit, answer).await else {
                let after = format!("{:.1} s", limit.as_secs_f64());
                let api = brod_protocol::api::of(api_key).map_or("", |api| api.name);
                let (client, broker) = (connection.client_id(), connection.endpoint());
                tracing::warn!(client, %broker, api, after, "request timed out");
                connection.shared.fail(NetError::Timeout);
                return Err(NetError::Timeout);
            };
            let frame = frame.unwrap_or(Err(NetError::Closed))?;
            Ok(strip_response_header(frame, api_key, version)?)
        }
    }

    /// Waits for an answer. The limit does not run while the broker wants to be left alone.
    async fn in_time<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = std::pin::pin!(answer);
        let mut counted = self.throttled();
        let mut until = self.ready_at(Instant::now()) + limit;
        loop {
            if let Ok(answer) = timeout_at(until.into(), &mut answer).await {
                return Some(answer);
            }
            let throttled = self.throttled();
            if throttled == counted {
                return None;
            }
            until += throttled - counted;
            counted = throttled;
        }
    }

    /// For whoever must not be silent for long: a broker that asks to be left alone for more than this is sent
    /// to all the same. If it means that, it reads later, and nothing is lost.
    pub(crate) fn heed_throttle_at_most(&self, longest: Duration) {
        self.shared.throttle.lock().heed_at_most(longest);
    }

    /// When a request that is queued now is read at the earliest: a broker may have asked to be left alone
    /// (KIP-219). Limits for answers run from then on.
    pub(crate) fn ready_at(&self, now: Instant) -> Instant {
        self.shared.throttle.lock().until(now).unwrap_or(now)
    }

    /// How long the broker has wanted to be left alone in all. What is added while an answer is waited for
    /// does not count towards its limit.
    pub(crate) fn throttled(&self) -> Duration {
        self.shared.throttle.lock().total()
    }

    /// Queues an encoded request that no response answers; the result comes when it is written.
    ///
    /// One that is not written in time closes the connection, as with [`Connection::call`].
    pub async fn send_only(
        &self,
        body: Bytes,
        api_key: i16,
        version: i16,
        limit: Duration,
    ) -> Result<(), NetError> {
        let written = self.submit(body, api_key, version, false);
        let Some(written) = self.in_time(limit, written).await else {
            self.shared.fail(NetError::Timeout);
            return Err(NetError::Timeout);
        };
        written.unwrap_or(Err(NetError::Closed)).map(|_| ())
    }

    /// Queues an encoded request. Requests are written in the order of these calls.
    pub(crate) fn submit(
        &self,
        body: impl Into<Body>,
        api_key: i16,
        version: i16,
        expects_response: bool,
    ) -> oneshot::Receiver<Result<Bytes, NetError>> {
        let head = Head::Request { api_key, version };
        submit(&self.turns, head, body.into(), expects_response)
    }
}

impl WeakConnection {
    /// The connection; None once it is closed or nobody holds it.
    pub(super) fn upgrade(&self) -> Option<Connection> {
        let turns = self.turns.upgrade()?;
        let connection = Connection {
            shared: self.shared.clone(),
            turns,
        };
        (!connection.is_closed()).then_some(connection)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

/// The answer to a request of an [`Exclusive`] queue.
pub(super) struct Answer<R: Request> {
    shared: Arc<Shared>,
    frame: oneshot::Receiver<Result<Bytes, NetError>>,
    version: i16,
    request: std::marker::PhantomData<fn(R)>,
}

impl<R: Request> Answer<R> {
    /// Waits for the body.
    pub(super) async fn body(self) -> Result<Bytes, NetError> {
        let too_late = |_| Err(self.shared.why_ended());
        let frame = self.frame.await.unwrap_or_else(too_late)?;
        Ok(strip_response_header(frame, R::KEY, self.version)?)
    }

    /// Waits for the response.
    pub(super) async fn response(self) -> Result<R::Response, NetError> {
        let version = self.version;
        Ok(decode_response::<R>(self.body().await?, version)?)
    }
}

impl Exclusive {
    /// Waits until what others have asked is answered. A broker answers in order, and may hold back the answer to a
    /// Fetch or a JoinGroup for long.
    pub(super) async fn settled(&self) -> Result<(), NetError> {
        let (reply, settled) = oneshot::channel();
        let _ = self.turns.send(Turn::Settle(reply));
        match settled.await {
            Ok(()) if !self.shared.has_ended() => Ok(()),
            _ => Err(self.shared.why_ended()),
        }
    }

    /// Queues a request.
    pub(super) fn ask<R: Request>(&self, request: &R, version: i16) -> Result<Answer<R>, NetError> {
        Ok(self.ask_encoded(encode(request, version)?, version))
    }

    /// Queues the body of a request.
    pub(super) fn ask_encoded<R: Request>(&self, body: Bytes, version: i16) -> Answer<R> {
        let head = Head::Request {
            api_key: R::KEY,
            version,
        };
        Answer {
            shared: self.shared.clone(),
            frame: submit(&self.turns, head, body.into(), true),
            version,
            request: std::marker::PhantomData,
        }
    }

    /// Sends bytes with nothing but their length before them, and waits for an answer of that kind.
    pub(super) async fn exchange_bare(&self, bytes: Bytes) -> Result<Bytes, NetError> {
        submit(&self.turns, Head::Bare, bytes.into(), true)
            .await
            .unwrap_or_else(|_| Err(self.shared.why_ended()))
    }

    /// Lends the stream.
    pub(super) fn lend(&self, handshake_version: i16, again: bool, until: Instant) -> Loan {
        // A handshake asks and waits; whoever answers much more than was asked is no broker.
        let (to_broker, written) = mpsc::channel(4);
        let (read, from_broker) = mpsc::channel(16);
        let _ = self.turns.send(Turn::Loan {
            to_broker: written,
            from_broker: read,
        });
        Loan {
            endpoint: self.shared.endpoint.clone(),
            client_id: self.shared.client_id.clone(),
            handshake_version,
            again,
            until,
            session_ms: Arc::default(),
            to_broker,
            from_broker,
        }
    }

    /// The broker's address.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }
}

fn submit(
    turns: &mpsc::UnboundedSender<Turn>,
    head: Head,
    body: Body,
    expects_response: bool,
) -> oneshot::Receiver<Result<Bytes, NetError>> {
    let (reply, answer) = oneshot::channel();
    let request = Outgoing {
        head,
        body,
        expects_response,
        reply,
    };
    // Dropped with the request when the connection is closed, `reply` says that by itself.
    let _ = turns.send(Turn::Request(request));
    answer
}
