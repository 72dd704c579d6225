//! What can be wrong with the bytes of a request or response.

/// A frame, header or message that cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// What answers is not a Kafka broker.
    #[error("not a Kafka broker: {0}")]
    NotKafka(String),
    /// The broker does not offer a version of the API that this client speaks.
    #[error("the broker does not support {api} in a version that this client speaks")]
    UnsupportedApi {
        /// Name of the API, as in Kafka's protocol guide.
        api: String,
    },
    /// A frame or message that breaks the protocol.
    #[error("protocol error: {0}")]
    Malformed(String),
    /// An answer is longer than one to what was asked may be.
    #[error("the answer has {length} bytes, more than the {most} that it may have")]
    FrameTooLong {
        /// As it says.
        length: usize,
        /// See [`crate::api::longest_answer`].
        most: usize,
    },
    /// What is to be written has more bytes or elements than the protocol can say.
    #[error("{what} is too long for the protocol: {length}")]
    TooLong {
        /// Its kind.
        what: &'static str,
        /// Its length.
        length: usize,
    },
}
