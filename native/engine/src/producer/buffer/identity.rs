//! Under which producer id batches go, and in which transaction.

use super::{Buffer, Identity};
use crate::producer::acks::Acks;
use crate::producer::transaction::Membership;
use brod_protocol::api::init_producer_id::ProducerId;

impl<A: Acks> Buffer<A> {
    /// Takes in a producer id, or that there is none to be had.
    pub(crate) fn set_identity(&mut self, identity: Option<ProducerId>) {
        self.identity = identity.map_or(Identity::Off, Identity::Is);
        self.is_introduced = false;
        self.forget_sequences();
        self.held_no_more();
    }

    /// The topic has been deleted and made again: its brokers know nothing of this producer. What is not
    /// in flight goes under another producer id.
    pub(crate) fn topic_made_again(&mut self) {
        if matches!(self.identity, Identity::Is(_)) && self.membership == Membership::Unneeded {
            self.renew_from = Some(0);
        }
    }

    /// The timer was for the case that this does not happen.
    fn held_no_more(&mut self) {
        if self.timer.take().is_some() {
            self.queued = false;
        }
    }

    /// A transaction begins. Sequence numbers go on, unless it has another producer id or epoch.
    pub(crate) fn begin(&mut self, producer: ProducerId) {
        self.membership = Membership::Gathering;
        self.is_last = false;
        if self.identity != Identity::Is(producer) {
            // Of an id that it knows a broker takes sequence number 0 first in a new epoch.
            let is_known =
                matches!(self.identity, Identity::Is(former) if former.id == producer.id);
            self.is_introduced &= is_known;
            self.identity = Identity::Is(producer);
            self.forget_sequences();
        }
        self.renew_from = None;
        self.held_no_more();
    }

    /// What was gathered is to be sent, and what comes goes out at once. True: there is something, and the partition
    /// waits to be added to the transaction.
    pub(crate) fn release(&mut self) -> bool {
        if self.membership != Membership::Gathering {
            return false;
        }
        let has_gathered = !self.queued && self.next().is_some();
        self.membership = match has_gathered {
            true => Membership::Joining,
            // What is queued asks by itself.
            false => Membership::Outside,
        };
        has_gathered
    }

    /// The transaction takes no more records: what there is does not linger.
    pub(crate) fn hasten(&mut self) {
        self.is_last = true;
    }

    /// The partition is part of the transaction.
    pub(crate) fn joined(&mut self) {
        if self.membership == Membership::Joining {
            self.membership = Membership::Inside;
            self.held_no_more();
        }
    }

    /// What comes waits for the next transaction.
    pub(crate) fn transaction_ended(&mut self) {
        self.membership = Membership::Idle;
    }

    /// A producer id has been asked for before there was anything to send, if one is needed.
    pub(crate) fn identity_asked(&mut self) {
        if self.identity == Identity::Needed {
            self.identity = Identity::Pending;
        }
    }

    pub(super) fn forget_sequences(&mut self) {
        self.next_sequence = 0;
        for batch in &mut self.ready {
            batch.sequence = None;
        }
    }
}
