//! What members tell each other through the broker, in the `consumer` protocol type: their
//! subscriptions and assignments, and how large topics were when the group came to them.
//!
//! Read here and not with the message crate because these bytes come from other clients: lengths
//! are checked before anything is allocated, and versions that are newer only add fields behind.

use std::collections::{BTreeMap, HashSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::api::TopicPartitions;
use super::WireError;

/// The protocol type of consumer groups.
pub const PROTOCOL_TYPE: &str = "consumer";

const VERSION: i16 = 0;

/// What a member asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Version of the bytes that it came in.
    pub version: i16,
    /// Topics it wants to consume.
    pub topics: Vec<String>,
    /// For the assignor alone.
    pub user_data: Bytes,
}

/// The bytes are not what the protocol type promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Subscription {
    /// As sent with JoinGroup.
    ///
    /// An error is a text or a list that is longer than its length can say.
    pub fn encode(topics: &[String], user_data: &[u8]) -> Result<Bytes, WireError> {
        let mut buf = BytesMut::new();
        buf.put_i16(VERSION);
        put_count(&mut buf, "list of topics", topics.len())?;
        for topic in topics {
            put_string(&mut buf, topic)?;
        }
        put_bytes(&mut buf, "user data", user_data)?;
        Ok(buf.freeze())
    }

    /// As another member sent it.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let version = get_i16(&mut bytes)?;
        let count = get_count(&mut bytes, 2)?;
        let topics = (0..count)
            .map(|_| get_string(&mut bytes))
            .collect::<Result<_, _>>()?;
        let user_data = get_bytes(&mut bytes)?;
        Ok(Subscription {
            version,
            topics,
            user_data,
        })
    }
}

/// What a leader gives a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// What the member is to consume.
    pub partitions: TopicPartitions,
    /// Of topics that have grown: how many partitions they had when the group came to them. Whoever joins
    /// in the rebalance that first shares out a partition cannot know that it is new. Stands in the user
    /// data, which is the assignor's; members of other clients pass over it.
    pub grown_from: BTreeMap<String, i32>,
}

/// Tells [`Assignment::grown_from`] from what leaders of other clients put into the user data.
const GROWN_FROM: &[u8] = b"brod grown from 0";

impl Assignment {
    /// As sent with SyncGroup. Errors: see [`Subscription::encode`].
    pub fn encode(
        partitions: &TopicPartitions,
        grown_from: &BTreeMap<String, i32>,
    ) -> Result<Bytes, WireError> {
        let mut buf = BytesMut::new();
        buf.put_i16(VERSION);
        put_count(&mut buf, "list of topics", partitions.len())?;
        for (topic, numbers) in partitions {
            put_string(&mut buf, topic)?;
            put_count(&mut buf, "list of partitions", numbers.len())?;
            for number in numbers {
                buf.put_i32(*number);
            }
        }
        let mut user_data = BytesMut::new();
        if !grown_from.is_empty() {
            user_data.put_slice(GROWN_FROM);
            put_count(&mut user_data, "list of topics", grown_from.len())?;
        }
        for (topic, count) in grown_from {
            put_string(&mut user_data, topic)?;
            user_data.put_i32(*count);
        }
        put_bytes(&mut buf, "user data", &user_data)?;
        Ok(buf.freeze())
    }

    /// As the leader sent it; no bytes at all are no partitions.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Ok(Assignment::default());
        }
        let _version = get_i16(&mut bytes)?;
        let count = get_count(&mut bytes, 6)?;
        let partitions = (0..count)
            .map(|_| {
                let topic = get_string(&mut bytes)?;
                let count = get_count(&mut bytes, 4)?;
                let numbers = (0..count)
                    .map(|_| get_i32(&mut bytes))
                    .collect::<Result<_, _>>()?;
                Ok((topic, numbers))
            })
            .collect::<Result<_, _>>()?;
        let user_data = get_bytes(&mut bytes).unwrap_or_default();
        Ok(Assignment {
            partitions: each_once(partitions),
            grown_from: grown_from(user_data).unwrap_or_default(),
        })
    }
}

