//! Successors: new runs that take the event of an earlier one through once more, with what artifacts still fit.
//!
//! A carried step is a transition like any other, of the new run's own chain, with the earlier run's output. Approvals are
//! never carried. Publication keys follow the event, so nothing is posted twice.

use std::sync::Arc;

use model::{Actor, Claims, EnrichedTrend, RunId, RunState, Sha256Digest, StoredContent, genesis, sha256};
use rails::{Facts, GatePolicies, Memory};
use serde::Deserialize;
use serde_json::Value;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::escalations::cancel_within;
use crate::provenance::{ProvenanceEntry, trace_id};
use crate::{
    Admission, Admitted, Cancelled, Error, Item, LoadedRun, Record, Routed, Won, activations, admission,
    beyond, callbacks, claims,
};

/// What a run was asked for with, beside its event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Its side effects are planned and shown, and not sent.
    pub dry_run: bool,
    /// The notification target that its end is told.
    pub notify: Option<String>,
}

/// The output of a step that was done, as its chain tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DoneStep {
    /// The step.
    pub step: String,
    /// The visit that made it.
    pub seq: i32,
    /// The artifact's exact JSON.
    pub output: String,
    /// The content that came with it.
    pub content: Option<StoredContent>,
    /// The trend that came with it.
    pub trend: Option<EnrichedTrend>,
    /// The questions to the record that came with it.
    pub claims: Claims,
    /// The patch of the blackboard that was applied with it.
    pub patch: Option<Value>,
}

/// A run that is to take the event of an earlier one through.
#[derive(Debug)]
pub struct NewSuccessor<'a> {
    /// The earlier run.
    pub of: &'a LoadedRun,
    /// The version it is pinned to.
    pub pipeline_version: &'a str,
    /// Where it begins.
    pub first_step: &'a str,
    /// What its manifest begins with, where the version keeps one.
    pub memory: Option<Box<Memory>>,
    /// Steps of the earlier run that may be carried, in the order of the way.
    pub done: &'a [DoneStep],
    /// Whether its side effects are planned and not sent.
    pub dry_run: bool,
    /// Who wants it.
    pub actor: &'a Actor,
    /// Why.
    pub reason: &'a str,
}

/// Chooses the route that carries a step, or none: then the run goes on from there itself.
pub type Carry<'a> = dyn Fn(&LoadedRun, &DoneStep, &Facts) -> Option<Routed> + Sync + 'a;

/// What came of a migration.
#[derive(Debug)]
pub enum Migrated {
    /// The run is cancelled, or will be once what it did is undone.
    Done {
        /// The run that goes on in its place; none where it was only to be cancelled.
        next: Option<Box<LoadedRun>>,
        /// The first step of the undoing.
        undoing: Option<Won>,
    },
    /// The run moved on meanwhile; nothing was written.
    Stale,
    /// A publication is under way; nothing was written.
    Publishing,
    /// A later activation put an end to this one; nothing was written.
    Superseded,
}

