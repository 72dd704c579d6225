//! Fetch: what is asked for, in a session or not (KIP-227).

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::{FetchRequest, FetchResponse};

use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::fetches::{self, Asked, Parked, Place, Session};

/// From this version on topics are named by ids.
const BY_ID: i16 = 13;
/// The epoch of a request that opens a session, and of one that wants none.
const FIRST: i32 = 0;
const FINAL: i32 = -1;

pub(crate) fn handle(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: FetchRequest,
) -> Answer<FetchResponse> {
    if let Some(code) = call.refused() {
        return Answer::Now(FetchResponse::default().with_error_code(code.0));
    }
    let session = match open(cluster, call, &request) {
        Ok(session) => session,
        Err(code) => return Answer::Now(FetchResponse::default().with_error_code(code.0)),
    };
    let parked = Parked {
        call: call.clone(),
        session: session.0,
        asked: session.1,
        committed: request.isolation_level == 1,
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0),
        deadline: call.now
            + i64::from(request.max_wait_ms).clamp(0, cluster.config.max_fetch_wait_ms),
    };
    match fetches::answer(cluster, &parked, call.now) {
        Some(response) => Answer::Now(response),
        None => {
            cluster.fetches.park(parked);
            Answer::Later
        }
    }
}

/// The session's id (0: none), and all that is asked for in it.
fn open(
    cluster: &mut Cluster,
    call: &Call,
    request: &FetchRequest,
) -> Result<(i32, Vec<Asked>), ErrorCode> {
    let asked = asked(cluster, call, request);
    if call.version < 7 {
        return Ok((0, asked));
    }
    match request.session_epoch {
        FINAL => {
            cluster.fetches.sessions.remove(&request.session_id);
            Ok((0, asked))
        }
        FIRST => {
            cluster.fetches.sessions.remove(&request.session_id);
            let id = (cluster.new_id() & 0x7fff_ffff) as i32;
            let session = Session {
                broker: call.broker,
                epoch: 1,
                asked: asked.clone(),
                said: Default::default(),
            };
            cluster.fetches.sessions.insert(id, session);
            Ok((id, asked))
        }
        epoch => {
            let session = cluster.fetches.sessions.get_mut(&request.session_id);
            let session = session.filter(|session| session.broker == call.broker);
            let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
            if session.epoch != epoch {
                return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
            }
            session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
            for topic in &request.forgotten_topics_data {
                let fits = |asked: &Asked| match call.version >= BY_ID {
                    true => asked.place.id == topic.topic_id,
                    false => asked.place.topic == topic.topic.as_str(),
                };
                session.asked.retain(|asked| {
                    !(fits(asked) && topic.partitions.contains(&asked.place.index))
                });
            }
            for new in asked {
                session.said.remove(&new.place);
                match session
                    .asked
                    .iter_mut()
                    .find(|known| known.place == new.place)
                {
                    Some(known) => *known = new,
                    None => session.asked.push(new),
                }
            }
            Ok((request.session_id, session.asked.clone()))
        }
    }
}

fn asked(cluster: &Cluster, call: &Call, request: &FetchRequest) -> Vec<Asked> {
    let mut all = Vec::new();
    for topic in &request.topics {
        let name = match call.version >= BY_ID {
            true => cluster.topics.name_of(topic.topic_id).unwrap_or_default(),
            false => topic.topic.as_str(),
        };
        for partition in &topic.partitions {
            all.push(Asked {
                place: Place {
                    topic: name.to_owned(),
                    id: topic.topic_id,
                    index: partition.partition,
                },
                offset: partition.fetch_offset,
                epoch: partition.current_leader_epoch,
                max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            });
        }
    }
    all
}
