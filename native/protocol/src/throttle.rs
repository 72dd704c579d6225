//! How long a broker asks a client to leave it alone (KIP-124, KIP-219).

use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use crate::api;

const THROTTLE_TIME: &str = "throttle_time_ms";

/// The first version of each API in which a broker answers at once and the client does the waiting. In
/// versions before, the answer was held back for that time already.
fn client_waits_since(api_key: i16) -> Option<i16> {
    Some(match ApiKey::try_from(api_key).ok()? {
        ApiKey::Produce => 6,
        ApiKey::Fetch => 8,
        ApiKey::Metadata => 6,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 4,
        ApiKey::ListOffsets | ApiKey::JoinGroup | ApiKey::CreateTopics => 3,
        ApiKey::FindCoordinator
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::SyncGroup
        | ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::ApiVersions
        | ApiKey::DeleteTopics => 2,
        ApiKey::InitProducerId
        | ApiKey::AddPartitionsToTxn
        | ApiKey::AddOffsetsToTxn
        | ApiKey::EndTxn
        | ApiKey::TxnOffsetCommit => 1,
        ApiKey::ConsumerGroupHeartbeat | ApiKey::ConsumerGroupDescribe => 0,
        _ => return None,
    })
}

/// For how long no request is to be sent on the connection that the response came on. `body` is the response
/// without its header; one that does not parse asks for nothing.
pub fn throttle_time(api_key: i16, version: i16, body: &[u8]) -> Duration {
    let ms = client_waits_since(api_key)
        .filter(|since| version >= *since)
        .and_then(|_| api::of(api_key)?.shape.int32(THROTTLE_TIME, body, version))
        .map_or(0, |ms| ms.max(0) as u64);
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::produce_response::{
        PartitionProduceResponse, TopicProduceResponse,
    };
    use kafka_protocol::messages::{FetchResponse, ProduceResponse};
    use kafka_protocol::protocol::Encodable;

    fn body(response: &impl Encodable, version: i16) -> BytesMut {
        let mut body = BytesMut::new();
        response.encode(&mut body, version).unwrap();
        body
    }

    #[test]
    fn it_is_found_wherever_it_stands() {
        let partition = PartitionProduceResponse::default();
        let topic = TopicProduceResponse::default().with_partition_responses(vec![partition; 3]);
        let produced = ProduceResponse::default()
            .with_responses(vec![topic; 2])
            .with_throttle_time_ms(250);
        for version in [6, 8, 9, 12] {
            let found = throttle_time(0, version, &body(&produced, version));
            assert_eq!(found, Duration::from_millis(250), "version {version}");
        }
        let fetched = FetchResponse::default().with_throttle_time_ms(70);
        for version in [8, 11, 12] {
            let found = throttle_time(1, version, &body(&fetched, version));
            assert_eq!(found, Duration::from_millis(70), "version {version}");
        }
    }

    #[test]
    fn a_broker_that_has_held_its_answer_back_is_not_waited_for_again() {
        let produced = ProduceResponse::default().with_throttle_time_ms(250);
        assert_eq!(throttle_time(0, 5, &body(&produced, 5)), Duration::ZERO);
    }

    #[test]
    fn nonsense_asks_for_nothing() {
        assert_eq!(throttle_time(0, 9, &[0xff; 3]), Duration::ZERO);
        assert_eq!(throttle_time(1, 12, &[0xff; 4]), Duration::ZERO);
        assert_eq!(throttle_time(999, 0, &[0; 9]), Duration::ZERO);
    }
}
