//! What a client learns of topics, and what it asks for, against a scripted broker.

#[path = "../support/server.rs"]
mod server;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use brod_engine::admin::{create_topics, find_coordinator, CoordinatorKind, NewTopic};
use brod_engine::cluster::{Cluster, ClusterConfig, Leader, Purpose};
use brod_engine::error::Error;
use brod_engine::net::{ConnectOptions, Endpoint, Resolver};
use brod_protocol::error::ErrorCode;
use bytes::Bytes;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsResponse, FindCoordinatorResponse, MetadataRequest,
    MetadataResponse,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use parking_lot::Mutex;
use server::{encoded, metadata, serve, Versions};
use tokio::net::TcpListener;

const VERSIONS: Versions = &[(ApiKey::ApiVersions, 3), (ApiKey::Metadata, 9)];
const LIMIT: Duration = Duration::from_secs(10);
/// The broker hangs up on whoever names this topic.
const GUILTY: &str = "guilty";

#[derive(Default)]
struct Script {
    epoch: i32,
    /// The names in each metadata request.
    asked: Vec<Vec<String>>,
}

type SharedScript = Arc<Mutex<Script>>;

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

fn on_loopback(port: u16) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port,
    }
}

async fn start() -> (Arc<Cluster>, SharedScript) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = port_of(&listener);
    let script = SharedScript::default();
    let broker = script.clone();
    serve(
        listener,
        || VERSIONS,
        move |_key, version, mut body: Bytes| {
            let request = MetadataRequest::decode(&mut body, version).unwrap();
            let topics = request.topics.unwrap_or_default();
            let names = topics.into_iter().filter_map(|topic| topic.name);
            let names: Vec<_> = names.map(|name| name.to_string()).collect();
            let mut script = broker.lock();
            script.asked.push(names.clone());
            let mut answer = metadata(&[(1, port)], 1, script.epoch);
            answer.topics.retain(|topic| {
                let name = topic.name.as_ref().unwrap();
                names.iter().any(|asked| asked == name.as_str())
            });
            let is_hung_up_on = names.iter().any(|name| name == GUILTY);
            async move { (!is_hung_up_on).then(|| encoded(&answer, version)) }
        },
    );
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![on_loopback(port)],
        refresh_backoff: Duration::from_millis(1),
        ..Default::default()
    });
    (cluster, script)
}

/// Waits until the cluster's picture is as `is_so` wants it.
async fn eventually(cluster: &Cluster, is_so: impl Fn(&Cluster) -> bool) {
    let mut changes = cluster.changes();
    let wait = async {
        while !is_so(cluster) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap();
}

#[tokio::test]
async fn a_topic_that_brokers_hang_up_on_hides_no_leader_of_another_one() {
    let (cluster, script) = start().await;
    let _held: Vec<_> = ["a", "b", GUILTY, "t", "z"]
        .iter()
        .map(|topic| cluster.watch_topic(topic))
        .collect();
    for epoch in [1, 2] {
        script.lock().epoch = epoch;
        cluster.request_refresh();
        let leader = Leader { node: 1, epoch };
        eventually(&cluster, |c| c.snapshot().leader("t", 0) == Ok(leader)).await;
    }
}

#[tokio::test]
async fn a_broker_that_was_lost_is_found_again_although_nobody_asks_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, lost) = (port_of(&listener), on_loopback(port_of(&other)));
    // Nobody listens there for now.
    drop(other);
    let brokers = [(1, port), (2, lost.port)];
    let answer = move |_key, version, _body| async move {
        Some(encoded(&metadata(&brokers, 1, 0), version))
    };
    serve(listener, || VERSIONS, answer);
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![on_loopback(port)],
        lost_check: Duration::from_millis(10),
        ..Default::default()
    });
    cluster.fetch_metadata(Some(&[]), false).await.unwrap();
    assert!(cluster.connection(2, Purpose::Main).await.is_err());
    let listener = TcpListener::bind(("127.0.0.1", lost.port)).await.unwrap();
    serve(listener, || VERSIONS, answer);
    let broker = cluster.stats().broker(&lost);
    let found = async {
        while broker.connects.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, found).await.unwrap();
}

