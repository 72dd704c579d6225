//! Who asks, in the requests of the group protocol.

use kafka_protocol::protocol::StrBytes;

use super::{text, ApiError};
use crate::error::ErrorCode;

/// A member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership<'a> {
    /// The group.
    pub group_id: &'a str,
    /// Of a static member (KIP-345).
    pub instance_id: Option<&'a str>,
    /// Given by the broker; empty before.
    pub member_id: &'a str,
    /// Of the group; -1 outside of any.
    pub generation: i32,
}

impl Membership<'_> {
    /// The group instance id in a version that may be too old for it. A static member that a broker
    /// takes for a dynamic one would be a silent surprise.
    pub(super) fn instance_id(
        &self,
        version: i16,
        since: i16,
    ) -> Result<Option<StrBytes>, ApiError> {
        match self.instance_id {
            Some(_) if version < since => Err(ErrorCode::UNSUPPORTED_VERSION.into()),
            id => Ok(id.map(text)),
        }
    }
}
