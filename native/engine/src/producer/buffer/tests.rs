use std::ops::Range;
use std::time::{Duration, Instant};

use super::*;
use crate::net::NetError;
use crate::producer::{Idempotence, Split};
use brod_protocol::batch_reader::batches;
use brod_protocol::compress::Codec;
use brod_protocol::error::ErrorCode;

/// Calls by name, with the positions of their records. Those of nobody are not in it.
#[derive(Default, Debug, PartialEq, Clone)]
struct Calls(Vec<(Range<u32>, &'static str)>);

impl Acks for Calls {
    type Mark = usize;
    fn mark(&self) -> usize {
        self.0.len()
    }
    fn rollback(&mut self, mark: usize) {
        self.0.truncate(mark);
    }
    fn calls(&self) -> u32 {
        self.0.len() as u32
    }
    fn call_at(&self, at: u32) -> Option<Range<u32>> {
        let mut calls = self.0.iter().map(|(records, _)| records);
        calls.find(|records| records.contains(&at)).cloned()
    }
    fn split(self, at: u32) -> Split<Self> {
        let mut split = Split {
            before: Calls::default(),
            across: None,
            after: Calls::default(),
        };
        for (records, name) in self.0 {
            let Range { start, end } = records;
            if end <= at {
                split.before.0.push((records, name));
            } else if start >= at {
                split.after.0.push((start - at..end - at, name));
            } else {
                split.across = Some((Calls(vec![(0..end - start, name)]), records));
            }
        }
        split
    }
}

/// What there is to know after a call.
#[derive(Debug, PartialEq, Eq)]
struct Appended {
    over_limit: bool,
    wake: bool,
    /// By how much the buffered bytes grew.
    bytes: usize,
}

struct Bench {
    config: ProducerConfig,
    buffer: Buffer<Calls>,
    now: Instant,
    /// Who leads.
    leader: NodeId,
}

/// The name of a call that is not to be answered.
const NOBODY: &str = "";

const ID: ProducerId = ProducerId { id: 7, epoch: 1 };

impl Bench {
    fn new(change: impl FnOnce(&mut ProducerConfig)) -> Self {
        let mut config = ProducerConfig {
            idempotence: Idempotence::Off,
            ..Default::default()
        };
        change(&mut config);
        Bench {
            buffer: Buffer::new(&config),
            config,
            now: Instant::now(),
            leader: 1,
        }
    }

    /// Under a producer id that the broker knows.
    fn idempotent(change: impl FnOnce(&mut ProducerConfig)) -> Self {
        let mut bench = Bench::new(|config| {
            config.idempotence = Idempotence::On;
            change(config);
        });
        assert!(matches!(bench.take(), Take::Idle));
        bench.buffer.set_identity(Some(ID));
        bench.buffer.is_introduced = true;
        bench
    }

    fn call(&mut self, name: &'static str) -> Appended {
        self.call_with(name, &[b"value"]).unwrap()
    }

    /// A call, and the batch that it leaves in.
    fn sent(&mut self, name: &'static str) -> Batch<Calls> {
        self.call(name);
        self.send().0
    }

    /// The first call of a transaction, and the batch that it leaves in, with its sequence number.
    fn sent_in_transaction(&mut self, id: ProducerId, name: &'static str) -> (Batch<Calls>, i32) {
        self.buffer.begin(id);
        self.call(name);
        assert!(matches!(self.take(), Take::NotInTransaction(_)));
        self.buffer.joined();
        self.send()
    }

    /// The next batches begin with these calls, under these sequence numbers.
    fn sends(&mut self, expected: &[(&'static str, i32)]) {
        for expected in expected {
            let (batch, sequence) = self.send();
            assert_eq!((names(&batch)[0], sequence), *expected);
        }
    }

    /// As [`Self::sends`], under a producer id that is new to the broker.
    fn sends_the_first_alone(&mut self, expected: &[(&'static str, i32)]) {
        let (first, sequence) = self.send();
        assert_eq!((names(&first)[0], sequence), expected[0]);
        assert!(matches!(self.take(), Take::Idle));
        self.buffer.delivered(first, 0);
        self.sends(&expected[1..]);
    }

    fn call_with(
        &mut self,
        name: &'static str,
        values: &[&[u8]],
    ) -> Result<Appended, AppendError<()>> {
        let now = self.now;
        let bytes = self.buffer.append(
            &self.config,
            || now,
            |writer, acks: &mut Calls, first| {
                for value in values {
                    writer.push(0, None, Some(value), &[]);
                }
                if name != NOBODY {
                    acks.0.push((first..writer.record_count(), name));
                }
                Ok(())
            },
        )?;
        Ok(self.appended(bytes))
    }

    fn appended(&mut self, bytes: usize) -> Appended {
        Appended {
            wake: self.buffer.wakes(&self.config),
            over_limit: self.buffer.is_over_limit(&self.config),
            bytes,
        }
    }

    fn take(&mut self) -> Take<Calls> {
        self.buffer
            .take(&self.config, self.now, usize::MAX, self.leader)
    }

    fn batch(&mut self) -> Batch<Calls> {
        match self.take() {
            Take::Batch { batch, .. } => batch,
            Take::At(at) => panic!("nothing before {:?}", at - self.now),
            Take::NeedsIdentity(_) => panic!("needs a producer id"),
            Take::NoRoom => panic!("no room"),
            Take::NotInTransaction(_) => panic!("not in the transaction"),
            Take::Expired => panic!("expired"),
            Take::Idle => panic!("nothing to send"),
        }
    }

    /// Sends the next batch: its calls, and the base sequence it carries in flight.
    fn send(&mut self) -> (Batch<Calls>, i32) {
        let mut batch = self.batch();
        let bytes = batch.seal(Codec::None, None, false).unwrap();
        let written = batches(bytes.into_bytes()).next().unwrap().unwrap();
        (batch, written.base_sequence)
    }

    fn fail(&mut self, batch: Batch<Calls>, code: ErrorCode) -> Outcome<Calls> {
        self.buffer
            .failed(&self.config, self.now, batch, Cause::Code(code))
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }
}

fn names(batch: &Batch<Calls>) -> Vec<&'static str> {
    batch.acks.0.iter().map(|(_, name)| *name).collect()
}

fn failed(outcome: Outcome<Calls>) -> (Vec<&'static str>, Failure) {
    match outcome {
        Outcome::Settled(all) => {
            let why = match &all[0].1 {
                Err(why) => why.clone(),
                Ok(offset) => panic!("delivered at {offset}"),
            };
            assert!(all.iter().all(|(_, result)| *result == Err(why.clone())));
            let calls = all.into_iter().flat_map(|(calls, _)| calls.0);
            (calls.map(|(_, name)| name).collect(), why)
        }
        Outcome::Delivered(..) => panic!("delivered"),
        Outcome::Retried => panic!("retried"),
    }
}

#[test]
fn calls_gather_while_one_batch_is_in_flight() {
    let mut bench = Bench::new(|_| {});
    assert!(bench.call("a").wake);
    let first = bench.batch();
    assert!(!bench.call("b").wake, "the completion looks again");
    bench.call("c");
    assert!(matches!(bench.take(), Take::Idle));
    assert!(matches!(
        bench.buffer.delivered(first, 10),
        Outcome::Delivered(_, 10)
    ));
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert_eq!(names(&bench.batch()), ["b", "c"]);
}

#[test]
fn a_call_that_does_not_fit_starts_the_next_batch() {
    let mut bench = Bench::new(|config| config.max_batch_size = 190);
    let value = [b'x'; 60];
    for name in ["a", "b", "c"] {
        bench.call_with(name, &[&value]).unwrap();
    }
    let first = bench.batch();
    assert_eq!((names(&first), first.records()), (vec!["a"], 1));
    bench.buffer.delivered(first, 0);
    let second = bench.batch();
    assert_eq!(names(&second), ["b"]);
}

#[test]
fn a_refused_call_leaves_nothing_behind() {
    let mut bench = Bench::new(|_| {});
    bench.call("a");
    let refused = bench.buffer.append(
        &bench.config,
        Instant::now,
        |writer, acks: &mut Calls, first| {
            writer.push(0, None, Some(b"half"), &[]);
            acks.0.push((first..first + 1, "bad"));
            Err("bad value")
        },
    );
    assert_eq!(refused, Err(AppendError::Refused("bad value")));
    let batch = bench.batch();
    assert_eq!((names(&batch), batch.records()), (vec!["a"], 1));
}

#[test]
fn callers_over_the_limit_are_held_up_and_their_call_is_taken() {
    let mut bench = Bench::new(|config| config.partition_buffer_limit = 2);
    assert!(!bench.call("a").over_limit);
    assert!(!bench.call("b").over_limit);
    assert!(bench.call("c").over_limit);
    assert_eq!(names(&bench.batch()), ["a", "b", "c"]);
    assert_eq!(bench.buffer.buffered_calls(), 0);
}

#[test]
fn a_batch_lingers_for_the_time_or_the_count() {
    let linger = |config: &mut ProducerConfig| {
        config.max_linger = Duration::from_millis(10);
        config.max_linger_count = 3;
    };
    let mut bench = Bench::new(linger);
    bench.call("a");
    assert!(matches!(bench.take(), Take::At(_)));
    bench.pass(10);
    assert_eq!(names(&bench.batch()), ["a"]);
    let mut bench = Bench::new(linger);
    for name in ["a", "b", "c"] {
        bench.call(name);
    }
    assert_eq!(names(&bench.batch()), ["a", "b", "c"]);
}

#[test]
fn the_count_ends_a_linger_that_has_begun() {
    let mut bench = Bench::new(|config| {
        config.max_linger = Duration::from_millis(10);
        config.max_linger_count = 3;
    });
    assert!(bench.call("a").wake);
    let Take::At(timer) = bench.take() else {
        panic!("no linger");
    };
    assert!(bench.buffer.waits_for(timer));
    assert!(!bench.call("b").wake);
    assert!(bench.call("c").wake);
    assert!(!bench.buffer.waits_for(timer));
    assert!(!bench.call("d").wake);
    assert_eq!(names(&bench.batch()), ["a", "b", "c", "d"]);
}

/// Time enough for more calls, in batches that take no second one.
fn lingers_with_room_for_one(config: &mut ProducerConfig) {
    config.max_linger = Duration::from_millis(10);
    config.max_linger_count = 100;
    config.max_batch_size = 75;
}

#[test]
fn a_full_batch_ends_a_linger_that_has_begun() {
    let mut bench = Bench::new(lingers_with_room_for_one);
    bench.call("a");
    assert!(matches!(bench.take(), Take::At(_)));
    assert!(bench.call("b").wake);
    assert_eq!(names(&bench.batch()), ["a"]);
}

#[test]
fn a_call_that_fills_a_batch_does_not_linger() {
    let mut bench = Bench::new(lingers_with_room_for_one);
    bench.call_with("a", &[&[0; 20]]).unwrap();
    let batch = bench.batch();
    bench.buffer.delivered(batch, 0);
    // Nor do others beside it.
    bench.call("b");
    assert!(matches!(bench.take(), Take::At(_)));
    assert!(bench.call_with("c", &[&[0; 20]]).unwrap().wake);
}

#[test]
fn callers_that_are_held_up_end_a_linger() {
    let mut bench = Bench::new(|config| {
        config.max_linger = Duration::from_millis(10);
        config.max_linger_count = 100;
        config.partition_buffer_limit = 1;
    });
    bench.call("a");
    assert!(matches!(bench.take(), Take::At(_)));
    let second = bench.call("b");
    assert!(second.over_limit && second.wake);
    assert_eq!(names(&bench.batch()), ["a", "b"]);
}

#[test]
fn a_retriable_error_is_retried_after_the_backoff_as_often_as_allowed() {
    let mut bench = Bench::new(|config| config.max_retries = 1);
    bench.call("a");
    let batch = bench.batch();
    assert!(matches!(
        bench.fail(batch, ErrorCode::NOT_ENOUGH_REPLICAS),
        Outcome::Retried
    ));
    assert!(matches!(bench.take(), Take::At(_)));
    bench.pass(500);
    let batch = bench.batch();
    bench.call("b");
    let (names, why) = failed(bench.fail(batch, ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        why,
        Failure::RetriesUsedUp(Cause::Code(ErrorCode::NOT_ENOUGH_REPLICAS))
    );
    assert!(bench.buffer.stopped().is_some());
    assert_eq!(bench.call_with("c", &[b""]), Err(AppendError::Closed));
}

#[test]
fn waiting_for_a_leader_uses_up_no_retries() {
    let mut bench = Bench::new(|config| config.max_retries = 0);
    bench.call("a");
    for _ in 0..5 {
        let batch = bench.batch();
        let outcome = bench.fail(batch, ErrorCode::NOT_LEADER_FOR_PARTITION);
        assert!(matches!(outcome, Outcome::Retried));
        bench.pass(500);
    }
    let batch = bench.batch();
    assert!(matches!(
        bench.fail(batch, ErrorCode::REQUEST_TIMED_OUT),
        Outcome::Settled(..)
    ));
}

#[test]
fn what_the_former_leader_refused_is_sent_at_once_and_in_order() {
    let mut bench = Bench::new(|config| config.partition_onwire_limit = 2);
    bench.call("a");
    let a = bench.batch();
    bench.call("b");
    let b = bench.batch();
    for (batch, waits) in [(a, true), (b, false)] {
        let outcome = bench.fail(batch, ErrorCode::NOT_LEADER_FOR_PARTITION);
        assert!(matches!(outcome, Outcome::Retried));
        bench.buffer.leader_moved();
        if waits {
            assert!(matches!(bench.take(), Take::At(_)), "b is in flight");
        }
    }
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert_eq!(names(&bench.batch()), ["a"]);
    assert_eq!(names(&bench.batch()), ["b"]);
}

#[test]
fn a_delivery_ends_with_its_time_even_with_retries_without_limit() {
    let mut bench = Bench::new(|config| {
        config.max_retries = -1;
        config.delivery_timeout = Duration::from_secs(2);
    });
    bench.call("a");
    for _ in 0..3 {
        let batch = bench.batch();
        assert!(matches!(
            bench.fail(batch, ErrorCode::REQUEST_TIMED_OUT),
            Outcome::Retried
        ));
        bench.pass(500);
    }
    bench.pass(1000);
    let batch = bench.batch();
    let (names, why) = failed(bench.fail(batch, ErrorCode::REQUEST_TIMED_OUT));
    assert_eq!(names, ["a"]);
    let cause = Cause::Code(ErrorCode::REQUEST_TIMED_OUT);
    assert_eq!(why, Failure::DeliveryTimeout(Some(cause)));
}

#[test]
fn what_is_never_sent_expires() {
    let mut bench = Bench::new(|config| config.delivery_timeout = Duration::from_secs(1));
    bench.call("a");
    assert!(bench.buffer.expire(&bench.config, bench.now).is_none());
    bench.pass(1000);
    let (names, why) = failed(bench.buffer.expire(&bench.config, bench.now).unwrap());
    assert_eq!((names, why), (vec!["a"], Failure::DeliveryTimeout(None)));
}

#[test]
fn a_message_that_is_too_large_fails_alone_and_the_rest_is_delivered() {
    let mut bench = Bench::idempotent(|_| {});
    for name in ["a", "big", "c", "d"] {
        bench.call(name);
    }
    bench.call_with("later", &[b"x"]).unwrap();
    let mut delivered = Vec::new();
    let mut refused = Vec::new();
    let mut next_sequence = 0;
    while !bench.buffer.is_idle() {
        let (batch, sequence) = bench.send();
        let calls = names(&batch);
        if calls.contains(&"big") {
            match bench.fail(batch, ErrorCode::MESSAGE_TOO_LARGE) {
                Outcome::Retried => {}
                outcome => {
                    let (names, why) = failed(outcome);
                    assert_eq!(why, Failure::NotRetriable(ErrorCode::MESSAGE_TOO_LARGE));
                    refused.extend(names);
                }
            }
        } else {
            assert_eq!(sequence, next_sequence, "the broker would refuse a gap");
            next_sequence += batch.records() as i32;
            delivered.extend(calls);
            bench.buffer.delivered(batch, 0);
        }
    }
    assert_eq!(refused, ["big"]);
    assert_eq!(delivered, ["a", "c", "d", "later"]);
    assert!(!bench.buffer.is_stopping(), "the others go on");
}

#[test]
fn batches_in_flight_come_back_in_order_under_their_old_sequence_numbers() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = 9);
    let mut in_flight = Vec::new();
    for name in ["a", "b", "c"] {
        bench.call(name);
        in_flight.push(bench.send());
    }
    assert_eq!(
        in_flight
            .iter()
            .map(|(_, sequence)| *sequence)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let mut in_flight = in_flight.into_iter().map(|(batch, _)| batch);
    let (a, b, c) = (
        in_flight.next().unwrap(),
        in_flight.next().unwrap(),
        in_flight.next().unwrap(),
    );
    assert!(matches!(
        bench.fail(a, ErrorCode::NOT_ENOUGH_REPLICAS),
        Outcome::Retried
    ));
    for late in [b, c] {
        let outcome = bench.fail(late, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert!(matches!(outcome, Outcome::Retried));
    }
    bench.pass(500);
    bench.sends(&[("a", 0), ("b", 1), ("c", 2)]);
}

#[test]
fn no_more_than_five_batches_are_in_flight_when_idempotent() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = 9);
    for name in ["a", "b", "c", "d", "e"] {
        bench.call(name);
        bench.batch();
    }
    bench.call("f");
    assert!(matches!(bench.take(), Take::Idle));
}

#[test]
fn a_producer_id_that_the_broker_forgot_is_replaced_and_the_sequence_starts_over() {
    let mut bench = Bench::idempotent(|_| {});
    let a = bench.sent("a");
    bench.buffer.delivered(a, 0);
    bench.call("b");
    let (b, sequence) = bench.send();
    assert_eq!(sequence, 1);
    assert!(matches!(
        bench.fail(b, ErrorCode::UNKNOWN_PRODUCER_ID),
        Outcome::Retried
    ));
    bench.pass(500);
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
    bench
        .buffer
        .set_identity(Some(ProducerId { id: 8, epoch: 0 }));
    let (b, sequence) = bench.send();
    assert_eq!((names(&b), sequence), (vec!["b"], 0));
}

#[test]
fn a_repeat_that_the_broker_recognizes_is_a_success() {
    let mut bench = Bench::idempotent(|_| {});
    let a = bench.sent("a");
    let outcome = bench.fail(a, ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    assert!(matches!(outcome, Outcome::Delivered(_, -1)));
}

#[test]
fn closing_hands_out_what_waits_and_fails_what_comes_back() {
    let mut bench = Bench::new(|_| {});
    bench.call("in flight");
    let batch = bench.batch();
    bench.call("waiting");
    let left = bench.buffer.stop(Failure::Closed);
    let waiting = Calls(vec![(0..1, "waiting")]);
    assert_eq!(left, [(waiting, Err(Failure::Closed))]);
    assert!(bench.buffer.stopped().is_none());
    let (names, why) = failed(bench.fail(batch, ErrorCode::REQUEST_TIMED_OUT));
    assert_eq!((names, why), (vec!["in flight"], Failure::Closed));
    assert_eq!(bench.buffer.stopped(), Some(&Failure::Closed));
}

#[test]
fn a_partition_that_does_not_exist_uses_up_the_retries() {
    let mut bench = Bench::new(|config| config.max_retries = 1);
    bench.call("a");
    assert!(matches!(
        bench.buffer.unknown(&bench.config, bench.now),
        Some(Outcome::Retried)
    ));
    assert!(
        bench.buffer.unknown(&bench.config, bench.now).is_none(),
        "once a backoff"
    );
    bench.pass(500);
    let outcome = bench.buffer.unknown(&bench.config, bench.now).unwrap();
    let cause = Cause::Code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(failed(outcome), (vec!["a"], Failure::RetriesUsedUp(cause)));
}

#[test]
fn all_bytes_that_came_in_are_counted_out() {
    let mut bench = Bench::new(|_| {});
    let mut came_in = 0;
    for name in ["a", "b", "c", "d"] {
        came_in += bench.call(name).bytes;
    }
    let batch = bench.batch();
    assert!(batch.bytes() > 0 && bench.call("e").bytes > 0);
    let e = came_in;
    let mut batch = batch;
    batch.seal(Codec::None, None, false).unwrap();
    assert!(matches!(
        bench.fail(batch, ErrorCode::MESSAGE_TOO_LARGE),
        Outcome::Retried
    ));
    let mut freed = 0;
    for _ in 0..2 {
        let batch = bench.batch();
        bench.buffer.delivered(batch, 0);
        freed += bench.buffer.take_freed();
    }
    assert_eq!(freed, e);
}

#[test]
fn the_parts_of_a_batch_that_was_split_stay_in_order() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = 5);
    for name in ["a", "b", "c", "d"] {
        bench.call(name);
    }
    let (whole, _) = bench.send();
    bench.call("later");
    assert!(matches!(
        bench.fail(whole, ErrorCode::MESSAGE_TOO_LARGE),
        Outcome::Retried
    ));
    let (first, _) = bench.send();
    let (second, _) = bench.send();
    let (later, _) = bench.send();
    assert_eq!(bench.buffer.in_flight(), 3);
    assert!(matches!(
        bench.fail(first, ErrorCode::NOT_ENOUGH_REPLICAS),
        Outcome::Retried
    ));
    for behind in [second, later] {
        let outcome = bench.fail(behind, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert!(matches!(outcome, Outcome::Retried));
    }
    bench.pass(500);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let (batch, sequence) = bench.send();
        sent.push((names(&batch), sequence));
    }
    assert_eq!(
        sent,
        [(vec!["a", "b"], 0), (vec!["c", "d"], 2), (vec!["later"], 4)]
    );
}

#[test]
fn a_partition_stays_queued_only_with_more_to_send() {
    let mut bench = Bench::new(|config| {
        config.partition_onwire_limit = 2;
        config.max_batch_size = 1;
    });
    for name in ["a", "b", "c"] {
        bench.call(name);
    }
    let mut more = || match bench.take() {
        Take::Batch { more, .. } => more,
        _ => panic!("no batch"),
    };
    assert!(more(), "b may follow at once");
    assert!(!more(), "c has to wait for an answer");
    assert!(matches!(bench.take(), Take::Idle));
}

/// Delivers or refuses whatever comes, until the producer stops or has nothing left. A batch of more
/// than `limit` bytes of payload is too large. What callers learn, in the order in which they do.
fn run(bench: &mut Bench, limit: usize) -> Vec<(&'static str, Result<i64, Failure>)> {
    let (mut told, mut end) = (Vec::new(), 0);
    let mut tell = |calls: Calls, result: Result<i64, Failure>| {
        for (records, name) in calls.0 {
            let offset = |base| base + i64::from(records.start);
            told.push((name, result.clone().map(offset)));
        }
    };
    while !bench.buffer.is_idle() {
        let (batch, _) = bench.send();
        let outcome = if batch.payload() > limit {
            bench.fail(batch, ErrorCode::MESSAGE_TOO_LARGE)
        } else {
            let base = end;
            end += i64::from(batch.records());
            bench.buffer.delivered(batch, base)
        };
        match outcome {
            Outcome::Retried => {}
            Outcome::Delivered(calls, base) => tell(calls, Ok(base)),
            Outcome::Settled(all) => all
                .into_iter()
                .for_each(|(calls, result)| tell(calls, result)),
        }
    }
    told
}

const TOO_LARGE: Result<i64, Failure> = Err(Failure::NotRetriable(ErrorCode::MESSAGE_TOO_LARGE));

#[test]
fn a_call_with_a_message_that_is_too_large_is_told_so() {
    for values in [[&[0; 50][..], b"x"], [b"x", &[0; 50][..]]] {
        let mut bench = Bench::idempotent(|_| {});
        bench.call("before");
        bench.call_with("call", &values).unwrap();
        bench.call("after");
        let told = run(&mut bench, 20);
        let expected = [("after", Ok(2)), ("before", Ok(0)), ("call", TOO_LARGE)];
        let mut sorted = told.clone();
        sorted.sort_by_key(|(name, _)| *name);
        assert_eq!(sorted, expected, "{told:?}");
        assert!(bench.buffer.stopped().is_none(), "the others go on");
    }
}

#[test]
fn a_call_in_several_batches_is_answered_with_the_offset_of_its_first_record() {
    let mut bench = Bench::idempotent(|_| {});
    bench.call("before");
    bench.call_with("call", &[&[0; 10][..]; 9]).unwrap();
    bench.call("after");
    let told = run(&mut bench, 20);
    let expected = [("before", Ok(0)), ("call", Ok(1)), ("after", Ok(10))];
    assert_eq!(told, expected);
    assert!(bench.buffer.stopped().is_none());
}

#[test]
fn a_call_beside_one_that_nobody_waits_for_has_a_fate_of_its_own() {
    let mut bench = Bench::idempotent(|_| {});
    bench.call("small");
    bench.call_with(NOBODY, &[&[0; 50]]).unwrap();
    assert_eq!(run(&mut bench, 20), [("small", Ok(0))]);
    assert!(bench.buffer.stopped().is_none(), "the others go on");
}

#[test]
fn a_call_in_several_batches_fails_once_with_the_producer() {
    let mut bench = Bench::new(|config| config.partition_onwire_limit = 2);
    bench.call_with("call", &[b"a", b"b", b"c", b"d"]).unwrap();
    let (batch, _) = bench.send();
    assert!(matches!(
        bench.fail(batch, ErrorCode::MESSAGE_TOO_LARGE),
        Outcome::Retried
    ));
    let (first, _) = bench.send();
    let left = bench.buffer.stop(Failure::Closed);
    assert!(left.iter().all(|(calls, _)| calls.0.is_empty()), "{left:?}");
    let Outcome::Settled(told) = bench.buffer.delivered(first, 7) else {
        panic!("not told");
    };
    let told: Vec<_> = told.into_iter().filter(|(c, _)| !c.0.is_empty()).collect();
    assert_eq!(told, [(Calls(vec![(0..4, "call")]), Err(Failure::Closed))]);
}

#[test]
fn a_list_of_records_that_is_too_large_is_split() {
    let mut bench = Bench::new(|_| {});
    bench.call("a");
    bench.call("b");
    let (batch, _) = bench.send();
    let outcome = bench.fail(batch, ErrorCode::RECORD_LIST_TOO_LARGE);
    assert!(matches!(outcome, Outcome::Retried));
    assert_eq!(names(&bench.batch()), ["a"]);
}

#[test]
fn what_is_behind_a_refused_batch_in_flight_goes_under_a_new_producer_id() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = 5);
    let a = bench.sent("a");
    let b = bench.sent("b");
    bench.call("c");
    failed(bench.fail(a, ErrorCode::MESSAGE_TOO_LARGE));
    assert!(matches!(bench.take(), Take::Idle), "b is in flight");
    assert!(!bench.buffer.wants_queueing(&bench.config));
    let outcome = bench.fail(b, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert!(matches!(outcome, Outcome::Retried));
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
    bench
        .buffer
        .set_identity(Some(ProducerId { id: 8, epoch: 0 }));
    bench.sends_the_first_alone(&[("b", 0), ("c", 1)]);
}

#[test]
fn a_refused_batch_that_may_be_stored_keeps_its_sequence_number() {
    let mut bench = Bench::idempotent(|_| {});
    let a = bench.sent("a");
    bench.call("b");
    let outcome = bench.fail(a, ErrorCode::REQUEST_TIMED_OUT);
    assert!(matches!(outcome, Outcome::Retried));
    bench.pass(500);
    let (a, _) = bench.send();
    failed(bench.fail(a, ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
}

#[test]
fn an_earlier_batch_keeps_its_sequence_number_when_a_later_one_is_refused() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = 5);
    let a = bench.sent("a");
    let b = bench.sent("b");
    bench.call("c");
    let outcome = bench.fail(a, ErrorCode::REQUEST_TIMED_OUT);
    assert!(matches!(outcome, Outcome::Retried));
    failed(bench.fail(b, ErrorCode::MESSAGE_TOO_LARGE));
    bench.pass(500);
    bench.sends(&[("a", 0), ("c", 1)]);
}

#[test]
fn nothing_overtakes_a_batch_whose_producer_id_is_being_replaced() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = 5);
    let a = bench.sent("a");
    let b = bench.sent("b");
    bench.call("c");
    let outcome = bench.fail(a, ErrorCode::UNKNOWN_PRODUCER_ID);
    assert!(matches!(outcome, Outcome::Retried));
    bench.pass(500);
    assert!(matches!(bench.take(), Take::Idle), "b is in flight");
    let net = Cause::Net(NetError::Closed);
    let outcome = bench.buffer.failed(&bench.config, bench.now, b, net);
    assert!(matches!(outcome, Outcome::Retried));
    bench.pass(500);
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
    bench
        .buffer
        .set_identity(Some(ProducerId { id: 8, epoch: 0 }));
    bench.sends_the_first_alone(&[("a", 0), ("b", 1), ("c", 2)]);
}

