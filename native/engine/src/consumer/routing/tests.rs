//! The clock is a number here: nothing waits.

mod property;

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::consumer::completed_fetch::End;
use crate::consumer::config::OffsetResetPolicy;
use crate::consumer::sink::Delivered;
use brod_protocol::api::fetch;
use brod_protocol::api::metadata::{self, Metadata};
use brod_protocol::batch_writer::{BatchWriter, SealOptions};
use brod_protocol::error::ErrorCode;

const NAMED_FOR: Duration = Duration::from_secs(300);

/// Three brokers; `leader` leads the partition, if any does.
fn cluster(leader: Option<Leader>) -> Snapshot {
    topic_with_id(7, leader)
}

fn topic_with_id(id: u128, leader: Option<Leader>) -> Snapshot {
    let leader = leader.unwrap_or(Leader { node: -1, epoch: 0 });
    let partition = metadata::Partition {
        error: ErrorCode(0),
        partition: 0,
        leader: leader.node,
        leader_epoch: leader.epoch,
        replicas: vec![],
        in_sync: vec![],
        offline: vec![],
    };
    let topic = metadata::Topic {
        error: ErrorCode(0),
        name: Some("t".into()),
        id: id.to_be_bytes(),
        is_internal: false,
        partitions: vec![partition],
    };
    let broker = |node| metadata::Broker {
        node,
        host: "h".into(),
        port: node,
        rack: None,
    };
    let response = Metadata {
        brokers: (1..=3).map(broker).collect(),
        cluster_id: None,
        controller: -1,
        topics: vec![topic],
    };
    let mut snapshot = Snapshot::default();
    snapshot.update(&response, |_| true);
    snapshot
}

fn led_by(node: NodeId, epoch: i32) -> Snapshot {
    cluster(Some(Leader { node, epoch }))
}

/// An answer without messages, of a log that ends at `end`.
fn nothing(end: i64) -> fetch::Partition {
    fetch::Partition {
        high_watermark: end,
        last_stable_offset: end,
        ..fetch::Partition::default()
    }
}

/// A leader's answer to one who is to turn to that replica.
fn named(replica: NodeId, end: i64) -> fetch::Partition {
    fetch::Partition {
        preferred_replica: Some(replica),
        ..nothing(end)
    }
}

/// Three messages from offset `base` on, written in this leader epoch.
fn messages(base: i64, epoch: i32) -> fetch::Partition {
    let mut writer = BatchWriter::new(0);
    (0..3).for_each(|_| writer.push(1, None, Some(b"value"), &[]));
    let mut bytes = Vec::new();
    let sealed = writer.seal(SealOptions::default()).expect("seals");
    bytes.extend_from_slice(&sealed.to_bytes());
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    fetch::Partition {
        records: Bytes::from(bytes),
        ..nothing(base + 3)
    }
}

fn at_epoch(offset: i64, epoch: i32) -> Position {
    Position {
        epoch,
        ..Position::at(offset)
    }
}

/// Whatever there is to take, as a subscriber would.
fn take_all(routing: &mut Routing, mut delivery: Delivery, now: Instant) {
    let generation = delivery.generation;
    while let Some(room) = routing.room() {
        let (set, end) = delivery.fetched.take(room);
        let mut delivered = Delivered::new();
        for record in set.iter().flat_map(|batch| batch.iter()) {
            let record = record.expect("reads");
            delivered.add(record.offset, 5);
        }
        let goes_on = routing.delivered(generation, delivered, delivery.fetched.reached());
        let end = end.or((!goes_on).then_some(End::Done));
        if let Some(end) = end {
            return routing.delivery_ends(generation, DeliveryEnd::End(end), now);
        }
    }
    routing.delivery_ends(
        generation,
        DeliveryEnd::Full(Box::new(delivery.fetched)),
        now,
    );
}

struct Test {
    routing: Routing,
    now: Instant,
    fetches: FetchId,
}

impl Test {
    /// Subscribed to offset 0 with this policy; broker 1 leads since epoch 5.
    fn with(offset_reset_policy: OffsetResetPolicy) -> Self {
        let share = Arc::new(AtomicI32::new(i32::MAX));
        let mut test = Test {
            routing: Routing::new("t".into(), 0, share, 1),
            now: Instant::now(),
            fetches: 0,
        };
        let generation = test.routing.subscribe(ConsumerConfig {
            offset_reset_policy,
            ..ConsumerConfig::default()
        });
        let cluster = led_by(1, 5);
        let begun = test
            .routing
            .begin(generation, Position::at(0), &cluster, test.now);
        assert_eq!(begun, Begun::Yes);
        assert_eq!(test.actions(), ["route to 1", "enqueue"]);
        test
    }