impl Record {
    /// Admits an event with what its run was asked for with.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn admit_run(&self, new: &Admission, options: &RunOptions) -> Result<Admitted, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        if !admission::insert(&mut tx, &[new]).await?.contains(&new.run) {
            let known = admission::holders(&mut tx, &[new]).await?.into_values().next();
            let gone = || Error::unreadable(format_args!("request {}", new.request_id), "its run is gone");
            return Ok(Admitted { run: known.ok_or_else(gone)?, created: false });
        }
        if options.dry_run {
            sqlx::query("UPDATE runs SET dry_run = true WHERE run_id = $1")
                .bind(new.run.0)
                .execute(&mut *tx)
                .await
                .map_err(Error::sql("the mark of a dry run"))?;
        }
        if let Some(target) = &options.notify {
            callbacks::ask(&mut tx, new.run, target).await?;
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(Admitted { run: new.run, created: true })
    }

    /// The newest output of each step of a run, where it is what the run's chain tells of.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn done_steps(&self, run: RunId) -> Result<Vec<DoneStep>, Error> {
        let rows = sqlx::query(
            "SELECT p.body, a.name, a.seq, a.body::text AS output, c.body::text AS content
             FROM artifacts a
             JOIN provenance_log p ON p.run_id = a.run_id AND p.branch = 0
                  AND p.body::json->>'kind' = 'transition' AND (p.body::json->>'seq')::int = a.seq + 1
                  AND p.body::json->>'what' IN ('done', 'carried')
             LEFT JOIN artifacts c ON c.run_id = a.run_id AND c.branch = 0 AND c.seq = a.seq AND c.name = 'content'
             WHERE a.run_id = $1 AND a.branch = 0 AND a.name = p.body::json->>'step' ORDER BY a.seq",
        )
        .bind(run.0)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the steps of a run"))?;
        let mut found: Vec<DoneStep> = Vec::new();
        for step in rows.iter().filter_map(done_step) {
            found.retain(|earlier| earlier.step != step.step);
            found.push(step);
        }
        Ok(found)
    }

    /// The trend of a run.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn trend_of(&self, run: RunId) -> Result<Option<EnrichedTrend>, Error> {
        let row = sqlx::query(
            "SELECT language, sentiment, topics, toxicity_score, confidence, published_at
             FROM enriched_trends WHERE run_id = $1",
        )
        .bind(run.0)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("the trend of a run"))?;
        Ok(row.map(|row| EnrichedTrend {
            language: row.get("language"),
            sentiment: row.get("sentiment"),
            topics: row.get("topics"),
            toxicity_score: row.get("toxicity_score"),
            confidence: row.get("confidence"),
            published_at: row.get("published_at"),
        }))
    }

    /// Begins a run that takes the event of an ended one through once more.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn rerun(
        &self,
        new: &NewSuccessor<'_>,
        options: &RunOptions,
        carry: &Carry<'_>,
    ) -> Result<LoadedRun, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let run = begin(&mut tx, &self.policies, new, carry).await?;
        if let Some(target) = &options.notify {
            callbacks::ask(&mut tx, run.run, target).await?;
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(run)
    }

    /// Ends an open run for an activation, and begins its successor where there is to be one: in one transaction, which
    /// counts the run as dealt with.
    ///
    /// # Errors
    /// [`Error::Sql`], and what the route of the cancellation refuses.
    pub async fn migrate_run<E: From<Error>>(
        &self,
        activation: Uuid,
        by: &str,
        cancel: (&Item, impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>),
        successor: Option<(&NewSuccessor<'_>, &Carry<'_>)>,
    ) -> Result<Migrated, E> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let undoing = match cancel_within(&mut tx, &self.policies, by, cancel.0, cancel.1).await? {
            Cancelled::Done => None,
            Cancelled::Undoing(won) => Some(won),
            Cancelled::Stale => return Ok(Migrated::Stale),
            Cancelled::Publishing => return Ok(Migrated::Publishing),
        };
        let mut next = None;
        if let Some((new, carry)) = successor {
            let run = begin(&mut tx, &self.policies, new, carry).await?;
            callbacks::hand_on(&mut tx, new.of.run.0, run.run.0).await?;
            next = Some(Box::new(run));
        }
        if !activations::count_one(&mut tx, activation).await? {
            return Ok(Migrated::Superseded);
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(Migrated::Done { next, undoing })
    }
}

/// What a link tells of the bodies beside it.
#[derive(Deserialize)]
struct Told {
    output_sha256: Option<Sha256Digest>,
    content_sha256: Option<Sha256Digest>,
    patch_applied: Option<Value>,
}

/// `None` for what is not as its link tells.
fn done_step(row: &sqlx::postgres::PgRow) -> Option<DoneStep> {
    let told: Told = serde_json::from_str(row.get("body")).ok()?;
    let output: String = row.get("output");
    if told.output_sha256 != Some(sha256(&[output.as_bytes()])) {
        return None;
    }
    let content = match row.get::<Option<&str>, _>("content") {
        Some(json) => Some(StoredContent::read(json, told.content_sha256?).ok()?),
        None => None,
    };
    let (step, seq) = (row.get("name"), row.get("seq"));
    let patch = told.patch_applied;
    Some(DoneStep { step, seq, output, content, trend: None, claims: Claims::default(), patch })
}

/// Why a step is not carried.
enum Halt {
    DoneAnew,
    Record(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Record(error)
    }
}

async fn begin(
    connection: &mut PgConnection,
    policies: &Arc<GatePolicies>,
    new: &NewSuccessor<'_>,
    carry: &Carry<'_>,
) -> Result<LoadedRun, Error> {
    let mut run = insert(connection, new).await?;
    for done in new.done {
        if done.step != run.step || run.state != RunState::Running {
            break;
        }
        let item = Item { claims: done.claims.clone(), ..Item::of(run.clone()) };
        let facts = claims::answer(connection, std::slice::from_ref(&item), &[None]).await?;
        let route = |run: &LoadedRun, facts: &Facts| carry(run, done, facts).ok_or(Halt::DoneAnew);
        let facts = facts.into_iter().next().unwrap_or_default();
        match beyond::act_knowing(connection, policies, &item, facts, route).await {
            Ok(Some(won)) => run = moved(connection, run, &won.routed).await?,
            Ok(None) | Err(Halt::DoneAnew) => break,
            Err(Halt::Record(error)) => return Err(error),
        }
    }
    Ok(run)
}

