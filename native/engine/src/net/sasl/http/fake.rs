//! An HTTP server on loopback that answers as a test says.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a client has asked.
#[derive(Debug, Clone)]
pub(in crate::net::sasl) struct Asked {
    /// Method and target, as they stand in the first line.
    pub(in crate::net::sasl) line: String,
    pub(in crate::net::sasl) head: String,
    pub(in crate::net::sasl) body: String,
}

impl Asked {
    pub(in crate::net::sasl) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

pub(in crate::net::sasl) struct FakeHttp {
    pub(in crate::net::sasl) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl FakeHttp {
    /// `answer` gives the bytes that are sent, the status line and all, then the connection is closed.
    pub(in crate::net::sasl) async fn start(
        answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
    ) -> FakeHttp {
        Self::serve(None, answer).await
    }

    /// The same over TLS, with a certificate that the server has signed itself.
    pub(in crate::net::sasl) async fn start_tls(
        name: &str,
        answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
    ) -> (FakeHttp, CertificateDer<'static>) {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::serve(Some(acceptor), answer).await, certificate)
    }

    async fn serve(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
    ) -> FakeHttp {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let log = asked.clone();
        tasks.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                match &tls {
                    None => talk(socket, &answer, &log).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(socket).await {
                            talk(stream, &answer, &log).await;
                        }
                    }
                }
            }
        });
        FakeHttp {
            port,
            asked,
            _tasks: tasks,
        }
    }

    pub(in crate::net::sasl) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(in crate::net::sasl) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

pub(in crate::net::sasl) fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &impl Fn(&Asked) -> Vec<u8>,
    log: &Mutex<Vec<Asked>>,
) {
    if let Some(call) = read(&mut stream).await {
        let bytes = answer(&call);
        log.lock().push(call);
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
    }
}

async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let asked = Asked {
            line: head.lines().next()?.trim_end_matches(" HTTP/1.1").into(),
            head: head.into(),
            body: body.into(),
        };
        let length = asked
            .header("content-length")
            .map_or(0, |n| n.parse().unwrap());
        if body.len() >= length {
            return Some(asked);
        }
    }
}
