use super::*;
use crate::net::NetError;

const ID: ProducerId = ProducerId { id: 7, epoch: 3 };
const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    backoff: Duration::from_millis(100),
    step: Duration::from_secs(10),
    transaction: Duration::from_secs(30),
};

struct Bench {
    state: State,
    now: Instant,
    /// Batches are in flight.
    busy: bool,
}

impl Bench {
    fn new() -> Self {
        Bench {
            state: State::new(LIMITS),
            now: Instant::now(),
            busy: false,
        }
    }

    /// A transaction is under way.
    fn begun() -> Self {
        Bench::begun_with(Protocol::V1)
    }

    fn begun_with(protocol: Protocol) -> Self {
        let mut bench = Bench::new();
        bench.does(Step::Idle);
        assert!(bench.state.begin());
        bench.does(Step::FindCoordinator);
        bench.answers(Ok(Reply::Done));
        bench.does(Step::Init(None));
        bench.answers(Ok(Reply::Producer(ID, protocol)));
        assert_eq!(bench.state.told(), [Told::Begun(ID, protocol)]);
        bench
    }

    /// As [`Self::begun`], with a partition in it.
    fn with_partition() -> Self {
        let mut bench = Bench::begun();
        bench.add(0);
        bench.does(Step::AddPartitions(vec![place(0)]));
        bench.answers(Ok(Reply::Done));
        assert_eq!(bench.state.told(), [Told::Joined(vec![place(0)])]);
        bench
    }

    fn does(&mut self, step: Step) {
        assert_eq!(self.state.next(self.now, self.busy), step);
    }

    fn add(&mut self, partition: i32) {
        self.state.add(place(partition), self.now);
    }

    fn fails(&mut self, why: Trouble) {
        self.state.failed(why, self.now);
    }

    fn answers(&mut self, answer: Result<Reply, Error>) {
        self.state.answered(answer, self.now);
    }

