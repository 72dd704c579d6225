//! Clients: a cluster, and what produces to and consumes from it.

use std::sync::Arc;
use std::time::Duration;

use brod_engine::cluster::{Cluster, ClusterConfig};
use brod_engine::consumer::Consumers;
use brod_engine::net::tls::{Tls, TlsError};
use brod_engine::net::{AddressFamily, ConnectOptions, Endpoint, SocketOptions};
use brod_engine::producer::Producers;
use brod_engine::telemetry;
use brod_engine::txn::Transactions;
use parking_lot::RwLock;
use rustler::{Binary, Encoder, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};

use crate::atoms;
use crate::dispatcher::Dispatcher;
use crate::list::List;
use crate::options::{BadOption, Options};
use crate::replies::ErlReplies;
use crate::runtime;
use crate::txn::TxnReplies;

/// An Erlang client's engine.
pub(crate) struct ClientResource {
    /// The cluster it talks to.
    pub cluster: Arc<Cluster>,
    /// Its producers.
    pub producers: Producers<ErlReplies>,
    /// Its transactions.
    pub transactions: Transactions<TxnReplies>,
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
pub(crate) type Client = ResourceArc<ClientResource>;

/// On a dirty scheduler: certificates and keys are read from files and parsed.
#[rustler::nif(schedule = "DirtyIo")]
fn client_open<'a>(
    env: Env<'a>,
    endpoints: List<(Binary<'a>, u16)>,
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
    let Decoded {
        cluster: mut config,
        buffer_bytes,
        fetch_buffer_bytes,
        threads,
        rack_id,
        metrics_push,
    } = match decoded {
        Ok(decoded) => decoded,
        Err(bad) => return Ok((atoms::error(), bad).encode(env)),
    };
    if let Err(why) = secure(&options, &mut config.connect)? {
        let why = crate::tls::reason(env, &why);
        return Ok((atoms::error(), (atoms::tls_error(), why)).encode(env));
    }
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
    if metrics_push {
        telemetry::start(&cluster);
    }
    let producers = Producers::new(cluster.clone(), buffer_bytes);
    let transactions = Transactions::new(cluster.clone(), buffer_bytes);
    let consumers = Consumers::new(cluster.clone(), &rack_id, fetch_buffer_bytes);
    let client = ResourceArc::new(ClientResource {
        cluster,
        producers,
        transactions,
        consumers,
        dispatchers: RwLock::default(),
    });
    if env.monitor(&client, &env.pid()).is_none() {
        return Err(rustler::Error::BadArg);
    }
    Ok((atoms::ok(), client).encode(env))
}

fn secure(options: &Options<'_>, connect: &mut ConnectOptions) -> NifResult<Result<(), TlsError>> {
    if let Some(tls) = options.term("tls") {
        match Tls::new(crate::tls::decode(tls)?) {
            Ok(tls) => connect.tls = Some(tls),
            Err(why) => return Ok(Err(why)),
        }
    }
    if let Some(sasl) = options.term("sasl") {
        // Less than a connection may take, which then tells that there was no answer.
        let limit = connect.connect_timeout * 9 / 10;
        match crate::sasl::decode(sasl, &connect.client_id, limit)? {
            Ok(sasl) => connect.sasl = Some(sasl),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(()))
}

#[rustler::nif]
fn client_close(client: Client) -> rustler::Atom {
    client.cluster.close();
    atoms::ok()
}

struct Decoded {
    cluster: ClusterConfig,
    buffer_bytes: usize,
    fetch_buffer_bytes: usize,
    threads: Option<usize>,
    rack_id: String,
    metrics_push: bool,
}

fn decode_config<'a>(
    options: &Options<'a>,
    bootstrap: Vec<Endpoint>,
) -> Result<Decoded, BadOption<'a>> {
    let connect = ConnectOptions {
        client_id: options.required("client_id", |_| true)?,
        connect_timeout: options.required_ms("connect_timeout")?,
        query_api_versions: options.required("query_api_versions", |_| true)?,
        socket: decode_socket(&options.required_map("socket")?)?,
        max_idle: Some(options.required_ms("connections_max_idle_ms")?),
        ..ConnectOptions::default()
    };
    let first = options.required_ms("reconnect_backoff")?;
    let max = options.required_ms("reconnect_backoff_max")?;
    let cluster = ClusterConfig {
        bootstrap,
        connect,
        request_timeout: options.required_ms("request_timeout")?,
        metadata_timeout: options.required_ms("metadata_timeout")?,
        metadata_max_age: at_least_a_second(options.required_ms("metadata_max_age")?),
        reconnect_backoff: (first, max),
        ..ClusterConfig::default()
    };
    Ok(Decoded {
        cluster,
        buffer_bytes: options.required("buffer_bytes", |n| *n > 0)?,
        fetch_buffer_bytes: options.required("fetch_buffer_bytes", |n| *n > 0)?,
        threads: options.optional("engine_threads", |n| (1..=64usize).contains(n))?,
        rack_id: options.required("rack_id", |_| true)?,
        metrics_push: options.required("enable_metrics_push", |_| true)?,
    })
}

fn decode_socket<'a>(options: &Options<'a>) -> Result<SocketOptions, BadOption<'a>> {
    let families = [
        ("any", AddressFamily::Any),
        ("inet", AddressFamily::V4),
        ("inet6", AddressFamily::V6),
    ];
    let address: Option<String> = options.optional("ip", |ip: &String| is_address(ip))?;
    Ok(SocketOptions {
        nodelay: options.required("nodelay", |_| true)?,
        keepalive: options.required("keepalive", |_| true)?,
        send_buffer: options.optional("sndbuf", |_| true)?,
        receive_buffer: options.optional("recbuf", |_| true)?,
        tos: options.optional("tos", |_| true)?,
        local_address: address.and_then(|ip| ip.parse().ok()),
        family: options.required_choice("family", &families)?,
        linger: options
            .optional("linger", |_| true)?
            .map(Duration::from_millis),
        bind_to_device: options.optional("bind_to_device", |_| true)?,
    })
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

fn at_least_a_second(age: Duration) -> Duration {
    age.max(Duration::from_secs(1))
}