#[test]
fn a_call_does_not_wait_for_a_producer_id_for_ever() {
    let mut bench = Bench::new(|config| {
        config.idempotence = Idempotence::Auto;
        config.delivery_timeout = Duration::from_secs(1);
    });
    assert!(bench.call("a").wake);
    let Take::NeedsIdentity(timer) = bench.take() else {
        panic!("needs no producer id");
    };
    assert_eq!(timer, bench.now + Duration::from_secs(1));
    assert!(bench.buffer.waits_for(timer));
    assert!(!bench.call("b").wake, "the timer looks again");
    bench.pass(999);
    assert!(matches!(bench.take(), Take::At(at) if at == timer));
    bench.pass(1);
    assert!(matches!(bench.take(), Take::Expired));
    let (names, why) = failed(bench.buffer.expire(&bench.config, bench.now).unwrap());
    assert_eq!(names, ["a", "b"]);
    assert_eq!(why, Failure::DeliveryTimeout(None));
}

#[test]
fn a_producer_id_ends_the_wait_for_it() {
    let mut bench = Bench::new(|config| config.idempotence = Idempotence::Auto);
    bench.buffer.identity_asked();
    assert!(bench.call("a").wake);
    assert!(matches!(bench.take(), Take::At(_)));
    bench.buffer.set_identity(Some(ID));
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert_eq!(names(&bench.batch()), ["a"]);
}

