//! Escalations: what people are asked.

use axum::Json;
use axum::extract::State;
use model::{Content, RunId, RunState};
use record::Escalation;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Path, Query};
use crate::openapi::{Always, Missing};
use crate::people::{self, Limit};

#[derive(Serialize, ToSchema)]
pub(crate) struct Escalations {
    /// The most pressing first.
    escalations: Vec<Escalation>,
}

/// An escalation with what a person needs to decide.
#[derive(Serialize, ToSchema)]
pub(crate) struct EscalationDetail {
    #[serde(flatten)]
    escalation: Escalation,
    /// The event's source.
    source: String,
    /// The planner's purpose.
    planner_intent: String,
    /// What is to be published, where there is any yet.
    content: Option<Content>,
    /// The nearest earlier trends; those of runs that are gone are left out.
    nearest: Vec<NearTrend>,
}

/// An earlier trend that means much the same.
#[derive(Serialize, ToSchema)]
pub(crate) struct NearTrend {
    run_id: RunId,
    /// Cosine, −1 to 1.
    similarity: f64,
    title: Option<String>,
    state: RunState,
}

/// Lists the open escalations, the most pressing first.
#[utoipa::path(get, operation_id = "list_escalations", path = "/v1/escalations", tag = "people", responses((status = 200, description = "The open ones", body = Escalations), Always))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(limit): Query<Limit>,
) -> Result<Json<Escalations>, Problem> {
    caller.must("read")?;
    let limit = limit.or(100);
    let escalations = app.process.record.open_escalations(Some(caller.tenant()), limit).await?;
    Ok(Json(Escalations { escalations }))
}

pub(crate) async fn find(app: &App, caller: &Caller, id: &str) -> Result<Escalation, Problem> {
    let missing = || Problem::not_found(format!("there is no escalation {id}"));
    let parsed = Uuid::parse_str(id).map_err(|_| missing())?;
    let found = app.process.record.escalation(parsed).await?;
    found.filter(|found| found.tenant == caller.tenant()).ok_or_else(missing)
}

/// Shows an escalation: content, rule, values, thresholds, and the nearest earlier trends.
#[utoipa::path(
    get,
    operation_id = "show_escalation",
    path = "/v1/escalations/{id}",
    tag = "people",
    params(("id" = Uuid, Path, description = "The escalation")),
    responses((status = 200, description = "The escalation", body = EscalationDetail), Missing, Always),
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<EscalationDetail>, Problem> {
    caller.must("read")?;
    let escalation = find(&app, &caller, &id).await?;
    let run = people::load(&app, &caller, escalation.run_id, &["content", "embedding"]).await?;
    let content = run.artifact("content").and_then(|json| serde_json::from_str(json).ok());
    let embedding = run.artifact("embedding").and_then(|json| serde_json::from_str(json).ok());
    Ok(Json(EscalationDetail {
        escalation,
        content,
        nearest: nearest(&app, &caller, embedding.unwrap_or_default()).await,
        source: run.source,
        planner_intent: run.planner_intent,
    }))
}

/// What an embedding says of its neighbours.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Embedding {
    nearest: Vec<Neighbour>,
}

#[derive(Deserialize)]
struct Neighbour {
    run_id: RunId,
    similarity: f64,
}

async fn nearest(app: &App, caller: &Caller, embedding: Embedding) -> Vec<NearTrend> {
    let mut found = Vec::new();
    for near in embedding.nearest {
        let Ok(loaded) = people::load(app, caller, near.run_id, &["content"]).await else { continue };
        let content = loaded.artifact("content").and_then(|json| serde_json::from_str::<Content>(json).ok());
        found.push(NearTrend {
            run_id: near.run_id,
            similarity: near.similarity,
            title: content.map(|content| content.title),
            state: loaded.state,
        });
    }
    found
}
