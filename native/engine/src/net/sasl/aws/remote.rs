//! Credentials that AWS gives whom it knows already: by the place where they run, or by a token of somebody
//! that it trusts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::super::http::{self, escape, with_retries, Call, HttpError, Plaintext};
use super::super::login::{off_thread, read_secret};
use super::super::{CredentialsError, Secret};
use super::credentials::{none, AwsCredentials, AwsEnvironment};
use crate::net::tls::Tls;

/// These services are next door, and where there are none, nobody should wait for long.
const NEARBY: Duration = Duration::from_secs(1);
const FAR: Duration = Duration::from_secs(4);
const ECS_HOST: &str = "169.254.170.2";
/// Whom the agents may be without TLS, apart from this machine.
const AGENT_HOSTS: [&str; 3] = [ECS_HOST, "169.254.170.23", "fd00:ec2::23"];

/// A role, and the file with the token that lets one assume it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebIdentity {
    pub(super) role_arn: String,
    pub(super) token_file: PathBuf,
}

/// STS AssumeRoleWithWebIdentity.
pub(super) async fn web_identity(
    identity: &WebIdentity,
    environment: &AwsEnvironment,
    tls: Option<&Arc<Tls>>,
) -> Result<AwsCredentials, CredentialsError> {
    let file = identity.token_file.clone();
    let token = off_thread(move || read_secret(&file)).await?;
    let session = match environment.get("AWS_ROLE_SESSION_NAME") {
        Some(name) => name.to_owned(),
        None => format!("brod-{:08x}", rand::random::<u32>()),
    };
    let body = Secret::concat(&[
        b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=",
        escape(identity.role_arn.as_bytes()).expose(),
        b"&RoleSessionName=",
        escape(session.as_bytes()).expose(),
        b"&WebIdentityToken=",
        escape(token.expose().trim_ascii()).expose(),
    ]);
    let url = sts_url(environment);
    let ask = || {
        let call = Call::form(&url, body.clone());
        http::send(call, tls, Plaintext::Loopback, FAR)
    };
    let answer = with_retries(ask)
        .await
        .map_err(|error| told("AWS STS", error))?;
    let xml = answer.expose_str().unwrap_or_default();
    let field = |name| {
        let text = http::xml_text(xml, name);
        text.ok_or_else(|| none(format!("AWS STS answers without {name}")))
    };
    AwsCredentials::temporary(
        field("AccessKeyId")?.into(),
        field("SecretAccessKey")?.into(),
        field("SessionToken")?.into(),
        field("Expiration")?,
    )
}

pub(super) fn sts_url(environment: &AwsEnvironment) -> String {
    match (
        environment.get("AWS_ENDPOINT_URL_STS"),
        environment.region(),
    ) {
        (Some(url), _) => url.to_owned(),
        (None, Some(region)) if region.starts_with("cn-") => {
            format!("https://sts.{region}.amazonaws.com.cn/")
        }
        (None, Some(region)) => format!("https://sts.{region}.amazonaws.com/"),
        (None, None) => "https://sts.amazonaws.com/".into(),
    }
}

pub(super) fn is_in_container(environment: &AwsEnvironment) -> bool {
    environment
        .get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        .is_some()
        || environment
            .get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
            .is_some()
}

/// What the agent of ECS or EKS Pod Identity has for this container.
pub(super) async fn container(
    environment: &AwsEnvironment,
    tls: Option<&Arc<Tls>>,
) -> Result<AwsCredentials, CredentialsError> {
    let url = match environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        Some(path) => format!("http://{ECS_HOST}{path}"),
        None => environment
            .get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
            .ok_or_else(|| none("AWS_CONTAINER_CREDENTIALS_FULL_URI is not set"))?
            .to_owned(),
    };
    let authorization = match environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => {
            // It is replaced while the container runs, so it is read each time.
            let file = PathBuf::from(file);
            let token = off_thread(move || read_secret(&file)).await?;
            Some(Secret::from(token.expose().trim_ascii().to_vec()))
        }
        None => environment
            .get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            .map(Secret::from),
    };
    let plaintext = match AGENT_HOSTS.iter().any(|host| is_at(&url, host)) {
        true => Plaintext::Anywhere,
        false => Plaintext::Loopback,
    };
    let ask = || {
        let mut call = Call::get(&url);
        if let Some(authorization) = authorization.clone() {
            call = call.header("authorization", authorization);
        }
        http::send(call, tls, plaintext, NEARBY)
    };
    let answer = with_retries(ask)
        .await
        .map_err(|error| told("the container's agent", error))?;
    read(&answer)
}

fn is_at(url: &str, host: &str) -> bool {
    let uri = url.parse::<hyper::Uri>().ok();
    let found = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    found.trim_start_matches('[').trim_end_matches(']') == host
}

/// The role of this EC2 instance. Version 2 of the metadata service alone: a token first, then the role's
/// name, then its credentials.
pub(super) async fn instance(
    environment: &AwsEnvironment,
) -> Result<AwsCredentials, CredentialsError> {
    if environment
        .get("AWS_EC2_METADATA_DISABLED")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"))
    {
        return Err(none(
            "there are no AWS credentials, and AWS_EC2_METADATA_DISABLED is set",
        ));
    }
    let endpoint = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let endpoint = endpoint
        .unwrap_or("http://169.254.169.254")
        .trim_end_matches('/');
    let told = |error| {
        told(
            "the metadata service of EC2, where AWS credentials were looked for last",
            error,
        )
    };
    let send = |call| http::send(call, None, Plaintext::Anywhere, NEARBY);
    let token = with_retries(|| {
        let call = Call::put(format!("{endpoint}/latest/api/token"));
        send(call.header("x-aws-ec2-metadata-token-ttl-seconds", "60"))
    });
    let token = token.await.map_err(told)?;
    let get = async |path: String| {
        let call = || Call::get(&path).header("x-aws-ec2-metadata-token", token.clone());
        with_retries(|| send(call())).await.map_err(told)
    };
    let roles = format!("{endpoint}/latest/meta-data/iam/security-credentials/");
    let role = get(roles.clone()).await?;
    let role = role
        .expose_str()
        .and_then(|text| text.lines().next())
        .unwrap_or_default()
        .trim();
    if role.is_empty() || role.contains(['/', '?', '#']) {
        return Err(none("this EC2 instance has no role"));
    }
    read(&get(format!("{roles}{role}")).await?)
}

/// Credentials in JSON, as all of AWS's local services write them.
fn read(answer: &Secret) -> Result<AwsCredentials, CredentialsError> {
    let mut json = serde_json::from_slice::<Value>(answer.expose())
        .map_err(|_| none("AWS answers with what is not JSON"))?;
    let mut field = |name| match json.get_mut(name).map(Value::take) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(none(format!("AWS answers without {name}"))),
    };
    AwsCredentials::temporary(
        field("AccessKeyId")?,
        field("SecretAccessKey")?.into(),
        field("Token")?.into(),
        &field("Expiration")?,
    )
}

fn told(whom: &str, error: HttpError) -> CredentialsError {
    none(format!("{whom}: {error}"))
}
