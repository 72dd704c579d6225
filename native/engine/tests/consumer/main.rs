//! The consumer against a broker that does what each test wants.

mod broker;
mod damage;
mod leaders;
mod replicas;
mod room;
#[path = "../support/server.rs"]
mod server;
mod sizes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brod_engine::cluster::{Cluster, ClusterConfig};
use brod_engine::consumer::{
    BeginOffset, Consumer, ConsumerConfig, Consumers, Delivered, Isolation, MessageSet,
    OffsetResetPolicy, OpenError, Sink,
};
use brod_engine::net::Endpoint;
use brod_protocol::error::ErrorCode;
use broker::{batch, checksummed, Broker, Kind, VERSIONS};
use kafka_protocol::messages::ApiKey;
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);
const HELD_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, PartialEq)]
enum Event {
    Message(i64, String),
    Error(ErrorCode),
}

struct Recorder(mpsc::UnboundedSender<Event>);

impl Sink for Recorder {
    fn deliver(&self, set: MessageSet) -> Delivered {
        let mut delivered = Delivered::new();
        for batch in &set.batches {
            for record in batch.iter() {
                match record {
                    Ok(record) => {
                        let value = batch.records.slice(record.value.unwrap());
                        delivered.add(record.offset, value.len());
                        let text = String::from_utf8(value.to_vec()).unwrap();
                        let _ = self.0.send(Event::Message(record.offset, text));
                    }
                    Err(error) => {
                        delivered.failed = Some(*error);
                        return delivered;
                    }
                }
            }
        }
        delivered
    }

    fn error(&self, _generation: u64, code: ErrorCode, _text: String) {
        let _ = self.0.send(Event::Error(code));
    }
}

/// Says when it is called, and is held up until it may go on.
struct Gate {
    reached: mpsc::UnboundedSender<()>,
    opens: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Sink for Gate {
    fn deliver(&self, _set: MessageSet) -> Delivered {
        let _ = self.reached.send(());
        let _ = self.opens.lock().unwrap().recv_timeout(LIMIT);
        Delivered::new()
    }

    fn error(&self, _generation: u64, _code: ErrorCode, _text: String) {}
}

struct Subscriber {
    consumer: Consumer,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Subscriber {
    async fn start(consumers: &Arc<Consumers>, partition: i32, config: ConsumerConfig) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let consumer = consumers.open("t", partition).expect("open");
        let answer = consumer.subscribe(config, Arc::new(Recorder(sender)));
        assert_eq!(timeout(LIMIT, answer).await.unwrap().unwrap(), Ok(()));
        Subscriber { consumer, events }
    }

    async fn next(&mut self) -> Event {
        timeout(LIMIT, self.events.recv())
            .await
            .expect("nothing came")
            .unwrap()
    }

    /// The next messages; each is acked.
    async fn offsets(&mut self, count: usize) -> Vec<i64> {
        let mut offsets = Vec::new();
        for _ in 0..count {
            match self.next().await {
                Event::Message(offset, _) => {
                    self.consumer.ack(offset);
                    offsets.push(offset);
                }
                other => panic!("{other:?} after {offsets:?}"),
            }
        }
        offsets
    }

    async fn seek(&self, to: BeginOffset) {
        assert_eq!(
            timeout(LIMIT, self.consumer.seek(to))
                .await
                .unwrap()
                .unwrap(),
            Ok(())
        );
    }
}

async fn connect(broker: &Broker) -> Arc<Consumers> {
    Consumers::new(
        cluster(broker, ClusterConfig::default()).await,
        "",
        HELD_BYTES,
    )
}

async fn cluster(broker: &Broker, config: ClusterConfig) -> Arc<Cluster> {
    let cluster = Cluster::start(ClusterConfig {
        bootstrap: vec![Endpoint {
            host: "127.0.0.1".into(),
            port: broker.port,
        }],
        ..config
    });
    cluster.connect().await.unwrap();
    cluster
}

fn earliest() -> ConsumerConfig {
    ConsumerConfig {
        begin_offset: BeginOffset::Earliest,
        ..ConsumerConfig::default()
    }
}

/// Waits for what no event tells of.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn messages_come_as_soon_as_they_are_there() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.append(0, 0, &["old"], Kind::default());
    let mut subscriber = Subscriber::start(&consumers, 0, ConsumerConfig::default()).await;
    until("polls grow", || broker.change(|log| log.fetches.len() >= 4)).await;
    let mut fastest = Duration::MAX;
    for offset in [1, 3, 5] {
        let start = Instant::now();
        broker.append(0, offset, &["a", "b"], Kind::default());
        assert_eq!(subscriber.offsets(2).await, [offset, offset + 1]);
        fastest = fastest.min(start.elapsed());
    }
    assert!(fastest < Duration::from_millis(300), "{fastest:?}");
    // The session's requests name a partition only when something about it changed.
    let named = broker.change(|log| log.fetches[1].clone());
    assert_eq!(named, (1, vec![]));
}

