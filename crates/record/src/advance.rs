//! The commit: a group of runs advances, each by one compare-and-set, in one statement or one transaction.

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use model::{
    Actor, Claims, EmbeddingRecord, EnrichedTrend, RunId, RunState, Sha256Digest, StoredContent, Usage,
    enriched_trend_id, sha256,
};
use rails::{Facts, Patched, Transition};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::micros::micros;
use crate::provenance::{BeyondEntry, ProvenanceEntry, RefusedPatch, trace_id};
use crate::surroundings::Surroundings;
use crate::{
    Admission, Error, Handling, LoadedRun, OutstandingRun, Record, admission, beyond, claims, extras,
    manifests,
};

/// What happened where a try failed, or was put off.
pub const RETRIED: &str = "retried";

/// One run that wants to advance, before its route is known.
#[derive(Debug, Clone)]
pub struct Item {
    /// The run as it was loaded, or as it will be once admitted.
    pub run: LoadedRun,
    /// An upstream entry to admit in the same transaction.
    pub admission: Option<Admission>,
    /// Questions to the record that the route depends on.
    pub claims: Claims,
    /// What the try spent.
    pub usage: Usage,
}

impl Item {
    /// A run that nothing else is known of.
    #[must_use]
    pub fn of(run: LoadedRun) -> Self {
        Self { run, admission: None, claims: Claims::default(), usage: Usage::default() }
    }

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

impl Routed {
    /// Whether the run or branch stays where it is, to be tried again.
    pub(crate) fn stays(&self, run: &LoadedRun) -> bool {
        let Transition { state, step, attempt, .. } = &self.transition;
        let again = self.advance.what == RETRIED || *attempt > run.attempt;
        again && *state == RunState::Running && *step == run.step
    }

    /// The new content: what the blackboard makes it, or else what the worker reports.
    #[must_use]
    pub fn content(&self) -> Option<&StoredContent> {
        let beyond = self.transition.beyond.as_deref().and_then(|beyond| beyond.content.as_ref());
        beyond.or(self.advance.content.as_ref())
    }

    /// The step's artifact: its fallback where that takes the output's place, or else what the worker reports.
    pub(crate) fn output(&self) -> Option<Cow<'_, str>> {
        let fallback = self.transition.beyond.as_deref().and_then(|beyond| beyond.output.as_ref());
        match fallback {
            Some(output) => Some(Cow::Owned(output.to_string())),
            None => self.advance.output.as_deref().map(Cow::Borrowed),
        }
    }

    pub(crate) fn delay_micros(&self) -> i64 {
        micros(self.delay)
    }
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
    /// Digest of the prompt document.
    pub prompt_sha256: Option<Sha256Digest>,
    /// What the try spent.
    pub usage: Usage,
    /// The cluster of the step.
    pub cluster: Option<String>,
    /// Whether it moves a run that keeps a manifest by the transition of one of its branches.
    pub of_manifest: bool,
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
            prompt_sha256: None,
            usage: Usage::default(),
            cluster: None,
            of_manifest: false,
            input_sha256: None,
            original: Vec::new(),
            origin: None,
        }
    }
}

/// A transition that was written.
#[derive(Debug)]
pub struct Won {
    /// The new `seq` of the run or branch.
    pub seq: i32,
    /// The route that was committed.
    pub routed: Box<Routed>,
    /// Jobs that are due beside the next one of the run or branch itself: of branches that opened, and of the run that a
    /// branch's end moved on.
    pub jobs: Vec<OutstandingRun>,
}

impl Won {
    pub(crate) fn plain(seq: i32, routed: Routed) -> Self {
        Self { seq, routed: Box::new(routed), jobs: Vec::new() }
    }
}

/// What became of an item.
#[derive(Debug)]
pub enum Verdict {
    /// The compare-and-set held.
    Won(Won),
    /// Someone else advanced the run first; nothing was written.
    Lost,
    /// The upstream entry was admitted before, as this run; nothing was written.
    Known(RunId),
    /// PostgreSQL refuses this item whatever is tried: it alone fails.
    Refused(String),
}

