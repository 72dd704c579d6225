//! The whole cluster as one state machine.

use std::collections::{BTreeMap, VecDeque};

use brod_protocol::error::ErrorCode;
use brod_protocol::header::RequestHeader;
use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, Request};

use crate::call::{Answer, Call, Connection, Millis, Waiter};
use crate::config::Config;
use crate::coordination::Coordination;
use crate::dispatch;
use crate::faults::{Faults, Plan};
use crate::fetches::Fetches;
use crate::throttle::{Quotas, Throttled};
use crate::topics::{check_name, Partition, Topics};

/// As Kafka writes them: 16 bytes in base 64.
pub(crate) const CLUSTER_ID: &str = "YnJvZC1tb2NrLWthZmthIQ";

/// How many complaints are kept.
const COMPLAINTS: usize = 100;

/// A broker, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Broker {
    pub host: String,
    pub port: u16,
    pub running: bool,
    /// By how many ms its clock is fast.
    pub skew: Millis,
}

/// What a request came to.
#[derive(Debug)]
pub enum Applied {
    /// The body of its answer.
    Answer(Bytes),
    /// [`Cluster::take_completed`] will have it, by the waiter's id.
    Later(u64),
    /// It is not answered.
    Never,
    /// The connection is to be closed.
    Close,
}

/// All brokers of a cluster and what they keep.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) config: Config,
    pub(crate) brokers: BTreeMap<i32, Broker>,
    pub(crate) topics: Topics,
    pub(crate) coordination: Coordination,
    /// The broker at which the next new topic's partitions begin.
    next_leader: usize,
    pub(crate) fetches: Fetches,
    pub(crate) faults: Faults,
    pub(crate) produce_quotas: Quotas,
    pub(crate) fetch_quotas: Quotas,
    /// Metrics that clients have pushed.
    pub(crate) pushes: VecDeque<crate::api::telemetry::Push>,
    complaints: VecDeque<String>,
    /// How many of them nobody has taken.
    fresh_complaints: usize,
    completed: Vec<(u64, Bytes)>,
    last_id: u64,
}

impl Cluster {
    /// A cluster whose brokers listen at these ports of loopback, one a broker.
    pub fn new(config: Config, ports: &[u16]) -> Self {
        let brokers = ports.iter().zip(1..).map(|(port, id)| {
            (
                id,
                Broker {
                    host: "127.0.0.1".into(),
                    port: *port,
                    running: true,
                    skew: 0,
                },
            )
        });
        let mut cluster = Cluster {
            brokers: brokers.collect(),
            topics: Topics::default(),
            coordination: Coordination::default(),
            next_leader: 0,
            fetches: Fetches::default(),
            faults: Faults::new(config.seed),
            produce_quotas: Quotas::default(),
            fetch_quotas: Quotas::default(),
            pushes: VecDeque::new(),
            complaints: VecDeque::new(),
            fresh_complaints: 0,
            completed: Vec::new(),
            last_id: 0,
            config,
        };
        for (name, partitions) in cluster.config.topics.clone() {
            cluster.create_topic(&name, partitions, 0, BTreeMap::new());
        }
        cluster
    }

    /// Unique in this cluster.
    pub fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A connection that a broker has accepted.
    pub fn connected(&mut self, broker: i32) -> Connection {
        Connection {
            id: self.new_id(),
            broker,
            principal: None,
            login: None,
            muted_until: 0,
        }
    }

    /// What is scripted for the next call of an API on a broker.
    pub fn plan(&mut self, api_key: i16, broker: i32) -> Plan {
        self.faults.plan(&name_of(api_key), broker)
    }

