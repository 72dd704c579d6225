mod sharing_out;
mod trouble;

use super::*;
use crate::group::classic::actions::{Counted, Heartbeat, JoinOutcome};
use crate::group::{AssignBy, Assigned, AssignedPartition, GroupMember, Subscription};
use crate::net::NetError;
use brod_protocol::consumer_protocol::Assignment;
use std::collections::BTreeSet;

/// A member, a clock, and the events that the owner has been told.
struct Bench {
    member: Member,
    now: Instant,
    told: Vec<(i64, Event)>,
    /// Requests that were sent and not answered.
    sent: Vec<(u64, Request)>,
    heartbeats: Vec<Heartbeat>,
    watched: BTreeSet<String>,
    refreshes: u32,
}

fn config() -> GroupConfig {
    GroupConfig {
        group_id: "g".into(),
        session_timeout: Duration::from_secs(30),
        rebalance_timeout: Duration::from_secs(30),
        heartbeat_interval: Duration::from_secs(5),
        max_rejoin_attempts: 2,
        rejoin_delay: Duration::from_secs(1),
        retention_ms: -1,
        group_instance_id: None,
        protocols: vec!["roundrobin_v2".into()],
        assignment: AssignBy::Engine,
        fetch_offsets: true,
        create_topics: true,
        growth_check_interval: Duration::from_secs(60),
    }
}

fn terms(join_id: i64) -> JoinTerms {
    JoinTerms {
        join_id,
        topics: vec!["a".into()],
        user_data: Default::default(),
    }
}

fn broker(node: NodeId) -> Coordinator {
    let host = format!("broker{node}");
    Coordinator {
        node,
        endpoint: Endpoint { host, port: 9092 },
    }
}

fn group_member(id: &str) -> GroupMember {
    GroupMember {
        member_id: id.into(),
        group_instance_id: None,
        subscription: Subscription {
            topics: vec!["a".into()],
            ..Subscription::default()
        },
    }
}

fn leader(generation: i32) -> Joined {
    Joined {
        member_id: "me".into(),
        generation,
        protocol: "roundrobin_v2".into(),
        leader: true,
        skip_assignment: false,
        members: vec![group_member("him"), group_member("me")],
    }
}

fn follower(generation: i32) -> Joined {
    Joined {
        leader: false,
        members: Vec::new(),
        ..leader(generation)
    }
}

fn err<T>(code: ErrorCode) -> Result<T, Error> {
    Err(code.into())
}

fn counted(count: i32) -> Counted {
    Counted {
        counts: PartitionCounts::from([("a".to_string(), count)]),
        hidden: BTreeSet::new(),
    }
}

fn given(partitions: TopicPartitions) -> Answer {
    Answer::Synced(Ok(Assignment {
        partitions,
        grown_from: PartitionCounts::new(),
    }))
}

fn partition(number: i32, offset: Option<i64>) -> AssignedPartition {
    AssignedPartition {
        topic: "a".into(),
        partition: number,
        offset,
        metadata: String::new(),
    }
}

impl Bench {
    fn new(config: GroupConfig) -> Self {
        let now = Instant::now();
        Bench {
            member: Member::new(Arc::new(config), now, 0),
            now,
            told: Vec::new(),
            sent: Vec::new(),
            heartbeats: Vec::new(),
            watched: BTreeSet::new(),
            refreshes: 0,
        }
    }

    fn act(&mut self) {
        for action in self.member.actions() {
            match action {
                Action::Tell(id, event) => self.told.push((id, event)),
                Action::Send(_, Request::Heartbeat(heartbeat)) => self.heartbeats.push(heartbeat),
                Action::Send(number, request) => self.sent.push((number, request)),
                Action::Watch(topics) => self.watched = topics,
                Action::RefreshMetadata => self.refreshes += 1,
            }
        }
    }

    /// Lets `time` pass, ticking whenever the member wants it. Heartbeats are answered with
    /// `beat`; `None` leaves them unanswered.
    fn pass(&mut self, time: Duration, beat: Option<Result<(), Error>>) {
        let end = self.now + time;
        loop {
            match self.member.deadline() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.member.tick(self.now);
            self.act();
            if let Some(result) = &beat {
                self.answer_heartbeats(result.clone());
            }
        }
        self.now = end;
    }

