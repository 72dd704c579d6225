//! Files that are read again when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::{FileFault, TlsError};

/// No certificate or key is longer; whole bundles of roots are a fraction of that.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// How a set of files looked: when each was last written, and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<(SystemTime, u64)>>);

impl Stamps {
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let stamp = |path: &PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        Stamps(paths.iter().map(stamp).collect())
    }
}

/// A file's bytes; `option` names it.
pub(super) fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let meta = std::fs::metadata(path)?;
        if meta.len() > MAX_FILE {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        std::fs::read(path)
    };
    read().map_err(|error| TlsError::File {
        option,
        path: path.to_owned(),
        why: FileFault::Io(error.kind()),
    })
}

/// What a file holds is not what it should.
pub(super) fn content(option: &'static str, path: &Path, why: impl Into<String>) -> TlsError {
    TlsError::File {
        option,
        path: path.to_owned(),
        why: FileFault::Content(why.into()),
    }
}
