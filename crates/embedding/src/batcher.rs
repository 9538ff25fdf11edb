//! Batching: while one batch is embedded, the next gathers.

use std::sync::Arc;

use model::Failure;
use tokio::sync::{mpsc, oneshot};
use vectors::Embedder;

use crate::error::failure;

/// The longest text that the embedder is given, in characters; models read far less.
const MAX_CHARS: usize = 8000;

struct Asked {
    text: String,
    answer: oneshot::Sender<Result<Vec<f32>, Failure>>,
}

/// Gathers texts into batches.
#[derive(Debug)]
pub(crate) struct Batcher {
    asked: mpsc::UnboundedSender<Asked>,
}

impl Batcher {
    /// Embeds batches of at most `limit` on a task of its own, which ends with the batcher.
    pub(crate) fn start(embedder: Arc<dyn Embedder>, limit: usize) -> Self {
        let (asked, mut queue) = mpsc::unbounded_channel::<Asked>();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while queue.recv_many(&mut batch, limit.max(1)).await > 0 {
                embed(&*embedder, std::mem::take(&mut batch)).await;
            }
        });
        Self { asked }
    }

    /// The vector of one text. Dropping the future loses only the answer.
    pub(crate) async fn embed(&self, text: &str) -> Result<Vec<f32>, Failure> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { text: text.chars().take(MAX_CHARS).collect(), answer };
        let stopped = || Failure::transient("the embedder stopped");
        self.asked.send(asked).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// Embeds a batch. Where it fails for good as a whole, each text is tried alone, so that one cannot fail the others.
async fn embed(embedder: &dyn Embedder, batch: Vec<Asked>) {
    let (texts, answers): (Vec<String>, Vec<_>) =
        batch.into_iter().map(|asked| (asked.text, asked.answer)).unzip();
    let vectors = match embedder.embed(&texts).await {
        Ok(vectors) => vectors.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) if error.class() == vectors::Class::Permanent && texts.len() > 1 => {
            let mut alone = Vec::with_capacity(texts.len());
            for text in texts {
                let one = embedder.embed(std::slice::from_ref(&text)).await;
                alone.push(one.map_err(|e| failure(&e)).and_then(|mut vectors| {
                    vectors.pop().ok_or_else(|| Failure::permanent("the embedder answered with no vector"))
                }));
            }
            alone
        }
        Err(error) => texts.iter().map(|_| Err(failure(&error))).collect(),
    };
    for (answer, vector) in answers.into_iter().zip(vectors) {
        // A job that was dropped meanwhile no longer waits for its vector.
        drop(answer.send(vector));
    }
}
