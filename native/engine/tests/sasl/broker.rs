//! A broker that lets in whom it knows, and checks what each mechanism says.

use std::sync::Arc;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use brod_engine::net::Endpoint;
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac};
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::wire::{encoded, talk, Versions};

const VERSIONS: Versions = &[
    (ApiKey::ApiVersions, 3),
    (ApiKey::SaslHandshake, 1),
    (ApiKey::SaslAuthenticate, 2),
    (ApiKey::FindCoordinator, 2),
];

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "alice-secret";
const SALT: &[u8] = b"salt of alice";
const ITERATIONS: u32 = 4_096;

/// What a test sets, and what the broker has seen.
#[derive(Default)]
pub(crate) struct Script {
    /// How long a session lasts; 0: until the connection ends.
    pub session_lifetime_ms: i64,
    /// The broker does not know the password of SCRAM, and pretends to.
    pub impostor: bool,
    /// The port is one without SASL.
    pub plaintext: bool,
    /// The tokens of OAUTHBEARER that it accepts. None: any.
    pub token: Option<String>,
    /// Mechanism of each authentication that succeeded.
    pub accepted: Vec<String>,
    /// Bearer tokens, in the order in which they came.
    pub tokens: Vec<String>,
    /// Keys of the requests that came from clients who were let in, in their order.
    pub served: Vec<String>,
    pub connections: usize,
}

pub(crate) type SharedScript = Arc<Mutex<Script>>;

pub(crate) async fn start(script: Script) -> (Endpoint, SharedScript) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
    };
    let script = Arc::new(Mutex::new(script));
    let shared = script.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            shared.lock().connections += 1;
            let visitor = Arc::new(Mutex::new(Visitor::Unknown));
            let shared = shared.clone();
            tokio::spawn(talk(socket, VERSIONS, move |key, version, body| {
                let answer = respond(&shared, &mut visitor.lock(), key, version, body);
                std::future::ready(answer)
            }));
        }
    });
    (endpoint, script)
}

/// How far a connection has come.
enum Visitor {
    Unknown,
    Chose(String),
    Greeted {
        mechanism: String,
        auth_message: String,
    },
    /// The token was not accepted; the client has to acknowledge it.
    Complained,
    Known,
}

fn respond(
    script: &SharedScript,
    visitor: &mut Visitor,
    key: ApiKey,
    version: i16,
    mut body: Bytes,
) -> Option<BytesMut> {
    match key {
        ApiKey::SaslHandshake => {
            let request = SaslHandshakeRequest::decode(&mut body, version).unwrap();
            let offered = ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "AWS_MSK_IAM"];
            let chosen = request.mechanism.to_string();
            let error_code = if script.lock().plaintext {
                34
            } else if offered.contains(&chosen.as_str()) {
                0
            } else {
                33
            };
            *visitor = Visitor::Chose(chosen);
            let offered = offered.map(StrBytes::from_static_str).to_vec();
            let response = SaslHandshakeResponse::default()
                .with_error_code(error_code)
                .with_mechanisms(offered);
            Some(encoded(&response, version))
        }
        ApiKey::SaslAuthenticate => {
            let request = SaslAuthenticateRequest::decode(&mut body, version).unwrap();
            let state = std::mem::replace(visitor, Visitor::Unknown);
            let verdict = judge(&mut script.lock(), state, &request.auth_bytes);
            let response = match verdict {
                Ok((next, token)) => {
                    let known = matches!(next, Visitor::Known);
                    *visitor = next;
                    let lifetime = if known {
                        script.lock().session_lifetime_ms
                    } else {
                        0
                    };
                    SaslAuthenticateResponse::default()
                        .with_auth_bytes(token.into())
                        .with_session_lifetime_ms(lifetime)
                }
                Err(message) => SaslAuthenticateResponse::default()
                    .with_error_code(58)
                    .with_error_message(Some(StrBytes::from_string(message))),
            };
            Some(encoded(&response, version))
        }
        ApiKey::FindCoordinator if matches!(visitor, Visitor::Known) => {
            let request = FindCoordinatorRequest::decode(&mut body, version).unwrap();
            script.lock().served.push(request.key.to_string());
            Some(encoded(
                &FindCoordinatorResponse::default().with_host(request.key),
                version,
            ))
        }
        _ => None,
    }
}

