//! Files on disks that may hang: a server of files that is gone, a FIFO that nobody writes to.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::attempt::Attempt;

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct FileError {
    /// As Rust calls it.
    pub kind: io::ErrorKind,
    /// The system's number: Rust has no name for a process without descriptors, for one.
    pub code: Option<i32>,
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        FileError {
            kind: error.kind(),
            code: error.raw_os_error(),
        }
    }
}

/// What is being worked on: a path by one at a time.
static BUSY: Mutex<Option<HashMap<PathBuf, Attempt>>> = Mutex::new(None);

/// A path is free again.
static FREE: Condvar = Condvar::new();

/// Does `work` with a path. Fails with `TimedOut` where it takes too long, and at once where somebody else's has taken that long and
/// it is not time yet for another attempt.
pub(super) fn within<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let until = reserve(path)?;
    let reserved = Reserved(path.to_owned());
    let (done, result) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new()
        .name("brod disk".into())
        .spawn(move || {
            let result = work(&reserved.0);
            drop(reserved);
            // Who asked may have given up.
            let _ = done.send(result);
        })?;
    result
        .recv_timeout(until.saturating_duration_since(Instant::now()))
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Fills `content` with all that a file holds, at most `limit` bytes. Its size says nothing: that of a pipe and of a device is 0.
pub(super) fn read_into(path: &Path, limit: u64, content: &mut Vec<u8>) -> io::Result<()> {
    match File::open(path)?.take(limit + 1).read_to_end(content)? {
        size if size as u64 > limit => Err(io::ErrorKind::FileTooLarge.into()),
        _ => Ok(()),
    }
}

/// Takes a path once it is free. Answers until when it may be worked on.
fn reserve(path: &Path) -> io::Result<Instant> {
    let mut busy = BUSY.lock();
    let attempt = loop {
        let now = Instant::now();
        let Some(other) = busy.get_or_insert_default().get(path) else {
            break Attempt::first(now);
        };
        if let Some(next) = other.next(now) {
            break next;
        }
        let until = other.until();
        if until <= now {
            return Err(io::ErrorKind::TimedOut.into());
        }
        FREE.wait_until(&mut busy, until);
    };
    busy.get_or_insert_default()
        .insert(path.to_owned(), attempt);
    Ok(attempt.until())
}

/// Gives the path back when it is dropped.
struct Reserved(PathBuf);

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(busy) = &mut *BUSY.lock() {
            busy.remove(&self.0);
        }
        FREE.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::attempt::PATIENCE;
    use super::*;

    fn hangs() -> (mpsc::Sender<()>, impl FnOnce(&Path) -> io::Result<()>) {
        let (go_on, waits) = mpsc::channel::<()>();
        (go_on, move |_: &Path| {
            let _ = waits.recv();
            Ok(())
        })
    }

    fn timed_out(result: io::Result<()>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    #[test]
    fn a_path_that_hangs_is_waited_for_once_and_used_again_when_it_is_back() {
        let path = Path::new("/hangs");
        let (go_on, work) = hangs();
        assert!(timed_out(within(path, work)));
        let before = Instant::now();
        assert!(timed_out(within(path, |_| panic!("another thread hangs"))));
        assert_eq!(within(Path::new("/another"), |_| Ok(7)).unwrap(), 7);
        let long_ago = Attempt::first(before - 2 * PATIENCE);
        let mut busy = BUSY.lock();
        busy.as_mut().unwrap().insert(path.to_owned(), long_ago);
        drop(busy);
        // Another file is there by now, and the first one still hangs.
        assert_eq!(within(path, |_| Ok(7)).unwrap(), 7);
        drop(go_on);
        while BUSY.lock().as_ref().unwrap().contains_key(path) {
            thread::yield_now();
        }
        assert_eq!(within(path, |_| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn one_path_is_read_by_one_after_the_other() {
        let path = Path::new("/in/turn");
        let readers: Vec<_> = (0..20)
            .map(|n| thread::spawn(move || within(path, move |_| Ok(n)).unwrap()))
            .collect();
        let read: Vec<_> = readers.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(read, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn what_has_no_end_is_read_to_the_limit() {
        let error = read_into(Path::new("/dev/zero"), 1000, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
