//! EndTxn: commits or aborts a transaction (KIP-98). From version 5 on the answer brings the epoch of the
//! next one (KIP-890).

use kafka_protocol::messages::{ApiKey, EndTxnRequest, EndTxnResponse, ProducerId as WireId};

use super::init_producer_id::ProducerId;
use super::{check, text, Api, ApiError, SHORT};
use crate::shape::build::{fields, int16, int32, int64};

/// This API.
pub const API: Api = Api::new(
    ("EndTxn", ApiKey::EndTxn),
    (0, 5),
    3,
    fields(&[
        int32("throttle_time_ms"),
        int16("error_code"),
        int64("producer_id").since(5),
        int16("producer_epoch").since(5),
    ]),
)
.answers(SHORT);

/// The version that says that each transaction has an epoch of its own (KIP-890).
pub const EPOCH_A_TRANSACTION: i16 = 5;

/// Commits or aborts the transaction of `id`. Its coordinator is to be asked.
pub fn request(id: &str, producer: ProducerId, commit: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(text(id).into())
        .with_producer_id(WireId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(commit)
}

/// Whether it ended, and what the next transaction is to be written under, in versions that say it.
pub fn read(version: i16, response: &EndTxnResponse) -> Result<Option<ProducerId>, ApiError> {
    check(response.error_code)?;
    let given = version >= EPOCH_A_TRANSACTION && response.producer_id.0 >= 0;
    Ok(given.then_some(ProducerId {
        id: response.producer_id.0,
        epoch: response.producer_epoch,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_transaction_is_ended_in_every_version() {
        let producer = ProducerId { id: 7, epoch: 2 };
        for version in versions::<EndTxnRequest>() {
            for commit in [true, false] {
                let read_back = as_read(&request("t", producer, commit), version);
                assert_eq!(read_back.transactional_id.as_str(), "t");
                assert_eq!(read_back.committed, commit);
                let named = (read_back.producer_id.0, read_back.producer_epoch);
                assert_eq!(named, (7, 2));
            }
            let answer = |code: ErrorCode| {
                let mut response = EndTxnResponse::default().with_error_code(code.0);
                if version >= EPOCH_A_TRANSACTION {
                    response = response.with_producer_id(WireId(7)).with_producer_epoch(3);
                }
                read(version, &over_the_wire::<EndTxnRequest>(&response, version))
            };
            let next = ProducerId { id: 7, epoch: 3 };
            let given = (version >= EPOCH_A_TRANSACTION).then_some(next);
            assert_eq!(answer(ErrorCode::NO_ERROR), Ok(given));
            let code = ErrorCode::PRODUCER_FENCED;
            assert_eq!(answer(code), Err(code.into()));
        }
    }
}