    fn answer_heartbeats(&mut self, result: Result<(), Error>) {
        for heartbeat in std::mem::take(&mut self.heartbeats) {
            let now = self.now;
            let answer = Answer::Heartbeat(heartbeat, result.clone());
            self.member.answer(0, answer, now);
            self.act();
        }
    }

    fn join(&mut self, join_id: i64) {
        self.member.join(terms(join_id), self.now);
        self.act();
    }

    /// The one request under way.
    fn request(&self) -> &Request {
        assert_eq!(self.sent.len(), 1, "{:?}", self.sent);
        &self.sent[0].1
    }

    fn answer(&mut self, answer: Answer) {
        self.request();
        let (number, _) = self.sent.remove(0);
        self.member.answer(number, answer, self.now);
        self.act();
    }

    fn found(&mut self, node: NodeId) {
        assert_eq!(self.request(), &Request::FindCoordinator);
        self.answer(Answer::Coordinator(Ok(broker(node))));
    }

    /// A follower is told the number of partitions as well.
    fn joined(&mut self, joined: Joined) {
        self.joined_of(joined, 2);
    }

    fn joined_of(&mut self, joined: Joined, partitions: i32) {
        assert!(matches!(self.request(), Request::Join { .. }));
        let leader = joined.leader;
        self.answer(Answer::Joined(Ok(JoinOutcome::Joined(joined))));
        if !leader
            && matches!(
                self.request(),
                Request::CountPartitions { create: false, .. }
            )
        {
            self.counted(partitions);
        }
    }

    fn synced(&mut self) {
        assert!(matches!(self.request(), Request::Sync { .. }));
        self.answer(given(vec![("a".into(), vec![0, 1])]));
    }

    fn offsets(&mut self) {
        let found = vec![partition(0, Some(7)), partition(1, None)];
        self.answer(Answer::Offsets(Ok(found)));
    }

    /// Brings a follower to the stable state of generation 1, coordinated by node 1.
    fn stable(config: GroupConfig) -> Self {
        let mut bench = Bench::new(config);
        bench.join(1);
        bench.found(1);
        bench.joined(follower(1));
        bench.synced();
        if !bench.sent.is_empty() {
            bench.offsets();
        }
        bench.told.clear();
        bench
    }

    fn stable_leader(config: GroupConfig) -> Self {
        let mut bench = Bench::new(config);
        bench.join(1);
        bench.found(1);
        bench.joined(leader(1));
        bench.counted(2);
        bench.synced();
        bench.offsets();
        bench.told.clear();
        bench
    }

    fn counted(&mut self, count: i32) {
        self.answer(Answer::Partitions(Ok(counted(count))));
    }

    /// Where the partitions of the assignment begin, of which nothing is committed.
    fn assigned_offsets(&mut self, numbers: [i32; 2]) -> Vec<Option<i64>> {
        self.told.clear();
        let found = numbers.map(|number| partition(number, None));
        self.answer(Answer::Offsets(Ok(found.into())));
        match &self.events()[..] {
            [Event::Assigned(assigned)] => assigned.partitions.iter().map(|p| p.offset).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn events(&mut self) -> Vec<Event> {
        self.told.drain(..).map(|(_, event)| event).collect()
    }

    fn revoked(&mut self, why: RevokeReason) {
        assert_eq!(self.events(), [Event::Revoke(why)]);
    }
}

#[test]
fn a_follower_finds_joins_syncs_fetches_and_is_assigned() {
    let mut bench = Bench::new(config());
    assert!(bench.member.deadline().is_none());
    bench.join(4);
    bench.found(1);
    bench.joined(follower(9));
    let Request::Sync {
        node: 1,
        generation: 9,
        assignments,
        ..
    } = bench.request()
    else {
        panic!("{:?}", bench.sent)
    };
    assert!(assignments.is_empty());
    bench.synced();
    assert!(matches!(
        bench.request(),
        Request::FetchOffsets { node: 1, .. }
    ));
    bench.offsets();
    let assigned = Assigned {
        member_id: "me".into(),
        generation: 9,
        leader: false,
        protocol: "roundrobin_v2".into(),
        partitions: vec![partition(0, Some(7)), partition(1, None)],
    };
    let endpoint = broker(1).endpoint;
    assert_eq!(
        bench.told,
        [
            (4, Event::Coordinator(endpoint)),
            (4, Event::Assigned(assigned))
        ]
    );
}

#[test]
fn offsets_are_not_fetched_when_the_owner_keeps_them() {
    let mut bench = Bench::stable(GroupConfig {
        fetch_offsets: false,
        ..config()
    });
    assert!(bench.sent.is_empty());
    assert_eq!(bench.member.phase, Phase::Stable);
    bench.pass(Duration::from_secs(6), Some(Ok(())));
    assert!(bench.told.is_empty());
}

#[test]
fn a_required_member_id_is_joined_with_at_once() {
    let mut bench = Bench::new(config());
    bench.join(1);
    assert!(!bench.member.awaits_answer_to_leave());
    bench.found(1);
    assert!(bench.member.awaits_answer_to_leave());
    bench.answer(Answer::Joined(Ok(JoinOutcome::MemberIdRequired(
        "id".into(),
    ))));
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id == "id"));
    assert!(!bench.member.awaits_answer_to_leave());
    assert_eq!(bench.events().len(), 1, "the coordinator alone");
}

