//! Members of groups against a scripted coordinator.

#[path = "../support/server.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::cluster::{Cluster, ClusterConfig};
use brod_engine::group::{AssignBy, Event, Group, GroupConfig, JoinTerms};
use brod_engine::net::Endpoint;
use bytes::BytesMut;
use kafka_protocol::messages::{
    ApiKey, BrokerId, FindCoordinatorResponse, HeartbeatResponse, JoinGroupResponse,
    LeaveGroupResponse, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use server::{encoded, metadata, serve, Versions};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

const VERSIONS: Versions = &[
    (ApiKey::ApiVersions, 3),
    (ApiKey::Metadata, 9),
    (ApiKey::FindCoordinator, 2),
    (ApiKey::JoinGroup, 5),
    (ApiKey::SyncGroup, 3),
    (ApiKey::Heartbeat, 3),
    (ApiKey::LeaveGroup, 2),
];
/// A machine that is busy takes a part of what is left of one.
const SESSION: Duration = Duration::from_secs(3);
const NOT_COORDINATOR: i16 = 16;

/// A broker that asks the member to leave it alone for a while after each answer.
struct Broker {
    port: u16,
    throttle: Duration,
    /// It reads nothing meanwhile, as KIP-219 has it.
    mutes: bool,
    muted_until: Instant,
    heartbeats: usize,
    /// Who coordinates. Of two that there are, both at this port, the other one refuses heartbeats.
    coordinator: i32,
    refused: usize,
}

impl Broker {
    fn answer(&mut self, key: ApiKey, version: i16) -> Option<BytesMut> {
        let throttle = self.throttle.as_millis() as i32;
        let is_group = !matches!(key, ApiKey::Metadata | ApiKey::FindCoordinator);
        if self.mutes && is_group {
            self.muted_until = Instant::now() + self.throttle;
        }
        let text = StrBytes::from_static_str;
        Some(match key {
            ApiKey::Metadata => {
                let brokers = [(1, self.port), (2, self.port)];
                encoded(&metadata(&brokers, 1, 0), version)
            }
            ApiKey::FindCoordinator => {
                let found = FindCoordinatorResponse::default()
                    .with_node_id(BrokerId(self.coordinator))
                    .with_host(text("127.0.0.1"))
                    .with_port(self.port.into());
                encoded(&found, version)
            }
            ApiKey::JoinGroup => {
                let joined = JoinGroupResponse::default()
                    .with_throttle_time_ms(throttle)
                    .with_generation_id(1)
                    .with_protocol_name(Some(text("range")))
                    .with_leader(text("another"))
                    .with_member_id(text("me"));
                encoded(&joined, version)
            }
            ApiKey::SyncGroup => {
                let synced = SyncGroupResponse::default().with_throttle_time_ms(throttle);
                encoded(&synced, version)
            }
            ApiKey::Heartbeat => {
                self.heartbeats += 1;
                let moved = self.coordinator != 1;
                self.refused += usize::from(moved);
                let heartbeat = HeartbeatResponse::default()
                    .with_throttle_time_ms(throttle)
                    .with_error_code(if moved { NOT_COORDINATOR } else { 0 });
                encoded(&heartbeat, version)
            }
            ApiKey::LeaveGroup => encoded(&LeaveGroupResponse::default(), version),
            _ => return None,
        })
    }
}

async fn start(throttle: Duration, mutes: bool) -> (Arc<Cluster>, Arc<Mutex<Broker>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = Arc::new(Mutex::new(Broker {
        port,
        throttle,
        mutes,
        muted_until: Instant::now(),
        heartbeats: 0,
        coordinator: 1,
        refused: 0,
    }));
    let shared = broker.clone();
    serve(
        listener,
        || VERSIONS,
        move |key, version, _body| {
            let broker = shared.clone();
            async move {
                let until = broker.lock().muted_until;
                if !matches!(key, ApiKey::Metadata | ApiKey::FindCoordinator) {
                    tokio::time::sleep_until(until.into()).await;
                }
                broker.lock().answer(key, version)
            }
        },
    );
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![Endpoint {
            host: "127.0.0.1".into(),
            port,
        }],
        ..Default::default()
    });
    (cluster, broker)
}

fn config() -> GroupConfig {
    GroupConfig {
        group_id: "g".into(),
        session_timeout: SESSION,
        rebalance_timeout: SESSION,
        heartbeat_interval: Duration::from_millis(100),
        max_rejoin_attempts: 5,
        rejoin_delay: Duration::from_millis(100),
        retention_ms: -1,
        group_instance_id: None,
        protocols: vec!["range".into()],
        assignment: AssignBy::Engine,
        fetch_offsets: true,
        create_topics: false,
        growth_check_interval: Duration::from_secs(60),
    }
}

#[tokio::test]
async fn a_broker_that_throttles_does_not_end_the_generation_of_a_member_that_it_hears_in_time() {
    // One that means it, for most of a session; one that reads on, for longer than that.
    tokio::join!(
        is_heard(SESSION * 3 / 4, true),
        is_heard(2 * SESSION, false)
    );
}

/// A member in a generation, and what it is told from then on.
async fn member(cluster: Arc<Cluster>) -> (Group, mpsc::UnboundedReceiver<Event>) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let events = Box::new(move |_, event| drop(tell.send(event)));
    let group = Group::open(cluster, config(), events);
    group.join(JoinTerms {
        join_id: 1,
        topics: vec!["t".into()],
        ..Default::default()
    });
    let assigned = async {
        while let Some(event) = told.recv().await {
            if matches!(event, Event::Assigned(_)) {
                break;
            }
        }
    };
    assert!(timeout(10 * SESSION, assigned).await.is_ok());
    (group, told)
}

async fn is_heard(throttle: Duration, mutes: bool) {
    let (cluster, broker) = start(throttle, mutes).await;
    let (_group, mut told) = member(cluster).await;
    let before = broker.lock().heartbeats;
    let ended = timeout(4 * SESSION, told.recv()).await;
    assert!(ended.is_err(), "{mutes}: {ended:?}");
    let heartbeats = broker.lock().heartbeats - before;
    assert!(heartbeats >= 3, "{mutes}: {heartbeats}");
}

/// Waits for what no event tells of.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < 10 * SESSION, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_member_that_leaves_while_its_coordinator_moves_holds_no_connection_afterwards() {
    let (cluster, broker) = start(Duration::ZERO, false).await;
    cluster.connect().await.unwrap();
    let open = || {
        let brokers = cluster.stats().brokers();
        let open = brokers.iter().map(|(_, stats)| stats.connections());
        open.sum::<u64>()
    };
    let before = open();
    let (group, _told) = member(cluster.clone()).await;
    broker.lock().coordinator = 2;
    // It looks for the new one a moment later.
    until("refused", || broker.lock().refused > 0).await;
    let (reply, mut closed) = mpsc::unbounded_channel();
    group.close(true, Box::new(move |left| drop(reply.send(left))));
    assert_eq!(timeout(10 * SESSION, closed.recv()).await, Ok(Some(Ok(()))));
    until("a connection stays", || open() == before).await;
}
