//! Tasks that a client cannot do without.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Cluster;
use crate::tasks::boxed;

/// Told once, when a task of the client has panicked; which one.
pub type OnFailure = Arc<dyn Fn(&'static str) + Send + Sync>;

impl Cluster {
    /// Runs a task for as long as the cluster is open. Should it panic, which is a defect of ours,
    /// the whole client fails: its owner is told and the cluster closes, so that nobody waits for
    /// what the task would have done.
    pub fn supervise<F>(self: &Arc<Self>, runtime: &Handle, what: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.supervise_boxed(runtime, what, boxed(task));
    }

    fn supervise_boxed(
        self: &Arc<Self>,
        runtime: &Handle,
        what: &'static str,
        task: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) {
        let cluster = self.clone();
        let task = runtime.spawn(task);
        runtime.spawn(boxed(async move {
            if task.await.is_err_and(|error| error.is_panic()) {
                match &cluster.config.on_failure {
                    Some(tell) => tell(what),
                    None => tracing::error!(what, "a task of the engine panicked"),
                }
                cluster.close();
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterConfig;
    use std::time::Duration;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_panic_closes_the_client_and_its_owner_is_told() {
        let (told, mut failures) = mpsc::unbounded_channel();
        let on_failure: OnFailure = Arc::new(move |what| {
            let _ = told.send(what);
        });
        let cluster = Cluster::start(ClusterConfig {
            on_failure: Some(on_failure),
            ..Default::default()
        });
        cluster.supervise(&Handle::current(), "healthy", async {});
        cluster.supervise(&Handle::current(), "sender", async {
            panic!("expected by the test")
        });
        let limit = Duration::from_secs(10);
        let told = tokio::time::timeout(limit, failures.recv()).await.unwrap();
        assert_eq!(told, Some("sender"));
        tokio::time::timeout(limit, cluster.closed().cancelled())
            .await
            .unwrap();
    }
}
