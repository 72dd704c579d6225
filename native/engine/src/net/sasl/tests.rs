//! Whole exchanges, as a connection drives them.

use std::time::Duration;

use super::*;

fn peer() -> Endpoint {
    Endpoint::named("localhost", 9092).unwrap()
}

fn token(value: &str) -> Token {
    Token {
        value: value.into(),
        lifetime: Duration::from_secs(60),
        extensions: vec![("pool".into(), value.into())],
    }
}

#[tokio::test]
async fn each_mechanism_can_authenticate_again_and_again() {
    let mechanisms: [Arc<dyn Mechanism>; 2] = [
        Arc::new(Plain::new(Fixed(Login::new("a", "b")))),
        Arc::new(OauthBearer::new(Fixed(token("abc")))),
    ];
    for mechanism in mechanisms {
        for _ in 0..3 {
            let mut exchange = mechanism.start(&peer()).await.unwrap();
            let token = exchange.next(b"");
            assert!(
                matches!(token, Ok(Step::Token { last: true, .. })),
                "{token:?}"
            );
            let done = exchange.next(b"");
            assert!(matches!(done, Ok(Step::Done)), "{done:?}");
        }
    }
}

#[tokio::test]
async fn no_text_of_any_type_shows_a_secret() {
    const HIDDEN: &str = "hunter2";
    let login = Login::new("alice", HIDDEN);
    let mut texts = vec![format!("{login:?} {:#?}", token(HIDDEN))];
    let mechanisms: [Arc<dyn Mechanism>; 3] = [
        Arc::new(Plain::new(Fixed(login.clone()))),
        Arc::new(Scram::new(ScramHash::Sha512, Fixed(login))),
        Arc::new(OauthBearer::new(Fixed(token(HIDDEN)))),
    ];
    for mechanism in mechanisms {
        let sasl = Sasl::Mechanism(mechanism.clone());
        let mut exchange = mechanism.start(&peer()).await.unwrap();
        texts.push(format!("{sasl:?} {:?}", exchange.next(b"")));
        texts.push(format!("{:?}", exchange.next(b"r=x,s=y,i=1")));
    }
    for unfit in [Login::new("alice", "hunter2\0"), Login::new("\0", HIDDEN)] {
        let error = Plain::new(Fixed(unfit)).start(&peer()).await.err().unwrap();
        texts.push(format!("{error} {error:?}"));
    }
    let unfit = OauthBearer::new(Fixed(token("hunter2 hunter2")));
    let error = unfit.start(&peer()).await.err().unwrap();
    texts.push(format!("{error} {error:?}"));
    for text in texts {
        assert!(!text.contains(HIDDEN), "{text}");
    }
}