#[tokio::test]
async fn a_full_window_stops_one_partition_and_no_other() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    let config = ConsumerConfig {
        prefetch_count: 1,
        prefetch_bytes: 1,
        ..earliest()
    };
    let mut slow = Subscriber::start(&consumers, 0, config.clone()).await;
    let mut quick = Subscriber::start(&consumers, 1, config).await;
    broker.append(0, 0, &["a", "b"], Kind::default());
    assert_eq!(slow.next().await, Event::Message(0, "a".into()));
    assert_eq!(slow.next().await, Event::Message(1, "b".into()));
    broker.append(0, 2, &["c"], Kind::default());
    for offset in 0..20 {
        broker.append(1, offset, &["x"], Kind::default());
        assert_eq!(quick.offsets(1).await, [offset]);
    }
    assert!(slow.events.try_recv().is_err());
    let info = slow.consumer.info();
    assert_eq!((info.pending_count, info.pending_bytes), (2, 2));
    assert_eq!((info.next_offset, info.position), (Some(0), Some(2)));
    // One of two acked: no more than `prefetch_count` is out.
    slow.consumer.ack(0);
    assert_eq!(slow.next().await, Event::Message(2, "c".into()));
}

#[tokio::test]
async fn aborted_and_control_batches_are_hidden_and_passed_over() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    let txn = |producer| Kind {
        producer: Some(producer),
        ..Kind::default()
    };
    let end = |producer, commit| Kind {
        control: Some(commit),
        ..txn(producer)
    };
    broker.append(0, 0, &["plain"], Kind::default());
    broker.append(0, 1, &["aborted"], txn(5));
    broker.append(0, 2, &["committed"], txn(6));
    broker.append(0, 3, &[""], end(5, false));
    broker.append(0, 4, &["after the abort"], txn(5));
    broker.append(0, 5, &[""], end(5, true));
    broker.append(0, 6, &[""], end(6, true));
    broker.change(|log| log.aborted = vec![(5, 1)]);
    let mut committed = Subscriber::start(&consumers, 0, earliest()).await;
    assert_eq!(committed.offsets(3).await, [0, 2, 4]);
    until("position passes control batches", || {
        committed.consumer.info().next_offset == Some(7)
    })
    .await;
    broker.change(|log| log.aborted.clear());
    let config = ConsumerConfig {
        isolation: Isolation::ReadUncommitted,
        ..earliest()
    };
    let second = consumers.open("t", 0).err();
    assert_eq!(second, Some(OpenError::AlreadyOpen));
    committed.consumer.close();
    let mut all = Subscriber::start(&consumers, 0, config).await;
    assert_eq!(all.offsets(4).await, [0, 1, 2, 4]);
}

#[tokio::test]
async fn starts_inside_a_batch_and_passes_over_what_compaction_removed() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.append(0, 0, &["a", "b", "c"], Kind::default());
    // Emptied by compaction: no record is left, offsets 3 to 7 are gone.
    let mut emptied = batch(3, &["x"], Kind::default())[..61].to_vec();
    emptied[8..12].copy_from_slice(&49i32.to_be_bytes());
    emptied[23..27].copy_from_slice(&4i32.to_be_bytes());
    emptied[57..61].copy_from_slice(&0i32.to_be_bytes());
    broker.append_raw(0, 7, checksummed(emptied));
    let config = ConsumerConfig {
        begin_offset: BeginOffset::Offset(1),
        ..ConsumerConfig::default()
    };
    let mut subscriber = Subscriber::start(&consumers, 0, config).await;
    assert_eq!(subscriber.offsets(2).await, [1, 2]);
    until("position passes the hole", || {
        subscriber.consumer.info().next_offset == Some(8)
    })
    .await;
    broker.append(0, 8, &["d"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [8]);
}

