//! A session that is renewed on a live connection (KIP-368), seen from the broker, which keeps its answers
//! back: what has come until it answers says for how many round trips requests have to wait.

use std::time::Duration;

use brod_engine::net::sasl::Sasl;
use brod_engine::net::{Connection, Endpoint, NetError};
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::Decodable;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::ask;
use crate::broker::{answer_metadata, VERSIONS};
use crate::sasl::{with, Tokens};
use crate::server::encoded;
use crate::server::wire::{answer, request, versions, Request};

const LIMIT: Duration = Duration::from_secs(10);
/// Sessions last so long, and are renewed before.
const SESSION_MS: i64 = 300;

/// The broker's end of a connection.
struct Peer(TcpStream);

impl Peer {
    /// The next request, with what it says if it is a token's.
    async fn next(&mut self) -> (Request, String) {
        let next = timeout(LIMIT, request(&mut self.0)).await;
        let request = next.expect("nothing comes before it is answered").unwrap();
        let said = match request.key {
            ApiKey::SaslAuthenticate => {
                let mut body = request.body.clone();
                let token = SaslAuthenticateRequest::decode(&mut body, request.version).unwrap();
                String::from_utf8(token.auth_bytes.to_vec()).unwrap()
            }
            key => format!("{key:?}"),
        };
        (request, said)
    }

    async fn expect(&mut self, expected: &str) -> Request {
        let (request, said) = self.next().await;
        assert_eq!(said, expected);
        request
    }

    async fn answer(&mut self, request: &Request) {
        let body = match request.key {
            ApiKey::ApiVersions => versions(VERSIONS, request.version),
            ApiKey::SaslHandshake => encoded(&SaslHandshakeResponse::default(), request.version),
            ApiKey::SaslAuthenticate => {
                let response = SaslAuthenticateResponse::default()
                    .with_auth_bytes(Bytes::from_static(b"go on"))
                    .with_session_lifetime_ms(SESSION_MS);
                encoded(&response, request.version)
            }
            key => answer_metadata(key, request.version, Bytes::new())
                .await
                .unwrap(),
        };
        answer(&mut self.0, request, &body).await.unwrap();
    }
}

/// A connection whose session is about to be renewed: the SaslHandshake has come, and after it the client
/// was asked for something.
async fn at_a_renewal(
    tokens: &'static [&'static str],
) -> (Peer, Request, JoinHandle<Result<usize, NetError>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
    };
    let options = with(Sasl::Mechanism(Tokens::new(tokens)));
    let opening = tokio::spawn(async move { Connection::open(&endpoint, &options).await });
    let mut peer = Peer(listener.accept().await.unwrap().0);
    for expected in ["ApiVersions", "SaslHandshake"].iter().chain(tokens) {
        let request = peer.expect(expected).await;
        peer.answer(&request).await;
    }
    let connection = opening.await.unwrap().unwrap();
    let handshake = peer.expect("SaslHandshake").await;
    let asked = tokio::spawn(async move { ask(&connection).await });
    (peer, handshake, asked)
}

#[tokio::test]
async fn a_renewal_by_one_token_keeps_no_request_waiting() {
    let (mut peer, handshake, asked) = at_a_renewal(&["open"]).await;
    let token = peer.expect("open").await;
    let metadata = peer.expect("Metadata").await;
    for request in [handshake, token, metadata] {
        peer.answer(&request).await;
    }
    assert_eq!(asked.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn a_renewal_in_two_rounds_as_scram_has_it_delays_a_request_by_one_round_trip() {
    let (mut peer, handshake, asked) = at_a_renewal(&["knock", "open"]).await;
    let first = peer.expect("knock").await;
    peer.answer(&handshake).await;
    peer.answer(&first).await;
    let last = peer.expect("open").await;
    let metadata = peer.expect("Metadata").await;
    peer.answer(&last).await;
    peer.answer(&metadata).await;
    assert_eq!(asked.await.unwrap(), Ok(1));
}
