//! Operations that ask the cluster one thing: topics, offsets, single fetches, groups.
//!
//! Each takes the time that its caller waits (`limit`) to decide how long to try again; it does not
//! end by itself when that is up: callers wrap it in a timeout.

mod committed;
mod coordinator;
mod fetch;
mod groups;
mod leader;
mod offsets;
mod retry;
mod topics;

pub use brod_protocol::api::find_coordinator::CoordinatorKind;
pub use brod_protocol::api::offset_fetch::{CommittedOffset, CommittedTopic};
pub use committed::offset_fetch;
pub use coordinator::find_coordinator;
pub use fetch::{fetch_once, FetchOptions, Fetched};
pub use groups::{describe_groups, list_all_groups, list_groups, BrokerGroups};
pub use leader::find_leader;
pub use offsets::list_offsets;
pub use topics::{create_topics, delete_topics, NewTopic};

/// What the brokers say: the answers that are passed on as they are.
pub mod messages {
    pub use brod_protocol::api::describe_groups::{DescribedGroup, DescribedMember};
    pub use brod_protocol::api::list_groups::ListedGroup;
    pub use brod_protocol::api::metadata::{Broker, Metadata, Partition, Topic};
}

use kafka_protocol::protocol::Request;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::net::Connection;

/// Sends what `request` makes for the newest version that both sides speak. The message crate
/// refuses fields that a version does not have, so a request depends on its version.
async fn call<R: Request>(
    cluster: &Cluster,
    connection: &Connection,
    request: impl FnOnce(i16) -> R,
) -> Result<R::Response, Error> {
    let version = connection.versions().pick::<R>()?;
    let limit = cluster.config().request_timeout;
    let request = request(version);
    Ok(connection.call_version(&request, version, limit).await?)
}
