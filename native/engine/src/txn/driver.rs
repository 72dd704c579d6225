//! Runs one transactional id: a task that does what the state machine wants done, and keeps its time.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::common::Common;
use super::config::OffsetsToAdd;
use super::gate::Gate;
use super::kept::Kept;
use super::link::{Caller, Command, Link};
use super::requests::Asker;
use super::state::{self, Protocol, State, Step, Told, Trouble};
use crate::cluster::{seconds, NodeId};
use crate::error::Error;
use crate::producer::Replies;
use brod_protocol::api::find_coordinator::CoordinatorKind;
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::error::ErrorCode;

/// What nobody waits for is gathered for so long: most transactions end before, and go out in one request for
/// each broker, which costs the broker one look at the transaction instead of two.
const GATHERING: Duration = Duration::from_millis(5);

/// What a question brings: the coordinator, where that was the question, or the answer.
enum Answer {
    Coordinator(Result<NodeId, Error>),
    Of(Result<state::Reply, Error>),
}

type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

pub(super) struct Driver<R: Replies> {
    common: Arc<Common>,
    state: State,
    asker: Asker,
    gate: Arc<Gate<R>>,
    link: Arc<Link>,
    commands: mpsc::UnboundedReceiver<Command>,
    coordinator: Option<NodeId>,
    producer: ProducerId,
    protocol: Protocol,
    asking: Option<Asking>,
    /// Who coordinates by now, while a batch is late.
    looking: Option<Asking>,
    begin: Option<Caller>,
    end: Option<Caller>,
    offsets: HashMap<u64, (Arc<OffsetsToAdd>, Caller)>,
    next_number: u64,
    /// Records that nobody waits for are not sent before that.
    gathers_until: Option<Instant>,
    /// The producer id is the one of the transaction before, and nothing has been written under it.
    adopted: bool,
    /// See [`Kept::renews_until`]; None where the producer id was asked for.
    renews_until: Option<Instant>,
    /// There is one: what is in flight is waited for.
    fenced: Option<ErrorCode>,
    /// When the first batches under such an id were sent.
    joined: Option<Instant>,
    /// The owner has gone: what is open is aborted.
    closing: bool,
}

impl<R: Replies> Driver<R> {
    /// A driver that has not begun.
    pub(super) fn new(
        common: Arc<Common>,
        state: State,
        asker: Asker,
        gate: Arc<Gate<R>>,
        link: Arc<Link>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Driver {
            common,
            state,
            asker,
            gate,
            link,
            commands,
            coordinator: None,
            producer: ProducerId { id: -1, epoch: -1 },
            protocol: Protocol::V1,
            asking: None,
            looking: None,
            begin: None,
            end: None,
            offsets: HashMap::new(),
            next_number: 0,
            gathers_until: None,
            adopted: false,
            renews_until: None,
            fenced: None,
            joined: None,
            closing: false,
        }
    }

    /// Serves the owner until it goes.
    pub(super) async fn run(mut self) {
        let cluster = self.common.cluster.clone();
        let closed = cluster.closed();
        loop {
            let wake_at = self.act();
            self.link.set_expires_at(self.state.expires_at());
            if self.closing && !self.state.is_open() && !self.state.awaits_idle() {
                break;
            }
            tokio::select! {
                _ = closed.cancelled() => {
                    self.state.closed();
                    self.asking = None;
                    self.tell();
                    break;
                }
                answer = answer_of(&mut self.asking), if self.asking.is_some() => {
                    self.asking = None;
                    self.answered(answer);
                }
                answer = answer_of(&mut self.looking), if self.looking.is_some() => {
                    self.looking = None;
                    if let Answer::Coordinator(Ok(node)) = answer {
                        self.coordinated_by(node);
                    }
                }
                Some(command) = self.commands.recv() => self.command(command),
                _ = self.link.settled(), if self.awaits_idle() => {}
                _ = sleep_until(wake_at.unwrap_or_else(Instant::now).into()), if wake_at.is_some() => {}
            }
            // What has come together is asked for together.
            self.take_commands();
        }
        // Who still waits for something is told now that it is over.
        self.gate.abort();
    }

