//! Brokers on loopback, in and without TLS.

use std::future::Future;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use brod_engine::net::Endpoint;

use crate::authority::{Authority, Certified};
use crate::server::{encoded, metadata, serve, talk, Versions};

pub(crate) const VERSIONS: Versions = &[
    (ApiKey::Metadata, 9),
    (ApiKey::SaslHandshake, 1),
    (ApiKey::SaslAuthenticate, 2),
];

/// How a broker does TLS.
pub(crate) fn tls(
    certified: &Certified,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let config = builder
        .with_single_cert(certified.chain.clone(), certified.key_der())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Listens on loopback and gives every connection to `serve`.
pub(crate) async fn listen<S, F>(serve: S) -> Endpoint
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    Endpoint {
        host: "localhost".into(),
        port,
    }
}

/// A broker that answers metadata over TLS.
pub(crate) async fn listen_tls(acceptor: TlsAcceptor) -> Endpoint {
    listen(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(socket).await {
                let _ = talk(stream, VERSIONS, answer_metadata).await;
            }
        }
    })
    .await
}

/// Answers metadata, hangs up on others.
pub(crate) async fn answer_metadata(key: ApiKey, version: i16, _: Bytes) -> Option<BytesMut> {
    match key {
        ApiKey::Metadata => Some(encoded(&metadata(&[(1, 9092)], 1, 0), version)),
        _ => None,
    }
}

/// A broker in plaintext that answers by `answer`.
pub(crate) async fn listen_plain<A, F>(versions: Versions, answer: A) -> Endpoint
where
    A: Fn(ApiKey, i16, Bytes) -> F + Clone + Send + 'static,
    F: Future<Output = Option<BytesMut>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    serve(listener, move || versions, answer);
    Endpoint {
        host: "localhost".into(),
        port,
    }
}
