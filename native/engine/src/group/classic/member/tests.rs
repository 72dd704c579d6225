use std::collections::BTreeSet;

use super::*;
use crate::group::classic::actions::{Counted, Heartbeat, JoinOutcome};
use crate::group::{AssignBy, Assigned, AssignedPartition, GroupMember, Subscription};
use crate::net::NetError;
use brod_protocol::consumer_protocol::Assignment;

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
fn a_leader_shares_out_what_the_members_asked_for() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.joined(leader(1));
    assert_eq!(
        bench.request(),
        &Request::CountPartitions {
            topics: vec!["a".into()],
            create: true
        }
    );
    bench.counted(3);
    let Request::Sync { assignments, .. } = bench.request() else {
        panic!("{:?}", bench.sent)
    };
    let expected: Vec<(String, TopicPartitions)> = vec![
        ("him".into(), vec![("a".into(), vec![0, 2])]),
        ("me".into(), vec![("a".into(), vec![1])]),
    ];
    assert_eq!(assignments, &expected);
}

#[test]
fn the_owner_shares_out_when_it_wants_to_and_heartbeats_go_on() {
    let mut bench = Bench::new(GroupConfig {
        assignment: AssignBy::Owner,
        ..config()
    });
    bench.join(1);
    bench.found(1);
    bench.joined(leader(1));
    bench.counted(2);
    let Some((
        1,
        Event::Assign {
            members,
            partitions,
        },
    )) = bench.told.last()
    else {
        panic!("{:?}", bench.told)
    };
    assert_eq!(members[0].member_id, "me");
    assert_eq!(partitions, &[("a".to_string(), 0), ("a".to_string(), 1)]);
    bench.pass(Duration::from_secs(60), Some(Ok(())));
    assert!(bench.sent.is_empty());
    let shares = vec![("me".to_string(), vec![("a".to_string(), vec![0, 1])])];
    bench.member.assign(0, shares.clone(), bench.now);
    bench.act();
    assert!(bench.sent.is_empty(), "an answer to an older join");
    bench.member.assign(1, shares.clone(), bench.now);
    bench.act();
    assert!(matches!(bench.request(), Request::Sync { assignments, .. } if *assignments == shares));
}

#[test]
fn an_answer_of_the_owner_to_an_older_generation_is_not_taken() {
    let mut bench = Bench::new(GroupConfig {
        assignment: AssignBy::Owner,
        ..config()
    });
    bench.join(1);
    bench.found(1);
    bench.joined(leader(1));
    bench.counted(2);
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::REBALANCE_IN_PROGRESS)),
    );
    bench.joined(leader(2));
    bench.counted(2);
    bench.member.assign(1, Vec::new(), bench.now);
    bench.act();
    assert!(bench.sent.is_empty());
    bench.member.assign(1, Vec::new(), bench.now);
    bench.act();
    assert!(matches!(
        bench.request(),
        Request::Sync { generation: 2, .. }
    ));
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
fn a_member_put_out_while_its_owner_revokes_refuses_commits_and_joins_anew() {
    let mut bench = Bench::stable(config());
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::REBALANCE_IN_PROGRESS)),
    );
    bench.revoked(RevokeReason::Rebalance);
    // The broker waits for the rebalance timeout and goes on without this member.
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::UNKNOWN_MEMBER_ID)),
    );
    assert!(bench.told.is_empty());
    assert!(bench.member.commit_target(1).is_err());
    bench.pass(Duration::from_secs(60), None);
    assert!(bench.heartbeats.is_empty());
    bench.join(2);
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id.is_empty()));
}

#[test]
fn commits_of_another_generation_are_refused() {
    let mut bench = Bench::stable(config());
    let target = CommitTarget {
        node: 1,
        member_id: "me".into(),
    };
    assert_eq!(bench.member.commit_target(1), Ok(Some(target)));
    for generation in [0, 2] {
        assert_eq!(
            bench.member.commit_target(generation),
            Err(ErrorCode::ILLEGAL_GENERATION)
        );
    }
    let error = ErrorCode::ILLEGAL_GENERATION.into();
    bench.member.commit_failed(1, 1, &error, bench.now);
    bench.act();
    bench.revoked(RevokeReason::Lost(ErrorCode::ILLEGAL_GENERATION));
    assert!(bench.member.commit_target(1).is_err());
}