#[tokio::test]
async fn an_answer_from_before_the_offset_is_passed_over() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    let earlier = batch(0, &["a", "b", "c"], Kind::default());
    let wanted = batch(2, &["c", "d", "e"], Kind::default());
    broker.append_raw(0, 2, earlier.clone());
    let mut subscriber = Subscriber::start(&consumers, 0, earliest()).await;
    assert_eq!(subscriber.offsets(3).await, [0, 1, 2]);
    // What was delivered, in front of what was asked for.
    broker.append_raw(0, 4, [&earlier[..], &wanted].concat().into());
    assert_eq!(subscriber.offsets(2).await, [3, 4]);
    // Nothing else, until the broker finds the offset again.
    let fetches = broker.change(|log| log.fetches.len());
    broker.append_raw(0, 5, [&earlier[..], &wanted].concat().into());
    until("asked again", || {
        broker.change(|log| log.fetches.len() >= fetches + 3)
    })
    .await;
    let info = subscriber.consumer.info();
    assert_eq!((info.position, info.active), (Some(5), true));
    broker.replace_last(0, batch(5, &["f"], Kind::default()));
    assert_eq!(subscriber.offsets(1).await, [5]);
}

#[tokio::test]
async fn an_offset_out_of_range_goes_by_the_policy() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.append(0, 5, &["a", "b"], Kind::default());
    broker.change(|log| log.log_start = 5);
    let config = |policy| ConsumerConfig {
        begin_offset: BeginOffset::Offset(2),
        offset_reset_policy: policy,
        ..ConsumerConfig::default()
    };
    let reset = config(OffsetResetPolicy::ResetToEarliest);
    let mut subscriber = Subscriber::start(&consumers, 0, reset).await;
    assert_eq!(subscriber.offsets(2).await, [5, 6]);
    let told = config(OffsetResetPolicy::ResetBySubscriber);
    subscriber.consumer.close();
    let mut subscriber = Subscriber::start(&consumers, 0, told).await;
    let error = Event::Error(ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(subscriber.next().await, error);
    assert!(!subscriber.consumer.info().active);
    subscriber.seek(BeginOffset::Offset(6)).await;
    assert_eq!(subscriber.offsets(1).await, [6]);
    subscriber.consumer.close();
    let reset = config(OffsetResetPolicy::ResetToLatest);
    let mut subscriber = Subscriber::start(&consumers, 0, reset).await;
    until("reset to the end", || {
        subscriber.consumer.info().position == Some(7)
    })
    .await;
    broker.append(0, 7, &["c"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [7]);
}

/// The begin of the third partition is asked for with that of the second, and records are deleted afterwards.
#[tokio::test]
async fn begins_are_asked_for_ahead_and_again_where_they_have_gone() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    let of = |partition| consumers.open("t", partition).expect("open");
    let opened: Vec<_> = (0..3).map(of).collect();
    let mut subscribers = Vec::new();
    for (partition, consumer) in opened.into_iter().enumerate() {
        if partition == 2 {
            broker.append(2, 5, &["a"], Kind::default());
            broker.change(|log| log.log_start = 5);
        }
        let (sender, events) = mpsc::unbounded_channel();
        let answer = consumer.subscribe(earliest(), Arc::new(Recorder(sender)));
        assert_eq!(timeout(LIMIT, answer).await.unwrap().unwrap(), Ok(()));
        subscribers.push(Subscriber { consumer, events });
    }
    assert_eq!(subscribers[2].offsets(1).await, [5]);
    // For 0, for 1 and 2, and for 2 again.
    assert_eq!(broker.change(|log| log.offset_requests), 3);
}

