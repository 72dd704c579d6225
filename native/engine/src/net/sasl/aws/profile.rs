//! Profiles in AWS's shared files (`~/.aws/credentials`, `~/.aws/config`).

use std::path::PathBuf;

use super::super::login::{off_thread, read_secret};
use super::super::{CredentialsError, Secret};
use super::credentials::{none, AwsCredentials, AwsEnvironment};
use super::remote::WebIdentity;

/// What a profile has.
#[derive(Debug)]
pub(super) enum Found {
    Credentials(AwsCredentials),
    WebIdentity(WebIdentity),
}

struct Files {
    credentials: PathBuf,
    config: PathBuf,
}

impl Files {
    fn of(environment: &AwsEnvironment) -> Self {
        let path = |variable, name: &str| match environment.get(variable) {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(environment.get("HOME").unwrap_or("/"))
                .join(".aws")
                .join(name),
        };
        Files {
            credentials: path("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: path("AWS_CONFIG_FILE", "config"),
        }
    }
}

/// Whether somebody has set up profiles here.
pub(super) fn is_there(environment: &AwsEnvironment) -> bool {
    let files = Files::of(environment);
    environment.get("AWS_PROFILE").is_some() || files.credentials.exists() || files.config.exists()
}

/// Reads both files; what the first one says about a profile counts more.
pub(super) async fn read(
    name: Option<&str>,
    environment: &AwsEnvironment,
) -> Result<Found, CredentialsError> {
    let name = name
        .or_else(|| environment.get("AWS_PROFILE"))
        .unwrap_or("default")
        .to_owned();
    let files = Files::of(environment);
    off_thread(move || {
        let credentials = read_secret(&files.credentials);
        let config = read_secret(&files.config);
        let (credentials, config) = match (credentials, config) {
            (Err(error), Err(_)) => return Err(error),
            (credentials, config) => (credentials.unwrap_or_default(), config.unwrap_or_default()),
        };
        let section = match name.as_str() {
            "default" => "default".into(),
            name => format!("profile {name}"),
        };
        let get = |key: &str| {
            let first = lookup(&credentials, &name, key);
            first.or_else(|| lookup(&config, &section, key))
        };
        pick(&name, get)
    })
    .await
}

fn pick(name: &str, get: impl Fn(&str) -> Option<Secret>) -> Result<Found, CredentialsError> {
    let text = |key| get(key).and_then(|value| value.expose_str().map(str::to_owned));
    let both = (text("aws_access_key_id"), get("aws_secret_access_key"));
    if let (Some(access_key_id), Some(secret_access_key)) = both {
        return Ok(Found::Credentials(AwsCredentials {
            access_key_id,
            secret_access_key,
            session_token: get("aws_session_token"),
            lifetime: None,
        }));
    }
    if let (Some(role_arn), Some(file)) = (text("role_arn"), text("web_identity_token_file")) {
        let token_file = file.into();
        return Ok(Found::WebIdentity(WebIdentity {
            role_arn,
            token_file,
        }));
    }
    let others = [
        "source_profile",
        "credential_source",
        "credential_process",
        "sso_session",
        "sso_start_url",
    ];
    match others.into_iter().find(|key| get(key).is_some()) {
        Some(key) => Err(none(format!(
            "profile {name} uses {key}, which is not supported: let a fun return credentials"
        ))),
        None => Err(none(format!(
            "profile {name} is not there, or has no access key"
        ))),
    }
}

/// The value of a key in a section of an INI file.
fn lookup(file: &Secret, section: &str, key: &str) -> Option<Secret> {
    let mut here = false;
    let mut found = None;
    for line in file
        .expose()
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
    {
        if let Some(header) = line.strip_prefix(b"[") {
            let header = header
                .split(|&byte| byte == b']')
                .next()
                .unwrap_or_default();
            here = words(header) == words(section.as_bytes());
        } else if let (true, Some(at)) = (here, line.iter().position(|&byte| byte == b'=')) {
            if line[..at].trim_ascii().eq_ignore_ascii_case(key.as_bytes()) {
                found = Some(Secret::from(line[at + 1..].trim_ascii().to_vec()));
            }
        }
    }
    found.filter(|value| !value.is_empty())
}

fn words(text: &[u8]) -> Vec<&[u8]> {
    text.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_is_found_in_its_section() {
        let file = Secret::from(
            "# x = 0\nx=0\n[ a ]\r\nx = 1 \n; y = 2\n[profile  b]\nX=3==\nx2=4\n[a]\ny=\n",
        );
        let get = |section, key| {
            let value = lookup(&file, section, key)?;
            Some(value.expose_str()?.to_owned())
        };
        assert_eq!(get("a", "x").as_deref(), Some("1"));
        assert_eq!(get("profile b", "x").as_deref(), Some("3=="));
        assert_eq!(get("a", "y"), None);
        assert_eq!(get("b", "x"), None);
        assert_eq!(get("default", "x"), None);
    }

    proptest! {
        #[test]
        fn any_file_can_be_searched(
            file in prop_oneof![
                any::<Vec<u8>>(),
                "(\\[?[a ]{0,3}\\]?|[xy ]{0,2}=?[a-z= ]{0,3})(\n.{0,5}){0,5}".prop_map(String::into_bytes),
            ],
        ) {
            let found = lookup(&file.into(), "a", "x");
            prop_assert!(found.is_none_or(|value| !value.is_empty()));
        }
    }
}
