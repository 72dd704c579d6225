use super::*;
use crate::net::sasl::Fixed;
use proptest::prelude::*;

const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

fn scram(hash: ScramHash, user: &str, password: &str) -> ScramExchange {
    let login = Login::new(user, password);
    Scram::new(hash, Fixed(login.clone())).exchange(login, NONCE.into())
}

fn token(step: Result<Step, SaslError>) -> String {
    match step {
        Ok(Step::Token { bytes, .. }) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("no token: {other:?}"),
    }
}

/// A client that has got the server's first message and answered it.
fn proven(hash: ScramHash) -> ScramExchange {
    let mut client = scram(hash, "user", "pencil");
    token(client.next(b""));
    token(client.next(SERVER_FIRST.as_bytes()));
    client
}

/// The example of RFC 7677, section 3; for SHA-512 the same one as Python's hashlib calculates it.
const EXAMPLES: [(ScramHash, &str, &str); 2] = [
    (
        ScramHash::Sha256,
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
    (
        ScramHash::Sha512,
        "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
        "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
    ),
];

#[test]
fn the_example_of_the_rfc_is_spoken_as_it_stands_there() {
    for (hash, proof, signature) in EXAMPLES {
        let mut client = scram(hash, "user", "pencil");
        assert_eq!(token(client.next(b"")), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = token(client.next(SERVER_FIRST.as_bytes()));
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        assert_eq!(last, format!("c=biws,r={nonce},p={proof}"));
        let done = client.next(format!("v={signature}").as_bytes());
        assert!(matches!(done, Ok(Step::Done)), "{done:?}");
    }
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    for (hash, proof, _) in EXAMPLES {
        for wrong in [proof, "", "AAAA"] {
            let error = proven(hash)
                .next(format!("v={wrong}").as_bytes())
                .unwrap_err();
            assert!(error.to_string().contains("impostor"), "{error}");
        }
    }
}

#[test]
fn a_server_that_says_nothing_where_its_proof_belongs_is_not_believed() {
    let error = proven(ScramHash::Sha256).next(b"").unwrap_err();
    assert!(matches!(error, SaslError::BadBroker { .. }), "{error}");
}

#[test]
fn a_server_that_says_too_much_is_not_listened_to() {
    let mut client = scram(ScramHash::Sha256, "user", "pencil");
    let greeting = token(client.next(b""));
    assert!(greeting.ends_with(NONCE));
    let padding = "x".repeat(CHALLENGE_LIMIT);
    let error = client
        .next(format!("{SERVER_FIRST},x={padding}").as_bytes())
        .unwrap_err();
    assert!(matches!(error, SaslError::BadBroker { .. }), "{error}");
}

#[test]
fn a_server_that_refuses_is_quoted() {
    let error = proven(ScramHash::Sha256)
        .next(b"e=invalid-proof")
        .unwrap_err();
    assert_eq!(error, SaslError::refused("SCRAM-SHA-256", "invalid-proof"));
}

#[test]
fn nobody_can_go_on_with_an_exchange_that_has_ended() {
    let mut client = scram(ScramHash::Sha256, "user", "pencil");
    token(client.next(b""));
    assert!(client.next(b"").is_err());
    assert!(client.next(SERVER_FIRST.as_bytes()).is_err());
}

#[tokio::test]
async fn every_exchange_has_a_nonce_of_its_own() {
    let mechanism = Scram::new(ScramHash::Sha256, Fixed(Login::new("user", "pencil")));
    let peer = Endpoint::named("localhost", 9092).unwrap();
    let mut greetings = std::collections::HashSet::new();
    for _ in 0..3 {
        let mut exchange = mechanism.start(&peer).await.unwrap();
        let greeting = token(exchange.next(b""));
        assert_eq!(greeting.matches(',').count(), 3, "{greeting}");
        assert!(greeting.len() > 40, "{greeting}");
        greetings.insert(greeting);
    }
    assert_eq!(greetings.len(), 3);
}

#[test]
fn user_and_password_count_as_they_were_typed_and_the_name_is_escaped() {
    // SASLprep would take the soft hyphen away, and write the ligature as two letters.
    let client = scram(ScramHash::Sha256, "us\u{ad}er,=", "pen\u{fb01}");
    assert_eq!(client.first_bare(), format!("n=us\u{ad}er=2C=3D,r={NONCE}"));
    assert_eq!(client.login.password, Secret::from("pen\u{fb01}"));
}

#[test]
fn keys_are_derived_once_for_all_connections_and_anew_for_another_password_or_salt() {
    let memory = Memory::default();
    let first = |salt: &[u8]| ServerFirst {
        nonce: "n",
        salt: salt.into(),
        iterations: 4096,
    };
    let keys =
        |password: &str, salt| memory.keys(ScramHash::Sha256, &password.into(), &first(salt));
    let expected = Keys::derive(ScramHash::Sha256, b"new", b"b", 4096);
    let cached = keys("old", b"a");
    // What is found in the memory is not calculated: it is what stands there.
    memory.0.lock().as_mut().unwrap().keys.client = Key::new(vec![7; 32]);
    assert_eq!(*keys("old", b"a").client, vec![7; 32]);
    assert_eq!(*keys("old", b"a").server, *cached.server);
    assert_ne!(*keys("new", b"a").client, vec![7; 32]);
    assert_eq!(*keys("new", b"b").client, *expected.client);
    assert_ne!(*keys("old", b"a").client, vec![7; 32]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_hostile_server_makes_a_client_panic_or_believe_it(
        first in prop_oneof![
            any::<Vec<u8>>(),
            "[rsivem]=[ -~]{0,40}(,[rsivem]=[ -~]{0,40}){0,4}".prop_map(String::into_bytes),
            // Cut anywhere, or with one byte wrong. The nonce is spared: what comes behind it, the server chooses.
            (0..SERVER_FIRST.len() - 1).prop_map(|end| SERVER_FIRST.as_bytes()[..end].to_vec()),
        ],
        second in any::<Vec<u8>>(),
    ) {
        let mut client = scram(ScramHash::Sha256, "user", "pencil");
        token(client.next(b""));
        match client.next(&first) {
            Ok(Step::Done) => prop_assert!(false, "done after one message"),
            Ok(Step::Token { .. }) => {
                let done = client.next(&second);
                prop_assert!(!matches!(done, Ok(Step::Done)), "{:?}", done);
            }
            Err(_) => {}
        }
    }
}

proptest! {
    // Each case derives keys.
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn a_proof_with_a_byte_that_is_wrong_is_no_proof(at in 2..46usize, byte in 33..127u8) {
        let right = format!("v={}", EXAMPLES[0].2);
        let mut wrong = right.clone().into_bytes();
        wrong[at] = byte;
        prop_assume!(wrong != right.as_bytes());
        prop_assert!(proven(ScramHash::Sha256).next(&wrong).is_err());
    }
}
