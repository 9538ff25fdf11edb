//! `GET /v1/recall`: what was embedded and means much the same.
//!
//! The gateway embeds the question itself and holds its own index. Both are made with the first question, since a
//! gateway that nobody asks shall not carry a model.

use ::recall::Index;
use ::recall::config::Section;
use axum::Json;
use axum::extract::State;
use fleet::FaultKind;
use model::RunId;
use serde::Deserialize;
use serde_json::{Value, json};
use vectors::Query as Nearest;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::Query;

/// The longest question, in characters.
const LONGEST: usize = 10_000;
/// Answers at most.
const MOST: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    q: String,
    k: Option<usize>,
}

/// Answers with the `k` nearest of the tenant, nearest first, each with its score: the cosine, −1 to 1.
pub(crate) async fn recall(
    State(app): State<App>,
    caller: Caller,
    Query(question): Query<Question>,
) -> Result<Json<Value>, Problem> {
    caller.must("read")?;
    let k = question.k.unwrap_or(10);
    if question.q.trim().is_empty() || question.q.chars().count() > LONGEST {
        return Err(Problem::bad_request(format!("`q` has 1 to {LONGEST} characters")));
    }
    if !(1..=MOST).contains(&k) {
        return Err(Problem::bad_request(format!("`k` is a number from 1 to {MOST}")));
    }
    let index = app.index.get_or_try_init(|| open(&app)).await?;
    index.caught_up().await;
    let refused = |e: vectors::Error| Problem::unavailable(e.to_string());
    let vector = index.embedder.embed(&[question.q]).await.map_err(refused)?.remove(0);
    let nearest =
        Nearest { tenant: caller.tenant(), model: index.embedder.model(), vector: &vector, k, before: None };
    let found = index.store.nearest(nearest).await.map_err(refused)?;
    let runs: Vec<RunId> = found.iter().map(|near| RunId(near.run_id)).collect();
    let loaded = app.process.record.load(&runs, false, &["content".to_owned()]).await?;
    let results: Vec<Value> = found
        .iter()
        .filter_map(|near| {
            let (_, run) = loaded.iter().find(|(run, _)| run.0 == near.run_id)?;
            let run = run.as_ref().ok().filter(|run| run.tenant == caller.tenant())?;
            let content = run.content().ok().flatten()?.content;
            Some(json!({
                "run_id": near.run_id,
                "enriched_trend_id": near.id,
                "score": near.similarity,
                "state": run.state,
                "received_at": near.received_at,
                "source": run.source,
                "title": content.title,
                "summary": content.summary,
                "url": content.url,
            }))
        })
        .collect();
    Ok(Json(json!({ "model": index.embedder.model(), "results": results })))
}

async fn open(app: &App) -> Result<Index, Problem> {
    let section: Section = app.process.section("embedding").map_err(|e| Problem::unavailable(e.message))?;
    let index = Index::open(&app.process, &section).await;
    index.map_err(|fault| match fault.kind {
        FaultKind::Usage => {
            Problem::unavailable(format!("the gateway is not configured for recall: {}", fault.message))
        }
        _ => Problem::unavailable(fault.message),
    })
}
