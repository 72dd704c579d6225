//! Batches that a broker does not take as they are: too large, or with bad records.

use super::*;

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
fn the_parts_of_a_batch_that_was_split_stay_in_order() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = Some(5));
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
    let mut bench = Bench::new(|config| config.partition_onwire_limit = Some(2));
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
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = Some(2));
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