    /// A request that has come in on a connection. Of the plan, what is not I/O is done here.
    pub fn apply(
        &mut self,
        connection: &mut Connection,
        header: &RequestHeader,
        body: Bytes,
        plan: &Plan,
        now: Millis,
    ) -> Applied {
        let waiter = Waiter {
            id: self.new_id(),
            version: header.version,
            throttle: plan.throttle.try_into().unwrap_or(i32::MAX),
        };
        connection.muted_until = connection.muted_until.max(now + plan.throttle);
        let call = Call {
            waiter,
            broker: connection.broker,
            version: header.version,
            client_id: header.client_id.clone().unwrap_or_default(),
            now,
            refusal: plan.refusal.clone(),
        };
        match dispatch::dispatch(self, connection, &call, header.api_key, body) {
            Ok(Answer::Now(body)) => Applied::Answer(body),
            Ok(Answer::Later) => Applied::Later(waiter.id),
            Ok(Answer::Never) => Applied::Never,
            Ok(Answer::Close) => Applied::Close,
            Err(error) => {
                let (api, version) = (name_of(header.api_key), header.version);
                self.complain(format!("{api} of version {version}: {error}"));
                Applied::Close
            }
        }
    }

    /// The answer to a request `R` that waits for it.
    pub(crate) fn complete<R: Request>(&mut self, waiter: Waiter, mut response: R::Response)
    where
        R::Response: Encodable + Throttled,
    {
        response.throttle(waiter.throttle);
        match brod_protocol::encode_response::<R>(&response, waiter.version) {
            Ok(body) => self.completed.push((waiter.id, body)),
            Err(error) => self.complain(format!("an answer is not sent: {error}")),
        }
    }

    /// Something is wrong with a request, or with the mock itself.
    pub(crate) fn complain(&mut self, why: String) {
        if self.complaints.len() == COMPLAINTS {
            self.complaints.pop_front();
        }
        self.complaints.push_back(why);
        self.fresh_complaints = (self.fresh_complaints + 1).min(COMPLAINTS);
    }

    /// What was wrong with requests, the last hundred of them.
    pub(crate) fn complaints(&self) -> &VecDeque<String> {
        &self.complaints
    }

    /// Those since the last call.
    pub(crate) fn take_fresh_complaints(&mut self) -> Vec<String> {
        let fresh = std::mem::take(&mut self.fresh_complaints);
        let all = &self.complaints;
        all.range(all.len() - fresh..).cloned().collect()
    }

    /// Answers to requests that waited: the waiter's id, and the body.
    pub fn take_completed(&mut self) -> Vec<(u64, Bytes)> {
        std::mem::take(&mut self.completed)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Millis) {
        self.expire_coordination(now);
        crate::fetches::wake(self, now);
    }

