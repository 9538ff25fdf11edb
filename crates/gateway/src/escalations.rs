//! Escalations: what people are asked.

use axum::Json;
use axum::extract::{Path, State};
use model::RunId;
use record::Escalation;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::Query;
use crate::people::{self, Limit};

/// `GET /v1/escalations`: the open ones, the most pressing first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(limit): Query<Limit>,
) -> Result<Json<Value>, Problem> {
    caller.must("read")?;
    let limit = limit.or(100);
    let found = app.process.record.open_escalations(Some(caller.tenant()), limit).await?;
    Ok(Json(json!({ "escalations": found })))
}

pub(crate) async fn find(app: &App, caller: &Caller, id: &str) -> Result<Escalation, Problem> {
    let missing = || Problem::not_found(format!("there is no escalation {id}"));
    let parsed = Uuid::parse_str(id).map_err(|_| missing())?;
    let found = app.process.record.escalation(parsed).await?;
    found.filter(|found| found.tenant == caller.tenant()).ok_or_else(missing)
}

/// `GET /v1/escalations/{id}`: content, rule, values, threshold, and the nearest earlier trends.
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.must("read")?;
    let escalation = find(&app, &caller, &id).await?;
    let run = people::load(&app, &caller, escalation.run_id, &["content", "embedding"]).await?;
    let content: Value =
        run.artifact("content").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let embedding: Value =
        run.artifact("embedding").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let mut shown = json!(escalation);
    shown["source"] = json!(run.source);
    shown["planner_intent"] = json!(run.planner_intent);
    shown["content"] = content;
    shown["nearest"] = nearest(&app, &caller, &embedding).await;
    Ok(Json(shown))
}

/// The nearest earlier trends with their titles; those of runs that are gone are left out.
async fn nearest(app: &App, caller: &Caller, embedding: &Value) -> Value {
    let mut found = Vec::new();
    for near in embedding["nearest"].as_array().into_iter().flatten() {
        let Some(run) = near["run_id"].as_str().and_then(|text| text.parse::<RunId>().ok()) else { continue };
        let Ok(loaded) = people::load(app, caller, run, &["content"]).await else { continue };
        let content: Value =
            loaded.artifact("content").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        found.push(json!({
            "run_id": run,
            "similarity": near["similarity"],
            "title": content["title"],
            "state": loaded.state,
        }));
    }
    Value::Array(found)
}
