//! Backfills: the times of a trigger's schedule over a range, fired at a pace of their own.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use record::{Backfill, NewBackfill};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, Path};
use crate::openapi::{Always, Missing, WithBody};

/// Backfills of one answer, at most.
const MOST: i64 = 100;

/// Over which range, and how fast.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBackfill)]
pub(crate) struct Wish {
    /// The first time that may fire.
    from: DateTime<Utc>,
    /// The range's end; a time that is exactly this is not part of it.
    until: DateTime<Utc>,
    /// Firings a time unit: such as `1/s`, `30/m` or `100/h`.
    #[serde(default = "one_a_second")]
    #[schema(pattern = "^[0-9]+/[smh]$")]
    rate: String,
    /// Tell nobody of what happens in its runs, and let it fire no trigger.
    #[serde(default)]
    quiet: bool,
}

fn one_a_second() -> String {
    "1/s".to_owned()
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Backfills {
    /// The newest first.
    backfills: Vec<Backfill>,
}

/// Fires the times of a schedule over a range; those that have a run do not fire again.
#[utoipa::path(
    post,
    operation_id = "backfill_trigger",
    path = "/v1/triggers/{name}/backfill",
    tag = "triggers",
    params(("name" = String, Path, description = "A trigger with a schedule")),
    request_body = Wish,
    responses((status = 202, description = "It begins within a second", body = Backfill), Always, Missing, WithBody),
)]
pub(crate) async fn begin(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(wish): Body<Wish>,
) -> Result<(StatusCode, Json<Backfill>), Problem> {
    caller.must("operate")?;
    let record = &app.process.record;
    let found = record.triggers().await?.into_iter();
    let trigger = found.into_iter().find(|t| t.active && t.tenant == caller.tenant() && t.name == name);
    let trigger = trigger.ok_or_else(|| Problem::not_found(format!("there is no trigger `{name}`")))?;
    let definition: Value = serde_json::from_str(&trigger.definition).unwrap_or_default();
    if definition["schedule"].is_null() {
        return Err(Problem::bad_request(format!("`{name}` has no schedule whose times could be fired")));
    }
    if wish.until <= wish.from {
        return Err(Problem::bad_request("`until` is not later than `from`: there is no time between them"));
    }
    let pause = pause(&wish.rate).ok_or_else(|| {
        let rate = &wish.rate;
        Problem::bad_request(format!(
            "`rate` is `{rate}`: write firings a second, minute or hour, such as 30/m"
        ))
    })?;
    let new = NewBackfill {
        trigger: trigger.name,
        tenant: trigger.tenant,
        requested_by: caller.name().to_owned(),
        from: wish.from,
        until: wish.until,
        pause,
        quiet: wish.quiet,
    };
    Ok((StatusCode::ACCEPTED, Json(record.begin_backfill(&new).await?)))
}

/// The time between two firings at a rate.
fn pause(rate: &str) -> Option<Duration> {
    let (count, unit) = rate.split_once('/')?;
    let count: u32 = count.parse().ok().filter(|count| *count > 0)?;
    let unit = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    Some((unit / count).max(Duration::from_millis(10)))
}

/// Lists the tenant's backfills, the newest first.
#[utoipa::path(get, operation_id = "list_backfills", path = "/v1/backfills", tag = "triggers", responses((status = 200, description = "The newest hundred", body = Backfills), Always))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Backfills>, Problem> {
    caller.must("read")?;
    Ok(Json(Backfills { backfills: app.process.record.backfills(caller.tenant(), MOST).await? }))
}

/// Stops a backfill; what it fired stays.
#[utoipa::path(
    post,
    operation_id = "stop_backfill",
    path = "/v1/backfills/{id}/stop",
    tag = "triggers",
    params(("id" = Uuid, Path, description = "The backfill")),
    responses((status = 200, description = "It is stopped, or was done already", body = Backfill), Always, Missing),
)]
pub(crate) async fn stop(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Backfill>, Problem> {
    caller.must("operate")?;
    let absent = || Problem::not_found(format!("there is no backfill {id}"));
    let uuid = Uuid::parse_str(&id).map_err(|_| absent())?;
    let stopped = app.process.record.stop_backfill(caller.tenant(), uuid, caller.name()).await?;
    stopped.map(Json).ok_or_else(absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_firings_a_unit() {
        assert_eq!(pause("1/s"), Some(Duration::from_secs(1)));
        assert_eq!(pause("30/m"), Some(Duration::from_secs(2)));
        assert_eq!(pause("100/h"), Some(Duration::from_secs(36)));
        assert_eq!(pause("1000000/s"), Some(Duration::from_millis(10)));
        for bad in ["", "0/s", "1", "1/d", "-1/s", "1.5/s"] {
            assert_eq!(pause(bad), None, "{bad}");
        }
    }
}