#[test]
fn a_backoff_ends_with_the_time_of_the_delivery() {
    let mut bench = Bench::new(|config| {
        config.retry_backoff = Duration::from_secs(60);
        config.delivery_timeout = Duration::from_secs(2);
    });
    bench.call("a");
    let batch = bench.batch();
    let outcome = bench.fail(batch, ErrorCode::NOT_ENOUGH_REPLICAS);
    assert!(matches!(outcome, Outcome::Retried));
    let end = bench.now + Duration::from_secs(2);
    assert!(matches!(bench.take(), Take::At(at) if at == end));
    bench.pass(2000);
    assert!(matches!(bench.take(), Take::Expired));
}

#[test]
fn the_time_of_a_call_does_not_begin_with_a_refused_one() {
    let mut bench = Bench::new(|config| config.delivery_timeout = Duration::from_secs(1));
    let now = bench.now;
    let refused = bench.buffer.append(
        &bench.config,
        || now,
        |_, _: &mut Calls, _| Err("bad value"),
    );
    assert_eq!(refused, Err(AppendError::Refused("bad value")));
    bench.pass(1000);
    assert!(bench.buffer.expire(&bench.config, bench.now).is_none());
    bench.call("a");
    let batch = bench.batch();
    assert!(matches!(
        bench.fail(batch, ErrorCode::NOT_ENOUGH_REPLICAS),
        Outcome::Retried
    ));
}

