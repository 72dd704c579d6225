use super::*;
use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{OffsetCommitRequest, TopicName};

struct OneTopic(i32);

impl Topics for OneTopic {
    fn partitions(&self, topic: &str) -> Option<i32> {
        (topic == "topic").then_some(self.0)
    }
    fn id(&self, topic: &str) -> Option<Uuid> {
        (topic == "topic").then_some(Uuid::from_u128(1))
    }
    fn names(&self) -> Vec<String> {
        vec!["topic".into()]
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group() -> GroupId {
    GroupId(text("group"))
}

fn join(member: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(1000)
        .with_rebalance_timeout_ms(3000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"wishes"))])
}

fn asker(ticket: Ticket, version: i16) -> Asker {
    Asker {
        ticket,
        version,
        client_id: text("client"),
        ..Asker::default()
    }
}

fn joined(answers: &[(Ticket, Answer)], ticket: Ticket) -> JoinGroupResponse {
    let found = answers.iter().find(|(known, _)| *known == ticket);
    match found {
        Some((_, ResponseKind::JoinGroup(response))) => response.clone(),
        other => panic!("{ticket} is not answered: {other:?}"),
    }
}

fn synced(answers: &[(Ticket, Answer)], ticket: Ticket) -> SyncGroupResponse {
    let found = answers.iter().find(|(known, _)| *known == ticket);
    match found {
        Some((_, ResponseKind::SyncGroup(response))) => response.clone(),
        other => panic!("{ticket} is not answered: {other:?}"),
    }
}

/// A member, whose id it returns, is alone in the group and has its assignment.
fn alone(groups: &mut Groups) -> StrBytes {
    groups.join(asker(1, 5), &join(""), 0);
    let required = joined(&groups.take_answers(), 1);
    assert_eq!(required.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
    let id = required.member_id;
    groups.join(asker(2, 5), &join(&id), 0);
    let response = joined(&groups.take_answers(), 2);
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_eq!((response.leader, response.members.len()), (id.clone(), 1));
    sync(groups, 3, &id, 1, &[&id]);
    assert_eq!(synced(&groups.take_answers(), 3).assignment, *id.as_bytes());
    id
}

/// A leader gives each member its own id.
fn sync(groups: &mut Groups, ticket: Ticket, id: &str, generation: i32, members: &[&StrBytes]) {
    let assignments = members.iter().map(|id| {
        SyncGroupRequestAssignment::default()
            .with_member_id((*id).clone())
            .with_assignment(Bytes::from(id.to_string()))
    });
    let request = SyncGroupRequest::default()
        .with_group_id(group())
        .with_member_id(text(id))
        .with_generation_id(generation)
        .with_assignments(assignments.collect());
    groups.sync(ticket, &request, 0);
}

fn beat(groups: &mut Groups, id: &str, generation: i32, now: Millis) -> ErrorCode {
    let request = HeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text(id))
        .with_generation_id(generation);
    ErrorCode(groups.heartbeat(&request, now).error_code)
}

