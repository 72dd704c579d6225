//! SASL options from Erlang (docs/boundary.md).

use std::sync::Arc;
use std::time::Duration;

use brod_engine::net::sasl::{
    AwsCredentials, AwsEnvironment, AwsMskIam, AwsSource, ClientCredentials, ClientProof, Fixed,
    LoginFile, Mechanism, OauthBearer, Plain, Renewed, Sasl, Scram, ScramHash, SecretFile,
    SignedAssertion,
};
use brod_engine::net::tls::{Tls, TlsError, TlsOptions};
use rustler::{LocalPid, NifResult, Term};

use super::ask::{pairs, secret, text, Asking};
use super::plugin::Plugin;
use crate::options::Options;

/// An assertion is signed for one request. Endpoints refuse those that are good for long.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(300);

/// Decodes the map that `brod_sasl_options` makes, for the client of that name. Answers of its provider are waited for until
/// `limit`. Fails with what is wrong with the TLS to a token endpoint.
pub(crate) fn decode(
    term: Term<'_>,
    client: &str,
    limit: Duration,
) -> NifResult<Result<Sasl, TlsError>> {
    let map = Options::new(term).ok_or_else(bad)?;
    let provider: LocalPid = required(&map, "provider")?.decode()?;
    let asking = Asking { provider, limit };
    let mechanism = required(&map, "mechanism")?.atom_to_string()?;
    let file = optional(&map, "file", text)?;
    let mechanism: Arc<dyn Mechanism> = match (mechanism.as_str(), file) {
        ("plain", None) => Arc::new(Plain::new(asking.logins())),
        ("plain", Some(file)) => Arc::new(Plain::new(LoginFile(file.into()))),
        ("scram_sha_256", file) => scram(ScramHash::Sha256, file, asking),
        ("scram_sha_512", file) => scram(ScramHash::Sha512, file, asking),
        ("oauthbearer", _) => match map.term("client_credentials") {
            None => Arc::new(OauthBearer::new(Renewed::new(client, asking.tokens()))),
            Some(options) => match client_credentials(options, asking)? {
                Ok(tokens) => Arc::new(OauthBearer::new(Renewed::new(client, tokens))),
                Err(why) => return Ok(Err(why)),
            },
        },
        ("aws_msk_iam", _) => match aws_msk_iam(&map, client, asking)? {
            Ok(mechanism) => Arc::new(mechanism),
            Err(why) => return Ok(Err(why)),
        },
        ("callback", _) => return Ok(Ok(Sasl::External(Arc::new(Plugin { provider })))),
        _ => return Err(bad()),
    };
    Ok(Ok(Sasl::Mechanism(mechanism)))
}

fn scram(hash: ScramHash, file: Option<String>, asking: Asking) -> Arc<Scram> {
    Arc::new(match file {
        None => Scram::new(hash, asking.logins()),
        Some(file) => Scram::new(hash, LoginFile(file.into())),
    })
}

fn client_credentials(
    options: Term<'_>,
    asking: Asking,
) -> NifResult<Result<ClientCredentials, TlsError>> {
    let map = Options::new(options).ok_or_else(bad)?;
    let tls = match optional(&map, "ssl", crate::tls::decode)? {
        None => Tls::new(TlsOptions::default()),
        Some(tls) => Tls::new(tls),
    };
    let tls = match tls {
        Ok(tls) => tls,
        Err(why) => return Ok(Err(why)),
    };
    let endpoint = text(required(&map, "token_endpoint")?)?;
    let id = optional(&map, "client_id", text)?;
    let proof = match (
        optional(&map, "client_secret", secret)?,
        optional(&map, "client_assertion_file", text)?,
        optional(&map, "client_assertion_key_file", text)?,
    ) {
        (Some(secret), ..) => ClientProof::Secret {
            id: id.ok_or_else(bad)?,
            secret,
            urlencode: map
                .term("urlencode")
                .is_some_and(|urlencode| urlencode.decode().unwrap_or(false)),
        },
        (None, Some(file), _) => ClientProof::Assertion {
            id,
            assertion: Box::new(SecretFile(file.into())),
        },
        (None, None, Some(key_file)) => ClientProof::Assertion {
            assertion: Box::new(SignedAssertion {
                key_file: key_file.into(),
                key_id: optional(&map, "client_assertion_key_id", text)?,
                client_id: id.clone().ok_or_else(bad)?,
                audience: optional(&map, "client_assertion_audience", text)?
                    .unwrap_or_else(|| endpoint.clone()),
                lifetime: ASSERTION_LIFETIME,
            }),
            id,
        },
        (None, None, None) => ClientProof::Assertion {
            id,
            assertion: Box::new(asking.assertions()),
        },
    };
    let list = |name| optional(&map, name, |list| pairs(list.decode()?));
    let timeout = optional(&map, "timeout", |ms| ms.decode())?;
    Ok(Ok(ClientCredentials {
        endpoint,
        proof,
        scope: optional(&map, "scope", text)?,
        parameters: list("parameters")?.unwrap_or_default(),
        extensions: list("extensions")?.unwrap_or_default(),
        tls: Some(tls),
        // Three attempts, and a connection that waits for them tells why there is no token.
        timeout: timeout.map_or(asking.limit / 4, Duration::from_millis),
    }))
}

fn aws_msk_iam(
    map: &Options<'_>,
    client: &str,
    asking: Asking,
) -> NifResult<Result<AwsMskIam, TlsError>> {
    let tls = match Tls::new(TlsOptions::default()) {
        Ok(tls) => Some(tls),
        Err(why) => return Ok(Err(why)),
    };
    let environment = AwsEnvironment::of_process();
    let region = optional(map, "region", text)?;
    let optional_text = |name| optional(map, name, text);
    let source = optional(map, "credentials", |source| source.atom_to_string())?;
    let mechanism = match (source.as_deref(), optional_text("access_key_id")?) {
        (Some("ask"), _) => AwsMskIam::new(Renewed::new(client, asking.credentials()), region),
        (_, Some(access_key_id)) => {
            let fixed = AwsCredentials {
                access_key_id,
                secret_access_key: secret(required(map, "secret_access_key")?)?,
                session_token: optional(map, "session_token", secret)?,
                lifetime: None,
            };
            AwsMskIam::new(Fixed(fixed), region)
        }
        (source, None) => {
            let profile = optional_text("profile")?;
            let role = optional_text("role_arn")?;
            let token_file = optional_text("token_file")?.map(Into::into);
            let source = match source {
                Some("environment") => AwsSource::environment(environment),
                Some("profile") => AwsSource::profile(profile, environment, tls),
                Some("web_identity") => AwsSource::web_identity(role, token_file, environment, tls),
                Some("container") => AwsSource::container(environment, tls),
                Some("instance") => AwsSource::instance(environment),
                Some("default") | None => AwsSource::default_chain(environment, tls),
                Some(_) => return Err(bad()),
            };
            AwsMskIam::new(Renewed::new(client, source), region)
        }
    };
    Ok(Ok(match optional_text("user_agent")? {
        Some(user_agent) => mechanism.with_user_agent(user_agent),
        None => mechanism,
    }))
}

fn required<'a>(map: &Options<'a>, name: &'static str) -> NifResult<Term<'a>> {
    map.term(name).ok_or_else(bad)
}

fn optional<'a, T>(
    map: &Options<'a>,
    name: &'static str,
    decode: impl FnOnce(Term<'a>) -> NifResult<T>,
) -> NifResult<Option<T>> {
    map.term(name).map(decode).transpose()
}

fn bad() -> rustler::Error {
    rustler::Error::BadArg
}
