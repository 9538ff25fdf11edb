//! Runs: shown, listed, waited for, cancelled.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use fleet::{FaultKind, Replayer};
use model::{RunId, RunState, Usage};
use rails::{Facts, Memory, Signal, Workflow};
use record::{
    Cancelled, Escalation, Feedback, Item, LoadedRun, Publication, RunDetail, RunFilter, RunSummary,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, OptionalBody, Path, Query, Words};
use crate::openapi::{Always, Conflicting, Missing, WithBody};
use crate::people;

/// The longest that a request may wait for a run's end.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a waiting request looks.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run_id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|e: model::IdError| Problem::not_found(e.to_string()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Answer once the run has ended, or after this time: such as `30s`, a minute at most.
    wait: Option<String>,
}

/// A run with everything it left.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShownRun {
    #[serde(flatten)]
    detail: RunDetail,
    /// The worker type that does the step it stands at.
    worker: Option<String>,
    /// The outlet that this step names; a publishing step that names none takes the publisher's own.
    outlet: Option<String>,
    /// Its steps so far.
    steps: Vec<Step>,
    /// What a person is asked.
    escalation: Option<Escalation>,
    publications: Vec<Publication>,
    /// What people said of its publications.
    feedback: Vec<Feedback>,
    /// What it keeps beside, where its workflow has a blackboard, forks, loops or budgets.
    manifest: Option<ShownManifest>,
    /// Runs that took its event through once more, the newest first.
    reruns: Vec<RunId>,
    /// The notification target that its end is told.
    notify: Option<String>,
}

/// What a run keeps beside, without its blackboard.
#[derive(Serialize, ToSchema)]
struct ShownManifest {
    /// Patches applied to its blackboard.
    version: i64,
    /// What was spent.
    used: Usage,
    /// What was spent, by step.
    spent: BTreeMap<String, Usage>,
    /// How often each step was entered.
    visits: BTreeMap<String, u32>,
    /// Steps that failed and were gone on from with their fallback.
    degraded: Vec<String>,
    /// What came from untrusted sources and has passed no gate: places of the blackboard, and steps.
    taint: Vec<String>,
}

impl From<Memory> for ShownManifest {
    fn from(memory: Memory) -> Self {
        Self {
            version: memory.version,
            used: memory.used,
            spent: memory.spent,
            visits: memory.visits,
            degraded: memory.degraded.into_iter().collect(),
            taint: memory.taint.into_iter().collect(),
        }
    }
}

/// What happened at a step, of the run's provenance.
#[derive(Serialize, Deserialize, ToSchema)]
struct Step {
    step: Option<String>,
    /// Such as `done`, `failed` or `escalated`.
    what: Option<String>,
    /// Where the run stood afterwards.
    next: Option<String>,
    /// Its state afterwards.
    state: Option<String>,
    /// When.
    #[schema(format = DateTime)]
    at: Option<String>,
}

/// Shows a run; with `wait` once it has ended, or after that time.
#[utoipa::path(
    get,
    operation_id = "show_run",
    path = "/v1/runs/{id}",
    tag = "runs",
    params(("id" = Uuid, Path, description = "The run"), Wait),
    responses((status = 200, description = "The run", body = ShownRun), Missing, Always),
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Json<ShownRun>, Problem> {
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

async fn detail(app: &App, run: RunId) -> Result<Json<ShownRun>, Problem> {
    let record = &app.process.record;
    let detail =
        record.run_detail(run).await?.ok_or_else(|| Problem::not_found(format!("there is no run {run}")))?;
    // A run whose workflow this build cannot read is shown without.
    let workflow = app.workflows.get(&detail.run.pipeline_version).await.ok();
    let step = workflow.as_ref().and_then(|workflow| workflow.step(&detail.run.step));
    let manifest = match workflow.as_deref() {
        Some(workflow) => memory_of(app, &detail.run, workflow).await?.map(ShownManifest::from),
        None => None,
    };
    Ok(Json(ShownRun {
        worker: step.map(|step| step.worker.to_string()),
        outlet: step.and_then(|step| step.with.get("outlet")?.as_str()).map(str::to_owned),
        steps: detail
            .provenance
            .iter()
            .filter_map(|link| serde_json::from_str(link.entry.get()).ok())
            .collect(),
        escalation: record.escalation_of(run).await?,
        publications: record.publications_of(run).await?,
        feedback: record.feedback_of(run).await?,
        manifest,
        reruns: record.reruns_of(run).await?,
        notify: record.callback_of(run).await?,
        detail,
    }))
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
    caller.must("read")?;
    let run_id = run_id(&id)?;
    let missing = || Problem::not_found(format!("there is no run {run_id}"));
    let found = app.process.record.run(run_id).await?.filter(|found| found.tenant == caller.tenant());
    let found = found.ok_or_else(missing)?;
    let workflow = app.workflows.get(&found.pipeline_version).await?;
    let memory = memory_of(&app, &found, &workflow).await?;
    let memory = memory.ok_or_else(|| Problem::not_found(format!("run {run_id} has no blackboard")))?;
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
