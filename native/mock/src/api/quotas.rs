//! Quotas as administrators set them: bytes a second, of clients by their ids.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::{
    alter_client_quotas_request, alter_client_quotas_response, describe_client_quotas_request,
    describe_client_quotas_response, AlterClientQuotasRequest, AlterClientQuotasResponse,
    DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

use super::text;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::throttle::Quotas;

const CLIENT: &str = "client-id";
const PRODUCE: &str = "producer_byte_rate";
const FETCH: &str = "consumer_byte_rate";

pub(crate) fn alter(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: AlterClientQuotasRequest,
) -> Answer<AlterClientQuotasResponse> {
    let entries = request.entries.iter().map(|entry| {
        let entity = entry.entity.iter().map(|entity| {
            alter_client_quotas_response::EntityData::default()
                .with_entity_type(entity.entity_type.clone())
                .with_entity_name(entity.entity_name.clone())
        });
        let result =
            alter_client_quotas_response::EntryData::default().with_entity(entity.collect());
        let altered = match call.refused() {
            Some(code) => Err((code, code.name())),
            None => alter_one(cluster, entry, request.validate_only)
                .map_err(|why| (ErrorCode::INVALID_REQUEST, why)),
        };
        match altered {
            Ok(()) => result,
            Err((code, why)) => result
                .with_error_code(code.0)
                .with_error_message(Some(text(why))),
        }
    });
    let entries = entries.collect();
    Answer::Now(AlterClientQuotasResponse::default().with_entries(entries))
}

/// All of it, or nothing.
fn alter_one(
    cluster: &mut Cluster,
    entry: &alter_client_quotas_request::EntryData,
    validate_only: bool,
) -> Result<(), &'static str> {
    let [entity] = &*entry.entity else {
        return Err("quotas are those of one client id here");
    };
    let (CLIENT, Some(client)) = (entity.entity_type.as_str(), &entity.entity_name) else {
        return Err("quotas are those of client ids here, and there is no default");
    };
    if entry
        .ops
        .iter()
        .any(|op| ![PRODUCE, FETCH].contains(&op.key.as_str()))
    {
        return Err("quotas are producer_byte_rate and consumer_byte_rate here");
    }
    for op in entry.ops.iter().filter(|_| !validate_only) {
        let quotas = match op.key.as_str() {
            PRODUCE => &mut cluster.produce_quotas,
            _ => &mut cluster.fetch_quotas,
        };
        quotas.set(client, if op.remove { 0 } else { op.value as u64 });
    }
    Ok(())
}

pub(crate) fn describe(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: DescribeClientQuotasRequest,
) -> Answer<DescribeClientQuotasResponse> {
    use describe_client_quotas_response::{EntityData, EntryData, ValueData};
    if let Some(code) = call.refused() {
        let refused = DescribeClientQuotasResponse::default().with_entries(None);
        return Answer::Now(refused.with_error_code(code.0));
    }
    let rate = |quotas: &Quotas, key: &'static str, client: &str| {
        let rate = quotas.of(client)?;
        let value = ValueData::default().with_key(text(key));
        Some(value.with_value(rate as f64))
    };
    let Cluster {
        produce_quotas,
        fetch_quotas,
        ..
    } = cluster;
    let mut clients: Vec<&str> = produce_quotas
        .clients()
        .chain(fetch_quotas.clients())
        .collect();
    clients.sort_unstable();
    clients.dedup();
    let entries = clients.into_iter().filter_map(|client| {
        let is_meant = request.components.iter().all(|c| is_meant(c, client));
        let values = [
            rate(produce_quotas, PRODUCE, client),
            rate(fetch_quotas, FETCH, client),
        ];
        let values: Vec<_> = values.into_iter().flatten().collect();
        let entity = EntityData::default()
            .with_entity_type(text(CLIENT))
            .with_entity_name(Some(text(client)));
        let entry = EntryData::default().with_entity(vec![entity]);
        (is_meant && !values.is_empty()).then(|| entry.with_values(values))
    });
    Answer::Now(DescribeClientQuotasResponse::default().with_entries(Some(entries.collect())))
}

fn is_meant(component: &describe_client_quotas_request::ComponentData, client: &str) -> bool {
    const EXACTLY: i8 = 0;
    const ANY: i8 = 2;
    component.entity_type.as_str() == CLIENT
        && match component.match_type {
            EXACTLY => component
                ._match
                .as_ref()
                .is_some_and(|name| name.as_str() == client),
            kind => kind == ANY,
        }
}

#[cfg(test)]
mod tests {
    use super::alter_client_quotas_request::{EntityData, EntryData, OpData};
    use super::describe_client_quotas_request::ComponentData;
    use super::*;
    use crate::call::Waiter;
    use crate::Config;

    fn call() -> Call {
        Call {
            waiter: Waiter {
                id: 1,
                version: 1,
                throttle: 0,
            },
            broker: 1,
            version: 1,
            client_id: String::new(),
            now: 0,
            refusal: None,
        }
    }

    fn of(client: &str) -> DescribeClientQuotasRequest {
        let component = ComponentData::default().with_entity_type(text(CLIENT));
        let component = component.with_match(Some(text(client)));
        DescribeClientQuotasRequest::default().with_components(vec![component])
    }

    #[test]
    fn quotas_that_are_set_are_heeded_told_and_taken_away() {
        let mut cluster = Cluster::new(Config::default(), &[9092]);
        let mut connection = cluster.connected(1);
        let mut set = |cluster: &mut Cluster, key: &'static str, remove| {
            let entity = EntityData::default()
                .with_entity_type(text(CLIENT))
                .with_entity_name(Some(text("a")));
            let op = OpData::default().with_key(text(key)).with_value(1000.0);
            let entry = EntryData::default()
                .with_entity(vec![entity])
                .with_ops(vec![op.with_remove(remove)]);
            let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
            let Answer::Now(answer) = alter(cluster, &mut connection, &call(), request) else {
                panic!("no answer");
            };
            answer.entries[0].error_code
        };
        let rates = |cluster: &mut Cluster, client: &str| {
            let mut connection = cluster.connected(1);
            let Answer::Now(answer) = describe(cluster, &mut connection, &call(), of(client))
            else {
                panic!("no answer");
            };
            let entries = answer.entries.unwrap().into_iter();
            let values = entries.flat_map(|entry| entry.values);
            values
                .map(|v| (v.key.to_string(), v.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(set(&mut cluster, PRODUCE, false), 0);
        assert_eq!(rates(&mut cluster, "a"), [(PRODUCE.to_owned(), 1000.0)]);
        assert_eq!(rates(&mut cluster, "b"), []);
        assert_eq!(cluster.produce_quotas.charge("a", 1500, 0), 500);
        assert_eq!(cluster.fetch_quotas.charge("a", 1500, 0), 0);
        assert_eq!(set(&mut cluster, PRODUCE, true), 0);
        assert_eq!(rates(&mut cluster, "a"), []);
        assert_eq!(cluster.produce_quotas.charge("a", 1500, 0), 0);
        assert_eq!(
            set(&mut cluster, "request_percentage", false),
            ErrorCode::INVALID_REQUEST.0
        );
    }
}