    fn refuses(&mut self, code: ErrorCode) {
        self.answers(Err(code.into()));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

fn place(partition: i32) -> Place {
    ("t".into(), partition)
}

#[test]
fn partitions_are_added_together_and_their_batches_wait_for_that() {
    let mut bench = Bench::begun();
    bench.does(Step::Idle);
    bench.add(0);
    bench.does(Step::AddPartitions(vec![place(0)]));
    bench.add(1);
    bench.add(2);
    bench.does(Step::Idle);
    bench.answers(Ok(Reply::Done));
    bench.does(Step::AddPartitions(vec![place(1), place(2)]));
    bench.answers(Ok(Reply::Done));
    let joined = [
        Told::Joined(vec![place(0)]),
        Told::Joined(vec![place(1), place(2)]),
    ];
    assert_eq!(bench.state.told(), joined);
    bench.add(1);
    bench.does(Step::Idle);
}

#[test]
fn a_commit_waits_for_what_is_in_flight() {
    let mut bench = Bench::with_partition();
    bench.busy = true;
    bench.state.end(true);
    bench.does(Step::Idle);
    bench.busy = false;
    bench.does(Step::End { commit: true });
    bench.answers(Ok(Reply::Done));
    assert_eq!(bench.state.told(), [Told::Ended(Ok(()))]);
    assert!(bench.state.begin(), "the next one may follow");
}

#[test]
fn a_transaction_of_nothing_ends_without_a_broker() {
    for commit in [true, false] {
        let mut bench = Bench::begun();
        bench.state.end(commit);
        bench.does(Step::Idle);
        assert_eq!(bench.state.told(), [Told::Ended(Ok(()))]);
    }
}

#[test]
fn offsets_of_a_partition_that_nobody_knows_are_refused_after_a_moment() {
    let mut bench = Bench::begun();
    bench.state.commit_offsets(1);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    for _ in 0..5 {
        bench.does(Step::CommitOffsets(1));
        bench.refuses(unknown);
        assert_eq!(bench.state.told(), [], "it may be new");
        bench.pass(SECOND);
    }
    bench.does(Step::CommitOffsets(1));
    bench.refuses(unknown);
    let why = Trouble::Abortable(unknown);
    let told = [Told::Offsets(1, Err(why.clone())), Told::Failed(why)];
    assert_eq!(bench.state.told(), told);
}

#[test]
fn offsets_are_committed_before_the_end() {
    let mut bench = Bench::begun();
    bench.state.commit_offsets(1);
    bench.state.end(true);
    bench.does(Step::CommitOffsets(1));
    bench.answers(Ok(Reply::Done));
    bench.does(Step::End { commit: true });
    bench.answers(Ok(Reply::Done));
    let told = [Told::Offsets(1, Ok(())), Told::Ended(Ok(()))];
    assert_eq!(bench.state.told(), told);
}

#[test]
fn the_epoch_that_the_end_brings_is_the_next_transaction_s() {
    let mut bench = Bench::with_partition();
    bench.state.end(true);
    bench.does(Step::End { commit: true });
    let bumped = ProducerId { epoch: 4, ..ID };
    bench.answers(Ok(Reply::Next(bumped)));
    assert!(bench.state.begin());
    let told = [Told::Ended(Ok(())), Told::Begun(bumped, Protocol::V1)];
    assert_eq!(bench.state.told(), told);
}

#[test]
fn a_failed_batch_spoils_the_transaction_which_can_be_aborted() {
    let mut bench = Bench::with_partition();
    let why = Trouble::Abortable(ErrorCode::MESSAGE_TOO_LARGE);
    bench.fails(why.clone());
    assert_eq!(bench.state.told(), [Told::Failed(why.clone())]);
    bench.state.end(true);
    assert_eq!(bench.state.told(), [Told::Ended(Err(why))]);
    bench.state.end(false);
    bench.does(Step::End { commit: false });
    bench.answers(Ok(Reply::Done));
    assert_eq!(bench.state.told(), [Told::Ended(Ok(()))]);
}

#[test]
fn a_batch_that_fails_while_a_commit_waits_for_it_fails_the_commit() {
    let mut bench = Bench::with_partition();
    bench.busy = true;
    bench.state.end(true);
    let why = Trouble::Abortable(ErrorCode::MESSAGE_TOO_LARGE);
    bench.fails(why.clone());
    assert_eq!(bench.state.told(), [Told::Ended(Err(why))]);
    bench.does(Step::Idle);
}

#[test]
fn a_fenced_producer_ends_for_good() {
    let mut bench = Bench::with_partition();
    bench.state.end(true);
    bench.does(Step::End { commit: true });
    bench.refuses(ErrorCode::INVALID_PRODUCER_EPOCH);
    let why = Trouble::Fatal(ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(bench.state.told(), [Told::Ended(Err(why.clone()))]);
    assert!(!bench.state.begin());
    bench.state.commit_offsets(1);
    assert_eq!(bench.state.told(), [Told::Offsets(1, Err(why))]);
}

#[test]
fn what_a_fenced_producer_has_left_open_is_aborted_once_if_it_is_still_its_own() {
    let mut bench = Bench::with_partition();
    let why = Trouble::Fatal(ErrorCode::INVALID_PRODUCER_EPOCH);
    bench.busy = true;
    bench.fails(why.clone());
    assert_eq!(bench.state.told(), [Told::Failed(why.clone())]);
    bench.does(Step::Idle);
    assert!(bench.state.awaits_idle());
    bench.busy = false;
    bench.does(Step::End { commit: false });
    bench.refuses(ErrorCode::PRODUCER_FENCED);
    assert!(!bench.state.awaits_idle());
    bench.does(Step::Idle);
    bench.state.end(false);
    assert_eq!(bench.state.told(), [Told::Ended(Err(why.clone()))]);

    let mut bench = Bench::begun();
    bench.fails(why);
    assert!(!bench.state.awaits_idle(), "nothing is open");
    bench.does(Step::Idle);
}

#[test]
fn a_coordinator_that_cannot_be_found_is_not_told_of_what_is_left_open() {
    let mut bench = Bench::with_partition();
    bench.add(1);
    bench.does(Step::AddPartitions(vec![place(1)]));
    bench.refuses(ErrorCode::NOT_COORDINATOR);
    bench.fails(Trouble::Fatal(ErrorCode::INVALID_PRODUCER_EPOCH));
    bench.does(Step::FindCoordinator);
    bench.answers(Err(Error::Timeout));
    assert!(!bench.state.awaits_idle());
    bench.does(Step::Idle);
}

/// An adopted producer id, which turns out to be another's.
fn adopted() -> Bench {
    let mut bench = Bench::new();
    bench.state.adopt(ID, bench.now);
    assert!(bench.state.begin());
    bench.add(0);
    let told = [Told::Begun(ID, Protocol::V2), Told::Joined(vec![place(0)])];
    assert_eq!(bench.state.told(), told);
    bench
}

#[test]
fn a_transaction_that_begins_anew_asks_for_a_producer_id_and_goes_on_where_it_was() {
    let other = ProducerId { id: 8, epoch: 0 };
    for (commits_before, commits_meanwhile) in [(true, false), (false, true), (false, false)] {
        let mut bench = adopted();
        bench.state.commit_offsets(1);
        if commits_before {
            bench.state.end(true);
        }
        assert!(bench.state.begin_anew());
        bench.does(Step::FindCoordinator);
        bench.answers(Ok(Reply::Done));
        bench.does(Step::Init(None));
        if commits_meanwhile {
            bench.state.end(true);
        }
        bench.answers(Ok(Reply::Producer(other, Protocol::V2)));
        assert_eq!(bench.state.told(), [Told::Begun(other, Protocol::V2)]);
        bench.add(0);
        assert_eq!(bench.state.told(), [Told::Joined(vec![place(0)])]);
        bench.does(Step::CommitOffsets(1));
        bench.answers(Ok(Reply::Done));
        assert_eq!(bench.state.told(), [Told::Offsets(1, Ok(()))]);
        if !commits_before && !commits_meanwhile {
            bench.does(Step::Idle);
            bench.state.end(true);
        }
        bench.does(Step::End { commit: true });
    }
}

#[test]
fn a_transaction_that_cannot_begin_anew_fails_as_any_other() {
    let mut bench = adopted();
    bench.state.end(true);
    assert!(bench.state.begin_anew());
    bench.does(Step::FindCoordinator);
    bench.answers(Ok(Reply::Done));
    bench.does(Step::Init(None));
    bench.refuses(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    let why = Trouble::Fatal(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    assert_eq!(bench.state.told(), [Told::Ended(Err(why))]);
    bench.does(Step::Idle);
}

#[test]
fn records_that_are_lost_while_a_transaction_begins_anew_fail_its_commit() {
    for commits in [true, false] {
        let mut bench = adopted();
        if commits {
            bench.state.end(true);
        }
        assert!(bench.state.begin_anew());
        bench.does(Step::FindCoordinator);
        bench.answers(Ok(Reply::Done));
        bench.does(Step::Init(None));
        let why = Trouble::Abortable(ErrorCode::MESSAGE_TOO_LARGE);
        bench.fails(why.clone());
        bench.answers(Ok(Reply::Producer(ID, Protocol::V2)));
        if !commits {
            assert_eq!(bench.state.told(), [Told::Failed(why.clone())]);
            bench.state.end(true);
        }
        assert_eq!(bench.state.told(), [Told::Ended(Err(why))]);
        bench.does(Step::Idle);
    }
}

#[test]
fn offsets_that_are_refused_before_anything_is_stored_are_committed_anew() {
    let mut bench = Bench::new();
    bench.state.adopt(ID, bench.now);
    assert!(bench.state.begin());
    bench.state.commit_offsets(1);
    bench.does(Step::FindCoordinator);
    bench.answers(Ok(Reply::Done));
    bench.does(Step::CommitOffsets(1));
    assert!(!bench.state.begin_anew(), "the answer may be anything");
    assert!(bench.state.takes_offsets_back());
    assert!(bench.state.begin_anew());
    bench.does(Step::Init(None));
}

#[test]
fn a_coordinator_that_moved_is_looked_for_after_a_while() {
    let mut bench = Bench::begun();
    bench.add(0);
    bench.does(Step::AddPartitions(vec![place(0)]));
    bench.refuses(ErrorCode::NOT_COORDINATOR);
    bench.does(Step::Wait(bench.now + LIMITS.backoff));
    bench.pass(LIMITS.backoff);
    bench.does(Step::FindCoordinator);
    bench.answers(Ok(Reply::Done));
    bench.does(Step::AddPartitions(vec![place(0)]));
}

#[test]
fn a_transaction_before_that_is_still_being_ended_is_waited_for() {
    let mut bench = Bench::begun();
    bench.add(0);
    bench.does(Step::AddPartitions(vec![place(0)]));
    for wait in [2, 4, 8, 16, 32, 64, 100, 100] {
        bench.refuses(ErrorCode::CONCURRENT_TRANSACTIONS);
        let wait = Duration::from_millis(wait);
        bench.does(Step::Wait(bench.now + wait));
        bench.pass(wait);
        bench.does(Step::AddPartitions(vec![place(0)]));
    }
    assert_eq!(bench.state.told(), []);
}

#[test]
fn a_step_that_takes_too_long_spoils_the_transaction_and_a_commit_that_does_is_over() {
    for ends in [false, true] {
        let mut bench = Bench::with_partition();
        if ends {
            bench.state.end(true);
        } else {
            bench.add(1);
        }
        let start = bench.now;
        while bench.now < start + LIMITS.step {
            match bench.state.next(bench.now, false) {
                Step::Wait(at) => bench.now = at,
                Step::Idle => panic!("it has given up before its time"),
                _ => bench.answers(Err(Error::Net(NetError::Closed))),
            }
        }
        bench.does(Step::Idle);
        let why = Trouble::Timeout(Some(Error::Net(NetError::Closed)));
        let told = match ends {
            true => Told::Ended(Err(why)),
            false => Told::Failed(why),
        };
        assert_eq!(bench.state.told(), [told]);
        bench.state.end(false);
        // What was committed, or not, is not to be aborted.
        let next = if ends {
            Step::Idle
        } else {
            Step::FindCoordinator
        };
        bench.does(next);
    }
}

#[test]
fn a_wait_for_the_coordinator_is_told_of_where_it_lasts_and_once_a_minute_and_its_end() {
    let limits = Limits {
        step: 200 * SECOND,
        ..LIMITS
    };
    let mut bench = Bench {
        state: State::new(limits),
        ..Bench::new()
    };
    assert!(bench.state.begin());
    bench.does(Step::FindCoordinator);
    bench.answers(Ok(Reply::Done));
    let (start, code) = (bench.now, ErrorCode::CONCURRENT_TRANSACTIONS);
    let mut told = Vec::new();
    while bench.now < start + 100 * SECOND {
        match bench.state.next(bench.now, false) {
            Step::Wait(at) => bench.now = at,
            step => {
                assert_eq!(step, Step::Init(None));
                bench.refuses(code);
            }
        }
        told.extend(bench.state.told().into_iter().map(|told| match told {
            Told::Waits(error, lasts) => (error.code(), lasts.as_secs()),
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(told, [(Some(code), 10), (Some(code), 70)]);
    bench.does(Step::Init(None));
    bench.answers(Ok(Reply::Producer(ID, Protocol::V2)));
    let ends = Told::GoesOn(bench.now - start);
    assert_eq!(
        bench.state.told(),
        [ends, Told::Begun(ID, Protocol::V2)],
        "what was told has an end"
    );
}

#[test]
fn who_may_not_use_the_transactional_id_is_told_so() {
    let mut bench = Bench::new();
    assert!(bench.state.begin());
    bench.does(Step::FindCoordinator);
    bench.refuses(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    let why = Trouble::Fatal(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    assert_eq!(bench.state.told(), [Told::Failed(why)]);
    bench.does(Step::Idle);
}

#[test]
fn an_abort_adds_and_commits_nothing_more() {
    let mut bench = Bench::with_partition();
    bench.add(1);
    bench.state.commit_offsets(1);
    bench.state.end(false);
    bench.does(Step::End { commit: false });
    let why = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
    assert_eq!(bench.state.told(), [Told::Offsets(1, Err(why))]);
}

#[test]
fn partitions_join_by_themselves_where_each_transaction_has_an_epoch() {
    let mut bench = Bench::begun_with(Protocol::V2);
    bench.add(0);
    bench.does(Step::Idle);
    assert_eq!(bench.state.told(), [Told::Joined(vec![place(0)])]);
    bench.state.end(true);
    bench.does(Step::End { commit: true });
}

#[test]
fn a_commit_waits_for_partitions_that_still_have_to_join() {
    let mut bench = Bench::begun();
    bench.busy = true;
    bench.state.end(true);
    bench.does(Step::Idle);
    bench.add(0);
    bench.does(Step::AddPartitions(vec![place(0)]));
    bench.answers(Ok(Reply::Done));
    bench.does(Step::Idle);
    bench.busy = false;
    bench.does(Step::End { commit: true });
}

#[test]
fn the_producer_of_an_aborted_transaction_gets_another_epoch_if_nobody_took_over() {
    let mut bench = Bench::with_partition();
    bench.state.end(false);
    bench.does(Step::End { commit: false });
    bench.answers(Ok(Reply::Done));
    assert_eq!(bench.state.told(), [Told::Ended(Ok(()))]);
    bench.does(Step::Idle);
    assert!(bench.state.begin());
    bench.does(Step::Init(Some(ID)));
    bench.refuses(ErrorCode::PRODUCER_FENCED);
    let why = Trouble::Fatal(ErrorCode::PRODUCER_FENCED);
    assert_eq!(bench.state.told(), [Told::Failed(why)]);
}

#[test]
fn a_transaction_that_is_fenced_after_its_time_has_expired() {
    for early in [true, false] {
        let mut bench = Bench::with_partition();
        bench.pass(LIMITS.transaction - Duration::from_millis(u64::from(early)));
        bench.state.end(true);
        bench.does(Step::End { commit: true });
        bench.refuses(ErrorCode::PRODUCER_FENCED);
        let why = match early {
            true => Trouble::Fatal(ErrorCode::PRODUCER_FENCED),
            false => Trouble::Expired,
        };
        assert_eq!(bench.state.told(), [Told::Ended(Err(why))]);
    }
    let mut bench = Bench::with_partition();
    bench.pass(LIMITS.transaction);
    bench.fails(Trouble::Fatal(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(bench.state.told(), [Told::Failed(Trouble::Expired)]);
}

#[test]
fn a_transaction_of_nothing_but_refusals_cannot_be_ended() {
    for commit in [true, false] {
        let mut bench = Bench::begun();
        bench.state.refused_before();
        bench.state.end(commit);
        bench.does(Step::Idle);
        let why = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
        assert_eq!(bench.state.told(), [Told::Ended(Err(why))]);
    }
    let mut bench = Bench::with_partition();
    bench.state.refused_before();
    bench.state.end(true);
    bench.does(Step::End { commit: true });
}

#[test]
fn an_abort_that_is_refused_is_over() {
    let mut bench = Bench::with_partition();
    bench.state.end(false);
    bench.does(Step::End { commit: false });
    let code = ErrorCode::INVALID_PRODUCER_ID_MAPPING;
    bench.refuses(code);
    assert_eq!(bench.state.told(), [Told::Ended(Err(Trouble::Fatal(code)))]);
}

#[test]
fn a_broker_without_transactions_ends_it_at_once() {
    let mut bench = Bench::new();
    assert!(bench.state.begin());
    bench.does(Step::FindCoordinator);
    let api = "FindCoordinator".to_owned();
    let error = Error::Net(NetError::UnsupportedApi { api });
    bench.answers(Err(error.clone()));
    let why = Trouble::Unsupported(error);
    assert_eq!(bench.state.told(), [Told::Failed(why)]);
    bench.does(Step::Idle);
}

#[test]
fn a_producer_id_that_was_given_away_begins_the_next_transaction_without_a_question() {
    let mut bench = Bench::begun_with(Protocol::V2);
    bench.add(0);
    bench.state.end(true);
    bench.does(Step::End { commit: true });
    let bumped = ProducerId { epoch: 4, ..ID };
    assert_eq!(bench.state.give_away(), None, "it has not ended");
    bench.answers(Ok(Reply::Next(bumped)));
    assert_eq!(bench.state.give_away(), Some(bumped));
    assert_eq!(bench.state.give_away(), None, "there is one owner");
    // The one who has given it away asks, should it begin again.
    assert!(bench.state.begin());
    bench.does(Step::Init(None));

    let mut next = Bench::new();
    next.state.adopt(bumped, next.now);
    assert!(next.state.begin());
    assert_eq!(next.state.told(), [Told::Begun(bumped, Protocol::V2)]);
    next.does(Step::Idle);
    next.add(0);
    assert_eq!(next.state.told(), [Told::Joined(vec![place(0)])]);
}

#[test]
fn a_producer_id_is_not_given_away_where_epochs_stay_or_after_trouble() {
    let mut bench = Bench::with_partition();
    bench.state.end(true);
    bench.does(Step::End { commit: true });
    bench.answers(Ok(Reply::Done));
    assert_eq!(bench.state.give_away(), None, "sequence numbers go on");
    let mut bench = Bench::begun_with(Protocol::V2);
    bench.add(0);
    bench.fails(Trouble::Fatal(ErrorCode::PRODUCER_FENCED));
    assert_eq!(bench.state.give_away(), None);
}

#[test]
fn the_first_batches_after_an_end_are_held_back_and_the_commit_with_them() {
    let mut bench = Bench::new();
    let until = bench.now + Duration::from_millis(4);
    bench.state.adopt(ID, until);
    assert!(bench.state.begin());
    bench.add(0);
    bench.add(1);
    bench.state.end(true);
    assert_eq!(bench.state.told(), [Told::Begun(ID, Protocol::V2)]);
    bench.does(Step::Wait(until));
    bench.pass(Duration::from_millis(4));
    bench.busy = true;
    bench.does(Step::Idle);
    assert_eq!(bench.state.told(), [Told::Joined(vec![place(0), place(1)])]);
    bench.busy = false;
    bench.does(Step::FindCoordinator);
    bench.answers(Ok(Reply::Done));
    bench.does(Step::End { commit: true });
}

#[test]
fn an_adopted_id_is_not_taken_twice_nor_while_a_transaction_is_under_way() {
    let mut bench = Bench::begun_with(Protocol::V2);
    let other = ProducerId { id: 8, epoch: 0 };
    bench.state.adopt(other, bench.now);
    bench.add(0);
    bench.state.end(true);
    bench.does(Step::End { commit: true });
    bench.answers(Ok(Reply::Next(ID)));
    assert_eq!(bench.state.give_away(), Some(ID));
}

#[test]
fn an_abort_has_its_own_time_however_long_something_else_was_tried_before() {
    let abortable = Trouble::Abortable(ErrorCode::REQUEST_TIMED_OUT);
    let spoil = |bench: &mut Bench| bench.fails(abortable.clone());
    let go_on = |_: &mut Bench| {};
    for before in [&spoil as &dyn Fn(&mut Bench), &go_on] {
        let mut bench = Bench::with_partition();
        bench.add(1);
        bench.does(Step::AddPartitions(vec![place(1)]));
        bench.refuses(ErrorCode::CONCURRENT_TRANSACTIONS);
        before(&mut bench);
        bench.state.told();
        bench.pass(LIMITS.step);
        bench.state.end(false);
        bench.does(Step::End { commit: false });
        bench.answers(Ok(Reply::Done));
        assert_eq!(bench.state.told(), [Told::Ended(Ok(()))]);
    }
}
