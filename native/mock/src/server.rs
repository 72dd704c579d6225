//! Gives each broker of a [`Cluster`] a port on loopback, and drives it: one task a connection, one that keeps
//! the clock.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brod_protocol::frame::{response_head, FrameReader, MAX_FRAME};
use brod_protocol::header::{strip_request_header, RequestHeader};
use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, Notify};
use tokio_util::sync::CancellationToken;

use crate::call::{Connection, Millis};
use crate::cluster::{Applied, Cluster};
use crate::config::Config;
use crate::damage::{damaged, Damaged};
use crate::faults::{Plan, Random};
use crate::tls::{Tls, TlsError};

/// Between two attempts to accept a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// Why a cluster does not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// A port is taken.
    #[error("no port for broker {broker}: {error}")]
    Port {
        /// Whose.
        broker: i32,
        /// What the system says.
        error: io::Error,
    },
    /// There is no certificate.
    #[error("no TLS: {0}")]
    Tls(#[from] TlsError),
}

/// A running cluster. It ends when this is dropped.
pub struct Server {
    shared: Arc<Shared>,
    brokers: Mutex<HashMap<i32, CancellationToken>>,
    tls: Option<Tls>,
    stop: CancellationToken,
}

struct Shared {
    inner: Mutex<Inner>,
    /// That deadlines may have changed.
    changed: Notify,
    clock: Clock,
}

struct Inner {
    cluster: Cluster,
    waiting: HashMap<u64, oneshot::Sender<Bytes>>,
}

struct Clock {
    started: Instant,
    base: Millis,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Clock {
            started: Instant::now(),
            base: since.as_millis() as Millis,
        }
    }

    fn now(&self) -> Millis {
        self.base + self.started.elapsed().as_millis() as Millis
    }
}

impl Server {
    /// Starts a cluster on the current runtime; its brokers accept connections when this returns.
    pub async fn start(config: Config) -> Result<Server, ServerError> {
        let tls = config.tls.as_ref().map(Tls::new).transpose()?;
        let mut listeners = Vec::new();
        for (index, broker) in (1..=config.brokers.max(1)).enumerate() {
            let port = config.ports.get(index).copied().unwrap_or(0);
            let listener = listen(port).await;
            listeners.push(listener.map_err(|error| ServerError::Port { broker, error })?);
        }
        let port = |listener: &TcpListener| listener.local_addr().map_or(0, |at| at.port());
        let ports: Vec<u16> = listeners.iter().map(port).collect();
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                cluster: Cluster::new(config, &ports),
                waiting: HashMap::new(),
            }),
            changed: Notify::new(),
            clock: Clock::new(),
        });
        let server = Server {
            shared: shared.clone(),
            brokers: Mutex::default(),
            tls,
            stop: CancellationToken::new(),
        };
        for (listener, broker) in listeners.into_iter().zip(1..) {
            server.accept(broker, listener);
        }
        let stop = server.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keep_time(&shared) => {}
            }
        });
        Ok(server)
    }

    /// Host and port of each broker, by id.
    pub fn endpoints(&self) -> Vec<(i32, String, u16)> {
        self.with(|cluster, _| cluster.endpoints())
    }

    /// Looks into the cluster or changes it; what it answers to waiting requests goes out.
    pub fn with<T>(&self, f: impl FnOnce(&mut Cluster, Millis) -> T) -> T {
        self.shared.with(f)
    }

    /// The authority that has signed the brokers' certificate, as PEM, where the mock made it.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref()?.ca_pem.as_deref()
    }

    /// A broker's port and connections close; its partitions are led by others, which lack the last messages, so many.
    pub fn stop_broker(&self, broker: i32, lost: u64) {
        if let Some(token) = self.brokers.lock().remove(&broker) {
            token.cancel();
        }
        self.with(|cluster, now| {
            cluster.broker_stopped(broker, lost);
            cluster.tick(now);
        });
    }

    /// A broker that was stopped listens on its port again.
    pub async fn start_broker(&self, broker: i32) -> Result<(), ServerError> {
        if self.brokers.lock().contains_key(&broker) {
            return Ok(());
        }
        let port = self.with(|cluster, _| cluster.port_of(broker)).unwrap_or(0);
        let mut tries = 0;
        let listener = loop {
            match listen(port).await {
                Ok(listener) => break listener,
                // Its old listener is closed by a task that has not run yet.
                Err(_) if tries < 100 => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return Err(ServerError::Port { broker, error }),
            }
            tries += 1;
        };
        self.accept(broker, listener);
        self.with(|cluster, _| cluster.broker_started(broker));
        Ok(())
    }

    fn accept(&self, broker: i32, listener: TcpListener) {
        let stop = self.stop.child_token();
        self.brokers.lock().insert(broker, stop.clone());
        let shared = self.shared.clone();
        let tls = self.tls.as_ref().map(|tls| tls.acceptor.clone());
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = stream else {
                    // Such as no descriptors left: others will be free at some time.
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                };
                // Only a matter of speed.
                _ = stream.set_nodelay(true);
                let (shared, stop, tls) = (shared.clone(), stop.clone(), tls.clone());
                tokio::spawn(async move {
                    let served = async {
                        match tls {
                            Some(tls) => match tls.accept(stream).await {
                                Ok(stream) => serve(&shared, broker, stream).await,
                                Err(error) => {
                                    shared.complain(format!("a TLS handshake: {error}"));
                                    Ok(())
                                }
                            },
                            None => serve(&shared, broker, stream).await,
                        }
                    };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        // That a client is gone is no news.
                        _ = served => {}
                    }
                });
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Cluster, Millis) -> T) -> T {
        self.locked(|inner, now| f(&mut inner.cluster, now))
    }

    /// A request; if it waits, `sender` gets its answer.
    fn apply(
        &self,
        connection: &mut Connection,
        header: &RequestHeader,
        body: Bytes,
        plan: &Plan,
        sender: oneshot::Sender<Bytes>,
    ) -> Applied {
        self.locked(|inner, now| {
            let applied = inner.cluster.apply(connection, header, body, plan, now);
            if let Applied::Later(id) = applied {
                inner.waiting.insert(id, sender);
            }
            applied
        })
    }

    fn complain(&self, why: String) {
        self.with(|cluster, _| cluster.complain(why));
    }

    fn locked<T>(&self, f: impl FnOnce(&mut Inner, Millis) -> T) -> T {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let before = inner.cluster.next_deadline();
        let result = f(&mut inner, now);
        for (id, body) in inner.cluster.take_completed() {
            if let Some(waiting) = inner.waiting.remove(&id) {
                // The connection may be gone.
                _ = waiting.send(body);
            }
        }
        for complaint in inner.cluster.take_fresh_complaints() {
            // Nobody may be reading.
            _ = writeln!(io::stderr(), "brod_mock: {complaint}");
        }
        if inner.cluster.next_deadline() != before {
            self.changed.notify_one();
        }
        result
    }
}