    /// Does what there is to do, and says when to look again, if not before.
    fn act(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if self.gathers_until.is_some_and(|until| now >= until) {
            self.release(now);
        }
        loop {
            self.tell();
            let awaits_idle = self.awaits_idle();
            self.link.await_idle(awaits_idle);
            self.renew_if_fenced();
            if self.fenced.is_some() {
                return self.gathers_until;
            }
            let busy = awaits_idle && self.gate.is_busy();
            // A batch that fails says so before it is over, but maybe after commands were last looked for.
            if awaits_idle && !busy && self.take_commands() {
                continue;
            }
            match self.state.next(Instant::now(), busy) {
                Step::Wait(at) => {
                    return Some(self.gathers_until.map_or(at, |until| until.min(at)));
                }
                Step::Idle => {
                    if !self.tell() {
                        return self.gathers_until;
                    }
                }
                step => self.asking = Some(self.ask(step)),
            }
        }
    }

    /// True: there were some.
    fn take_commands(&mut self) -> bool {
        let mut any = false;
        while let Ok(command) = self.commands.try_recv() {
            self.command(command);
            any = true;
        }
        any
    }

    fn command(&mut self, command: Command) {
        let invalid = || Err(Trouble::Abortable(ErrorCode::INVALID_TXN_STATE));
        match command {
            Command::Begin(caller) => {
                self.adopt();
                match self.state.begin() {
                    true => self.begin = Some(caller),
                    false => caller.tell(self.gate.trouble().map_or_else(invalid, Err)),
                }
            }
            Command::Stored => {
                if let Some(joined) = self.joined.take() {
                    let mut pace = self.common.pace.lock();
                    pace.first_batch_took(joined.elapsed());
                }
            }
            Command::Add(place) => self.state.add(place, Instant::now()),
            Command::Failed(why) => self.state.failed(why, Instant::now()),
            // Of several batches, those behind the first may be told late.
            Command::Anew(producer, code) => {
                if producer == self.producer {
                    self.fenced(code);
                }
            }
            Command::Late => {
                if self.looking.is_none() {
                    self.looking = Some(self.find());
                }
            }
            Command::Refused => self.state.refused_before(),
            Command::Offsets(offsets, caller) => {
                self.next_number += 1;
                let number = self.next_number;
                self.offsets.insert(number, (Arc::new(offsets), caller));
                self.state.commit_offsets(number);
            }
            Command::End(_, caller) if self.end.is_some() => caller.tell(invalid()),
            Command::End(commit, caller) => {
                self.end = Some(caller);
                self.finish(commit);
            }
            Command::Close => {
                self.closing = true;
                if self.state.is_open() {
                    self.finish(false);
                }
            }
        }
    }

    /// Goes on with the producer id of the transaction before, where there was one in this client.
    fn adopt(&mut self) {
        let (id, timeout) = (&*self.asker.id, self.asker.transaction_timeout);
        let kept = self.common.kept.lock().take(id, timeout, Instant::now());
        if let Some(kept) = kept {
            let wait = self.common.pace.lock().wait();
            self.state.adopt(kept.producer, kept.since + wait);
            self.adopted = true;
            self.renews_until = Some(kept.renews_until());
        }
    }

    fn awaits_idle(&self) -> bool {
        self.state.awaits_idle() || self.fenced.is_some()
    }

    /// There is another producer. Nothing more is sent under this one's id.
    fn fenced(&mut self, code: ErrorCode) {
        self.fenced = Some(code);
        self.gate.ended();
    }

