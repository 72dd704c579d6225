//! Groups: their coordinators, their members, and what administrators ask of them.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumer;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{
    BrokerId, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::text;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::group::Asker;

/// The first version of FindCoordinator that asks for several.
const FINDS_MANY_FROM: i16 = 4;

/// The code of a call that is not for its broker, or that a fault refuses.
pub(super) fn refusal(cluster: &Cluster, call: &Call, key: &str) -> Option<ErrorCode> {
    let elsewhere = !cluster.coordinates(call, key);
    let refused = call.refused_for("", -1).or_else(|| call.refused());
    refused.or(elsewhere.then_some(ErrorCode::NOT_COORDINATOR))
}

fn asker(call: &Call) -> Asker {
    Asker {
        ticket: call.waiter.id,
        version: call.version,
        client_id: text(&call.client_id),
        client_host: StrBytes::from_static_str("/127.0.0.1"),
    }
}

pub(crate) fn find_coordinator(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: FindCoordinatorRequest,
) -> Answer<FindCoordinatorResponse> {
    let find = |key: &StrBytes| {
        let id = cluster.coordinator_of(key);
        let broker = id.and_then(|id| Some((id, cluster.brokers.get(&id)?)));
        let found = Coordinator::default().with_key(key.clone());
        match (call.refused(), broker) {
            (None, Some((id, broker))) => found
                .with_node_id(BrokerId(id))
                .with_host(text(&broker.host))
                .with_port(broker.port.into()),
            (code, _) => found
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(code.unwrap_or(ErrorCode::COORDINATOR_NOT_AVAILABLE).0),
        }
    };
    if call.version >= FINDS_MANY_FROM {
        let found = request.coordinator_keys.iter().map(find).collect();
        return Answer::Now(FindCoordinatorResponse::default().with_coordinators(found));
    }
    let found = match request.key_type {
        0 | 1 => find(&request.key),
        _ => Coordinator::default()
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(ErrorCode::INVALID_REQUEST.0),
    };
    // So brokers call that there is no error, from where they have words at all up to where they are asked for several.
    let is_told = found.error_code == 0 && call.version > 0;
    Answer::Now(
        FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_error_message(is_told.then(|| StrBytes::from_static_str("NONE")))
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port),
    )
}

pub(crate) fn join(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: JoinGroupRequest,
) -> Answer<JoinGroupResponse> {
    if let Some(code) = refusal(cluster, call, &request.group_id) {
        let response = JoinGroupResponse::default()
            .with_error_code(code.0)
            .with_generation_id(-1)
            .with_protocol_name(Some(StrBytes::new()))
            .with_member_id(request.member_id);
        return Answer::Now(response);
    }
    cluster.wait_for_group(call.waiter);
    let groups = &mut cluster.coordination.groups;
    groups.join(asker(call), &request, call.now);
    cluster.settle(call.now);
    Answer::Later
}

pub(crate) fn sync(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: SyncGroupRequest,
) -> Answer<SyncGroupResponse> {
    if let Some(code) = refusal(cluster, call, &request.group_id) {
        return Answer::Now(SyncGroupResponse::default().with_error_code(code.0));
    }
    cluster.wait_for_group(call.waiter);
    let groups = &mut cluster.coordination.groups;
    groups.sync(call.waiter.id, &request, call.now);
    cluster.settle(call.now);
    Answer::Later
}

pub(crate) fn heartbeat(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: HeartbeatRequest,
) -> Answer<HeartbeatResponse> {
    if let Some(code) = refusal(cluster, call, &request.group_id) {
        return Answer::Now(HeartbeatResponse::default().with_error_code(code.0));
    }
    Answer::Now(cluster.coordination.groups.heartbeat(&request, call.now))
}

pub(crate) fn leave(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: LeaveGroupRequest,
) -> Answer<LeaveGroupResponse> {
    if let Some(code) = refusal(cluster, call, &request.group_id) {
        return Answer::Now(LeaveGroupResponse::default().with_error_code(code.0));
    }
    let groups = &mut cluster.coordination.groups;
    let response = groups.leave(call.version, &request, call.now);
    cluster.settle(call.now);
    Answer::Now(response)
}

pub(crate) fn consumer_heartbeat(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: ConsumerGroupHeartbeatRequest,
) -> Answer<ConsumerGroupHeartbeatResponse> {
    if let Some(code) = refusal(cluster, call, &request.group_id) {
        return Answer::Now(ConsumerGroupHeartbeatResponse::default().with_error_code(code.0));
    }
    let groups = &mut cluster.coordination.groups;
    Answer::Now(groups.consumer_heartbeat(&asker(call), &request, &cluster.topics, call.now))
}

pub(crate) fn list(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: ListGroupsRequest,
) -> Answer<ListGroupsResponse> {
    if let Some(code) = call.refused() {
        return Answer::Now(ListGroupsResponse::default().with_error_code(code.0));
    }
    let mut response = cluster.coordination.groups.list(&request);
    // Each broker knows of the groups that it coordinates.
    response
        .groups
        .retain(|group| cluster.coordinates(call, &group.group_id));
    Answer::Now(response)
}

pub(crate) fn describe(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: DescribeGroupsRequest,
) -> Answer<DescribeGroupsResponse> {
    let mut response = cluster.coordination.groups.describe(call.version, &request);
    for group in &mut response.groups {
        if let Some(code) = refusal(cluster, call, &group.group_id) {
            *group = DescribedGroup::default()
                .with_group_id(group.group_id.clone())
                .with_authorized_operations(i32::MIN)
                .with_error_code(code.0);
        }
    }
    Answer::Now(response)
}

pub(crate) fn describe_consumers(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: ConsumerGroupDescribeRequest,
) -> Answer<ConsumerGroupDescribeResponse> {
    let groups = &cluster.coordination.groups;
    let mut response = groups.describe_consumers(&request, &cluster.topics);
    for group in &mut response.groups {
        if let Some(code) = refusal(cluster, call, &group.group_id) {
            *group = DescribedConsumer::default()
                .with_group_id(group.group_id.clone())
                .with_authorized_operations(i32::MIN)
                .with_error_code(code.0);
        }
    }
    Answer::Now(response)
}

pub(crate) fn delete(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: DeleteGroupsRequest,
) -> Answer<DeleteGroupsResponse> {
    let (here, elsewhere): (Vec<_>, Vec<_>) = request
        .groups_names
        .into_iter()
        .map(|id| (refusal(cluster, call, &id), id))
        .partition(|(code, _)| code.is_none());
    let here = here.into_iter().map(|(_, id)| id).collect();
    let here = DeleteGroupsRequest::default().with_groups_names(here);
    let mut response = cluster.coordination.groups.delete(&here);
    let refused = elsewhere.into_iter().map(|(code, id)| {
        DeletableGroupResult::default()
            .with_group_id(id)
            .with_error_code(code.unwrap_or_default().0)
    });
    response.results.extend(refused);
    Answer::Now(response)
}

pub(crate) fn delete_offsets(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: OffsetDeleteRequest,
) -> Answer<OffsetDeleteResponse> {
    if let Some(code) = refusal(cluster, call, &request.group_id) {
        return Answer::Now(OffsetDeleteResponse::default().with_error_code(code.0));
    }
    let groups = &mut cluster.coordination.groups;
    Answer::Now(groups.delete_offsets(&request, &cluster.topics))
}
