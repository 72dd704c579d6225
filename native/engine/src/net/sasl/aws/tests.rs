use std::time::{Duration, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::net::sasl::http::fake::{answer, FakeHttp};
use crate::net::sasl::{CredentialsError, Fixed, Renewed};

const HOST: &str = "b-1.name.abc.c2.kafka.eu-west-1.amazonaws.com";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn credentials(session_token: Option<&str>) -> AwsCredentials {
    AwsCredentials {
        access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
        secret_access_key: SECRET_KEY.into(),
        session_token: session_token.map(Secret::from),
        lifetime: None,
    }
}

/// Checks a payload as MSK does, by what stands in it and the secret key: the signature is calculated anew.
fn verify(payload: &[u8], secret_key: &str, now: u64) -> Result<Value, &'static str> {
    let json: Value = serde_json::from_slice(payload).map_err(|_| "no JSON")?;
    let get = |name: &str| json[name].as_str().unwrap_or_default();
    if get("version") != "2020_10_22" || get("user-agent").is_empty() {
        return Err("version");
    }
    let credential: Vec<&str> = get("x-amz-credential").split('/').collect();
    let [_, date, region, service, "aws4_request"] = credential[..] else {
        return Err("scope");
    };
    if service != "kafka-cluster" || get("action") != "kafka-cluster:Connect" {
        return Err("action");
    }
    let signed_at = get("x-amz-date");
    if signed_at != time::timestamp(UNIX_EPOCH + Duration::from_secs(now))
        || !signed_at.starts_with(date)
    {
        return Err("date");
    }
    let mut names: Vec<&str> = vec![
        "Action",
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
    ];
    if json.get("x-amz-security-token").is_some() {
        names.push("X-Amz-Security-Token");
    }
    names.sort();
    let percent = |text: &str| -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || "-._~".contains(char::from(b));
        let one = |b: u8| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        };
        text.bytes().map(one).collect()
    };
    let pair = |name: &&str| format!("{name}={}", percent(get(&name.to_lowercase())));
    let query = names.iter().map(pair).collect::<Vec<_>>().join("&");
    let hash = |data: &str| -> String {
        Sha256::digest(data)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    };
    let request = format!(
        "GET\n/\n{query}\nhost:{}\n\nhost\n{}",
        get("host"),
        hash("")
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{signed_at}\n{date}/{region}/kafka-cluster/aws4_request\n{}",
        hash(&request)
    );
    let mut key = format!("AWS4{secret_key}").into_bytes();
    for part in [date, region, "kafka-cluster", "aws4_request", &to_sign] {
        let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        key = mac.chain_update(part).finalize().into_bytes().to_vec();
    }
    let expected: String = key.iter().map(|b| format!("{b:02x}")).collect();
    if expected == get("x-amz-signature") {
        Ok(json)
    } else {
        Err("signature")
    }
}

fn payload(session_token: Option<&str>, now: u64) -> Vec<u8> {
    let mechanism = AwsMskIam::new(Fixed(credentials(session_token)), None);
    let now = UNIX_EPOCH + Duration::from_secs(now);
    let payload = mechanism
        .payload(HOST, &credentials(session_token), now)
        .unwrap();
    payload.expose().to_vec()
}

#[test]
fn a_payload_is_what_msk_expects() {
    for session_token in [None, Some("tok/en+with=odd \"bytes\"")] {
        let json = verify(
            &payload(session_token, 1_700_000_000),
            SECRET_KEY,
            1_700_000_000,
        )
        .unwrap();
        assert_eq!(json["host"], HOST);
        assert_eq!(json["x-amz-expires"], "900");
        assert_eq!(json["x-amz-signedheaders"], "host");
        assert_eq!(json["x-amz-algorithm"], "AWS4-HMAC-SHA256");
        let credential = "AKIAIOSFODNN7EXAMPLE/20231114/eu-west-1/kafka-cluster/aws4_request";
        assert_eq!(json["x-amz-credential"], credential);
        assert_eq!(
            json.get("x-amz-security-token").and_then(Value::as_str),
            session_token
        );
        assert_eq!(
            json.as_object().unwrap().len(),
            if session_token.is_some() { 11 } else { 10 }
        );
    }
}

