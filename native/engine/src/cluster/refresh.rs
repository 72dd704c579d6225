//! Keeps the metadata of the topics of interest fresh: on demand, and by age.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::troubles::{seconds, Trouble};
use super::{Backoff, Cluster};
use crate::error::Error;

const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Runs until the cluster is closed.
pub(super) async fn run(cluster: Arc<Cluster>) {
    let config = &cluster.config;
    let mut backoff = Backoff::new(config.refresh_backoff, LONGEST_WAIT, rand::random());
    let client = &*config.connect.client_id;
    let mut failing_since: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = cluster.closed.cancelled() => return,
            _ = cluster.refresh.notified() => {}
            _ = tokio::time::sleep(config.metadata_max_age) => {}
        }
        cluster.interests.expire(Instant::now());
        let topics = cluster.interests.names();
        let refreshed = tokio::select! {
            _ = cluster.closed.cancelled() => return,
            refreshed = refresh(&cluster, topics) => refreshed,
        };
        let wait = match refreshed {
            Ok(()) => {
                if let Some(since) = failing_since.take() {
                    let after = format!("{:.1} s", since.elapsed().as_secs_f64());
                    tracing::info!(client, after, "metadata is known again");
                }
                *cluster.refresh_failure.lock() = None;
                tell_of_topics(&cluster, Instant::now());
                backoff.reset();
                config.refresh_backoff
            }
            Err(Error::Closed) => return,
            Err(error) => {
                // Once an outage; the brokers' own lines say more.
                if failing_since.is_none() {
                    failing_since = Some(Instant::now());
                    tracing::warn!(client, %error, "no broker answers for metadata");
                }
                if let Error::Unreachable(failures) = &error {
                    let last = failures.last().map(|(_, why)| why.clone());
                    *cluster.refresh_failure.lock() = last;
                }
                cluster.refresh.notify_one();
                backoff.next_wait()
            }
        };
        tokio::select! {
            _ = cluster.closed.cancelled() => return,
            _ = tokio::time::sleep(wait) => {}
        }
    }
}

/// Whoever produces to a topic that is not there waits, and whoever reads it gets nothing: neither is an error, and somebody
/// should know.
fn tell_of_topics(cluster: &Cluster, now: Instant) {
    let (snapshot, held) = (cluster.snapshot(), cluster.interests.held());
    let client = &*cluster.config.connect.client_id;
    let mut troubles = cluster.troubles.lock();
    troubles.keep(|topic| cluster.interests.contains(topic));
    for topic in held {
        let Some((error, partitions)) = snapshot.trouble(&topic) else {
            if let Some(lasted) = troubles.over(Trouble::Unavailable, &topic, now) {
                tracing::info!(client, %topic, after = seconds(lasted), "the topic is available again");
            }
            continue;
        };
        let lasts = troubles.seen(Trouble::Unavailable, &topic, now);
        if let Some(lasts) = lasts.map(seconds) {
            match partitions {
                0 => tracing::warn!(client, %topic, %error, lasts, "the topic is not available"),
                _ => {
                    tracing::warn!(client, %topic, partitions, %error, lasts, "partitions are not available")
                }
            }
        }
    }
}

/// Asks for all topics together. A question that no broker answers, although they answer others, is taken apart:
/// one topic that brokers stumble over must not keep the others from being known.
async fn refresh(cluster: &Cluster, topics: Vec<String>) -> Result<(), Error> {
    let mut questions = vec![topics];
    while let Some(mut topics) = questions.pop() {
        let Err(error) = cluster.fetch_metadata(Some(&topics), false).await else {
            continue;
        };
        if topics.is_empty() || cluster.fetch_metadata(Some(&[]), false).await.is_err() {
            return Err(error);
        }
        // They may just have come back.
        let Err(error) = cluster.fetch_metadata(Some(&topics), false).await else {
            continue;
        };
        match &*topics {
            [topic] => {
                let client = &*cluster.config.connect.client_id;
                tracing::warn!(client, topic, %error, "brokers do not answer for the topic");
            }
            _ => {
                let half = topics.split_off(topics.len() / 2);
                questions.extend([half, topics]);
            }
        }
    }
    Ok(())
}
