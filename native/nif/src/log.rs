//! What the engine has to say goes to an Erlang process, which logs it: `log_open/0`.

use brod_engine::tasks::boxed;
use std::fmt::Debug;

use parking_lot::RwLock;
use rustler::types::atom::Atom;
use rustler::{Encoder, Env, LocalPid, Term};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::{atoms, runtime};

/// Lines that wait for the process. More are dropped: whoever logs never waits.
const WAITING: usize = 1000;

static LISTENER: RwLock<Option<LocalPid>> = RwLock::new(None);

/// The calling process gets `{brod_engine_log, Level, Text, Fields}` from now on.
#[rustler::nif]
fn log_open(env: Env<'_>) -> Atom {
    *LISTENER.write() = Some(env.pid());
    atoms::ok()
}

/// Begins to listen to the engine. For who starts the runtime, once a node.
pub(crate) fn start(runtime: &Handle) {
    let (lines, waiting) = mpsc::channel(WAITING);
    // Another one is there only where another library of this VM's shares our `tracing`: it gets the lines then.
    let _ = tracing::subscriber::set_global_default(Listener { lines });
    runtime.spawn(boxed(pass_on(waiting)));
}

struct Line {
    level: Level,
    text: String,
    fields: Vec<(&'static str, String)>,
}

/// Not by the thread that logs: it may be a scheduler's, which must not send.
async fn pass_on(mut lines: mpsc::Receiver<Line>) {
    while let Some(line) = lines.recv().await {
        let listener = *LISTENER.read();
        if let Some(listener) = listener {
            runtime::send(&listener, |env| line.encode(env));
        }
    }
}

impl Line {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let level = match self.level {
            Level::ERROR => atoms::error(),
            Level::WARN => atoms::warning(),
            _ => atoms::notice(),
        };
        let fields: Vec<(Atom, &str)> = self
            .fields
            .iter()
            .filter_map(|(name, value)| Some((Atom::from_str(env, name).ok()?, value.as_str())))
            .collect();
        (atoms::brod_engine_log(), level, &*self.text, fields).encode(env)
    }
}

struct Listener {
    lines: mpsc::Sender<Line>,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("brod")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line {
            level: *event.metadata().level(),
            text: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        let _ = self.lines.try_send(line);
    }

    // Spans are not used.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.text = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }
}
