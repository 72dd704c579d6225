//! SASL as far as Erlang takes part in it: questions to a client's provider process
//! (`brod_sasl_provider`), and the relay between a plugin's socket and a broker.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::net::sasl::{BoxFuture, ExternalAuthentication, Loan, Sasl, SaslError};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::atoms;
use crate::options::Options;
use crate::runtime;

/// A question that waits for its answer. Dropped without one, whoever waits learns that there is none.
pub struct AskResource {
    answer: Mutex<Option<oneshot::Sender<Result<(), SaslError>>>>,
    /// Takes the port of a plugin's socket.
    socket: Mutex<Option<oneshot::Sender<u16>>>,
}

#[rustler::resource_impl]
impl Resource for AskResource {}

type Ask = ResourceArc<AskResource>;

#[rustler::nif]
fn sasl_answer<'a>(ask: Ask, answer: Term<'a>) -> NifResult<rustler::Atom> {
    let (tag, value): (Term, Term) = answer.decode()?;
    let waiting = ask.answer.lock().take();
    if let Some(waiting) = waiting {
        let result = if atoms::ok() == tag {
            Ok(())
        } else {
            let why: Binary = value.decode()?;
            Err(SaslError::External(Bytes::copy_from_slice(&why)))
        };
        // Whoever asked may have given up.
        let _ = waiting.send(result);
    }
    Ok(atoms::ok())
}

#[rustler::nif]
fn sasl_socket(ask: Ask, port: u16) -> rustler::Atom {
    if let Some(waiting) = ask.socket.lock().take() {
        let _ = waiting.send(port);
    }
    atoms::ok()
}

/// Decodes the map that `brod_sasl_options` makes.
pub fn decode(term: Term<'_>) -> NifResult<Sasl> {
    let map = Options::new(term).ok_or(rustler::Error::BadArg)?;
    let provider: LocalPid = map
        .term("provider")
        .ok_or(rustler::Error::BadArg)?
        .decode()?;
    Ok(Sasl::External(Arc::new(Plugin { provider })))
}

/// Authenticates by a module of the user.
struct Plugin {
    provider: LocalPid,
}

impl ExternalAuthentication for Plugin {
    fn authenticate<'a>(&'a self, loan: Loan) -> BoxFuture<'a, Result<(), SaslError>> {
        Box::pin(authenticate(self.provider, loan))
    }
}

async fn authenticate(provider: LocalPid, mut loan: Loan) -> Result<(), SaslError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(no_relay)?;
    let port = listener.local_addr().map_err(no_relay)?.port();
    let (answer, mut answered) = oneshot::channel();
    let (socket, connected) = oneshot::channel();
    let ask = ResourceArc::new(AskResource {
        answer: Mutex::new(Some(answer)),
        socket: Mutex::new(Some(socket)),
    });
    let until = loan.until;
    let limit = until.saturating_duration_since(Instant::now());
    runtime::send(&provider, |env| {
        let peer = peer(env, &loan, port);
        let question = (atoms::auth(), peer);
        (atoms::brod_sasl(), ask, question, millis(limit)).encode(env)
    });
    let plugin = async {
        tokio::select! {
            biased;
            answer = &mut answered => answer,
            // What the plugin makes of the end of its socket is the answer.
            () = relay(listener, connected, &mut loan) => answered.await,
        }
    };
    match tokio::time::timeout_at(until.into(), plugin).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(failed("the process that runs it is gone")),
        Err(_) => Err(failed("it did not end in time")),
    }
}

fn peer<'a>(env: Env<'a>, loan: &Loan, port: u16) -> Term<'a> {
    Term::map_from_arrays(
        env,
        &[
            atoms::host().to_term(env),
            atoms::port().to_term(env),
            atoms::handshake_version().to_term(env),
            atoms::client_id().to_term(env),
        ],
        &[
            loan.endpoint.host.as_str().encode(env),
            port.encode(env),
            loan.handshake_version.encode(env),
            loan.client_id.as_str().encode(env),
        ],
    )
    .unwrap_or_else(|_| atoms::undefined().to_term(env))
}

/// Carries bytes between the broker and the one socket that comes from the port that `connected` tells.
/// Whoever else connects is sent away: a port of loopback is open to all processes of the machine.
async fn relay(listener: TcpListener, connected: oneshot::Receiver<u16>, loan: &mut Loan) {
    let Ok(expected) = connected.await else {
        return;
    };
    let Some(mut socket) = accept(listener, expected).await else {
        return;
    };
    let _ = socket.set_nodelay(true);
    let (mut from_plugin, mut to_plugin) = socket.split();
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        tokio::select! {
            read = from_plugin.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) || !loan.send(buffer.split().freeze()).await {
                    return;
                }
            }
            frame = loan.receive() => {
                let Some(frame) = frame else { return };
                if to_plugin.write_all(&frame).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn accept(listener: TcpListener, expected: u16) -> Option<TcpStream> {
    loop {
        let (socket, from) = listener.accept().await.ok()?;
        if from.port() == expected {
            return Some(socket);
        }
    }
}

fn millis(limit: Duration) -> u64 {
    limit.as_millis().try_into().unwrap_or(u64::MAX)
}

fn no_relay(error: std::io::Error) -> SaslError {
    failed(&format!("no socket for it: {error}"))
}

fn failed(why: &str) -> SaslError {
    SaslError::NoCredentials {
        mechanism: "the plugin".into(),
        why: why.into(),
    }
}
