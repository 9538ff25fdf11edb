//! Measures recall: how often a paraphrase finds the text that it paraphrases among the nearest few.
//!
//! ```text
//! cargo run --release -p tidemill-bench --bin recall -- EVENTS.jsonl bench/paraphrases.tsv --model models/all-MiniLM-L6-v2
//! ```
//!
//! The events have the shape of `POST /v1/events`, one a line; the pairs are lines of `request_id`, a tab and a
//! paraphrase, under a heading. Texts are put together as ETL and the embedder do. The bar is recall@5 ≥ 0.9 with the
//! model; the hashing embedder, which compares words alone, must miss it.
#![expect(clippy::print_stdout, reason = "a command whose output is its purpose")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::Utc;
use clap::Parser;
use model::{NewEvent, Payload};
use text::{Analyser, Config, Source};
use uuid::Uuid;
use vectors::{Embedded, Embedder, Entry, Hashing, MiniLm, Query, VectorStore, WindowConfig};

#[derive(Parser)]
#[command(about = "Measures how often a paraphrase finds its text among the nearest few")]
struct Cli {
    /// Events (NDJSON)
    events: PathBuf,
    /// Pairs: request id, tab, paraphrase, under a heading
    pairs: PathBuf,
    /// The folder of the embedding model; without one the hashing embedder is measured
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// How many of the nearest count
    #[arg(short, default_value_t = 5)]
    k: usize,
    /// Fail below this share
    #[arg(long, default_value_t = 0.0)]
    least: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match measure(&cli).await {
        Ok(share) if share >= cli.least => ExitCode::SUCCESS,
        Ok(_) => {
            println!("FAILED: below {}", cli.least);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(64)
        }
    }
}

async fn measure(cli: &Cli) -> Result<f64, String> {
    let embedder: Box<dyn Embedder> = match &cli.model {
        Some(folder) => Box::new(MiniLm::load(folder).map_err(|e| e.to_string())?),
        None => Box::new(Hashing::new()),
    };
    let texts = texts(&cli.events)?;
    let store = Embedded::new(WindowConfig {
        max_age: std::time::Duration::from_secs(3600),
        max_count: texts.len().max(1),
        dimensions: embedder.dimensions(),
    });
    for (first, group) in texts.chunks(32).enumerate() {
        let bodies: Vec<String> = group.iter().map(|(_, text)| text.clone()).collect();
        let vectors = embedder.embed(&bodies).await.map_err(|e| e.to_string())?;
        let entries: Vec<Entry> = vectors
            .into_iter()
            .enumerate()
            .map(|(at, vector)| {
                let id = Uuid::from_u128((first * 32 + at) as u128);
                let model = embedder.model().to_owned();
                Entry { id, run_id: id, tenant: String::new(), model, received_at: Utc::now(), vector }
            })
            .collect();
        for taken in store.upsert(&entries).await.map_err(|e| e.to_string())? {
            taken.map_err(|e| e.to_string())?;
        }
    }
    let pairs = pairs(&cli.pairs)?;
    let (mut found, mut first) = (0, 0);
    for (request_id, paraphrase) in &pairs {
        let vector =
            embedder.embed(std::slice::from_ref(paraphrase)).await.map_err(|e| e.to_string())?.remove(0);
        let query = Query { tenant: "", model: embedder.model(), vector: &vector, k: cli.k, before: None };
        let nearest = store.nearest(query).await.map_err(|e| e.to_string())?;
        let rank = nearest.iter().position(|near| {
            usize::try_from(near.id.as_u128())
                .ok()
                .and_then(|at| texts.get(at))
                .is_some_and(|(id, _)| id == request_id)
        });
        found += usize::from(rank.is_some());
        first += usize::from(rank == Some(0));
        if rank.is_none() {
            println!("  missed {request_id}: {paraphrase}");
        }
    }
    let share = |count: usize| count as f64 / pairs.len().max(1) as f64;
    println!(
        "{}: recall@{} {:.2}, recall@1 {:.2}, over {} paraphrases among {} texts",
        embedder.model(),
        cli.k,
        share(found),
        share(first),
        pairs.len(),
        texts.len()
    );
    Ok(share(found))
}

/// Request ids and texts, as ETL normalises them and the embedder puts them together.
fn texts(file: &Path) -> Result<Vec<(String, String)>, String> {
    let analyser = Analyser::new(Config::default()).map_err(|e| e.to_string())?;
    let mut texts = Vec::new();
    for (number, line) in read(file)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |e: model::EventError| format!("{}:{}: {e}", file.display(), number + 1);
        let event = NewEvent::parse(line.as_bytes()).map_err(at)?;
        let payload = Payload::parse(event.payload.get()).map_err(at)?;
        let source = Source {
            title: payload.title.as_deref(),
            body: payload.body.as_deref().unwrap_or_default(),
            language: payload.language.as_deref(),
        };
        if let (Ok(analysis), Some(id)) = (analyser.analyse(&source), event.request_id) {
            texts.push((id, format!("{}\n{}", analysis.title, analysis.text)));
        }
    }
    Ok(texts)
}

fn pairs(file: &Path) -> Result<Vec<(String, String)>, String> {
    let pair = |(number, line): (usize, &str)| {
        let pair = line.split_once('\t').map(|(id, text)| (id.to_owned(), text.trim().to_owned()));
        pair.ok_or_else(|| {
            format!("{}:{}: want a request id, a tab and a paraphrase", file.display(), number + 1)
        })
    };
    read(file)?.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()).map(pair).collect()
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{} cannot be read: {e}", file.display()))
}
