//! The statement that moves runs on, each where it still stands as it was loaded.

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;

use model::{enriched_trend_id, sha256};
use rails::Patched;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::provenance::{BeyondEntry, ProvenanceEntry, RefusedPatch, trace_id};
use crate::{Error, Item, LoadedRun, Routed};

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
        usage: advance.usage,
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
        board_version: Some(beyond.memory.version),
        patch_applied: applied,
        patch_refused: refused,
        opened: beyond.opens.iter().map(|(number, _)| *number).collect(),
        closed: beyond.closes.clone(),
        ..BeyondEntry::of(run)
    })
}
