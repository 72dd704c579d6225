//! Kafka's error codes and the names that Erlang knows them by.

use std::fmt;

/// An error code as a broker sends it. 0 means no error.
#[derive(Copy, Clone, Default, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Whether this code says that all went well.
    #[inline]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// The code's name; `unknown_error_code` for one that is newer than this client, which
    /// [`name`] tells apart.
    pub const fn name(self) -> &'static str {
        match name(self.0) {
            Some(name) => name,
            None => "unknown_error_code",
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorCode({}, {})", self.0, self.name())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "unknown error code {}", self.0),
        }
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        ErrorCode(code)
    }
}

macro_rules! error_codes {
    ($($constant:ident = $code:literal, $name:literal;)*) => {
        impl ErrorCode {
            $(#[doc = concat!("`", $name, "`")] pub const $constant: ErrorCode = ErrorCode($code);)*
        }

        /// The name of an error code, as the atom that brod's users match; `None` for a code that
        /// is newer than this client.
        pub const fn name(code: i16) -> Option<&'static str> {
            match code {
                $($code => Some($name),)*
                _ => None,
            }
        }
    };
}

// The names are Kafka's own in lower case, but for 6, where Erlang code matches the name that Kafka
// used before it let followers answer reads. Up to Kafka 4.1.
error_codes! {
    UNKNOWN_SERVER_ERROR = -1, "unknown_server_error";
    NO_ERROR = 0, "no_error";
    OFFSET_OUT_OF_RANGE = 1, "offset_out_of_range";
    CORRUPT_MESSAGE = 2, "corrupt_message";
    UNKNOWN_TOPIC_OR_PARTITION = 3, "unknown_topic_or_partition";
    INVALID_FETCH_SIZE = 4, "invalid_fetch_size";
    LEADER_NOT_AVAILABLE = 5, "leader_not_available";
    NOT_LEADER_FOR_PARTITION = 6, "not_leader_for_partition";
    REQUEST_TIMED_OUT = 7, "request_timed_out";
    BROKER_NOT_AVAILABLE = 8, "broker_not_available";
    REPLICA_NOT_AVAILABLE = 9, "replica_not_available";
    MESSAGE_TOO_LARGE = 10, "message_too_large";
    STALE_CONTROLLER_EPOCH = 11, "stale_controller_epoch";
    OFFSET_METADATA_TOO_LARGE = 12, "offset_metadata_too_large";
    NETWORK_EXCEPTION = 13, "network_exception";
    COORDINATOR_LOAD_IN_PROGRESS = 14, "coordinator_load_in_progress";
    COORDINATOR_NOT_AVAILABLE = 15, "coordinator_not_available";
    NOT_COORDINATOR = 16, "not_coordinator";
    INVALID_TOPIC_EXCEPTION = 17, "invalid_topic_exception";
    RECORD_LIST_TOO_LARGE = 18, "record_list_too_large";
    NOT_ENOUGH_REPLICAS = 19, "not_enough_replicas";
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20, "not_enough_replicas_after_append";
    INVALID_REQUIRED_ACKS = 21, "invalid_required_acks";
    ILLEGAL_GENERATION = 22, "illegal_generation";
    INCONSISTENT_GROUP_PROTOCOL = 23, "inconsistent_group_protocol";
    INVALID_GROUP_ID = 24, "invalid_group_id";
    UNKNOWN_MEMBER_ID = 25, "unknown_member_id";
    INVALID_SESSION_TIMEOUT = 26, "invalid_session_timeout";
    REBALANCE_IN_PROGRESS = 27, "rebalance_in_progress";
    INVALID_COMMIT_OFFSET_SIZE = 28, "invalid_commit_offset_size";
    TOPIC_AUTHORIZATION_FAILED = 29, "topic_authorization_failed";
    GROUP_AUTHORIZATION_FAILED = 30, "group_authorization_failed";
    CLUSTER_AUTHORIZATION_FAILED = 31, "cluster_authorization_failed";
    INVALID_TIMESTAMP = 32, "invalid_timestamp";
    UNSUPPORTED_SASL_MECHANISM = 33, "unsupported_sasl_mechanism";
    ILLEGAL_SASL_STATE = 34, "illegal_sasl_state";
    UNSUPPORTED_VERSION = 35, "unsupported_version";
    TOPIC_ALREADY_EXISTS = 36, "topic_already_exists";
    INVALID_PARTITIONS = 37, "invalid_partitions";
    INVALID_REPLICATION_FACTOR = 38, "invalid_replication_factor";
    INVALID_REPLICA_ASSIGNMENT = 39, "invalid_replica_assignment";
    INVALID_CONFIG = 40, "invalid_config";
    NOT_CONTROLLER = 41, "not_controller";
    INVALID_REQUEST = 42, "invalid_request";
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43, "unsupported_for_message_format";
    POLICY_VIOLATION = 44, "policy_violation";
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45, "out_of_order_sequence_number";
    DUPLICATE_SEQUENCE_NUMBER = 46, "duplicate_sequence_number";
    INVALID_PRODUCER_EPOCH = 47, "invalid_producer_epoch";
    INVALID_TXN_STATE = 48, "invalid_txn_state";
    INVALID_PRODUCER_ID_MAPPING = 49, "invalid_producer_id_mapping";
    INVALID_TRANSACTION_TIMEOUT = 50, "invalid_transaction_timeout";
    CONCURRENT_TRANSACTIONS = 51, "concurrent_transactions";
    TRANSACTION_COORDINATOR_FENCED = 52, "transaction_coordinator_fenced";
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53, "transactional_id_authorization_failed";
    SECURITY_DISABLED = 54, "security_disabled";
    OPERATION_NOT_ATTEMPTED = 55, "operation_not_attempted";
    KAFKA_STORAGE_ERROR = 56, "kafka_storage_error";
    LOG_DIR_NOT_FOUND = 57, "log_dir_not_found";
    SASL_AUTHENTICATION_FAILED = 58, "sasl_authentication_failed";
    UNKNOWN_PRODUCER_ID = 59, "unknown_producer_id";
    REASSIGNMENT_IN_PROGRESS = 60, "reassignment_in_progress";
    DELEGATION_TOKEN_AUTH_DISABLED = 61, "delegation_token_auth_disabled";
    DELEGATION_TOKEN_NOT_FOUND = 62, "delegation_token_not_found";
    DELEGATION_TOKEN_OWNER_MISMATCH = 63, "delegation_token_owner_mismatch";
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64, "delegation_token_request_not_allowed";
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65, "delegation_token_authorization_failed";
    DELEGATION_TOKEN_EXPIRED = 66, "delegation_token_expired";
    INVALID_PRINCIPAL_TYPE = 67, "invalid_principal_type";
    NON_EMPTY_GROUP = 68, "non_empty_group";
    GROUP_ID_NOT_FOUND = 69, "group_id_not_found";
    FETCH_SESSION_ID_NOT_FOUND = 70, "fetch_session_id_not_found";
    INVALID_FETCH_SESSION_EPOCH = 71, "invalid_fetch_session_epoch";
    LISTENER_NOT_FOUND = 72, "listener_not_found";
    TOPIC_DELETION_DISABLED = 73, "topic_deletion_disabled";
    FENCED_LEADER_EPOCH = 74, "fenced_leader_epoch";
    UNKNOWN_LEADER_EPOCH = 75, "unknown_leader_epoch";
    UNSUPPORTED_COMPRESSION_TYPE = 76, "unsupported_compression_type";
    STALE_BROKER_EPOCH = 77, "stale_broker_epoch";
    OFFSET_NOT_AVAILABLE = 78, "offset_not_available";
    MEMBER_ID_REQUIRED = 79, "member_id_required";
    PREFERRED_LEADER_NOT_AVAILABLE = 80, "preferred_leader_not_available";
    GROUP_MAX_SIZE_REACHED = 81, "group_max_size_reached";
    FENCED_INSTANCE_ID = 82, "fenced_instance_id";
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, "eligible_leaders_not_available";
    ELECTION_NOT_NEEDED = 84, "election_not_needed";
    NO_REASSIGNMENT_IN_PROGRESS = 85, "no_reassignment_in_progress";
    GROUP_SUBSCRIBED_TO_TOPIC = 86, "group_subscribed_to_topic";
    INVALID_RECORD = 87, "invalid_record";
    UNSTABLE_OFFSET_COMMIT = 88, "unstable_offset_commit";
    THROTTLING_QUOTA_EXCEEDED = 89, "throttling_quota_exceeded";
    PRODUCER_FENCED = 90, "producer_fenced";
    RESOURCE_NOT_FOUND = 91, "resource_not_found";
    DUPLICATE_RESOURCE = 92, "duplicate_resource";
    UNACCEPTABLE_CREDENTIAL = 93, "unacceptable_credential";
    INCONSISTENT_VOTER_SET = 94, "inconsistent_voter_set";
    INVALID_UPDATE_VERSION = 95, "invalid_update_version";
    FEATURE_UPDATE_FAILED = 96, "feature_update_failed";
    PRINCIPAL_DESERIALIZATION_FAILURE = 97, "principal_deserialization_failure";
    SNAPSHOT_NOT_FOUND = 98, "snapshot_not_found";
    POSITION_OUT_OF_RANGE = 99, "position_out_of_range";
    UNKNOWN_TOPIC_ID = 100, "unknown_topic_id";
    DUPLICATE_BROKER_REGISTRATION = 101, "duplicate_broker_registration";
    BROKER_ID_NOT_REGISTERED = 102, "broker_id_not_registered";
    INCONSISTENT_TOPIC_ID = 103, "inconsistent_topic_id";
    INCONSISTENT_CLUSTER_ID = 104, "inconsistent_cluster_id";
    TRANSACTIONAL_ID_NOT_FOUND = 105, "transactional_id_not_found";
    FETCH_SESSION_TOPIC_ID_ERROR = 106, "fetch_session_topic_id_error";
    INELIGIBLE_REPLICA = 107, "ineligible_replica";
    NEW_LEADER_ELECTED = 108, "new_leader_elected";
    OFFSET_MOVED_TO_TIERED_STORAGE = 109, "offset_moved_to_tiered_storage";
    FENCED_MEMBER_EPOCH = 110, "fenced_member_epoch";
    UNRELEASED_INSTANCE_ID = 111, "unreleased_instance_id";
    UNSUPPORTED_ASSIGNOR = 112, "unsupported_assignor";
    STALE_MEMBER_EPOCH = 113, "stale_member_epoch";
    MISMATCHED_ENDPOINT_TYPE = 114, "mismatched_endpoint_type";
    UNSUPPORTED_ENDPOINT_TYPE = 115, "unsupported_endpoint_type";
    UNKNOWN_CONTROLLER_ID = 116, "unknown_controller_id";
    UNKNOWN_SUBSCRIPTION_ID = 117, "unknown_subscription_id";
    TELEMETRY_TOO_LARGE = 118, "telemetry_too_large";
    INVALID_REGISTRATION = 119, "invalid_registration";
    TRANSACTION_ABORTABLE = 120, "transaction_abortable";
    INVALID_RECORD_STATE = 121, "invalid_record_state";
    SHARE_SESSION_NOT_FOUND = 122, "share_session_not_found";
    INVALID_SHARE_SESSION_EPOCH = 123, "invalid_share_session_epoch";
    FENCED_STATE_EPOCH = 124, "fenced_state_epoch";
    INVALID_VOTER_KEY = 125, "invalid_voter_key";
    DUPLICATE_VOTER = 126, "duplicate_voter";
    VOTER_NOT_FOUND = 127, "voter_not_found";
    INVALID_REGULAR_EXPRESSION = 128, "invalid_regular_expression";
    REBOOTSTRAP_REQUIRED = 129, "rebootstrap_required";
    STREAMS_INVALID_TOPOLOGY = 130, "streams_invalid_topology";
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131, "streams_invalid_topology_epoch";
    STREAMS_TOPOLOGY_FENCED = 132, "streams_topology_fenced";
    SHARE_SESSION_LIMIT_REACHED = 133, "share_session_limit_reached";
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::ResponseError;

    #[test]
    fn names_that_users_match() {
        for (code, expected) in [
            (-1, "unknown_server_error"),
            (0, "no_error"),
            (1, "offset_out_of_range"),
            (3, "unknown_topic_or_partition"),
            (5, "leader_not_available"),
            (6, "not_leader_for_partition"),
            (10, "message_too_large"),
            (17, "invalid_topic_exception"),
            (27, "rebalance_in_progress"),
            (36, "topic_already_exists"),
            (58, "sasl_authentication_failed"),
            (89, "throttling_quota_exceeded"),
            (90, "producer_fenced"),
            (100, "unknown_topic_id"),
            (133, "share_session_limit_reached"),
        ] {
            assert_eq!(name(code), Some(expected));
        }
        assert_eq!(name(-2), None);
        assert_eq!(name(i16::MAX), None);
    }

    #[test]
    fn every_code_of_the_message_crate_has_a_name() {
        for code in -1..=i16::MAX {
            let known = !matches!(
                ResponseError::try_from_code(code),
                Some(ResponseError::Unknown(_))
            );
            assert!(name(code).is_some() || !known, "code {code}");
        }
    }

    #[test]
    fn shows_itself() {
        assert!(ErrorCode::NO_ERROR.is_ok());
        assert!(!ErrorCode::REQUEST_TIMED_OUT.is_ok());
        assert_eq!(ErrorCode(7).to_string(), "request_timed_out");
        assert_eq!(ErrorCode(999).to_string(), "unknown error code 999");
    }
}
