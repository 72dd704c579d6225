//! Whatever happens, in whatever order: a partition that is to be fetched and has room is always
//! somewhere that leads to a fetch.

use proptest::prelude::*;

use super::*;
use crate::consumer::config::ConsumerConfig;

/// What may happen. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Happens {
    Subscribe(u8),
    Unsubscribe,
    Seek,
    Pause(bool),
    Ack(i64),
    Leader(NodeId, i32),
    NoLeader,
    /// The topic was made again.
    NewTopic(u128),
    Time(u16),
    Claim(usize),
    Release(usize),
    Answer(usize, Reply),
    FetchFails(usize),
    /// A delivery goes on or ends.
    Deliver(Ending),
    EpochEnd(usize, u8, i64),
    /// An offset that was asked for is known.
    Found(usize, i64),
    NotFound(usize),
}

#[derive(Debug, Clone, Copy)]
enum Reply {
    Messages,
    Nothing,
    Preferred(NodeId),
    Error(i16),
    PassedOver,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Takes,
    Part,
    Nothing,
    Unreadable,
    Panic,
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    let answer = prop_oneof![
        4 => Just(Reply::Messages),
        2 => Just(Reply::Nothing),
        2 => (1..5i32).prop_map(Reply::Preferred),
        3 => prop::sample::select(vec![1i16, 3, 5, 6, 29, 74, 75, 76]).prop_map(Reply::Error),
        1 => Just(Reply::PassedOver),
    ];
    let ending = prop_oneof![
        6 => Just(Ending::Takes),
        3 => Just(Ending::Part),
        1 => Just(Ending::Nothing),
        1 => Just(Ending::Unreadable),
        1 => Just(Ending::Panic),
    ];
    prop_oneof![
        1 => (0..3u8).prop_map(Subscribe),
        1 => Just(Unsubscribe),
        1 => Just(Seek),
        3 => any::<bool>().prop_map(Pause),
        3 => (0..40i64).prop_map(Ack),
        4 => ((1..4i32), (0..8i32)).prop_map(|(node, epoch)| Leader(node, epoch)),
        1 => Just(NoLeader),
        1 => (1..4u128).prop_map(NewTopic),
        4 => (0..2000u16).prop_map(Time),
        12 => any::<usize>().prop_map(Claim),
        2 => any::<usize>().prop_map(Release),
        16 => (any::<usize>(), answer).prop_map(|(which, answer)| Answer(which, answer)),
        2 => any::<usize>().prop_map(FetchFails),
        16 => ending.prop_map(Deliver),
        4 => (any::<usize>(), 0..3u8, 0..40i64).prop_map(|(w, what, end)| EpochEnd(w, what, end)),
        8 => (any::<usize>(), 0..40i64).prop_map(|(which, offset)| Found(which, offset)),
        1 => any::<usize>().prop_map(NotFound),
    ]
}

/// The world around a routing: what it asked for and has not been told yet.
struct World {
    routing: Routing,
    cluster: Snapshot,
    now: Instant,
    /// Counts the fetchers that the partition belonged to; None while it belongs to none.
    feed: Option<u32>,
    feeds: u32,
    /// By fetcher.
    lists: Vec<u32>,
    in_flight: Vec<FetchId>,
    last_fetch: FetchId,
    timers: Vec<Instant>,
    checks: Vec<u64>,
    /// Generations that wait for a position; the position once it is known.
    positions: Vec<(u64, Option<i64>)>,
    delivery: Option<(Delivery, Option<FetchId>)>,
}

impl World {
    fn new() -> Self {
        World {
            routing: Routing::new("t".into(), 0, Arc::new(AtomicI32::new(i32::MAX)), 1),
            cluster: led_by(1, 0),
            now: Instant::now(),
            feed: None,
            feeds: 0,
            lists: Vec::new(),
            in_flight: Vec::new(),
            last_fetch: 0,
            timers: Vec::new(),
            checks: Vec::new(),
            positions: Vec::new(),
            delivery: None,
        }
    }

    fn do_actions(&mut self) {
        while let Some(action) = self.routing.next_action() {
            match action {
                Action::Route(..) => {
                    self.feeds += 1;
                    self.feed = Some(self.feeds);
                }
                Action::Unroute => self.feed = None,
                Action::Enqueue { .. } => {
                    let feed = self.feed.expect("a fetcher to enqueue at");
                    self.lists.push(feed);
                }
                // The fetch goes on, and its answer may come all the same.
                Action::Revoke(_) => assert!(self.feed.is_some(), "revoked nowhere"),
                Action::WakeAt(time) => self.timers.push(time),
                Action::AskEpochEnd { check, .. } => self.checks.push(check),
                Action::FindOffset { generation, .. } => self.positions.push((generation, None)),
                Action::Begin {
                    generation,
                    position,
                } => self.positions.push((generation, Some(position.offset))),
                Action::Deliver(delivery) => {
                    let former = self.delivery.replace((*delivery, None));
                    assert!(former.is_none(), "two deliveries at a time");
                }
                Action::RefreshMetadata | Action::Fail { .. } | Action::Warn(_) => {}
            }
        }
    }

