//! Where credentials come from: asked for anew at each authentication.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::FileError;
use super::{BoxFuture, SaslError};

/// Why there are no credentials. It quotes no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: FileError,
    },
    /// Whoever was asked has none, and says why.
    #[error("{0}")]
    None(String),
}

impl CredentialsError {
    /// As an error of the mechanism that wanted them.
    pub(super) fn of(self, mechanism: &str) -> SaslError {
        let mechanism = mechanism.into();
        match self {
            CredentialsError::File { path, why } => SaslError::File {
                mechanism,
                path,
                why,
            },
            CredentialsError::None(why) => SaslError::NoCredentials { mechanism, why },
        }
    }
}

/// Has credentials of the kind `T`, or knows whom to ask for them.
pub trait Provider<T>: Send + Sync {
    /// Credentials that are good now.
    fn provide(&self) -> BoxFuture<'_, Result<T, CredentialsError>>;

    /// A broker has refused what was provided last: nothing that is kept is to be provided again.
    fn refused(&self) {}
}

/// Credentials that do not change.
pub struct Fixed<T>(pub T);

impl<T: Clone + Send + Sync> Provider<T> for Fixed<T> {
    fn provide(&self) -> BoxFuture<'_, Result<T, CredentialsError>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

/// Somebody outside the engine who is asked each time, such as a fun that an Erlang process holds.
pub struct Asked<T> {
    ask: Box<dyn Fn(Reply<T>) + Send + Sync>,
    limit: Duration,
}

impl<T> Asked<T> {
    /// `ask` passes the question on and returns at once; the answer goes into the [`Reply`], at the latest
    /// after `limit`.
    pub fn new(limit: Duration, ask: impl Fn(Reply<T>) + Send + Sync + 'static) -> Self {
        let ask = Box::new(ask);
        Asked { ask, limit }
    }
}

impl<T: Send> Provider<T> for Asked<T> {
    fn provide(&self) -> BoxFuture<'_, Result<T, CredentialsError>> {
        Box::pin(async {
            let (reply, answer) = oneshot::channel();
            (self.ask)(Reply(reply));
            match tokio::time::timeout(self.limit, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(CredentialsError::None(
                    "the process that was asked is gone".into(),
                )),
                Err(_) => Err(CredentialsError::None(format!(
                    "the fun did not return within {} ms",
                    self.limit.as_millis()
                ))),
            }
        })
    }
}

/// Takes one answer. Dropped without one, it tells that there will be none.
pub struct Reply<T>(oneshot::Sender<Result<T, CredentialsError>>);

impl<T> Reply<T> {
    /// Answers. It does not matter whether somebody still waits.
    pub fn send(self, answer: Result<T, CredentialsError>) {
        let _ = self.0.send(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn somebody_who_is_asked_answers_anew_each_time() {
        let count = Mutex::new(0);
        let asked = Asked::new(LIMIT, move |reply| {
            let mut count = count.lock();
            *count += 1;
            reply.send(Ok(*count));
        });
        assert_eq!(asked.provide().await, Ok(1));
        assert_eq!(asked.provide().await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_answer_that_does_not_come() {
        let kept = Mutex::new(Vec::new());
        let silent = Asked::<u8>::new(LIMIT, move |reply| kept.lock().push(reply));
        let error = silent.provide().await.unwrap_err();
        assert!(error.to_string().contains("5000 ms"), "{error}");
        let gone = Asked::<u8>::new(LIMIT, drop);
        let error = gone.provide().await.unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
    }
}
