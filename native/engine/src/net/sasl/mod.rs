//! SASL: how a client proves who it is, and what the handshake asks of a mechanism.
//!
//! A mechanism is a plain state machine: it is given the broker's challenge and answers with a token.
//! It does no I/O and knows nothing of Kafka's requests; `handshake.rs` carries the tokens, in
//! SaslAuthenticate requests or, for brokers older than 1.0, as bare frames, on a new connection and
//! again on a live one when its session is about to end (KIP-368).

mod assertion;
mod aws;
mod client_credentials;
mod error;
mod external;
mod http;
mod login;
mod oauthbearer;
mod plain;
mod provider;
mod renewal;
mod renewed;
mod scram;
mod secret;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Endpoint;

pub use assertion::SignedAssertion;
pub use aws::{AwsCredentials, AwsEnvironment, AwsMskIam, AwsSource};
pub use client_credentials::{ClientCredentials, ClientProof};
pub use error::SaslError;
pub use external::{ExternalAuthentication, Loan};
pub use login::{Login, LoginFile, SecretFile};
pub use oauthbearer::{OauthBearer, Token};
pub use plain::Plain;
pub use provider::{Asked, CredentialsError, Fixed, Provider, Reply};
pub use renewed::{Perishable, Renewed};
pub use scram::{Scram, ScramHash};
pub use secret::Secret;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How the connections of a client authenticate.
#[derive(Clone)]
pub enum Sasl {
    /// By a mechanism of the engine.
    Mechanism(Arc<dyn Mechanism>),
    /// Somebody else talks to the broker: plugins in Erlang.
    External(Arc<dyn ExternalAuthentication>),
}

impl Sasl {
    /// The mechanism's name, as far as the engine knows it.
    pub fn name(&self) -> &str {
        match self {
            Sasl::Mechanism(mechanism) => mechanism.name(),
            Sasl::External(_) => "external",
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sasl({})", self.name())
    }
}

/// A SASL mechanism with the credentials of one client; the client's connections share it.
pub trait Mechanism: Send + Sync {
    /// Its name in SaslHandshake, e.g. `SCRAM-SHA-512`.
    fn name(&self) -> &str;

    /// Begins an exchange with the broker at `peer`, on a new connection or again on a live one.
    ///
    /// This is the one place that may wait: for a token from elsewhere, for a file. It is bounded by
    /// `connect_timeout` on a new connection.
    fn start<'a>(
        &'a self,
        peer: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Exchange>, SaslError>>;

    /// The broker has refused the exchange: what is cached (a token) is not to be used again.
    fn refused(&self) {}
}

/// One exchange of challenges and tokens.
pub trait Exchange: Send {
    /// The next step, given what the broker sent: nothing in the first call, then the answer to the
    /// token before. It runs off the runtime's workers, so it may compute for some milliseconds.
    fn next(&mut self, challenge: &[u8]) -> Result<Step, SaslError>;
}

/// What an exchange does next.
pub enum Step {
    /// Send a token, then call [`Exchange::next`] with the answer. An exchange of one token sends it
    /// on the first call and answers the second one with [`Step::Done`].
    Token {
        /// The token.
        bytes: Zeroizing<Vec<u8>>,
        /// True where no token follows unless the broker refuses: on a live connection requests go on
        /// right behind it.
        last: bool,
    },
    /// The client is satisfied with what the broker sent.
    Done,
}

impl Step {
    fn token(secret: Secret) -> Self {
        Step::Token {
            bytes: secret.into(),
            last: false,
        }
    }

    fn last(secret: Secret) -> Self {
        Step::Token {
            bytes: secret.into(),
            last: true,
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Token { last, .. } => write!(f, "Token {{ last: {last} }}"),
            Step::Done => f.write_str("Done"),
        }
    }
}
