//! Runs: shown, listed, waited for, cancelled.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use fleet::{FaultKind, Replayer};
use model::{RunId, RunState};
use rails::{Facts, Signal};
use record::{Cancelled, Escalation, Feedback, Publication, RunDetail, RunFilter, RunSummary};
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

fn run_id(text: &str) -> Result<RunId, Problem> {
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
        detail,
    }))
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
    let signal = Signal::Cancel { reason };
    let transition =
        rails::advance(&workflow, &run.standing(), &signal, &Default::default(), &Facts::default())
            .map_err(|impossible| Problem::conflict(impossible.to_string()))?;
    let run_id = run.run;
    let (item, routed) = people::act(caller.name(), run, "cancelled", transition, None, None);
    match app.process.record.cancel(caller.name(), item, routed).await? {
        Cancelled::Done => Ok(Json(CancelledRun { run_id, state: RunState::Cancelled })),
        Cancelled::Stale => Err(Problem::conflict("the run moved on in the meantime; look at it again")),
        Cancelled::Publishing => {
            Err(Problem::conflict("a publication is under way; cancel once it is settled"))
        }
    }
}