/// Chooses the route of the n-th item, given its run as it stands and what the record knows. May be asked more than once.
pub type Route<'a> = dyn Fn(usize, &LoadedRun, &Facts) -> Routed + Sync + 'a;

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
        if items.iter().any(|item| item.run.memory.is_some()) {
            return self.commit_with_manifests(items, first, route).await;
        }
        let asks = items.iter().any(|item| item.admission.is_some() || item.claims != Claims::default());
        if !asks {
            let facts = Facts::default();
            let routed: Vec<Routed> =
                (first..).zip(items).map(|(index, item)| route(index, &item.run, &facts)).collect();
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
        let routed: Vec<Routed> = (first..)
            .zip(items)
            .zip(&facts)
            .map(|((index, item), facts)| route(index, &item.run, facts))
            .collect();
        let fresh: Vec<bool> = known.iter().map(Option::is_none).collect();
        let won = compare_and_set(&mut tx, items, &routed, &fresh).await?;
        extras::write(&mut tx, items, &routed, &won).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(verdicts(routed, &won, &known))
    }

    /// As [`Record::commit_group`], where some of the runs keep a manifest: those come one by one, since what one leaves the
    /// next one finds. The others are advanced together, as ever.
    async fn commit_with_manifests(
        &self,
        items: &[Item],
        first: usize,
        route: &Route<'_>,
    ) -> Result<Vec<Verdict>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let known = admission::admit_items(&mut tx, items).await?;
        let mut verdicts: Vec<Verdict> =
            known.iter().map(|known| known.map_or(Verdict::Lost, Verdict::Known)).collect();
        let (keepers, plain): (Vec<usize>, Vec<usize>) = (0..items.len())
            .filter(|index| known[*index].is_none())
            .partition(|index| items[*index].run.memory.is_some());
        let mut kept = manifests::lock(&mut tx, keepers.iter().map(|index| &items[*index].run)).await?;
        let facts = claims::answer(&mut tx, items, &known).await?;
        let (some, routed): (Vec<&Item>, Vec<Routed>) = plain
            .iter()
            .map(|index| (&items[*index], route(first + index, &items[*index].run, &facts[*index])))
            .unzip();
        if !some.is_empty() {
            let won = compare_and_set(&mut tx, &some, &routed, &vec![true; some.len()]).await?;
            extras::write(&mut tx, &some, &routed, &won).await?;
            for ((index, routed), won) in plain.into_iter().zip(routed).zip(won) {
                if let Some(seq) = won {
                    verdicts[index] = Verdict::Won(Won::plain(seq, routed));
                }
            }
        }
        let mut counting = Vec::new();
        for index in keepers {
            let item = &items[index];
            // Of several items of one run the later ones find what the earlier ones left.
            let mut again = HashMap::new();
            if !kept.contains_key(&item.run.run) {
                again = manifests::lock(&mut tx, std::iter::once(&item.run)).await?;
            }
            let found = kept.remove(&item.run.run).or_else(|| again.remove(&item.run.run));
            let Some(found) = found.filter(|found| beyond::stands(item, found)) else { continue };
            let mut surroundings = match items.len() {
                1 => Surroundings::alone(&self.policies, &item.run),
                _ => Surroundings::in_company(&self.policies, &item.run),
            };
            let mut chosen =
                |run: &LoadedRun, facts: &Facts| Ok::<_, Error>(route(first + index, run, facts));
            let given = facts[index].clone();
            match surroundings.route(&mut tx, item, &found, given, &mut chosen).await? {
                None => counting.push(index),
                Some(routed) => {
                    if let Some(won) = beyond::advance(&mut tx, item, routed, &found, &surroundings).await? {
                        verdicts[index] = Verdict::Won(won);
                    }
                }
            }
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        for index in counting {
            let chosen = |run: &LoadedRun, facts: &Facts| route(first + index, run, facts);
            if let Some(won) = self.commit_counting(&items[index], &facts[index], chosen).await? {
                verdicts[index] = Verdict::Won(won);
            }
        }
        Ok(verdicts)
    }

    /// An item that counts under locks which are common to a tenant has a transaction of its own: so all take those locks in
    /// one order, and hold them only briefly.
    async fn commit_counting(
        &self,
        item: &Item,
        facts: &Facts,
        route: impl Fn(&LoadedRun, &Facts) -> Routed,
    ) -> Result<Option<Won>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let mut kept = manifests::lock(&mut tx, std::iter::once(&item.run)).await?;
        let Some(found) = kept.remove(&item.run.run).filter(|found| beyond::stands(item, found)) else {
            return Ok(None);
        };
        let mut surroundings = Surroundings::alone(&self.policies, &item.run);
        let mut chosen = |run: &LoadedRun, facts: &Facts| Ok::<_, Error>(route(run, facts));
        let routed = surroundings.route(&mut tx, item, &found, facts.clone(), &mut chosen).await?;
        let Some(routed) = routed else { return Ok(None) };
        let won = beyond::advance(&mut tx, item, routed, &found, &surroundings).await?;
        if won.is_some() {
            tx.commit().await.map_err(Error::sql("a commit"))?;
        }
        Ok(won)
    }
}