#[test]
fn a_second_member_brings_a_rebalance_in_which_both_get_their_share() {
    let mut groups = Groups::default();
    let first = alone(&mut groups);
    assert_eq!(beat(&mut groups, &first, 1, 0), ErrorCode::NO_ERROR);
    groups.join(asker(4, 3), &join(""), 0);
    assert!(groups.take_answers().is_empty(), "it waits for the first");
    assert_eq!(
        beat(&mut groups, &first, 1, 0),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    groups.join(asker(5, 5), &join(&first), 0);
    let answers = groups.take_answers();
    let second = joined(&answers, 4).member_id;
    assert_eq!(joined(&answers, 5).members.len(), 2);
    assert_eq!(joined(&answers, 4).members.len(), 0);
    sync(&mut groups, 6, &second, 2, &[]);
    assert!(groups.take_answers().is_empty(), "it waits for the leader");
    sync(&mut groups, 7, &first, 2, &[&first, &second]);
    let answers = groups.take_answers();
    assert_eq!(synced(&answers, 6).assignment, *second.as_bytes());
    assert_eq!(groups.look("group"), Some(("Stable", 2, 2)));
    assert_eq!(
        beat(&mut groups, &first, 1, 0),
        ErrorCode::ILLEGAL_GENERATION
    );
}

#[test]
fn a_member_that_is_silent_for_a_session_is_gone() {
    let mut groups = Groups::default();
    let id = alone(&mut groups);
    assert_eq!(beat(&mut groups, &id, 1, 500), ErrorCode::NO_ERROR);
    assert_eq!(groups.deadline(), Some(1500));
    groups.expire(1499, &OneTopic(4));
    assert_eq!(groups.look("group"), Some(("Stable", 1, 1)));
    groups.expire(1500, &OneTopic(4));
    assert_eq!(groups.look("group"), Some(("Empty", 2, 0)));
    assert_eq!(
        beat(&mut groups, &id, 1, 1500),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    assert_eq!(groups.deadline(), None);
}

#[test]
fn a_rebalance_goes_on_without_members_that_do_not_come() {
    let mut groups = Groups::default();
    let _first = alone(&mut groups);
    groups.join(asker(4, 3), &join(""), 0);
    groups.expire(1000, &OneTopic(4));
    let answers = groups.take_answers();
    assert_eq!(joined(&answers, 4).members.len(), 1);
    assert_eq!(groups.look("group"), Some(("CompletingRebalance", 2, 1)));
    // The rebalance timeout binds the leader as well.
    let second = joined(&answers, 4).member_id;
    assert_eq!(beat(&mut groups, &second, 2, 3000), ErrorCode::NO_ERROR);
    groups.expire(4000, &OneTopic(4));
    assert_eq!(groups.look("group"), Some(("Empty", 3, 0)));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_predecessor() {
    let mut groups = Groups::default();
    let request = join("").with_group_instance_id(Some(text("instance")));
    groups.join(asker(1, 5), &request, 0);
    let old = joined(&groups.take_answers(), 1).member_id;
    sync(&mut groups, 2, &old, 1, &[&old]);
    groups.take_answers();
    groups.join(asker(3, 9), &request, 0);
    let back = joined(&groups.take_answers(), 3);
    assert_eq!((back.error_code, back.generation_id), (0, 1));
    assert!(back.skip_assignment);
    assert_ne!(back.member_id, old);
    sync(&mut groups, 4, &back.member_id, 1, &[]);
    assert_eq!(
        synced(&groups.take_answers(), 4).assignment,
        *old.as_bytes()
    );
    let zombie = HeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(old)
        .with_generation_id(1)
        .with_group_instance_id(Some(text("instance")));
    let code = groups.heartbeat(&zombie, 0).error_code;
    assert_eq!(code, ErrorCode::FENCED_INSTANCE_ID.0);
}

#[test]
fn offsets_are_taken_from_members_of_this_generation_and_of_partitions_that_exist() {
    let mut groups = Groups::default();
    let id = alone(&mut groups);
    let mut commit = |member: &StrBytes, generation, partition| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(42);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text("topic")))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_member_id(member.clone())
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![topic]);
        let response = groups.commit(&request, &OneTopic(4), 0);
        ErrorCode(response.topics[0].partitions[0].error_code)
    };
    assert_eq!(commit(&id, 1, 0), ErrorCode::NO_ERROR);
    assert_eq!(commit(&id, 2, 0), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(commit(&text("other"), 1, 0), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(&id, 1, 4), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(
        commit(&StrBytes::new(), -1, 0),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
    let committed = groups.committed("group", "topic", 0);
    assert_eq!(committed.map(|c| c.offset), Some(42));
    assert_eq!(groups.committed("group", "topic", 1), None);
}

/// A heartbeat that says all; what the member has afterwards.
fn consumer(groups: &mut Groups, id: &str, epoch: i32, owned: &[i32]) -> (i32, Option<Vec<i32>>) {
    let mut request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text(id))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(1000)
        .with_subscribed_topic_names(Some(vec![TopicName(text("topic"))]));
    let topic = TopicPartitions::default()
        .with_topic_id(Uuid::from_u128(1))
        .with_partitions(owned.to_vec());
    let owned = if owned.is_empty() {
        vec![]
    } else {
        vec![topic]
    };
    request.topic_partitions = Some(owned);
    let response = groups.consumer_heartbeat(&asker(1, 1), &request, &OneTopic(4), 0);
    assert_eq!(response.error_code, 0);
    let assigned = response.assignment.map(|assignment| {
        let all = assignment.topic_partitions.iter();
        all.flat_map(|topic| topic.partitions.clone()).collect()
    });
    (response.member_epoch, assigned)
}

#[test]
fn members_of_kip_848_groups_take_only_what_others_have_given_up() {
    let mut groups = Groups::default();
    assert_eq!(
        consumer(&mut groups, "a", 0, &[]),
        (1, Some(vec![0, 1, 2, 3]))
    );
    let (epoch, nothing) = consumer(&mut groups, "b", 0, &[]);
    assert_eq!((epoch, nothing), (2, Some(vec![])));
    let (epoch, kept) = consumer(&mut groups, "a", 1, &[0, 1, 2, 3]);
    assert_eq!((epoch, kept.as_ref().map(Vec::len)), (1, Some(2)));
    assert_eq!(consumer(&mut groups, "b", 2, &[]).1, Some(vec![]));
    let kept = kept.unwrap_or_default();
    assert_eq!(
        consumer(&mut groups, "a", 1, &kept),
        (2, Some(kept.clone()))
    );
    let (_, rest) = consumer(&mut groups, "b", 2, &[]);
    let mut all = [kept, rest.unwrap_or_default()].concat();
    all.sort();
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!(groups.look("group"), Some(("Stable", 2, 2)));
}
