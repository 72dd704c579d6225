//! What is spawned.

use std::future::Future;
use std::pin::Pin;

/// A future for tokio to spawn. Of each type of future that it is given tokio makes some ten functions of its own, and all of
/// them twice, once for either kind of runtime: of seventy types that was a tenth of the library. Boxed they are one type, for
/// an allocation a task and an indirect call each time that it is polled.
pub fn boxed<T>(
    future: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(future)
}
