//! Questions to a client's provider process (`brod_sasl_provider`), and their answers.

use std::time::Duration;

use brod_engine::net::sasl::{
    Asked, AwsCredentials, CredentialsError, Login, Reply, SaslError, Secret, Token,
};
use bytes::Bytes;
use parking_lot::Mutex;
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use tokio::sync::oneshot;

use crate::atoms;
use crate::list::List;
use crate::runtime;

/// A question that waits for its answer. Dropped without one, whoever waits learns that there is none.
pub(crate) struct AskResource {
    waiting: Mutex<Option<Waiting>>,
    /// Takes the port of a plugin's socket.
    socket: Mutex<Option<oneshot::Sender<u16>>>,
}

enum Waiting {
    Login(Reply<Login>),
    Token(Reply<Token>),
    Credentials(Reply<AwsCredentials>),
    Assertion(Reply<Secret>),
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

/// The process to ask, and how long it may take.
#[derive(Clone, Copy)]
pub(super) struct Asking {
    /// The provider process.
    pub provider: LocalPid,
    /// The longest that an answer is waited for.
    pub limit: Duration,
}

impl Asking {
    /// User and password.
    pub(super) fn logins(self) -> Asked<Login> {
        self.asked(|env| atoms::login().to_term(env), Waiting::Login)
    }

    /// Tokens for OAUTHBEARER.
    pub(super) fn tokens(self) -> Asked<Token> {
        self.asked(|env| atoms::token().to_term(env), Waiting::Token)
    }

    /// Credentials for AWS.
    pub(super) fn credentials(self) -> Asked<AwsCredentials> {
        self.asked(
            |env| atoms::credentials().to_term(env),
            Waiting::Credentials,
        )
    }

    /// Assertions for a token endpoint.
    pub(super) fn assertions(self) -> Asked<Secret> {
        self.asked(|env| atoms::assertion().to_term(env), Waiting::Assertion)
    }

    fn asked<T: 'static>(
        self,
        question: for<'a> fn(Env<'a>) -> Term<'a>,
        waiting: fn(Reply<T>) -> Waiting,
    ) -> Asked<T> {
        Asked::new(self.limit, move |reply| {
            self.send(new_ask(waiting(reply), None), question);
        })
    }

    /// Asks for the authentication of a connection by a plugin, whose socket `socket` tells.
    pub(super) fn plugin<F>(
        self,
        socket: oneshot::Sender<u16>,
        question: F,
    ) -> oneshot::Receiver<Result<(), SaslError>>
    where
        F: for<'a> FnOnce(Env<'a>) -> Term<'a>,
    {
        let (answer, answered) = oneshot::channel();
        self.send(new_ask(Waiting::Plugin(answer), Some(socket)), question);
        answered
    }

    /// Sends `{brod_sasl, Ask, Question, LimitMs}`.
    fn send<F>(self, ask: Ask, question: F)
    where
        F: for<'a> FnOnce(Env<'a>) -> Term<'a>,
    {
        let limit = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        runtime::send(&self.provider, |env| {
            (atoms::brod_sasl(), ask, question(env), limit).encode(env)
        });
    }
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
        Some(Waiting::Credentials(reply)) => reply.send(given(answer, credentials)?),
        Some(Waiting::Assertion(reply)) => reply.send(given(answer, secret)?),
        Some(Waiting::Plugin(reply)) => {
            let refused = |why: Binary| SaslError::External(Bytes::copy_from_slice(&why));
            let _ = reply.send(answer.map(|_| ()).map_err(refused));
        }
        None => {}
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
    Ok(Login::new(text(user)?, secret(password)?))
}

fn token(term: Term<'_>) -> NifResult<Token> {
    let (value, lifetime_ms, extensions): (Term, u64, List<(Term, Term)>) = term.decode()?;
    Ok(Token {
        value: secret(value)?,
        lifetime: Duration::from_millis(lifetime_ms),
        extensions: pairs(extensions)?,
    })
}

fn credentials(term: Term<'_>) -> NifResult<AwsCredentials> {
    let (id, key, session, lifetime_ms): (Term, Term, Term, Term) = term.decode()?;
    let session_token = optional(session, secret)?;
    let lifetime_ms = optional(lifetime_ms, |term| term.decode())?;
    Ok(AwsCredentials {
        access_key_id: text(id)?,
        secret_access_key: secret(key)?,
        session_token,
        lifetime: lifetime_ms.map(Duration::from_millis),
    })
}

/// None for the atom `undefined`.
fn optional<'a, T>(
    term: Term<'a>,
    decode: impl FnOnce(Term<'a>) -> NifResult<T>,
) -> NifResult<Option<T>> {
    if atoms::undefined() == term {
        return Ok(None);
    }
    decode(term).map(Some)
}

/// Names and values, all of them text.
pub(super) fn pairs(pairs: List<(Term<'_>, Term<'_>)>) -> NifResult<Vec<(String, String)>> {
    pairs
        .into_vec()
        .into_iter()
        .map(|(name, value)| Ok((text(name)?, text(value)?)))
        .collect()
}

/// A binary that is overwritten when it is no longer needed.
pub(super) fn secret(term: Term<'_>) -> NifResult<Secret> {
    Ok(term.decode::<Binary>()?.as_slice().to_vec().into())
}

/// A binary in UTF-8.
pub(super) fn text(term: Term<'_>) -> NifResult<String> {
    let bytes = term.decode::<Binary>()?.as_slice().to_vec();
    String::from_utf8(bytes).map_err(|_| rustler::Error::BadArg)
}
