//! `brod_mock [CONFIG]`: a Kafka in memory, set up by JSON. It says where its brokers listen, and ends when its
//! standard input does.

use std::process::ExitCode;

use brod_mock::{Config, Server};
use tokio::io::AsyncReadExt;

fn main() -> ExitCode {
    let config = match std::env::args().nth(1) {
        None => Config::default(),
        Some(text) => match serde_json::from_str(&text) {
            Ok(config) => config,
            Err(error) => return failed(&format!("the configuration does not parse: {error}")),
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

async fn run(config: Config) -> Result<(), String> {
    let server = Server::start(config)
        .await
        .map_err(|error| error.to_string())?;
    for (broker, host, port) in server.endpoints() {
        println!("{broker} {host}:{port}");
    }
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 1024];
    loop {
        match input.read(&mut ignored).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}