type Verdict = Result<(Visitor, Vec<u8>), String>;

fn judge(script: &mut Script, state: Visitor, token: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(token).into_owned();
    match state {
        Visitor::Chose(mechanism) => match mechanism.as_str() {
            "PLAIN" if text == format!("\0{USER}\0{PASSWORD}") => accept(script, &mechanism, ""),
            "PLAIN" => Err("Authentication failed: Invalid username or password".into()),
            "OAUTHBEARER" => bearer(script, &text),
            // Whether it is signed as it should be is tested with the mechanism.
            "AWS_MSK_IAM" if text.starts_with('{') => accept(
                script,
                &mechanism,
                r#"{"version":"2020_10_22","request-id":"1"}"#,
            ),
            _ => greet(mechanism, &text),
        },
        Visitor::Greeted {
            mechanism,
            auth_message,
        } => check(script, &mechanism, &auth_message, &text),
        Visitor::Complained => Err(r#"{"status":"invalid_token"}"#.into()),
        Visitor::Unknown | Visitor::Known => Err("nobody was asked".into()),
    }
}

fn accept(script: &mut Script, mechanism: &str, token: &str) -> Verdict {
    script.accepted.push(mechanism.into());
    Ok((Visitor::Known, token.into()))
}

fn bearer(script: &mut Script, text: &str) -> Verdict {
    let token = text
        .strip_prefix("n,,\x01auth=Bearer ")
        .and_then(|text| text.strip_suffix("\x01\x01"));
    let token = token.ok_or("no token")?.to_owned();
    script.tokens.push(token.clone());
    match &script.token {
        Some(expected) if *expected != token => Ok((
            Visitor::Complained,
            br#"{"status":"invalid_token"}"#.to_vec(),
        )),
        _ => accept(script, "OAUTHBEARER", ""),
    }
}

fn greet(mechanism: String, text: &str) -> Verdict {
    let bare = text.strip_prefix("n,,").ok_or("no SCRAM")?;
    let nonce = bare
        .strip_prefix(&format!("n={USER},r="))
        .ok_or("unknown user")?;
    let first = format!("r={nonce}server,s={},i={ITERATIONS}", STANDARD.encode(SALT));
    let auth_message = format!("{bare},{first},c=biws,r={nonce}server");
    let next = Visitor::Greeted {
        mechanism,
        auth_message,
    };
    Ok((next, first.into()))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// As a server does it: the client key is got back from the proof, and only its hash is known.
fn check(script: &mut Script, mechanism: &str, auth_message: &str, text: &str) -> Verdict {
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(PASSWORD.as_bytes(), SALT, ITERATIONS, &mut salted);
    let stored_key = Sha256::digest(hmac(&salted, b"Client Key"));
    let signature = hmac(&stored_key, auth_message.as_bytes());
    let proof = text
        .split_once(",p=")
        .map(|(_, proof)| STANDARD.decode(proof).unwrap());
    let proof = proof.ok_or("no proof")?;
    let client_key: Vec<u8> = proof.iter().zip(signature).map(|(p, s)| p ^ s).collect();
    if Sha256::digest(client_key) != stored_key {
        return Err(
            "Authentication failed during authentication due to invalid credentials".into(),
        );
    }
    let server_key = match script.impostor {
        true => hmac(b"no idea", b"Server Key"),
        false => hmac(&salted, b"Server Key"),
    };
    let verifier = STANDARD.encode(hmac(&server_key, auth_message.as_bytes()));
    accept(script, mechanism, &format!("v={verifier}"))
}
