//! Commands to a running cluster, in JSON: one object each way. `{"do": "stop_broker", "broker": 1}` is answered by
//! `{"ok": ...}` or `{"error": "why"}`.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use brod_protocol::batch_reader::batches;
use serde::Deserialize;
use serde_json::{json, Value};

use crate::cluster::Cluster;
use crate::faults::Fault;
use crate::server::Server;

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
    StopBroker {
        broker: i32,
    },
    StartBroker {
        broker: i32,
    },
    Fault {
        fault: Fault,
    },
    ClearFaults,
    FaultsMet,
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
        Command::Messages { topic } => return server.with(|cluster, _| messages(cluster, &topic)),
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
        Command::StopBroker { broker } => server.stop_broker(broker),
        Command::StartBroker { broker } => {
            server
                .start_broker(broker)
                .await
                .map_err(|error| error.to_string())?;
        }
        Command::Fault { fault } => server.with(|cluster, _| cluster.faults.add(fault)),
        Command::ClearFaults => server.with(|cluster, _| cluster.faults.clear()),
        Command::FaultsMet => return Ok(server.with(|cluster, _| cluster.faults.met().into())),
    }
    done
}

/// All messages of a topic, those of aborted transactions too; keys and values in base 64.
fn messages(cluster: &Cluster, topic: &str) -> Result<Value, String> {
    let topic = cluster.topics.get(topic).ok_or("no such topic")?;
    let mut found = Vec::new();
    for (index, partition) in topic.partitions.iter().enumerate() {
        for stored in partition.log.all() {
            for batch in batches(stored.clone()) {
                let batch = batch.map_err(|error| error.to_string())?;
                if batch.is_control() {
                    continue;
                }
                let records = batch
                    .records(usize::MAX)
                    .map_err(|error| error.to_string())?;
                for record in records.iter() {
                    let record = record.map_err(|error| error.to_string())?;
                    if record.offset < partition.log.start() {
                        continue;
                    }
                    let in_base_64 = |span| STANDARD.encode(records.slice(span));
                    found.push(json!({
                        "partition": index,
                        "offset": record.offset,
                        "ts": record.timestamp,
                        "key": record.key.map(in_base_64),
                        "value": record.value.map(in_base_64),
                    }));
                }
            }
        }
    }
    Ok(Value::Array(found))
}