#[test]
fn a_fenced_static_member_says_so_and_waits_before_it_joins_again() {
    let mut bench = Bench::stable(GroupConfig {
        group_instance_id: Some("i".into()),
        ..config()
    });
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::FENCED_INSTANCE_ID)),
    );
    bench.revoked(RevokeReason::Lost(ErrorCode::FENCED_INSTANCE_ID));
    bench.join(2);
    bench.pass(Duration::from_millis(9_900), None);
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(100), None);
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id.is_empty()));
    bench.answer(Answer::Joined(err(ErrorCode::FENCED_INSTANCE_ID)));
    bench.pass(Duration::from_millis(9_900), None);
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(100), None);
    bench.joined(follower(2));
}

#[test]
fn a_coordinator_that_moves_does_not_end_the_generation() {
    let mut bench = Bench::stable(config());
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::NOT_COORDINATOR)),
    );
    assert_eq!(bench.member.commit_target(1), Ok(None), "commits wait");
    bench.pass(Duration::from_millis(200), None);
    bench.found(2);
    assert_eq!(bench.events(), [Event::Coordinator(broker(2).endpoint)]);
    assert_eq!(bench.heartbeats.len(), 1, "the new one hears of us at once");
    assert_eq!(bench.heartbeats[0].node, 2);
    // What the old one still says counts no more.
    let error = ErrorCode::NOT_COORDINATOR.into();
    bench.member.commit_failed(1, 1, &error, bench.now);
    bench.act();
    assert_eq!(bench.member.coordinator(), Some(&broker(2)));
    bench.answer_heartbeats(Ok(()));
    assert!(bench.member.commit_target(1).unwrap().is_some());
}

#[test]
fn an_outage_shorter_than_the_session_goes_unnoticed() {
    let mut bench = Bench::stable(config());
    bench.pass(
        Duration::from_secs(5),
        Some(Err(Error::Net(NetError::Closed))),
    );
    for _ in 0..15 {
        bench.pass(Duration::from_millis(1_200), None);
        bench.answer(Answer::Coordinator(Err(Error::Unreachable(Vec::new()))));
    }
    bench.pass(Duration::from_millis(1_200), None);
    bench.found(1);
    bench.answer_heartbeats(Ok(()));
    bench.pass(Duration::from_secs(100), Some(Ok(())));
    assert!(bench.told.is_empty());
    assert!(bench.member.commit_target(1).unwrap().is_some());
}

#[test]
fn a_session_without_a_heartbeat_ends_the_generation() {
    let mut bench = Bench::stable(config());
    bench.pass(Duration::from_secs(29), None);
    assert!(bench.told.is_empty());
    bench.pass(Duration::from_secs(2), None);
    bench.revoked(RevokeReason::HeartbeatTimeout);
    assert!(bench.member.commit_target(1).is_err());
    bench.heartbeats.clear();
    bench.pass(Duration::from_secs(60), None);
    assert!(bench.heartbeats.is_empty() && bench.told.is_empty());
    bench.join(2);
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id == "me"));
}

#[test]
fn a_late_heartbeat_answer_does_not_touch_the_next_generation() {
    let mut bench = Bench::stable(config());
    bench.pass(Duration::from_secs(5), None);
    bench.join(2);
    bench.joined(follower(2));
    bench.synced();
    bench.offsets();
    bench.told.clear();
    bench.answer_heartbeats(err(ErrorCode::ILLEGAL_GENERATION));
    assert!(bench.told.is_empty());
    assert!(bench.member.commit_target(2).unwrap().is_some());
}

#[test]
fn an_outage_during_the_join_is_sat_out_and_reported_now_and_then() {
    let mut bench = Bench::new(config());
    bench.join(1);
    for _ in 0..100 {
        bench.answer(Answer::Coordinator(Err(Error::Unreachable(Vec::new()))));
        bench.pass(Duration::from_millis(1_200), None);
    }
    let reports = bench.events();
    assert!((10..=13).contains(&reports.len()), "{}", reports.len());
    for report in reports {
        assert!(matches!(report, Event::Retrying { attempt: 0, .. }));
    }
    bench.found(1);
    bench.answer(Answer::Joined(err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)));
    bench.pass(Duration::from_millis(1_200), None);
    assert!(
        matches!(bench.request(), Request::Join { .. }),
        "same broker"
    );
    bench.answer(Answer::Joined(err(ErrorCode::NOT_COORDINATOR)));
    bench.pass(Duration::from_millis(1_200), None);
    bench.found(2);
    bench.joined(follower(1));
    bench.synced();
}