#[test]
fn the_time_of_a_call_does_not_begin_with_the_batch_that_it_did_not_fit_into() {
    let mut bench = Bench::new(|config| {
        config.max_batch_size = 1;
        config.delivery_timeout = Duration::from_secs(1);
    });
    bench.call("a");
    bench.pass(600);
    bench.call("b");
    let a = bench.batch();
    bench.buffer.delivered(a, 0);
    bench.pass(600);
    assert!(bench.buffer.expire(&bench.config, bench.now).is_none());
}

#[derive(Debug)]
struct NoTransaction {
    begins_anew: bool,
}

impl crate::producer::Transaction for NoTransaction {
    fn id(&self) -> &str {
        "no-transaction"
    }
    fn begins_anew(&self, this: ProducerId, _code: ErrorCode) -> bool {
        assert_eq!(this, ID);
        self.begins_anew
    }
    fn stored(&self) {}

    fn produce_version(&self) -> i16 {
        11
    }
    fn add(&self, _topic: &std::sync::Arc<str>, _partition: i32) {}
    fn failed(&self, why: Failure, _untold: bool) -> Failure {
        why
    }
    fn settled(&self) {}
    fn late(&self) {}
    fn coordinator_moved(&self) -> Option<Instant> {
        None
    }
}

fn transactional() -> Bench {
    transactional_which(false)
}

