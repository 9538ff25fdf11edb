//! The commit: a group of runs advances, each by one compare-and-set, in one statement or one transaction.

use chrono::{DateTime, Utc};
use model::{
    Actor, Claims, EmbeddingRecord, EnrichedTrend, RunId, Sha256Digest, StoredContent, enriched_trend_id,
    sha256,
};
use rails::{Facts, Transition};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::micros::micros;
use crate::provenance::{ProvenanceEntry, trace_id};
use crate::{Admission, Error, Handling, LoadedRun, Record, admission, claims, extras};

/// One run that wants to advance, before its route is known.
#[derive(Debug)]
pub struct Item {
    /// The run as it was loaded, or as it will be once admitted.
    pub run: LoadedRun,
    /// An upstream entry to admit in the same transaction.
    pub admission: Option<Admission>,
    /// Questions to the record that the route depends on.
    pub claims: Claims,
}

impl Item {
    pub(crate) fn fingerprint_key(&self) -> Option<(String, Vec<u8>)> {
        self.claims.fingerprint.map(|print| (self.run.tenant.clone(), print.0.to_vec()))
    }
}

/// Where an item goes, and what it leaves.
#[derive(Debug)]
pub struct Routed {
    /// The transition that the rails chose.
    pub transition: Transition,
    /// How long until the job is due.
    pub delay: std::time::Duration,
    /// What is written with it.
    pub advance: Advance,
}

/// What a transition writes beside the run itself.
#[derive(Debug)]
pub struct Advance {
    /// What happened, for the provenance: `done`, `failed`, …
    pub what: &'static str,
    /// The step's artifact as JSON.
    pub output: Option<String>,
    /// New content.
    pub content: Option<StoredContent>,
    /// The enriched trend.
    pub trend: Option<EnrichedTrend>,
    /// The embedding.
    pub embedding: Option<EmbeddingRecord>,
    /// Who did it.
    pub actor: Actor,
    /// When, by the actor's clock.
    pub at: DateTime<Utc>,
    /// The model.
    pub model: Option<String>,
    /// The prompt or rule text.
    pub prompt: Option<String>,
    /// Digest of what the handler read.
    pub input_sha256: Option<Sha256Digest>,
    /// The entry that brought the job, encoded by [`crate::encode_entry`]; kept where the run dies.
    pub original: Vec<u8>,
    /// The stream and entry id it came from.
    pub origin: Option<(String, String)>,
}

impl Advance {
    /// What somebody did, now, that leaves nothing but itself.
    #[must_use]
    pub fn by(actor: Actor, what: &'static str) -> Self {
        Self {
            what,
            output: None,
            content: None,
            trend: None,
            embedding: None,
            actor,
            at: Utc::now(),
            model: None,
            prompt: None,
            input_sha256: None,
            original: Vec::new(),
            origin: None,
        }
    }
}

/// What became of an item.
#[derive(Debug)]
pub enum Verdict {
    /// The compare-and-set held: the run stands at `seq`.
    Won {
        /// The run's new `seq`.
        seq: i32,
        /// The route that was committed.
        routed: Box<Routed>,
    },
    /// Someone else advanced the run first; nothing was written.
    Lost,
    /// The upstream entry was admitted before, as this run; nothing was written.
    Known(RunId),
    /// PostgreSQL refuses this item whatever is tried: it alone fails.
    Refused(String),
}

/// Chooses the route of the n-th item, given what the record knows. May be asked more than once.
pub type Route<'a> = dyn Fn(usize, &Facts) -> Routed + Sync + 'a;

impl Record {
    /// Commits a group. One verdict per item, in order.
    ///
    /// Cancellation: dropping the future rolls the transaction back or leaves it committed; either way the
    /// compare-and-set tells afterwards.
    ///
    /// # Errors
    /// [`Error::Sql`] to be retried as a group ([`Handling::RetryGroup`]), or a bug.
    pub async fn commit(&self, items: &[Item], route: &Route<'_>) -> Result<Vec<Verdict>, Error> {
        match self.commit_group(items, 0, route).await {
            Err(error) if error.handling() == Handling::Culprit => self.commit_one_by_one(items, route).await,
            result => result,
        }
    }