    /// Tells positions that are known, as far as no delivery is in the way.
    fn begin(&mut self) {
        let known = |at: &(u64, Option<i64>)| at.1.map(|offset| (at.0, offset));
        let known: Vec<_> = self.positions.iter().filter_map(known).collect();
        for (generation, offset) in known {
            let (cluster, now) = (&self.cluster, self.now);
            let position = Position {
                foreseen: offset % 2 == 0,
                ..at_epoch(offset, 0)
            };
            let begun = self.routing.begin(generation, position, cluster, now);
            if begun != Begun::Delivering {
                self.positions
                    .retain(|at| *at != (generation, Some(offset)));
            }
            self.do_actions();
        }
    }

    fn happens(&mut self, what: Happens) {
        let now = self.now;
        match what {
            Happens::Subscribe(policy) => {
                let generation = self.routing.subscribe(config(policy));
                self.positions.push((generation, None));
            }
            Happens::Unsubscribe => self.routing.unsubscribe(),
            Happens::Seek => {
                if let Some(seek) = self.routing.seek_starts() {
                    if let Some(generation) = self.routing.seek_ends(seek) {
                        self.positions.push((generation, Some(7)));
                    }
                }
            }
            Happens::Pause(paused) => self.routing.set_paused(paused),
            Happens::Ack(offset) => self.routing.ack(offset),
            Happens::Leader(node, epoch) => {
                self.cluster = led_by(node, epoch);
                self.routing.metadata_changed(&self.cluster, now);
            }
            Happens::NoLeader => {
                self.cluster = cluster(None);
                self.routing.metadata_changed(&self.cluster, now);
            }
            Happens::NewTopic(id) => {
                self.cluster = topic_with_id(id, Some(super::Leader { node: 1, epoch: 0 }));
                self.routing.metadata_changed(&self.cluster, now);
            }
            Happens::Time(ms) => {
                self.now += Duration::from_millis(ms.into());
                let due = |time: &Instant| *time <= self.now;
                let timers: Vec<_> = self.timers.iter().copied().filter(due).collect();
                self.timers.retain(|time| *time > self.now);
                for _ in timers {
                    self.routing.wake(&self.cluster, self.now);
                }
            }
            Happens::Claim(which) => {
                if let Some(feed) = take(&mut self.lists, which) {
                    self.last_fetch += 1;
                    let is_here = Some(feed) == self.feed;
                    if is_here && self.routing.claim(self.last_fetch).is_some() {
                        self.in_flight.push(self.last_fetch);
                    }
                }
            }
            Happens::Release(which) => {
                if let Some(id) = self.take_fetch(which) {
                    self.routing.release(id);
                }
            }
            Happens::Answer(which, answer) => {
                if let Some(id) = self.take_fetch(which) {
                    self.answer(id, answer);
                }
            }
            Happens::FetchFails(which) => {
                if let Some(id) = self.take_fetch(which) {
                    self.routing.fetch_failed(id, now);
                }
            }
            Happens::Deliver(ending) => self.deliver(ending),
            Happens::EpochEnd(which, what, end) => {
                if let Some(check) = take(&mut self.checks, which) {
                    let end = match what {
                        0 => EpochEnd::At(end, 0),
                        1 => EpochEnd::Passing,
                        _ => EpochEnd::Unknown,
                    };
                    self.routing.epoch_end(check, end, &self.cluster, now);
                }
            }
            Happens::Found(which, offset) => {
                let count = self.positions.len().max(1);
                if let Some(at) = self.positions.get_mut(which % count) {
                    at.1.get_or_insert(offset);
                }
            }
            Happens::NotFound(which) => {
                let unknown = |at: &(u64, Option<i64>)| at.1.is_none();
                let (mut asked, known) = self.positions.iter().partition(|at| unknown(at));
                let taken = take(&mut asked, which);
                self.positions = [asked, known].concat();
                if let Some((generation, _)) = taken {
                    let code = ErrorCode::UNSUPPORTED_VERSION;
                    self.routing.reset_failed(generation, code, String::new());
                }
            }
        }
        self.do_actions();
        self.begin();
    }

    /// A fetch that is answered, unless its answer is being delivered.
    fn take_fetch(&mut self, which: usize) -> Option<FetchId> {
        let delivered = self.delivery.as_ref().and_then(|(_, fetch)| *fetch);
        let at = which % self.in_flight.len().max(1);
        let id = self.in_flight.get(at).copied()?;
        if Some(id) == delivered {
            return None;
        }
        self.in_flight.remove(at);
        Some(id)
    }