/// A leader, or the callback that shares out for it, may name a partition twice. Brokers answer to each
/// once, and a member would wait for the second answer.
fn each_once(mut partitions: TopicPartitions) -> TopicPartitions {
    let mut topics: BTreeMap<String, HashSet<i32>> = BTreeMap::new();
    for (topic, numbers) in &mut partitions {
        let seen = topics.entry(topic.clone()).or_default();
        numbers.retain(|number| seen.insert(*number));
    }
    partitions.retain(|(_, numbers)| !numbers.is_empty());
    partitions
}

fn grown_from(mut user_data: Bytes) -> Result<BTreeMap<String, i32>, Malformed> {
    if get_slice(&mut user_data, GROWN_FROM.len())? != GROWN_FROM {
        return Err(Malformed);
    }
    let count = get_count(&mut user_data, 6)?;
    (0..count)
        .map(|_| Ok((get_string(&mut user_data)?, get_i32(&mut user_data)?.max(0))))
        .collect()
}

fn put_string(buf: &mut BytesMut, text: &str) -> Result<(), WireError> {
    let length = i16::try_from(text.len()).map_err(|_| too_long("topic name", text.len()))?;
    buf.put_i16(length);
    buf.put_slice(text.as_bytes());
    Ok(())
}

fn put_bytes(buf: &mut BytesMut, what: &'static str, bytes: &[u8]) -> Result<(), WireError> {
    put_count(buf, what, bytes.len())?;
    buf.put_slice(bytes);
    Ok(())
}

fn put_count(buf: &mut BytesMut, what: &'static str, count: usize) -> Result<(), WireError> {
    buf.put_i32(i32::try_from(count).map_err(|_| too_long(what, count))?);
    Ok(())
}

fn too_long(what: &'static str, length: usize) -> WireError {
    WireError::TooLong { what, length }
}

fn get_i16(buf: &mut Bytes) -> Result<i16, Malformed> {
    buf.try_get_i16().map_err(|_| Malformed)
}

fn get_i32(buf: &mut Bytes) -> Result<i32, Malformed> {
    buf.try_get_i32().map_err(|_| Malformed)
}

/// The length of an array whose elements take at least `element` bytes each.
fn get_count(buf: &mut Bytes, element: usize) -> Result<usize, Malformed> {
    let count = usize::try_from(get_i32(buf)?.max(0)).map_err(|_| Malformed)?;
    if count > buf.remaining() / element {
        return Err(Malformed);
    }
    Ok(count)
}

fn get_slice(buf: &mut Bytes, size: usize) -> Result<Bytes, Malformed> {
    if size > buf.remaining() {
        return Err(Malformed);
    }
    Ok(buf.split_to(size))
}

