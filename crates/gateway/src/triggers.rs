//! Triggers: listed, fired by hand, and what became of each firing.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use record::{Firing, FiringFilter, FiringKind, NewFiring, Trigger};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{OptionalBody, Path, Query};
use crate::openapi::{Always, Missing, WithBody};

/// Firings of one answer, at most.
const MOST: u32 = 1000;

#[derive(Serialize, ToSchema)]
pub(crate) struct Triggers {
    triggers: Vec<Shown>,
}

/// A trigger.
#[derive(Serialize, ToSchema)]
#[schema(as = Trigger)]
struct Shown {
    name: String,
    /// As it is configured.
    #[schema(value_type = Object)]
    definition: Value,
    /// When its schedule fires next.
    next_at: Option<DateTime<Utc>>,
    /// Since when it waits for events.
    registered_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Firings {
    /// The newest first.
    firings: Vec<Firing>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Of this trigger.
    trigger: Option<String>,
    /// `run`, `merged` or `suppressed`.
    outcome: Option<String>,
    /// 1 to 1000; 100 unless given.
    limit: Option<u32>,
}

/// How a trigger is fired by hand.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = Fire)]
pub(crate) struct Fire {
    /// The same trigger and id again is the same firing; a new one unless given.
    request_id: Option<String>,
    /// What the firing is about: an object of at most 256 KiB.
    input: Map<String, Value>,
}

/// Lists the tenant's triggers.
#[utoipa::path(get, operation_id = "list_triggers", path = "/v1/triggers", tag = "triggers", responses((status = 200, description = "The tenant's triggers", body = Triggers), Always))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Triggers>, Problem> {
    caller.must("read")?;
    let own = |trigger: &Trigger| trigger.active && trigger.tenant == caller.tenant();
    let triggers = app.process.record.triggers().await?.into_iter().filter(own).map(|trigger| Shown {
        definition: serde_json::from_str(&trigger.definition).unwrap_or_default(),
        name: trigger.name,
        next_at: trigger.next_at,
        registered_at: trigger.registered_at,
    });
    Ok(Json(Triggers { triggers: triggers.collect() }))
}

/// Lists firings, newest first, with what became of each.
#[utoipa::path(
    get,
    operation_id = "list_firings",
    path = "/v1/firings",
    tag = "triggers",
    params(Which),
    responses((status = 200, description = "Firings, the newest first", body = Firings), Always),
)]
pub(crate) async fn firings(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Firings>, Problem> {
    caller.must("read")?;
    if let Some(outcome) = &which.outcome
        && !["run", "merged", "suppressed"].contains(&outcome.as_str())
    {
        return Err(Problem::bad_request(format!(
            "outcome=`{outcome}`: a firing becomes run, merged or suppressed"
        )));
    }
    let filter = FiringFilter {
        trigger: which.trigger,
        outcome: which.outcome,
        tenant: Some(caller.tenant().to_owned()),
    };
    let limit = i64::from(which.limit.unwrap_or(100).clamp(1, MOST));
    Ok(Json(Firings { firings: app.process.record.firings(&filter, limit).await? }))
}

/// Fires a trigger; a planner concludes the firing within a second.
#[utoipa::path(
    post,
    operation_id = "fire_trigger",
    path = "/v1/triggers/{name}/fire",
    tag = "triggers",
    params(("name" = String, Path, description = "The trigger")),
    request_body = Fire,
    responses(
        (status = 202, description = "It is stored", body = Firing),
        (status = 200, description = "The request id was known: this is its firing", body = Firing),
        Always,
        Missing,
        WithBody,
    ),
)]
pub(crate) async fn fire(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    OptionalBody(fire): OptionalBody<Fire>,
) -> Result<(StatusCode, Json<Firing>), Problem> {
    caller.must("operate")?;
    let record = &app.process.record;
    let own = |trigger: &Trigger| trigger.active && trigger.tenant == caller.tenant() && trigger.name == name;
    if !record.triggers().await?.iter().any(own) {
        return Err(Problem::not_found(format!("there is no trigger `{name}`")));
    }
    let input = Value::Object(fire.input).to_string();
    model::trigger_input(input.as_bytes()).map_err(|e| Problem::bad_request(e.to_string()))?;
    let request_id = match fire.request_id {
        Some(id) => model::checked_name("request_id", &id).map(str::to_owned),
        None => Ok(Uuid::now_v7().to_string()),
    };
    let request_id = request_id.map_err(|e| Problem::bad_request(e.to_string()))?;
    let firing = NewFiring {
        origin: request_id.clone(),
        request_id,
        tenant: caller.tenant().to_owned(),
        trigger: name,
        kind: FiringKind::Manual,
        cause: caller.name().to_owned(),
        input,
        follows: None,
        meant_for: None,
        backfill: None,
        traceparent: None,
    };
    let stored = record.fire(std::slice::from_ref(&firing)).await?;
    let status = if stored == 1 { StatusCode::ACCEPTED } else { StatusCode::OK };
    let shown = record.firing(&firing.trigger, &firing.request_id).await?;
    let shown = shown.ok_or_else(|| Problem::unavailable("the firing cannot be read".to_owned()))?;
    Ok((status, Json(shown)))
}
