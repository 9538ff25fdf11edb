//! `GET /v1/recall`: what was embedded and means much the same.
//!
//! The gateway embeds the question itself and holds its own index. Both are made with the first question, since a
//! gateway that nobody asks shall not carry a model.

use ::recall::Index;
use ::recall::config::Section;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use fleet::FaultKind;
use model::RunState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::Query;
use crate::openapi::Always;

/// The longest question, in characters.
const LONGEST: usize = 10_000;
/// Answers at most.
const MOST: usize = 100;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Question {
    /// What is looked for, in words: 1 to 10,000 characters.
    q: String,
    /// How many answers: 1 to 100; 10 unless given.
    #[param(minimum = 1, maximum = 100)]
    k: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Recalled {
    /// The model that embedded them.
    model: String,
    /// The nearest first.
    results: Vec<RecalledTrend>,
}

/// What was embedded and means much the same.
#[derive(Serialize, ToSchema)]
struct RecalledTrend {
    run_id: Uuid,
    enriched_trend_id: Uuid,
    /// Cosine, −1 to 1.
    score: f32,
    state: RunState,
    received_at: DateTime<Utc>,
    source: String,
    title: String,
    summary: String,
    url: Option<String>,
}

/// Answers with the `k` nearest of the tenant, nearest first.
#[utoipa::path(
    get,
    operation_id = "recall",
    path = "/v1/recall",
    tag = "operating",
    params(Question),
    responses((status = 200, description = "What means much the same", body = Recalled), Always),
)]
pub(crate) async fn recall(
    State(app): State<App>,
    caller: Caller,
    Query(question): Query<Question>,
) -> Result<Json<Recalled>, Problem> {
    caller.must("read")?;
    let k = question.k.unwrap_or(10);
    if question.q.trim().is_empty() || question.q.chars().count() > LONGEST {
        return Err(Problem::bad_request(format!("`q` has 1 to {LONGEST} characters")));
    }
    if !(1..=MOST).contains(&k) {
        return Err(Problem::bad_request(format!("`k` is a number from 1 to {MOST}")));
    }
    let index = app.index.get_or_try_init(|| open(&app)).await?;
    let found = ::recall::answer(index, &app.process.record, caller.tenant(), question.q, k).await;
    let found = found.map_err(|error| match error {
        ::recall::RecallError::Vectors(error) => Problem::unavailable(error.to_string()),
        ::recall::RecallError::Record(error) => Problem::from(error),
    })?;
    let results = found
        .into_iter()
        .map(|one| RecalledTrend {
            run_id: one.run_id,
            enriched_trend_id: one.enriched_trend_id,
            score: one.score,
            state: one.state,
            received_at: one.received_at,
            source: one.source,
            title: one.title,
            summary: one.summary,
            url: one.url,
        })
        .collect();
    Ok(Json(Recalled { model: index.embedder.model().to_owned(), results }))
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
