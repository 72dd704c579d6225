//! The broker's side of SASL, one connection at a time: PLAIN, SCRAM (RFC 5802) and OAUTHBEARER (RFC 7628),
//! of which tokens are taken as they come, unsigned as in Kafka's own unsecured validator. Pure: the nonce
//! and the time come in.

mod oauthbearer;
mod plain;
mod scram;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::call::Millis;
use scram::{Hash, Scram};

/// A mechanism that the mock speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Scram(Hash),
    OauthBearer,
}

/// Names of all mechanisms.
pub(crate) const MECHANISMS: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

impl Mechanism {
    fn named(name: &str) -> Option<Mechanism> {
        match name {
            "PLAIN" => Some(Mechanism::Plain),
            "SCRAM-SHA-256" => Some(Mechanism::Scram(Hash::Sha256)),
            "SCRAM-SHA-512" => Some(Mechanism::Scram(Hash::Sha512)),
            "OAUTHBEARER" => Some(Mechanism::OauthBearer),
            _ => None,
        }
    }
}

/// What is said to a message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// There is more to come.
    Challenge(Bytes),
    /// The client is who it says.
    Welcome {
        bytes: Bytes,
        principal: String,
        /// How long its credentials are good for; `None` for ever.
        lifetime: Option<Millis>,
    },
    /// It is not; this is what it is told.
    Refused(String),
}

/// A login that is under way.
#[derive(Debug)]
pub(crate) struct Login(State);

#[derive(Debug)]
enum State {
    Begins(Mechanism),
    Scram(Scram),
    /// RFC 7628: the client acknowledges its failure.
    OauthFailed,
    Over,
}

impl Login {
    /// `None` if there is no such mechanism.
    pub(crate) fn new(mechanism: &str) -> Option<Login> {
        Mechanism::named(mechanism).map(|known| Login(State::Begins(known)))
    }

    /// The next message of the client. `passwords` are by user name, and `nonce` is printable and without commas.
    pub(crate) fn message(
        &mut self,
        bytes: &[u8],
        passwords: &BTreeMap<String, String>,
        nonce: &str,
        now: Millis,
    ) -> Reply {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Begins(Mechanism::Plain) => plain::message(bytes, passwords),
            State::Begins(Mechanism::OauthBearer) => {
                let reply = oauthbearer::message(bytes, now);
                if matches!(reply, Reply::Challenge(_)) {
                    self.0 = State::OauthFailed;
                }
                reply
            }
            State::Begins(Mechanism::Scram(hash)) => {
                match Scram::begin(hash, bytes, passwords, nonce) {
                    Some((scram, challenge)) => {
                        self.0 = State::Scram(scram);
                        Reply::Challenge(challenge)
                    }
                    None => refused("SCRAM"),
                }
            }
            State::Scram(scram) => scram.finish(bytes).unwrap_or_else(|| refused("SCRAM")),
            State::OauthFailed => refused("OAUTHBEARER"),
            State::Over => Reply::Refused("The login is over.".into()),
        }
    }
}

fn refused(mechanism: &str) -> Reply {
    // Which of the two is wrong is not said, as Kafka does not.
    Reply::Refused(format!(
        "Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
    ))
}
