//! The coordinator of transactions: producer ids, which partitions and groups a transaction touches, and how
//! it ends. Pure: what an end means for logs and groups comes out as an [`Ended`], which the cluster applies
//! at once, so that no transaction is ever seen half ended.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, EndTxnRequest, EndTxnResponse, GroupId, InitProducerIdRequest,
    InitProducerIdResponse, ProducerId, TopicName, TransactionalId, TxnOffsetCommitRequest,
};

use crate::call::Millis;

/// `transaction.max.timeout.ms`
const LONGEST_TIMEOUT: i32 = 900_000;
/// The first version of EndTxn, and of others where named, in which each transaction has an epoch of its own
/// (KIP-890).
const END_BUMPS_FROM: i16 = 5;
/// The first version of TxnOffsetCommit that adds its group to the transaction.
const COMMIT_ADDS_FROM: i16 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    /// Since then.
    Ongoing(Millis),
    Complete {
        committed: bool,
    },
}

#[derive(Debug)]
struct Transaction {
    producer_id: i64,
    epoch: i16,
    timeout: Millis,
    state: State,
    partitions: BTreeSet<(TopicName, i32)>,
    groups: BTreeSet<GroupId>,
}

/// A transaction has ended: its markers are to be written, and its offsets are to be seen or forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) producer_id: i64,
    /// The epoch of the markers.
    pub(crate) epoch: i16,
    pub(crate) committed: bool,
    pub(crate) partitions: BTreeSet<(TopicName, i32)>,
    pub(crate) groups: BTreeSet<GroupId>,
}

/// All transactional ids of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    by_id: BTreeMap<TransactionalId, Transaction>,
    last_producer_id: i64,
    ended: Vec<Ended>,
}

