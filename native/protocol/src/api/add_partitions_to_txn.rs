//! AddPartitionsToTxn: partitions that a transaction is about to write to (KIP-98).

use std::collections::HashSet;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey, ProducerId as WireId,
};

use super::init_producer_id::ProducerId;
use super::{by_topic, text, topic_name, Api, ApiError};
use crate::error::ErrorCode;
use crate::shape::build::{fields, int16, int32, list, string};
use crate::shape::Fields;

/// This API.
// 4 is for brokers, which ask for many transactions at once (KIP-890).
pub const API: Api = Api::new(
    ("AddPartitionsToTxn", ApiKey::AddPartitionsToTxn),
    (0, 5),
    3,
    fields(&[
        int32("throttle_time_ms"),
        int16("error_code").since(4),
        list(
            "results_by_transaction",
            &fields(&[string("transactional_id"), list("topic_results", &TOPIC)]),
        )
        .since(4),
        list("results_by_topic_v3_and_below", &TOPIC).until(3),
    ]),
)
.up_to(3);

const TOPIC: Fields = fields(&[
    string("name"),
    list(
        "results_by_partition",
        &fields(&[int32("partition_index"), int16("partition_error_code")]),
    ),
]);

/// Adds partitions to the transaction of `id`. Its coordinator is to be asked.
pub fn request<'a>(
    id: &str,
    producer: ProducerId,
    places: impl IntoIterator<Item = (&'a str, i32)>,
) -> AddPartitionsToTxnRequest {
    let topics = by_topic(places).into_iter().map(|(topic, partitions)| {
        AddPartitionsToTxnTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions)
    });
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(text(id).into())
        .with_v3_and_below_producer_id(WireId(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(topics.collect())
}

/// Whether all partitions that it was `asked` for were added. Brokers add all of them or none, and name the culprits: the others
/// are `operation_not_attempted`.
pub fn read<'a>(
    response: &AddPartitionsToTxnResponse,
    asked: impl IntoIterator<Item = (&'a str, i32)>,
) -> Result<(), ApiError> {
    let mut answered = HashSet::new();
    let mut refused = None;
    for topic in &response.results_by_topic_v3_and_below {
        for partition in &topic.results_by_partition {
            answered.insert((topic.name.as_str(), partition.partition_index));
            match ErrorCode(partition.partition_error_code) {
                ErrorCode::NO_ERROR => {}
                code @ ErrorCode::OPERATION_NOT_ATTEMPTED => refused = refused.or(Some(code)),
                code => return Err(code.into()),
            }
        }
    }
    match refused {
        Some(code) => Err(code.into()),
        None => ApiError::check_complete(API.name, asked, &answered),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use kafka_protocol::messages::add_partitions_to_txn_response::{
        AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
    };

    #[test]
    fn partitions_are_gathered_by_topic_in_every_version() {
        let producer = ProducerId { id: 7, epoch: 2 };
        for version in versions::<AddPartitionsToTxnRequest>() {
            let places = [("a", 0), ("b", 3), ("a", 1)];
            let read = as_read(&request("t", producer, places), version);
            assert_eq!(read.v3_and_below_transactional_id.as_str(), "t");
            assert_eq!(read.v3_and_below_producer_id.0, 7);
            assert_eq!(read.v3_and_below_producer_epoch, 2);
            let topics = &read.v3_and_below_topics;
            assert_eq!(topics.len(), 2);
            assert_eq!(topics[0].partitions, [0, 1]);
            assert_eq!(topics[1].partitions, [3]);
        }
    }

    #[test]
    fn one_culprit_speaks_for_all_partitions_in_every_version() {
        let answer = |version, codes: &[ErrorCode]| {
            let partitions = codes.iter().map(|code| {
                AddPartitionsToTxnPartitionResult::default().with_partition_error_code(code.0)
            });
            let topic = AddPartitionsToTxnTopicResult::default()
                .with_name(topic_name("a"))
                .with_results_by_partition(partitions.collect());
            let response = AddPartitionsToTxnResponse::default()
                .with_results_by_topic_v3_and_below(vec![topic]);
            let response = over_the_wire::<AddPartitionsToTxnRequest>(&response, version);
            read(&response, [("a", 0)])
        };
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let not_attempted = ErrorCode::OPERATION_NOT_ATTEMPTED;
        for version in versions::<AddPartitionsToTxnRequest>() {
            assert_eq!(answer(version, &[ErrorCode::NO_ERROR; 2]), Ok(()));
            let refused = answer(version, &[not_attempted, unknown]);
            assert_eq!(refused, Err(unknown.into()));
            let all = answer(version, &[not_attempted]);
            assert_eq!(all, Err(not_attempted.into()));
        }
    }

    #[test]
    fn a_partition_of_which_nothing_is_said_may_not_be_added() {
        let lacks = Err(ApiError::lacks("AddPartitionsToTxn", "a-0"));
        assert_eq!(
            read(&AddPartitionsToTxnResponse::default(), [("a", 0)]),
            lacks
        );
    }
}
