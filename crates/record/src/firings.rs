//! Firings: each is stored before anything follows from it, and ends as exactly one of run, merged, suppressed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::RunId;
use rails::{Circumstances, Conclusion};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Admission, Error, Record};

/// How a trigger was fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FiringKind {
    /// By a person, or by an entry of `planner:triggers`.
    Manual,
    /// By its schedule.
    Scheduled,
    /// By an event.
    Reactive,
}

impl FiringKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Scheduled => "scheduled",
            Self::Reactive => "reactive",
        }
    }
}

/// A firing that asks to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFiring {
    /// The trigger's name.
    pub trigger: String,
    /// The trigger's tenant.
    pub tenant: String,
    /// The same trigger and request id again is the same firing.
    pub request_id: String,
    /// How it was fired.
    pub kind: FiringKind,
    /// Who or what fired it.
    pub cause: String,
    /// What its event is known by: firings of a trigger of one kind and origin lead to one event.
    pub origin: String,
    /// A JSON object.
    pub input: String,
    /// The run whose event fired it, where one did.
    pub follows: Option<RunId>,
    /// The time that a schedule meant.
    pub meant_for: Option<DateTime<Utc>>,
    /// The backfill that it is part of.
    pub backfill: Option<Uuid>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// A firing that is not concluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFiring {
    /// Its id.
    pub firing_id: Uuid,
    /// The trigger's name.
    pub trigger: String,
    /// The trigger's tenant.
    pub tenant: String,
    /// What the trigger is, JSON; none where the planners have it no more.
    pub definition: Option<String>,
    /// What its event is known by.
    pub origin: String,
    /// A JSON object.
    pub input: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// A firing, as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Firing {
    /// Its id.
    pub firing_id: Uuid,
    /// The trigger's name.
    pub trigger: String,
    /// The sender's id.
    pub request_id: String,
    /// `manual`, `scheduled` or `reactive`.
    pub kind: String,
    /// Who or what fired it.
    pub cause: String,
    /// The triggers whose firings led here.
    pub chain: Vec<String>,
    /// When.
    pub fired_at: DateTime<Utc>,
    /// `run`, `merged` or `suppressed`; none while it is open.
    pub outcome: Option<String>,
    /// Why it was merged or suppressed.
    pub reason: String,
    /// The run that serves it.
    pub run_id: Option<RunId>,
}

/// Which firings to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FiringFilter {
    /// Of this trigger.
    pub trigger: Option<String>,
    /// With this outcome.
    pub outcome: Option<String>,
    /// Of this tenant.
    pub tenant: Option<String>,
}

const COLUMNS: &str = "firing_id, trigger, request_id, kind, cause, chain, fired_at, outcome, reason, run_id";