impl Transaction {
    fn check(&self, producer_id: ProducerId, epoch: i16) -> Result<(), ErrorCode> {
        if producer_id.0 != self.producer_id {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        match epoch == self.epoch {
            true => Ok(()),
            false => Err(ErrorCode::PRODUCER_FENCED),
        }
    }

    fn begin(&mut self, now: Millis) {
        if !matches!(self.state, State::Ongoing(_)) {
            self.state = State::Ongoing(now);
        }
    }

    fn end(&mut self, committed: bool, bump: bool) -> Ended {
        if bump {
            self.epoch = self.epoch.saturating_add(1);
        }
        self.state = State::Complete { committed };
        Ended {
            producer_id: self.producer_id,
            epoch: self.epoch,
            committed,
            partitions: std::mem::take(&mut self.partitions),
            groups: std::mem::take(&mut self.groups),
        }
    }
}

impl Transactions {
    /// What has ended since the last call, in order.
    pub(crate) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// When [`Transactions::expire`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let all = self.by_id.values().filter_map(|txn| match txn.state {
            State::Ongoing(since) => Some(since + txn.timeout),
            _ => None,
        });
        all.min()
    }

    /// Aborts what has been open for too long; its producer is fenced.
    pub(crate) fn expire(&mut self, now: Millis) {
        for txn in self.by_id.values_mut() {
            if matches!(txn.state, State::Ongoing(since) if since + txn.timeout <= now) {
                self.ended.push(txn.end(false, true));
            }
        }
    }

    fn new_producer_id(&mut self) -> i64 {
        self.last_producer_id += 1;
        // Not 0, so that an id that was never given is not taken for one.
        999 + self.last_producer_id
    }

    /// InitProducerId.
    pub(crate) fn init(&mut self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        match self.try_init(request) {
            Ok((id, epoch)) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(epoch),
            Err(code) => InitProducerIdResponse::default()
                .with_error_code(code.0)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1),
        }
    }

    fn try_init(&mut self, request: &InitProducerIdRequest) -> Result<(i64, i16), ErrorCode> {
        let Some(id) = &request.transactional_id else {
            return Ok((self.new_producer_id(), 0));
        };
        if id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if !(1..=LONGEST_TIMEOUT).contains(&request.transaction_timeout_ms) {
            return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        let timeout = Millis::from(request.transaction_timeout_ms);
        let new_id = self.new_producer_id();
        let Some(txn) = self.by_id.get_mut(id) else {
            let txn = Transaction {
                producer_id: new_id,
                epoch: 0,
                timeout,
                state: State::Empty,
                partitions: BTreeSet::new(),
                groups: BTreeSet::new(),
            };
            self.by_id.insert(id.clone(), txn);
            return Ok((new_id, 0));
        };
        txn.timeout = timeout;
        if request.producer_id.0 >= 0 {
            // A producer that goes on after an error (KIP-360); an epoch older than the last bump is a zombie's.
            if request.producer_id.0 != txn.producer_id {
                return Err(ErrorCode::PRODUCER_FENCED);
            }
            let repeats = request.producer_epoch == txn.epoch - 1 && txn.state == State::Empty;
            if repeats {
                return Ok((txn.producer_id, txn.epoch));
            }
            if request.producer_epoch != txn.epoch {
                return Err(ErrorCode::PRODUCER_FENCED);
            }
        }
        if matches!(txn.state, State::Ongoing(_)) {
            let ended = txn.end(false, true);
            self.ended.push(ended);
        }
        if txn.epoch >= i16::MAX - 1 {
            (txn.producer_id, txn.epoch) = (new_id, 0);
        } else {
            txn.epoch += 1;
        }
        txn.state = State::Empty;
        Ok((txn.producer_id, txn.epoch))
    }

    fn get(&mut self, id: &TransactionalId) -> Result<&mut Transaction, ErrorCode> {
        let txn = self.by_id.get_mut(id);
        txn.ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
    }

    /// Adds partitions, all of which exist, to a transaction (AddPartitionsToTxn, and Produce from version 12
    /// on).
    pub(crate) fn add_partitions(
        &mut self,
        id: &TransactionalId,
        (producer_id, epoch): (ProducerId, i16),
        partitions: impl IntoIterator<Item = (TopicName, i32)>,
        now: Millis,
    ) -> Result<(), ErrorCode> {
        let txn = self.get(id)?;
        txn.check(producer_id, epoch)?;
        txn.begin(now);
        txn.partitions.extend(partitions);
        Ok(())
    }

    /// Whether a partition is in the transaction: what brokers ask before they append (KIP-890).
    pub(crate) fn verify(
        &mut self,
        id: &TransactionalId,
        (producer_id, epoch): (ProducerId, i16),
        partition: &(TopicName, i32),
    ) -> Result<(), ErrorCode> {
        let txn = self.get(id)?;
        txn.check(producer_id, epoch)?;
        match txn.partitions.contains(partition) {
            true => Ok(()),
            false => Err(ErrorCode::INVALID_TXN_STATE),
        }
    }

    /// AddOffsetsToTxn.
    pub(crate) fn add_offsets(
        &mut self,
        request: &AddOffsetsToTxnRequest,
        now: Millis,
    ) -> ErrorCode {
        let added = self.get(&request.transactional_id).and_then(|txn| {
            txn.check(request.producer_id, request.producer_epoch)?;
            txn.begin(now);
            txn.groups.insert(request.group_id.clone());
            Ok(())
        });
        added.err().unwrap_or(ErrorCode::NO_ERROR)
    }

    /// Whether a TxnOffsetCommit may go on to its group.
    pub(crate) fn check_offsets(
        &mut self,
        version: i16,
        request: &TxnOffsetCommitRequest,
        now: Millis,
    ) -> Result<(), ErrorCode> {
        let txn = self.get(&request.transactional_id)?;
        txn.check(request.producer_id, request.producer_epoch)?;
        if version >= COMMIT_ADDS_FROM {
            txn.begin(now);
            txn.groups.insert(request.group_id.clone());
        }
        match txn.groups.contains(&request.group_id) {
            true => Ok(()),
            false => Err(ErrorCode::INVALID_TXN_STATE),
        }
    }

    /// EndTxn.
    pub(crate) fn end(&mut self, version: i16, request: &EndTxnRequest) -> EndTxnResponse {
        let response = EndTxnResponse::default();
        match self.try_end(version, request) {
            Ok((id, epoch)) if version >= END_BUMPS_FROM => response
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(epoch),
            Ok(_) => response,
            Err(code) => response.with_error_code(code.0),
        }
    }

    fn try_end(&mut self, version: i16, request: &EndTxnRequest) -> Result<(i64, i16), ErrorCode> {
        let bump = version >= END_BUMPS_FROM;
        let txn = self.get(&request.transactional_id)?;
        let same = txn.producer_id == request.producer_id.0;
        let asked = State::Complete {
            committed: request.committed,
        };
        // The answer to the first one was lost, and the epoch is another since.
        if bump && same && txn.state == asked && request.producer_epoch == txn.epoch - 1 {
            return Ok((txn.producer_id, txn.epoch));
        }
        txn.check(request.producer_id, request.producer_epoch)?;
        match txn.state {
            State::Ongoing(_) => {}
            state if state == asked && !bump => return Ok((txn.producer_id, txn.epoch)),
            // A transaction that has touched nothing the coordinator knows of can be aborted (KIP-890).
            _ if bump && !request.committed => {}
            _ => return Err(ErrorCode::INVALID_TXN_STATE),
        }
        let ended = txn.end(request.committed, bump);
        let identity = (txn.producer_id, txn.epoch);
        self.ended.push(ended);
        Ok(identity)
    }

    /// State, producer id and epoch, for those who look.
    pub(crate) fn look(&self, id: &str) -> Option<(&'static str, i64, i16)> {
        let found = self.by_id.iter().find(|(known, _)| known.as_str() == id);
        let (_, txn) = found?;
        let state = match txn.state {
            State::Empty => "Empty",
            State::Ongoing(_) => "Ongoing",
            State::Complete { committed: true } => "CompleteCommit",
            State::Complete { committed: false } => "CompleteAbort",
        };
        Some((state, txn.producer_id, txn.epoch))
    }
}
