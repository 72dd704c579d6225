//! What groups there are, and who is in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{DescribeGroupsRequest, ListGroupsRequest};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::coordinator::find_coordinator;
use super::retry::Retry;
use super::{call, CoordinatorKind};
use crate::cluster::{Cluster, NodeId, Purpose, Snapshot};
use crate::error::Error;
use crate::net::{Connection, Endpoint, NetError};
use brod_protocol::api::describe_groups::{self, DescribedGroup};
use brod_protocol::api::list_groups::{self, ListedGroup};

/// A broker, and the groups that it coordinates or why it did not tell.
pub type BrokerGroups = (Endpoint, Result<Vec<ListedGroup>, Error>);

/// The groups coordinated by the broker that the client was pointed at: the first bootstrap
/// endpoint that answers.
pub async fn list_groups(cluster: &Cluster, limit: Duration) -> Result<Vec<ListedGroup>, Error> {
    let mut retry = Retry::within(limit);
    loop {
        let connection = bootstrap_connection(cluster).await?;
        match ask(cluster, &connection).await {
            Ok(groups) => return Ok(groups),
            Err(error) => retry.after(error).await?,
        }
    }
}

/// The groups of every broker of the cluster, by node id. A broker that does not answer within
/// most of `limit` does not hold up the others.
pub async fn list_all_groups(
    cluster: &Arc<Cluster>,
    limit: Duration,
) -> Result<Vec<BrokerGroups>, Error> {
    cluster.fetch_metadata(Some(&[]), false).await?;
    let mut brokers = JoinSet::new();
    for (node, endpoint) in cluster.snapshot().brokers.clone() {
        let cluster = cluster.clone();
        brokers.spawn(async move {
            let groups = timeout(limit * 4 / 5, groups_of(&cluster, node)).await;
            let groups = groups.unwrap_or(Err(Error::Timeout));
            (node, (endpoint, groups))
        });
    }
    let answers: BTreeMap<_, _> = brokers.join_all().await.into_iter().collect();
    Ok(answers.into_values().collect())
}

/// Describes groups, in the order given. A group that does not exist is in state `Dead`; one that
/// its coordinator cannot describe carries an error code.
pub async fn describe_groups(
    cluster: &Cluster,
    groups: &[String],
    limit: Duration,
) -> Result<Vec<DescribedGroup>, Error> {
    let mut by_node: BTreeMap<NodeId, Vec<&String>> = BTreeMap::new();
    for group in groups {
        let (node, _) = find_coordinator(cluster, CoordinatorKind::Group, group, limit).await?;
        by_node.entry(node).or_default().push(group);
    }
    let mut described = Vec::with_capacity(groups.len());
    for (node, groups) in by_node {
        described.extend(describe_at(cluster, node, &groups).await?);
    }
    Ok(in_order(described, groups))
}

async fn describe_at(
    cluster: &Cluster,
    node: NodeId,
    groups: &[&String],
) -> Result<Vec<DescribedGroup>, Error> {
    let connection = cluster.connection(node, Purpose::Main).await?;
    let names = groups.iter().map(|group| group.as_str());
    let request = |_version| describe_groups::request(names.clone());
    let response = call::<DescribeGroupsRequest>(cluster, &connection, request).await?;
    Ok(describe_groups::read(response, names)?)
}

fn in_order(mut described: Vec<DescribedGroup>, groups: &[String]) -> Vec<DescribedGroup> {
    let place = |found: &DescribedGroup| groups.iter().position(|group| *group == found.group_id);
    described.sort_by_key(place);
    described
}

async fn groups_of(cluster: &Cluster, node: NodeId) -> Result<Vec<ListedGroup>, Error> {
    let connection = cluster.connection(node, Purpose::Main).await?;
    ask(cluster, &connection).await
}

async fn ask(cluster: &Cluster, connection: &Connection) -> Result<Vec<ListedGroup>, Error> {
    let response =
        call::<ListGroupsRequest>(cluster, connection, |_version| list_groups::request());
    Ok(list_groups::read(response.await?)?)
}

/// A connection to a bootstrap endpoint: the one that is open already where its broker is known
/// by the same address, else one of its own.
async fn bootstrap_connection(cluster: &Cluster) -> Result<Connection, Error> {
    if cluster.snapshot().brokers.is_empty() {
        cluster.connect().await?;
    }
    let mut failures = Vec::new();
    for endpoint in &cluster.config().bootstrap {
        let opened = match node_at(&cluster.snapshot(), endpoint) {
            Some(node) => cluster.connection(node, Purpose::Main).await,
            None => Connection::open(endpoint, &cluster.config().connect)
                .await
                .map_err(Error::from),
        };
        match opened {
            Ok(connection) => return Ok(connection),
            Err(error) => failures.push((endpoint.clone(), reason(error)?)),
        }
    }
    Err(Error::Unreachable(failures))
}

/// Why an endpoint could not be reached; any other error as it is.
fn reason(error: Error) -> Result<NetError, Error> {
    match error {
        Error::Unreachable(mut failures) if failures.len() == 1 => Ok(failures.remove(0).1),
        Error::Net(error) => Ok(error),
        other => Err(other),
    }
}

fn node_at(snapshot: &Snapshot, endpoint: &Endpoint) -> Option<NodeId> {
    let mut brokers = snapshot.brokers.iter();
    brokers
        .find(|(_, at)| *at == endpoint)
        .map(|(node, _)| *node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_come_in_the_order_of_the_question() {
        let described = |id: &str| DescribedGroup {
            group_id: id.into(),
            ..DescribedGroup::default()
        };
        let asked = ["c", "a", "b"].map(str::to_owned);
        let ordered = in_order(vec![described("a"), described("b"), described("c")], &asked);
        let ids: Vec<_> = ordered.iter().map(|group| group.group_id.clone()).collect();
        assert_eq!(ids, asked);
    }

    #[test]
    fn a_bootstrap_endpoint_is_a_known_broker_by_its_address() {
        let at = |port| Endpoint {
            host: "h".into(),
            port,
        };
        let snapshot = Snapshot {
            brokers: [(1, at(1000)), (2, at(2000))].into_iter().collect(),
            ..Snapshot::default()
        };
        assert_eq!(node_at(&snapshot, &at(2000)), Some(2));
        assert_eq!(node_at(&snapshot, &at(3000)), None);
    }
}
