//! Operations that are asked once and answered once: `op/4`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use brod_engine::admin::{self, CoordinatorKind, FetchOptions, NewTopic};
use brod_engine::cluster::Cluster;
use brod_engine::consumer::Isolation;
use brod_engine::error::Error;
use brod_engine::tasks::boxed;
use rustler::{Atom, Binary, Env, NifResult, Term};
use tokio::time::timeout;

use crate::answers as answer;
use crate::atoms;
use crate::client::Client;
use crate::options::Options;
use crate::raw::{tuple, Elements};
use crate::runtime::{self, Asker};

/// The longest time limit; a longer one is as good as none.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// The most elements of lists that a normal scheduler decodes: as many topics to create take about 0.1 ms.
const QUICK: usize = 100;

/// `dirty`, and nothing is started, where there is much to decode: then it is `op_dirty/4`'s.
#[rustler::nif]
fn op<'a>(
    env: Env<'a>,
    client: Client,
    reference: Term<'a>,
    what: Term<'a>,
    timeout_ms: u64,
) -> NifResult<Atom> {
    if is_long(what)? {
        return Ok(atoms::dirty());
    }
    ask(env, client, reference, what, timeout_ms)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn op_dirty<'a>(
    env: Env<'a>,
    client: Client,
    reference: Term<'a>,
    what: Term<'a>,
    timeout_ms: u64,
) -> NifResult<Atom> {
    ask(env, client, reference, what, timeout_ms)
}

/// Whether the lists of an operation, and those of partitions in them, are long together.
fn is_long(what: Term<'_>) -> NifResult<bool> {
    let Some(parts) = tuple(what) else {
        return Ok(false);
    };
    let mut elements = 0;
    for at in 1..parts.len() {
        let part = parts.at(at);
        if !part.is_list() {
            continue;
        }
        elements += count(part).ok_or_else(bad)?;
        if elements > QUICK {
            return Ok(true);
        }
        for element in list(part)? {
            elements += inner_length(element);
        }
    }
    Ok(elements > QUICK)
}

/// The length of a list, counted until it is long; None for an improper one.
fn count(mut list: Term<'_>) -> Option<usize> {
    let mut elements = 0;
    while !list.is_empty_list() && elements <= QUICK {
        (_, list) = list.list_get_cell().ok()?;
        elements += 1;
    }
    Some(elements)
}

/// Of a topic's partitions in `{Topic, Partitions}`, and of its lists in a map.
fn inner_length(element: Term<'_>) -> usize {
    let length = |term: Term<'_>| count(term).unwrap_or(0);
    match (tuple(element), Options::new(element)) {
        (Some(pair), _) if pair.len() == 2 => length(pair.at(1)),
        (_, Some(topic)) => ["assignments", "configs"]
            .into_iter()
            .filter_map(|name| topic.term(name))
            .map(length)
            .sum(),
        _ => 0,
    }
}

fn ask<'a>(
    env: Env<'a>,
    client: Client,
    reference: Term<'a>,
    what: Term<'a>,
    timeout_ms: u64,
) -> NifResult<Atom> {
    if !reference.is_ref() {
        return Err(bad());
    }
    let limit = Duration::from_millis(timeout_ms).min(LONGEST);
    let ask = Ask {
        env,
        client,
        reference,
        limit,
    };
    if let Ok(name) = what.atom_to_string() {
        return ask.simple(&name);
    }
    let parts = tuple(what)
        .filter(|parts| parts.len() > 0)
        .ok_or_else(bad)?;
    let name = parts.at(0).atom_to_string().map_err(|_| bad())?;
    match (name.as_str(), parts.len()) {
        ("metadata", 3) => ask.metadata(parts),
        ("create_topics", 3) => ask.create_topics(parts),
        ("delete_topics", 3) => ask.delete_topics(parts),
        ("list_offsets", 4) => ask.list_offsets(parts),
        ("fetch", 5) => ask.fetch(parts),
        ("coordinator", 3) => ask.coordinator(parts),
        ("leader", 3) => ask.leader(parts),
        ("offset_fetch", 3) => ask.offset_fetch(parts, false),
        ("stable_offset_fetch", 3) => ask.offset_fetch(parts, true),
        ("describe_groups", 2) => ask.describe_groups(parts),
        _ => Err(bad()),
    }
}

/// One call of `op/4`. Each method decodes its operation and starts it.
struct Ask<'a> {
    env: Env<'a>,
    client: Client,
    reference: Term<'a>,
    limit: Duration,
}