    fn start() -> Self {
        Test::with(OffsetResetPolicy::ResetBySubscriber)
    }

    /// From offset 0 on, as a broker had said before.
    fn start_foreseen() -> Self {
        let mut test = Test::start();
        let generation = test.routing.subscribe(ConsumerConfig::default());
        let position = Position {
            foreseen: true,
            ..Position::at(0)
        };
        let cluster = led_by(1, 5);
        test.routing.begin(generation, position, &cluster, test.now);
        test.actions();
        test
    }

    /// What is to be done, in short.
    fn actions(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(action) = self.routing.next_action() {
            all.push(match action {
                Action::Route(node, _) => format!("route to {node}"),
                Action::Unroute => "unroute".into(),
                Action::Enqueue { .. } => "enqueue".into(),
                Action::Revoke(id) => format!("revoke {id}"),
                Action::RefreshMetadata => "refresh".into(),
                Action::WakeAt(_) => "wake".into(),
                Action::AskEpochEnd { leader, epoch, .. } => {
                    format!("ask {} for the end of {epoch}", leader.node)
                }
                Action::FindOffset { to, .. } => format!("find {to:?}"),
                Action::Begin { position, .. } => format!("begin at {}", position.offset),
                Action::Deliver(_) => "deliver".into(),
                Action::Fail { code, .. } => format!("fail: {code}"),
                Action::Warn(_) => "warn".into(),
            });
        }
        all
    }

    /// As [`Test::actions`], of which one, the last, says when to wake it, or what number a check has.
    fn actions_with<T>(&mut self, which: impl Fn(&Action) -> Option<T>) -> (Vec<String>, T) {
        let found = self.routing.actions.iter().rev().find_map(which);
        (self.actions(), found.expect("an action"))
    }

    /// Waits after an error; until when.
    fn waits(&mut self) -> Instant {
        let (actions, until) = self.actions_with(|action| match action {
            Action::WakeAt(time) => Some(*time),
            _ => None,
        });
        assert!(actions.ends_with(&["refresh".into(), "wake".into()]));
        until
    }

    fn asks(&mut self, question: &str) -> u64 {
        let (actions, check) = self.actions_with(|action| match action {
            Action::AskEpochEnd { check, .. } => Some(*check),
            _ => None,
        });
        assert_eq!(actions.last().map(String::as_str), Some(question));
        check
    }

    fn fetch(&mut self) -> FetchId {
        self.fetches += 1;
        assert!(self.routing.claim(self.fetches).is_some());
        self.fetches
    }

    /// Whether the next fetch is one that the leader is to answer itself.
    fn claims_from_leader(&mut self) -> bool {
        self.actions();
        self.fetches += 1;
        self.routing
            .claim(self.fetches)
            .expect("to be fetched")
            .from_leader
    }

    fn answer(&mut self, from: NodeId, data: fetch::Partition, cluster: &Snapshot) -> Answered {
        let id = self.fetches;
        self.routing
            .answered(id, from, data, NAMED_FOR, cluster, self.now)
    }

    /// Has consumed up to offset 3, which came in leader epoch 5.
    fn consumed() -> Self {
        Test::start().consume()
    }

    fn consume(mut self) -> Self {
        let id = self.fetch();
        match self.answer(1, messages(0, 5), &led_by(1, 5)) {
            Answered::Deliver(delivery) => take_all(&mut self.routing, *delivery, self.now),
            other => panic!("{other:?}"),
        }
        assert_eq!(self.routing.keep(id).map(|next| next.offset), Some(3));
        assert!(self.actions().is_empty());
        self
    }
}

fn error(code: ErrorCode) -> fetch::Partition {
    fetch::Partition {
        error: code,
        ..nothing(0)
    }
}