#[test]
fn refusals_are_counted_and_end_the_member() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.told.clear();
    let code = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
    for attempt in 1..=2 {
        bench.answer(Answer::Joined(err(code)));
        let reason = code.into();
        assert_eq!(bench.events(), [Event::Retrying { attempt, reason }]);
        bench.pass(Duration::from_millis(990), None);
        assert!(bench.sent.is_empty());
        bench.pass(Duration::from_millis(10), None);
    }
    bench.answer(Answer::Joined(err(code)));
    let last = DownReason::MaxRejoinAttempts(code.into());
    assert_eq!(bench.events(), [Event::Down(last)]);
    bench.join(2);
    bench.pass(Duration::from_secs(60), None);
    assert!(bench.sent.is_empty() && bench.told.is_empty());
}

#[test]
fn a_join_that_goes_through_forgets_earlier_refusals() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    for round in 1..=5 {
        bench.answer(Answer::Joined(err(ErrorCode::GROUP_MAX_SIZE_REACHED)));
        bench.pass(Duration::from_secs(1), None);
        bench.joined(follower(round));
        bench.synced();
        bench.offsets();
        bench.join(1 + i64::from(round));
    }
    assert!(!bench.events().iter().any(|e| matches!(e, Event::Down(_))));
}

#[test]
fn a_lost_member_id_during_the_join_is_part_of_the_protocol() {
    let mut bench = Bench::stable(config());
    bench.join(2);
    bench.answer(Answer::Joined(err(ErrorCode::UNKNOWN_MEMBER_ID)));
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id.is_empty()));
    bench.joined(follower(2));
    bench.answer(Answer::Synced(err(ErrorCode::REBALANCE_IN_PROGRESS)));
    bench.joined(follower(3));
    bench.answer(Answer::Synced(err(ErrorCode::UNKNOWN_MEMBER_ID)));
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id.is_empty()));
    assert!(bench.told.is_empty());
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
fn partitions_that_came_on_top_start_a_rebalance() {
    let mut bench = Bench::stable_leader(config());
    let seen = |count| PartitionCounts::from([("a".to_string(), count)]);
    for count in [2, 1, 0] {
        bench.member.partitions_seen(&seen(count), bench.now);
        bench.act();
        assert!(bench.told.is_empty());
    }
    bench.member.partitions_seen(&seen(3), bench.now);
    bench.act();
    bench.revoked(RevokeReason::PartitionsAdded);
    assert!(bench.member.commit_target(1).is_ok());
}

#[test]
fn a_leader_has_the_topics_looked_at_now_and_then_and_a_follower_does_not() {
    let mut leader = Bench::stable_leader(config());
    let mut follower = Bench::stable(config());
    assert_eq!(leader.watched, BTreeSet::from(["a".to_string()]));
    for (bench, refreshes) in [(&mut leader, 3), (&mut follower, 0)] {
        bench.pass(Duration::from_secs(185), Some(Ok(())));
        assert_eq!(bench.refreshes, refreshes);
        assert!(bench.told.is_empty());
    }
}

#[test]
fn after_its_client_was_closed_a_member_lives_on_until_it_leaves() {
    let mut bench = Bench::stable(config());
    bench.member.client_closed();
    bench.member.client_closed();
    bench.act();
    assert_eq!(bench.events(), [Event::Down(DownReason::ClientDown)]);
    let target = |bench: &Bench| bench.member.commit_target(1).unwrap().map(|t| t.node);
    assert_eq!(target(&bench), Some(1));
    let beat = Error::Net(NetError::Closed);
    bench.pass(Duration::from_secs(6), Some(Err(beat)));
    assert_eq!(
        target(&bench),
        Some(1),
        "no other coordinator is looked for"
    );
    bench.pass(Duration::from_secs(60), Some(Ok(())));
    assert_eq!(target(&bench), Some(1));
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::UNKNOWN_MEMBER_ID)),
    );
    assert!(bench.member.commit_target(1).is_err());
    bench.join(2);
    assert!(bench.told.is_empty() && bench.sent.is_empty());
}

#[test]
fn a_member_without_a_generation_ends_with_its_client() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.told.clear();
    bench.member.client_closed();
    bench.act();
    assert_eq!(bench.events(), [Event::Down(DownReason::ClientDown)]);
    assert!(bench.member.deadline().is_none());
    assert!(bench.member.is_held());
}

