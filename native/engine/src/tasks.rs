//! What is spawned.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::sync::oneshot;

/// A future for tokio to spawn. Of each type of future that it is given tokio makes some ten functions of its own, and all of
/// them twice, once for either kind of runtime: of seventy types that was a tenth of the library. Boxed they are one type, for
/// an allocation a task and an indirect call each time that it is polled.
pub fn boxed<T>(
    future: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(future)
}

/// Runs what may block (a resolver, a file, the thousands of rounds of a password) on a thread of its own. Fails where the system
/// gives no thread, as behind a limit of processes, and where `work` panicked. Tokio's own pool says nothing then, and the
/// work is left until somebody else's finds a thread.
pub async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("brod blocking".into())
        .spawn(move || {
            // Who asked may have given up.
            let _ = done.send(work());
        })?;
    result.await.map_err(|_| io::Error::other("it panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_on_its_thread_is_an_error() {
        assert_eq!(on_thread(|| 7).await.unwrap(), 7);
        assert!(on_thread(|| panic!("as it should")).await.is_err());
    }
}
