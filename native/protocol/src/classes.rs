//! What an error code means for whoever asked. Every list of codes stands here, side by side: where two
//! of them differ, they differ on purpose, and the name says for whom.

use super::error::ErrorCode;

macro_rules! one_of {
    ($code:expr, $($name:ident),* $(,)?) => {
        matches!($code, $(ErrorCode::$name)|*)
    };
}

impl ErrorCode {
    /// Whether Kafka's protocol guide calls the error retriable: the same request may succeed later,
    /// perhaps at another broker. Whether and how long it is worth waiting depends on who asks; see the
    /// predicates below.
    pub const fn is_retriable(self) -> bool {
        (self.is_partition_unsettled() && !one_of!(self, BROKER_NOT_AVAILABLE))
            || self.is_coordinator_change()
            || self.is_fetch_session_lost()
            || one_of!(
                self,
                CORRUPT_MESSAGE,
                UNKNOWN_TOPIC_OR_PARTITION,
                REQUEST_TIMED_OUT,
                COORDINATOR_LOAD_IN_PROGRESS,
                NOT_ENOUGH_REPLICAS,
                NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                NOT_CONTROLLER,
                CONCURRENT_TRANSACTIONS,
                LISTENER_NOT_FOUND,
                PREFERRED_LEADER_NOT_AVAILABLE,
                ELIGIBLE_LEADERS_NOT_AVAILABLE,
                ELECTION_NOT_NEEDED,
                UNSTABLE_OFFSET_COMMIT,
                THROTTLING_QUOTA_EXCEEDED,
                UNKNOWN_TOPIC_ID,
                INCONSISTENT_TOPIC_ID,
                SHARE_SESSION_NOT_FOUND,
                INVALID_SHARE_SESSION_EPOCH,
                SHARE_SESSION_LIMIT_REACHED,
            )
    }

    /// A broker refuses records for what they are (KIP-467): others of the same producer are no worse. Before Kafka 0.11 those
    /// with headers are.
    pub const fn is_of_the_records(self) -> bool {
        one_of!(
            self,
            MESSAGE_TOO_LARGE,
            RECORD_LIST_TOO_LARGE,
            INVALID_RECORD,
            INVALID_TIMESTAMP,
            UNSUPPORTED_FOR_MESSAGE_FORMAT,
        )
    }

    /// Another broker leads the partition, or soon will (KIP-320). A producer that waits for a leader
    /// does not use up an attempt.
    pub const fn is_leader_change(self) -> bool {
        one_of!(
            self,
            LEADER_NOT_AVAILABLE,
            NOT_LEADER_FOR_PARTITION,
            FENCED_LEADER_EPOCH,
            UNKNOWN_LEADER_EPOCH,
        )
    }

    /// What is known of the partition's leader may be outdated: fresh metadata is to be asked for. More
    /// than [`is_leader_change`](Self::is_leader_change): a broker that lost the partition or the disk
    /// below it says nothing of who leads.
    pub const fn is_leader_in_doubt(self) -> bool {
        self.is_leader_change() || one_of!(self, UNKNOWN_TOPIC_OR_PARTITION, KAFKA_STORAGE_ERROR)
    }

    /// The partition's replicas move, are elected or recover: the cluster gets over it without anybody.
    pub const fn is_partition_unsettled(self) -> bool {
        self.is_leader_change()
            || one_of!(
                self,
                REPLICA_NOT_AVAILABLE,
                BROKER_NOT_AVAILABLE,
                NETWORK_EXCEPTION,
                KAFKA_STORAGE_ERROR,
                OFFSET_NOT_AVAILABLE,
            )
    }

    /// A subscription waits through it, for as long as it takes. A topic that is unknown counts: what
    /// was subscribed to existed, and may again. So does a fetch session that is lost as soon as it is begun.
    pub const fn is_retriable_for_consumer(self) -> bool {
        self.is_partition_unsettled()
            || self.is_fetch_session_lost()
            || one_of!(
                self,
                REQUEST_TIMED_OUT,
                UNKNOWN_TOPIC_OR_PARTITION,
                UNKNOWN_TOPIC_ID,
                INCONSISTENT_TOPIC_ID,
                THROTTLING_QUOTA_EXCEEDED,
            )
    }

    /// A single question is asked again after it. Not after `request_timed_out`, which came late
    /// enough, and not for long after `unknown_topic_or_partition`: its caller may have misspelt it.
    pub const fn is_retriable_for_query(self) -> bool {
        self.is_partition_unsettled()
            || self.is_coordinator_change()
            || one_of!(
                self,
                COORDINATOR_LOAD_IN_PROGRESS,
                NOT_CONTROLLER,
                THROTTLING_QUOTA_EXCEEDED,
            )
    }