#[test]
fn a_partition_that_came_while_the_member_was_there_is_read_from_its_begin() {
    for joined in [leader, follower] {
        let mut bench = Bench::new(config());
        bench.join(1);
        bench.found(1);
        bench.joined_of(joined(1), 1);
        if joined(1).leader {
            bench.counted(1);
        }
        bench.answer(given(vec![("a".into(), vec![0])]));
        bench.answer(Answer::Offsets(Ok(vec![partition(0, None)])));
        bench.join(2);
        bench.joined_of(joined(2), 3);
        if joined(2).leader {
            bench.counted(3);
        }
        bench.answer(given(vec![("a".into(), vec![0, 1, 2])]));
        bench.told.clear();
        let found = vec![
            partition(0, None),
            partition(1, None),
            partition(2, Some(4)),
        ];
        bench.answer(Answer::Offsets(Ok(found)));
        let [Event::Assigned(assigned)] = &bench.events()[..] else {
            panic!("{:?}", bench.told)
        };
        let offsets: Vec<_> = assigned.partitions.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, [None, Some(0), Some(4)]);
    }
}

#[test]
fn who_joins_when_a_partition_is_first_shared_out_is_told_that_it_is_new() {
    let mut old = Bench::stable_leader(config());
    old.join(2);
    old.joined(leader(2));
    old.counted(3);
    let Request::Sync { grown_from, .. } = old.request() else {
        panic!("{:?}", old.sent)
    };
    assert_eq!(grown_from, &PartitionCounts::from([("a".into(), 2)]));

    let mut new = Bench::new(config());
    new.join(1);
    new.found(1);
    new.joined_of(follower(2), 3);
    new.answer(Answer::Synced(Ok(Assignment {
        partitions: vec![("a".into(), vec![1, 2])],
        grown_from: grown_from.clone(),
    })));
    assert_eq!(new.assigned_offsets([1, 2]), [None, Some(0)]);
}

#[test]
fn a_partition_is_new_until_something_of_it_is_committed() {
    let mut bench = Bench::stable_leader(config());
    for generation in 2..=3 {
        bench.join(generation.into());
        bench.joined(leader(generation));
        bench.counted(3);
        bench.answer(given(vec![("a".into(), vec![0, 2])]));
        assert_eq!(bench.assigned_offsets([0, 2]), [None, Some(0)]);
    }
}

#[test]
fn a_topic_that_was_not_shown_before_is_not_new() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.joined(leader(1));
    bench.answer(Answer::Partitions(Ok(Counted {
        hidden: BTreeSet::from(["a".to_string()]),
        ..counted(0)
    })));
    bench.answer(given(vec![]));
    bench.join(2);
    bench.joined(leader(2));
    bench.counted(2);
    bench.answer(given(vec![("a".into(), vec![0, 1])]));
    assert_eq!(bench.assigned_offsets([0, 1]), [None, None]);
}

#[test]
fn topics_that_are_not_there_are_told_once_created_and_soon_looked_for_again() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    let unknown = Event::UnknownTopics(vec!["a".into()]);
    for round in 1..=2 {
        bench.told.clear();
        bench.joined(leader(round));
        let request = bench.request();
        assert!(matches!(
            request,
            Request::CountPartitions { create: true, .. }
        ));
        bench.counted(0);
        bench.answer(given(vec![]));
        assert_eq!(bench.events().contains(&unknown), round == 1);
        bench.pass(Duration::from_secs(4), Some(Ok(())));
        assert_eq!(bench.refreshes, 2 * round as u32);
        bench.join(1 + i64::from(round));
    }
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
fn a_leader_whose_assignment_the_broker_keeps_sends_none() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.joined(Joined {
        skip_assignment: true,
        ..leader(1)
    });
    bench.counted(2);
    assert!(matches!(bench.request(), Request::Sync { assignments, .. } if assignments.is_empty()));
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

#[test]
fn a_leader_looks_at_its_topics_for_as_long_as_it_lives() {
    for missing in [false, true] {
        let mut bench = Bench::new(config());
        bench.join(1);
        bench.found(1);
        bench.joined(leader(1));
        bench.counted(if missing { 0 } else { 2 });
        bench.answer(given(vec![]));
        bench.pass(300 * config().growth_check_interval, Some(Ok(())));
        assert!(bench.refreshes >= 290, "{missing}: {}", bench.refreshes);
    }
}
