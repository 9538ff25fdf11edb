//! Measures what the documentation of this crate states: loading, memory, time per text and time per search.
//!
//! `cargo run --release -p tidemill-vectors --example measure -- models/all-MiniLM-L6-v2`, or instead of the folder the
//! address of a Weaviate server, whose class `Measured` it fills.
#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::Utc;
use tidemill_vectors::{
    Embedded, Embedder, Entry, Error, MiniLm, Query, VectorStore, Weaviate, WeaviateConfig, WindowConfig,
    model_folder,
};
use uuid::Uuid;

const SENTENCE: &str =
    "The city council approved a new budget for public transport on Monday, after weeks of debate.";

#[tokio::main]
async fn main() -> Result<(), Error> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        println!("a TLS provider was installed already");
    }
    let folder = std::env::args().nth(1).unwrap_or_else(|| "models/all-MiniLM-L6-v2".to_owned());
    if folder.starts_with("http") {
        return weaviate(&folder).await;
    }
    for count in [10_000, 100_000] {
        let window = WindowConfig { max_age: Duration::from_secs(86_400), max_count: count, dimensions: 384 };
        let store = Embedded::new(window);
        store_and_search(&store, count).await?;
        println!("{} bytes", store.memory_bytes());
    }
    let fetched = model_folder::fetch(Path::new(&folder), |_, _| ()).await?;
    println!("model: {fetched:?}; resident before loading {} MB", resident_mb());
    let begun = Instant::now();
    let minilm = MiniLm::load(Path::new(&folder))?;
    println!("loaded in {:?}; resident {} MB, at most {} MB", begun.elapsed(), resident_mb(), peak_mb());

    let long = SENTENCE.repeat(20);
    for (name, text) in [("20 tokens", SENTENCE), ("256 tokens", long.as_str())] {
        for batch in [1, 32, 256] {
            let each = time_each(&minilm, text, batch).await?;
            println!("{name}, batches of {batch}: {each:?} a text");
        }
    }
    println!("resident {} MB, at most {} MB", resident_mb(), peak_mb());
    Ok(())
}

async fn time_each(embedder: &impl Embedder, text: &str, batch: usize) -> Result<Duration, Error> {
    let texts: Vec<String> = (0..batch).map(|n| format!("{n} {text}")).collect();
    embedder.embed(&texts).await?;
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        embedder.embed(&texts).await?;
        rounds += 1;
    }
    Ok(begun.elapsed() / (rounds * batch as u32))
}

async fn weaviate(url: &str) -> Result<(), Error> {
    let store = Weaviate::new(&WeaviateConfig {
        url: url.to_owned(),
        class: "Measured".to_owned(),
        api_key: None,
        timeout: Duration::from_secs(60),
    })?;
    store.prepare(Some(384)).await?;
    let one = [entry(u64::MAX)];
    let begun = Instant::now();
    for _ in 0..100 {
        store.upsert(&one).await?;
    }
    println!("one vector at a time: {:?} each", begun.elapsed() / 100);
    store_and_search(&store, 10_000).await?;
    store_and_search(&store, 100_000).await
}

async fn store_and_search(store: &dyn VectorStore, count: usize) -> Result<(), Error> {
    let begun = Instant::now();
    for chunk in (0..count as u64).collect::<Vec<_>>().chunks(256) {
        let entries: Vec<Entry> = chunk.iter().map(|&n| entry(n)).collect();
        for taken in store.upsert(&entries).await? {
            taken?;
        }
    }
    println!("{count} vectors made and added in {:?}", begun.elapsed());
    let wanted: Vec<Vec<f32>> = (0..100).map(|n| entry(n * 31).vector).collect();
    let begun = Instant::now();
    for vector in &wanted {
        let before = Some((Utc::now(), Uuid::max()));
        store.nearest(Query { tenant: "t", model: "m", vector, k: 5, before }).await?;
    }
    println!("nearest 5 of {count}: {:?} a search", begun.elapsed() / 100);
    Ok(())
}

fn entry(n: u64) -> Entry {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    Entry {
        id: Uuid::from_u128(u128::from(n)),
        run_id: Uuid::from_u128(u128::from(n)),
        tenant: "t".to_owned(),
        model: "m".to_owned(),
        received_at: Utc::now(),
        vector: (0..384).map(|_| next()).collect(),
    }
}

fn resident_mb() -> u64 {
    status("VmRSS:")
}

fn peak_mb() -> u64 {
    status("VmHWM:")
}

/// 0 where there is no `/proc`.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}