impl<'a> Ask<'a> {
    fn simple(self, name: &str) -> NifResult<Atom> {
        let (cluster, limit) = (self.cluster(), self.limit);
        match name {
            "connect" => self.start(async move { cluster.connect().await }, answer::done),
            "list_groups" => self.start(
                async move { admin::list_groups(&cluster, limit).await },
                answer::groups,
            ),
            "list_all_groups" => self.start(
                async move { admin::list_all_groups(&cluster, limit).await },
                answer::all_groups,
            ),
            _ => Err(bad()),
        }
    }

    fn metadata(self, parts: Elements<'a>) -> NifResult<Atom> {
        let topics = all_or(parts.at(1), strings)?;
        let auto_create: bool = parts.at(2).decode()?;
        let cluster = self.cluster();
        let metadata = async move { cluster.look_up(topics.as_deref(), auto_create).await };
        self.start(metadata, answer::metadata)
    }

    fn create_topics(self, parts: Elements<'a>) -> NifResult<Atom> {
        let topics = list(parts.at(1))?
            .into_iter()
            .map(new_topic)
            .collect::<NifResult<Vec<_>>>()?;
        let options = options(parts.at(2))?;
        let within = options.required_ms("timeout").map_err(|_| bad())?;
        let only_check = options
            .required("validate_only", |_| true)
            .map_err(|_| bad())?;
        let (cluster, limit) = (self.cluster(), self.limit);
        self.start(
            async move { admin::create_topics(&cluster, &topics, within, only_check, limit).await },
            answer::created,
        )
    }

    fn delete_topics(self, parts: Elements<'a>) -> NifResult<Atom> {
        let names = strings(parts.at(1))?;
        let within = Duration::from_millis(parts.at(2).decode::<u32>()?.into());
        let (cluster, limit) = (self.cluster(), self.limit);
        self.start(
            async move { admin::delete_topics(&cluster, &names, within, limit).await },
            answer::done,
        )
    }

    fn list_offsets(self, parts: Elements<'a>) -> NifResult<Atom> {
        let (topic, partition) = (string(parts.at(1))?, parts.at(2).decode()?);
        let time: i64 = parts.at(3).decode()?;
        let (cluster, limit) = (self.cluster(), self.limit);
        let isolation = Isolation::ReadCommitted;
        self.start(
            async move {
                admin::list_offsets(&cluster, &topic, partition, time, isolation, limit).await
            },
            answer::number,
        )
    }

    fn fetch(self, parts: Elements<'a>) -> NifResult<Atom> {
        let (topic, partition) = (string(parts.at(1))?, parts.at(2).decode()?);
        let offset: i64 = parts.at(3).decode()?;
        let options = fetch_options(&options(parts.at(4))?)?;
        let (cluster, limit) = (self.cluster(), self.limit);
        self.start(
            async move {
                admin::fetch_once(&cluster, &topic, partition, offset, options, limit).await
            },
            answer::fetched,
        )
    }

    fn coordinator(self, parts: Elements<'a>) -> NifResult<Atom> {
        let kind = match parts.at(1).atom_to_string().as_deref() {
            Ok("group") => CoordinatorKind::Group,
            Ok("txn") => CoordinatorKind::Transaction,
            _ => return Err(bad()),
        };
        let id = string(parts.at(2))?;
        let (cluster, limit) = (self.cluster(), self.limit);
        self.start(
            async move { admin::find_coordinator(&cluster, kind, &id, limit).await },
            answer::broker,
        )
    }

    fn leader(self, parts: Elements<'a>) -> NifResult<Atom> {
        let (topic, partition) = (string(parts.at(1))?, parts.at(2).decode()?);
        let (cluster, limit) = (self.cluster(), self.limit);
        self.start(
            async move { admin::find_leader(&cluster, &topic, partition, limit).await },
            answer::broker,
        )
    }

    fn offset_fetch(self, parts: Elements<'a>, stable: bool) -> NifResult<Atom> {
        let group = string(parts.at(1))?;
        let wanted = all_or(parts.at(2), topic_partitions)?;
        let (cluster, limit) = (self.cluster(), self.limit);
        self.start(
            async move {
                admin::offset_fetch(&cluster, &group, wanted.as_deref(), stable, limit).await
            },
            answer::committed,
        )
    }

    fn describe_groups(self, parts: Elements<'a>) -> NifResult<Atom> {
        let groups = strings(parts.at(1))?;
        let (cluster, limit) = (self.cluster(), self.limit);
        self.start(
            async move { admin::describe_groups(&cluster, &groups, limit).await },
            answer::described,
        )
    }

    fn cluster(&self) -> Arc<Cluster> {
        self.client.cluster.clone()
    }

