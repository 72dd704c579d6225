//! What tells a topic from a later one of the same name (KIP-516).

use uuid::Uuid;

/// The id of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId([u8; 16]);

impl TopicId {
    /// None for the id that stands for "unknown".
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(TopicId(bytes))
    }

    /// As it stands on the wire.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(super) fn of(id: Uuid) -> Option<Self> {
        TopicId::new(id.into_bytes())
    }

    /// In fields of messages; nil where it is not known.
    pub(super) fn on_wire(id: Option<TopicId>) -> Uuid {
        id.map_or(Uuid::nil(), |id| Uuid::from_bytes(id.0))
    }
}