fn verdicts(routed: Vec<Routed>, won: &[Option<i32>], known: &[Option<RunId>]) -> Vec<Verdict> {
    routed
        .into_iter()
        .zip(won)
        .zip(known)
        .map(|((routed, won), known)| match (known, won) {
            (Some(run), _) => Verdict::Known(*run),
            (None, Some(seq)) => Verdict::Won(Won::plain(*seq, routed)),
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
    stays: Vec<bool>,
}

#[derive(Default)]
pub(crate) struct Artifacts<'a> {
    runs: Vec<Uuid>,
    seqs: Vec<i32>,
    pub(crate) names: Vec<&'a str>,
    pub(crate) bodies: Vec<Cow<'a, str>>,
}

impl<'a> Artifacts<'a> {
    pub(crate) fn collect(&mut self, run: &'a LoadedRun, routed: &'a Routed) {
        let outputs = routed.output().map(|body| (run.step.as_str(), body));
        let contents = routed.content().map(|content| ("content", Cow::Borrowed(content.json.as_str())));
        for (name, body) in outputs.into_iter().chain(contents) {
            self.runs.push(run.run.0);
            self.seqs.push(run.seq);
            self.names.push(name);
            self.bodies.push(body);
        }
    }
}

/// Advances each item whose run still stands where it was loaded; returns its new `seq`, `None` for a loser.
/// Artifacts and provenance are inserted for winners only, in the same statement.
pub(crate) async fn compare_and_set<I: Borrow<Item>>(
    connection: &mut PgConnection,
    items: &[I],
    routed: &[Routed],
    eligible: &[bool],
) -> Result<Vec<Option<i32>>, Error> {
    let mut c = Columns::default();
    let mut a = Artifacts::default();
    for ((item, routed), _) in items.iter().zip(routed).zip(eligible).filter(|(_, eligible)| **eligible) {
        collect(item.borrow(), routed, &mut c, &mut a)?;
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
                    moved_at = CASE WHEN i.stays THEN r.moved_at ELSE now() END,
                    ended_at = CASE WHEN i.state IN ('running', 'waiting', 'parked') THEN NULL ELSE now() END
             FROM UNNEST($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[],
                         $9::bigint[], $10::text[], $11::bytea[], $12::bytea[], $13::uuid[], $14::uuid[], $20::text[],
                         $21::bool[])
                  AS i(run_id, seq, chain_len, from_state, state, lifecycle, step, attempt, delay, reason, chain_head,
                       content_sha256, trend, duplicate_of, traceparent, stays)
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
    .bind(c.stays)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the advance of a group"))?;
    let won: HashMap<Uuid, i32> = rows.iter().map(|row| (row.get("run_id"), row.get("seq"))).collect();
    Ok(items
        .iter()
        .zip(eligible)
        .map(|(item, eligible)| won.get(&item.borrow().run.run.0).copied().filter(|_| *eligible))
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
    c.delays.push(routed.delay_micros());
    c.reasons.push(&transition.reason);
    c.heads.push(link.hash.0.to_vec());
    c.bodies.push(link.body);
    c.contents.push(routed.content().map(|content| content.sha256.0.to_vec()));
    c.trends.push(advance.trend.as_ref().map(|_| enriched_trend_id(run.run)));
    c.traceparents.push(run.traceparent.as_deref());
    c.stays.push(routed.stays(run));
    c.duplicates.push(transition.duplicate_of.map(|run| run.0));
    a.collect(run, routed);
    Ok(())
}

pub(crate) fn entry<'a>(run: &'a LoadedRun, routed: &'a Routed) -> ProvenanceEntry<'a> {
    let (transition, advance) = (&routed.transition, &routed.advance);
    ProvenanceEntry {
        run: run.run,
        branch: run.branch,
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
        output_sha256: routed.output().map(|output| sha256(&[output.as_bytes()])),
        content_sha256: routed.content().map(|content| content.sha256).or(run.content_sha256),
        gates: &transition.gates,
        trace_id: trace_id(run.traceparent.as_deref()),
        planner_intent: &run.planner_intent,
        beyond: beyond_entry(run, routed),
    }
}

fn beyond_entry<'a>(run: &'a LoadedRun, routed: &'a Routed) -> Option<BeyondEntry<'a>> {
    let advance = &routed.advance;
    let Some(beyond) = routed.transition.beyond.as_deref() else {
        // Of the run itself, moved by a branch: the branch's link has the rest.
        return advance.of_manifest.then(|| BeyondEntry::of(run));
    };
    let (applied, refused) = match &beyond.patch {
        Some(Patched::Applied { patch, .. }) => (Some(patch), None),
        Some(Patched::Refused { patch, reason }) => (None, Some(RefusedPatch::new(patch, reason))),
        None => (None, None),
    };
    Some(BeyondEntry {
        cluster_id: advance.cluster.as_deref(),
        prompt_sha256: advance.prompt_sha256,
        usage: (advance.usage != Usage::default()).then_some(advance.usage),
        board_version: Some(beyond.memory.version),
        patch_applied: applied,
        patch_refused: refused,
        opened: beyond.opens.iter().map(|(number, _)| *number).collect(),
        closed: beyond.closes.clone(),
        ..BeyondEntry::of(run)
    })
}
