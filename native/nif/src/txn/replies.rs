//! How callers learn what became of their records, and why a transaction cannot go on, in terms.

use std::ops::Range;

use brod_engine::error::Error;
use brod_engine::net::NetError;
use brod_engine::producer::{Acks, Failure, Replies, Split};
use brod_engine::txn::Trouble;
use brod_protocol::error::ErrorCode;
use rustler::{Encoder, Env, LocalPid, Term};

use crate::acks::{ErlAcks, Target, WIDTH};
use crate::apis;
use crate::atoms;
use crate::reason;
use crate::replies::Waiter;
use crate::runtime;

/// Whom a batch's callers are, and whether some of them are told nothing.
#[derive(Default)]
pub(crate) struct TxnAcks {
    told: ErlAcks,
    has_untold: bool,
}

impl TxnAcks {
    pub(super) fn add(&mut self, target: &Target<'_>, first: u32, records: u32) {
        self.has_untold |= matches!(target, Target::Nobody);
        self.told.add(target, first, records);
    }
}

impl Acks for TxnAcks {
    type Mark = (usize, bool);

    fn mark(&self) -> Self::Mark {
        (self.told.mark(), self.has_untold)
    }

    fn rollback(&mut self, (told, has_untold): Self::Mark) {
        self.told.rollback(told);
        self.has_untold = has_untold;
    }

    fn calls(&self) -> u32 {
        Acks::calls(&self.told)
    }

    fn call_at(&self, at: u32) -> Option<Range<u32>> {
        self.told.call_at(at)
    }

    fn split(self, at: u32) -> Split<Self> {
        // Which of them have a part of the untold calls is not known.
        let has_untold = self.has_untold;
        let with = |told| TxnAcks { told, has_untold };
        let parts = self.told.split(at);
        Split {
            before: with(parts.before),
            across: parts.across.map(|(acks, records)| (with(acks), records)),
            after: with(parts.after),
        }
    }

    fn has_untold(&self) -> bool {
        self.has_untold
    }
}

/// Tells a partition's results to callers: `{brod_reply, Ref, {ok, Offset} | {error, R}}`.
pub(crate) struct TxnReplies;

impl TxnReplies {
    fn tell(&self, acks: TxnAcks, result: impl for<'a> Fn(Env<'a>, u32) -> Term<'a>) {
        let Some(targets) = acks.told.targets else {
            return;
        };
        targets.store.with(|_, terms| {
            for (index, call) in targets.calls.iter().enumerate() {
                let (target, reference) = (terms[index * WIDTH], terms[index * WIDTH + 1]);
                let Ok(pid) = target.decode::<LocalPid>() else {
                    continue;
                };
                runtime::send(&pid, |env| {
                    let reference = reference.in_env(env);
                    (atoms::brod_reply(), reference, result(env, call.first)).encode(env)
                });
            }
        });
    }
}

impl Replies for TxnReplies {
    type Acks = TxnAcks;
    type Waiter = Waiter;

    fn delivered(&self, acks: TxnAcks, base_offset: i64) {
        self.tell(acks, |env, first| {
            let offset = match base_offset {
                ..0 => -1,
                base => base + i64::from(first),
            };
            (atoms::ok(), offset).encode(env)
        });
    }

    fn flush(&self) {}

    fn failed(&self, acks: TxnAcks, why: &Failure) {
        self.tell(acks, |env, _| {
            (atoms::error(), failure(env, why)).encode(env)
        });
    }

    fn room(&self, waiters: Vec<Waiter>) {
        for waiter in waiters {
            runtime::send(&waiter.pid, |env| {
                (atoms::brod_room(), waiter.id).encode(env)
            });
        }
    }

    fn sent(&self, _records: u32, _payload: usize) {}

    // Whoever produces next learns it.
    fn stopped(&self, _why: &Failure) {}
}

/// As brod's users know it: fenced producers hear of an epoch, whatever newer brokers call it.
fn code(env: Env<'_>, code: ErrorCode) -> Term<'_> {
    match code {
        ErrorCode::PRODUCER_FENCED => reason::code(env, ErrorCode::INVALID_PRODUCER_EPOCH),
        code => reason::code(env, code),
    }
}

/// Why records are not delivered, the `R` of `{error, R}`.
pub(super) fn failure<'a>(env: Env<'a>, why: &Failure) -> Term<'a> {
    use brod_engine::producer::Cause;
    match why {
        Failure::NotRetriable(kafka) => code(env, *kafka),
        Failure::RetriesUsedUp(Cause::Code(kafka))
        | Failure::DeliveryTimeout(Some(Cause::Code(kafka))) => code(env, *kafka),
        Failure::RetriesUsedUp(Cause::Net(error))
        | Failure::DeliveryTimeout(Some(Cause::Net(error))) => reason::net(env, error),
        Failure::DeliveryTimeout(None) => atoms::timeout().to_term(env),
        Failure::Codec(text) => (atoms::encoding_failed(), text.as_str()).encode(env),
        Failure::TransactionTimedOut => atoms::transaction_timed_out().to_term(env),
        // It was aborted, or its client is closed.
        Failure::Closed => code(env, ErrorCode::INVALID_TXN_STATE),
    }
}

/// Why a transaction cannot go on, the `R` of `{error, R}`.
pub(super) fn trouble<'a>(env: Env<'a>, why: &Trouble) -> Term<'a> {
    match why {
        Trouble::Abortable(kafka) | Trouble::Fatal(kafka) => code(env, *kafka),
        Trouble::Timeout(Some(Error::Kafka { code: kafka, .. })) => code(env, *kafka),
        Trouble::Timeout(Some(error @ Error::Unreachable(_))) => reason::error(env, error),
        Trouble::Timeout(_) => atoms::timeout().to_term(env),
        Trouble::Expired => atoms::transaction_timed_out().to_term(env),
        Trouble::Unsupported(Error::Net(NetError::UnsupportedApi { api })) => {
            let (api, range) = apis::named(env, api);
            (atoms::not_supported(), api, range).encode(env)
        }
        Trouble::Unsupported(error) => reason::error(env, error),
        Trouble::Closed => atoms::client_down().to_term(env),
    }
}
