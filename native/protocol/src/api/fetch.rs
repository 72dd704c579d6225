//! Fetch: record batches of many partitions (KIP-74, sessions: KIP-227).

use kafka_protocol::messages::fetch_response::AbortedTransaction;
use kafka_protocol::messages::ApiKey;

use super::{Api, LEADER, NODE_ENDPOINT};
use crate::isolation::Aborted;
use crate::shape::build::{
    fields, int16, int32, int64, list, nullable_list, records, string, tagged, uuid,
};
use crate::shape::Fields;

/// This API.
// 13 names topics by their ids, which would need a lookup per response on the hot path. What that
// costs: brokers name the new leader in a refused fetch from 16 on only (KIP-951).
pub const API: Api = Api::new(
    ("Fetch", ApiKey::Fetch),
    (4, 18),
    12,
    Fields {
        plain: &[
            int32("throttle_time_ms"),
            int16("error_code").since(7),
            int32("session_id").since(7),
            list(
                "responses",
                &fields(&[
                    string("topic").until(12),
                    uuid("topic_id").since(13),
                    list("partitions", &FETCHED),
                ]),
            ),
        ],
        tagged: &[(0, list("node_endpoints", &NODE_ENDPOINT).since(16))],
    },
)
.up_to(12);

const FETCHED: Fields = Fields {
    plain: &[
        int32("partition_index"),
        int16("error_code"),
        int64("high_watermark"),
        int64("last_stable_offset"),
        int64("log_start_offset").since(5),
        nullable_list(
            "aborted_transactions",
            &fields(&[int64("producer_id"), int64("first_offset")]),
        ),
        int32("preferred_read_replica").since(11),
        records("records"),
    ],
    tagged: &[
        (
            0,
            tagged(
                "diverging_epoch",
                &fields(&[int32("epoch"), int64("end_offset")]),
            ),
        ),
        (1, tagged("current_leader", &LEADER)),
        (
            2,
            tagged(
                "snapshot_id",
                &fields(&[int64("end_offset"), int32("epoch")]),
            ),
        ),
    ],
};

/// More than a broker asked for so much may answer all the same: a batch that is larger comes whole
/// (KIP-74), and what stands around the batches.
const SLACK: usize = 256 * 1024 * 1024;

/// See [`super::longest_answer`]: what the request allows, and one larger batch.
pub(super) fn longest_answer(version: i16, body: &[u8]) -> usize {
    // Behind the replica id, which went in version 15, the longest wait and the least bytes.
    let at = if version < 15 { 12 } else { 8 };
    let max_bytes = body.get(at..).and_then(|rest| rest.first_chunk());
    let max_bytes = max_bytes.map_or(0, |bytes| i32::from_be_bytes(*bytes));
    usize::try_from(max_bytes)
        .unwrap_or(0)
        .saturating_add(SLACK)
}

/// The transactions that the answer says are aborted; the list is null for readers of everything.
pub fn aborted(list: Option<&[AbortedTransaction]>) -> Aborted {
    let list = list.unwrap_or_default().iter();
    Aborted::new(
        list.map(|one| (one.first_offset, one.producer_id.0))
            .collect(),
    )
}
