//! AddOffsetsToTxn: a group whose offsets a transaction is about to commit (KIP-98).

use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, ApiKey, ProducerId as WireId,
};

use super::init_producer_id::ProducerId;
use super::{check, group_id, text, Api, ApiError, SHORT};
use crate::shape::build::{fields, int16, int32};

/// This API.
pub const API: Api = Api::new(
    ("AddOffsetsToTxn", ApiKey::AddOffsetsToTxn),
    (0, 4),
    3,
    fields(&[int32("throttle_time_ms"), int16("error_code")]),
)
.answers(SHORT);

/// Adds the offsets of `group` to the transaction of `id`. The transaction's coordinator is to be asked.
pub fn request(id: &str, producer: ProducerId, group: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(text(id).into())
        .with_producer_id(WireId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_group_id(group_id(group))
}

/// Whether they were added.
pub fn read(response: &AddOffsetsToTxnResponse) -> Result<(), ApiError> {
    check(response.error_code)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_group_is_added_in_every_version() {
        let producer = ProducerId { id: 7, epoch: 2 };
        for version in versions::<AddOffsetsToTxnRequest>() {
            let read_back = as_read(&request("t", producer, "g"), version);
            assert_eq!(read_back.transactional_id.as_str(), "t");
            assert_eq!(read_back.group_id.as_str(), "g");
            let named = (read_back.producer_id.0, read_back.producer_epoch);
            assert_eq!(named, (7, 2));
            let answer = |code: ErrorCode| {
                let response = AddOffsetsToTxnResponse::default().with_error_code(code.0);
                read(&over_the_wire::<AddOffsetsToTxnRequest>(&response, version))
            };
            assert_eq!(answer(ErrorCode::NO_ERROR), Ok(()));
            let code = ErrorCode::CONCURRENT_TRANSACTIONS;
            assert_eq!(answer(code), Err(code.into()));
        }
    }
}
