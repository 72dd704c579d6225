//! PLAIN (RFC 4616): user and password in one message.

use std::sync::Arc;

use super::{BoxFuture, Exchange, Login, Mechanism, Provider, SaslError, Secret, Step};
use crate::net::Endpoint;

const NAME: &str = "PLAIN";

/// PLAIN: the password crosses the network as it is, so it wants TLS.
pub struct Plain {
    logins: Arc<dyn Provider<Login>>,
}

impl Plain {
    /// With user and password from `logins`.
    pub fn new(logins: impl Provider<Login> + 'static) -> Self {
        let logins = Arc::new(logins);
        Plain { logins }
    }
}

impl Mechanism for Plain {
    fn name(&self) -> &str {
        NAME
    }

    fn start<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Exchange>, SaslError>> {
        Box::pin(async {
            let login = self.logins.provide().await;
            let login = login.map_err(|error| error.of(NAME))?;
            let message = Some(message(&login)?);
            Ok(Box::new(PlainExchange { message }) as Box<dyn Exchange>)
        })
    }
}

fn message(Login { user, password }: &Login) -> Result<Secret, SaslError> {
    if user.is_empty() || password.is_empty() {
        return Err(SaslError::unfit(NAME, "user or password is empty"));
    }
    if user.contains('\0') || password.expose().contains(&0) {
        return Err(SaslError::unfit(NAME, "user or password has a zero byte"));
    }
    let parts = [b"\0", user.as_bytes(), b"\0", password.expose()];
    Ok(Secret::concat(&parts))
}

struct PlainExchange {
    message: Option<Secret>,
}

impl Exchange for PlainExchange {
    fn next(&mut self, _: &[u8]) -> Result<Step, SaslError> {
        Ok(self.message.take().map_or(Step::Done, Step::last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_sends_user_and_password_as_in_the_rfc() {
        let message = message(&Login::new("tim", "tanstaaftanstaaf")).unwrap();
        assert_eq!(message.expose(), b"\0tim\0tanstaaftanstaaf");
    }

    #[test]
    fn what_would_be_read_as_another_user_or_password_is_not_sent() {
        for (user, password) in [("tim\0root", "p"), ("tim", "p\0q"), ("", "p"), ("tim", "")] {
            let error = message(&Login::new(user, password)).unwrap_err();
            assert!(matches!(error, SaslError::NoCredentials { .. }), "{error}");
        }
    }
}