#[test]
fn a_leader_that_moves_takes_the_partition_along() {
    let mut test = Test::start();
    let id = test.fetch();
    test.routing.metadata_changed(&led_by(1, 5), test.now);
    assert!(test.actions().is_empty(), "nothing has changed");
    test.routing.metadata_changed(&led_by(2, 6), test.now);
    let moved = [&format!("revoke {id}"), "unroute", "route to 2", "enqueue"];
    assert_eq!(test.actions(), moved);
    // The answer of the former leader comes too late.
    let late = test.answer(1, messages(0, 5), &led_by(2, 6));
    assert!(matches!(late, Answered::Next(None)));
    assert_eq!(test.routing.info().position, Some(0));
    test.fetch();
}

#[test]
fn the_log_of_a_new_leader_is_checked_before_it_is_fetched_from() {
    let mut test = Test::consumed();
    test.routing.metadata_changed(&led_by(2, 6), test.now);
    let check = test.asks("ask 2 for the end of 5");
    test.routing.metadata_changed(&led_by(2, 6), test.now);
    assert!(test.actions().is_empty(), "it is being checked");
    let end = EpochEnd::At(3, 5);
    test.routing.epoch_end(check, end, &led_by(2, 6), test.now);
    assert_eq!(test.actions(), ["route to 2", "enqueue"]);
    // Once is enough for an epoch.
    test.routing.metadata_changed(&led_by(3, 6), test.now);
    assert_eq!(test.actions(), ["unroute", "route to 3", "enqueue"]);
}

#[test]
fn logs_are_checked_in_a_cluster_whose_epochs_began_anew() {
    let mut test = Test::consumed();
    test.routing.metadata_changed(&led_by(2, 2), test.now);
    let check = test.asks("ask 2 for the end of 5");
    // An epoch that the leader never heard of.
    let end = EpochEnd::At(-1, -1);
    test.routing.epoch_end(check, end, &led_by(2, 2), test.now);
    assert_eq!(test.actions(), ["route to 2", "enqueue"]);
    test.routing.metadata_changed(&led_by(3, 3), test.now);
    test.asks("ask 3 for the end of 5");
}

#[test]
fn a_leader_that_cannot_tell_where_an_epoch_ended_is_trusted() {
    let mut test = Test::consumed();
    test.routing.metadata_changed(&led_by(2, 6), test.now);
    let check = test.asks("ask 2 for the end of 5");
    test.routing
        .epoch_end(check, EpochEnd::Unknown, &led_by(2, 6), test.now);
    assert_eq!(test.actions(), ["route to 2", "enqueue"]);
}

#[test]
fn a_check_that_fails_is_made_again_after_a_wait() {
    let mut test = Test::consumed();
    let cluster = led_by(2, 6);
    test.routing.metadata_changed(&cluster, test.now);
    let check = test.asks("ask 2 for the end of 5");
    test.routing
        .epoch_end(check, EpochEnd::Passing, &cluster, test.now);
    let until = test.waits();
    test.routing.metadata_changed(&cluster, test.now);
    test.routing
        .wake(&cluster, until - Duration::from_millis(1));
    assert!(test.actions().is_empty(), "it is too early");
    test.routing.wake(&cluster, until);
    test.asks("ask 2 for the end of 5");
}

#[test]
fn a_leader_that_is_being_checked_is_left_for_the_next_one() {
    let mut test = Test::consumed();
    test.routing.metadata_changed(&led_by(2, 6), test.now);
    let first = test.asks("ask 2 for the end of 5");
    test.routing.metadata_changed(&led_by(3, 7), test.now);
    let second = test.asks("ask 3 for the end of 5");
    // What the former one says does not count any more.
    let end = EpochEnd::At(1, 5);
    test.routing.epoch_end(first, end, &led_by(3, 7), test.now);
    assert!(test.actions().is_empty());
    let end = EpochEnd::At(3, 5);
    test.routing.epoch_end(second, end, &led_by(3, 7), test.now);
    assert_eq!(test.actions(), ["route to 3", "enqueue"]);
}

