//! A single run held back, and let go on.

use axum::Json;
use axum::extract::State;
use model::{RunId, RunState};
use rails::{Facts, Signal, Workflow};
use record::{Cancelled, Item, LoadedRun, Routed};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{OptionalBody, Path, Words};
use crate::openapi::{Always, Conflicting, Missing, WithBody};
use crate::people;
use crate::runs::run_id;

/// How often a run that moves on meanwhile is looked at again.
const TRIES: usize = 5;

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseBody {
    /// Why; kept with the run.
    reason: Option<Words>,
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeBody {
    /// Why; kept with the run.
    reason: Option<Words>,
}

/// Where a run stands after that.
#[derive(Serialize, ToSchema)]
pub(crate) struct Course {
    run_id: RunId,
    state: RunState,
    step: String,
}

/// What a person orders of a run, and notes with it.
struct Order<'a> {
    by: &'a str,
    what: &'static str,
    signal: Signal<'a>,
    note: Option<&'a str>,
}

impl Order<'_> {
    fn route(&self, workflow: &Workflow, run: &LoadedRun, facts: &Facts) -> Result<Routed, Problem> {
        let transition = rails::advance(workflow, &run.standing(), &self.signal, &Default::default(), facts)
            .map_err(|impossible| Problem::conflict(impossible.to_string()))?;
        Ok(people::act(self.by, self.what, transition, None, self.note))
    }
}

/// Holds a running run back: its present job is dropped, and what a worker makes of it meanwhile is not written.
#[utoipa::path(
    post,
    operation_id = "pause_run",
    path = "/v1/runs/{id}/pause",
    tag = "runs",
    params(("id" = Uuid, Path, description = "The run")),
    request_body = Option<PauseBody>,
    responses((status = 200, description = "It is held back", body = Course), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<PauseBody>,
) -> Result<Json<Course>, Problem> {
    caller.must("operate")?;
    let id = run_id(&id)?;
    let reason = format!("paused by {}", caller.name());
    let reason = body.reason.as_deref().map_or_else(|| reason.clone(), |why| format!("{reason}: {why}"));
    let signal = Signal::Park { reason: &reason };
    let order = Order { by: caller.name(), what: "paused", signal, note: body.reason.as_deref() };
    for _ in 0..TRIES {
        let run = people::load(&app, &caller, id, &[]).await?;
        let workflow = app.workflows.get(&run.pipeline_version).await?;
        let item = Item::of(people::below_a_span(run));
        let route = |run: &LoadedRun, facts: &Facts| order.route(&workflow, run, facts);
        match app.process.record.park(&item, route).await? {
            Cancelled::Done | Cancelled::Undoing(_) => {
                let step = item.run.step;
                return Ok(Json(Course { run_id: id, state: RunState::Parked, step }));
            }
            Cancelled::Stale => {}
            Cancelled::Publishing => {
                return Err(Problem::conflict("a publication is under way; pause once it is settled"));
            }
        }
    }
    Err(Problem::conflict("the run moves on again and again; pause it once more"))
}

/// Lets a run go on that a person held back.
#[utoipa::path(
    post,
    operation_id = "resume_run",
    path = "/v1/runs/{id}/resume",
    tag = "runs",
    params(("id" = Uuid, Path, description = "The run")),
    request_body = Option<ResumeBody>,
    responses((status = 200, description = "It goes on", body = Course), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<ResumeBody>,
) -> Result<Json<Course>, Problem> {
    caller.must("operate")?;
    let run = people::load(&app, &caller, run_id(&id)?, &[]).await?;
    let asked = app.process.record.escalations_of(run.run).await?;
    if let Some(asked) = asked.iter().find(|asked| asked.branch == 0) {
        let id = asked.escalation_id;
        return Err(Problem::conflict(format!("a person is asked about it: answer the escalation {id}")));
    }
    let workflow = app.workflows.get(&run.pipeline_version).await?;
    let item = Item::of(people::below_a_span(run));
    let note = body.reason.as_deref();
    let order = Order { by: caller.name(), what: "resumed", signal: Signal::Unpark, note };
    let route = |run: &LoadedRun, facts: &Facts| order.route(&workflow, run, facts);
    let won = app.process.record.replay(&item, route).await?;
    let won = won.ok_or_else(|| Problem::conflict("the run moved on in the meantime; look at it again"))?;
    fleet::set_going(&app.process.streams, &workflow, &item.run, &won).await;
    let transition = won.routed.transition;
    Ok(Json(Course { run_id: item.run.run, state: transition.state, step: transition.step }))
}