#[tokio::test]
async fn errors_that_pass_are_not_seen_and_others_are() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.change(|log| log.errors.insert(0, [6, 5, 3, 7, 74].into()));
    broker.append(0, 0, &["a"], Kind::default());
    let mut subscriber = Subscriber::start(&consumers, 0, earliest()).await;
    assert_eq!(subscriber.offsets(1).await, [0]);
    broker.change(|log| log.lose_session = true);
    broker.append(0, 1, &["b"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [1]);
    broker.change(|log| log.hang_up = true);
    broker.append(0, 2, &["c"], Kind::default());
    broker.append(0, 3, &["d"], Kind::default());
    assert_eq!(subscriber.offsets(2).await, [2, 3]);
    broker.change(|log| log.errors.insert(0, [29].into()));
    let error = Event::Error(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    assert_eq!(subscriber.next().await, error);
}

#[tokio::test]
async fn a_corrupt_batch_is_fetched_again_once() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    let good = batch(1, &["b"], Kind::default());
    let mut bad = good.to_vec();
    *bad.last_mut().unwrap() ^= 1;
    broker.append(0, 0, &["a"], Kind::default());
    broker.append_raw(0, 1, bad.clone().into());
    let mut subscriber = Subscriber::start(&consumers, 0, earliest()).await;
    assert_eq!(subscriber.offsets(1).await, [0]);
    broker.replace_last(0, good);
    assert_eq!(subscriber.offsets(1).await, [1]);
    broker.append(0, 2, &["c"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [2]);
    broker.append_raw(0, 3, bad.into());
    let error = Event::Error(ErrorCode::CORRUPT_MESSAGE);
    assert_eq!(subscriber.next().await, error);
}

#[tokio::test]
async fn a_truncated_log_is_noticed_by_its_leader_epoch() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.append(0, 0, &["a", "b", "c"], Kind::default());
    let mut subscriber = Subscriber::start(&consumers, 0, earliest()).await;
    assert_eq!(subscriber.offsets(3).await, [0, 1, 2]);
    // The new leader's log agrees: fetching goes on.
    broker.change(|log| {
        log.leader_epoch = 1;
        log.epoch_end = 3;
        log.errors.insert(0, [74].into());
    });
    broker.append(
        0,
        3,
        &["d"],
        Kind {
            epoch: 1,
            ..Kind::default()
        },
    );
    assert_eq!(subscriber.offsets(1).await, [3]);
    broker.change(|log| {
        log.leader_epoch = 2;
        log.epoch_end = 2;
        log.errors.insert(0, [74].into());
    });
    let error = Event::Error(ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(subscriber.next().await, error);
}

#[tokio::test]
async fn who_has_a_reset_policy_goes_on_where_the_log_was_cut_off() {
    let policies = [
        OffsetResetPolicy::ResetToEarliest,
        OffsetResetPolicy::ResetToLatest,
    ];
    for offset_reset_policy in policies {
        let broker = Broker::start().await;
        let consumers = connect(&broker).await;
        broker.append(0, 0, &["a", "b", "c"], Kind::default());
        let config = ConsumerConfig {
            offset_reset_policy,
            ..earliest()
        };
        let mut subscriber = Subscriber::start(&consumers, 0, config).await;
        assert_eq!(subscriber.offsets(3).await, [0, 1, 2]);
        // The new leader has one of them, and has written others.
        let epoch = Kind {
            epoch: 1,
            ..Kind::default()
        };
        let log = vec![
            (0, batch(0, &["a"], Kind::default())),
            (4, batch(1, &["B", "C", "D", "E"], epoch)),
        ];
        broker.replace_all(0, log);
        broker.change(|log| {
            log.leader_epoch = 1;
            log.epoch_end = 1;
            log.errors.insert(0, [74].into());
        });
        for (offset, value) in [(1, "B"), (2, "C"), (3, "D"), (4, "E")] {
            let expected = Event::Message(offset, value.into());
            assert_eq!(subscriber.next().await, expected);
        }
        assert_eq!(subscriber.consumer.info().position, Some(5));
    }
}

#[tokio::test]
async fn a_seek_that_fails_changes_nothing() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.append(0, 0, &["a"], Kind::default());
    let mut subscriber = Subscriber::start(&consumers, 0, earliest()).await;
    assert_eq!(subscriber.offsets(1).await, [0]);
    let generation = subscriber.consumer.info().generation;
    broker.change(|log| log.offsets_error = 29);
    let answer = timeout(LIMIT, subscriber.consumer.seek(BeginOffset::Latest)).await;
    let error = answer.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let info = subscriber.consumer.info();
    assert_eq!((info.generation, info.position), (generation, Some(1)));
    broker.append(0, 1, &["b"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [1]);
}

#[tokio::test]
async fn of_two_seeks_the_later_one_counts() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.append(0, 0, &["a", "b"], Kind::default());
    let mut subscriber = Subscriber::start(&consumers, 0, earliest()).await;
    assert_eq!(subscriber.offsets(2).await, [0, 1]);
    let earlier = subscriber.consumer.seek(BeginOffset::Earliest);
    let later = subscriber.consumer.seek(BeginOffset::Latest);
    assert!(timeout(LIMIT, earlier).await.unwrap().unwrap().is_err());
    assert_eq!(timeout(LIMIT, later).await.unwrap().unwrap(), Ok(()));
    broker.append(0, 2, &["c"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [2]);
}

#[tokio::test]
async fn a_reset_that_cannot_be_made_is_told() {
    let without = VERSIONS
        .iter()
        .filter(|(key, _)| *key != ApiKey::ListOffsets);
    let without: &'static [_] = without.copied().collect::<Vec<_>>().leak();
    let broker = Broker::start_with(1, without).await;
    let consumers = connect(&broker).await;
    let config = ConsumerConfig {
        begin_offset: BeginOffset::Offset(5),
        offset_reset_policy: OffsetResetPolicy::ResetToEarliest,
        ..ConsumerConfig::default()
    };
    let mut subscriber = Subscriber::start(&consumers, 0, config).await;
    let error = Event::Error(ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(subscriber.next().await, error);
    assert!(!subscriber.consumer.info().active);
}

#[tokio::test]
async fn pause_holds_back_and_seek_goes_back() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.append(0, 0, &["a", "b"], Kind::default());
    let mut subscriber = Subscriber::start(&consumers, 0, earliest()).await;
    assert_eq!(subscriber.offsets(2).await, [0, 1]);
    subscriber.consumer.pause();
    let mut other = Subscriber::start(&consumers, 1, earliest()).await;
    broker.append(0, 2, &["c"], Kind::default());
    for offset in 0..3 {
        broker.append(1, offset, &["x"], Kind::default());
        assert_eq!(other.offsets(1).await, [offset]);
    }
    assert!(subscriber.events.try_recv().is_err());
    subscriber.seek(BeginOffset::Offset(1)).await;
    subscriber.consumer.resume();
    assert_eq!(subscriber.offsets(2).await, [1, 2]);
    subscriber.consumer.unsubscribe();
    assert_eq!(subscriber.consumer.info().next_offset, Some(3));
    let refused = subscriber
        .consumer
        .seek(BeginOffset::Earliest)
        .await
        .unwrap();
    assert!(refused.is_err());
}

/// Somebody who subscribes anew to the same messages would see them twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_after_an_unsubscribe_once_it_is_quiet() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.append(0, 0, &["a"], Kind::default());
    let (reached, mut delivering) = mpsc::unbounded_channel();
    let (open, opens) = std::sync::mpsc::channel();
    let opens = std::sync::Mutex::new(opens);
    let consumer = Arc::new(consumers.open("t", 0).expect("open"));
    let answer = consumer.subscribe(earliest(), Arc::new(Gate { reached, opens }));
    assert_eq!(timeout(LIMIT, answer).await.unwrap().unwrap(), Ok(()));
    timeout(LIMIT, delivering.recv()).await.unwrap().unwrap();
    consumer.unsubscribe();
    let waits = consumer.clone();
    let quiet = tokio::spawn(async move { waits.quiet().await });
    let early = timeout(Duration::from_millis(50), consumer.quiet()).await;
    assert!(early.is_err() && !quiet.is_finished());
    open.send(()).unwrap();
    timeout(LIMIT, quiet).await.unwrap().unwrap();
    consumer.quiet().await;
}

#[tokio::test]
async fn a_name_that_no_topic_can_have_is_an_error_at_once() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    for name in ["", "a b", ".", "caf\u{e9}", &"x".repeat(300)] {
        let refused = consumers.open(name, 0).err();
        assert_eq!(refused, Some(OpenError::InvalidTopic), "{name}");
    }
    assert!(consumers.open(&"x".repeat(249), 0).is_ok());
}
