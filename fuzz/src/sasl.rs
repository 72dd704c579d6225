//! Exchanges with a broker that says anything: nobody believes one that does not know the password.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use brod_engine::net::sasl::{
    AwsCredentials, AwsMskIam, Fixed, Login, Mechanism, OauthBearer, Plain, Scram, ScramHash, Step,
    Token,
};
use brod_engine::net::Endpoint;

/// The first byte is the mechanism. What follows are the broker's messages, each behind a byte for its length;
/// a nonce stands in for `*`.
pub fn run(data: &[u8]) {
    let Some(([which], mut rest)) = super::head(data) else {
        return;
    };
    let login = Fixed(Login::new("user", "pencil"));
    let token = Token {
        value: "token".into(),
        lifetime: Duration::from_secs(3600),
        extensions: Vec::new(),
    };
    match which % 5 {
        0 => talk(Scram::new(ScramHash::Sha256, login), true, &mut rest),
        1 => talk(Scram::new(ScramHash::Sha512, login), true, &mut rest),
        2 => talk(OauthBearer::new(Fixed(token)), false, &mut rest),
        3 => talk(Plain::new(login), false, &mut rest),
        _ => {
            let keys = AwsCredentials {
                access_key_id: "id".to_owned(),
                secret_access_key: "secret".into(),
                session_token: None,
                lifetime: None,
            };
            talk(
                AwsMskIam::new(Fixed(keys), Some("eu-west-1".to_owned())),
                false,
                &mut rest,
            );
        }
    }
}

fn talk(mechanism: impl Mechanism, proves: bool, rest: &mut &[u8]) {
    let peer = Endpoint {
        host: "b-1.x.y.c2.kafka.eu-west-1.amazonaws.com".to_owned(),
        port: 9098,
    };
    let mut exchange = ready(mechanism.start(&peer)).expect("credentials are good");
    let mut nonce = String::new();
    let mut challenge = Vec::new();
    for _ in 0..4 {
        match exchange.next(&challenge) {
            Ok(Step::Token { bytes, .. }) => {
                if let Some((_, own)) = String::from_utf8_lossy(&bytes).split_once(",r=") {
                    nonce = own.to_owned();
                }
            }
            Ok(Step::Done) => {
                assert!(!proves, "a broker is believed that proved nothing");
                return;
            }
            Err(_) => return,
        }
        let Some(said) = said(rest, &nonce) else {
            return;
        };
        challenge = said;
    }
}

fn said(rest: &mut &[u8], nonce: &str) -> Option<Vec<u8>> {
    let (length, behind) = rest.split_first()?;
    let (message, behind) = behind.split_at(usize::from(*length).min(behind.len()));
    *rest = behind;
    let mut said = Vec::new();
    for byte in message {
        match byte {
            b'*' => said.extend_from_slice(nonce.as_bytes()),
            byte => said.push(*byte),
        }
    }
    // Each round of it takes a microsecond, and a million of them are allowed.
    (!is_laborious(&said)).then_some(said)
}

fn is_laborious(said: &[u8]) -> bool {
    said.windows(2).enumerate().any(|(at, name)| {
        name == b"i="
            && said[at + 2..]
                .iter()
                .take_while(|byte| **byte != b',')
                .count()
                > 4
    })
}

/// What waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("credentials that are fixed are there"),
    }
}
