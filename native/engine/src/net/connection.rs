//! One TCP connection to one broker: a writer task, a reader task, requests pipelined in between.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest};
use kafka_protocol::protocol::{Request, StrBytes};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use brod_protocol::frame::{request_head, FrameReader};
use brod_protocol::header::strip_response_header;
use brod_protocol::{decode_response, encode, ApiVersions};

use super::{ConnectOptions, Endpoint, NetError};

type Reply = oneshot::Sender<Result<Bytes, NetError>>;

struct Outgoing {
    api_key: i16,
    version: i16,
    body: Bytes,
    /// False for Produce with acks 0: `reply` is told once the request is written.
    expects_response: bool,
    reply: Reply,
}

struct Pending {
    correlation_id: i32,
    reply: Reply,
}

struct Shared {
    endpoint: Endpoint,
    client_id: String,
    versions: OnceLock<ApiVersions>,
    round_trip: OnceLock<Duration>,
    /// Requests on the wire, in order: a broker answers in the order of the requests.
    pending: Mutex<VecDeque<Pending>>,
    closed: CancellationToken,
    failed: AtomicBool,
}

impl Shared {
    fn fail(&self, error: NetError) {
        // The flag goes up under the lock, so that no request slips in behind the last drain.
        let waiting = {
            let mut pending = self.pending.lock();
            self.failed.store(true, Ordering::Release);
            std::mem::take(&mut *pending)
        };
        self.closed.cancel();
        for request in waiting {
            let _ = request.reply.send(Err(error.clone()));
        }
    }
}

/// Fails the connection when one of its tasks ends, however it ends.
struct FailOnDrop(Arc<Shared>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.fail(NetError::Closed);
    }
}

/// A handle to an open connection. Clones share it; it closes when the last one is dropped, when
/// [`Connection::close`] is called, or when either side fails.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

impl Connection {
    /// Connects, and asks for the broker's API versions unless told not to.
    ///
    /// `options.connect_timeout` bounds all of it: name lookup, TCP and the version query.
    pub async fn open(endpoint: &Endpoint, options: &ConnectOptions) -> Result<Self, NetError> {
        match timeout(
            options.connect_timeout,
            Self::open_unbounded(endpoint, options),
        )
        .await
        {
            Ok(result) => result,
            Err(_) => Err(NetError::Timeout),
        }
    }

    async fn open_unbounded(
        endpoint: &Endpoint,
        options: &ConnectOptions,
    ) -> Result<Self, NetError> {
        let stream = tcp_connect(endpoint, options).await?;
        let (read_half, write_half) = stream.into_split();
        let (outgoing, requests) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            endpoint: endpoint.clone(),
            client_id: options.client_id.clone(),
            versions: OnceLock::new(),
            round_trip: OnceLock::new(),
            pending: Mutex::new(VecDeque::new()),
            closed: CancellationToken::new(),
            failed: AtomicBool::new(false),
        });
        tokio::spawn(write_loop(write_half, requests, shared.clone()));
        tokio::spawn(read_loop(read_half, shared.clone()));
        let connection = Connection { shared, outgoing };
        let versions = if options.query_api_versions {
            connection.query_versions().await?
        } else {
            ApiVersions::default()
        };
        // Nobody else holds the connection yet, so this is the first value.
        let _ = connection.shared.versions.set(versions);
        Ok(connection)
    }

    async fn query_versions(&self) -> Result<ApiVersions, NetError> {
        const UNSUPPORTED_VERSION: i16 = 35;
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("brod"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let asked = Instant::now();
        let body = self
            .exchange(encode(&request, 3)?, ApiKey::ApiVersions as i16, 3)
            .await?;
        let _ = self.shared.round_trip.set(asked.elapsed());
        // A broker that does not know version 3 says so in the shape of version 0.
        let response = match decode_response::<ApiVersionsRequest>(body.clone(), 3) {
            Ok(response) if response.error_code == 0 => response,
            _ => {
                let old = decode_response::<ApiVersionsRequest>(body, 0).map_err(not_kafka)?;
                if old.error_code != UNSUPPORTED_VERSION {
                    return Err(NetError::NotKafka(format!(
                        "it answers the version query with error {}",
                        old.error_code
                    )));
                }
                let request = encode(&ApiVersionsRequest::default(), 0)?;
                let body = self
                    .exchange(request, ApiKey::ApiVersions as i16, 0)
                    .await?;
                decode_response::<ApiVersionsRequest>(body, 0).map_err(not_kafka)?
            }
        };
        Ok(ApiVersions::from_response(&response))
    }

    /// The broker's address as it was connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
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
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Waits until the connection is closed, by either side.
    pub async fn wait_closed(&self) {
        self.shared.closed.cancelled().await
    }

    /// Closes at once; requests under way fail with [`NetError::Closed`].
    pub fn close(&self) {
        self.shared.fail(NetError::Closed);
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
        let answer = match timeout(limit, self.exchange(body, R::KEY, version)).await {
            Ok(answer) => answer?,
            Err(_) => {
                self.shared.fail(NetError::Timeout);
                return Err(NetError::Timeout);
            }
        };
        decode_response::<R>(answer, version)
            .map_err(NetError::from)
            .inspect_err(|error| self.shared.fail(error.clone()))
    }

    /// Sends an encoded request body and waits for the body of the answer, without a time limit.
    pub async fn exchange(
        &self,
        body: Bytes,
        api_key: i16,
        version: i16,
    ) -> Result<Bytes, NetError> {
        let frame = self
            .submit(body, api_key, version, true)
            .await
            .unwrap_or(Err(NetError::Closed))?;
        Ok(strip_response_header(frame, api_key, version)?)
    }

    /// Queues an encoded request that no response answers; the result comes when it is written.
    pub async fn send_only(&self, body: Bytes, api_key: i16, version: i16) -> Result<(), NetError> {
        self.submit(body, api_key, version, false)
            .await
            .unwrap_or(Err(NetError::Closed))
            .map(|_| ())
    }

    /// Queues an encoded request. Requests are written in the order of these calls.
    pub(crate) fn submit(
        &self,
        body: Bytes,
        api_key: i16,
        version: i16,
        expects_response: bool,
    ) -> oneshot::Receiver<Result<Bytes, NetError>> {
        let (reply, answer) = oneshot::channel();
        let request = Outgoing {
            api_key,
            version,
            body,
            expects_response,
            reply,
        };
        if let Err(mpsc::error::SendError(request)) = self.outgoing.send(request) {
            let _ = request.reply.send(Err(NetError::Closed));
        }
        answer
    }
}

