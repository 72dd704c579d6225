//! Topics: create and delete.

use std::time::Duration;

use kafka_protocol::protocol::Request;

use super::call;
use super::retry::Retry;
use crate::cluster::{Cluster, Purpose};
use crate::error::Error;
pub use brod_protocol::api::create_topics::NewTopic;
use brod_protocol::api::{create_topics, delete_topics, ApiError};
use brod_protocol::error::ErrorCode;

/// Creates topics; with `validate_only` only checks whether it could. `timeout` is how long the
/// controller may take to do it.
///
/// Fails with the first topic that failed, in the broker's words; others may have been created.
pub async fn create_topics(
    cluster: &Cluster,
    topics: &[NewTopic],
    timeout: Duration,
    validate_only: bool,
    limit: Duration,
) -> Result<(), Error> {
    let request = |_version| create_topics::request(topics, timeout, validate_only);
    let names = || topics.iter().map(|topic| topic.name.as_str());
    let read = |response: &_| create_topics::read(response, names());
    at_controller(cluster, request, limit, read).await
}

/// Deletes topics. `timeout` is how long the controller may take to do it.
///
/// Fails with the first topic that failed; others may have been deleted.
pub async fn delete_topics(
    cluster: &Cluster,
    names: &[String],
    timeout: Duration,
    limit: Duration,
) -> Result<(), Error> {
    let request = |version| delete_topics::request(version, names, timeout);
    let read = |response: &_| delete_topics::read(response, names.iter().map(String::as_str));
    at_controller(cluster, request, limit, read).await
}

/// Sends a request to the controller. It is sent again only where the first one had no effect.
async fn at_controller<R: Request>(
    cluster: &Cluster,
    request: impl Fn(i16) -> R,
    limit: Duration,
    result: impl Fn(&R::Response) -> Result<(), ApiError>,
) -> Result<(), Error> {
    let mut retry = Retry::within(limit);
    loop {
        // Nothing to wait for where not a single broker answers.
        let controller = match cluster.controller().await {
            Err(error @ Error::Unreachable(_)) => return Err(error),
            controller => controller,
        };
        let attempt = async {
            let connection = cluster.connection(controller?, Purpose::Admin).await?;
            Ok(result(&call(cluster, &connection, &request).await?)?)
        };
        let failure = match attempt.await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let without_effect = matches!(failure, Error::Unreachable(_))
            || failure.code() == Some(ErrorCode::NOT_CONTROLLER);
        if !without_effect {
            return Err(failure);
        }
        retry.after(failure).await?;
    }
}