#[test]
fn a_payload_that_was_changed_or_signed_with_another_key_is_not_accepted() {
    let right = payload(None, 1_700_000_000);
    assert_eq!(verify(&right, "other", 1_700_000_000), Err("signature"));
    let text = String::from_utf8(right).unwrap();
    let elsewhere = text.replace("b-1.name", "b-2.name");
    assert_eq!(
        verify(elsewhere.as_bytes(), SECRET_KEY, 1_700_000_000),
        Err("signature")
    );
}

#[test]
fn a_payload_shows_no_secret_key() {
    assert!(!String::from_utf8(payload(None, 0))
        .unwrap()
        .contains(SECRET_KEY));
}

#[tokio::test]
async fn msk_accepts_a_client_again_and_again() {
    let peer = Endpoint::named(HOST, 9098).unwrap();
    let mechanism = AwsMskIam::new(Fixed(credentials(None)), None);
    for _ in 0..2 {
        let mut exchange = mechanism.start(&peer).await.unwrap();
        let Ok(Step::Token { bytes, last: true }) = exchange.next(b"") else {
            panic!("no token");
        };
        assert!(bytes.starts_with(b"{"));
        let accepted = br#"{"version":"2020_10_22","request-id":"1-2-3"}"#;
        let done = exchange.next(accepted);
        assert!(matches!(done, Ok(Step::Done)), "{done:?}");
    }
    let mut silent = mechanism.start(&peer).await.unwrap();
    silent.next(b"").unwrap();
    assert!(matches!(silent.next(b""), Err(SaslError::BadBroker { .. })));
}

#[test]
fn the_region_is_read_from_a_broker_s_name_or_set() {
    for (host, region) in [
        (HOST, Some("eu-west-1")),
        (
            "boot-abc.c1.kafka-serverless.us-east-2.amazonaws.com",
            Some("us-east-2"),
        ),
        (
            "b-1.x.y.c3.kafka.cn-north-1.amazonaws.com.cn",
            Some("cn-north-1"),
        ),
        ("kafka.example.com", None),
        ("b-1.kafka", None),
        ("10.0.0.1", None),
    ] {
        assert_eq!(region_of(host), region, "{host}");
    }
    let unset = AwsMskIam::new(Fixed(credentials(None)), None);
    let error = unset
        .payload("10.0.0.1", &credentials(None), UNIX_EPOCH)
        .unwrap_err();
    assert!(error.to_string().contains("set region"), "{error}");
    let set = AwsMskIam::new(Fixed(credentials(None)), Some("eu-west-1".into()));
    assert!(set
        .payload("10.0.0.1", &credentials(None), UNIX_EPOCH)
        .is_ok());
}

fn environment(variables: &[(&str, &str)]) -> AwsEnvironment {
    variables
        .iter()
        .map(|&(name, value)| (name.into(), value.into()))
        .collect()
}

async fn find(source: AwsSource) -> Result<AwsCredentials, CredentialsError> {
    source.provide().await
}

/// Answers of AWS's services, good for an hour.
fn json_answer() -> String {
    let expiration = expiration();
    format!(
        r#"{{"Code":"Success","AccessKeyId":"ASIA","SecretAccessKey":"hunter2","Token":"tok","Expiration":"{expiration}"}}"#
    )
}

fn expiration() -> String {
    let stamp = time::timestamp(SystemTime::now() + Duration::from_secs(3_600));
    let (d, t) = stamp.split_once('T').unwrap();
    format!(
        "{}-{}-{}T{}:{}:{}Z",
        &d[..4],
        &d[4..6],
        &d[6..],
        &t[..2],
        &t[2..4],
        &t[4..6]
    )
}

