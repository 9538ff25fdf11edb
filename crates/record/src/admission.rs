//! Admission: an event and its run are committed together, once per (tenant, source, request id).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use model::{Actor, NewEvent, RunId, Sha256Digest, Usage, genesis, sha256};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::provenance::{ProvenanceEntry, trace_id};
use crate::{Error, Intent, Item, Record};

/// Namespace under which an event's id is derived.
const EVENT_NAMESPACE: Uuid = Uuid::from_u128(0x7469_6465_6d69_6c6c_6576_656e_7473_0001);

/// The id of an event: the same where it comes in again that a record put back from a backup no longer knows, so that the
/// keys of its publications are, too.
fn event_id(tenant: &str, source: &str, request_id: &str) -> Uuid {
    Uuid::new_v5(&EVENT_NAMESPACE, [tenant, source, request_id].join("\u{1f}").as_bytes())
}

/// An event that asks to become a run.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The event.
    pub event: NewEvent,
    /// The tenant it belongs to.
    pub tenant: String,
    /// The intent that serves its source.
    pub intent: Intent,
    /// The workflow's first step.
    pub first_step: String,
    /// The stream partition the run will live in.
    pub partition: u16,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// When it was received.
    pub received_at: DateTime<Utc>,
}

/// A new run with its ids and its first provenance link drawn up.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The run's id.
    pub run: RunId,
    /// The event's id.
    pub event_id: Uuid,
    /// The sender's id of the event, or the run's own where there was none.
    pub request_id: String,
    /// What is admitted.
    pub new: NewRun,
    /// The first link's body.
    pub body: String,
    /// The first link's hash.
    pub hash: Sha256Digest,
}

/// What became of an admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The run that serves the event.
    pub run: RunId,
    /// Whether it was created now; `false` where the same source and request id came before.
    pub created: bool,
}

impl Admission {
    /// Draws up the rows of a new run.
    ///
    /// # Errors
    /// [`Error::Unreadable`] where the first link cannot be serialised. Permanent.
    pub fn draw_up(new: NewRun, actor: &Actor) -> Result<Self, Error> {
        let run = RunId(Uuid::now_v7());
        let link = ProvenanceEntry {
            run,
            branch: 0,
            pos: 1,
            kind: "created",
            what: "accepted",
            seq: 0,
            step: "",
            state: "running",
            next: &new.first_step,
            attempt: 0,
            reason: new.event.source.as_str(),
            actor,
            at: new.received_at,
            model: None,
            worker_output_prompt: None,
            usage: Usage::default(),
            input_sha256: None,
            output_sha256: Some(sha256(&[new.event.payload.get().as_bytes()])),
            content_sha256: None,
            gates: &[],
            trace_id: trace_id(new.traceparent.as_deref()),
            planner_intent: &new.intent.purpose,
            beyond: None,
        }
        .link(genesis(run, 0))?;
        let request_id = new.event.request_id.clone().unwrap_or_else(|| run.to_string());
        let event_id = event_id(&new.tenant, new.event.source.as_str(), &request_id);
        Ok(Self { run, event_id, request_id, new, body: link.body, hash: link.hash })
    }

    fn key(&self) -> (String, String, String) {
        (self.new.tenant.clone(), self.new.event.source.as_str().to_owned(), self.request_id.clone())
    }
}

impl Record {
    /// Admits a group in one statement; one answer per admission, in order.
    ///
    /// # Errors
    /// [`Error::Sql`], and [`Error::Unreadable`] where an event came before and its run is gone; of the group, unless the
    /// caller sent one.
    pub async fn admit(&self, admissions: &[Admission]) -> Result<Vec<Admitted>, Error> {
        let mut connection = self.pool.acquire().await.map_err(Error::sql("a connection"))?;
        let created = insert(&mut connection, &admissions.iter().collect::<Vec<_>>()).await?;
        let known = if created.len() == admissions.len() {
            HashMap::new()
        } else {
            let repeated: Vec<&Admission> = admissions.iter().filter(|a| !created.contains(&a.run)).collect();
            holders(&mut connection, &repeated).await?
        };
        admissions
            .iter()
            .map(|a| match (created.contains(&a.run), known.get(&a.key())) {
                (true, _) => Ok(Admitted { run: a.run, created: true }),
                (false, Some(run)) => Ok(Admitted { run: *run, created: false }),
                (false, None) => {
                    Err(Error::unreadable(format_args!("request {}", a.request_id), "its run is gone"))
                }
            })
            .collect()
    }