    /// A batch is sent again after it: the codes after which brod does, and those that newer brokers
    /// send in their place.
    pub const fn is_retriable_for_producer(self) -> bool {
        self.is_leader_in_doubt()
            || one_of!(
                self,
                REQUEST_TIMED_OUT,
                NETWORK_EXCEPTION,
                NOT_ENOUGH_REPLICAS,
                NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                OUT_OF_ORDER_SEQUENCE_NUMBER,
                CONCURRENT_TRANSACTIONS,
            )
    }

    /// Of those: the broker leads the partition and takes nothing for it, until somebody sees to the cluster.
    pub const fn is_refused_for_now(self) -> bool {
        one_of!(
            self,
            REQUEST_TIMED_OUT,
            NOT_ENOUGH_REPLICAS,
            NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            KAFKA_STORAGE_ERROR,
        )
    }

    /// Another broker coordinates the group or the transactional id, or soon will.
    pub const fn is_coordinator_change(self) -> bool {
        one_of!(self, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR)
    }

    /// A group member looks for its coordinator again.
    pub const fn is_coordinator_in_doubt(self) -> bool {
        self.is_coordinator_change() || one_of!(self, BROKER_NOT_AVAILABLE, NETWORK_EXCEPTION)
    }

    /// The group's coordinator is the right one, and asked again it may have got further. Kafka's own never speak of their
    /// storage; WarpStream's say nothing else when they want to be asked again.
    pub const fn is_coordinator_busy(self) -> bool {
        one_of!(
            self,
            COORDINATOR_LOAD_IN_PROGRESS,
            REBALANCE_IN_PROGRESS,
            UNSTABLE_OFFSET_COMMIT,
            REQUEST_TIMED_OUT,
            KAFKA_STORAGE_ERROR,
        )
    }

    /// The group goes on without this member, whatever it does: it is out, or replaced (KIP-345).
    pub const fn is_membership_lost(self) -> bool {
        one_of!(
            self,
            ILLEGAL_GENERATION,
            UNKNOWN_MEMBER_ID,
            FENCED_INSTANCE_ID
        )
    }

    /// Brokers put it on every partition of a commit because it is about the member or the group.
    pub const fn concerns_group(self) -> bool {
        self.is_coordinator_change()
            || self.is_membership_lost()
            || one_of!(
                self,
                COORDINATOR_LOAD_IN_PROGRESS,
                REBALANCE_IN_PROGRESS,
                INVALID_GROUP_ID,
                GROUP_AUTHORIZATION_FAILED,
            )
    }

    /// The broker has forgotten the fetch session (KIP-227); a full request begins another one.
    pub const fn is_fetch_session_lost(self) -> bool {
        one_of!(
            self,
            FETCH_SESSION_ID_NOT_FOUND,
            INVALID_FETCH_SESSION_EPOCH,
            FETCH_SESSION_TOPIC_ID_ERROR,
        )
    }

    /// The topic in the metadata will not be there however long one waits.
    pub const fn is_topic_refused(self) -> bool {
        one_of!(self, TOPIC_AUTHORIZATION_FAILED, INVALID_TOPIC_EXCEPTION)
    }

    /// The cluster gives no producer id to this client, today or later: any answer but those that pass. Kafka refuses who lacks
    /// a permission; services that are not Kafka may not know idempotence, whatever they say of the versions that they speak.
    pub const fn is_producer_id_refused(self) -> bool {
        !self.is_ok()
            && !self.is_retriable()
            && !one_of!(self, UNKNOWN_SERVER_ERROR, BROKER_NOT_AVAILABLE)
    }

    /// The broker's idea of a producer's sequence numbers is another one (KIP-98): the partition goes
    /// on under a new producer id.
    pub const fn is_sequence_lost(self) -> bool {
        one_of!(
            self,
            OUT_OF_ORDER_SEQUENCE_NUMBER,
            UNKNOWN_PRODUCER_ID,
            INVALID_PRODUCER_EPOCH,
            INVALID_PRODUCER_ID_MAPPING,
        )
    }

    /// The batch is more than the topic takes; its halves may not be.
    pub const fn is_batch_too_large(self) -> bool {
        one_of!(self, MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE)
    }

    /// Another producer has taken over the transactional id, or the coordinator in the name of a
    /// transaction that was open for too long.
    pub const fn is_fenced_producer(self) -> bool {
        one_of!(self, PRODUCER_FENCED, INVALID_PRODUCER_EPOCH)
    }