/// Stores firings; those whose request id their trigger knows change nothing. How many are new.
pub(crate) async fn insert(connection: &mut PgConnection, firings: &[NewFiring]) -> Result<u64, Error> {
    let text = |field: fn(&NewFiring) -> &str| firings.iter().map(field).collect::<Vec<_>>();
    // What a run's event leads to knows the firings that led to that run, or to the one whose event it takes through.
    let stored = sqlx::query(
        "INSERT INTO firings (firing_id, trigger, tenant, request_id, kind, cause, origin, input, chain, meant_for,
                              traceparent, backfill_id)
         SELECT g.id, g.trigger, g.tenant, g.request_id, g.kind, g.cause, g.kind || '/' || g.origin, g.input,
                coalesce((WITH RECURSIVE earlier AS (
                              SELECT g.follows AS run_id
                              UNION SELECT r.rerun_of FROM earlier JOIN runs r USING (run_id))
                          SELECT f.chain || f.trigger FROM firings f JOIN earlier USING (run_id)
                          WHERE f.outcome = 'run' LIMIT 1), '{}'),
                g.meant_for, g.traceparent, g.backfill
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::uuid[], $10::timestamptz[], $11::text[], $12::uuid[])
              AS g(id, trigger, tenant, request_id, kind, cause, origin, input, follows, meant_for, traceparent, backfill)
         ORDER BY g.trigger, g.request_id
         ON CONFLICT (trigger, kind, request_id) DO NOTHING",
    )
    .bind(firings.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(text(|f| &f.trigger))
    .bind(text(|f| &f.tenant))
    .bind(text(|f| &f.request_id))
    .bind(text(|f| f.kind.as_str()))
    .bind(text(|f| &f.cause))
    .bind(text(|f| &f.origin))
    .bind(text(|f| &f.input))
    .bind(firings.iter().map(|f| f.follows.map(|run| run.0)).collect::<Vec<_>>())
    .bind(firings.iter().map(|f| f.meant_for).collect::<Vec<_>>())
    .bind(firings.iter().map(|f| f.traceparent.as_deref()).collect::<Vec<_>>())
    .bind(firings.iter().map(|f| f.backfill).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(Error::sql("the storing of firings"))?;
    Ok(stored.rows_affected())
}

impl Record {
    /// Stores firings; those whose request id their trigger knows change nothing. How many are new.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn fire(&self, firings: &[NewFiring]) -> Result<u64, Error> {
        let mut connection = self.pool.acquire().await.map_err(Error::sql("a connection"))?;
        insert(&mut connection, firings).await
    }

    /// Firings of these triggers that are not concluded, and of those that the planners have no more, the oldest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn open_firings(&self, triggers: &[&str], limit: i64) -> Result<Vec<OpenFiring>, Error> {
        let rows = sqlx::query(
            "SELECT f.firing_id, f.trigger, f.tenant, f.origin, f.input, f.traceparent,
                    CASE WHEN t.active THEN t.definition END AS definition
             FROM firings f JOIN triggers t ON t.name = f.trigger
             WHERE f.outcome IS NULL AND (f.trigger = ANY($2) OR NOT t.active) ORDER BY f.firing_id LIMIT $1",
        )
        .bind(limit)
        .bind(triggers)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the look-up of firings"))?;
        Ok(rows
            .iter()
            .map(|row| OpenFiring {
                firing_id: row.get("firing_id"),
                trigger: row.get("trigger"),
                tenant: row.get("tenant"),
                definition: row.get("definition"),
                origin: row.get("origin"),
                input: row.get("input"),
                traceparent: row.get("traceparent"),
            })
            .collect())
    }

    /// Concludes a firing, and admits its run, in one transaction that other firings of its trigger wait for. `None` where
    /// another planner concluded it.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the conclusion is a run and no `admission` was given, or its event came
    /// before and that run is gone. Nothing is concluded then.
    pub async fn conclude_firing(
        &self,
        firing: Uuid,
        admission: Option<&Admission>,
        decide: impl FnOnce(&Circumstances) -> Conclusion,
    ) -> Result<Option<Conclusion>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let Some(circumstances) = circumstances(&mut tx, firing).await? else { return Ok(None) };
        let conclusion = match (decide(&circumstances), admission) {
            (Conclusion::Run, Some(admission)) => begin(&mut tx, admission).await?,
            (Conclusion::Run, None) => {
                return Err(Error::unreadable(format_args!("firing {firing}"), "it has no run to begin"));
            }
            (other, _) => other,
        };
        if let (Conclusion::Run, Some(admission)) = (&conclusion, admission) {
            mark(&mut tx, firing, admission.run).await?;
        }
        let (outcome, run, reason) = match (&conclusion, admission) {
            (Conclusion::Run, admission) => ("run", admission.map(|admission| admission.run), ""),
            (Conclusion::Merged(run, reason), _) => ("merged", Some(*run), reason.as_str()),
            (Conclusion::Suppressed(reason), _) => ("suppressed", None, reason.as_str()),
        };
        sqlx::query(
            "UPDATE firings SET outcome = $2, run_id = $3, reason = $4, concluded_at = clock_timestamp()
             WHERE firing_id = $1",
        )
        .bind(firing)
        .bind(outcome)
        .bind(run.map(|run| run.0))
        .bind(model::storable(reason))
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("the conclusion of a firing"))?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(Some(conclusion))
    }

    /// Firings, the newest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn firings(&self, filter: &FiringFilter, limit: i64) -> Result<Vec<Firing>, Error> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM firings
             WHERE ($1::text IS NULL OR trigger = $1) AND ($2::text IS NULL OR outcome = $2)
               AND ($3::text IS NULL OR tenant = $3)
             ORDER BY firing_id DESC LIMIT $4"
        )))
        .bind(&filter.trigger)
        .bind(&filter.outcome)
        .bind(&filter.tenant)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the look-up of firings"))?;
        Ok(rows.iter().map(shown).collect())
    }

    /// The firing of a trigger by hand with this request id.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn firing(&self, trigger: &str, request_id: &str) -> Result<Option<Firing>, Error> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM firings WHERE trigger = $1 AND kind = 'manual' AND request_id = $2"
        )))
        .bind(trigger)
        .bind(request_id)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("the look-up of a firing"))?;
        Ok(row.as_ref().map(shown))
    }
}