    /// The runs that upstream entries were adopted as, where they were, by (tenant, source, request id).
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn adopted(
        &self,
        keys: &[(String, String, String)],
    ) -> Result<HashMap<(String, String, String), RunId>, Error> {
        let mut connection = self.pool.acquire().await.map_err(Error::sql("a connection"))?;
        look_up(&mut connection, keys.iter().cloned()).await
    }
}

/// Admits the items that carry an upstream's entry; returns, per item, the earlier run where there was one.
pub(crate) async fn admit_items(
    connection: &mut PgConnection,
    items: &[Item],
) -> Result<Vec<Option<RunId>>, Error> {
    let wanted: Vec<&Admission> = items.iter().filter_map(|item| item.admission.as_ref()).collect();
    if wanted.is_empty() {
        return Ok(vec![None; items.len()]);
    }
    let created = insert(connection, &wanted).await?;
    let repeated: Vec<&Admission> = wanted.into_iter().filter(|a| !created.contains(&a.run)).collect();
    let known = holders(connection, &repeated).await?;
    Ok(items
        .iter()
        .map(|item| {
            item.admission
                .as_ref()
                .filter(|a| !created.contains(&a.run))
                .and_then(|a| known.get(&a.key()).copied())
        })
        .collect())
}

pub(crate) async fn holders(
    connection: &mut PgConnection,
    admissions: &[&Admission],
) -> Result<HashMap<(String, String, String), RunId>, Error> {
    look_up(connection, admissions.iter().map(|a| a.key())).await
}

async fn look_up(
    connection: &mut PgConnection,
    keys: impl Iterator<Item = (String, String, String)>,
) -> Result<HashMap<(String, String, String), RunId>, Error> {
    let (mut tenants, mut sources, mut requests) = (vec![], vec![], vec![]);
    for (tenant, source, request) in keys {
        tenants.push(tenant);
        sources.push(source);
        requests.push(request);
    }
    let rows = sqlx::query(
        "SELECT d.tenant, d.source, d.request_id, d.run_id
         FROM UNNEST($1::text[], $2::text[], $3::text[]) AS k(tenant, source, request_id)
         JOIN dedup_keys d USING (tenant, source, request_id)",
    )
    .bind(tenants)
    .bind(sources)
    .bind(requests)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the look-up of request ids"))?;
    Ok(rows
        .iter()
        .map(|row| ((row.get("tenant"), row.get("source"), row.get("request_id")), RunId(row.get("run_id"))))
        .collect())
}

/// Inserts keys, events, runs and first links; returns the runs that were new.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    admissions: &[&Admission],
) -> Result<std::collections::HashSet<RunId>, Error> {
    // One order of keys everywhere, so that two groups cannot wait for each other.
    let mut sorted = admissions.to_vec();
    sorted.sort_by_key(|a| a.key());
    let rows = sqlx::query(
        "WITH given AS (
             SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[],
                                  $8::timestamptz[], $9::uuid[], $10::text[], $11::text[], $12::smallint[], $13::text[],
                                  $14::bytea[], $15::text[])
                  AS g(run_id, event_id, tenant, region, source, request_id, payload, received_at, intent_id,
                       pipeline_version, step, partition, traceparent, hash, body)),
         new AS (
             INSERT INTO dedup_keys (tenant, source, request_id, run_id)
             SELECT tenant, source, request_id, run_id FROM given
             ON CONFLICT DO NOTHING RETURNING run_id),
         ev AS (
             INSERT INTO events (event_id, tenant, region, source, request_id, payload, received_at)
             SELECT event_id, tenant, region, source, request_id, payload, received_at FROM given JOIN new USING (run_id)),
         chained AS (
             INSERT INTO provenance_log (run_id, branch, pos, body, hash)
             SELECT run_id, 0, 1, body, hash FROM given JOIN new USING (run_id)),
         ru AS (
             INSERT INTO runs (run_id, event_id, intent_id, chain_head, chain_len, due_at, received_at, partition, tenant,
                               region, pipeline_version, state, lifecycle, step, traceparent)
             SELECT run_id, event_id, intent_id, hash, 1, now(), received_at, partition, tenant, region,
                    pipeline_version, 'running', 'draft', step, traceparent FROM given JOIN new USING (run_id))
         SELECT run_id FROM new",
    )
    .bind(sorted.iter().map(|a| a.run.0).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.event_id).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.tenant.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.intent.region.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.event.source.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.request_id.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.event.payload.get().as_bytes()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.received_at).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.intent.intent_id).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.intent.pipeline_version.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.first_step.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.partition.cast_signed()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.new.traceparent.as_deref()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.hash.0.to_vec()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|a| a.body.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the admission of events"))?;
    Ok(rows.iter().map(|row| RunId(row.get("run_id"))).collect())
}
