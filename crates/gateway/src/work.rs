//! What workers outside tell of their tasks: signs of life, and how they ended. A callback's token names one visit of a step of
//! one run; it is signed with a key of its own, and needs no bearer token.

use axum::Json;
use axum::body::Body as Incoming;
use axum::extract::State;
use axum::http::HeaderMap;
use bytes::BytesMut;
use calls::callback::{self, Telling};
use model::{RunId, RunState, sha256};
use rails::{Facts, Signal, Workflow};
use record::{Advance, Completed, Item, LoadedRun, Routed, WorkOrder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::App;
use crate::error::Problem;
use crate::extract::{Path, whole};
use crate::openapi::{Always, Conflicting, Missing, WithBody};
use crate::people;

/// Bytes of a completion, at most: as of an answer that is given at once.
const LONGEST: u64 = 1 << 20;
/// The longest name of who did it, in characters.
const LONGEST_NAME: usize = 200;
/// How often a run that moves on meanwhile is looked at again.
const TRIES: usize = 5;

/// How a task ended: with an output, or with why it cannot be done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Completion {
    /// The step's output.
    #[schema(value_type = Option<Object>)]
    output: Option<Value>,
    /// Changes of the blackboard that it proposes (RFC 6902).
    #[schema(value_type = Option<Vec<Object>>)]
    patch: Option<Value>,
    /// `tokens_in`, `tokens_out`, `cost_micros`.
    #[schema(value_type = Option<Object>)]
    usage: Option<Value>,
    /// Who did it.
    model: Option<String>,
    /// Why it cannot be done: the step fails for good.
    error: Option<String>,
}

impl Completion {
    fn check(&self) -> Result<(), Problem> {
        let wrong = |what: &str| Err(Problem::unprocessable(what));
        match (&self.output, &self.error) {
            (Some(Value::Object(_)), None) => {}
            (None, Some(_)) if self.patch.is_none() => {}
            (None, Some(_)) => return wrong("`patch` goes with an `output`"),
            _ => return wrong("give either `output`, an object, or `error`, a text"),
        }
        if self.patch.as_ref().is_some_and(|patch| !patch.is_array()) {
            return wrong("`patch` is a list of operations");
        }
        if self.model.as_deref().is_some_and(|name| !model::is_line(name, LONGEST_NAME)) {
            return wrong("`model` is a name of one line");
        }
        let counts = self.usage.clone().map(serde_json::from_value::<model::Usage>);
        if counts.is_some_and(|counts| counts.is_err()) {
            return wrong("`usage` has `tokens_in`, `tokens_out` and `cost_micros`, whole numbers");
        }
        Ok(())
    }
}

/// The run whose task it was.
#[derive(Serialize, ToSchema)]
pub(crate) struct Told {
    run_id: RunId,
    /// The step.
    step: String,
}

impl From<WorkOrder> for Told {
    fn from(order: WorkOrder) -> Self {
        Self { run_id: order.key.run, step: order.step }
    }
}

/// Completes a task that a worker was asked for, once: its run goes on at once.
#[utoipa::path(
    post,
    operation_id = "complete_work",
    path = "/v1/work/{token}",
    tag = "workers",
    params(("token" = String, Path, description = "The token of the task's `callback`")),
    request_body = Completion,
    security(("signature" = [])),
    responses((status = 200, description = "It is kept", body = Told), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn complete(
    State(app): State<App>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Incoming,
) -> Result<Json<Told>, Problem> {
    let (order, bytes) = signed(&app, &token, Telling::End, &headers, body).await?;
    let given: Completion = serde_json::from_slice(&bytes)
        .map_err(|e| Problem::bad_request(format!("the body is not what is expected here: {e}")))?;
    given.check()?;
    let answer = std::str::from_utf8(&bytes).map_err(|e| Problem::bad_request(e.to_string()))?;
    for _ in 0..TRIES {
        let (run, workflow) = standing(&app, &order).await?;
        let item = Item::of(people::below_a_span(run));
        let actor = app.process.actor.clone();
        let route = |run: &LoadedRun, facts: &Facts| {
            let signal = Signal::Postponed { reason: "its worker answered" };
            let transition = rails::advance(&workflow, &run.standing(), &signal, &Default::default(), facts);
            let transition = transition.map_err(|impossible| Problem::conflict(impossible.to_string()))?;
            let advance = Advance::by(actor.clone(), "answered");
            Ok::<_, Problem>(Routed { transition, delay: std::time::Duration::ZERO, advance })
        };
        match app.process.record.complete_work(order.token, answer, &item, route).await? {
            Completed::Woken(won) => {
                fleet::failpoint::reach("answered");
                fleet::set_going(&app.process.streams, &workflow, &item.run, &won).await;
            }
            Completed::Kept => {}
            Completed::Late => return Err(late()),
            Completed::Moved => continue,
        }
        return Ok(Json(order.into()));
    }
    Err(Problem::unavailable("the run moves on again and again: send this once more"))
}

/// Tells that a worker is still at its task: it is not asked for it again before it was silent for a while.
#[utoipa::path(
    post,
    operation_id = "heartbeat_of_work",
    path = "/v1/work/{token}/heartbeat",
    tag = "workers",
    params(("token" = String, Path, description = "The token of the task's `callback`")),
    request_body(description = "Anything, as long as it is signed", content((Object = "application/json"))),
    security(("signature" = [])),
    responses((status = 200, description = "It is noted", body = Told), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn heartbeat(
    State(app): State<App>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Incoming,
) -> Result<Json<Told>, Problem> {
    let (order, _) = signed(&app, &token, Telling::SignOfLife, &headers, body).await?;
    standing(&app, &order).await?;
    if !app.process.record.hear_of_work(order.token).await? {
        return Err(late());
    }
    Ok(Json(order.into()))
}

fn late() -> Problem {
    Problem::conflict(
        "nobody waits for this task any more: it was completed or given up, or its run moved on",
    )
}

/// The order of a token whose worker signed the request, and the request's body.
async fn signed(
    app: &App,
    token: &str,
    telling: Telling,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<(WorkOrder, BytesMut), Problem> {
    let body = whole(body, LONGEST).await?;
    let found = app.process.record.work_order(sha256(&[token.as_bytes()])).await?;
    let order = found.ok_or_else(|| Problem::not_found("there is no such task"))?;
    callback::verify(&order.signing_key, token, telling, headers, &body)
        .map_err(|why| Problem::unsigned(&why))?;
    Ok((order, body))
}

/// The run or branch that waits for a task still.
async fn standing(app: &App, order: &WorkOrder) -> Result<(LoadedRun, std::sync::Arc<Workflow>), Problem> {
    let loaded = app.process.record.load_branch(order.key, &[]).await?;
    let mut run = loaded.ok_or_else(late)?;
    let workflow = app.workflows.get(&run.pipeline_version).await?;
    fleet::remember(&app.process.record, &mut run, &workflow).await?;
    let visits = run.memory.as_ref().and_then(|memory| memory.visits.get(&order.step).copied()).unwrap_or(1);
    let waits = matches!(run.state, RunState::Running | RunState::Parked);
    if !order.open || !waits || run.step != order.step || visits != order.visit {
        return Err(late());
    }
    Ok((run, workflow))
}