#[test]
fn a_log_that_was_cut_off_goes_by_the_policy() {
    let cut_off = |policy| {
        let mut test = Test::with(policy).consume();
        test.routing.metadata_changed(&led_by(2, 6), test.now);
        let check = test.asks("ask 2 for the end of 5");
        let end = EpochEnd::At(2, 4);
        test.routing.epoch_end(check, end, &led_by(2, 6), test.now);
        test
    };
    let mut told = cut_off(OffsetResetPolicy::ResetBySubscriber);
    assert_eq!(told.actions(), ["fail: offset_out_of_range"]);
    assert!(!told.routing.info().active);
    let mut reset = cut_off(OffsetResetPolicy::ResetToLatest);
    assert_eq!(reset.actions(), ["warn", "begin at 2"]);
    let generation = reset.routing.info().generation;
    reset
        .routing
        .begin(generation, at_epoch(2, 4), &led_by(2, 6), reset.now);
    assert_eq!(reset.actions(), ["route to 2", "enqueue"]);
    assert_eq!(reset.routing.info().position, Some(2));
}

/// Records may be deleted between the broker's answer and the subscribe that it is used for.
#[test]
fn a_begin_that_was_foreseen_is_asked_for_again_where_it_is_gone() {
    let (mut test, cluster) = (Test::start_foreseen(), led_by(1, 5));
    test.fetch();
    test.answer(1, error(ErrorCode::OFFSET_OUT_OF_RANGE), &cluster);
    assert_eq!(test.actions(), ["revoke 1", "unroute", "find Earliest"]);
    let generation = test.routing.info().generation;
    let position = Position::at(3);
    test.routing.begin(generation, position, &cluster, test.now);
    assert_eq!(test.actions(), ["route to 1", "enqueue"]);
    test.fetch();
    test.answer(1, error(ErrorCode::OFFSET_OUT_OF_RANGE), &cluster);
    let told = ["warn", "revoke 2", "unroute", "fail: offset_out_of_range"];
    assert_eq!(test.actions(), told);
}

#[test]
fn a_begin_that_was_foreseen_counts_as_any_other_once_it_was_fetched_from() {
    let mut test = Test::start_foreseen().consume();
    let gone = error(ErrorCode::OFFSET_OUT_OF_RANGE);
    test.answer(1, gone, &led_by(1, 5));
    let told = ["warn", "revoke 1", "unroute", "fail: offset_out_of_range"];
    assert_eq!(test.actions(), told);
}

/// The subscriber gets what the former leader had while the new one is asked.
#[test]
fn a_log_that_was_cut_off_is_seen_when_a_delivery_is_under_way() {
    let mut test = Test::with(OffsetResetPolicy::ResetToEarliest).consume();
    let Answered::Deliver(delivery) = test.answer(1, messages(3, 5), &led_by(1, 5)) else {
        panic!("nothing to deliver")
    };
    test.routing.metadata_changed(&led_by(2, 6), test.now);
    let check = test.asks("ask 2 for the end of 5");
    let end = EpochEnd::At(4, 5);
    test.routing.epoch_end(check, end, &led_by(2, 6), test.now);
    test.now = test.waits();
    take_all(&mut test.routing, *delivery, test.now);
    test.routing.wake(&led_by(2, 6), test.now);
    let check = test.asks("ask 2 for the end of 5");
    test.routing.epoch_end(check, end, &led_by(2, 6), test.now);
    assert_eq!(test.actions(), ["warn", "begin at 4"]);
}

#[test]
fn a_replica_that_the_leader_names_is_fetched_from_for_a_while() {
    let mut test = Test::start();
    let cluster = led_by(1, 5);
    test.fetch();
    test.answer(1, named(2, 3), &cluster);
    let moved = ["revoke 1", "unroute", "route to 2", "enqueue"];
    assert_eq!(test.actions(), moved);
    test.now += NAMED_FOR - Duration::from_millis(1);
    test.routing.metadata_changed(&cluster, test.now);
    assert!(test.actions().is_empty());
    test.now += Duration::from_millis(1);
    test.routing.metadata_changed(&cluster, test.now);
    assert_eq!(test.actions(), ["unroute", "route to 1", "enqueue"]);
}

#[test]
fn a_replica_that_is_gone_is_left_for_the_leader() {
    let mut test = Test::start();
    test.fetch();
    let mut without = led_by(1, 5);
    without.brokers.remove(&2);
    test.answer(1, named(2, 3), &without);
    // The leader would name it again at once.
    test.now = test.waits();
    test.routing.wake(&led_by(1, 5), test.now);
    assert_eq!(test.actions(), ["route to 1", "enqueue"]);
    test.fetch();
    test.answer(1, named(2, 3), &led_by(1, 5));
    assert_eq!(test.routing.info().node, Some(2));
    test.actions();
    test.routing.metadata_changed(&without, test.now);
    assert_eq!(test.actions(), ["unroute", "route to 1", "enqueue"]);
}

