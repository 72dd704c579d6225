//! Errors of the engine as Erlang terms: the one place where they are converted.

use brod_engine::error::Error;
use brod_engine::net::sasl::SaslError;
use brod_engine::net::{Endpoint, FileError, NetError};
use brod_engine::producer::{Cause, Failure};
use brod_protocol::error::ErrorCode;
use rustler::types::atom::Atom;
use rustler::{Encoder, Env, Term};

use crate::atoms;

/// Kafka's error code as the atom that brod's users match; a number for codes newer than this
/// client.
pub(crate) fn code(env: Env<'_>, code: ErrorCode) -> Term<'_> {
    match brod_protocol::error::name(code.0) {
        Some(name) => Atom::from_str(env, name).map_or_else(
            |_| atoms::undefined().to_term(env),
            |atom| atom.to_term(env),
        ),
        None => code.0.encode(env),
    }
}

/// Why a connection failed, in the terms of `inet`.
pub(crate) fn net<'a>(env: Env<'a>, error: &NetError) -> Term<'a> {
    match error {
        NetError::Refused => atoms::econnrefused().to_term(env),
        NetError::HostNotFound => atoms::nxdomain().to_term(env),
        NetError::Timeout => atoms::timeout().to_term(env),
        NetError::Closed => atoms::closed().to_term(env),
        NetError::NotKafka(text) => (atoms::not_kafka(), text.as_str()).encode(env),
        NetError::UnsupportedApi { api } => (atoms::unsupported_api(), api.as_str()).encode(env),
        NetError::Protocol(text) => (atoms::protocol_error(), text.as_str()).encode(env),
        NetError::NotAnswered { api, cause } => (request(env, api), net(env, cause)).encode(env),
        NetError::Tls(why) => crate::tls::reason(env, why),
        NetError::Sasl(why) => sasl(env, why),
        NetError::Io { kind, code } => match inet(*kind, *code) {
            Some(name) => Atom::from_str(env, name)
                .map_or_else(|_| atoms::io_error().to_term(env), |atom| atom.to_term(env)),
            None => (atoms::io_error(), error.to_string()).encode(env),
        },
    }
}

/// An error of the operating system as `inet` calls it. By their numbers those that all systems share, and that Rust
/// has no name for or one name for two.
fn inet(kind: std::io::ErrorKind, code: Option<i32>) -> Option<&'static str> {
    use std::io::ErrorKind::*;
    let name = match (kind, code) {
        (_, Some(1)) => "eperm",
        (_, Some(13)) => "eacces",
        (_, Some(19)) => "enodev",
        (_, Some(22)) => "einval",
        (_, Some(23)) => "enfile",
        (_, Some(24)) => "emfile",
        (WouldBlock, _) => "eagain",
        (HostUnreachable, _) => "ehostunreach",
        (NetworkUnreachable, _) => "enetunreach",
        (NetworkDown, _) => "enetdown",
        (AddrNotAvailable, _) => "eaddrnotavail",
        (AddrInUse, _) => "eaddrinuse",
        (OutOfMemory, _) => "enomem",
        _ => return None,
    };
    Some(name)
}

/// Why a client could not prove who it is (contract 9b).
fn sasl<'a>(env: Env<'a>, error: &SaslError) -> Term<'a> {
    let why = match error {
        SaslError::External(term) => return plugin(env, term),
        SaslError::File { path, why, .. } => {
            let path = string(env, &path.to_string_lossy());
            let keys = [atoms::file().to_term(env), atoms::reason().to_term(env)];
            return Term::map_from_arrays(env, &keys, &[path, posix(env, *why)])
                .unwrap_or_else(|_| atoms::enoent().to_term(env));
        }
        SaslError::Refused {
            message: Some(text),
            ..
        } => text.as_str().encode(env),
        SaslError::Refused { code: kafka, .. } => code(env, *kafka),
        SaslError::Unsupported { .. } => code(env, ErrorCode::UNSUPPORTED_SASL_MECHANISM),
        other => other.to_string().encode(env),
    };
    (atoms::sasl_auth_error(), why).encode(env)
}

