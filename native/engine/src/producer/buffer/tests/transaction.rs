//! Records of transactions.

use super::*;

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

#[test]
fn a_broker_that_knows_the_producer_id_gets_several_batches_of_its_next_transaction() {
    for (next, several) in [
        (ProducerId { epoch: 2, ..ID }, true),
        (ProducerId { id: 8, epoch: 0 }, false),
    ] {
        let mut bench = transactional();
        bench.config.partition_onwire_limit = Some(5);
        let (first, _) = bench.sent_in_transaction(ID, "first");
        bench.buffer.delivered(first, 0);
        bench.buffer.transaction_ended();
        let _a = bench.sent_in_transaction(next, "a");
        bench.call("b");
        assert_eq!(matches!(bench.take(), Take::Batch { .. }), several);
    }
}