fn is_temporary(found: Result<AwsCredentials, CredentialsError>) {
    let found = found.unwrap();
    assert_eq!(found.access_key_id, "ASIA");
    assert_eq!(found.secret_access_key, "hunter2".into());
    assert_eq!(found.session_token, Some("tok".into()));
    let lifetime = found.lifetime.unwrap().as_secs();
    assert!((3_590..=3_600).contains(&lifetime), "{lifetime}");
}

#[tokio::test]
async fn credentials_come_from_the_environment() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "tok"),
    ];
    let found = find(AwsSource::environment(environment(&variables)))
        .await
        .unwrap();
    assert_eq!(found.secret_access_key, "hunter2".into());
    assert_eq!(
        (found.session_token, found.lifetime),
        (Some("tok".into()), None)
    );
    let error = find(AwsSource::environment(environment(&variables[..1])))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("AWS_SECRET_ACCESS_KEY"),
        "{error}"
    );
}

#[tokio::test]
async fn credentials_come_from_a_profile_and_its_file_is_read_again() {
    let home = tempfile::tempdir().unwrap();
    let aws = home.path().join(".aws");
    std::fs::create_dir(&aws).unwrap();
    std::fs::write(aws.join("config"), "[profile work]\naws_access_key_id=W\naws_secret_access_key=w\n[profile sso]\nsso_session=x\n").unwrap();
    let variables = environment(&[("HOME", home.path().to_str().unwrap())]);
    let profile =
        |name: Option<&str>| AwsSource::profile(name.map(str::to_owned), variables.clone(), None);
    assert_eq!(
        find(profile(Some("work"))).await.unwrap().access_key_id,
        "W"
    );
    let default = profile(None);
    for key in ["one", "two"] {
        let file = format!("[default]\naws_access_key_id = D\naws_secret_access_key = {key}\naws_session_token = t\n");
        std::fs::write(aws.join("credentials"), file).unwrap();
        let found = default.provide().await.unwrap();
        assert_eq!(
            (found.secret_access_key, found.session_token),
            (key.into(), Some("t".into()))
        );
    }
    let error = find(profile(Some("sso"))).await.unwrap_err().to_string();
    assert!(
        error.contains("sso_session") && error.contains("not supported"),
        "{error}"
    );
    let error = find(profile(Some("none"))).await.unwrap_err().to_string();
    assert!(error.contains("profile none"), "{error}");
    let nowhere = environment(&[("HOME", "/does/not/exist")]);
    let error = find(AwsSource::profile(None, nowhere, None))
        .await
        .unwrap_err();
    assert!(matches!(error, CredentialsError::File { .. }), "{error}");
}

#[tokio::test]
async fn a_pod_assumes_its_role_by_the_token_in_its_file() {
    let xml = format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
         <AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey>\
         <SessionToken>tok</SessionToken><Expiration>{}</Expiration>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        expiration()
    );
    let sts = FakeHttp::start(move |_| answer(200, &xml)).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "e30.e30.sig\n").unwrap();
    let variables = [
        ("AWS_ENDPOINT_URL_STS", sts.url("/").as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_SESSION_NAME", "me"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let variables: AwsEnvironment = variables.into_iter().collect();
    is_temporary(find(AwsSource::web_identity(None, None, variables.clone(), None)).await);
    is_temporary(find(AwsSource::default_chain(variables, None)).await);
    let expected = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr\
                    &RoleSessionName=me&WebIdentityToken=e30.e30.sig";
    assert_eq!(sts.asked()[0].body, expected);
}

#[test]
fn the_token_service_of_the_own_region_is_asked() {
    for (variables, url) in [
        (&[][..], "https://sts.amazonaws.com/"),
        (
            &[("AWS_DEFAULT_REGION", "eu-west-1")],
            "https://sts.eu-west-1.amazonaws.com/",
        ),
        (
            &[("AWS_REGION", "cn-north-1")],
            "https://sts.cn-north-1.amazonaws.com.cn/",
        ),
    ] {
        assert_eq!(remote::sts_url(&environment(variables)), url);
    }
}

#[tokio::test]
async fn a_container_asks_its_agent() {
    let agent = FakeHttp::start(|_| answer(200, &json_answer())).await;
    let url = agent.url("/v1/credentials");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "from file\n").unwrap();
    let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str());
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "plain");
    let token_file = (
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        file.to_str().unwrap(),
    );
    is_temporary(find(AwsSource::container(environment(&[full, token]), None)).await);
    is_temporary(
        find(AwsSource::default_chain(
            environment(&[full, token_file]),
            None,
        ))
        .await,
    );
    let authorizations: Vec<_> = agent
        .asked()
        .iter()
        .map(|asked| asked.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(authorizations, ["plain", "from file"]);
    let evil = environment(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example/"),
        token,
    ]);
    let error = find(AwsSource::container(evil, None))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("not HTTPS") && !error.contains("plain,"),
        "{error}"
    );
}