/// What a plugin failed with: a term that `brod_sasl_provider` has made.
fn plugin<'a>(env: Env<'a>, term: &[u8]) -> Term<'a> {
    env.binary_to_term(term)
        .map_or_else(|| atoms::undefined().to_term(env), |(term, _)| term)
}

/// A request as brod's connection names it in its errors: the record `kpro_req`.
fn request<'a>(env: Env<'a>, api: &str) -> Term<'a> {
    let api = Atom::from_str(env, api).map_or_else(
        |_| atoms::undefined().to_term(env),
        |atom| atom.to_term(env),
    );
    let empty: [Term; 0] = [];
    (atoms::kpro_req(), env.make_ref(), api, 0, false, &empty[..]).encode(env)
}

/// Why a file cannot be used, in the atoms of Erlang's `file`.
pub(crate) fn posix(env: Env<'_>, why: FileError) -> Term<'_> {
    use std::io::ErrorKind::*;
    match why.kind {
        NotFound => atoms::enoent().to_term(env),
        PermissionDenied => atoms::eacces().to_term(env),
        IsADirectory => atoms::eisdir().to_term(env),
        NotADirectory => atoms::enotdir().to_term(env),
        FileTooLarge => atoms::efbig().to_term(env),
        TimedOut => atoms::etimedout().to_term(env),
        other => match inet(other, why.code).and_then(|name| Atom::from_str(env, name).ok()) {
            Some(name) => name.to_term(env),
            None => (atoms::io_error(), format!("{other:?}")).encode(env),
        },
    }
}

/// `[{Host :: string(), Port, Reason}]`
pub(crate) fn endpoints<'a>(env: Env<'a>, failures: &[(Endpoint, NetError)]) -> Term<'a> {
    let tried: Vec<Term> = failures
        .iter()
        .map(|(endpoint, error)| (string(env, &endpoint.host), endpoint.port, net(env, error)))
        .map(|failure| failure.encode(env))
        .collect();
    tried.encode(env)
}

/// An Erlang string: a list of bytes.
pub(crate) fn string<'a>(env: Env<'a>, text: &str) -> Term<'a> {
    text.bytes()
        .collect::<Vec<u8>>()
        .iter()
        .map(|byte| *byte as u32)
        .collect::<Vec<u32>>()
        .encode(env)
}

/// An operation's error: the `R` of `{error, R}`.
pub(crate) fn error<'a>(env: Env<'a>, error: &Error) -> Term<'a> {
    match error {
        Error::Kafka { code: kafka, .. } => code(env, *kafka),
        Error::Unreachable(failures) => endpoints(env, failures),
        Error::Net(failure) => net(env, failure),
        Error::Timeout => atoms::timeout().to_term(env),
        Error::Closed => atoms::closed().to_term(env),
        Error::CorruptBatch(_) => atoms::corrupt_message().to_term(env),
    }
}

/// Why a producer's calls fail, and what its process exits with (contract section 8).
pub(crate) fn failure<'a>(env: Env<'a>, why: &Failure, topic: &str, partition: i32) -> Term<'a> {
    match why {
        Failure::NotRetriable(kafka) => {
            let detail = (
                atoms::produce_response_error(),
                topic,
                partition,
                -1,
                code(env, *kafka),
            );
            (atoms::not_retriable(), detail).encode(env)
        }
        Failure::RetriesUsedUp(why) => (
            atoms::reached_max_retries(),
            cause(env, why, topic, partition),
        )
            .encode(env),
        Failure::DeliveryTimeout(why) => {
            let why = match why {
                Some(why) => cause(env, why, topic, partition),
                None => atoms::undefined().to_term(env),
            };
            (atoms::delivery_timeout(), why).encode(env)
        }
        Failure::Codec(text) => (atoms::encoding_failed(), text.as_str()).encode(env),
        Failure::TransactionTimedOut => atoms::transaction_timed_out().to_term(env),
        // A producer that its process closes says itself why.
        Failure::Closed => atoms::client_down().to_term(env),
    }
}

fn cause<'a>(env: Env<'a>, cause: &Cause, topic: &str, partition: i32) -> Term<'a> {
    match cause {
        Cause::Code(kafka) => (
            atoms::produce_response_error(),
            topic,
            partition,
            -1,
            code(env, *kafka),
        )
            .encode(env),
        Cause::Net(error) => net(env, error),
    }
}
