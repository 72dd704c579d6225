//! InitProducerId: producer ids and epochs (KIP-98, KIP-360).

use kafka_protocol::messages::ApiKey;

use super::{Api, SHORT};
use crate::shape::build::{fields, int16, int32, int64};

/// This API.
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
.answers(SHORT);
