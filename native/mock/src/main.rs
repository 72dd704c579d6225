//! `brod_mock [CONFIG [port]]`: a Kafka in memory, set up by JSON. It says where its brokers listen, obeys commands that
//! come as lines of JSON, and ends when its standard input does. With `port` it is a port of the VM: commands and answers
//! are packets with their length in four bytes before them.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;

use brod_mock::control::{self, obey};
use brod_mock::{Config, Server};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

const LONGEST_COMMAND: u32 = 16 * 1024 * 1024;

fn main() -> ExitCode {
    let config = match std::env::args().nth(1) {
        None => Config::default(),
        Some(text) => match serde_json::from_str(&text) {
            Ok(config) => config,
            Err(error) => {
                await_command();
                return failed(&format!("the configuration does not parse: {error}"));
            }
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(config)),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("brod_mock: {why}");
    ExitCode::FAILURE
}

fn is_port() -> bool {
    std::env::args().nth(2).as_deref() == Some("port")
}

/// A VM that writes to a program that has ended may not hear how it ended.
fn await_command() {
    if is_port() {
        let _ = std::io::stdin().read(&mut [0]);
    }
}

async fn start(config: Config) -> Result<(Arc<Server>, Option<u16>), String> {
    let control_port = config.control_port;
    let server = Server::start(config)
        .await
        .map_err(|error| error.to_string())?;
    let server = Arc::new(server);
    let control_port = match control_port {
        Some(port) => Some(control::listen(server.clone(), port).await),
        None => None,
    };
    let control_port = control_port
        .transpose()
        .map_err(|error| format!("no port for commands: {error}"))?;
    Ok((server, control_port))
}

async fn run(config: Config) -> Result<(), String> {
    let (server, control_port) = start(config).await.inspect_err(|_| await_command())?;
    let mut input = tokio::io::stdin();
    let mut output = tokio::io::stdout();
    if !is_port() {
        for (broker, host, port) in server.endpoints() {
            println!("{broker} {host}:{port}");
        }
        if let Some(port) = control_port {
            println!("control 127.0.0.1:{port}");
        }
        // Commands are lines; so are their answers.
        let mut lines = BufReader::new(input).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            println!("{}", obey(&server, line.as_bytes()).await);
        }
        return Ok(());
    }
    // The VM's end closes with the VM.
    while let Ok(length) = input.read_u32().await {
        if length > LONGEST_COMMAND {
            return Err("a command is too long".into());
        }
        let mut command = vec![0; length as usize];
        if input.read_exact(&mut command).await.is_err() {
            return Ok(());
        }
        let answer = obey(&server, &command).await;
        let mut packet = (answer.len() as u32).to_be_bytes().to_vec();
        packet.extend_from_slice(answer.as_bytes());
        output
            .write_all(&packet)
            .await
            .map_err(|error| error.to_string())?;
        output.flush().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}