fn shown(row: &PgRow) -> Firing {
    Firing {
        firing_id: row.get("firing_id"),
        trigger: row.get("trigger"),
        request_id: row.get("request_id"),
        kind: row.get("kind"),
        cause: row.get("cause"),
        chain: row.get("chain"),
        fired_at: row.get("fired_at"),
        outcome: row.get("outcome"),
        reason: row.get("reason"),
        run_id: row.get::<Option<Uuid>, _>("run_id").map(RunId),
    }
}

/// Admits the run of a firing; where its event came before, that event's run serves it.
async fn begin(connection: &mut PgConnection, admission: &Admission) -> Result<Conclusion, Error> {
    if crate::admission::insert(connection, &[admission]).await?.contains(&admission.run) {
        return Ok(Conclusion::Run);
    }
    let known = crate::admission::holders(connection, &[admission]).await?;
    match known.into_values().next() {
        Some(run) => Ok(Conclusion::Merged(run, "its event came before".to_owned())),
        None => Err(Error::unreadable(format_args!("request {}", admission.request_id), "its run is gone")),
    }
}

/// Marks the run of a firing as its trigger's or, where a backfill fired it, as quiet if that asked for silence.
async fn mark(connection: &mut PgConnection, firing: Uuid, run: RunId) -> Result<(), Error> {
    sqlx::query(
        "UPDATE runs r SET quiet = coalesce(b.quiet, false),
                           trigger = CASE WHEN f.backfill_id IS NULL THEN f.trigger END
         FROM firings f LEFT JOIN backfills b USING (backfill_id)
         WHERE r.run_id = $2 AND f.firing_id = $1",
    )
    .bind(firing)
    .bind(run.0)
    .execute(connection)
    .await
    .map_err(Error::sql("the mark of a run"))?;
    Ok(())
}

/// What is known of an open firing, with its trigger locked: for others that conclude, not for those that store firings. The
/// firing itself is locked as well, for backfills that take it over.
async fn circumstances(connection: &mut PgConnection, firing: Uuid) -> Result<Option<Circumstances>, Error> {
    let locked: Option<String> = sqlx::query_scalar(
        "SELECT t.name FROM triggers t
         WHERE t.name = (SELECT trigger FROM firings WHERE firing_id = $1) FOR NO KEY UPDATE",
    )
    .bind(firing)
    .fetch_optional(&mut *connection)
    .await
    .map_err(Error::sql("the lock of a trigger"))?;
    let Some(trigger) = locked else { return Ok(None) };
    let row = sqlx::query(
        "SELECT f.chain, extract(epoch FROM f.fired_at - f.meant_for)::float8 AS late,
                f.backfill_id IS NOT NULL AS backfilled,
                (SELECT run_id FROM runs WHERE trigger = $2 AND state IN ('running', 'waiting', 'parked')
                 ORDER BY run_id DESC LIMIT 1) AS open,
                (SELECT extract(epoch FROM clock_timestamp() - concluded_at)::float8 FROM firings
                 WHERE trigger = $2 AND outcome = 'run' AND backfill_id IS NULL
                 ORDER BY concluded_at DESC LIMIT 1) AS ran
         FROM firings f WHERE f.firing_id = $1 AND f.outcome IS NULL FOR NO KEY UPDATE",
    )
    .bind(firing)
    .bind(trigger)
    .fetch_optional(connection)
    .await
    .map_err(Error::sql("the circumstances of a firing"))?;
    let period = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Ok(row.map(|row| Circumstances {
        chain: row.get("chain"),
        backfilled: row.get("backfilled"),
        late: row.get::<Option<f64>, _>("late").map(period).unwrap_or_default(),
        open: row.get::<Option<Uuid>, _>("open").map(RunId),
        ran: row.get::<Option<f64>, _>("ran").map(period),
    }))
}