#[tokio::test]
async fn a_name_that_no_topic_can_have_is_an_error_of_its_caller_alone() {
    let (cluster, script) = start().await;
    let long = "x".repeat(33_000);
    let refused = Err(Error::from(ErrorCode::INVALID_TOPIC_EXCEPTION));
    assert_eq!(cluster.leader(&long, 0).await, refused);
    let names = [long, "t".to_owned()];
    let response = cluster.fetch_metadata(Some(&names), false).await.unwrap();
    let codes: Vec<_> = response.topics.iter().map(|t| t.error).collect();
    assert_eq!(codes, [ErrorCode(0), ErrorCode::INVALID_TOPIC_EXCEPTION]);
    assert_eq!(script.lock().asked, [["t"]]);
}

#[tokio::test]
async fn topics_that_were_only_looked_up_in_vain_are_not_asked_for_again() {
    let (cluster, script) = start().await;
    for number in 0..20 {
        let topic = format!("unknown-{number}");
        assert!(cluster.leader(&topic, 0).await.is_err());
    }
    assert!(cluster.leader("t", 0).await.is_ok());
    script.lock().asked.clear();
    script.lock().epoch = 1;
    cluster.request_refresh();
    let leader = Leader { node: 1, epoch: 1 };
    eventually(&cluster, |c| c.snapshot().leader("t", 0) == Ok(leader)).await;
    assert_eq!(script.lock().asked, [["t"]]);
    assert_eq!(cluster.snapshot().topics.len(), 1);
}

#[tokio::test]
async fn a_topic_that_was_looked_up_has_a_leader_at_once() {
    let (cluster, _script) = start().await;
    assert!(cluster.snapshot().leader("t", 0).is_err());
    let asked = ["t".to_owned()];
    cluster.look_up(Some(&asked), false).await.unwrap();
    assert!(cluster.snapshot().leader("t", 0).is_ok());
}

#[tokio::test]
async fn a_refusal_that_names_the_known_leader_wakes_nobody() {
    let (cluster, _) = start().await;
    let leader = cluster.leader("t", 0).await.unwrap();
    let (before, changes) = (cluster.snapshot(), cluster.changes());
    cluster.learn_leader("t", 0, leader, None);
    assert!(!changes.has_changed().unwrap());
    assert!(Arc::ptr_eq(&before, &cluster.snapshot()));
}

#[tokio::test]
async fn when_all_known_brokers_are_gone_the_cluster_is_found_again_where_it_was_first_found() {
    let bootstrap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = port_of(&bootstrap);
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = Arc::new(Mutex::new((1, port_of(&first))));
    let said = brokers.clone();
    let answer = move |_key, version, _body: Bytes| {
        let (node, port) = *said.lock();
        let response = metadata(&[(node, port)], node, node);
        async move { Some(encoded(&response, version)) }
    };
    serve(bootstrap, || VERSIONS, answer.clone());
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![on_loopback(port)],
        refresh_backoff: Duration::from_millis(1),
        ..Default::default()
    });
    let _held = cluster.watch_topic("t");
    assert_eq!(cluster.leader("t", 0).await.unwrap().node, 1);
    // The one broker that it knows goes, and another one comes elsewhere (KIP-899).
    drop(first);
    let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *brokers.lock() = (2, port_of(&second));
    serve(second, || VERSIONS, answer.clone());
    cluster.request_refresh();
    eventually(&cluster, |c| {
        c.snapshot()
            .leader("t", 0)
            .is_ok_and(|leader| leader.node == 2)
    })
    .await;
    let connection = cluster.connection(2, Purpose::Main).await.unwrap();
    assert!(!connection.is_closed());
    // The same broker at another address.
    let moved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = port_of(&moved);
    serve(moved, || VERSIONS, answer);
    *brokers.lock() = (2, port);
    cluster.request_refresh();
    eventually(&cluster, |c| c.endpoint(2).is_some_and(|e| e.port == port)).await;
    let connection = cluster.connection(2, Purpose::Main).await.unwrap();
    assert_eq!(connection.endpoint().port, port);
    cluster.close();
}

/// Answers for the one name "kafka" with addresses that may change.
fn names(addresses: &Arc<Mutex<Vec<IpAddr>>>) -> Resolver {
    let addresses = addresses.clone();
    Resolver::new(move |host, port| {
        assert_eq!(host, "kafka");
        let known = addresses.lock();
        Ok(known.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    })
}

fn named(port: u16) -> Endpoint {
    Endpoint {
        host: "kafka".into(),
        port,
    }
}

fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn of_names(addresses: &Arc<Mutex<Vec<IpAddr>>>, port: u16) -> ClusterConfig {
    ClusterConfig {
        bootstrap: vec![named(port)],
        refresh_backoff: Duration::from_millis(1),
        connect: ConnectOptions {
            resolver: names(addresses),
            connect_timeout: Duration::from_secs(4),
            ..Default::default()
        },
        ..Default::default()
    }
}

async fn broker_at(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).await.unwrap()
}