fn get_string(buf: &mut Bytes) -> Result<String, Malformed> {
    let size = usize::try_from(get_i16(buf)?).map_err(|_| Malformed)?;
    let bytes = get_slice(buf, size)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

/// Null reads as empty.
fn get_bytes(buf: &mut Bytes) -> Result<Bytes, Malformed> {
    let size = usize::try_from(get_i32(buf)?.max(0)).map_err(|_| Malformed)?;
    get_slice(buf, size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition;
    use kafka_protocol::messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName,
    };
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
    use proptest::prelude::*;

    #[test]
    fn subscription_reads_as_another_implementation_reads_it() {
        let mut bytes = Subscription::encode(&["a".into(), "b".into()], b"mine").unwrap();
        assert_eq!(bytes.get_i16(), 0);
        let read = ConsumerProtocolSubscription::decode(&mut bytes, 0).unwrap();
        assert!(bytes.is_empty());
        assert_eq!(read.topics, ["a".into(), StrBytes::from("b".to_string())]);
        assert_eq!(read.user_data.as_deref(), Some(&b"mine"[..]));
    }

    #[test]
    fn newer_versions_of_a_subscription_are_read() {
        for version in 0..=3 {
            let owned = TopicPartition::default()
                .with_topic(TopicName("a".into()))
                .with_partitions(vec![1]);
            let mut subscription =
                ConsumerProtocolSubscription::default().with_topics(vec!["a".into()]);
            if version >= 1 {
                subscription = subscription.with_owned_partitions(vec![owned]);
            }
            let mut buf = BytesMut::new();
            buf.put_i16(version);
            subscription.encode(&mut buf, version).unwrap();
            let read = Subscription::decode(buf.freeze()).unwrap();
            assert_eq!(read.version, version);
            assert_eq!(read.topics, ["a"]);
            assert!(read.user_data.is_empty());
        }
    }

    #[test]
    fn assignment_reads_as_another_implementation_reads_it() {
        let partitions = vec![("a".to_string(), vec![0, 2]), ("b".to_string(), vec![1])];
        let bytes = Assignment::encode(&partitions, &BTreeMap::new()).unwrap();
        let assignment = Assignment {
            partitions,
            grown_from: BTreeMap::new(),
        };
        assert_eq!(Assignment::decode(bytes.clone()), Ok(assignment));
        let read = ConsumerProtocolAssignment::decode(&mut bytes.slice(2..), 0).unwrap();
        assert_eq!(read.assigned_partitions.len(), 2);
        assert_eq!(read.assigned_partitions[0].partitions, [0, 2]);
        assert!(read.user_data.is_none_or(|bytes| bytes.is_empty()));
        let nothing = Assignment::default();
        assert_eq!(Assignment::decode(Bytes::new()), Ok(nothing));
    }

    #[test]
    fn how_large_topics_were_reaches_members_and_is_nothing_to_those_of_other_clients() {
        let assignment = Assignment {
            partitions: vec![("a".to_string(), vec![0, 2])],
            grown_from: BTreeMap::from([("a".to_string(), 2), ("b".to_string(), 0)]),
        };
        let bytes = Assignment::encode(&assignment.partitions, &assignment.grown_from).unwrap();
        assert_eq!(Assignment::decode(bytes.clone()), Ok(assignment));
        let mut read = ConsumerProtocolAssignment::decode(&mut bytes.slice(2..), 0).unwrap();
        assert_eq!(read.assigned_partitions.len(), 1);
        for foreign in [&b"sticky"[..], b"brod grown from 1", b""] {
            read.user_data = Some(Bytes::copy_from_slice(foreign));
            let mut buf = BytesMut::new();
            buf.put_i16(0);
            read.encode(&mut buf, 0).unwrap();
            let decoded = Assignment::decode(buf.freeze()).unwrap();
            assert_eq!(decoded.partitions, [("a".to_string(), vec![0, 2])]);
            assert!(decoded.grown_from.is_empty());
        }
    }

    #[test]
    fn a_partition_that_is_given_twice_is_there_once() {
        let given = vec![
            ("a".to_string(), vec![2, 0, 2]),
            ("b".to_string(), vec![2]),
            ("a".to_string(), vec![0]),
            ("a".to_string(), vec![1, 2]),
        ];
        let bytes = Assignment::encode(&given, &BTreeMap::new()).unwrap();
        let taken = vec![
            ("a".to_string(), vec![2, 0]),
            ("b".to_string(), vec![2]),
            ("a".to_string(), vec![1]),
        ];
        assert_eq!(Assignment::decode(bytes).unwrap().partitions, taken);
    }

    #[test]
    fn a_count_that_lies_allocates_nothing() {
        let mut buf = BytesMut::new();
        buf.put_i16(0);
        buf.put_i32(i32::MAX);
        assert_eq!(Subscription::decode(buf.clone().freeze()), Err(Malformed));
        assert_eq!(Assignment::decode(buf.freeze()), Err(Malformed));
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error_and_not_another_name() {
        let longest = ["x".repeat(i16::MAX as usize)];
        let bytes = Subscription::encode(&longest, b"").unwrap();
        assert_eq!(Subscription::decode(bytes).unwrap().topics, longest);
        let longer = ["x".repeat(i16::MAX as usize + 1)];
        let error = WireError::TooLong {
            what: "topic name",
            length: 32_768,
        };
        assert_eq!(
            error.to_string(),
            "topic name is too long for the protocol: 32768"
        );
        let result = Subscription::encode(&longer, b"");
        assert_eq!(result, Err(error.clone()));
        let [name] = longer;
        let partitions = vec![(name, vec![0])];
        assert_eq!(
            Assignment::encode(&partitions, &BTreeMap::new()),
            Err(error)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let bytes = Bytes::from(bytes);
            let _ = Subscription::decode(bytes.clone());
            let _ = Assignment::decode(bytes);
        }
    }
}