#[test]
fn heartbeats_go_on_while_the_owner_revokes_and_commits_are_taken() {
    let mut bench = Bench::stable(config());
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::REBALANCE_IN_PROGRESS)),
    );
    bench.revoked(RevokeReason::Rebalance);
    let before = bench.now;
    for _ in 0..24 {
        bench.pass(Duration::from_secs(5), None);
        assert_eq!(bench.heartbeats.len(), 1);
        bench.answer_heartbeats(err(ErrorCode::REBALANCE_IN_PROGRESS));
        assert!(bench.member.commit_target(1).unwrap().is_some());
    }
    assert_eq!(bench.now - before, Duration::from_secs(120));
    assert!(bench.told.is_empty(), "told once only");
    bench.join(2);
    assert_eq!(
        bench.member.commit_target(1),
        Err(ErrorCode::ILLEGAL_GENERATION)
    );
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id == "me"));
}

#[test]
fn a_join_during_a_join_waits_for_the_first_and_joins_with_the_new_terms() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.member.join(
        JoinTerms {
            topics: vec!["b".into()],
            ..terms(2)
        },
        bench.now,
    );
    bench.act();
    bench.joined(leader(1));
    let Request::Join {
        member_id, terms, ..
    } = bench.request()
    else {
        panic!("{:?}", bench.sent)
    };
    assert_eq!((member_id.as_str(), terms.join_id), ("me", 2));
    assert_eq!(terms.topics, ["b"]);
}

#[test]
fn assigned_is_held_back_until_offsets_are_stable() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.joined(follower(1));
    bench.synced();
    bench.told.clear();
    for _ in 0..30 {
        bench.answer(Answer::Offsets(err(ErrorCode::UNSTABLE_OFFSET_COMMIT)));
        bench.pass(Duration::from_millis(1_200), Some(Ok(())));
        assert!(!bench
            .told
            .iter()
            .any(|(_, e)| matches!(e, Event::Assigned(_))));
    }
    bench.offsets();
    assert!(matches!(bench.told.last(), Some((1, Event::Assigned(_)))));
}

#[test]
fn a_rebalance_before_the_owner_has_anything_is_not_its_business() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.joined(follower(1));
    bench.synced();
    bench.told.clear();
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::REBALANCE_IN_PROGRESS)),
    );
    let joins = bench
        .sent
        .iter()
        .filter(|(_, r)| matches!(r, Request::Join { .. }));
    assert_eq!(joins.count(), 1);
    assert!(bench.told.is_empty());
}

#[test]
fn a_follower_is_not_kept_waiting_by_what_it_does_not_need() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    let joined = JoinOutcome::Joined(follower(1));
    bench.answer(Answer::Joined(Ok(joined)));
    bench.answer(Answer::Partitions(Err(Error::Timeout)));
    bench.synced();
}

#[test]
fn an_idle_member_costs_a_heartbeat_per_interval() {
    let mut bench = Bench::stable(config());
    let mut beats = 0;
    for _ in 0..60 {
        bench.pass(Duration::from_secs(1), None);
        beats += bench.heartbeats.len();
        bench.answer_heartbeats(Ok(()));
    }
    assert_eq!(beats, 12);
    assert!(bench.sent.is_empty() && bench.told.is_empty());
}
