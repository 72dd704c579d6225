//! Connections of users' own: one broker, requests that they have encoded, answers as they came.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use brod_engine::net::{ConnectOptions, Connection, Endpoint, NetError};
use brod_engine::tasks::boxed;
use brod_protocol::ApiVersions;
use bytes::Bytes;
use parking_lot::Mutex;
use rustler::env::SavedTerm;
use rustler::{
    Atom, Binary, Encoder, Env, LocalPid, Monitor, NifResult, OwnedEnv, Resource, ResourceArc, Term,
};
use tokio::sync::mpsc;

use crate::answers::binary;
use crate::client::Client;
use crate::ops::LONGEST;
use crate::runtime::{self, Asker};
use crate::{atoms, reason};

/// As Erlang holds it. It closes with its owner.
pub(crate) struct ConnectionResource {
    /// None once it is closed.
    requests: Mutex<Option<mpsc::UnboundedSender<Ask>>>,
}

#[rustler::resource_impl]
impl Resource for ConnectionResource {
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.requests.lock().take();
    }
}

type Handle = ResourceArc<ConnectionResource>;

/// A request on its way to the connection's task.
struct Ask {
    api_key: i16,
    version: i16,
    /// Kept as a term: who sends it does not wait until it is copied.
    body: (OwnedEnv, SavedTerm),
    expects_response: bool,
    limit: Duration,
    asker: Asker,
}

impl Ask {
    fn body(&self) -> Option<Bytes> {
        let (env, saved) = &self.body;
        env.run(|env| {
            let body: Binary = saved.load(env).decode().ok()?;
            Some(Bytes::copy_from_slice(&body))
        })
    }
}

/// `{Handle, Ref}`; the answer is `{ok, [{ApiKey, Oldest, Newest}]} | {error, R}`. Requests may be sent at once.
#[rustler::nif]
fn connection_open<'a>(
    env: Env<'a>,
    client: Client,
    host: Binary<'a>,
    port: u16,
) -> NifResult<Term<'a>> {
    let host = std::str::from_utf8(&host).map_err(|_| rustler::Error::BadArg)?;
    let endpoint = Endpoint {
        host: host.to_owned(),
        port,
    };
    let runtime = runtime::handle().ok_or(rustler::Error::BadArg)?;
    let (requests, queue) = mpsc::unbounded_channel();
    let handle = ResourceArc::new(ConnectionResource {
        requests: Mutex::new(Some(requests)),
    });
    if env.monitor(&handle, &env.pid()).is_none() {
        return Err(rustler::Error::BadArg);
    }
    let (asker, reference) = Asker::new(env);
    let owner = (env.pid(), handle.clone());
    runtime.spawn(boxed(async move {
        drive(client, endpoint, queue, asker).await;
        let (owner, handle) = owner;
        handle.requests.lock().take();
        runtime::send(&owner, |env| {
            (atoms::brod_connection_closed(), handle).encode(env)
        });
    }));
    Ok((handle, reference).encode(env))
}

/// `Ref`; the answer is `{ok, Body} | {error, R}`. The limit closes the connection: answers come in order.
#[rustler::nif]
fn connection_request<'a>(
    env: Env<'a>,
    handle: Handle,
    (api_key, version): (i16, i16),
    body: Term<'a>,
    expects_response: bool,
    limit_ms: u64,
) -> NifResult<Term<'a>> {
    if !body.is_binary() {
        return Err(rustler::Error::BadArg);
    }
    let own = OwnedEnv::new();
    let saved = own.save(body);
    let (asker, reference) = Asker::new(env);
    let ask = Ask {
        api_key,
        version,
        body: (own, saved),
        expects_response,
        limit: Duration::from_millis(limit_ms).min(LONGEST),
        asker,
    };
    let requests = handle.requests.lock();
    match requests.as_ref().map(|requests| requests.send(ask)) {
        Some(Ok(())) => Ok(reference),
        Some(Err(_)) | None => Ok((atoms::error(), atoms::closed()).encode(env)),
    }
}

#[rustler::nif]
fn connection_close(handle: Handle) -> Atom {
    handle.requests.lock().take();
    atoms::ok()
}

async fn drive(
    client: Client,
    endpoint: Endpoint,
    mut queue: mpsc::UnboundedReceiver<Ask>,
    opened: Asker,
) {
    let options: &ConnectOptions = &client.cluster.config().connect;
    let closed = client.cluster.closed();
    let result = tokio::select! {
        _ = closed.cancelled() => Err(NetError::Closed),
        result = Connection::open(&endpoint, options) => result,
    };
    let connection = match result {
        Ok(connection) => connection,
        Err(error) => {
            opened.reply(|env| (atoms::error(), reason::net(env, &error)).encode(env));
            return refuse(queue, &error).await;
        }
    };
    opened.reply(|env| (atoms::ok(), versions(connection.versions())).encode(env));
    let (sent, answers) = mpsc::unbounded_channel();
    tokio::spawn(boxed(pass_on(answers)));
    loop {
        tokio::select! {
            _ = closed.cancelled() => break,
            _ = connection.wait_closed() => break,
            ask = queue.recv() => match ask {
                Some(ask) => send(&connection, ask, &sent).await,
                None => break,
            },
        }
    }
    connection.close();
    refuse(queue, &NetError::Closed).await;
}

/// Answers what nobody has sent.
async fn refuse(mut queue: mpsc::UnboundedReceiver<Ask>, error: &NetError) {
    queue.close();
    while let Some(ask) = queue.recv().await {
        answer(ask.asker, Err(error.clone()));
    }
}

type Exchange = Pin<Box<dyn Future<Output = Result<Bytes, NetError>> + Send>>;

/// Answers come in the order of their requests, and go to Erlang in that order.
async fn pass_on(mut answers: mpsc::UnboundedReceiver<(Asker, Exchange)>) {
    while let Some((asker, exchange)) = answers.recv().await {
        answer(asker, exchange.await);
    }
}

/// Written before the next one is; the answer is waited for beside.
async fn send(connection: &Connection, ask: Ask, sent: &mpsc::UnboundedSender<(Asker, Exchange)>) {
    let (key, version) = (ask.api_key, ask.version);
    let Some(body) = ask.body() else {
        return;
    };
    if ask.expects_response {
        let exchange = connection.exchange_within(body, key, version, ask.limit);
        // The other end goes only after this one.
        let _ = sent.send((ask.asker, Box::pin(exchange)));
    } else {
        let written = connection.send_only(body, key, version, ask.limit).await;
        answer(ask.asker, written.map(|()| Bytes::new()));
    }
}

fn answer(asker: Asker, result: Result<Bytes, NetError>) {
    asker.reply(|env| match &result {
        Ok(body) => (atoms::ok(), binary(env, body)).encode(env),
        Err(error) => (atoms::error(), reason::net(env, error)).encode(env),
    });
}

fn versions(versions: &ApiVersions) -> Vec<(i16, i16, i16)> {
    versions
        .ranges()
        .map(|(key, (oldest, newest))| (key, oldest, newest))
        .collect()
}
