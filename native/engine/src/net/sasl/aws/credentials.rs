//! AWS credentials, and the order in which they are looked for.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::{BoxFuture, CredentialsError, Perishable, Provider, Secret};
use super::{profile, remote, time};
use crate::net::tls::Tls;

/// What AWS knows a caller by.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsCredentials {
    /// `aws_access_key_id`
    pub access_key_id: String,
    /// `aws_secret_access_key`
    pub secret_access_key: Secret,
    /// `aws_session_token`, where the credentials are temporary.
    pub session_token: Option<Secret>,
    /// How long they are good, from when they were made into this. None: until they are revoked.
    pub lifetime: Option<Duration>,
}

impl Perishable for AwsCredentials {
    fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCredentials")
            .field("access_key_id", &self.access_key_id)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl AwsCredentials {
    /// Temporary ones that are good until `expiration`, which AWS writes as `2013-05-24T00:00:00Z`.
    pub(super) fn temporary(
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Secret,
        expiration: &str,
    ) -> Result<Self, CredentialsError> {
        let expiration = time::parse(expiration)
            .ok_or_else(|| none("the expiration of the credentials is no time"))?;
        let lifetime = expiration
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        if lifetime.is_zero() {
            return Err(none(
                "the credentials have expired already: check the clock",
            ));
        }
        Ok(AwsCredentials {
            access_key_id,
            secret_access_key,
            session_token: Some(session_token),
            lifetime: Some(lifetime),
        })
    }
}

pub(super) fn none(why: impl Into<String>) -> CredentialsError {
    CredentialsError::None(why.into())
}

/// Environment variables: those of the VM as they were when it started, unless told otherwise. (What
/// `os:putenv/2` sets is Erlang's alone.)
#[derive(Clone, Default)]
pub struct AwsEnvironment(HashMap<String, String>);

impl AwsEnvironment {
    /// The variables of the operating system's process.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn region(&self) -> Option<&str> {
        self.get("AWS_REGION")
            .or_else(|| self.get("AWS_DEFAULT_REGION"))
    }
}

impl FromIterator<(String, String)> for AwsEnvironment {
    /// Those of AWS and `HOME`; nobody has business with the others.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let ours = |(name, _): &(String, String)| name.starts_with("AWS_") || name == "HOME";
        AwsEnvironment(variables.into_iter().filter(ours).collect())
    }
}

impl fmt::Debug for AwsEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsEnvironment")
    }
}

/// Where AWS credentials are looked for.
pub struct AwsSource {
    kind: Kind,
    environment: AwsEnvironment,
    /// TLS to AWS's own services.
    tls: Option<Arc<Tls>>,
}

enum Kind {
    Environment,
    Profile {
        name: Option<String>,
    },
    WebIdentity {
        role_arn: Option<String>,
        token_file: Option<PathBuf>,
    },
    Container,
    Instance,
    Default,
}

impl AwsSource {
    fn new(kind: Kind, environment: AwsEnvironment, tls: Option<Arc<Tls>>) -> Self {
        AwsSource {
            kind,
            environment,
            tls,
        }
    }

    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub fn environment(environment: AwsEnvironment) -> Self {
        Self::new(Kind::Environment, environment, None)
    }

    /// A profile in `~/.aws/credentials` or `~/.aws/config`, read at each use; without a name that of
    /// `AWS_PROFILE`, or else `default`.
    pub fn profile(
        name: Option<String>,
        environment: AwsEnvironment,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        Self::new(Kind::Profile { name }, environment, tls)
    }

    /// A role assumed by a token in a file, as Kubernetes gives its pods; where something is not given, it
    /// is that of `AWS_ROLE_ARN` and `AWS_WEB_IDENTITY_TOKEN_FILE`.
    pub fn web_identity(
        role_arn: Option<String>,
        token_file: Option<PathBuf>,
        environment: AwsEnvironment,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        let kind = Kind::WebIdentity {
            role_arn,
            token_file,
        };
        Self::new(kind, environment, tls)
    }

    /// What the agent of ECS or EKS Pod Identity gives a container.
    pub fn container(environment: AwsEnvironment, tls: Option<Arc<Tls>>) -> Self {
        Self::new(Kind::Container, environment, tls)
    }

    /// The role of an EC2 instance, by its metadata service (version 2).
    pub fn instance(environment: AwsEnvironment) -> Self {
        Self::new(Kind::Instance, environment, None)
    }

    /// The first of: environment, web identity, profile, container, instance.
    pub fn default_chain(environment: AwsEnvironment, tls: Option<Arc<Tls>>) -> Self {
        Self::new(Kind::Default, environment, tls)
    }

    async fn find(&self) -> Result<AwsCredentials, CredentialsError> {
        let (environment, tls) = (&self.environment, self.tls.as_ref());
        match &self.kind {
            Kind::Environment => from_environment(environment),
            Kind::Profile { name } => match profile::read(name.as_deref(), environment).await? {
                profile::Found::Credentials(credentials) => Ok(credentials),
                profile::Found::WebIdentity(identity) => {
                    remote::web_identity(&identity, environment, tls).await
                }
            },
            Kind::WebIdentity {
                role_arn,
                token_file,
            } => {
                let variable = |name| environment.get(name).map(str::to_owned);
                let identity = remote::WebIdentity {
                    role_arn: role_arn
                        .clone()
                        .or_else(|| variable("AWS_ROLE_ARN"))
                        .ok_or_else(|| none("AWS_ROLE_ARN is not set"))?,
                    token_file: token_file
                        .clone()
                        .or_else(|| variable("AWS_WEB_IDENTITY_TOKEN_FILE").map(PathBuf::from))
                        .ok_or_else(|| none("AWS_WEB_IDENTITY_TOKEN_FILE is not set"))?,
                };
                remote::web_identity(&identity, environment, tls).await
            }
            Kind::Container => remote::container(environment, tls).await,
            Kind::Instance => remote::instance(environment).await,
            Kind::Default => {
                let kind = self.first_of_chain();
                let link = AwsSource::new(kind, environment.clone(), self.tls.clone());
                Box::pin(link.find()).await
            }
        }
    }

    /// Whatever somebody has set up is taken, and its error is the error: it is not passed over.
    fn first_of_chain(&self) -> Kind {
        let set = |name| self.environment.get(name).is_some();
        if set("AWS_ACCESS_KEY_ID") {
            Kind::Environment
        } else if set("AWS_WEB_IDENTITY_TOKEN_FILE") && set("AWS_ROLE_ARN") {
            Kind::WebIdentity {
                role_arn: None,
                token_file: None,
            }
        } else if profile::is_there(&self.environment) {
            Kind::Profile { name: None }
        } else if remote::is_in_container(&self.environment) {
            Kind::Container
        } else {
            Kind::Instance
        }
    }
}

impl Provider<AwsCredentials> for AwsSource {
    fn provide(&self) -> BoxFuture<'_, Result<AwsCredentials, CredentialsError>> {
        Box::pin(self.find())
    }
}

fn from_environment(environment: &AwsEnvironment) -> Result<AwsCredentials, CredentialsError> {
    let variable = |name| {
        let value = environment.get(name);
        value.ok_or_else(|| none(format!("{name} is not set")))
    };
    Ok(AwsCredentials {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?.to_owned(),
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?.into(),
        session_token: environment.get("AWS_SESSION_TOKEN").map(Secret::from),
        lifetime: None,
    })
}