    /// Runs the operation within the time limit, and answers what `encode` makes of its result.
    /// The client stays open until then, even if nobody in Erlang holds it any more.
    fn start<T: Send + 'static>(
        self,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
        encode: impl for<'e> FnOnce(Env<'e>, Result<T, Error>) -> Term<'e> + Send + 'static,
    ) -> NifResult<Atom> {
        let runtime = runtime::handle().ok_or_else(bad)?;
        let asker = Asker::under(self.env, self.reference);
        let (client, limit) = (self.client, self.limit);
        runtime.spawn(boxed(async move {
            let result = tokio::select! {
                biased;
                _ = client.cluster.closed().cancelled() => Err(Error::Closed),
                result = timeout(limit, operation) => result.unwrap_or(Err(Error::Timeout)),
            };
            asker.reply(|env| encode(env, result));
        }));
        Ok(atoms::ok())
    }
}

fn bad() -> rustler::Error {
    rustler::Error::BadArg
}

fn string(term: Term<'_>) -> NifResult<String> {
    let bytes: Binary = term.decode()?;
    let text = std::str::from_utf8(&bytes).map_err(|_| bad())?;
    Ok(text.to_owned())
}

fn strings(list: Term<'_>) -> NifResult<Vec<String>> {
    self::list(list)?.into_iter().map(string).collect()
}

/// The elements of a proper list; rustler's decoder panics on an improper one.
fn list(term: Term<'_>) -> NifResult<Vec<Term<'_>>> {
    term.list_length()?;
    term.decode()
}

fn numbers(term: Term<'_>) -> NifResult<Vec<i32>> {
    list(term)?
        .into_iter()
        .map(|number| number.decode())
        .collect()
}

fn topic_partitions(list: Term<'_>) -> NifResult<Vec<(String, Vec<i32>)>> {
    self::list(list)?
        .into_iter()
        .map(|pair| {
            let (topic, partitions): (Term, Term) = pair.decode()?;
            Ok((string(topic)?, numbers(partitions)?))
        })
        .collect()
}

/// `None` for the atom `all`.
fn all_or<'a, T>(
    term: Term<'a>,
    decode: impl FnOnce(Term<'a>) -> NifResult<T>,
) -> NifResult<Option<T>> {
    if atoms::all() == term {
        return Ok(None);
    }
    decode(term).map(Some)
}

fn options(term: Term<'_>) -> NifResult<Options<'_>> {
    Options::new(term).ok_or_else(bad)
}

fn fetch_options(options: &Options<'_>) -> NifResult<FetchOptions> {
    let isolations = [
        ("read_committed", Isolation::ReadCommitted),
        ("read_uncommitted", Isolation::ReadUncommitted),
    ];
    let decoded = || {
        Ok(FetchOptions {
            max_wait: options.required_ms("max_wait_time")?,
            min_bytes: options.required("min_bytes", |bytes| *bytes >= 0)?,
            max_bytes: options.required("max_bytes", |bytes| *bytes > 0)?,
            isolation: options.required_choice("isolation_level", &isolations)?,
            max_batch_bytes: options.required("max_batch_bytes", |bytes| *bytes > 0)?,
            max_memory: options.required("max_memory", |bytes| *bytes > 0)?,
        })
    };
    decoded().map_err(|_: crate::options::BadOption<'_>| bad())
}

/// `#{name, num_partitions, replication_factor, assignments => [#{partition_index, broker_ids}],
/// configs => [#{name, value}]}`, all but the name optional.
fn new_topic(map: Term<'_>) -> NifResult<NewTopic> {
    let topic = options(map)?;
    let number = |name| topic.term(name).map_or(Ok(-1), |term| term.decode());
    let replication_factor = i16::try_from(number("replication_factor")?).map_err(|_| bad())?;
    Ok(NewTopic {
        name: string(topic.term("name").ok_or_else(bad)?)?,
        num_partitions: number("num_partitions")?,
        replication_factor,
        assignments: maps(topic.term("assignments"), |assignment| {
            let partition = assignment.term("partition_index").ok_or_else(bad)?;
            let brokers = assignment.term("broker_ids").ok_or_else(bad)?;
            Ok((partition.decode()?, numbers(brokers)?))
        })?,
        configs: maps(topic.term("configs"), |config| {
            let name = string(config.term("name").ok_or_else(bad)?)?;
            Ok((name, config.term("value").map(string).transpose()?))
        })?,
    })
}

/// A list of maps, each decoded by `decode`.
fn maps<'a, T>(
    list: Option<Term<'a>>,
    decode: impl Fn(Options<'a>) -> NifResult<T>,
) -> NifResult<Vec<T>> {
    let Some(list) = list else {
        return Ok(Vec::new());
    };
    self::list(list)?
        .into_iter()
        .map(|map| decode(options(map)?))
        .collect()
}
