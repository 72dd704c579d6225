use super::*;
use crate::net::sasl::http::fake::{answer, FakeHttp};
use crate::net::tls::{Roots, TlsOptions};

const LIMIT: Duration = Duration::from_secs(5);

async fn get(url: String) -> Result<Secret, HttpError> {
    send(Call::get(url), None, Plaintext::Loopback, LIMIT).await
}

#[tokio::test]
async fn a_request_says_what_it_was_told_to() {
    let server = FakeHttp::start(|_| answer(200, "fine")).await;
    let call = Call::form(server.url("/a?b=c"), "x=y".into()).header("authorization", "Basic z");
    let content = send(call, None, Plaintext::Loopback, LIMIT).await.unwrap();
    assert_eq!(content.expose(), b"fine");
    let asked = &server.asked()[0];
    assert_eq!(
        (asked.line.as_str(), asked.body.as_str()),
        ("POST /a?b=c", "x=y")
    );
    assert_eq!(asked.header("authorization"), Some("Basic z"));
    assert_eq!(
        asked.header("host"),
        Some(format!("127.0.0.1:{}", server.port).as_str())
    );
}

fn trusting(certificates: &[&[u8]]) -> Arc<Tls> {
    Tls::new(TlsOptions {
        roots: Roots::Der(certificates.iter().map(|der| der.to_vec()).collect()),
        ..TlsOptions::default()
    })
    .unwrap()
}

#[tokio::test]
async fn a_server_is_asked_over_tls_if_its_certificate_is_right() {
    let (server, certificate) = FakeHttp::start_tls("localhost", |_| answer(200, "fine")).await;
    let (other, foreign) = FakeHttp::start_tls("other.example", |_| answer(200, "stolen")).await;
    let ask = |server: &FakeHttp, tls: Option<Arc<Tls>>| {
        let url = format!("https://localhost:{}/", server.port);
        let call = Call::get(url).header("authorization", "hunter2");
        async move { send(call, tls.as_ref(), Plaintext::Loopback, LIMIT).await }
    };
    let content = ask(&server, Some(trusting(&[&certificate]))).await.unwrap();
    assert_eq!(content.expose(), b"fine");
    let why = |result: Result<Secret, HttpError>| result.unwrap_err().to_string();
    let error = why(ask(&server, Some(trusting(&[&foreign]))).await);
    assert!(error.contains("signed by nobody who is trusted"), "{error}");
    let error = why(ask(&other, Some(trusting(&[&foreign]))).await);
    assert!(error.contains("not for localhost"), "{error}");
    assert!(why(ask(&server, None).await).contains("TLS is not set up"));
    assert_eq!((server.asked().len(), other.asked().len()), (1, 0));
}

#[tokio::test]
async fn an_answer_in_chunks_is_put_together() {
    let chunks =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let server = FakeHttp::start(|_| chunks.to_vec()).await;
    assert_eq!(get(server.url("/")).await.unwrap().expose(), b"abc");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let endless = || {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.resize(ANSWER_LIMIT + 1_000, b'x');
        bytes
    };
    let server = FakeHttp::start(move |_| endless()).await;
    let error = get(server.url("/")).await.unwrap_err();
    assert!(matches!(error, HttpError::BadAnswer { .. }), "{error}");
    assert!(!error.is_passing());
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_none() {
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let server = FakeHttp::start(|_| cut.to_vec()).await;
    let error = get(server.url("/")).await.unwrap_err();
    assert!(
        matches!(error, HttpError::Unreachable { .. }) && error.is_passing(),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_whose_name_has_no_address_is_told_so() {
    // No label of a name is that long, so nobody is asked for it.
    let url = format!("http://{}.invalid/", "a".repeat(64));
    let error = send(Call::get(url), None, Plaintext::Anywhere, LIMIT).await;
    let error = error.unwrap_err();
    assert!(
        error.to_string().ends_with("host name does not resolve"),
        "{error}"
    );
    assert!(error.is_passing());
}

#[tokio::test]
async fn who_does_not_speak_http_is_found_out() {
    let server = FakeHttp::start(|_| b"\x15\x03\x03\x00\x02\x02\x50".to_vec()).await;
    let error = get(server.url("/")).await.unwrap_err();
    assert!(matches!(error, HttpError::BadAnswer { .. }), "{error}");
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for_longer_than_said() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let limit = Duration::from_millis(50);
    let error = send(Call::get(url), None, Plaintext::Loopback, limit)
        .await
        .unwrap_err();
    assert!(
        matches!(error, HttpError::Timeout { ms: 50, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = FakeHttp::start(|_| answer(200, "stolen")).await;
    let to = elsewhere.url("/");
    let server = FakeHttp::start(move |_| {
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes()
    })
    .await;
    let error = get(server.url("/")).await.unwrap_err();
    assert!(
        matches!(error, HttpError::Status { status: 302, .. }),
        "{error}"
    );
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn an_error_is_told_in_the_server_s_words_and_without_what_else_it_says() {
    let json = r#"{"error":"invalid_client","error_description":"who is it?","x":"hunter2"}"#;
    let xml = "<E><Error><Code>Z</Code><Message>bad token</Message></Error></E>hunter2";
    for (body, expected) in [
        (json, "invalid_client: who is it?"),
        (xml, "bad token"),
        ("hunter2", "no reason"),
    ] {
        let server = FakeHttp::start(|_| answer(401, body)).await;
        let error = get(server.url("/")).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("401"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_three_times_and_what_will_not_once() {
    let status = |status| HttpError::Status {
        host: "h".into(),
        status,
        text: String::new(),
    };
    for (error, expected) in [(status(503), 3), (status(429), 3), (status(401), 1)] {
        let mut attempts = 0;
        let result = with_retries(|| {
            attempts += 1;
            std::future::ready(Err::<(), _>(error.clone()))
        });
        assert_eq!(result.await, Err(error.clone()));
        assert_eq!(attempts, expected, "{error}");
    }
}

#[test]
fn secrets_are_not_sent_in_plaintext_except_to_this_machine() {
    let parse =
        |url| Target::parse(url, Plaintext::Loopback).map(|target| (target.host, target.port));
    let local = |host: &str, port| Ok((host.to_owned(), port));
    assert_eq!(parse("http://localhost/t"), local("localhost", 80));
    assert_eq!(parse("http://[::1]:8080/t"), local("::1", 8080));
    assert_eq!(parse("https://idp.example/t"), local("idp.example", 443));
    let plaintext = Err(HttpError::Plaintext("http://idp.example/t".into()));
    assert_eq!(parse("http://idp.example/t?secret=x"), plaintext);
    assert!(Target::parse("http://169.254.169.254/", Plaintext::Anywhere).is_ok());
    for url in [
        "",
        "idp.example",
        "ftp://idp.example/",
        "https://",
        "https://a b/?hunter2",
    ] {
        let error = parse(url).unwrap_err();
        assert!(matches!(error, HttpError::BadUrl(_)), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
