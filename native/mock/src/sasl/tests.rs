use super::*;

fn passwords() -> BTreeMap<String, String> {
    [("user", "pencil")]
        .map(|(user, password)| (user.into(), password.into()))
        .into()
}

fn say(login: &mut Login, message: &str) -> Reply {
    let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    login.message(message.as_bytes(), &passwords(), nonce, 1_000_000)
}

fn welcomes(reply: &Reply) -> bool {
    matches!(reply, Reply::Welcome { principal, .. } if principal == "user")
}

#[test]
fn plain_takes_the_right_password_alone() {
    let once = |message| say(&mut Login::new("PLAIN").unwrap(), message);
    assert!(welcomes(&once("\0user\0pencil")));
    assert!(welcomes(&once("user\0user\0pencil")));
    for wrong in [
        "\0user\0pen",
        "\0other\0pencil",
        "root\0user\0pencil",
        "user\0pencil",
        "",
    ] {
        assert!(matches!(once(wrong), Reply::Refused(_)), "{wrong:?}");
    }
}

#[test]
fn scram_goes_as_in_the_example_of_rfc_7677() {
    let mut login = Login::new("SCRAM-SHA-256").unwrap();
    let first = say(&mut login, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let expected =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    assert_eq!(first, Reply::Challenge(Bytes::from(expected)));
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let Reply::Welcome {
        bytes,
        principal,
        lifetime,
    } = say(&mut login, last)
    else {
        panic!("refused");
    };
    assert_eq!(bytes, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!((principal.as_str(), lifetime), ("user", None));
}

#[test]
fn scram_refuses_a_proof_of_another_password_and_unknown_users() {
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let mut login = Login::new(mechanism).unwrap();
        let first = say(&mut login, "n,,n=user,r=abc");
        assert!(matches!(first, Reply::Challenge(_)));
        let last = "c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAA";
        assert!(matches!(say(&mut login, last), Reply::Refused(_)));
        let mut login = Login::new(mechanism).unwrap();
        let first = say(&mut login, "n,,n=nobody,r=abc");
        assert!(matches!(first, Reply::Refused(_)));
    }
}

#[test]
fn oauthbearer_takes_tokens_until_they_expire() {
    // {"sub":"user","exp":1060} and {"sub":"user","exp":999}, unsigned.
    let (good, old) = (
        "eyJzdWIiOiJ1c2VyIiwiZXhwIjoxMDYwfQ",
        "eyJzdWIiOiJ1c2VyIiwiZXhwIjo5OTl9",
    );
    let message = |claims| format!("n,,\x01auth=Bearer eyJhbGciOiJub25lIn0.{claims}.\x01\x01");
    let mut login = Login::new("OAUTHBEARER").unwrap();
    let reply = say(&mut login, &message(good));
    assert!(welcomes(&reply));
    assert!(matches!(
        reply,
        Reply::Welcome {
            lifetime: Some(60_000),
            ..
        }
    ));
    let mut login = Login::new("OAUTHBEARER").unwrap();
    assert!(matches!(
        say(&mut login, &message(old)),
        Reply::Challenge(_)
    ));
    assert!(matches!(say(&mut login, "\x01"), Reply::Refused(_)));
}

#[test]
fn every_mechanism_that_is_offered_is_there() {
    for name in MECHANISMS {
        assert!(Login::new(name).is_some(), "{name}");
    }
    assert!(Login::new("GSSAPI").is_none());
}