#[tokio::test]
async fn an_instance_asks_version_2_of_its_metadata_service() {
    let imds = FakeHttp::start(|asked| {
        let authorized = asked.header("x-aws-ec2-metadata-token") == Some("imds-token");
        match asked.line.as_str() {
            "PUT /latest/api/token" => answer(200, "imds-token"),
            _ if !authorized => answer(401, ""),
            "GET /latest/meta-data/iam/security-credentials/" => answer(200, "my-role"),
            "GET /latest/meta-data/iam/security-credentials/my-role" => answer(200, &json_answer()),
            _ => answer(404, ""),
        }
    })
    .await;
    let url = imds.url("/");
    let endpoint = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str());
    is_temporary(find(AwsSource::instance(environment(&[endpoint]))).await);
    let home = ("HOME", "/does/not/exist");
    is_temporary(
        find(AwsSource::default_chain(
            environment(&[endpoint, home]),
            None,
        ))
        .await,
    );
    let disabled = ("AWS_EC2_METADATA_DISABLED", "true");
    assert!(
        find(AwsSource::instance(environment(&[endpoint, disabled])))
            .await
            .is_err()
    );
    assert_eq!(imds.asked().len(), 6);
}

#[tokio::test]
async fn answers_that_are_no_credentials_are_errors_and_not_quoted() {
    let old = json_answer().replace(&expiration(), "2001-01-01T00:00:00Z");
    for (body, expected) in [
        ("hunter2", "not JSON"),
        (
            r#"{"Code":"Success","SecretAccessKey":"hunter2"}"#,
            "AccessKeyId",
        ),
        (old.as_str(), "expired"),
    ] {
        let body = body.to_owned();
        let agent = FakeHttp::start(move |_| answer(200, &body)).await;
        let variables = [(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(),
            agent.url("/"),
        )];
        let error = find(AwsSource::container(variables.into_iter().collect(), None))
            .await
            .unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn all_connections_of_a_client_share_what_the_agent_has_said() {
    let agent = FakeHttp::start(|_| answer(200, &json_answer())).await;
    let variables = [(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(),
        agent.url("/"),
    )];
    let source = AwsSource::container(variables.into_iter().collect(), None);
    let mechanism = AwsMskIam::new(Renewed::new("c", source), None);
    let peer = Endpoint::named(HOST, 9098).unwrap();
    for _ in 0..3 {
        assert!(mechanism.start(&peer).await.is_ok());
    }
    assert_eq!(agent.asked().len(), 1);
}

#[test]
fn no_text_shows_credentials() {
    let secret = credentials(Some("hunter2"));
    let variables = environment(&[("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]);
    let text = format!("{secret:?} {secret:#?} {variables:?}");
    assert!(
        !text.contains(SECRET_KEY) && !text.contains("hunter2"),
        "{text}"
    );
}
