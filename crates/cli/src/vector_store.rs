//! `tidemill vectors`, and what other commands do to a vector store outside the record.

use std::io::IsTerminal;

use fleet::config::Overrides;
use fleet::{Fault, Settings};
use indicatif::{ProgressBar, ProgressStyle};
use recall::config::Section;
use record::{Record, StoredEmbedding};
use uuid::Uuid;
use vectors::{Entry, VectorStore, Weaviate};

use crate::args::{Database, Vectors};

/// Vectors read from the record at once.
const PAGE: i64 = 512;
/// Where nobody watches a bar, a line is printed each time so many were looked at.
const TOLD: u64 = 10_000;

fn section() -> Result<Section, Fault> {
    Settings::load(&Overrides::default())?.section("embedding")
}

/// The Weaviate server, where that is the store.
pub(crate) fn configured() -> Result<Option<Weaviate>, Fault> {
    section()?.weaviate()
}

pub(crate) async fn run(command: Vectors) -> Result<(), Fault> {
    let Vectors::Rebuild { model, database } = command;
    rebuild(&database, model).await
}

async fn rebuild(database: &Database, model: Option<String>) -> Result<(), Fault> {
    let section = section()?;
    let Some(weaviate) = section.weaviate()? else {
        println!(
            "The store is `embedded`: each process fills its own from the record when it starts, so there is nothing to rebuild."
        );
        return Ok(());
    };
    let record = database.record().await?;
    let known = record.embedding_models().await?;
    let model = match model {
        Some(model) => model,
        None => section.embedder()?.model().to_owned(),
    };
    let count = known.iter().find(|(name, _)| *name == model).map_or(0, |(_, count)| *count);
    let others: Vec<String> = known
        .iter()
        .filter(|(name, _)| *name != model)
        .map(|(name, count)| format!("{count} of `{name}`"))
        .collect();
    if count == 0 && !others.is_empty() {
        return Err(Fault::usage(format!(
            "the record has no vectors of `{model}`, but {}: see embedding.embedder, or pass --model",
            others.join(", ")
        )));
    }
    let filled = fill(&record, &weaviate, &model, count).await;
    if !others.is_empty() {
        println!("Left alone: {}; nothing is compared with them.", others.join(", "));
    }
    filled
}

/// What became of the vectors so far.
#[derive(Debug, Default)]
struct Filled {
    seen: u64,
    added: u64,
    refused: u64,
    first_refusal: Option<String>,
}

async fn fill(record: &Record, weaviate: &Weaviate, model: &str, count: u64) -> Result<(), Fault> {
    let bar = ProgressBar::new(count);
    if let Ok(style) = ProgressStyle::with_template("vectors {bar:40} {pos}/{len}, {msg} added, {eta} left") {
        bar.set_style(style);
    }
    let mut filled = Filled::default();
    let mut after = Uuid::nil();
    loop {
        let page = record.embeddings_of(model, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.vector_id;
        if filled.seen == 0 {
            recall::prepare(weaviate, page[0].vector.len()).await?;
        }
        add_missing(weaviate, model, page, &mut filled).await.map_err(|error| {
            Fault::unavailable(format!(
                "{error}; {} were added so far: run it again, and it goes on with what is missing",
                filled.added
            ))
        })?;
        bar.set_length(count.max(filled.seen));
        bar.set_message(filled.added.to_string());
        bar.set_position(filled.seen);
        if !std::io::stderr().is_terminal() && filled.seen % TOLD < PAGE.unsigned_abs() {
            println!("{} of {count} looked at, {} added", filled.seen, filled.added);
        }
    }
    bar.finish_and_clear();
    let Filled { seen, added, refused, first_refusal } = filled;
    println!("{added} vectors of `{model}` added, {} were there.", seen - added - refused);
    match first_refusal {
        None => Ok(()),
        Some(why) => Err(Fault::unavailable(format!("{refused} vectors were refused, the first: {why}"))),
    }
}

/// Adds those of a page that the store lacks.
async fn add_missing(
    weaviate: &Weaviate,
    model: &str,
    page: Vec<StoredEmbedding>,
    filled: &mut Filled,
) -> Result<(), vectors::Error> {
    let ids: Vec<Uuid> = page.iter().map(|stored| stored.vector_id).collect();
    let missing = weaviate.missing(&ids, model).await?;
    let entries: Vec<Entry> =
        page.into_iter().filter(|stored| missing.contains(&stored.vector_id)).map(recall::entry).collect();
    for taken in weaviate.upsert(&entries).await? {
        match taken {
            Ok(()) => filled.added += 1,
            Err(error) => {
                filled.refused += 1;
                filled.first_refusal.get_or_insert_with(|| error.to_string());
            }
        }
    }
    filled.seen += ids.len() as u64;
    Ok(())
}

/// Removes the vectors of pruned runs, those that an earlier command left among them.
pub(crate) async fn remove_pruned(record: &Record, weaviate: &Weaviate) -> Result<(), Fault> {
    let away = |error: vectors::Error| {
        Fault::unavailable(format!(
            "{error}; the vectors of pruned runs are noted, and the next `tidemill prune` removes them"
        ))
    };
    loop {
        let vectors = record.removed_vectors(PAGE).await?;
        if vectors.is_empty() {
            return Ok(());
        }
        weaviate.prepare(None).await.map_err(away)?;
        weaviate.remove(&vectors).await.map_err(away)?;
        record.forget_removed_vectors(&vectors).await?;
    }
}
