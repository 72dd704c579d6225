//! A broker that a producer sends the topic `t` to, or that says who else leads it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_protocol::batch_reader::batches;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, MetadataRequest, ProduceRequest, ProduceResponse,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::server::{encoded, metadata, serve, topic, Versions};

const VERSIONS: Versions = &[
    (ApiKey::ApiVersions, 3),
    (ApiKey::Metadata, 9),
    (ApiKey::Produce, 12),
];

/// The leader that a refusal names.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    pub node: i32,
    pub epoch: i32,
    /// Where it listens, if the refusal says so.
    pub port: Option<u16>,
}

#[derive(Default)]
pub(crate) struct State {
    /// What metadata says: the brokers with their ports, who leads (None: node 1), and the epoch.
    pub brokers: Vec<(i32, u16)>,
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    /// Another broker leads: batches are refused.
    pub moved: Option<Named>,
    pub refused: u32,
    pub hang_up: bool,
    /// It hangs up on every request: nothing of Kafka is there any more.
    pub gone: bool,
    /// The next answer to this API claims 2^31 - 1 entries.
    pub lie: Option<ApiKey>,
    /// Connections are told that there is no Produce.
    pub lacks_produce: bool,
    /// So many were.
    pub told_so: u32,
    /// Requests with a batch of this partition are not answered for now.
    pub held: Option<i32>,
    /// One has come.
    pub is_holding: bool,
    /// Produce requests so far, with those that are held.
    pub arrived: u32,
    /// The topics that it was last asked for.
    pub asked_for: Vec<String>,
    /// Metadata requests so far.
    pub asked: u32,
    /// Produce requests so far.
    pub requests: u32,
    /// The bytes of their batches.
    pub sizes: Vec<usize>,
    /// It hangs up on a request with more bytes of batches.
    pub size_limit: Option<usize>,
    /// It says so in the next answer (ms), and answers no other request for so long.
    pub throttle: u32,
    throttled_until: Option<Instant>,
    /// Produce requests that came before that was over.
    pub early: usize,
    /// The values that it took; an index is an offset.
    pub values: Vec<String>,
}

pub(crate) struct Broker {
    pub node: i32,
    pub port: u16,
    state: Mutex<State>,
    changed: Notify,
}

impl Broker {
    /// A broker whose metadata names itself alone.
    pub(crate) async fn start_as(node: i32) -> Arc<Broker> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            brokers: vec![(node, port)],
            ..State::default()
        };
        let broker = Arc::new(Broker {
            node,
            port,
            state: Mutex::new(state),
            changed: Notify::new(),
        });
        let (server, offers) = (broker.clone(), broker.clone());
        let versions = move || offers.change(State::versions);
        serve(listener, versions, move |key, version, body| {
            let server = server.clone();
            async move {
                server.let_pass(key, version, &body).await;
                server.answer(key, version, body)
            }
        });
        broker
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changed.notify_waiters();
        result
    }

    /// Waits while the request is held.
    async fn let_pass(&self, key: ApiKey, version: i16, body: &Bytes) {
        if key != ApiKey::Produce {
            return;
        }
        let request = ProduceRequest::decode(&mut body.clone(), version).unwrap();
        let batches = request.topic_data.iter().flat_map(|t| &t.partition_data);
        let partitions: Vec<_> = batches.map(|batch| batch.index).collect();
        self.state.lock().arrived += 1;
        let throttled = self.state.lock().throttled_until;
        if let Some(until) = throttled {
            // By the clocks of two sides, one of which tells whole milliseconds.
            let is_early = Instant::now() + Duration::from_millis(2) < until;
            self.state.lock().early += usize::from(is_early);
            tokio::time::sleep_until(until.into()).await;
        }
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock();
                if !state.held.is_some_and(|held| partitions.contains(&held)) {
                    return;
                }
                state.is_holding = true;
            }
            changed.await;
        }
    }

    fn answer(&self, key: ApiKey, version: i16, mut body: Bytes) -> Option<BytesMut> {
        let mut state = self.state.lock();
        if state.gone {
            return None;
        }
        if state.lie == Some(key) {
            state.lie = None;
            return Some(lie(key));
        }
        match key {
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut body, version).unwrap();
                let topics = request.topics.unwrap_or_default().into_iter();
                let names = topics.filter_map(|topic| topic.name);
                state.asked += 1;
                state.asked_for = names.map(|name| name.to_string()).collect();
                let response = metadata(
                    &state.brokers,
                    state.leader.unwrap_or(1),
                    state.leader_epoch,
                );
                Some(encoded(&response, version))
            }
            ApiKey::Produce if std::mem::take(&mut state.hang_up) => None,
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut body, version).unwrap();
                state.requests += 1;
                let batches = request.topic_data.iter().flat_map(|t| &t.partition_data);
                let size = batches
                    .filter_map(|b| b.records.as_ref())
                    .map(Bytes::len)
                    .sum();
                state.sizes.push(size);
                if state.size_limit.is_some_and(|limit| size > limit) {
                    return None;
                }
                let time = std::mem::take(&mut state.throttle);
                state.throttled_until = Some(Instant::now() + Duration::from_millis(time.into()));
                let response = state.produce(request).with_throttle_time_ms(time as i32);
                Some(encoded(&response, version))
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// In the newest versions offered; the entries are brokers or topics.
fn lie(key: ApiKey) -> BytesMut {
    let before: &[u8] = match key {
        ApiKey::Metadata => &[0; 4],
        _ => &[],
    };
    let count_plus_one = [0x80, 0x80, 0x80, 0x80, 0x08];
    [before, &count_plus_one, &[0; 100]].concat()[..].into()
}

impl State {
    fn versions(&mut self) -> Versions {
        if !self.lacks_produce {
            return VERSIONS;
        }
        self.told_so += 1;
        &[(ApiKey::ApiVersions, 3), (ApiKey::Metadata, 9)]
    }

    fn produce(&mut self, request: ProduceRequest) -> ProduceResponse {
        let asked = request.topic_data.into_iter();
        let answers = asked.flat_map(|topic| topic.partition_data).map(|asked| {
            let answer = PartitionProduceResponse::default().with_index(asked.index);
            if let Some(named) = self.moved {
                self.refused += 1;
                let leader = LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(named.node))
                    .with_leader_epoch(named.epoch);
                return answer.with_error_code(6).with_current_leader(leader);
            }
            let offset = self.values.len() as i64;
            self.store(asked.records.unwrap());
            answer.with_base_offset(offset)
        });
        let topic = TopicProduceResponse::default()
            .with_name(topic())
            .with_partition_responses(answers.collect());
        let endpoint = self.moved.and_then(|named| {
            let endpoint = NodeEndpoint::default()
                .with_node_id(BrokerId(named.node))
                .with_host(StrBytes::from_static_str("127.0.0.1"));
            Some(endpoint.with_port(named.port?.into()))
        });
        ProduceResponse::default()
            .with_responses(vec![topic])
            .with_node_endpoints(endpoint.into_iter().collect())
    }

    fn store(&mut self, records: Bytes) {
        for batch in batches(records) {
            let records = batch.unwrap().records(usize::MAX).unwrap();
            for record in records.iter() {
                let value = records.slice(record.unwrap().value.unwrap());
                let value = String::from_utf8(value.to_vec()).unwrap();
                self.values.push(value);
            }
        }
    }
}
