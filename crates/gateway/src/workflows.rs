//! Workflows: registered, which is to be checked and stored, and activated, which is to be used.

use axum::Json;
use axum::body::Body as Incoming;
use axum::extract::State;
use axum::http::StatusCode;
use rails::Workflow;
use record::{Activation, NewActivation, OlderRuns, RegisteredWorkflow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{OptionalBody, Path, whole};
use crate::openapi::{Always, Missing, WithBody};

/// The longest document, in bytes.
pub(crate) const LONGEST: u64 = 1 << 20;
/// Activations shown of a workflow.
const SHOWN: i64 = 20;

/// A document that holds.
#[derive(Serialize, ToSchema)]
pub(crate) struct Checked {
    /// The workflow's name.
    name: String,
    /// The version, by which it is activated once it is registered.
    pipeline_version: String,
    worst_case: WorstCase,
    #[serde(flatten)]
    steps: Effects,
}

/// What a run takes at most: the longest path with every bound used up.
#[derive(Serialize, ToSchema)]
struct WorstCase {
    /// Visits of steps, and calls of orchestrators.
    steps: u64,
    /// Tokens in and out; null where nothing bounds them.
    tokens: Option<u64>,
    /// Millionths of the configured currency; null where nothing bounds it.
    cost_micros: Option<u64>,
    /// Seconds of working and of pausing between tries. Waiting for a free worker, for a gate and for people is not in it.
    seconds: u64,
    /// The steps whose tokens or cost no budget bounds.
    unbounded: Vec<String>,
}

impl Checked {
    pub(crate) fn of(workflow: &Workflow) -> Result<Self, Problem> {
        let worst = workflow.worst_case().map_err(|faults| Problem::bug(faults.to_string()))?;
        let rails::WorstCase { steps, tokens, cost_micros, seconds, unbounded } = worst;
        Ok(Self {
            name: workflow.name().to_owned(),
            pipeline_version: workflow.version().to_owned(),
            worst_case: WorstCase { steps, tokens, cost_micros, seconds, unbounded },
            steps: Effects::of(workflow),
        })
    }
}

/// What became of a registration.
#[derive(Serialize, ToSchema)]
pub(crate) struct Registered {
    #[serde(flatten)]
    checked: Checked,
    /// Whether it is new to the tenant.
    created: bool,
    /// The version that new runs of this name begin with, where one is active.
    active_version: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Workflows {
    /// By name and version.
    workflows: Vec<RegisteredWorkflow>,
}

/// A registered version with its document.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShownWorkflow {
    #[serde(flatten)]
    workflow: RegisteredWorkflow,
    /// The frozen document.
    #[schema(value_type = Object)]
    document: Value,
    /// Activations of this name, the newest first.
    activations: Vec<Activation>,
}

/// How a version is activated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Activate {
    /// What becomes of runs that are open on other versions; they finish unless something else is said.
    runs: OlderRuns,
}

/// What an activation says of a version, beside what becomes of runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Activated {
    #[serde(flatten)]
    activation: Activation,
    #[serde(flatten)]
    steps: Effects,
}

/// Which steps of a version act outside, and which do not though their worker might.
#[derive(Serialize, ToSchema)]
pub(crate) struct Effects {
    /// Steps with a side effect: each needs an approval before it.
    side_effects: Vec<String>,
    /// Steps whose worker might act outside, with why they count as without a side effect.
    without_side_effect: Vec<Harmless>,
}

#[derive(Serialize, ToSchema)]
struct Harmless {
    step: String,
    /// The document's words.
    reason: String,
}

impl Effects {
    fn of(workflow: &Workflow) -> Self {
        let acting = workflow.steps().filter(|step| step.side_effect).map(|step| step.id.clone());
        let harmless = workflow.steps().filter_map(|step| {
            let reason = step.side_effect_reason.clone()?;
            Some(Harmless { step: step.id.clone(), reason })
        });
        Self { side_effects: acting.collect(), without_side_effect: harmless.collect() }
    }
}

