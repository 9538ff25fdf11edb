//! ChasquiMQ as a contender: four queues, each stage's result is stored and is the payload of the next stage's job.

mod peer;
mod worker;

use chasquimq::{Producer, ProducerConfig};
use driver::{Fault, Offers, drive};

/// A producer for a stage's queue.
async fn producer(url: &str, stage: &str) -> Result<Producer<String>, Fault> {
    let config = ProducerConfig { queue_name: stage.to_owned(), ..ProducerConfig::default() };
    Ok(Producer::connect(url, config).await?)
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
        _ => drive(peer::Chasqui::connect(&url).await?, Offers { chunk: 256, senders: 4 }, &arguments).await,
    }
}
