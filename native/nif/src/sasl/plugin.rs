//! The relay between a plugin's socket and a broker.

use std::net::Ipv4Addr;
use std::time::Instant;

use brod_engine::net::sasl::{BoxFuture, ExternalAuthentication, Loan, SaslError};
use bytes::BytesMut;
use rustler::{Encoder, Env, LocalPid, Term};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::ask::Asking;
use crate::atoms;

/// Authenticates by a module of the user.
pub(super) struct Plugin {
    /// The process that runs it.
    pub provider: LocalPid,
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
    let (socket, connected) = oneshot::channel();
    let until = loan.until;
    let asking = Asking {
        provider,
        limit: until.saturating_duration_since(Instant::now()),
    };
    let mut answered = asking.plugin(socket, |env| {
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

fn no_relay(error: std::io::Error) -> SaslError {
    failed(&format!("no socket for it: {error}"))
}

fn failed(why: &str) -> SaslError {
    SaslError::NoCredentials {
        mechanism: "the plugin".into(),
        why: why.into(),
    }
}
