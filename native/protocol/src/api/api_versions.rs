//! ApiVersions: which versions of which API a broker speaks (KIP-35).

use kafka_protocol::messages::ApiKey;

use super::{Api, SHORT};
use crate::shape::build::{bool, fields, int16, int32, int64, list, string};
use crate::shape::Fields;

/// This API.
pub const API: Api = Api::new(
    ("ApiVersions", ApiKey::ApiVersions),
    (0, 4),
    3,
    Fields {
        plain: &[
            int16("error_code"),
            list(
                "api_keys",
                &fields(&[int16("api_key"), int16("min_version"), int16("max_version")]),
            ),
            int32("throttle_time_ms").since(1),
        ],
        tagged: &[
            (0, list("supported_features", &FEATURE)),
            (1, int64("finalized_features_epoch")),
            (2, list("finalized_features", &FEATURE)),
            (3, bool("zk_migration_ready")),
        ],
    },
)
.answers(SHORT);

/// A name, and a range of versions.
const FEATURE: Fields = fields(&[string("name"), int16("version"), int16("version")]);