fn transactional_which(begins_anew: bool) -> Bench {
    let transaction = std::sync::Arc::new(NoTransaction { begins_anew });
    Bench::new(|config| config.transaction = Some(transaction))
}

#[test]
fn records_of_a_transaction_wait_until_their_partition_belongs_to_it() {
    let mut bench = transactional();
    bench.call("a");
    let Take::At(expiry) = bench.take() else {
        panic!("no transaction is under way");
    };
    assert_eq!(expiry, bench.now + bench.config.delivery_timeout);
    assert!(!bench.buffer.wants_queueing(&bench.config));
    bench.buffer.begin(ID);
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert!(matches!(bench.take(), Take::NotInTransaction(at) if at == expiry));
    assert!(matches!(bench.take(), Take::At(_)), "it is asked once");
    assert!(
        !bench.call("b").wake,
        "there is nothing to do before it has joined"
    );
    bench.buffer.joined();
    assert!(bench.buffer.wants_queueing(&bench.config));
    let mut batch = bench.batch();
    let written = batch.seal(Codec::None, None, true).unwrap();
    let written = batches(written.into_bytes()).next().unwrap().unwrap();
    assert!(written.is_transactional());
    assert_eq!((written.producer_id, written.base_sequence), (ID.id, 0));
}

#[test]
fn records_that_nobody_waits_for_are_gathered_until_the_transaction_releases_them() {
    let mut bench = transactional();
    bench.buffer.begin(ID);
    assert!(!bench.call(NOBODY).wake && !bench.call(NOBODY).wake);
    assert!(!bench.buffer.wants_queueing(&bench.config));
    assert!(bench.buffer.release(), "there is something to be sent");
    assert!(!bench.call(NOBODY).wake, "it has not joined");
    bench.buffer.joined();
    assert!(bench.buffer.wants_queueing(&bench.config));
    let batch = bench.batch();
    assert_eq!(batch.records(), 3);
    bench.buffer.delivered(batch, 0);
    assert!(bench.call(NOBODY).wake, "nothing is gathered any more");
}

