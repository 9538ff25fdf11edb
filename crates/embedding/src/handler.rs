//! One trend embedded: its vector stored under its own id, its nearest earlier trends found.

use std::sync::Arc;

use fleet::{Handler, JobContext, Needs};
use model::{Claims, EmbeddingRecord, EmbeddingStatus, Failure, NearClaim, Outcome, Report, RunId};
use recall::config::Section;
use vectors::{Embedder, Entry, Query, VectorStore};

use crate::batcher::Batcher;

pub(crate) struct Embedding {
    embedder: Arc<dyn Embedder>,
    batcher: Batcher,
    store: Arc<dyn VectorStore>,
    neighbours: usize,
}

impl Embedding {
    pub(crate) fn new(embedder: Arc<dyn Embedder>, store: Arc<dyn VectorStore>, config: &Section) -> Self {
        let batcher = Batcher::start(Arc::clone(&embedder), Arc::clone(&store), config.batch);
        Self { embedder, batcher, store, neighbours: config.neighbours }
    }

    async fn embed(&self, job: &JobContext) -> Result<Report, Failure> {
        let content = job.content()?.content;
        let model = self.embedder.model().to_owned();
        let entry = Entry {
            id: EmbeddingRecord::vector_id(job.run),
            run_id: job.run.0,
            tenant: job.tenant.clone(),
            model: model.clone(),
            received_at: job.received_at,
            vector: Vec::new(),
        };
        // Stored before others are asked for, so that of two that are under way the later sees the earlier.
        let vector = self.batcher.embed(&format!("{}\n{}", content.title, content.body), entry).await?;
        let near = self.nearest(job, &vector).await?;
        let output = serde_json::json!({
            "model": model,
            "dimensions": vector.len(),
            "vector_id": EmbeddingRecord::vector_id(job.run),
            "embedding_status": EmbeddingStatus::Succeeded,
            "nearest": near.iter().map(|n| serde_json::json!({ "run_id": n.run, "similarity": n.similarity })).collect::<Vec<_>>(),
        });
        Ok(Report {
            output,
            embedding: Some(EmbeddingRecord {
                status: EmbeddingStatus::Succeeded,
                model: model.clone(),
                vector,
            }),
            claims: Claims { fingerprint: None, near },
            model: Some(model),
            ..Report::default()
        })
    }

    async fn nearest(&self, job: &JobContext, vector: &[f32]) -> Result<Vec<NearClaim>, Failure> {
        let found = self
            .store
            .nearest(Query {
                tenant: &job.tenant,
                model: self.embedder.model(),
                vector,
                k: self.neighbours,
                before: Some((job.received_at, job.run.0)),
            })
            .await
            .map_err(Failure::from)?;
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

    /// What is away is the store or the embedder: the first is asked how it is, the second can only be tried.
    async fn probe(&self) -> Result<(), Failure> {
        self.store.check().await?;
        self.embedder.embed(&["tidemill".to_owned()]).await?;
        Ok(())
    }

    fn obituary(&self) -> Option<EmbeddingRecord> {
        let model = self.embedder.model().to_owned();
        Some(EmbeddingRecord { status: EmbeddingStatus::Failed, model, vector: vec![] })
    }
}
