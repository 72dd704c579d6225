//! Commands to a running cluster, in JSON: one object each way. `{"do": "stop_broker", "broker": 1}` is answered by
//! `{"ok": ...}` or `{"error": "why"}`.

use serde::Deserialize;
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::call::Millis;
use crate::cluster::Cluster;
use crate::faults::Fault;
use crate::look;
use crate::server::Server;
use crate::topics::Partition;

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    Endpoints,
    Messages {
        topic: String,
    },
    CreateTopic {
        topic: String,
        partitions: i32,
    },
    MoveLeader {
        topic: String,
        partition: i32,
        broker: i32,
    },
    MoveCoordinator {
        key: String,
        broker: i32,
    },
    /// State, generation and count of members; null where there is no such group.
    Group {
        group: String,
    },
    /// Null where nothing is committed.
    Committed {
        group: String,
        topic: String,
        partition: i32,
    },
    /// State, producer id and epoch of a transactional id; null where there is no such id.
    Transaction {
        id: String,
    },
    /// How many messages a group has not committed yet; null where there is no such topic.
    Lag {
        group: String,
        topic: String,
    },
    /// Its partitions' new leaders lack the last messages, so many.
    StopBroker {
        broker: i32,
        #[serde(default)]
        lose: u64,
    },
    StartBroker {
        broker: i32,
    },
    Fault {
        fault: Fault,
    },
    ClearFaults,
    FaultsMet,
    /// The last messages, so many, were never there.
    Lose {
        topic: String,
        partition: i32,
        messages: u64,
    },
    /// Only the newest message of each key is left.
    Compact {
        topic: String,
        partition: i32,
    },
    /// The high watermark is told with this added; 0 is the truth.
    Lie {
        topic: String,
        partition: i32,
        by: i64,
    },
    /// A control batch; see `kind` in Kafka's documentation: 0 aborts, 1 commits, others are for nobody.
    ControlBatch {
        topic: String,
        partition: i32,
        #[serde(default = "commits")]
        kind: i16,
    },
    /// By how many ms a broker's clock is fast.
    Skew {
        broker: i32,
        ms: i64,
    },
    /// What a client may produce and fetch, in bytes a second; 0 is no limit.
    Quota {
        client: String,
        #[serde(default)]
        produce: u64,
        #[serde(default)]
        fetch: u64,
    },
    /// Asks clients for other metrics (KIP-714): those whose names begin so.
    WantMetrics {
        names: Vec<String>,
    },
    /// What metrics clients have pushed, the last thousand pushes.
    PushedMetrics,
    /// What was wrong with requests: all that made the mock close a connection.
    Complaints,
    /// The authority of the brokers' certificate as PEM, where the mock made it.
    Ca,
}

fn commits() -> i16 {
    1
}

/// Takes commands on a port of loopback, a line each, and answers so; says which port it is.
pub async fn listen(server: std::sync::Arc<Server>, port: u16) -> std::io::Result<u16> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = server.clone();
            // A client that goes takes nothing with it.
            tokio::spawn(async move { converse(&server, stream).await });
        }
    });
    Ok(port)
}