async fn keep_time(shared: &Shared) {
    loop {
        let deadline = shared.inner.lock().cluster.next_deadline();
        let now = shared.clock.now();
        match deadline {
            Some(at) if at <= now => shared.with(|cluster, now| cluster.tick(now)),
            Some(at) => {
                let wait = Duration::from_millis((at - now) as u64);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shared.changed.notified() => {}
                }
            }
            None => shared.changed.notified().await,
        }
    }
}

/// One connection, a request after the other, as brokers do.
async fn serve<S>(shared: &Shared, broker: i32, mut stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = shared.with(|cluster, _| cluster.connected(broker));
    let mut reader = FrameReader::default();
    loop {
        let frame = loop {
            match reader.next_frame(MAX_FRAME) {
                Ok(Some(frame)) => break frame,
                Ok(None) => {}
                Err(error) => {
                    shared.complain(format!("what came is no frame: {error}"));
                    return Ok(());
                }
            }
            if stream.read_buf(reader.space()).await? == 0 {
                return Ok(());
            }
        };
        if !answer(shared, &mut connection, &mut stream, frame).await? {
            return Ok(());
        }
        let muted = connection.muted_until - shared.clock.now();
        wait(muted).await;
    }
}

/// False: the connection ends here.
async fn answer<S>(
    shared: &Shared,
    connection: &mut Connection,
    stream: &mut S,
    frame: Bytes,
) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (header, body) = match strip_request_header(frame) {
        Ok(request) => request,
        Err(error) => {
            shared.complain(format!("a request's header: {error}"));
            return Ok(false);
        }
    };
    let plan = shared.with(|cluster, _| cluster.plan(header.api_key, connection.broker));
    wait(plan.before).await;
    if plan.drop || plan.reset_before {
        return Ok(!plan.reset_before);
    }
    let (sender, waiting) = oneshot::channel();
    let body = match shared.apply(connection, &header, body, &plan, sender) {
        Applied::Answer(body) => body,
        Applied::Later(_) => match waiting.await {
            Ok(body) => body,
            Err(_) => return Ok(false),
        },
        Applied::Never => return Ok(true),
        Applied::Close => return Ok(false),
    };
    let head = response_head(
        header.api_key,
        header.version,
        header.correlation_id,
        body.len(),
    );
    let head = head.map_err(io::Error::other)?;
    wait(plan.after).await;
    if plan.reset_after {
        return Ok(false);
    }
    if plan.corrupt.is_some() || plan.truncate.is_some() {
        let mut frame = [head, body].concat();
        if let Some(byte) = plan.corrupt.and_then(|at| frame.get_mut(at)) {
            *byte = !*byte;
        }
        frame.truncate(plan.truncate.unwrap_or(usize::MAX));
        stream.write_all(&frame).await?;
        stream.flush().await?;
        return Ok(plan.truncate.is_none());
    }
    if let Some(seed) = plan.damage {
        let Damaged { bytes, is_whole } = damaged(&[head, body].concat(), &mut Random::new(seed));
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        return Ok(is_whole);
    }
    let mut both = bytes::Buf::chain(head, body);
    stream.write_all_buf(&mut both).await?;
    stream.flush().await?;
    Ok(true)
}

async fn wait(ms: Millis) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms as u64)).await;
    }
}