    async fn commit_one_by_one(&self, items: &[Item], route: &Route<'_>) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match self.commit_group(std::slice::from_ref(item), index, route).await {
                Ok(verdict) => verdicts.extend(verdict),
                Err(error) if error.handling() == Handling::Culprit => {
                    verdicts.push(Verdict::Refused(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(verdicts)
    }

    async fn commit_group(
        &self,
        items: &[Item],
        first: usize,
        route: &Route<'_>,
    ) -> Result<Vec<Verdict>, Error> {
        let asks = items.iter().any(|item| item.admission.is_some() || item.claims != Claims::default());
        if !asks {
            let routed: Vec<Routed> =
                (first..).take(items.len()).map(|index| route(index, &Facts::default())).collect();
            if !routed.iter().any(extras::has_any) {
                let mut connection = self.pool.acquire().await.map_err(Error::sql("a connection"))?;
                let won = compare_and_set(&mut connection, items, &routed, &vec![true; items.len()]).await?;
                return Ok(verdicts(routed, &won, &vec![None; items.len()]));
            }
            let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
            let won = compare_and_set(&mut tx, items, &routed, &vec![true; items.len()]).await?;
            extras::write(&mut tx, items, &routed, &won).await?;
            tx.commit().await.map_err(Error::sql("a commit"))?;
            return Ok(verdicts(routed, &won, &vec![None; items.len()]));
        }
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let known = admission::admit_items(&mut tx, items).await?;
        let facts = claims::answer(&mut tx, items, &known).await?;
        let routed: Vec<Routed> = (first..).zip(&facts).map(|(index, facts)| route(index, facts)).collect();
        let fresh: Vec<bool> = known.iter().map(Option::is_none).collect();
        let won = compare_and_set(&mut tx, items, &routed, &fresh).await?;
        extras::write(&mut tx, items, &routed, &won).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(verdicts(routed, &won, &known))
    }
}

fn verdicts(routed: Vec<Routed>, won: &[Option<i32>], known: &[Option<RunId>]) -> Vec<Verdict> {
    routed
        .into_iter()
        .zip(won)
        .zip(known)
        .map(|((routed, won), known)| match (known, won) {
            (Some(run), _) => Verdict::Known(*run),
            (None, Some(seq)) => Verdict::Won { seq: *seq, routed: Box::new(routed) },
            (None, None) => Verdict::Lost,
        })
        .collect()
}

/// The arrays that one UNNEST takes.
#[derive(Default)]
struct Columns<'a> {
    runs: Vec<Uuid>,
    seqs: Vec<i32>,
    chain_lens: Vec<i32>,
    from_states: Vec<&'a str>,
    states: Vec<&'a str>,
    lifecycles: Vec<&'a str>,
    steps: Vec<&'a str>,
    attempts: Vec<i32>,
    delays: Vec<i64>,
    reasons: Vec<&'a str>,
    heads: Vec<Vec<u8>>,
    bodies: Vec<String>,
    contents: Vec<Option<Vec<u8>>>,
    trends: Vec<Option<Uuid>>,
    duplicates: Vec<Option<Uuid>>,
    traceparents: Vec<Option<&'a str>>,
}

#[derive(Default)]
struct Artifacts<'a> {
    runs: Vec<Uuid>,
    seqs: Vec<i32>,
    names: Vec<&'a str>,
    bodies: Vec<&'a str>,
}

/// Advances each item whose run still stands where it was loaded; returns its new `seq`, `None` for a loser.
/// Artifacts and provenance are inserted for winners only, in the same statement.
pub(crate) async fn compare_and_set(
    connection: &mut PgConnection,
    items: &[Item],
    routed: &[Routed],
    eligible: &[bool],
) -> Result<Vec<Option<i32>>, Error> {
    let mut c = Columns::default();
    let mut a = Artifacts::default();
    for ((item, routed), _) in items.iter().zip(routed).zip(eligible).filter(|(_, eligible)| **eligible) {
        collect(item, routed, &mut c, &mut a)?;
    }
    let rows = sqlx::query(
        "WITH won AS (
             UPDATE runs r SET seq = r.seq + 1, state = i.state, lifecycle = i.lifecycle, step = i.step,
                    attempt = i.attempt, due_at = now() + i.delay * interval '1 microsecond', reason = i.reason,
                    chain_head = i.chain_head, chain_len = r.chain_len + 1,
                    content_sha256 = coalesce(i.content_sha256, r.content_sha256),
                    enriched_trend_id = coalesce(i.trend, r.enriched_trend_id),
                    duplicate_of = coalesce(i.duplicate_of, r.duplicate_of),
                    -- Between two jobs an entry of a stream carries it; where there is none, the run does.
                    traceparent = CASE WHEN r.state = 'running' AND i.state = 'running' THEN r.traceparent
                                       ELSE coalesce(i.traceparent, r.traceparent) END,
                    ended_at = CASE WHEN i.state IN ('running', 'waiting', 'parked') THEN NULL ELSE now() END
             FROM UNNEST($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[],
                         $9::bigint[], $10::text[], $11::bytea[], $12::bytea[], $13::uuid[], $14::uuid[], $20::text[])
                  AS i(run_id, seq, chain_len, from_state, state, lifecycle, step, attempt, delay, reason, chain_head,
                       content_sha256, trend, duplicate_of, traceparent)
             WHERE r.run_id = i.run_id AND r.seq = i.seq AND r.chain_len = i.chain_len AND r.state = i.from_state
             RETURNING r.run_id, r.seq),
         chained AS (
             INSERT INTO provenance_log (run_id, branch, pos, body, hash)
             SELECT p.run_id, 0, p.chain_len + 1, p.body, p.hash
             FROM UNNEST($1::uuid[], $3::int[], $15::text[], $11::bytea[]) AS p(run_id, chain_len, body, hash)
             JOIN won USING (run_id)),
         kept AS (
             INSERT INTO artifacts (run_id, branch, seq, name, body)
             SELECT a.run_id, 0, a.seq, a.name, a.body::json
             FROM UNNEST($16::uuid[], $17::int[], $18::text[], $19::text[]) AS a(run_id, seq, name, body)
             JOIN won USING (run_id))
         SELECT run_id, seq FROM won",
    )
    .bind(c.runs)
    .bind(c.seqs)
    .bind(c.chain_lens)
    .bind(c.from_states)
    .bind(c.states)
    .bind(c.lifecycles)
    .bind(c.steps)
    .bind(c.attempts)
    .bind(c.delays)
    .bind(c.reasons)
    .bind(c.heads)
    .bind(c.contents)
    .bind(c.trends)
    .bind(c.duplicates)
    .bind(c.bodies)
    .bind(a.runs)
    .bind(a.seqs)
    .bind(a.names)
    .bind(a.bodies)
    .bind(c.traceparents)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the advance of a group"))?;
    let won: std::collections::HashMap<Uuid, i32> =
        rows.iter().map(|row| (row.get("run_id"), row.get("seq"))).collect();
    Ok(items
        .iter()
        .zip(eligible)
        .map(|(item, eligible)| won.get(&item.run.run.0).copied().filter(|_| *eligible))
        .collect())
}

