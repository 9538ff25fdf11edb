//! Runs that are asked for: by workflow and inputs, or of an earlier run once more.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleet::{FaultKind, Rerun, Successors};
use model::{Actor, NewEvent, RunId, RunState, SourceName};
use record::RunOptions;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, OptionalBody, Path};
use crate::goals;
use crate::openapi::{Always, Conflicting, Missing, WithBody};
use crate::people;
use crate::runs::run_id;

/// The source of runs that name none.
const SOURCE: &str = "runs";

/// A run that is asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRun)]
pub(crate) struct BeginBody {
    /// The workflow's name: the run begins with the version that is active, and stays with it. This or `goal`.
    workflow: Option<String>,
    /// What the run is for, in words: the active workflow is picked whose name and description fit it best. Where none does
    /// and `write_workflow` is active, a model writes one.
    #[schema(min_length = 1, max_length = 4000)]
    goal: Option<String>,
    /// What the workflow takes, as its own schema says. A workflow that needs one text alone takes the goal as it.
    #[schema(value_type = Option<Object>)]
    inputs: Option<Box<RawValue>>,
    /// The sender's own id: the same source and id again is the same run.
    request_id: Option<String>,
    /// The event's source; `runs` unless given.
    source: Option<String>,
    /// Its side effects are planned and shown, and not sent.
    #[serde(default)]
    dry_run: bool,
    /// The notification target that its end is told, signed.
    notify: Option<String>,
}

/// The run that was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct Begun {
    run_id: RunId,
    /// Whether it is new.
    created: bool,
    /// The version that it is pinned to.
    pipeline_version: String,
    /// How well the workflow fits the goal, from 0 to 1, where it was picked by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    fit: Option<f64>,
}

/// Begins a run of a workflow, or of the one that fits a goal.
#[utoipa::path(
    post,
    operation_id = "begin_run",
    path = "/v1/runs",
    tag = "runs",
    request_body = BeginBody,
    responses(
        (status = 201, description = "It is committed", body = Begun),
        (status = 200, description = "The request id was known: this is its run", body = Begun),
        WithBody,
        Always,
    ),
)]
pub(crate) async fn begin(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<BeginBody>,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    caller.must("operate")?;
    let bad = |e: model::EventError| Problem::bad_request(e.to_string());
    let source = SourceName::parse(body.source.as_deref().unwrap_or(SOURCE)).map_err(bad)?;
    let request_id = body.request_id.as_deref().map(|id| model::checked_name("request_id", id));
    let request_id = request_id.transpose().map_err(bad)?.map(str::to_owned);
    let options = options(&app, &caller, body.dry_run, body.notify).await?;
    let (workflow, inputs, fit) = match (&body.workflow, &body.goal) {
        (Some(name), None) => {
            let inputs = body.inputs.ok_or_else(|| Problem::bad_request("`inputs` are missing"))?;
            (app.door.active(caller.tenant(), name).await?, inputs, None)
        }
        (None, Some(goal)) => {
            let given = body.inputs.map(|inputs| serde_json::from_str(inputs.get())).transpose();
            let given = given.map_err(|e| Problem::bad_request(e.to_string()))?.unwrap_or_default();
            let pick = goals::pick(&app, &caller, goal, given).await?;
            let inputs = serde_json::value::to_raw_value(&pick.inputs);
            (pick.workflow, inputs.map_err(|e| Problem::bad_request(e.to_string()))?, pick.fit)
        }
        _ => return Err(Problem::bad_request("name either a `workflow` or a `goal`")),
    };
    if u64::try_from(inputs.get().len()).is_ok_and(|length| length > app.config.max_event) {
        return Err(Problem::too_large(app.config.max_event));
    }
    let event = NewEvent::asked_for(source, request_id, inputs).map_err(bad)?;
    let arrival = app.door.draw_up_for(&workflow, event, caller.tenant(), None).await?;
    if app.process.streams.backlog(&arrival.worker).await.is_ok_and(|b| b.stream > app.config.high_water) {
        return Err(Problem::busy(app.config.retry_after));
    }
    let admitted = app.door.let_one_in(&arrival, &options).await?;
    let (status, pipeline_version) = if admitted.created {
        app.process.metrics.events_accepted.inc();
        (StatusCode::CREATED, workflow.version().to_owned())
    } else {
        (StatusCode::OK, people::load(&app, &caller, admitted.run, &[]).await?.pipeline_version)
    };
    Ok((status, Json(Begun { run_id: admitted.run, created: admitted.created, pipeline_version, fit })))
}