/// Registers a workflow: it is checked as a whole and stored, and no run begins with it before it is activated.
#[utoipa::path(
    post,
    operation_id = "register_workflow",
    path = "/v1/workflows",
    tag = "workflows",
    request_body(
        description = "The document, YAML or JSON, of at most 1 MiB",
        content((String = "application/yaml"), (Object = "application/json")),
    ),
    responses(
        (status = 201, description = "It is registered", body = Registered),
        (status = 200, description = "It was registered before", body = Registered),
        WithBody,
        Always,
    ),
)]
pub(crate) async fn register(
    State(app): State<App>,
    caller: Caller,
    body: Incoming,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    caller.must("operate")?;
    let workflow = compiled(&app, &sent(body).await?)?;
    let checked = Checked::of(&workflow)?;
    let record = &app.process.record;
    let created = record.register_workflow(&workflow, caller.tenant(), caller.name()).await?;
    let known = record.registered_workflows(caller.tenant()).await?;
    let active = known.into_iter().find(|one| one.active && one.name == workflow.name());
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let active_version = active.map(|one| one.pipeline_version);
    Ok((status, Json(Registered { checked, created, active_version })))
}

/// The workflow of a document, checked as a whole.
pub(crate) fn compiled(app: &App, document: &str) -> Result<Workflow, Problem> {
    app.declared.register(document, &Default::default()).map_err(|faults| {
        let count = faults.0.len();
        Problem::unprocessable(format!("the workflow has {count} faults; nothing was registered:\n{faults}"))
            .with_faults(faults.0)
    })
}

/// A document as the body of a request.
pub(crate) async fn sent(body: Incoming) -> Result<String, Problem> {
    let bytes = whole(body, LONGEST).await?;
    String::from_utf8(bytes.into()).map_err(|e| Problem::bad_request(format!("not UTF-8: {e}")))
}

/// Lists the versions that the tenant registered, and those of the configuration.
#[utoipa::path(get, operation_id = "list_workflows", path = "/v1/workflows", tag = "workflows", responses((status = 200, description = "By name and version", body = Workflows), Always))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Workflows>, Problem> {
    caller.must("read")?;
    let workflows = app.process.record.registered_workflows(caller.tenant()).await?;
    Ok(Json(Workflows { workflows }))
}

/// A version that the caller's tenant sees.
pub(crate) async fn find(
    app: &App,
    caller: &Caller,
    version: &str,
) -> Result<(RegisteredWorkflow, String), Problem> {
    let found = app.process.record.registered_workflow(caller.tenant(), version).await?;
    found.ok_or_else(|| Problem::not_found(format!("there is no workflow version `{version}`")))
}

/// Shows a version, with the activations of its name and how far each has got.
#[utoipa::path(
    get,
    operation_id = "show_workflow",
    path = "/v1/workflows/{version}",
    tag = "workflows",
    params(("version" = String, Path, description = "The version, such as `trend@1-0a1b2c3d4e5f`")),
    responses((status = 200, description = "The version", body = ShownWorkflow), Missing, Always),
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(version): Path<String>,
) -> Result<Json<ShownWorkflow>, Problem> {
    caller.must("read")?;
    let (workflow, document) = find(&app, &caller, &version).await?;
    let activations = app.process.record.activations(caller.tenant(), &workflow.name, SHOWN).await?;
    let document = serde_json::from_str(&document).unwrap_or_default();
    Ok(Json(ShownWorkflow { workflow, document, activations }))
}

/// Activates a version: new runs of the tenant begin with it, within some seconds in every process.
///
/// The answer says how many runs are open on other versions; a planner migrates or cancels them.
#[utoipa::path(
    post,
    operation_id = "activate_workflow",
    path = "/v1/workflows/{version}/activate",
    tag = "workflows",
    params(("version" = String, Path, description = "The version")),
    request_body = Option<Activate>,
    responses((status = 200, description = "It is active", body = Activated), Missing, WithBody, Always),
)]
pub(crate) async fn activate(
    State(app): State<App>,
    caller: Caller,
    Path(version): Path<String>,
    OptionalBody(wanted): OptionalBody<Activate>,
) -> Result<Json<Activated>, Problem> {
    caller.must("operate")?;
    let (workflow, _) = find(&app, &caller, &version).await?;
    // A version that this build cannot read would stop every run that begins with it.
    let steps = Effects::of(&*app.workflows.get(&version).await?);
    let new = NewActivation {
        tenant: caller.tenant(),
        name: &workflow.name,
        pipeline_version: &version,
        by: caller.name(),
        runs: wanted.runs,
    };
    let activation = app.process.record.activate_workflow(&new).await?;
    app.door.forget().await;
    tracing::info!(
        pipeline_version = version,
        tenant = caller.tenant(),
        by = caller.name(),
        runs = wanted.runs.as_str(),
        open_runs = activation.open_runs,
        "a workflow was activated"
    );
    Ok(Json(Activated { activation, steps }))
}
