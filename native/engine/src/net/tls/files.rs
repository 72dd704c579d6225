//! Files that are read again when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::super::disk;
use super::error::{FileFault, TlsError};

/// No certificate or key is longer; whole bundles of roots are a fraction of that.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// How a set of files looked: when each was last written, and its size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<(SystemTime, u64)>>);

impl Stamps {
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut hangs = false;
        let stamp = |path: &PathBuf| {
            // The others are on the same disk.
            if hangs {
                return None;
            }
            let looked = disk::within(path, |path| std::fs::metadata(path));
            hangs = matches!(&looked, Err(why) if why.kind() == io::ErrorKind::TimedOut);
            let meta = looked.ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        Stamps(paths.iter().map(stamp).collect())
    }

    /// Whether all files could be looked at.
    pub(super) fn are_complete(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }
}

/// A file's bytes, which may be a key; `option` names it.
pub(super) fn read(option: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let read = |path: &Path| {
        // Allocated once, so that no part of a key is left where it grew.
        let size = std::fs::metadata(path)?.len().min(MAX_FILE) as usize;
        let mut content = Zeroizing::new(Vec::with_capacity(size + 1));
        disk::read_into(path, MAX_FILE, &mut content)?;
        Ok(content)
    };
    disk::within(path, read).map_err(|error| TlsError::File {
        option,
        path: path.to_owned(),
        why: FileFault::Io(error.into()),
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
