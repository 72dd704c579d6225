//! AWS_MSK_IAM, the mechanism of Amazon MSK: the client signs a request to connect with its AWS credentials
//! (Signature Version 4) and sends it, in JSON, in place of a password.

mod credentials;
mod profile;
mod remote;
mod sigv4;
mod time;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use super::{BoxFuture, Exchange, Mechanism, Provider, SaslError, Secret, Step};
use crate::net::Endpoint;

pub use credentials::{AwsCredentials, AwsEnvironment, AwsSource};
use sigv4::{CanonicalRequest, Scope};

const NAME: &str = "AWS_MSK_IAM";
const SERVICE: &str = "kafka-cluster";
const ACTION: &str = "kafka-cluster:Connect";
/// How long the signed request may be under way, in seconds.
const EXPIRES: &str = "900";

/// AWS_MSK_IAM with credentials of a provider; [`super::Renewed`] keeps those that expire.
pub struct AwsMskIam {
    credentials: Arc<dyn Provider<AwsCredentials>>,
    region: Option<String>,
    user_agent: String,
}

impl AwsMskIam {
    /// With credentials from `credentials`. Without `region` it is taken from the brokers' names.
    pub fn new(
        credentials: impl Provider<AwsCredentials> + 'static,
        region: Option<String>,
    ) -> Self {
        AwsMskIam {
            credentials: Arc::new(credentials),
            region,
            user_agent: concat!("brod/", env!("CARGO_PKG_VERSION")).into(),
        }
    }

    /// What AWS logs of the client, and what policies may ask for (`aws:UserAgent`).
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    fn payload(
        &self,
        host: &str,
        credentials: &AwsCredentials,
        now: SystemTime,
    ) -> Result<Secret, SaslError> {
        let region = self
            .region
            .as_deref()
            .or_else(|| region_of(host))
            .ok_or_else(|| {
                let why = format!("the name {host} tells no region: set region");
                SaslError::unfit(NAME, &why)
            })?;
        let timestamp = time::timestamp(now);
        let scope = Scope {
            timestamp: &timestamp,
            region,
            service: SERVICE,
        };
        let credential = format!("{}/{}", credentials.access_key_id, scope.text());
        // In the order of their names.
        let mut query: Vec<(&str, &[u8])> = vec![
            ("Action", ACTION.as_bytes()),
            ("X-Amz-Algorithm", sigv4::ALGORITHM.as_bytes()),
            ("X-Amz-Credential", credential.as_bytes()),
            ("X-Amz-Date", timestamp.as_bytes()),
            ("X-Amz-Expires", EXPIRES.as_bytes()),
        ];
        if let Some(token) = &credentials.session_token {
            query.push(("X-Amz-Security-Token", token.expose()));
        }
        query.push(("X-Amz-SignedHeaders", b"host"));
        let request = CanonicalRequest {
            host,
            path: "/",
            query: &query,
            payload_hash: &sigv4::empty_payload(),
        };
        let signature = scope.sign(&credentials.secret_access_key, &request);
        let mut fields = query;
        fields.extend([
            ("X-Amz-Signature", signature.as_bytes()),
            ("Version", b"2020_10_22"),
            ("Host", host.as_bytes()),
            ("User-Agent", self.user_agent.as_bytes()),
        ]);
        json(&fields).ok_or_else(|| SaslError::unfit(NAME, "the session token is not text"))
    }
}

impl Mechanism for AwsMskIam {
    fn name(&self) -> &str {
        NAME
    }

    fn start<'a>(
        &'a self,
        peer: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Exchange>, SaslError>> {
        Box::pin(async {
            let credentials = self.credentials.provide().await;
            let credentials = credentials.map_err(|error| error.of(NAME))?;
            let payload = self.payload(&peer.host, &credentials, SystemTime::now())?;
            Ok(Box::new(AwsExchange::Greeting(payload)) as Box<dyn Exchange>)
        })
    }

    fn refused(&self) {
        self.credentials.refused();
    }
}

/// A JSON object of texts, its names in lower case.
fn json(fields: &[(&str, &[u8])]) -> Option<Secret> {
    let mut object = Secret::from("{");
    for (name, value) in fields {
        let comma: &[u8] = if object.expose() == b"{" { b"" } else { b"," };
        let name = name.to_ascii_lowercase();
        let value = std::str::from_utf8(value).ok()?;
        let value = Secret::from(serde_json::to_vec(value).ok()?);
        let parts = [
            object.expose(),
            comma,
            b"\"",
            name.as_bytes(),
            b"\":",
            value.expose(),
        ];
        object = Secret::concat(&parts);
    }
    Some(Secret::concat(&[object.expose(), b"}"]))
}

/// The region in a broker's name, as in `b-1.name.abc.c2.kafka.eu-west-1.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let mut labels = host.split('.');
    labels.find(|label| matches!(*label, "kafka" | "kafka-serverless"))?;
    let region = labels.next()?;
    // A region is followed by the domain of its partition.
    let domain = labels.next()?;
    (region.contains('-') && !domain.is_empty()).then_some(region)
}

enum AwsExchange {
    Greeting(Secret),
    Sent,
}

impl Exchange for AwsExchange {
    fn next(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        match std::mem::replace(self, AwsExchange::Sent) {
            AwsExchange::Greeting(payload) => Ok(Step::last(payload)),
            // It names its version and the request's id, which is for support requests.
            AwsExchange::Sent if challenge.is_empty() => Err(SaslError::bad_broker(
                NAME,
                "it agrees without a word, which MSK does not",
            )),
            AwsExchange::Sent => {
                let answer = String::from_utf8_lossy(challenge);
                tracing::debug!(%answer, "MSK has accepted the client");
                Ok(Step::Done)
            }
        }
    }
}