fn serve_as(listener: TcpListener, epoch: i32) {
    let port = port_of(&listener);
    serve(
        listener,
        || VERSIONS,
        move |_key, version, _body| {
            let mut response = metadata(&[(1, port)], 1, epoch);
            response.brokers[0].host = StrBytes::from_static_str("kafka");
            async move { Some(encoded(&response, version)) }
        },
    );
}

fn coordinator(node: i32) -> FindCoordinatorResponse {
    FindCoordinatorResponse::default().with_node_id(BrokerId(node))
}

#[tokio::test]
async fn a_broker_that_hangs_does_not_use_up_the_time_of_who_asks() {
    const VERSIONS: Versions = &[
        (ApiKey::ApiVersions, 3),
        (ApiKey::Metadata, 9),
        (ApiKey::FindCoordinator, 3),
    ];
    let limit = Duration::from_secs(2);
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bootstrap = on_loopback(port_of(&hanging));
    let ports = [(1, port_of(&hanging)), (2, port_of(&other))];
    let hangs = Arc::new(AtomicBool::new(false));
    for (listener, hangs) in [(hanging, hangs.clone()), (other, Arc::default())] {
        serve(
            listener,
            || VERSIONS,
            move |key, version, _body| {
                let hangs = hangs.clone();
                let answer = match key {
                    ApiKey::Metadata => encoded(&metadata(&ports, 1, 0), version),
                    _ => encoded(&coordinator(2), version),
                };
                async move {
                    if hangs.load(Ordering::Relaxed) {
                        std::future::pending::<()>().await;
                    }
                    Some(answer)
                }
            },
        );
    }
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![bootstrap],
        metadata_timeout: limit,
        ..Default::default()
    });
    // The one connection that is open, so that it is asked first.
    cluster.connect().await.unwrap();
    hangs.store(true, Ordering::Relaxed);
    let asked = tokio::time::timeout(limit, cluster.fetch_metadata(None, false)).await;
    assert!(matches!(asked, Ok(Ok(_))), "{asked:?}");
    let find = find_coordinator(&cluster, CoordinatorKind::Group, "g", limit);
    let found = tokio::time::timeout(limit, find).await.unwrap().unwrap();
    assert_eq!(found.0, 2);
    cluster.close();
}

#[tokio::test]
async fn a_coordinator_is_found_where_it_says_that_it_listens_though_no_metadata_names_it() {
    const VERSIONS: Versions = &[
        (ApiKey::ApiVersions, 3),
        (ApiKey::Metadata, 9),
        (ApiKey::FindCoordinator, 3),
    ];
    const COORDINATOR: i32 = 99;
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = port_of(&broker);
    let coordinates_at = Arc::new(Mutex::new(port));
    let said = coordinates_at.clone();
    let answer = move |key, version, _body| {
        let found = coordinator(COORDINATOR)
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port((*said.lock()).into());
        let answer = match key {
            ApiKey::Metadata => encoded(&metadata(&[(1, port)], 1, 0), version),
            _ => encoded(&found, version),
        };
        async move { Some(answer) }
    };
    serve(broker, || VERSIONS, answer.clone());
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![on_loopback(port)],
        ..Default::default()
    });
    let find = || find_coordinator(&cluster, CoordinatorKind::Group, "g", LIMIT);
    assert_eq!(find().await, Ok((COORDINATOR, on_loopback(port))));
    // Metadata that says nothing of it takes nothing back.
    cluster.connect().await.unwrap();
    let connection = cluster.connection(COORDINATOR, Purpose::Main).await;
    assert_eq!(connection.unwrap().endpoint().port, port);
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let moved = port_of(&other);
    serve(other, || VERSIONS, answer);
    *coordinates_at.lock() = moved;
    assert_eq!(find().await, Ok((COORDINATOR, on_loopback(moved))));
    let connection = cluster.connection(COORDINATOR, Purpose::Main).await;
    assert_eq!(connection.unwrap().endpoint().port, moved);
    cluster.close();
}

