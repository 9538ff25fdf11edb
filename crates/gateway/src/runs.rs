//! Runs: listed, sent through again, cancelled, and their blackboards.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fleet::{FaultKind, Replayer};
use model::{RunId, RunState};
use rails::{Facts, Memory, Signal, Workflow};
use record::{Cancelled, Item, LoadedRun, RunFilter, RunSummary};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, OptionalBody, Path, Query, Words};
use crate::openapi::{Always, Conflicting, Missing, WithBody};
use crate::people;

pub(crate) fn run_id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|e: model::IdError| Problem::not_found(e.to_string()))
}

/// A run of the caller's tenant; anyone else's does not exist.
pub(crate) async fn own(app: &App, caller: &Caller, run: RunId) -> Result<RunSummary, Problem> {
    let found = app.process.record.run(run).await?.filter(|found| found.tenant == caller.tenant());
    found.ok_or_else(|| Problem::not_found(format!("there is no run {run}")))
}

pub(crate) async fn memory_of(
    app: &App,
    run: &RunSummary,
    workflow: &Workflow,
) -> Result<Option<Memory>, Problem> {
    if !workflow.keeps_manifest() {
        return Ok(None);
    }
    let manifest = app.process.record.manifests(&[run.run_id]).await?.remove(&run.run_id).transpose()?;
    Ok(manifest.map(|manifest| *fleet::memory(workflow, run.received_at, manifest)))
}

/// A run that has a blackboard, its workflow and what it keeps; for whoever may read.
pub(crate) async fn with_board(
    app: &App,
    caller: &Caller,
    id: &str,
) -> Result<(RunId, Arc<Workflow>, Memory), Problem> {
    caller.must("read")?;
    let run = run_id(id)?;
    let found = own(app, caller, run).await?;
    let workflow = app.workflows.get(&found.pipeline_version).await?;
    let memory = memory_of(app, &found, &workflow).await?;
    let memory = memory.ok_or_else(|| Problem::not_found(format!("run {run} has no blackboard")))?;
    Ok((run, workflow, memory))
}

/// A run's blackboard.
#[derive(Serialize, ToSchema)]
pub(crate) struct Board {
    run_id: RunId,
    /// Patches applied to it.
    version: i64,
    /// The document; its `inputs` are the event's payload.
    board: serde_json::Value,
}

/// Shows a run's blackboard.
#[utoipa::path(
    get,
    operation_id = "show_board",
    path = "/v1/runs/{id}/board",
    tag = "runs",
    params(("id" = Uuid, Path, description = "The run")),
    responses((status = 200, description = "The blackboard", body = Board), Missing, Always),
)]
pub(crate) async fn board(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Board>, Problem> {
    let (run_id, _, memory) = with_board(&app, &caller, &id).await?;
    Ok(Json(Board { run_id, version: memory.version, board: memory.board }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only in this state.
    #[param(value_type = Option<RunState>)]
    state: Option<String>,
    /// Only from this source.
    source: Option<String>,
    /// The `next` of the page before.
    #[param(format = Uuid)]
    cursor: Option<String>,
    /// 1 to 500; 50 unless given.
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Runs {
    /// The newest first.
    runs: Vec<RunSummary>,
    /// The `cursor` of the following page, where this one is full.
    next: Option<RunId>,
    /// Runs of the tenant by state.
    counts: BTreeMap<String, i64>,
}

/// Lists runs, the newest first.
#[utoipa::path(get, operation_id = "list_runs", path = "/v1/runs", tag = "runs", params(ListQuery), responses((status = 200, description = "A page of runs", body = Runs), Always))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Runs>, Problem> {
    caller.must("read")?;
    let bad = |e: &dyn std::fmt::Display| Problem::bad_request(e.to_string());
    let state = query.state.map(|text| text.parse::<RunState>()).transpose().map_err(|e| bad(&e))?;
    let before = query.cursor.map(|text| text.parse::<RunId>()).transpose().map_err(|e| bad(&e))?;
    let limit = i64::from(query.limit.unwrap_or(50).clamp(1, 500));
    let filter = RunFilter { tenant: Some(caller.tenant().to_owned()), state, source: query.source, before };
    let runs = app.process.record.runs(&filter, limit).await?;
    let full = i64::try_from(runs.len()).unwrap_or(0) == limit;
    let next = runs.last().filter(|_| full).map(|run| run.run_id);
    let counts = app.process.record.run_counts(Some(caller.tenant())).await?.into_iter().collect();
    Ok(Json(Runs { runs, next, counts }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryBody {
    /// The step to begin with.
    from: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Retried {
    run_id: RunId,
    state: RunState,
    step: String,
}

/// Sends an ended run through again from a step on.
#[utoipa::path(
    post,
    operation_id = "retry_run",
    path = "/v1/runs/{id}/retry",
    tag = "runs",
    params(("id" = Uuid, Path, description = "The run")),
    request_body = RetryBody,
    responses((status = 200, description = "It goes on", body = Retried), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<RetryBody>,
) -> Result<Json<Retried>, Problem> {
    caller.must("operate")?;
    let run = people::load(&app, &caller, run_id(&id)?, &[]).await?;
    let id = run.run;
    let replayer = Replayer::new(app.process.record.clone(), app.process.streams.clone(), caller.name());
    replayer.rerun(run, &body.from).await.map_err(|fault| match fault.kind {
        FaultKind::Usage => Problem::conflict(fault.message),
        _ => Problem::unavailable(fault.message),
    })?;
    Ok(Json(Retried { run_id: id, state: RunState::Running, step: body.from }))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelBody {
    /// Why; kept with the run.
    reason: Option<Words>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CancelledRun {
    run_id: RunId,
    state: RunState,
}

/// Ends an open run, unless a publication is under way.
#[utoipa::path(
    post,
    operation_id = "cancel_run",
    path = "/v1/runs/{id}/cancel",
    tag = "runs",
    params(("id" = Uuid, Path, description = "The run")),
    request_body = Option<CancelBody>,
    responses((status = 200, description = "It ended", body = CancelledRun), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<CancelBody>,
) -> Result<Json<CancelledRun>, Problem> {
    caller.must("operate")?;
    let reason = body.reason.as_deref().unwrap_or("cancelled on request");
    let run = people::load(&app, &caller, run_id(&id)?, &[]).await?;
    let workflow = app.workflows.get(&run.pipeline_version).await?;
    let item = Item::of(people::below_a_span(run));
    let run_id = item.run.run;
    let route = |run: &LoadedRun, facts: &Facts| {
        let signal = Signal::Cancel { reason };
        let transition = rails::advance(&workflow, &run.standing(), &signal, &Default::default(), facts)
            .map_err(|impossible| Problem::conflict(impossible.to_string()))?;
        Ok::<_, Problem>(people::act(caller.name(), "cancelled", transition, None, None))
    };
    match app.process.record.cancel(caller.name(), &item, route).await? {
        Cancelled::Done => Ok(Json(CancelledRun { run_id, state: RunState::Cancelled })),
        Cancelled::Undoing(won) => {
            fleet::set_going(&app.process.streams, &workflow, &item.run, &won).await;
            Ok(Json(CancelledRun { run_id, state: won.routed.transition.state }))
        }
        Cancelled::Stale => Err(Problem::conflict("the run moved on in the meantime; look at it again")),
        Cancelled::Publishing => {
            Err(Problem::conflict("a publication is under way; cancel once it is settled"))
        }
    }
}