    /// When [`Cluster::tick`] has something to do, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Millis> {
        let both = [
            self.fetches.next_deadline(),
            self.coordination.next_deadline(),
        ];
        both.into_iter().flatten().min()
    }

    /// The partition, for a request to its leader that knows it by this epoch (-1: any).
    pub(crate) fn led(
        &mut self,
        broker: i32,
        topic: &str,
        index: i32,
        epoch: i32,
    ) -> Result<&mut Partition, ErrorCode> {
        let partition = self.topics.partition_mut(topic, index);
        let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if partition.leader != Some(broker) {
            return Err(ErrorCode::NOT_LEADER_FOR_PARTITION);
        }
        match epoch {
            _ if epoch < 0 || epoch == partition.leader_epoch => Ok(partition),
            _ if epoch < partition.leader_epoch => Err(ErrorCode::FENCED_LEADER_EPOCH),
            _ => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
        }
    }

    /// What a topic's configuration says, if it says anything.
    pub(crate) fn configured(&self, topic: &str, key: &str) -> Option<&str> {
        let value = self.topics.get(topic)?.configs.get(key)?;
        Some(value)
    }

    /// A number from a topic's configuration, or what it is without one. -1 is no limit.
    pub(crate) fn setting(&self, topic: &str, key: &str, default: u64) -> u64 {
        let value = self.configured(topic, key);
        match value.and_then(|value| value.parse::<i64>().ok()) {
            Some(value) => u64::try_from(value).unwrap_or(u64::MAX),
            None => default,
        }
    }

    /// Another broker leads the partition from now on; fetches that wait for the old one learn of it.
    pub fn move_leader(&mut self, topic: &str, index: i32, broker: i32, now: Millis) -> bool {
        let is_known = self.brokers.contains_key(&broker);
        let Some(partition) = self.topics.partition_mut(topic, index).filter(|_| is_known) else {
            return false;
        };
        partition.leader = Some(broker);
        partition.leader_epoch += 1;
        if !partition.replicas.contains(&broker) {
            partition.replicas.push(broker);
        }
        crate::fetches::wake(self, now);
        true
    }

    /// A new topic; false if its name is taken or invalid.
    pub fn add_topic(&mut self, name: &str, partitions: i32) -> bool {
        if check_name(name).is_err() || self.topics.get(name).is_some() {
            return false;
        }
        self.create_topic(name, partitions, 0, BTreeMap::new());
        true
    }

    /// Host and port of each broker, by id.
    pub fn endpoints(&self) -> Vec<(i32, String, u16)> {
        let brokers = self.brokers.iter();
        brokers
            .map(|(id, broker)| (*id, broker.host.clone(), broker.port))
            .collect()
    }

    /// Where the broker listens, or did.
    pub fn port_of(&self, broker: i32) -> Option<u16> {
        Some(self.brokers.get(&broker)?.port)
    }

    /// The broker is gone; its partitions are led by others, which lack the last messages, this many.
    pub fn broker_stopped(&mut self, broker: i32, lost: u64) {
        let partitions = self.topics.iter_mut();
        for partition in partitions.flat_map(|(_, topic)| &mut topic.partitions) {
            if partition.leader == Some(broker) {
                partition.log.lose(lost);
            }
        }
        if let Some(broker) = self.brokers.get_mut(&broker) {
            broker.running = false;
        }
        self.elect();
    }

    /// By how many ms a broker's clock is fast.
    pub(crate) fn skew_of(&self, broker: i32) -> Millis {
        self.brokers.get(&broker).map_or(0, |broker| broker.skew)
    }

    /// The same of the broker that leads a partition.
    pub(crate) fn skew_of_leader(&self, topic: &str, index: i32) -> Millis {
        let leader = self.topics.partition(topic, index).and_then(|p| p.leader);
        leader.map_or(0, |leader| self.skew_of(leader))
    }

    /// The broker is back. It leads what has no leader, and what is moved to it.
    pub fn broker_started(&mut self, broker: i32) {
        if let Some(broker) = self.brokers.get_mut(&broker) {
            broker.running = true;
        }
        self.elect();
    }

    /// Partitions whose leader does not run get another of their replicas.
    fn elect(&mut self) {
        let brokers = &self.brokers;
        let runs = |id: &i32| brokers.get(id).is_some_and(|broker| broker.running);
        for (_, topic) in self.topics.iter_mut() {
            for partition in &mut topic.partitions {
                if partition.leader.as_ref().is_some_and(runs) {
                    continue;
                }
                let leader = partition.replicas.iter().copied().find(runs);
                if leader.is_some() {
                    partition.leader_epoch += 1;
                }
                partition.leader = leader;
            }
        }
    }

    /// Any broker that runs: the first.
    pub(crate) fn controller(&self) -> Option<i32> {
        let mut running = self.brokers.iter().filter(|(_, broker)| broker.running);
        running.next().map(|(id, _)| *id)
    }

    /// A topic whose partitions' leaders go round the brokers. `replication` 0 is the default, up to three
    /// brokers. The name must be free.
    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replication: i16,
        configs: BTreeMap<String, String>,
    ) {
        let replicas = self.spread(partitions, replication);
        self.topics.create(name, replicas, configs);
    }

    /// Replicas for so many new partitions.
    pub(crate) fn spread(&mut self, partitions: i32, replication: i16) -> Vec<Vec<i32>> {
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        let copies = match usize::try_from(replication) {
            Ok(copies) if copies > 0 => copies.min(ids.len()),
            _ => ids.len().min(3),
        };
        let first = self.next_leader;
        let count = usize::try_from(partitions).unwrap_or(0);
        self.next_leader = (first + count) % ids.len().max(1);
        let replicas = |partition: usize| {
            let at = |copy: usize| ids[(first + partition + copy) % ids.len()];
            (0..copies).map(at).collect()
        };
        (0..count).map(replicas).collect()
    }
}

/// Kafka's name of an API; empty for one that nobody knows.
fn name_of(api_key: i16) -> String {
    ApiKey::try_from(api_key).map_or(String::new(), |key| format!("{key:?}"))
}