/// As brokers that are not Kafka's do, and give 0 for one, which need not be there.
#[test]
fn who_sends_messages_is_read_from_whatever_replica_it_names() {
    let cluster = led_by(1, 5);
    for replica in [0, 2] {
        let mut test = Test::start();
        test.fetch();
        let answer = fetch::Partition {
            preferred_replica: Some(replica),
            ..messages(0, 5)
        };
        let Answered::Deliver(delivery) = test.answer(1, answer, &cluster) else {
            panic!("messages are not delivered");
        };
        take_all(&mut test.routing, *delivery, test.now);
        let info = test.routing.info();
        assert_eq!((info.position, info.node), (Some(3), Some(1)));
    }
}

/// The leader goes on naming one that has just died, or that only this client cannot reach.
#[test]
fn after_a_replica_that_failed_the_leader_is_to_name_none_for_a_while() {
    type Failure = fn(&mut Test, &Snapshot);
    let failures: [Failure; 3] = [
        |test, _| test.routing.fetch_failed(test.fetches, test.now),
        |test, cluster| {
            test.answer(2, error(ErrorCode::NOT_LEADER_FOR_PARTITION), cluster);
        },
        |test, cluster| {
            test.answer(2, error(ErrorCode::OFFSET_OUT_OF_RANGE), cluster);
        },
    ];
    let cluster = led_by(1, 5);
    for fails in failures {
        let mut test = Test::start();
        let begun = test.now;
        test.fetch();
        test.answer(1, named(2, 3), &cluster);
        assert!(!test.claims_from_leader());
        fails(&mut test, &cluster);
        test.now = test.waits();
        test.routing.wake(&cluster, test.now);
        assert_eq!(test.actions(), ["route to 1", "enqueue"]);
        assert!(test.claims_from_leader());
        test.now = begun + Duration::from_secs(9);
        test.routing.wake(&cluster, test.now);
        assert!(test.actions().is_empty());
        test.now = begun + Duration::from_secs(15);
        test.routing.wake(&cluster, test.now);
        assert_eq!(test.actions(), ["revoke 3", "enqueue"]);
        assert!(!test.claims_from_leader());
    }
}

#[test]
fn a_replica_that_fails_again_and_again_is_tried_less_and_less_often() {
    let mut test = Test::start();
    let cluster = led_by(1, 5);
    let mut fails = |answers: bool| {
        test.fetch();
        test.answer(1, named(2, 3), &cluster);
        test.fetch();
        if answers {
            test.answer(2, nothing(3), &cluster);
        }
        let before = test.now;
        test.actions();
        test.routing.fetch_failed(test.fetches, before);
        let (_, until) = test.actions_with(|action| match action {
            Action::WakeAt(time) if *time > before + Duration::from_secs(5) => Some(*time),
            _ => None,
        });
        test.now = until;
        test.routing.wake(&cluster, test.now);
        until - before
    };
    let (first, second) = (fails(false), fails(false));
    assert!(second > first, "{first:?} {second:?}");
    assert!(fails(true) < second, "it worked in between");
}

#[test]
fn a_replica_that_lags_behind_does_not_decide_what_is_out_of_range() {
    let mut test = Test::with(OffsetResetPolicy::ResetToEarliest);
    let cluster = led_by(1, 5);
    test.fetch();
    test.answer(1, named(2, 3), &cluster);
    test.actions();
    test.fetch();
    test.answer(2, error(ErrorCode::OFFSET_OUT_OF_RANGE), &cluster);
    test.now = test.waits();
    test.routing.wake(&cluster, test.now);
    assert_eq!(test.actions(), ["route to 1", "enqueue"]);
    test.fetch();
    test.answer(1, error(ErrorCode::OFFSET_OUT_OF_RANGE), &cluster);
    assert_eq!(
        test.actions(),
        ["warn", "revoke 3", "unroute", "find Earliest"]
    );
}