    /// Once it is known that nothing of the transaction is stored, it begins anew. Should something be, or should so much
    /// time have passed that the other producer may be its successor, it is fenced.
    fn renew_if_fenced(&mut self) {
        let Some(code) = self.fenced else { return };
        if self.asking.is_some() || self.gate.is_in_flight() {
            return;
        }
        self.fenced = None;
        let now = Instant::now();
        let in_time = self.renews_until.take().is_some_and(|until| now < until);
        let goes_on = in_time && !self.closing && self.link.is_untouched();
        if goes_on && self.state.begin_anew() {
            tracing::debug!(
                id = &*self.asker.id,
                "another producer has had the transactional id"
            );
        } else {
            self.state.failed(Trouble::Fatal(code), now);
        }
        self.link.set_untouched(false);
    }

    /// Leaves the producer id of the next transaction to whoever begins it.
    fn give_away(&mut self) {
        self.adopted = false;
        (self.renews_until, self.joined) = (None, None);
        if let Some(producer) = self.state.give_away() {
            let kept = Kept {
                producer,
                since: Instant::now(),
                transaction_timeout: self.asker.transaction_timeout,
            };
            self.common.kept.lock().put(&self.asker.id, kept);
        }
    }

    fn finish(&mut self, commit: bool) {
        match commit {
            true => {
                self.gate.hasten();
                self.release(Instant::now());
            }
            false => self.gate.abort(),
        }
        self.gathers_until = None;
        self.state.end(commit);
    }

    /// Sends what was gathered.
    fn release(&mut self, now: Instant) {
        self.gathers_until = None;
        for place in self.gate.release() {
            self.state.add(place, now);
        }
    }

    /// True: something was told.
    fn tell(&mut self) -> bool {
        let told = self.state.told();
        let any = !told.is_empty();
        for told in told {
            self.tell_one(told);
        }
        any
    }

    fn tell_one(&mut self, told: Told) {
        match told {
            Told::Begun(producer, protocol) => {
                (self.producer, self.protocol) = (producer, protocol);
                self.link.set_adds_itself(protocol == Protocol::V2);
                self.link.set_untouched(self.renews_until.is_some());
                self.gate.begin(producer);
                self.gathers_until = Some(Instant::now() + GATHERING);
                if let Some(caller) = self.begin.take() {
                    caller.tell(Ok(()));
                }
                if self.closing {
                    self.finish(false);
                }
            }
            Told::Joined(places) => {
                if std::mem::take(&mut self.adopted) {
                    self.joined = Some(Instant::now());
                    self.link.await_first();
                }
                self.gate.joined(&places);
            }
            Told::Offsets(number, result) => {
                if let Some((_, caller)) = self.offsets.remove(&number) {
                    caller.tell(result);
                }
            }
            Told::Ended(result) => {
                match &result {
                    Ok(()) => {
                        self.gate.ended();
                        // Before the caller hears of it, who may begin the next one at once.
                        self.give_away();
                    }
                    Err(why) => self.gate.refuse(why),
                }
                if let Some(caller) = self.end.take() {
                    caller.tell(result);
                }
            }
            Told::Failed(why) => {
                self.gate.refuse(&why);
                if let Some(caller) = self.begin.take() {
                    caller.tell(Err(why));
                }
            }
            Told::Waits(error, lasts) => {
                let (client, id) = self.names();
                let lasts = seconds(lasts);
                tracing::warn!(client, id, %error, lasts, "a transaction waits for its coordinator");
            }
            Told::GoesOn(lasted) => {
                let (client, id) = self.names();
                let after = seconds(lasted);
                tracing::info!(client, id, after, "a transaction goes on");
            }
        }
    }

    fn names(&self) -> (&str, &str) {
        let connect = &self.common.cluster.config().connect;
        (&connect.client_id, &self.asker.id)
    }

