//! A run with everything it left: shown, and waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::Utc;
use model::{RunId, Usage};
use rails::{Memory, Workflow};
use record::{
    ArtifactView, BranchView, Escalation, Feedback, ProvenanceView, Publication, RunDetail, RunSummary,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::Caller;
use crate::diagnostics::{StepDiagnosis, diagnose};
use crate::error::Problem;
use crate::extract::{Path, Query};
use crate::openapi::{Always, Missing};
use crate::runs::{memory_of, own, run_id};

/// The longest that a request may wait for a run's end.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a waiting request looks.
const LOOK: Duration = Duration::from_millis(100);

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
    run: RunSummary,
    /// Its artifacts, oldest first.
    artifacts: Vec<ArtifactView>,
    /// Its provenance.
    provenance: Vec<ProvenanceView>,
    /// Its branches, where it forked.
    branches: Vec<ShownBranch>,
    /// The worker type that does the step it stands at.
    worker: Option<String>,
    /// The outlet that this step names; a publishing step that names none takes the publisher's own.
    outlet: Option<String>,
    /// Its steps so far.
    steps: Vec<Step>,
    /// How long each step waited and worked, what it spent, and what went wrong.
    diagnostics: Vec<StepDiagnosis>,
    /// What a person is asked, about the run or else one of its branches.
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

/// A branch, with who does its step.
#[derive(Serialize, ToSchema)]
struct ShownBranch {
    #[serde(flatten)]
    branch: BranchView,
    /// The worker type that does the step it stands at.
    worker: Option<String>,
    /// The outlet that this step names.
    outlet: Option<String>,
    /// What a person is asked about it.
    escalation: Option<Escalation>,
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
        let found = own(&app, &caller, run).await?;
        if found.ended_at.is_some() || Instant::now() >= until || app.process.shutdown.is_cancelled() {
            return detail(&app, run).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn detail(app: &App, id: RunId) -> Result<Json<ShownRun>, Problem> {
    let record = &app.process.record;
    let missing = || Problem::not_found(format!("there is no run {id}"));
    let RunDetail { run, artifacts, provenance, branches } =
        record.run_detail(id).await?.ok_or_else(missing)?;
    // A run whose workflow this build cannot read is shown without.
    let workflow = app.workflows.get(&run.pipeline_version).await.ok();
    let manifest = match workflow.as_deref() {
        Some(workflow) => memory_of(app, &run, workflow).await?.map(ShownManifest::from),
        None => None,
    };
    let (worker, outlet) = done_by(workflow.as_deref(), &run.step);
    let escalations = record.escalations_of(id).await?;
    let branches = branches.into_iter().map(|branch| {
        let (worker, outlet) = done_by(workflow.as_deref(), &branch.step);
        let escalation = escalations.iter().find(|asked| asked.branch == branch.branch).cloned();
        ShownBranch { branch, worker, outlet, escalation }
    });
    Ok(Json(ShownRun {
        worker,
        outlet,
        branches: branches.collect(),
        steps: provenance.iter().filter_map(|link| serde_json::from_str(link.entry.get()).ok()).collect(),
        diagnostics: diagnose(&provenance, Utc::now()),
        escalation: escalations.into_iter().next(),
        publications: record.publications_of(id).await?,
        feedback: record.feedback_of(id).await?,
        manifest,
        reruns: record.reruns_of(id).await?,
        notify: record.callback_of(id).await?,
        run,
        artifacts,
        provenance,
    }))
}

/// The worker type that does a step, and the outlet that the step names.
fn done_by(workflow: Option<&Workflow>, step: &str) -> (Option<String>, Option<String>) {
    let step = workflow.and_then(|workflow| workflow.step(step));
    let outlet = step.and_then(|step| step.with.get("outlet")?.as_str()).map(str::to_owned);
    (step.map(|step| step.worker.to_string()), outlet)
}