fn collect<'a>(
    item: &'a Item,
    routed: &'a Routed,
    c: &mut Columns<'a>,
    a: &mut Artifacts<'a>,
) -> Result<(), Error> {
    let (run, transition, advance) = (&item.run, &routed.transition, &routed.advance);
    let link = entry(run, routed).link(run.chain_head)?;
    c.runs.push(run.run.0);
    c.seqs.push(run.seq);
    c.chain_lens.push(run.chain_len);
    c.from_states.push(run.state.as_str());
    c.states.push(transition.state.as_str());
    c.lifecycles.push(transition.lifecycle.as_str());
    c.steps.push(&transition.step);
    c.attempts.push(transition.attempt);
    c.delays.push(micros(routed.delay));
    c.reasons.push(&transition.reason);
    c.heads.push(link.hash.0.to_vec());
    c.bodies.push(link.body);
    c.contents.push(advance.content.as_ref().map(|content| content.sha256.0.to_vec()));
    c.trends.push(advance.trend.as_ref().map(|_| enriched_trend_id(run.run)));
    c.traceparents.push(run.traceparent.as_deref());
    c.duplicates.push(transition.duplicate_of.map(|run| run.0));
    let outputs = advance.output.as_deref().map(|body| (run.step.as_str(), body));
    let contents = advance.content.as_ref().map(|content| ("content", content.json.as_str()));
    for (name, body) in outputs.into_iter().chain(contents) {
        a.runs.push(run.run.0);
        a.seqs.push(run.seq);
        a.names.push(name);
        a.bodies.push(body);
    }
    Ok(())
}

fn entry<'a>(run: &'a LoadedRun, routed: &'a Routed) -> ProvenanceEntry<'a> {
    let (transition, advance) = (&routed.transition, &routed.advance);
    ProvenanceEntry {
        run: run.run,
        branch: 0,
        pos: run.chain_len + 1,
        kind: "transition",
        what: advance.what,
        seq: run.seq + 1,
        step: &run.step,
        state: transition.state.as_str(),
        next: &transition.step,
        attempt: transition.attempt,
        reason: &transition.reason,
        actor: &advance.actor,
        at: advance.at,
        model: advance.model.as_deref(),
        worker_output_prompt: advance.prompt.as_deref(),
        input_sha256: advance.input_sha256,
        output_sha256: advance.output.as_deref().map(|output| sha256(&[output.as_bytes()])),
        content_sha256: advance.content.as_ref().map(|content| content.sha256).or(run.content_sha256),
        gates: &transition.gates,
        trace_id: trace_id(run.traceparent.as_deref()),
        planner_intent: &run.planner_intent,
    }
}
