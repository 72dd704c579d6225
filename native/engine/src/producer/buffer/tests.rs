mod identity;
mod linger;
mod refused;
mod retries;
mod transaction;

use super::*;
use crate::net::NetError;
use crate::producer::failure::Cause;
use crate::producer::{Idempotence, Split};
use brod_protocol::batch_reader::batches;
use brod_protocol::compress::Codec;
use brod_protocol::error::ErrorCode;
use std::ops::Range;
use std::time::{Duration, Instant};

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
    /// Who leads, and how far away that is.
    leader: Destination,
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
            leader: Destination { node: 1, worth: 1 },
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
fn a_partition_stays_queued_only_with_more_to_send() {
    let mut bench = Bench::new(|config| {
        config.partition_onwire_limit = Some(2);
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

#[test]
fn a_batch_that_does_not_fit_into_a_request_stays_in_the_queue() {
    let mut bench = Bench::new(|_| {});
    bench.call_with("a", &[&[0; 100]]).unwrap();
    let taken = bench
        .buffer
        .take(&bench.config, bench.now, 100, bench.leader);
    assert!(matches!(taken, Take::NoRoom));
    assert!(!bench.call("b").wake, "the sender has it in its queue");
    assert_eq!(names(&bench.batch()), ["a", "b"]);
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
