//! apalis-redis as a contender: a workflow of four steps, whose results are the arguments of the following step.

mod peer;
mod worker;

use apalis_redis::Config;
use driver::{Fault, Offers, drive};
use serde::{Deserialize, Serialize};

/// Tasks that a worker fetches, and that it does at once.
const BATCH: usize = 256;

/// An event, as the first step takes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Payload {
    event: usize,
    title: String,
    body: String,
}

/// A step's result, as the next one takes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    event: usize,
    stage: String,
    result: String,
}

/// No leases and no events by pub/sub: the tasks are far shorter than a heartbeat, and nobody listens.
fn config() -> Config {
    Config::default().queue("bench").batch_size(BATCH).lock_tasks(false).emit_events(false)
}

#[tokio::main]
async fn main() {
    let code = run().await.unwrap_or_else(|fault| {
        eprintln!("error: {fault}");
        70
    });
    // Returning would wait for a read of standard input.
    std::process::exit(code);
}

async fn run() -> Result<i32, Fault> {
    let url = std::env::var("REDIS_URL")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [kind, ends] if kind == "worker" => worker::work(&url, ends.as_ref()).await.map(|()| 0),
        _ => drive(peer::Apalis::connect(&url).await?, Offers { chunk: 256, senders: 4 }, &arguments).await,
    }
}
