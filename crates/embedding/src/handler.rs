//! One trend embedded: its vector stored under its own id, its nearest earlier trends found.

use std::sync::Arc;

use fleet::{Handler, JobContext, Needs};
use model::{Claims, EmbeddingRecord, EmbeddingStatus, Failure, NearClaim, Outcome, Report, RunId};
use recall::config::Section;
use vectors::{Embedder, Entry, Query, VectorStore};

use crate::batcher::Batcher;
use crate::error::failure;

pub(crate) struct Embedding {
    model: String,
    batcher: Batcher,
    store: Arc<dyn VectorStore>,
    neighbours: usize,
}

impl Embedding {
    pub(crate) fn new(embedder: Arc<dyn Embedder>, store: Arc<dyn VectorStore>, config: &Section) -> Self {
        let model = embedder.model().to_owned();
        Self { model, batcher: Batcher::start(embedder, config.batch), store, neighbours: config.neighbours }
    }

    async fn embed(&self, job: &JobContext) -> Result<Report, Failure> {
        let content = job.content()?.content;
        let vector = self.batcher.embed(&format!("{}\n{}", content.title, content.body)).await?;
        // Stored before it is asked for others, so that of two that are under way the later sees the earlier.
        let entry = Entry {
            id: EmbeddingRecord::vector_id(job.run),
            run_id: job.run.0,
            tenant: job.tenant.clone(),
            model: self.model.clone(),
            received_at: job.received_at,
            vector: vector.clone(),
        };
        self.store.upsert(&[entry]).await.map_err(|e| failure(&e))?;
        let near = self.nearest(job, &vector).await?;
        let output = serde_json::json!({
            "model": self.model,
            "dimensions": vector.len(),
            "vector_id": EmbeddingRecord::vector_id(job.run),
            "embedding_status": EmbeddingStatus::Succeeded,
            "nearest": near.iter().map(|n| serde_json::json!({ "run_id": n.run, "similarity": n.similarity })).collect::<Vec<_>>(),
        });
        Ok(Report {
            output,
            embedding: Some(EmbeddingRecord {
                status: EmbeddingStatus::Succeeded,
                model: self.model.clone(),
                vector,
            }),
            claims: Claims { fingerprint: None, near },
            model: Some(self.model.clone()),
            ..Report::default()
        })
    }

    async fn nearest(&self, job: &JobContext, vector: &[f32]) -> Result<Vec<NearClaim>, Failure> {
        let found = self
            .store
            .nearest(Query {
                tenant: &job.tenant,
                model: &self.model,
                vector,
                k: self.neighbours,
                before: Some((job.received_at, job.run.0)),
            })
            .await
            .map_err(|e| failure(&e))?;
        Ok(found
            .into_iter()
            .map(|n| NearClaim { run: RunId(n.run_id), similarity: f64::from(n.similarity) })
            .collect())
    }
}

impl Handler for Embedding {
    const WORKER: &'static str = "embedding";
    const NEEDS: Needs = Needs { payload: false, artifacts: &["content"] };

    async fn handle(&self, job: &JobContext) -> Outcome {
        match self.embed(job).await {
            Ok(report) => Outcome::Done(report),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    fn obituary(&self) -> Option<EmbeddingRecord> {
        Some(EmbeddingRecord { status: EmbeddingStatus::Failed, model: self.model.clone(), vector: vec![] })
    }
}
