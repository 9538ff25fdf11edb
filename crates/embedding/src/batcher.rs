//! Batching: while one batch is embedded and stored, the next gathers.

use std::sync::Arc;

use model::Failure;
use tokio::sync::{mpsc, oneshot};
use vectors::{Embedder, Entry, VectorStore};

/// The longest text that the embedder is given, in characters; models read far less.
const MAX_CHARS: usize = 8000;

type Answer = Result<Vec<f32>, Failure>;

struct Asked {
    text: String,
    /// What is stored of it, without its vector.
    entry: Entry,
    answer: oneshot::Sender<Answer>,
}

/// Gathers texts into batches.
#[derive(Debug)]
pub(crate) struct Batcher {
    asked: mpsc::UnboundedSender<Asked>,
}

impl Batcher {
    /// Embeds and stores batches of at most `limit` on a task of its own, which ends with the batcher.
    pub(crate) fn start(embedder: Arc<dyn Embedder>, store: Arc<dyn VectorStore>, limit: usize) -> Self {
        let (asked, mut queue) = mpsc::unbounded_channel::<Asked>();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while queue.recv_many(&mut batch, limit.max(1)).await > 0 {
                // A job that was dropped meanwhile wants nothing any more.
                batch.retain(|asked| !asked.answer.is_closed());
                answer(&*embedder, &*store, std::mem::take(&mut batch)).await;
            }
        });
        Self { asked }
    }

    /// The vector of one text, once it is stored as this entry, whose own vector does not matter. Dropping the future loses
    /// only the answer.
    pub(crate) async fn embed(&self, text: &str, entry: Entry) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { text: text.chars().take(MAX_CHARS).collect(), entry, answer };
        let stopped = || Failure::transient("the embedder stopped");
        self.asked.send(asked).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

async fn answer(embedder: &dyn Embedder, store: &dyn VectorStore, batch: Vec<Asked>) {
    if batch.is_empty() {
        return;
    }
    let mut waiting = Vec::with_capacity(batch.len());
    let mut texts = Vec::with_capacity(batch.len());
    for Asked { text, entry, answer } in batch {
        texts.push(text);
        waiting.push((entry, answer));
    }
    let (mut entries, mut answers) = (Vec::new(), Vec::new());
    for ((entry, answer), vector) in waiting.into_iter().zip(embed(embedder, texts).await) {
        match vector {
            Ok(vector) => {
                entries.push(Entry { vector, ..entry });
                answers.push(answer);
            }
            // Whoever is gone meanwhile no longer waits for it; so below.
            Err(failure) => drop(answer.send(Err(failure))),
        }
    }
    let stored = keep(store, &entries).await;
    for ((entry, answer), stored) in entries.into_iter().zip(answers).zip(stored) {
        drop(answer.send(stored.map(|()| entry.vector)));
    }
}

/// Embeds texts. Where they fail for good as a whole, each is tried alone, so that one cannot fail the others.
async fn embed(embedder: &dyn Embedder, texts: Vec<String>) -> Vec<Answer> {
    match embedder.embed(&texts).await {
        Ok(vectors) => vectors.into_iter().map(Ok).collect(),
        Err(error) if error.class() == vectors::Class::Permanent && texts.len() > 1 => {
            let mut alone = Vec::with_capacity(texts.len());
            for text in texts {
                let one = embedder.embed(std::slice::from_ref(&text)).await;
                alone.push(one.map_err(Failure::from).and_then(|mut vectors| {
                    vectors.pop().ok_or_else(|| Failure::permanent("the embedder answered with no vector"))
                }));
            }
            alone
        }
        Err(error) => texts.iter().map(|_| Err(Failure::from(error.clone()))).collect(),
    }
}

/// Stores entries: what became of each.
async fn keep(store: &dyn VectorStore, entries: &[Entry]) -> Vec<Result<(), Failure>> {
    if entries.is_empty() {
        return Vec::new();
    }
    match store.upsert(entries).await {
        Ok(taken) => taken.into_iter().map(|taken| taken.map_err(Failure::from)).collect(),
        Err(error) => entries.iter().map(|_| Err(Failure::from(error.clone()))).collect(),
    }
}