    /// A transaction in which it comes up can be aborted, and no more (KIP-1050).
    pub const fn is_abort_only(self) -> bool {
        self.is_sequence_lost() || one_of!(self, TRANSACTION_ABORTABLE, INVALID_TXN_STATE)
    }

    /// Another producer has taken over the transactional id, or it may not be used: the producer that
    /// gets it is done for.
    pub const fn is_fatal_for_transactions(self) -> bool {
        self.is_fenced_producer()
            || one_of!(
                self,
                TRANSACTION_COORDINATOR_FENCED,
                TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                CLUSTER_AUTHORIZATION_FAILED,
                UNSUPPORTED_VERSION,
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::ResponseError;

    /// All codes that have a name.
    fn codes() -> impl Iterator<Item = ErrorCode> {
        (-1..=200)
            .filter(|code| super::super::error::name(*code).is_some())
            .map(ErrorCode)
    }

    fn named(is: impl Fn(ErrorCode) -> bool) -> Vec<&'static str> {
        codes()
            .filter(|code| is(*code))
            .map(ErrorCode::name)
            .collect()
    }

    #[test]
    fn what_kafka_calls_retriable_is() {
        // The message crate's table is Kafka's own; it ends before the newest codes.
        let mut differ = Vec::new();
        for code in codes() {
            let theirs = ResponseError::try_from_code(code.0);
            if matches!(theirs, None | Some(ResponseError::Unknown(_))) {
                continue;
            }
            if theirs.is_some_and(|error| error.is_retriable()) != code.is_retriable() {
                differ.push(code.name());
            }
        }
        // Retriable since Kafka 3; the crate has the older word.
        assert_eq!(differ, ["concurrent_transactions"]);
    }

    #[test]
    fn success_is_in_no_class() {
        let ok = ErrorCode::NO_ERROR;
        assert!(!ok.is_retriable());
        assert!(!ok.is_retriable_for_consumer() && !ok.is_retriable_for_producer());
        assert!(!ok.concerns_group() && !ok.is_fatal_for_transactions());
    }

    #[test]
    fn who_waits_through_what() {
        let consumer = named(ErrorCode::is_retriable_for_consumer);
        let query = named(ErrorCode::is_retriable_for_query);
        let producer = named(ErrorCode::is_retriable_for_producer);
        assert_eq!(
            consumer,
            [
                "unknown_topic_or_partition",
                "leader_not_available",
                "not_leader_for_partition",
                "request_timed_out",
                "broker_not_available",
                "replica_not_available",
                "network_exception",
                "kafka_storage_error",
                "fetch_session_id_not_found",
                "invalid_fetch_session_epoch",
                "fenced_leader_epoch",
                "unknown_leader_epoch",
                "offset_not_available",
                "throttling_quota_exceeded",
                "unknown_topic_id",
                "inconsistent_topic_id",
                "fetch_session_topic_id_error",
            ]
        );
        assert_eq!(
            query,
            [
                "leader_not_available",
                "not_leader_for_partition",
                "broker_not_available",
                "replica_not_available",
                "network_exception",
                "coordinator_load_in_progress",
                "coordinator_not_available",
                "not_coordinator",
                "not_controller",
                "kafka_storage_error",
                "fenced_leader_epoch",
                "unknown_leader_epoch",
                "offset_not_available",
                "throttling_quota_exceeded",
            ]
        );
        assert_eq!(
            producer,
            [
                "unknown_topic_or_partition",
                "leader_not_available",
                "not_leader_for_partition",
                "request_timed_out",
                "network_exception",
                "not_enough_replicas",
                "not_enough_replicas_after_append",
                "out_of_order_sequence_number",
                "concurrent_transactions",
                "kafka_storage_error",
                "fenced_leader_epoch",
                "unknown_leader_epoch",
            ]
        );
    }

    #[test]
    fn producer_ids_are_asked_for_again_after_what_passes() {
        let passes = [
            ErrorCode::NO_ERROR,
            ErrorCode::UNKNOWN_SERVER_ERROR,
            ErrorCode::BROKER_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::REQUEST_TIMED_OUT,
        ];
        assert!(!passes.iter().any(|code| code.is_producer_id_refused()));
        let lasts = [
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            ErrorCode::UNSUPPORTED_VERSION,
            ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
            ErrorCode::INVALID_REQUEST,
        ];
        assert!(lasts.iter().all(|code| code.is_producer_id_refused()));
    }

    #[test]
    fn what_ends_a_membership_ends_a_commit() {
        for code in codes() {
            assert!(!code.is_membership_lost() || code.concerns_group());
            assert!(!code.is_coordinator_change() || code.is_coordinator_in_doubt());
        }
    }
}
