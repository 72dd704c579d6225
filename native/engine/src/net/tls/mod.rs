//! TLS, on rustls. No OpenSSL, and nothing of the operating system but its list of roots.

mod answering;
mod config;
#[cfg(test)]
mod costs;
mod error;
mod files;
mod identity;
mod keys;
mod options;
mod suites;
mod verify;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::ClientConfig;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::client::TlsStream;
use tokio_rustls::TlsConnector;

use super::{Endpoint, NetError};
use crate::tasks::on_thread;
pub(super) use answering::Answering;
use files::Stamps;

pub use error::{FileFault, TlsError};
pub use options::{
    CertificateFiles, Identity, IdentitySource, KeyDer, KeyKind, PasswordSource, Roots, ServerName,
    TlsOptions, TlsVersion,
};

/// Encrypted bytes taken from the socket at once. rustls by itself asks for 4 KB at a time.
const READ_AHEAD: usize = 64 * 1024;

/// Sessions kept to be resumed, for each broker.
const SESSIONS: usize = 8;

/// A TLS connection to a broker.
pub(super) type Stream = TlsStream<BufReader<TcpStream>>;

/// What the TLS connections of one client share: the options, certificates as last read from disk,
/// sessions to resume.
#[derive(Debug)]
pub struct Tls {
    options: TlsOptions,
    files: Vec<PathBuf>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: ClientConfig,
    /// How the files looked when they were last read, successfully or not.
    read_at: Stamps,
    /// The same with sessions of its own: brokers of one host know nothing of each other's.
    by_broker: HashMap<Endpoint, Arc<ClientConfig>>,
}

impl Tls {
    /// Checks the options, and reads the files that they name.
    ///
    /// It reads files and parses keys; an encrypted key may take some tenths of a second.
    pub fn new(options: TlsOptions) -> Result<Arc<Tls>, TlsError> {
        let files = config::files(&options);
        let read_at = Stamps::of(&files);
        let config = config::build(&options)?;
        Ok(Arc::new(Tls {
            options,
            files,
            current: Mutex::new(Current {
                config,
                read_at,
                by_broker: HashMap::new(),
            }),
        }))
    }

    /// The options it was made with.
    pub fn options(&self) -> &TlsOptions {
        &self.options
    }

    /// Makes TLS of a stream to a broker. Fails with [`TlsError::Stalled`] when the time is up.
    pub(super) async fn connect(
        self: &Arc<Self>,
        stream: TcpStream,
        endpoint: &Endpoint,
        until: Instant,
    ) -> Result<Stream, NetError> {
        if !self.files.is_empty() {
            let tls = self.clone();
            // It touches the disk, which may hang. Where there is no thread for it, what was read before has to do.
            let read_again = on_thread(move || tls.read_again_if_changed());
            let _ = timeout_at(until.into(), read_again)
                .await
                .map_err(|_| NetError::Timeout)?;
        }
        let name = config::server_name(&self.options.server_name, &endpoint.host)?;
        let connector = TlsConnector::from(self.config_for(endpoint));
        let stream = BufReader::with_capacity(READ_AHEAD, stream);
        match timeout_at(until.into(), connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(TlsError::of_handshake(&error).into()),
            Err(_) => Err(TlsError::Stalled.into()),
        }
    }

    fn config_for(&self, endpoint: &Endpoint) -> Arc<ClientConfig> {
        let mut current = self.current.lock();
        if let Some(config) = current.by_broker.get(endpoint) {
            return config.clone();
        }
        let mut config = current.config.clone();
        if !self.options.no_resumption {
            config.resumption = Resumption::in_memory_sessions(SESSIONS);
        }
        let config = Arc::new(config);
        current.by_broker.insert(endpoint.clone(), config.clone());
        config
    }

    fn read_again_if_changed(&self) {
        let stamps = Stamps::of(&self.files);
        {
            let mut current = self.current.lock();
            if current.read_at == stamps {
                return;
            }
            // Others that connect meanwhile go on with what there is.
            current.read_at = stamps.clone();
        }
        self.take(&stamps, config::build(&self.options));
    }

    /// What came of reading the files when they looked like that.
    fn take(&self, stamps: &Stamps, read: Result<ClientConfig, TlsError>) {
        let mut current = self.current.lock();
        if current.read_at != *stamps {
            // They have changed again, and somebody else reads what is newer.
            return;
        }
        match read {
            Ok(config) => {
                current.config = config;
                current.by_broker.clear();
                tracing::info!("TLS certificates have changed on disk and were read again");
            }
            Err(error) => {
                let unread = matches!(
                    &error,
                    TlsError::File {
                        why: FileFault::Io(_),
                        ..
                    }
                );
                if unread && stamps.are_complete() {
                    // It may be nobody's fault, as without a descriptor left, and they may never look different again.
                    current.read_at = Stamps::default();
                }
                tracing::error!(
                    %error,
                    "TLS certificates have changed on disk and cannot be used; the former ones are kept"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn of_file() -> (tempfile::TempDir, Tls) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let certificate = CertificateParams::default()
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap();
        std::fs::write(&file, certificate.pem()).unwrap();
        let options = TlsOptions {
            roots: Roots::File(file),
            ..TlsOptions::default()
        };
        (
            directory,
            Arc::into_inner(Tls::new(options).unwrap()).unwrap(),
        )
    }

    fn unreadable(why: FileFault) -> TlsError {
        TlsError::File {
            option: "cacertfile",
            path: "ca.pem".into(),
            why,
        }
    }

    #[test]
    fn files_that_could_not_be_read_are_tried_again_and_those_that_are_broken_are_not() {
        let (_directory, tls) = of_file();
        let stamps = Stamps::of(&tls.files);
        tls.take(
            &stamps,
            Err(unreadable(FileFault::Content("no PEM".into()))),
        );
        assert_eq!(tls.current.lock().read_at, stamps);
        let full = std::io::Error::from_raw_os_error(24);
        tls.take(&stamps, Err(unreadable(FileFault::Io(full.into()))));
        assert_ne!(tls.current.lock().read_at, stamps);
        tls.read_again_if_changed();
        assert_eq!(tls.current.lock().read_at, stamps);
    }

    #[test]
    fn what_was_read_before_files_changed_once_more_does_not_replace_what_was_read_after() {
        let (_directory, tls) = of_file();
        let broker = Endpoint {
            host: "b".into(),
            port: 1,
        };
        let newer = tls.config_for(&broker);
        tls.take(&Stamps::default(), config::build(&tls.options));
        assert!(Arc::ptr_eq(&newer, &tls.config_for(&broker)));
    }
}