#[test]
fn the_last_records_of_a_transaction_do_not_linger() {
    let mut bench = transactional();
    bench.config.max_linger = Duration::from_secs(1);
    bench.config.max_linger_count = 100;
    bench.buffer.begin(ID);
    bench.call(NOBODY);
    bench.buffer.release();
    bench.buffer.joined();
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert!(matches!(bench.take(), Take::At(at) if at == bench.now + bench.config.max_linger));
    assert!(!bench.buffer.wants_queueing(&bench.config));
    bench.buffer.hasten();
    assert!(bench.buffer.wants_queueing(&bench.config));
    let batch = bench.batch();
    bench.buffer.delivered(batch, 0);

    bench.buffer.transaction_ended();
    bench.buffer.begin(ID);
    bench.call(NOBODY);
    bench.buffer.release();
    bench.buffer.joined();
    assert!(
        matches!(bench.take(), Take::At(_)),
        "of the next one they do"
    );
}

#[test]
fn nothing_is_gathered_any_more_once_somebody_waits_or_the_buffer_is_full() {
    let mut bench = transactional();
    bench.buffer.begin(ID);
    assert!(!bench.call(NOBODY).wake);
    assert!(bench.call("waits").wake);
    assert!(!bench.buffer.release(), "it is about to be taken");
    assert!(matches!(bench.take(), Take::NotInTransaction(_)));

    let mut bench = transactional();
    bench.config.partition_buffer_limit = 1;
    bench.buffer.begin(ID);
    assert!(!bench.call(NOBODY).wake);
    assert!(bench.call(NOBODY).wake);

    let mut bench = transactional();
    bench.buffer.begin(ID);
    assert!(!bench.buffer.release(), "there is nothing");
    assert!(bench.call(NOBODY).wake);
}

#[test]
fn the_next_transaction_goes_on_with_the_sequence_unless_it_has_another_epoch() {
    let mut bench = transactional();
    let sequence = |bench: &mut Bench, id| {
        let (batch, sequence) = bench.sent_in_transaction(id, "a");
        bench.buffer.delivered(batch, 0);
        bench.buffer.transaction_ended();
        sequence
    };
    assert_eq!(sequence(&mut bench, ID), 0);
    assert_eq!(sequence(&mut bench, ID), 1);
    let bumped = ProducerId {
        epoch: ID.epoch + 1,
        ..ID
    };
    assert_eq!(sequence(&mut bench, bumped), 0);
    bench.call("too late");
    assert!(
        matches!(bench.take(), Take::At(_)),
        "no transaction is under way"
    );
}

