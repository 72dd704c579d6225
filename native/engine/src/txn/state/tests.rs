use super::*;
use crate::net::NetError;

const ID: ProducerId = ProducerId { id: 7, epoch: 3 };
const LIMITS: Limits = Limits {
    backoff: Duration::from_millis(100),
    step: Duration::from_secs(10),
};

struct Bench {
    state: State,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Bench {
            state: State::new(LIMITS),
            now: Instant::now(),
        }
    }

    /// A transaction is under way.
    fn begun() -> Self {
        let mut bench = Bench::new();
        bench.does(Step::FindCoordinator);
        bench.answers(Ok(Reply::Done));
        bench.does(Step::Init);
        bench.answers(Ok(Reply::Producer(ID)));
        assert!(bench.state.begin());
        assert_eq!(bench.state.told(), [Told::Begun(ID)]);
        bench
    }

    /// As [`Self::begun`], with a partition in it.
    fn with_partition() -> Self {
        let mut bench = Bench::begun();
        bench.state.add(place(0));
        bench.does(Step::AddPartitions(vec![place(0)]));
        bench.answers(Ok(Reply::Done));
        assert_eq!(bench.state.told(), [Told::Joined(vec![place(0)])]);
        bench
    }

    fn does(&mut self, step: Step) {
        assert_eq!(self.state.next(self.now), step);
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
    bench.state.add(place(0));
    bench.does(Step::AddPartitions(vec![place(0)]));
    bench.state.add(place(1));
    bench.state.add(place(2));
    bench.does(Step::Idle);
    bench.answers(Ok(Reply::Done));
    bench.does(Step::AddPartitions(vec![place(1), place(2)]));
    bench.answers(Ok(Reply::Done));
    let joined = [
        Told::Joined(vec![place(0)]),
        Told::Joined(vec![place(1), place(2)]),
    ];
    assert_eq!(bench.state.told(), joined);
    bench.state.add(place(1));
    bench.does(Step::Idle);
}

#[test]
fn a_commit_waits_for_what_is_in_flight() {
    let mut bench = Bench::with_partition();
    bench.state.sent();
    bench.state.end(true);
    bench.does(Step::Idle);
    bench.state.settled(Ok(()));
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
    bench.answers(Ok(Reply::Producer(bumped)));
    assert!(bench.state.begin());
    let told = [Told::Ended(Ok(())), Told::Begun(bumped)];
    assert_eq!(bench.state.told(), told);
}

#[test]
fn a_failed_batch_spoils_the_transaction_which_can_be_aborted() {
    let mut bench = Bench::with_partition();
    bench.state.sent();
    bench.state.settled(Err(ErrorCode::MESSAGE_TOO_LARGE));
    let why = Trouble::Abortable(ErrorCode::MESSAGE_TOO_LARGE);
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
    bench.state.sent();
    bench.state.end(true);
    bench.state.settled(Err(ErrorCode::MESSAGE_TOO_LARGE));
    let why = Trouble::Abortable(ErrorCode::MESSAGE_TOO_LARGE);
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
fn a_coordinator_that_moved_is_looked_for_after_a_while() {
    let mut bench = Bench::begun();
    bench.state.add(place(0));
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
    bench.state.add(place(0));
    bench.does(Step::AddPartitions(vec![place(0)]));
    bench.refuses(ErrorCode::CONCURRENT_TRANSACTIONS);
    bench.pass(LIMITS.backoff);
    bench.does(Step::AddPartitions(vec![place(0)]));
    assert_eq!(bench.state.told(), []);
}

#[test]
fn a_step_that_takes_too_long_spoils_the_transaction_and_a_commit_that_does_is_over() {
    for ends in [false, true] {
        let mut bench = Bench::with_partition();
        if ends {
            bench.state.end(true);
        } else {
            bench.state.add(place(1));
        }
        let start = bench.now;
        while bench.now < start + LIMITS.step {
            match bench.state.next(bench.now) {
                Step::Wait(at) => bench.now = at,
                Step::Idle => panic!("it has given up before its time"),
                _ => bench.answers(Err(Error::Net(NetError::Closed))),
            }
        }
        bench.does(Step::Idle);
        let told = match ends {
            true => Told::Ended(Err(Trouble::Timeout)),
            false => Told::Failed(Trouble::Timeout),
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
fn who_may_not_use_the_transactional_id_is_told_so() {
    let mut bench = Bench::new();
    bench.does(Step::FindCoordinator);
    bench.refuses(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    let why = Trouble::Fatal(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    assert_eq!(bench.state.told(), [Told::Failed(why)]);
    bench.does(Step::Idle);
}

#[test]
fn an_abort_adds_and_commits_nothing_more() {
    let mut bench = Bench::with_partition();
    bench.state.add(place(1));
    bench.state.commit_offsets(1);
    bench.state.end(false);
    bench.does(Step::End { commit: false });
    let why = Trouble::Abortable(ErrorCode::INVALID_TXN_STATE);
    assert_eq!(bench.state.told(), [Told::Offsets(1, Err(why))]);
}
