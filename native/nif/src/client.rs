//! Clients: a cluster, and what produces to and consumes from it.

use std::sync::Arc;
use std::time::Duration;

use brod_engine::cluster::{Cluster, ClusterConfig};
use brod_engine::consumer::Consumers;
use brod_engine::net::{ConnectOptions, Endpoint, SocketOptions};
use brod_engine::producer::Producers;
use parking_lot::RwLock;
use rustler::{Binary, Encoder, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};

use crate::atoms;
use crate::dispatcher::Dispatcher;
use crate::options::{BadOption, Options};
use crate::replies::ErlReplies;
use crate::runtime;

/// What a client's producers may buffer in all, unless configured.
const DEFAULT_BUFFER_BYTES: usize = 256 * 1024 * 1024;

/// An Erlang client's engine.
pub struct ClientResource {
    /// The cluster it talks to.
    pub cluster: Arc<Cluster>,
    /// Its producers.
    pub producers: Producers<ErlReplies>,
    /// Its consumers.
    pub consumers: Arc<Consumers>,
    /// Processes that pass its producers' acks on.
    pub dispatchers: RwLock<Vec<Dispatcher>>,
}

#[rustler::resource_impl]
impl Resource for ClientResource {
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.cluster.close();
    }
}

impl Drop for ClientResource {
    fn drop(&mut self) {
        self.cluster.close();
    }
}

/// A handle to a client, as Erlang holds it.
pub type Client = ResourceArc<ClientResource>;

#[rustler::nif]
fn client_open<'a>(
    env: Env<'a>,
    endpoints: Vec<(Binary<'a>, u16)>,
    config: Term<'a>,
) -> NifResult<Term<'a>> {
    let options = Options::new(config).ok_or(rustler::Error::BadArg)?;
    let bootstrap = endpoints
        .iter()
        .map(|(host, port)| {
            let host = std::str::from_utf8(host).map_err(|_| rustler::Error::BadArg)?;
            Ok(Endpoint {
                host: host.to_owned(),
                port: *port,
            })
        })
        .collect::<NifResult<Vec<_>>>()?;
    let decoded = decode_config(&options, bootstrap);
    let (config, buffer_bytes, threads, rack_id) = match decoded {
        Ok(decoded) => decoded,
        Err(bad) => return Ok((atoms::error(), bad).encode(env)),
    };
    let handle = match runtime::start(threads) {
        Ok(handle) => handle,
        Err(text) => return Ok((atoms::error(), text).encode(env)),
    };
    let _inside = handle.enter();
    let owner = env.pid();
    let on_failure = move |what: &'static str| {
        runtime::send(&owner, |env| (atoms::brod_engine_down(), what).encode(env));
    };
    let cluster = Cluster::start(ClusterConfig {
        on_failure: Some(Arc::new(on_failure)),
        ..config
    });
    let producers = Producers::new(cluster.clone(), buffer_bytes);
    let consumers = Consumers::new(cluster.clone(), &rack_id);
    let client = ResourceArc::new(ClientResource {
        cluster,
        producers,
        consumers,
        dispatchers: RwLock::default(),
    });
    if env.monitor(&client, &env.pid()).is_none() {
        return Err(rustler::Error::BadArg);
    }
    Ok((atoms::ok(), client).encode(env))
}

#[rustler::nif]
fn client_close(client: Client) -> rustler::Atom {
    client.cluster.close();
    atoms::ok()
}

type Decoded = (ClusterConfig, usize, Option<usize>, String);

fn decode_config<'a>(
    options: &Options<'a>,
    bootstrap: Vec<Endpoint>,
) -> Result<Decoded, BadOption<'a>> {
    let default = ClusterConfig::default();
    let defaults = ConnectOptions::default();
    let client_id: String = options.get("client_id", defaults.client_id.clone(), |_| true)?;
    let connect = ConnectOptions {
        client_id,
        connect_timeout: options.duration_ms("connect_timeout", defaults.connect_timeout)?,
        query_api_versions: options.get("query_api_versions", true, |_| true)?,
        socket: SocketOptions {
            send_buffer: size_option(options, "sndbuf")?,
            receive_buffer: size_option(options, "recbuf")?,
            ..SocketOptions::default()
        },
        ..defaults
    };
    let (first, max) = default.reconnect_backoff;
    let first = options.duration_ms("reconnect_backoff", first)?;
    let max = options.duration_ms("reconnect_backoff_max", max)?;
    let config = ClusterConfig {
        bootstrap,
        connect,
        request_timeout: options.duration_ms("request_timeout", default.request_timeout)?,
        metadata_timeout: options.duration_ms("metadata_timeout", default.metadata_timeout)?,
        metadata_max_age: at_least_a_second(
            options.duration_ms("metadata_max_age", default.metadata_max_age)?,
        ),
        reconnect_backoff: (first, max),
        refresh_backoff: default.refresh_backoff,
        on_failure: None,
    };
    let buffer_bytes = options.get("buffer_bytes", DEFAULT_BUFFER_BYTES, |n| *n > 0)?;
    let threads = options.get("threads", 0usize, |n| *n <= 64)?;
    let rack_id = options.get("rack_id", String::new(), |_| true)?;
    Ok((
        config,
        buffer_bytes,
        (threads > 0).then_some(threads),
        rack_id,
    ))
}

fn size_option<'a>(
    options: &Options<'a>,
    name: &'static str,
) -> Result<Option<usize>, BadOption<'a>> {
    let size = options.get(name, 0usize, |_| true)?;
    Ok((size > 0).then_some(size))
}

fn at_least_a_second(age: Duration) -> Duration {
    age.max(Duration::from_secs(1))
}