    fn answered(&mut self, answer: Answer) {
        let result = match answer {
            Answer::Coordinator(Ok(node)) => {
                self.coordinated_by(node);
                Ok(state::Reply::Done)
            }
            Answer::Coordinator(Err(error)) | Answer::Of(Err(error)) => {
                tracing::debug!(id = &*self.asker.id, %error, "a coordinator refuses");
                Err(error)
            }
            Answer::Of(Ok(reply)) => {
                self.link.set_untouched(false);
                Ok(reply)
            }
        };
        if let Err(Error::Kafka { code, .. }) = &result {
            let fenced = code.is_fenced_producer() && self.link.is_untouched();
            if fenced && self.state.takes_offsets_back() {
                return self.fenced(*code);
            }
        }
        self.state.answered(result, Instant::now());
    }

    fn coordinated_by(&mut self, node: NodeId) {
        self.coordinator = Some(node);
        self.common.coordinators.put(&self.asker.id, node);
    }

    fn find(&self) -> Asking {
        let asker = self.asker.clone();
        Box::pin(async move {
            let found = asker.find(CoordinatorKind::Transaction, &asker.id);
            let found = timeout(asker.limit, found).await;
            Answer::Coordinator(found.unwrap_or(Err(Error::Timeout)))
        })
    }

    fn ask(&self, step: Step) -> Asking {
        let (asker, limit) = (self.asker.clone(), self.asker.limit);
        let common = self.common.clone();
        if step == Step::FindCoordinator {
            let remembered = match self.coordinator {
                None => common.coordinators.get(&asker.id),
                // It turned out to be another one.
                Some(_) => None,
            };
            return match remembered {
                Some(node) => Box::pin(async move { Answer::Coordinator(Ok(node)) }),
                None => self.find(),
            };
        }
        let Some(node) = self.coordinator else {
            let unknown = ErrorCode::COORDINATOR_NOT_AVAILABLE;
            return Box::pin(async move { Answer::Of(Err(unknown.into())) });
        };
        let (producer, protocol) = (self.producer, self.protocol);
        let offsets = match &step {
            Step::CommitOffsets(number) => {
                self.offsets.get(number).map(|(to_add, _)| to_add.clone())
            }
            _ => None,
        };
        Box::pin(async move {
            let answer = async {
                match step {
                    Step::Init(present) => asker.init(node, present).await,
                    Step::AddPartitions(places) => {
                        asker.add_partitions(node, producer, &places).await
                    }
                    Step::End { commit } => asker.end(node, producer, protocol, commit).await,
                    Step::CommitOffsets(_) => match offsets {
                        Some(to_add) => {
                            if protocol == Protocol::V1 {
                                asker.add_group(node, producer, &to_add.group_id).await?;
                            }
                            commit_offsets(&common, &asker, producer, protocol, &to_add).await
                        }
                        None => Ok(state::Reply::Done),
                    },
                    Step::FindCoordinator | Step::Wait(_) | Step::Idle => Ok(state::Reply::Done),
                }
            };
            let answer = asker.unless_moved(node, CoordinatorKind::Transaction, &asker.id, answer);
            // Given up without closing the connection, which others wait on.
            let answer = timeout(limit, answer).await;
            Answer::Of(answer.unwrap_or(Err(Error::Timeout)))
        })
    }
}

async fn answer_of(asking: &mut Option<Asking>) -> Answer {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

/// At the coordinator of the group, which is looked for again when it refuses.
async fn commit_offsets(
    common: &Common,
    asker: &Asker,
    producer: ProducerId,
    protocol: Protocol,
    to_add: &OffsetsToAdd,
) -> Result<state::Reply, Error> {
    let group = &to_add.group_id;
    let node = match common.groups.get(group) {
        Some(node) => node,
        None => {
            let node = asker.find(CoordinatorKind::Group, group).await?;
            common.groups.put(group, node);
            node
        }
    };
    // Should this be given up halfway, the next attempt looks again.
    common.groups.forget(group);
    let committed = asker.commit_offsets(node, producer, protocol, to_add);
    let committed = asker
        .unless_moved(node, CoordinatorKind::Group, group, committed)
        .await?;
    common.groups.put(group, node);
    Ok(committed)
}

#[cfg(test)]
mod tests;