#[test]
fn a_topic_that_was_made_again_is_not_read_from_the_offset_of_the_former_one() {
    let leader = Some(Leader { node: 1, epoch: 5 });
    let again = topic_with_id(8, leader);
    let mut told = Test::consumed();
    told.routing.metadata_changed(&again, told.now);
    let id = told.fetches;
    let stopped = [
        &format!("revoke {id}"),
        "unroute",
        "warn",
        "fail: offset_out_of_range",
    ];
    assert_eq!(told.actions(), stopped);
    assert_eq!(told.routing.info().next_offset, None);

    let mut reset = Test::with(OffsetResetPolicy::ResetToEarliest).consume();
    assert_eq!(reset.routing.info().pending_count, 3);
    reset.routing.metadata_changed(&again, reset.now);
    let found = ["revoke 1", "unroute", "warn", "find Earliest"];
    assert_eq!(reset.actions(), found);
    let info = reset.routing.info();
    assert_eq!((info.pending_count, info.next_offset), (0, None));
    let generation = info.generation;
    let begun = reset
        .routing
        .begin(generation, at_epoch(0, 0), &again, reset.now);
    assert_eq!(begun, Begun::Yes);
    assert_eq!(reset.actions(), ["route to 1", "enqueue"]);
    // Who knows no id, or no topic at all, says nothing of it.
    reset
        .routing
        .metadata_changed(&topic_with_id(0, leader), reset.now);
    assert!(reset.actions().is_empty());
}

#[test]
fn waits_after_errors_grow_and_end_with_a_new_leader() {
    let mut test = Test::start();
    let cluster = led_by(1, 5);
    let mut last = Duration::ZERO;
    for _ in 0..3 {
        test.fetch();
        test.answer(1, error(ErrorCode::NOT_LEADER_FOR_PARTITION), &cluster);
        let until = test.waits();
        assert!(until - test.now > last, "{last:?}");
        last = until - test.now;
        test.routing.metadata_changed(&cluster, test.now);
        assert!(test.actions().is_empty(), "the same leader");
        test.now = until;
        test.routing.wake(&cluster, test.now);
        assert_eq!(test.actions(), ["route to 1", "enqueue"]);
    }
    test.fetch();
    test.answer(1, error(ErrorCode::NOT_LEADER_FOR_PARTITION), &cluster);
    let until = test.waits();
    test.routing.metadata_changed(&led_by(2, 6), test.now);
    assert_eq!(test.actions(), ["route to 2", "enqueue"]);
    // Nobody waits for it any more.
    test.routing.wake(&led_by(2, 6), until);
    assert!(test.actions().is_empty());
}

#[test]
fn a_partition_without_a_leader_waits_for_one() {
    let mut test = Test::start();
    test.routing.metadata_changed(&cluster(None), test.now);
    let until = test.waits();
    test.routing.metadata_changed(&cluster(None), test.now);
    assert!(test.actions().is_empty());
    test.routing.wake(&cluster(None), until);
    test.waits();
    test.routing.metadata_changed(&led_by(2, 6), until);
    assert_eq!(test.actions(), ["route to 2", "enqueue"]);
}

#[test]
fn what_is_paused_is_fetched_on_resume() {
    let mut test = Test::start();
    let id = test.fetch();
    test.routing.set_paused(true);
    assert_eq!(test.actions(), [format!("revoke {id}")]);
    assert!(matches!(
        test.answer(1, messages(0, 5), &led_by(1, 5)),
        Answered::Next(None)
    ));
    test.routing.metadata_changed(&led_by(2, 6), test.now);
    assert_eq!(test.actions(), ["unroute", "route to 2"]);
    test.routing.set_paused(false);
    assert_eq!(test.actions(), ["enqueue"]);
}

#[test]
fn an_error_that_does_not_pass_stops_the_partition_until_the_next_seek() {
    let mut test = Test::start();
    let refused = error(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    test.fetch();
    test.answer(1, refused, &led_by(1, 5));
    let told = ["revoke 1", "unroute", "fail: topic_authorization_failed"];
    assert_eq!(test.actions(), told);
    test.routing.metadata_changed(&led_by(2, 6), test.now);
    assert!(test.actions().is_empty());
    let seek = test.routing.seek_starts().expect("a subscription");
    let generation = test.routing.seek_ends(seek).expect("it counts");
    let cluster = led_by(2, 6);
    test.routing
        .begin(generation, Position::at(7), &cluster, test.now);
    assert_eq!(test.actions(), ["route to 2", "enqueue"]);
}