async fn insert(connection: &mut PgConnection, new: &NewSuccessor<'_>) -> Result<LoadedRun, Error> {
    let of = new.of;
    let run = RunId(Uuid::now_v7());
    let payload: Vec<u8> = sqlx::query_scalar("SELECT sha256(payload) FROM events WHERE event_id = $1")
        .bind(of.event_id)
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::sql("the event of a run"))?;
    let link = ProvenanceEntry {
        output_sha256: Sha256Digest::from_slice(&payload),
        trace_id: trace_id(of.traceparent.as_deref()),
        planner_intent: &of.planner_intent,
        ..ProvenanceEntry::accepted(run, new.first_step, new.reason, new.actor)
    }
    .link(genesis(run, 0))?;
    // The epoch is the event's: what was posted of it before a restore is asked about.
    sqlx::query(
        "WITH made AS (
             INSERT INTO runs (run_id, event_id, intent_id, chain_head, chain_len, due_at, received_at, partition, tenant,
                               region, pipeline_version, state, lifecycle, step, traceparent, epoch, rerun_of, dry_run,
                               quiet, trigger)
             SELECT $1, event_id, intent_id, $3, 1, now(), now(), partition, tenant, region, $4, 'running', 'draft',
                    $5, $6, epoch, run_id, $7, quiet, trigger FROM runs WHERE run_id = $2
             RETURNING run_id)
         INSERT INTO provenance_log (run_id, branch, pos, body, hash) SELECT run_id, 0, 1, $8, $3 FROM made",
    )
    .bind(run.0)
    .bind(of.run.0)
    .bind(&link.hash.0[..])
    .bind(new.pipeline_version)
    .bind(new.first_step)
    .bind(of.traceparent.as_deref())
    .bind(new.dry_run.then_some(true))
    .bind(&link.body)
    .execute(connection)
    .await
    .map_err(Error::sql("the beginning of a run"))?;
    Ok(LoadedRun {
        run,
        pipeline_version: new.pipeline_version.to_owned(),
        state: RunState::Running,
        lifecycle: model::Lifecycle::Draft,
        step: new.first_step.to_owned(),
        seq: 0,
        attempt: 0,
        chain_head: link.hash,
        chain_len: 1,
        content_sha256: None,
        enriched_trend_id: None,
        dry_run: new.dry_run,
        due_in: std::time::Duration::ZERO,
        received_at: chrono::Utc::now(),
        payload: None,
        artifacts: vec![],
        branch: 0,
        memory: new.memory.clone(),
        ..of.clone()
    })
}

/// The run after a transition that was written in this transaction.
async fn moved(connection: &mut PgConnection, run: LoadedRun, routed: &Routed) -> Result<LoadedRun, Error> {
    let row = sqlx::query(
        "SELECT seq, chain_head, chain_len, content_sha256, enriched_trend_id FROM runs WHERE run_id = $1",
    )
    .bind(run.run.0)
    .fetch_one(connection)
    .await
    .map_err(Error::sql("a run"))?;
    let digest = |name: &str| row.get::<Option<&[u8]>, _>(name).and_then(Sha256Digest::from_slice);
    let unreadable = || Error::unreadable(format_args!("run {}", run.run), "its chain head is no SHA-256");
    let mut artifacts = run.artifacts.clone();
    artifacts.extend(routed.output().map(|body| (run.step.clone(), body.into_owned())));
    artifacts.extend(routed.content().map(|one| ("content".to_owned(), one.json.clone())));
    Ok(LoadedRun {
        state: routed.transition.state,
        lifecycle: routed.transition.lifecycle,
        step: routed.transition.step.clone(),
        attempt: routed.transition.attempt,
        seq: row.get("seq"),
        chain_head: digest("chain_head").ok_or_else(unreadable)?,
        chain_len: row.get("chain_len"),
        content_sha256: digest("content_sha256"),
        enriched_trend_id: row.get("enriched_trend_id"),
        artifacts,
        memory: routed.transition.beyond.as_deref().map(|beyond| Box::new(beyond.memory.clone())),
        ..run
    })
}
