//! A member of a group, as it has said of itself.

use bytes::Bytes;
use kafka_protocol::messages::JoinGroupRequest;
use kafka_protocol::protocol::StrBytes;

use crate::call::Millis;
use crate::group::{Asker, Ticket};

/// A member that has joined once.
#[derive(Debug, Clone)]
pub(in crate::group) struct Member {
    /// Set by the user for a static member (KIP-345).
    pub(in crate::group) instance_id: Option<StrBytes>,
    /// How its client calls itself.
    pub(in crate::group) client_id: StrBytes,
    /// Where it comes from.
    pub(in crate::group) client_host: StrBytes,
    /// Protocols that it knows, the best first, each with what it tells the leader.
    pub(in crate::group) protocols: Vec<(StrBytes, Bytes)>,
    /// What the leader gave it.
    pub(in crate::group) assignment: Bytes,
    pub(super) session_timeout: Millis,
    pub(super) rebalance_timeout: Millis,
    pub(super) expires: Millis,
    pub(super) joining: Option<Ticket>,
    pub(super) syncing: Option<Ticket>,
    pub(super) synced: bool,
}

impl Member {
    pub(super) fn new(asker: &Asker, request: &JoinGroupRequest, now: Millis) -> Member {
        let mut member = Member {
            instance_id: request.group_instance_id.clone(),
            client_id: asker.client_id.clone(),
            client_host: asker.client_host.clone(),
            protocols: Vec::new(),
            assignment: Bytes::new(),
            session_timeout: 0,
            rebalance_timeout: 0,
            expires: now,
            joining: Some(asker.ticket),
            syncing: None,
            synced: false,
        };
        member.update(request);
        member.touch(now);
        member
    }

    pub(super) fn update(&mut self, request: &JoinGroupRequest) {
        self.protocols = protocols(request);
        self.session_timeout = millis(request.session_timeout_ms);
        // Version 0 has no rebalance timeout: the session's stands for it.
        self.rebalance_timeout = match request.rebalance_timeout_ms {
            timeout if timeout > 0 => millis(timeout),
            _ => self.session_timeout,
        };
    }

    /// What it tells the leader of `protocol`.
    pub(in crate::group) fn metadata(&self, protocol: &StrBytes) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    pub(super) fn touch(&mut self, now: Millis) {
        self.expires = now + self.session_timeout;
    }

    /// Whoever waits for an answer is alive.
    pub(super) fn is_expired(&self, now: Millis) -> bool {
        self.joining.is_none() && self.syncing.is_none() && self.expires <= now
    }
}

pub(super) fn protocols(request: &JoinGroupRequest) -> Vec<(StrBytes, Bytes)> {
    let all = request.protocols.iter();
    all.map(|p| (p.name.clone(), p.metadata.clone())).collect()
}

pub(super) fn millis(timeout: i32) -> Millis {
    timeout.max(0).into()
}
