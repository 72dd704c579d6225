//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677): the password stays here, and the server has to
//! show that it knows it too.

mod hash;
mod message;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use parking_lot::Mutex;

use super::{BoxFuture, Exchange, Login, Mechanism, Provider, SaslError, Secret, Step};
use crate::net::Endpoint;
pub use hash::ScramHash;
use hash::{Key, Keys};
use message::{escape, ServerFinal, ServerFirst};

/// A message of a server is shorter than this.
const CHALLENGE_LIMIT: usize = 16 * 1024;

/// SCRAM with one of two hashes. User and password count as they were typed, without the SASLprep of RFC 4013: so Kafka's own
/// tools store them, and its clients send them (ADR 22).
pub struct Scram {
    hash: ScramHash,
    logins: Arc<dyn Provider<Login>>,
    memory: Arc<Memory>,
}

impl Scram {
    /// With user and password from `logins`.
    pub fn new(hash: ScramHash, logins: impl Provider<Login> + 'static) -> Self {
        Scram {
            hash,
            logins: Arc::new(logins),
            memory: Arc::default(),
        }
    }

    fn exchange(&self, login: Login, nonce: String) -> ScramExchange {
        ScramExchange {
            hash: self.hash,
            login,
            nonce,
            state: State::Start,
            memory: self.memory.clone(),
        }
    }
}

impl Mechanism for Scram {
    fn name(&self) -> &str {
        self.hash.mechanism()
    }

    fn start<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Exchange>, SaslError>> {
        Box::pin(async {
            let login = self.logins.provide().await;
            let login = login.map_err(|error| error.of(self.name()))?;
            let nonce = STANDARD.encode(rand::random::<[u8; 24]>());
            Ok(Box::new(self.exchange(login, nonce)) as Box<dyn Exchange>)
        })
    }
}

/// The keys of the last password, so that only the first connection of a client derives them.
#[derive(Default)]
struct Memory(Mutex<Option<Derived>>);

/// Keys with all that they were derived from.
struct Derived {
    hash: ScramHash,
    password: Secret,
    salt: Vec<u8>,
    iterations: u32,
    keys: Keys,
}

impl Memory {
    fn keys(&self, hash: ScramHash, password: &Secret, first: &ServerFirst) -> Keys {
        let (salt, iterations) = (&first.salt, first.iterations);
        let found = self.0.lock().as_ref().and_then(|last| {
            let same = last.hash == hash
                && last.iterations == iterations
                && last.salt == *salt
                && last.password == *password;
            same.then(|| last.keys.clone())
        });
        found.unwrap_or_else(|| {
            let keys = Keys::derive(hash, password.expose(), salt, iterations);
            *self.0.lock() = Some(Derived {
                hash,
                password: password.clone(),
                salt: salt.clone(),
                iterations,
                keys: keys.clone(),
            });
            keys
        })
    }
}

enum State {
    Start,
    /// The client has said its nonce.
    Greeted,
    /// The client has proven itself; the server has to, with this key.
    Proven {
        server_key: Key,
        auth_message: String,
    },
    Done,
}

struct ScramExchange {
    hash: ScramHash,
    login: Login,
    nonce: String,
    state: State,
    memory: Arc<Memory>,
}

impl Exchange for ScramExchange {
    fn next(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        if challenge.len() > CHALLENGE_LIMIT {
            return Err(self.bad("it says more than anybody has to say"));
        }
        let challenge = std::str::from_utf8(challenge).map_err(|_| self.bad("it is not UTF-8"))?;
        match std::mem::replace(&mut self.state, State::Done) {
            State::Start => {
                self.state = State::Greeted;
                Ok(Step::token(format!("n,,{}", self.first_bare()).into()))
            }
            State::Greeted => self.prove(challenge),
            State::Proven {
                server_key,
                auth_message,
            } => self.check(challenge, &server_key, &auth_message),
            State::Done => Err(self.bad("it says more than the exchange has")),
        }
    }
}

impl ScramExchange {
    fn first_bare(&self) -> String {
        format!("n={},r={}", escape(&self.login.user), self.nonce)
    }

    fn prove(&mut self, challenge: &str) -> Result<Step, SaslError> {
        let first = ServerFirst::parse(challenge, &self.nonce).map_err(|why| self.bad(why))?;
        let keys = self.memory.keys(self.hash, &self.login.password, &first);
        // "biws" is base64 of the header "n,,": no channel binding.
        let without_proof = format!("c=biws,r={}", first.nonce);
        let auth_message = format!("{},{challenge},{without_proof}", self.first_bare());
        let proof = keys.client_proof(self.hash, auth_message.as_bytes());
        self.state = State::Proven {
            server_key: keys.server,
            auth_message,
        };
        let message = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok(Step::last(message.into()))
    }

    fn check(&self, last: &str, server_key: &Key, auth_message: &str) -> Result<Step, SaslError> {
        match ServerFinal::parse(last).map_err(|why| self.bad(why))? {
            ServerFinal::Error(message) => Err(SaslError::refused(self.hash.mechanism(), message)),
            ServerFinal::Verifier(verifier) => {
                let proven = self
                    .hash
                    .is_hmac(&verifier, server_key, auth_message.as_bytes());
                let fraud = || {
                    self.bad("it does not know the password, so it may be an impostor: check its address")
                };
                proven.then_some(Step::Done).ok_or_else(fraud)
            }
        }
    }

    fn bad(&self, why: &str) -> SaslError {
        SaslError::bad_broker(self.hash.mechanism(), why)
    }
}