#[test]
fn a_fenced_transaction_fails_its_calls_and_takes_no_other_producer_id() {
    let mut bench = transactional();
    bench.buffer.begin(ID);
    bench.call("a");
    assert!(matches!(bench.take(), Take::NotInTransaction(_)));
    bench.buffer.joined();
    let batch = bench.batch();
    let outcome = bench.fail(batch, ErrorCode::INVALID_PRODUCER_EPOCH);
    let why = Failure::NotRetriable(ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(failed(outcome), (vec!["a"], why));
}

#[test]
fn what_is_refused_of_a_transaction_that_begins_anew_goes_under_its_next_producer_id() {
    let mut bench = transactional_which(true);
    bench.buffer.begin(ID);
    bench.call("a");
    assert!(matches!(bench.take(), Take::NotInTransaction(_)));
    bench.buffer.joined();
    let batch = bench.batch();
    bench.call("b");
    let outcome = bench.fail(batch, ErrorCode::INVALID_PRODUCER_EPOCH);
    assert!(matches!(outcome, Outcome::Retried));
    assert!(!bench.buffer.wants_queueing(&bench.config));
    let bumped = ProducerId {
        epoch: ID.epoch + 1,
        ..ID
    };
    bench.buffer.begin(bumped);
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert!(matches!(bench.take(), Take::NotInTransaction(_)));
    bench.buffer.joined();
    for (name, sequence) in [("a", 0), ("b", 1)] {
        let batch = bench.batch();
        assert_eq!(batch.sequence, Some((bumped, sequence)));
        assert_eq!(names(&batch), [name]);
        bench.buffer.delivered(batch, 0);
    }
}

type Told = (&'static str, Result<i64, Failure>);

/// Sends what there is; records of the value `bad` are refused, and the broker says which they are, or
/// not. What callers learn, and under which sequence numbers batches were taken.
fn run_with_bad_records(bench: &mut Bench, names_them: bool) -> (Vec<Told>, Vec<i32>) {
    let (mut told, mut sequences, mut end) = (Vec::new(), Vec::new(), 0);
    let mut tell = |calls: Calls, result: Result<i64, Failure>| {
        for (records, name) in calls.0 {
            let offset = |base| base + i64::from(records.start);
            told.push((name, result.clone().map(offset)));
        }
    };
    while !bench.buffer.is_idle() {
        let mut batch = bench.batch();
        let written = batch.seal(Codec::None, None, false).unwrap();
        let written = batches(written.into_bytes()).next().unwrap().unwrap();
        let records = written.records(usize::MAX).unwrap();
        let bad: Vec<u32> = (0..)
            .zip(records.iter())
            .filter(|(_, record)| {
                let value = record.as_ref().unwrap().value;
                value.is_some_and(|value| *records.slice(value) == *b"bad")
            })
            .map(|(at, _)| at)
            .collect();
        let outcome = if bad.is_empty() {
            sequences.push(written.base_sequence);
            end += i64::from(batch.records());
            let base = end - i64::from(batch.records());
            bench.buffer.delivered(batch, base)
        } else if names_them {
            bench
                .buffer
                .records_refused(batch, ErrorCode::INVALID_RECORD, &bad)
        } else {
            bench.fail(batch, ErrorCode::INVALID_RECORD)
        };
        match outcome {
            Outcome::Retried => {}
            Outcome::Delivered(calls, base) => tell(calls, Ok(base)),
            Outcome::Settled(all) => all
                .into_iter()
                .for_each(|(calls, result)| tell(calls, result)),
        }
    }
    (told, sequences)
}

const INVALID: Result<i64, Failure> = Err(Failure::NotRetriable(ErrorCode::INVALID_RECORD));

#[test]
fn bad_records_fail_their_own_calls_and_the_others_of_the_batch_are_stored_in_order() {
    for names_them in [true, false] {
        let mut bench = Bench::idempotent(|_| {});
        bench.call("a");
        bench
            .call_with("mixed", &[b"good", b"bad", b"good"])
            .unwrap();
        bench.call("b");
        bench.call_with("bad", &[b"bad"]).unwrap();
        bench.call_with(NOBODY, &[b"bad"]).unwrap();
        bench.call("c");
        let (mut told, sequences) = run_with_bad_records(&mut bench, names_them);
        let order: Vec<_> = told.iter().map(|(name, _)| *name).collect();
        assert!(bench.buffer.stopped().is_none(), "the producer goes on");
        told.sort_by_key(|(name, _)| *name);
        if names_them {
            let expected = [("a", Ok(0)), ("b", Ok(1)), ("bad", INVALID), ("c", Ok(2))];
            assert_eq!(told[..4], expected, "{order:?}");
            assert_eq!(told[4..], [("mixed", INVALID)]);
            assert_eq!(sequences, [0, 1, 2], "the broker would refuse a gap");
        } else {
            // Cut wherever the halves end: what is good in a call that fails may be stored.
            let failed = |(_, result): &&(_, _)| *result == INVALID;
            let failed: Vec<_> = told.iter().filter(failed).map(|(name, _)| *name).collect();
            assert_eq!(failed, ["bad", "mixed"]);
        }
    }
}

#[test]
fn a_hundred_bad_records_in_one_batch_leave_the_hundred_good_ones_in_order() {
    let mut bench = Bench::idempotent(|_| {});
    for _ in 0..100 {
        bench.call_with("bad", &[b"bad"]).unwrap();
        bench.call("good");
    }
    let (told, sequences) = run_with_bad_records(&mut bench, true);
    let stored: Vec<_> = told
        .iter()
        .filter_map(|(_, result)| result.clone().ok())
        .collect();
    assert_eq!(stored, (0..100).collect::<Vec<_>>());
    assert_eq!(sequences, (0..100).collect::<Vec<_>>());
    assert_eq!(told.iter().filter(|told| told.1 == INVALID).count(), 100);
}

#[test]
fn a_batch_that_does_not_fit_into_a_request_stays_in_the_queue() {
    let mut bench = Bench::new(|_| {});
    bench.call_with("a", &[&[0; 100]]).unwrap();
    let taken = bench.buffer.take(&bench.config, bench.now, 100, 1);
    assert!(matches!(taken, Take::NoRoom));
    assert!(!bench.call("b").wake, "the sender has it in its queue");
    assert_eq!(names(&bench.batch()), ["a", "b"]);
}

#[test]
fn a_topic_that_was_made_again_gets_batches_of_another_producer_id() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = 2);
    let old = bench.sent("old");
    bench.buffer.topic_made_again();
    bench.call("new");
    assert!(matches!(bench.take(), Take::Idle), "old is in flight");
    bench.buffer.delivered(old, 0);
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
    bench
        .buffer
        .set_identity(Some(ProducerId { id: 8, epoch: 0 }));
    let (batch, sequence) = bench.send();
    assert_eq!((names(&batch), sequence), (vec!["new"], 0));
}

