//! SASL as far as Erlang takes part in it: questions to a client's provider process
//! (`brod_sasl_provider`), and the relay between a plugin's socket and a broker.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::net::sasl::{
    Asked, BoxFuture, CredentialsError, ExternalAuthentication, Loan, Login, LoginFile,
    OauthBearer, Plain, Reply, Sasl, SaslError, Scram, ScramHash, Token,
};
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
    waiting: Mutex<Option<Waiting>>,
    /// Takes the port of a plugin's socket.
    socket: Mutex<Option<oneshot::Sender<u16>>>,
}

enum Waiting {
    Login(Reply<Login>),
    Token(Reply<Token>),
    Plugin(oneshot::Sender<Result<(), SaslError>>),
}

#[rustler::resource_impl]
impl Resource for AskResource {}

type Ask = ResourceArc<AskResource>;

fn new_ask(waiting: Waiting, socket: Option<oneshot::Sender<u16>>) -> Ask {
    ResourceArc::new(AskResource {
        waiting: Mutex::new(Some(waiting)),
        socket: Mutex::new(socket),
    })
}

#[rustler::nif]
fn sasl_answer<'a>(ask: Ask, answer: Term<'a>) -> NifResult<rustler::Atom> {
    let (tag, value): (Term, Term) = answer.decode()?;
    let answer = if atoms::ok() == tag {
        Ok(value)
    } else {
        Err(value.decode::<Binary>()?)
    };
    // The first answer counts. Whoever asked may have given up.
    let waiting = ask.waiting.lock().take();
    match waiting {
        Some(Waiting::Login(reply)) => reply.send(given(answer, login)?),
        Some(Waiting::Token(reply)) => reply.send(given(answer, token)?),
        Some(Waiting::Plugin(reply)) => {
            let refused = |why: Binary| SaslError::External(Bytes::copy_from_slice(&why));
            let _ = reply.send(answer.map(|_| ()).map_err(refused));
        }
        None => {}
    }
    Ok(atoms::ok())
}

fn given<'a, T>(
    answer: Result<Term<'a>, Binary<'a>>,
    decode: impl FnOnce(Term<'a>) -> NifResult<T>,
) -> NifResult<Result<T, CredentialsError>> {
    Ok(match answer {
        Ok(value) => Ok(decode(value)?),
        Err(why) => Err(CredentialsError::None(
            String::from_utf8_lossy(&why).into_owned(),
        )),
    })
}

fn login(term: Term<'_>) -> NifResult<Login> {
    let (user, password): (Term, Term) = term.decode()?;
    Ok(Login::new(text(user)?, bytes(password)?))
}

fn token(term: Term<'_>) -> NifResult<Token> {
    let (value, lifetime_ms, extensions): (Term, u64, Vec<(Term, Term)>) = term.decode()?;
    let extensions = extensions
        .into_iter()
        .map(|(name, value)| Ok((text(name)?, text(value)?)))
        .collect::<NifResult<_>>()?;
    Ok(Token {
        value: bytes(value)?.into(),
        lifetime: Duration::from_millis(lifetime_ms),
        extensions,
    })
}

#[rustler::nif]
fn sasl_socket(ask: Ask, port: u16) -> rustler::Atom {
    if let Some(waiting) = ask.socket.lock().take() {
        let _ = waiting.send(port);
    }
    atoms::ok()
}

/// Decodes the map that `brod_sasl_options` makes. The provider's answers are waited for until `limit`.
pub fn decode(term: Term<'_>, limit: Duration) -> NifResult<Sasl> {
    let map = Options::new(term).ok_or_else(bad)?;
    let provider: LocalPid = map.term("provider").ok_or_else(bad)?.decode()?;
    let mechanism = map.term("mechanism").ok_or_else(bad)?.atom_to_string()?;
    let file = map.term("file").map(text).transpose()?;
    Ok(Sasl::Mechanism(match (mechanism.as_str(), file) {
        ("plain", None) => Arc::new(Plain::new(logins(provider, limit))),
        ("plain", Some(file)) => Arc::new(Plain::new(LoginFile(file.into()))),
        ("scram_sha_256", file) => scram(ScramHash::Sha256, file, provider, limit),
        ("scram_sha_512", file) => scram(ScramHash::Sha512, file, provider, limit),
        ("oauthbearer", _) => Arc::new(OauthBearer::new(Asked::new(limit, move |reply| {
            ask(
                &provider,
                new_ask(Waiting::Token(reply), None),
                limit,
                |env| atoms::token().to_term(env),
            );
        }))),
        ("callback", _) => return Ok(Sasl::External(Arc::new(Plugin { provider }))),
        _ => return Err(bad()),
    }))
}

fn scram(hash: ScramHash, file: Option<String>, provider: LocalPid, limit: Duration) -> Arc<Scram> {
    Arc::new(match file {
        None => Scram::new(hash, logins(provider, limit)),
        Some(file) => Scram::new(hash, LoginFile(file.into())),
    })
}

fn logins(provider: LocalPid, limit: Duration) -> Asked<Login> {
    Asked::new(limit, move |reply| {
        ask(
            &provider,
            new_ask(Waiting::Login(reply), None),
            limit,
            |env| atoms::login().to_term(env),
        );
    })
}

/// Sends `{brod_sasl, Ask, Question, LimitMs}`.
fn ask<F>(provider: &LocalPid, ask: Ask, limit: Duration, question: F)
where
    F: for<'a> FnOnce(Env<'a>) -> Term<'a>,
{
    runtime::send(provider, |env| {
        (atoms::brod_sasl(), ask, question(env), millis(limit)).encode(env)
    });
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
    let until = loan.until;
    let limit = until.saturating_duration_since(Instant::now());
    let question = new_ask(Waiting::Plugin(answer), Some(socket));
    ask(&provider, question, limit, |env| {
        (atoms::auth(), peer(env, &loan, port)).encode(env)
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

fn bytes(term: Term<'_>) -> NifResult<Vec<u8>> {
    Ok(term.decode::<Binary>()?.as_slice().to_vec())
}

fn text(term: Term<'_>) -> NifResult<String> {
    String::from_utf8(bytes(term)?).map_err(|_| bad())
}

fn bad() -> rustler::Error {
    rustler::Error::BadArg
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
