//! User and password, for PLAIN and SCRAM.

use std::path::{Path, PathBuf};

use super::super::disk;
use super::{BoxFuture, CredentialsError, Provider, Secret};
use crate::tasks::on_thread;

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Name of the user, which is no secret.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl Login {
    /// Both at once.
    pub fn new(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Login {
            user: user.into(),
            password: password.into(),
        }
    }
}

/// A file with user and password on two lines, read at each authentication: who changes it need not
/// restart anything.
pub struct LoginFile(pub PathBuf);

impl Provider<Login> for LoginFile {
    fn provide(&self) -> BoxFuture<'_, Result<Login, CredentialsError>> {
        let path = self.0.clone();
        Box::pin(async { off_thread(move || read_login(&path)).await })
    }
}

/// A file with one secret, an assertion for instance, read at each use.
pub struct SecretFile(pub PathBuf);

impl Provider<Secret> for SecretFile {
    fn provide(&self) -> BoxFuture<'_, Result<Secret, CredentialsError>> {
        let path = self.0.clone();
        Box::pin(async { off_thread(move || read_secret(&path)).await })
    }
}

fn read_login(path: &Path) -> Result<Login, CredentialsError> {
    let text = read_secret(path)?;
    let unfit = |what: &str| CredentialsError::None(format!("{}: {what}", path.display()));
    let text = text.expose_str().ok_or_else(|| unfit("it is not UTF-8"))?;
    let mut lines = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .filter(|line| !line.is_empty());
    match (lines.next(), lines.next(), lines.next()) {
        (Some(user), Some(password), None) => Ok(Login::new(user, password)),
        _ => Err(unfit("it must hold two lines, user and password")),
    }
}

/// Reads a small file with secrets into memory that is overwritten afterwards.
pub(super) fn read_secret(path: &Path) -> Result<Secret, CredentialsError> {
    const LIMIT: u64 = 64 * 1024;
    let read = |path: &Path| {
        // One byte more than it may have, allocated once.
        let mut content = Vec::with_capacity(LIMIT as usize + 1);
        let result = disk::read_into(path, LIMIT, &mut content);
        let content = Secret::from(content);
        result.map(|()| content)
    };
    disk::within(path, read).map_err(|error| CredentialsError::File {
        path: path.to_owned(),
        why: error.into(),
    })
}

/// Runs what may block, a file system for instance, on a thread where that does not matter.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CredentialsError> + Send + 'static,
) -> Result<T, CredentialsError> {
    match on_thread(work).await {
        Ok(result) => result,
        Err(error) => Err(CredentialsError::None(format!("no thread: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    async fn read(content: &[u8]) -> Result<Login, CredentialsError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("login");
        std::fs::write(&path, content).unwrap();
        LoginFile(path).provide().await
    }

    #[tokio::test]
    async fn a_file_has_user_and_password_on_two_lines() {
        let login = Login::new("alice", "p w");
        for content in [
            "alice\np w",
            "alice\np w\n",
            "alice\r\np w\r\n",
            "\nalice\n\np w\n\n",
        ] {
            assert_eq!(
                read(content.as_bytes()).await,
                Ok(login.clone()),
                "{content:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_file_is_read_again_at_each_authentication() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("login");
        let file = LoginFile(path.clone());
        for password in ["old", "new"] {
            std::fs::write(&path, format!("alice\n{password}\n")).unwrap();
            assert_eq!(file.provide().await, Ok(Login::new("alice", password)));
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_named_in_the_error_and_its_content_is_not() {
        for content in [
            &b""[..],
            b"alice",
            b"alice\nhunter2\nmore",
            b"alice\nhunter2\xff",
        ] {
            let error = read(content).await.unwrap_err().to_string();
            assert!(
                error.contains("login") && !error.contains("hunter2"),
                "{error}"
            );
        }
        let error = LoginFile("/does/not/exist".into()).provide().await;
        let path = "/does/not/exist".into();
        let why = io::Error::from_raw_os_error(2).into();
        assert_eq!(error, Err(CredentialsError::File { path, why }));
        let error = read(&vec![b'a'; 100_000]).await.unwrap_err();
        let kind = io::ErrorKind::FileTooLarge;
        assert!(matches!(error, CredentialsError::File { why, .. } if why.kind == kind));
    }
}
