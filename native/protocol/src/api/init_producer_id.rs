//! InitProducerId: producer ids and epochs (KIP-98, KIP-360).

use std::time::Duration;

use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProducerId as WireId,
};

use super::{check, millis, text, Api, ApiError, SHORT};
use crate::shape::build::{fields, int16, int32, int64};

/// This API.
// 6 is for transactions in two phases (KIP-939), which the message crate cannot ask for.
pub const API: Api = Api::new(
    ("InitProducerId", ApiKey::InitProducerId),
    (0, 6),
    2,
    fields(&[
        int32("throttle_time_ms"),
        int16("error_code"),
        int64("producer_id"),
        int16("producer_epoch"),
        int64("ongoing_txn_producer_id").since(6),
        int16("ongoing_txn_producer_epoch").since(6),
    ]),
)
.up_to(5)
.answers(SHORT);

/// A producer id and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerId {
    /// Given by the cluster.
    pub id: i64,
    /// A producer of the same id and a lower epoch is fenced off.
    pub epoch: i16,
}

/// First version that takes the id that the producer has (KIP-360).
const TAKES_ID: i16 = 3;

/// Asks for a producer id. With a transactional id (`transaction`: the id, and how long the coordinator
/// lets a transaction be open) its coordinator is to be asked, else any broker. `present`: what the
/// producer has, whose epoch is raised where the broker knows how.
pub fn request(
    version: i16,
    transaction: Option<(&str, Duration)>,
    present: Option<ProducerId>,
) -> InitProducerIdRequest {
    // Without transactions the timeout means nothing, but brokers check it.
    let limit = transaction.map_or(Duration::from_secs(60), |(_, limit)| limit);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(transaction.map(|(id, _)| text(id).into()))
        .with_transaction_timeout_ms(millis(limit));
    match present {
        Some(present) if version >= TAKES_ID => request
            .with_producer_id(WireId(present.id))
            .with_producer_epoch(present.epoch),
        _ => request,
    }
}

/// The producer id that was given.
pub fn read(response: &InitProducerIdResponse) -> Result<ProducerId, ApiError> {
    check(response.error_code)?;
    Ok(ProducerId {
        id: response.producer_id.0,
        epoch: response.producer_epoch,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn an_id_is_asked_for_with_and_without_transactions_in_every_version() {
        let present = ProducerId { id: 7, epoch: 2 };
        for version in versions::<InitProducerIdRequest>() {
            let read = as_read(&request(version, None, None), version);
            assert_eq!(read.transactional_id, None);
            assert_eq!((read.producer_id.0, read.producer_epoch), (-1, -1));
            let transaction = Some(("t", Duration::from_secs(9)));
            let read = as_read(&request(version, transaction, Some(present)), version);
            let id = read.transactional_id.as_ref().map(|id| id.as_str());
            assert_eq!((id, read.transaction_timeout_ms), (Some("t"), 9000));
            let expected = if version >= TAKES_ID {
                (7, 2)
            } else {
                (-1, -1)
            };
            assert_eq!((read.producer_id.0, read.producer_epoch), expected);
        }
    }

    #[test]
    fn the_id_or_the_refusal_is_read_in_every_version() {
        for version in versions::<InitProducerIdRequest>() {
            let answer = |code: ErrorCode| {
                let response = InitProducerIdResponse::default()
                    .with_error_code(code.0)
                    .with_producer_id(WireId(7))
                    .with_producer_epoch(2);
                read(&over_the_wire::<InitProducerIdRequest>(&response, version))
            };
            let id = ProducerId { id: 7, epoch: 2 };
            assert_eq!(answer(ErrorCode::NO_ERROR), Ok(id));
            let code = ErrorCode::PRODUCER_FENCED;
            assert_eq!(answer(code), Err(code.into()));
        }
    }
}