    fn answer(&mut self, id: FetchId, answer: Reply) {
        let position = self.routing.subscription().position();
        let data = match answer {
            Reply::Messages => messages(position, 0),
            Reply::Nothing => nothing(position),
            Reply::Preferred(node) => named(node, position),
            Reply::Error(code) => error(ErrorCode(code)),
            Reply::PassedOver => {
                if self.routing.passed_over(id).is_some() {
                    self.in_flight.push(id);
                }
                return;
            }
        };
        let (cluster, now) = (&self.cluster, self.now);
        match self.routing.answered(id, 1, data, NAMED_FOR, cluster, now) {
            Answered::Next(None) => {}
            Answered::Next(Some(_)) => self.in_flight.push(id),
            Answered::Deliver(delivery) => {
                self.in_flight.push(id);
                let former = self.delivery.replace((*delivery, Some(id)));
                assert!(former.is_none(), "two deliveries at a time");
            }
        }
    }

    fn deliver(&mut self, ending: Ending) {
        let Some((mut delivery, fetch)) = self.delivery.take() else {
            return;
        };
        let generation = delivery.generation;
        let end = match ending {
            Ending::Takes => {
                take_all(&mut self.routing, delivery, self.now);
                None
            }
            Ending::Part => {
                let (set, _) = delivery.fetched.take(1);
                let mut delivered = Delivered::new();
                for record in set.iter().flat_map(|batch| batch.iter()) {
                    delivered.add(record.expect("reads").offset, 200_000);
                }
                let reached = delivery.fetched.reached();
                self.routing.delivered(generation, delivered, reached);
                Some(DeliveryEnd::Full(Box::new(delivery.fetched)))
            }
            Ending::Nothing => Some(DeliveryEnd::End(End::Nothing)),
            Ending::Unreadable => {
                let error =
                    brod_protocol::batch_reader::BatchError::MalformedControlRecord { offset: 0 };
                Some(DeliveryEnd::End(End::Unreadable(error)))
            }
            Ending::Panic => Some(DeliveryEnd::Panic),
        };
        if let Some(end) = end {
            self.routing.delivery_ends(generation, end, self.now);
        }
        self.do_actions();
        if let Some(id) = fetch {
            if self.routing.keep(id).is_none() {
                self.in_flight.retain(|other| *other != id);
            }
        }
    }

    fn is_remembered(&self) -> Result<(), &'static str> {
        let routing = &self.routing;
        if routing.subscription.is_delivering() {
            return match self.delivery {
                Some(_) => Ok(()),
                None => Err("a delivery that nobody makes"),
            };
        }
        let info = routing.info();
        if info.active && info.position.is_none() {
            let asked = |at: &(u64, Option<i64>)| at.0 == info.generation;
            return match self.positions.iter().any(asked) {
                true => Ok(()),
                false => Err("a position that nobody looks for"),
            };
        }
        if routing.subscription.next_fetch().is_none() {
            return Ok(());
        }
        let is_listed = routing.queued && self.lists.iter().any(|feed| Some(*feed) == self.feed);
        let is_fetched = routing.fetch.is_some_and(|id| self.in_flight.contains(&id));
        let waits = routing
            .waiting
            .as_ref()
            .is_some_and(|wait| self.timers.iter().any(|time| *time >= wait.until));
        let is_checked = routing
            .check
            .as_ref()
            .is_some_and(|check| self.checks.contains(&check.number));
        match is_listed || is_fetched || waits || is_checked {
            true => Ok(()),
            false => Err("a partition that is forgotten"),
        }
    }

    /// From now on all goes well. Whether the partition is fetched from again.
    fn recovers(&mut self) -> bool {
        self.happens(Happens::Leader(1, 100));
        self.happens(Happens::Pause(false));
        for _ in 0..50 {
            self.happens(Happens::Ack(i64::MAX - 1));
            self.happens(Happens::Deliver(Ending::Takes));
            self.happens(Happens::Found(0, 3));
            self.happens(Happens::EpochEnd(0, 2, 0));
            self.happens(Happens::Time(2000));
            self.happens(Happens::Claim(0));
            // Its subscriber may have been told that the topic is another one.
            if self.routing.fetch.is_some() || !self.routing.info().active {
                return true;
            }
        }
        false
    }
}

fn config(policy: u8) -> ConsumerConfig {
    ConsumerConfig {
        prefetch_count: 3,
        prefetch_bytes: 300_000,
        offset_reset_policy: match policy {
            0 => OffsetResetPolicy::ResetBySubscriber,
            1 => OffsetResetPolicy::ResetToEarliest,
            _ => OffsetResetPolicy::ResetToLatest,
        },
        ..ConsumerConfig::default()
    }
}

fn take<T>(all: &mut Vec<T>, which: usize) -> Option<T> {
    let at = which % all.len().max(1);
    (at < all.len()).then(|| all.remove(at))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_partition_that_is_to_be_fetched_is_never_forgotten(
        events in prop::collection::vec(happens(), 1..80)
    ) {
        let mut world = World::new();
        world.happens(Happens::Subscribe(0));
        world.happens(Happens::Found(0, 3));
        for event in events {
            let text = format!("{event:?}");
            world.happens(event);
            prop_assert_eq!(world.is_remembered(), Ok(()), "after {}", text);
        }
        if world.routing.info().active {
            prop_assert!(world.recovers(), "it is not fetched from again");
        }
    }
}