async fn converse(server: &Server, mut stream: TcpStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = obey(server, line.as_bytes()).await + "\n";
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// The answer to a command.
pub async fn obey(server: &Server, command: &[u8]) -> String {
    let result = match serde_json::from_slice(command) {
        Ok(command) => run(server, command).await,
        Err(error) => Err(format!("the command does not parse: {error}")),
    };
    let answer = match result {
        Ok(value) => json!({ "ok": value }),
        Err(why) => json!({ "error": why }),
    };
    answer.to_string()
}

async fn run(server: &Server, command: Command) -> Result<Value, String> {
    let done = Ok(Value::Bool(true));
    match command {
        Command::Endpoints => {
            let all = server.endpoints().into_iter();
            let all = all.map(|(id, host, port)| json!({ "id": id, "host": host, "port": port }));
            return Ok(all.collect());
        }
        Command::Messages { topic } => {
            return server.with(|cluster, _| look::messages(cluster, &topic));
        }
        Command::Lag { group, topic } => {
            return Ok(server
                .with(|cluster, _| look::lag(cluster, &group, &topic))
                .into());
        }
        Command::CreateTopic { topic, partitions } => {
            if !server.with(|cluster, _| cluster.add_topic(&topic, partitions)) {
                return Err("there is such a topic, or its name is invalid".into());
            }
        }
        Command::MoveLeader {
            topic,
            partition,
            broker,
        } => {
            if !server.with(|cluster, now| cluster.move_leader(&topic, partition, broker, now)) {
                return Err("no such partition, or no such broker".into());
            }
        }
        Command::MoveCoordinator { key, broker } => {
            server.with(|cluster, _| cluster.coordination.move_to(&key, broker));
        }
        Command::Group { group } => {
            let found = server.with(|cluster, _| cluster.coordination.groups.look(&group));
            let shown = found.map(|(state, generation, members)| {
                json!({ "state": state, "generation": generation, "members": members })
            });
            return Ok(shown.into());
        }
        Command::Committed {
            group,
            topic,
            partition,
        } => {
            let groups = |cluster: &mut Cluster| {
                let groups = &cluster.coordination.groups;
                groups.committed(&group, &topic, partition)
            };
            let found = server.with(|cluster, _| groups(cluster));
            return Ok(found.map(|committed| committed.offset).into());
        }
        Command::Transaction { id } => {
            let found = server.with(|cluster, _| cluster.coordination.transactions.look(&id));
            let shown = found.map(|(state, producer_id, epoch)| {
                json!({ "state": state, "producer_id": producer_id, "epoch": epoch })
            });
            return Ok(shown.into());
        }
        Command::StopBroker { broker, lose } => server.stop_broker(broker, lose),
        Command::StartBroker { broker } => {
            server
                .start_broker(broker)
                .await
                .map_err(|error| error.to_string())?;
        }
        Command::Fault { fault } => server.with(|cluster, _| cluster.faults.add(fault)),
        Command::ClearFaults => server.with(|cluster, _| cluster.faults.clear()),
        Command::FaultsMet => return Ok(server.with(|cluster, _| cluster.faults.met().into())),
        Command::Lose {
            topic,
            partition,
            messages,
        } => damage(server, &topic, partition, |p, _| p.log.lose(messages))?,
        Command::Compact { topic, partition } => {
            damage(server, &topic, partition, |p, _| p.log.compact())?;
        }
        Command::Lie {
            topic,
            partition,
            by,
        } => damage(server, &topic, partition, |p, _| p.lie = by)?,
        Command::ControlBatch {
            topic,
            partition,
            kind,
        } => damage(server, &topic, partition, |p, now| {
            let epoch = p.leader_epoch;
            p.log.append_control(0, 0, kind, epoch, now);
        })?,
        Command::Skew { broker, ms } => server.with(|cluster, _| {
            let broker = cluster.brokers.get_mut(&broker).ok_or("no such broker")?;
            broker.skew = ms;
            Ok::<(), String>(())
        })?,
        Command::Quota {
            client,
            produce,
            fetch,
        } => server.with(|cluster, _| {
            cluster.produce_quotas.set(&client, produce);
            cluster.fetch_quotas.set(&client, fetch);
        }),
        Command::WantMetrics { names } => server.with(|cluster, _| {
            let wanted = cluster.config.client_metrics.as_mut();
            wanted.ok_or("brokers take no metrics")?.names = names;
            Ok::<(), String>(())
        })?,
        Command::PushedMetrics => return Ok(server.with(|cluster, _| look::pushed(cluster))),
        Command::Complaints => {
            return Ok(server.with(|cluster, _| cluster.complaints().iter().cloned().collect()));
        }
        Command::Ca => return Ok(server.ca_pem().into()),
    }
    done
}

/// Something happens to a partition, and fetches that wait see it.
fn damage(
    server: &Server,
    topic: &str,
    partition: i32,
    change: impl FnOnce(&mut Partition, Millis),
) -> Result<(), String> {
    server.with(|cluster, now| {
        let found = cluster.topics.partition_mut(topic, partition);
        change(found.ok_or("no such partition")?, now);
        cluster.tick(now);
        Ok(())
    })
}
