//! What members of a group tell each other through the broker.

use brod_protocol::consumer_protocol::{Assignment, Subscription};
use bytes::Bytes;
use kafka_protocol::messages::JoinGroupResponse;

/// All of the input, as each of the two.
pub fn run(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(read) = Subscription::decode(bytes.clone()) {
        let again =
            Subscription::encode(&read.topics, &read.user_data).expect("it was short enough");
        let again = Subscription::decode(again).expect("what we write");
        assert_eq!(
            (again.topics, again.user_data),
            (read.topics, read.user_data)
        );
    }
    if let Ok(read) = Assignment::decode(bytes) {
        let again =
            Assignment::encode(&read.partitions, &read.grown_from).expect("it was short enough");
        assert_eq!(Assignment::decode(again), Ok(read));
    }
}

/// The subscriptions that the leader of a group is shown.
pub(crate) fn in_join(response: &JoinGroupResponse) {
    for member in &response.members {
        run(&member.metadata);
    }
}