#[tokio::test]
async fn topics_are_created_where_no_broker_that_is_there_is_named_as_controller() {
    const VERSIONS: Versions = &[
        (ApiKey::ApiVersions, 3),
        (ApiKey::Metadata, 9),
        (ApiKey::CreateTopics, 5),
    ];
    for controller in [-1, 99] {
        let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = port_of(&broker);
        serve(
            broker,
            || VERSIONS,
            move |key, version, _body| {
                let said = metadata(&[(1, port)], 1, 0).with_controller_id(BrokerId(controller));
                let created = CreatableTopicResult::default().with_name(server::topic());
                let answer = match key {
                    ApiKey::Metadata => encoded(&said, version),
                    _ => encoded(
                        &CreateTopicsResponse::default().with_topics(vec![created]),
                        version,
                    ),
                };
                async move { Some(answer) }
            },
        );
        let cluster = Cluster::start(ClusterConfig {
            bootstrap: vec![on_loopback(port)],
            ..Default::default()
        });
        let topic = NewTopic {
            name: "t".into(),
            num_partitions: 1,
            replication_factor: 1,
            assignments: Vec::new(),
            configs: Vec::new(),
        };
        let created = create_topics(&cluster, &[topic], LIMIT, false, LIMIT).await;
        assert_eq!(created, Ok(()), "controller {controller}");
        cluster.close();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_broker_whose_name_leads_to_another_address_is_found_there() {
    let first = broker_at(SocketAddr::new(loopback(2), 0)).await;
    let port = port_of(&first);
    let addresses = Arc::new(Mutex::new(vec![loopback(2)]));
    serve_as(first, 1);
    let cluster = Cluster::start(of_names(&addresses, port));
    let _held = cluster.watch_topic("t");
    assert_eq!(cluster.leader("t", 0).await.unwrap().node, 1);
    let connection = cluster.connection(1, Purpose::Main).await.unwrap();
    // It has moved: at the old address nobody is known by that name any more.
    serve_as(broker_at(SocketAddr::new(loopback(3), port)).await, 2);
    *addresses.lock() = vec![loopback(3)];
    connection.close();
    cluster.request_refresh();
    eventually(&cluster, |c| {
        c.snapshot().leader("t", 0).is_ok_and(|l| l.epoch == 2)
    })
    .await;
    cluster.close();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn each_address_of_a_bootstrap_name_is_tried() {
    // One that refuses, one that takes connections and says nothing, and one that answers.
    let good = broker_at(SocketAddr::new(loopback(4), 0)).await;
    let port = port_of(&good);
    let _silent = broker_at(SocketAddr::new(loopback(3), port)).await;
    serve_as(good, 1);
    let addresses = Arc::new(Mutex::new(vec![loopback(2), loopback(3), loopback(4)]));
    let cluster = Cluster::start(of_names(&addresses, port));
    assert_eq!(cluster.connect().await, Ok(()));
    cluster.close();
}

#[tokio::test]
async fn brokers_that_send_a_client_back_are_left_for_where_it_first_found_the_cluster() {
    const VERSIONS: Versions = &[(ApiKey::ApiVersions, 3), (ApiKey::Metadata, 13)];
    let bootstrap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let new = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = on_loopback(port_of(&bootstrap));
    let (old_port, new_port) = (port_of(&old), port_of(&new));
    // Leader epochs of the cluster behind the same address start over.
    let brokers = Arc::new(Mutex::new((1, old_port, 7)));
    let said = brokers.clone();
    let answer = move |_key, version, _body: Bytes| {
        let (node, port, epoch) = *said.lock();
        let response = metadata(&[(node, port)], node, epoch);
        async move { Some(encoded(&response, version)) }
    };
    serve(bootstrap, || VERSIONS, answer.clone());
    serve(new, || VERSIONS, answer);
    serve(
        old,
        || VERSIONS,
        |_key, version, _body| async move {
            let code = ErrorCode::REBOOTSTRAP_REQUIRED.0;
            let response = MetadataResponse::default().with_error_code(code);
            Some(encoded(&response, version))
        },
    );
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![endpoint],
        refresh_backoff: Duration::from_millis(1),
        ..Default::default()
    });
    let _held = cluster.watch_topic("t");
    let leader = Leader { node: 1, epoch: 7 };
    assert_eq!(cluster.leader("t", 0).await, Ok(leader));
    let former = cluster.connection(1, Purpose::Produce(0)).await.unwrap();
    *brokers.lock() = (2, new_port, 3);
    cluster.request_refresh();
    let leader = Leader { node: 2, epoch: 3 };
    eventually(&cluster, |c| c.snapshot().leader("t", 0) == Ok(leader)).await;
    assert!(former.is_closed());
    assert!(cluster.endpoint(1).is_none());
    let connection = cluster.connection(2, Purpose::Main).await.unwrap();
    assert_eq!(connection.endpoint().port, new_port);
    cluster.close();
}
