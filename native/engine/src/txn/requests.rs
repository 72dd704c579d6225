//! What coordinators are asked.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest,
    TxnOffsetCommitRequest,
};

use super::config::OffsetsToAdd;
use super::state::{Place, Protocol, Reply};
use crate::cluster::{unless_moved, Cluster, NodeId, Purpose, LATE};
use crate::error::Error;
use crate::net::{Connection, NetError};
use brod_protocol::api::find_coordinator::{self, CoordinatorKind};
use brod_protocol::api::init_producer_id::{self, ProducerId};
use brod_protocol::api::offset_commit::Commit;
use brod_protocol::api::{
    add_offsets_to_txn, add_partitions_to_txn, end_txn, txn_offset_commit, Membership,
};
use brod_protocol::error::ErrorCode;
use brod_protocol::ApiVersions;

/// How a transactional id reaches its coordinators.
#[derive(Clone)]
pub(super) struct Asker {
    /// Where.
    pub cluster: Arc<Cluster>,
    /// On which connection.
    pub purpose: Purpose,
    /// The transactional id.
    pub id: Arc<str>,
    /// How long the coordinator lets a transaction be open.
    pub transaction_timeout: Duration,
    /// What one attempt may take.
    pub limit: Duration,
}

impl Asker {
    async fn connection(&self, node: NodeId) -> Result<Connection, Error> {
        self.cluster.connection(node, self.purpose.clone()).await
    }

    /// Who coordinates. Connections are made by node id, so the cluster must know the node.
    pub(super) async fn find(&self, kind: CoordinatorKind, id: &str) -> Result<NodeId, Error> {
        let request = |version| match (version, kind) {
            (0, CoordinatorKind::Transaction) => Err(unsupported("FindCoordinator")),
            _ => Ok(find_coordinator::request(version, kind, id)),
        };
        let (version, response) = self.cluster.ask_any(request).await?;
        let found = find_coordinator::read(version, response)?;
        if self.cluster.endpoint(found.node).is_none() {
            self.cluster.connect().await?;
        }
        match self.cluster.endpoint(found.node) {
            Some(_) => Ok(found.node),
            None => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE.into()),
        }
    }

    /// Waits for what the coordinator answers; see [`unless_moved`].
    pub(super) async fn unless_moved<T>(
        &self,
        node: NodeId,
        kind: CoordinatorKind,
        id: &str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        unless_moved(node, LATE, answer, || self.find(kind, id)).await
    }

    /// InitProducerId.
    pub(super) async fn init(
        &self,
        node: NodeId,
        present: Option<ProducerId>,
    ) -> Result<Reply, Error> {
        let connection = self.connection(node).await?;
        let version = connection.versions().pick::<InitProducerIdRequest>()?;
        let transaction = (&*self.id, self.transaction_timeout);
        let request = init_producer_id::request(version, Some(transaction), present);
        let response = connection
            .call_version(&request, version, self.limit)
            .await?;
        let producer = init_producer_id::read(&response)?;
        Ok(Reply::Producer(producer, protocol(connection.versions())))
    }

    /// AddPartitionsToTxn.
    pub(super) async fn add_partitions(
        &self,
        node: NodeId,
        producer: ProducerId,
        places: &[Place],
    ) -> Result<Reply, Error> {
        let connection = self.connection(node).await?;
        let version = connection.versions().pick::<AddPartitionsToTxnRequest>()?;
        let places = places.iter().map(|(topic, index)| (&**topic, *index));
        let request = add_partitions_to_txn::request(&self.id, producer, places.clone());
        let response = connection
            .call_version(&request, version, self.limit)
            .await?;
        add_partitions_to_txn::read(&response, places)?;
        Ok(Reply::Done)
    }

    /// AddOffsetsToTxn.
    pub(super) async fn add_group(
        &self,
        node: NodeId,
        producer: ProducerId,
        group: &str,
    ) -> Result<(), Error> {
        let connection = self.connection(node).await?;
        let version = connection.versions().pick::<AddOffsetsToTxnRequest>()?;
        let request = add_offsets_to_txn::request(&self.id, producer, group);
        let response = connection
            .call_version(&request, version, self.limit)
            .await?;
        Ok(add_offsets_to_txn::read(&response)?)
    }

    /// TxnOffsetCommit, at the coordinator of the group.
    pub(super) async fn commit_offsets(
        &self,
        node: NodeId,
        producer: ProducerId,
        protocol: Protocol,
        to_add: &OffsetsToAdd,
    ) -> Result<Reply, Error> {
        let connection = self.connection(node).await?;
        let newest = connection.versions().pick::<TxnOffsetCommitRequest>()?;
        let version = match protocol {
            Protocol::V1 => newest.min(txn_offset_commit::ADDS_GROUP - 1),
            Protocol::V2 => newest,
        };
        let member = to_add.member.as_ref();
        let member = Membership {
            group_id: &to_add.group_id,
            instance_id: member.and_then(|member| member.instance_id.as_deref()),
            member_id: member.map_or("", |member| &member.member_id),
            generation: member.map_or(-1, |member| member.generation),
        };
        let offsets = to_add.offsets.iter();
        let offsets = offsets.map(|(topic, partition, offset, metadata)| Commit {
            topic,
            partition: *partition,
            offset: *offset,
            metadata,
        });
        let request = txn_offset_commit::request(version, &self.id, producer, &member, offsets)?;
        let unanswered = Unanswered(Some(&connection));
        let response = connection.call_version(&request, version, self.limit).await;
        unanswered.answered();
        let response = response?;
        let asked = to_add.offsets.iter();
        let asked = asked.map(|(topic, partition, ..)| (topic.as_str(), *partition));
        txn_offset_commit::read(&response, asked)?;
        Ok(Reply::Done)
    }

    /// EndTxn.
    pub(super) async fn end(
        &self,
        node: NodeId,
        producer: ProducerId,
        protocol: Protocol,
        commit: bool,
    ) -> Result<Reply, Error> {
        let connection = self.connection(node).await?;
        let newest = connection.versions().pick::<EndTxnRequest>()?;
        let version = match protocol {
            Protocol::V1 => newest.min(end_txn::EPOCH_A_TRANSACTION - 1),
            Protocol::V2 => newest,
        };
        let request = end_txn::request(&self.id, producer, commit);
        let response = connection
            .call_version(&request, version, self.limit)
            .await?;
        let next = end_txn::read(version, &response)?;
        Ok(next.map_or(Reply::Done, Reply::Next))
    }
}

/// A request at a broker that asks the transaction's coordinator before it answers (KIP-890). Should the answer not be waited
/// for any more, because that hangs, the connection is closed: the broker reads the next request of it after this one.
struct Unanswered<'a>(Option<&'a Connection>);

impl Unanswered<'_> {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            connection.give_up(&NetError::Timeout);
        }
    }
}

/// Transactions are done the new way once the whole cluster does so, and not as soon as one broker could.
fn protocol(versions: &ApiVersions) -> Protocol {
    let speaks = |api: i16, version| versions.range(api).is_some_and(|(_, max)| max >= version);
    let speaks_all = speaks(end_txn::API.key, end_txn::EPOCH_A_TRANSACTION)
        && speaks(txn_offset_commit::API.key, txn_offset_commit::ADDS_GROUP);
    match versions.feature("transaction.version") {
        2.. if speaks_all => Protocol::V2,
        _ => Protocol::V1,
    }
}

fn unsupported(api: &str) -> Error {
    let api = api.to_owned();
    Error::Net(NetError::UnsupportedApi { api })
}