#[test]
fn full_batches_of_the_usual_size_follow_each_other_in_memory_that_is_used_again() {
    let usual = ProducerConfig::default().max_batch_size;
    assert_eq!(room_like(0, usual), 512);
    assert_eq!(room_like(100_000, usual), 125_000);
    assert_eq!(room_like(usual, usual), memory::LARGE);
    assert_eq!(room_like(usual - 1000, usual), memory::LARGE);
    assert_eq!(room_like(1 << 30, usize::MAX), (1 << 30) / 4 * 5);
}

/// Refuses batches of more than `most` bytes of values until nothing is left; `end` records are stored before. The sizes
/// that were sent, and who was told.
fn run_with_limit(bench: &mut Bench, most: usize, mut end: i64) -> (Vec<usize>, Vec<Told>) {
    let (mut sent, mut told) = (Vec::new(), Vec::new());
    while !bench.buffer.is_idle() {
        let (batch, sequence) = bench.send();
        sent.push(batch.payload());
        if batch.payload() > most {
            let outcome = bench.fail(batch, ErrorCode::MESSAGE_TOO_LARGE);
            assert!(matches!(outcome, Outcome::Retried));
            continue;
        }
        assert_eq!(i64::from(sequence), end, "no gap, nothing twice");
        end += i64::from(batch.records());
        let all = match bench.buffer.delivered(batch, sequence.into()) {
            Outcome::Retried => panic!("delivered and sent again"),
            Outcome::Delivered(calls, base) => vec![(calls, Ok(base))],
            Outcome::Settled(all) => all,
        };
        for (calls, result) in all {
            let of_call = |(records, name): (Range<u32>, _)| {
                (name, result.clone().map(|at| at + i64::from(records.start)))
            };
            told.extend(calls.0.into_iter().map(of_call));
        }
    }
    (sent, told)
}

#[test]
fn what_the_broker_has_refused_is_not_sent_as_large_again() {
    let mut bench = Bench::idempotent(|_| {});
    let ten: [&[u8]; 10] = [&[7; 100]; 10];
    bench.call_with("first", &ten).unwrap();
    let (sent, told) = run_with_limit(&mut bench, 250, 0);
    assert_eq!(
        sent,
        [1000, 500, 200, 300, 100, 200, 500, 200, 300, 100, 200]
    );
    assert_eq!(told, [("first", Ok(0))]);
    bench.call_with("second", &ten).unwrap();
    let (sent, told) = run_with_limit(&mut bench, 250, 10);
    assert_eq!(sent, [200; 5], "in parts as large as is known to be taken");
    assert_eq!(told, [("second", Ok(10))]);
    assert_eq!(bench.buffer.buffered_calls(), 0);
    for name in ["a", "b", "c"] {
        bench.call_with(name, &[&[7; 100]]).unwrap();
    }
    let (sent, told) = run_with_limit(&mut bench, 250, 20);
    assert_eq!(sent, [200, 100], "calls are not gathered to more than that");
    assert_eq!(told, [("a", Ok(20)), ("b", Ok(21)), ("c", Ok(22))]);
}

#[test]
fn a_batch_that_may_be_stored_is_not_taken_apart_before_it_is_sent_again() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = 2);
    bench.call_with("large", &[&[7; 100][..]; 4]).unwrap();
    let (large, _) = bench.send();
    bench.call_with("other", &[&[7; 100][..]; 2]).unwrap();
    let (other, _) = bench.send();
    let outcome = bench.fail(other, ErrorCode::MESSAGE_TOO_LARGE);
    assert!(matches!(outcome, Outcome::Retried));
    let outcome = bench.fail(large, ErrorCode::REQUEST_TIMED_OUT);
    assert!(matches!(outcome, Outcome::Retried));
    bench.pass(500);
    let (again, sequence) = bench.send();
    assert_eq!((again.payload(), sequence), (400, 0));
}

#[test]
fn the_first_batch_under_a_producer_id_goes_alone() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = 5);
    bench.buffer.set_identity(Some(ID));
    for name in ["too large", "large"] {
        bench.call(name);
    }
    let first = bench.batch();
    let appended = bench.call("b");
    assert!(!appended.wake);
    // Had it gone out: a broker that knows nothing of this producer would have stored it, before the halves of the first.
    assert!(matches!(bench.take(), Take::Idle));
    let outcome = bench.fail(first, ErrorCode::MESSAGE_TOO_LARGE);
    assert!(matches!(outcome, Outcome::Retried));
    assert!(bench.buffer.wants_queueing(&bench.config));
    let (half, sequence) = bench.send();
    assert_eq!((names(&half), sequence), (vec!["too large"], 0));
    assert!(matches!(bench.take(), Take::Idle));
    bench.buffer.delivered(half, 0);
    assert!(bench.buffer.wants_queueing(&bench.config));
    bench.sends(&[("large", 1), ("b", 2)]);
}

#[test]
fn a_new_leader_gets_nothing_before_the_former_one_has_answered() {
    for mut bench in [Bench::new(|_| {}), Bench::idempotent(|_| {})] {
        bench.config.partition_onwire_limit = 5;
        let a = bench.sent("a");
        bench.leader = 2;
        bench.call("b");
        assert!(matches!(bench.take(), Take::Idle));
        let net = Cause::Net(NetError::Timeout);
        let outcome = bench.buffer.failed(&bench.config, bench.now, a, net);
        assert!(matches!(outcome, Outcome::Retried));
        assert!(bench.buffer.wants_queueing(&bench.config));
        bench.pass(500);
        assert_eq!(names(&bench.batch()), ["a"]);
        assert_eq!(names(&bench.batch()), ["b"]);
    }
}

#[test]
fn a_broker_that_knows_the_producer_id_gets_several_batches_of_its_next_transaction() {
    for (next, several) in [
        (ProducerId { epoch: 2, ..ID }, true),
        (ProducerId { id: 8, epoch: 0 }, false),
    ] {
        let mut bench = transactional();
        bench.config.partition_onwire_limit = 5;
        let (first, _) = bench.sent_in_transaction(ID, "first");
        bench.buffer.delivered(first, 0);
        bench.buffer.transaction_ended();
        let _a = bench.sent_in_transaction(next, "a");
        bench.call("b");
        assert_eq!(matches!(bench.take(), Take::Batch { .. }), several);
    }
}