fn not_kafka(error: impl std::fmt::Display) -> NetError {
    NetError::NotKafka(format!(
        "its answer to the version query does not parse: {error}"
    ))
}

async fn tcp_connect(endpoint: &Endpoint, options: &ConnectOptions) -> Result<TcpStream, NetError> {
    let addresses = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|_| NetError::HostNotFound)?;
    let mut last = NetError::HostNotFound;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let socket = socket2::SockRef::from(&stream);
                socket.set_keepalive(true)?;
                if let Some(size) = options.socket.send_buffer {
                    socket.set_send_buffer_size(size)?;
                }
                if let Some(size) = options.socket.receive_buffer {
                    socket.set_recv_buffer_size(size)?;
                }
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

async fn write_loop(
    mut socket: OwnedWriteHalf,
    mut requests: mpsc::UnboundedReceiver<Outgoing>,
    shared: Arc<Shared>,
) {
    let _guard = FailOnDrop(shared.clone());
    let mut correlation_id = 0i32;
    loop {
        let request = tokio::select! {
            biased;
            _ = shared.closed.cancelled() => break,
            request = requests.recv() => match request {
                Some(request) => request,
                None => break,
            },
        };
        correlation_id = correlation_id.wrapping_add(1);
        let head = request_head(
            request.api_key,
            request.version,
            correlation_id,
            &shared.client_id,
            request.body.len(),
        );
        let head = match head {
            Ok(head) => head,
            Err(error) => {
                let _ = request.reply.send(Err(error.into()));
                continue;
            }
        };
        let mut written = None;
        if request.expects_response {
            let mut pending = shared.pending.lock();
            if shared.failed.load(Ordering::Acquire) {
                let _ = request.reply.send(Err(NetError::Closed));
                break;
            }
            pending.push_back(Pending {
                correlation_id,
                reply: request.reply,
            });
        } else {
            written = Some(request.reply);
        }
        let result = tokio::select! {
            _ = shared.closed.cancelled() => Err(NetError::Closed),
            result = write_frame(&mut socket, head, request.body) => result.map_err(NetError::from),
        };
        if let Some(reply) = written {
            let _ = reply.send(result.clone().map(|()| Bytes::new()));
        }
        if let Err(error) = result {
            shared.fail(error);
            break;
        }
    }
    shared.fail(NetError::Closed);
    // Requests that were queued but never written are told as well.
    requests.close();
    while let Ok(request) = requests.try_recv() {
        let _ = request.reply.send(Err(NetError::Closed));
    }
}

async fn write_frame(socket: &mut OwnedWriteHalf, head: Bytes, body: Bytes) -> std::io::Result<()> {
    let mut frame = head.chain(body);
    socket.write_all_buf(&mut frame).await
}

async fn read_loop(mut socket: OwnedReadHalf, shared: Arc<Shared>) {
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

fn deliver(frames: &mut FrameReader, shared: &Shared) -> Result<(), NetError> {
    while let Some(frame) = frames.next_frame()? {
        let correlation_id = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        let Some(request) = shared.pending.lock().pop_front() else {
            return Err(NetError::NotKafka("it answers what was not asked".into()));
        };
        if request.correlation_id != correlation_id {
            let error = NetError::NotKafka("it answers out of order".into());
            let _ = request.reply.send(Err(error.clone()));
            return Err(error);
        }
        let _ = request.reply.send(Ok(frame));
    }
    Ok(())
}
