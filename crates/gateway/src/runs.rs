//! Runs: shown, listed, waited for, cancelled.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use fleet::{FaultKind, Replayer};
use model::{RunId, RunState};
use rails::{Facts, Signal};
use record::{Cancelled, RunFilter};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, OptionalBody, Query, Words};
use crate::people;

/// The longest that a request may wait for a run's end.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a waiting request looks.
const LOOK: Duration = Duration::from_millis(100);

fn run_id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|e: model::IdError| Problem::not_found(e.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    wait: Option<String>,
}

/// `GET /v1/runs/{id}`: everything about one run; with `?wait=30s` once it has ended, or after that time.
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Json<Value>, Problem> {
    caller.must("read")?;
    let run = run_id(&id)?;
    let wait = match wait.wait {
        Some(text) => humantime::parse_duration(&text)
            .map_err(|e| Problem::bad_request(format!("wait=`{text}`: {e}; write it like 30s")))?
            .min(LONGEST_WAIT),
        None => Duration::ZERO,
    };
    let until = Instant::now() + wait;
    loop {
        let found = app.process.record.run(run).await?.filter(|found| found.tenant == caller.tenant());
        let found = found.ok_or_else(|| Problem::not_found(format!("there is no run {run}")))?;
        if found.ended_at.is_some() || Instant::now() >= until || app.process.shutdown.is_cancelled() {
            return detail(&app, run).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn detail(app: &App, run: RunId) -> Result<Json<Value>, Problem> {
    let record = &app.process.record;
    let detail =
        record.run_detail(run).await?.ok_or_else(|| Problem::not_found(format!("there is no run {run}")))?;
    let mut shown = serde_json::to_value(&detail).map_err(|e| Problem::unavailable(e.to_string()))?;
    let steps: Vec<Value> = detail
        .provenance
        .iter()
        .filter_map(|link| serde_json::from_str::<Value>(link.entry.get()).ok())
        .map(|e| json!({ "step": e["step"], "what": e["what"], "next": e["next"], "state": e["state"], "at": e["at"] }))
        .collect();
    if let Value::Object(map) = &mut shown {
        map.insert("steps".to_owned(), Value::Array(steps));
        map.insert("escalation".to_owned(), json!(record.escalation_of(run).await?));
        map.insert("publications".to_owned(), json!(record.publications_of(run).await?));
        map.insert("feedback".to_owned(), json!(record.feedback_of(run).await?));
    }
    Ok(Json(shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    state: Option<String>,
    source: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// `GET /v1/runs`: newest first; `next` is the cursor of the following page.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Problem> {
    caller.must("read")?;
    let bad = |e: &dyn std::fmt::Display| Problem::bad_request(e.to_string());
    let state = query.state.map(|text| text.parse::<RunState>()).transpose().map_err(|e| bad(&e))?;
    let before = query.cursor.map(|text| text.parse::<RunId>()).transpose().map_err(|e| bad(&e))?;
    let limit = i64::from(query.limit.unwrap_or(50).clamp(1, 500));
    let filter = RunFilter { tenant: Some(caller.tenant().to_owned()), state, source: query.source, before };
    let runs = app.process.record.runs(&filter, limit).await?;
    let full = i64::try_from(runs.len()).unwrap_or(0) == limit;
    let next = runs.last().filter(|_| full).map(|run| run.run_id);
    let counts: serde_json::Map<String, Value> = app
        .process
        .record
        .run_counts(Some(caller.tenant()))
        .await?
        .into_iter()
        .map(|(state, count)| (state, json!(count)))
        .collect();
    Ok(Json(json!({ "runs": runs, "next": next, "counts": counts })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryBody {
    from: String,
}

/// `POST /v1/runs/{id}/retry`: an ended run goes through again from a step on.
pub(crate) async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<RetryBody>,
) -> Result<Json<Value>, Problem> {
    caller.must("operate")?;
    let run = people::load(&app, &caller, run_id(&id)?, &[]).await?;
    let id = run.run;
    let replayer = Replayer::new(app.process.record.clone(), app.process.streams.clone(), caller.name());
    replayer.rerun(run, &body.from).await.map_err(|fault| match fault.kind {
        FaultKind::Usage => Problem::conflict(fault.message),
        _ => Problem::unavailable(fault.message),
    })?;
    Ok(Json(json!({ "run_id": id, "state": RunState::Running, "step": body.from })))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelBody {
    reason: Option<Words>,
}

/// `POST /v1/runs/{id}/cancel`: ends an open run, unless a publication is under way.
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<CancelBody>,
) -> Result<Json<Value>, Problem> {
    caller.must("operate")?;
    let reason = body.reason.as_deref().unwrap_or("cancelled on request");
    let run = people::load(&app, &caller, run_id(&id)?, &[]).await?;
    let workflow = app.workflows.get(&run.pipeline_version).await?;
    let signal = Signal::Cancel { reason };
    let transition =
        rails::advance(&workflow, &run.standing(), &signal, &Default::default(), &Facts::default())
            .map_err(|impossible| Problem::conflict(impossible.to_string()))?;
    let run_id = run.run;
    let (item, routed) = people::act(caller.name(), run, "cancelled", transition, None, None);
    match app.process.record.cancel(caller.name(), item, routed).await? {
        Cancelled::Done => Ok(Json(json!({ "run_id": run_id, "state": RunState::Cancelled }))),
        Cancelled::Stale => Err(Problem::conflict("the run moved on in the meantime; look at it again")),
        Cancelled::Publishing => {
            Err(Problem::conflict("a publication is under way; cancel once it is settled"))
        }
    }
}