async fn options(
    app: &App,
    caller: &Caller,
    dry_run: bool,
    notify: Option<String>,
) -> Result<RunOptions, Problem> {
    if let Some(name) = &notify {
        let known = app.process.record.targets(caller.tenant()).await?;
        if !known.contains(name) {
            return Err(Problem::unprocessable(format!(
                "no notification target `{name}` takes run_ended and has a secret to sign it with; known are [{}]",
                known.join(", ")
            )));
        }
    }
    Ok(RunOptions { dry_run, notify })
}

/// How a run is asked for once more.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = Rerun)]
pub(crate) struct RerunBody {
    /// The workflow version; the one that is active unless given.
    version: Option<String>,
    /// The step to do anew: what the steps before it made is carried as far as it fits. All of them, unless given.
    from: Option<String>,
    /// Its side effects are planned and shown, and not sent.
    dry_run: bool,
    /// The notification target that its end is told, signed.
    notify: Option<String>,
}

/// The new run.
#[derive(Serialize, ToSchema)]
pub(crate) struct BegunAgain {
    run_id: RunId,
    /// The run whose event it takes through.
    rerun_of: RunId,
    pipeline_version: String,
    state: RunState,
    /// Where it begins.
    step: String,
}

/// Takes the event of an ended run through once more, as a new run under the active version or another.
///
/// Approvals are not carried; what went out before is not posted twice.
#[utoipa::path(
    post,
    operation_id = "rerun",
    path = "/v1/runs/{id}/rerun",
    tag = "runs",
    params(("id" = Uuid, Path, description = "The ended run")),
    request_body = Option<RerunBody>,
    responses((status = 201, description = "It begins", body = BegunAgain), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn rerun(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<RerunBody>,
) -> Result<(StatusCode, Json<BegunAgain>), Problem> {
    caller.must("operate")?;
    let of = people::load(&app, &caller, run_id(&id)?, &[]).await?;
    let own = app.workflows.get(&of.pipeline_version).await?;
    let version = match body.version {
        Some(version) => {
            let found = app.process.record.registered_workflow(caller.tenant(), &version).await?;
            let known = found.is_some_and(|(known, _)| known.name == own.name());
            if !known {
                let name = own.name();
                return Err(Problem::unprocessable(format!(
                    "`{version}` is no registered version of the run's workflow `{name}`"
                )));
            }
            version
        }
        None => match app.door.active(caller.tenant(), own.name()).await {
            Ok(active) => active.version().to_owned(),
            Err(fleet::DoorError::NoWorkflow(_)) => of.pipeline_version.clone(),
            Err(error) => return Err(error.into()),
        },
    };
    let options = options(&app, &caller, body.dry_run, body.notify).await?;
    let wanted = Rerun { version: Some(&version), from: body.from.as_deref(), options: &options };
    let (record, streams) = (app.process.record.clone(), app.process.streams.clone());
    let successors = Successors::new(record, streams, Actor::person(caller.name()));
    let run = successors.rerun(&of, &wanted).await.map_err(|fault| match fault.kind {
        FaultKind::Usage => Problem::conflict(fault.message),
        _ => Problem::unavailable(fault.message),
    })?;
    let begun = BegunAgain {
        run_id: run.run,
        rerun_of: of.run,
        pipeline_version: version,
        state: run.state,
        step: run.step,
    };
    Ok((StatusCode::CREATED, Json(begun)))
}
