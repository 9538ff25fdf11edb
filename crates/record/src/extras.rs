//! The rows that only some transitions write: trends, vectors, approvals, escalations and incidents with their notices, dead
//! letters.

use std::borrow::Borrow;

use model::{EmbeddingStatus, enriched_trend_id};
use rails::Basis;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::micros::micros;
use crate::{Error, Item, LoadedRun, Routed};

/// Whether a route writes more than the run, its artifacts and its link.
pub(crate) fn has_any(routed: &Routed) -> bool {
    let (advance, transition) = (&routed.advance, &routed.transition);
    advance.trend.is_some()
        || advance.embedding.is_some()
        || transition.approval.is_some()
        || transition.escalation.is_some()
        || transition.incident.is_some()
        || transition.death.is_some()
}

/// Writes them for the winners of a group.
pub(crate) async fn write<I: Borrow<Item>>(
    connection: &mut PgConnection,
    items: &[I],
    routed: &[Routed],
    won: &[Option<i32>],
) -> Result<(), Error> {
    let winners: Vec<(&LoadedRun, &Routed, i32)> = items
        .iter()
        .zip(routed)
        .zip(won)
        .filter_map(|((item, routed), won)| Some((&item.borrow().run, routed, (*won)?)))
        .collect();
    trends(connection, &winners).await?;
    embeddings(connection, &winners).await?;
    approvals(connection, &winners).await?;
    escalations(connection, &winners).await?;
    incidents(connection, &winners).await?;
    deaths(connection, &winners).await
}

type Winners<'a> = [(&'a LoadedRun, &'a Routed, i32)];

async fn trends(connection: &mut PgConnection, winners: &Winners<'_>) -> Result<(), Error> {
    let rows: Vec<_> =
        winners.iter().filter_map(|(run, r, _)| Some((*run, r.advance.trend.as_ref()?))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    // Topics travel as one JSON array a row: PostgreSQL has no ragged arrays of arrays.
    let topics: Vec<String> = rows
        .iter()
        .map(|(_, trend)| serde_json::to_string(&trend.topics).unwrap_or_else(|_| "[]".to_owned()))
        .collect();
    sqlx::query(
        "INSERT INTO enriched_trends (enriched_trend_id, run_id, tenant, language, sentiment, topics, toxicity_score,
                                      confidence, embedding_status, published_at, received_at)
         SELECT id, run_id, tenant, language, sentiment,
                ARRAY(SELECT json_array_elements_text(topics::json)), toxicity, confidence, 'pending', published, received
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::float8[], $6::text[], $7::float8[],
                     $8::float8[], $9::timestamptz[], $10::timestamptz[])
              AS t(id, run_id, tenant, language, sentiment, topics, toxicity, confidence, published, received)
         ON CONFLICT (enriched_trend_id) DO UPDATE SET language = EXCLUDED.language, sentiment = EXCLUDED.sentiment,
             topics = EXCLUDED.topics, toxicity_score = EXCLUDED.toxicity_score, confidence = EXCLUDED.confidence,
             embedding_status = 'pending', published_at = EXCLUDED.published_at",
    )
    .bind(rows.iter().map(|(run, _)| enriched_trend_id(run.run)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, _)| run.run.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, _)| run.tenant.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, trend)| trend.language.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, trend)| trend.sentiment).collect::<Vec<_>>())
    .bind(topics)
    .bind(rows.iter().map(|(_, trend)| trend.toxicity_score).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, trend)| trend.confidence).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, trend)| trend.published_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, _)| run.received_at).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(Error::sql("enriched trends"))?;
    Ok(())
}

async fn embeddings(connection: &mut PgConnection, winners: &Winners<'_>) -> Result<(), Error> {
    let rows: Vec<_> =
        winners.iter().filter_map(|(run, r, _)| Some((*run, r.advance.embedding.as_ref()?))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let status = |status: EmbeddingStatus| status.as_str();
    sqlx::query(
        "WITH given AS (
             SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::timestamptz[])
                  AS e(vector_id, run_id, tenant, model, status, vector, received_at)),
         marked AS (
             UPDATE enriched_trends t SET embedding_status = g.status FROM given g WHERE t.enriched_trend_id = g.vector_id)
         INSERT INTO embedding_records (vector_id, run_id, tenant, model, status, vector, received_at)
         SELECT * FROM given
         ON CONFLICT (vector_id) DO UPDATE SET model = EXCLUDED.model, status = EXCLUDED.status,
             vector = EXCLUDED.vector, xid = pg_current_xact_id()::text::bigint",
    )
    .bind(rows.iter().map(|(run, _)| enriched_trend_id(run.run)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, _)| run.run.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, _)| run.tenant.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, e)| e.model.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, e)| status(e.status)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, e)| e.vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, _)| run.received_at).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(Error::sql("embedding records"))?;
    Ok(())
}

async fn approvals(connection: &mut PgConnection, winners: &Winners<'_>) -> Result<(), Error> {
    // Without content there is nothing that an approval could be of: what acts outside later asks for its own.
    let rows: Vec<_> = winners
        .iter()
        .filter_map(|(run, r, _)| {
            let approval = r.transition.approval.as_ref()?;
            let content = r.content().map(|content| content.sha256).or(run.content_sha256)?;
            Some((*run, *r, approval, content.0.to_vec()))
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let basis = |basis: Basis| match basis {
        Basis::Rule => "rule",
        Basis::Person => "person",
        Basis::Override => "override",
    };
    sqlx::query(
        "INSERT INTO approvals (approval_id, run_id, content_sha256, basis, rule, approved_by)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::bytea[], $4::text[], $5::text[], $6::text[])",
    )
    .bind(rows.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, ..)| run.run.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, _, _, content)| content.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, _, a, _)| basis(a.basis)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, _, a, _)| a.rule.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, routed, ..)| approver(routed)).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(Error::sql("approvals"))?;
    Ok(())
}

fn approver(routed: &Routed) -> String {
    let actor = &routed.advance.actor;
    if actor.id.is_empty() { actor.name.clone() } else { format!("{} {}", actor.name, actor.id) }
}

async fn escalations(connection: &mut PgConnection, winners: &Winners<'_>) -> Result<(), Error> {
    let rows: Vec<_> = winners
        .iter()
        .filter_map(|(run, r, seq)| Some((*run, *seq, r.transition.escalation.as_ref()?)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let evidence: Vec<String> = rows
        .iter()
        .map(|(_, _, e)| serde_json::json!({ "values": e.values, "threshold": e.threshold }).to_string())
        .collect();
    sqlx::query(
        "WITH opened AS (
             INSERT INTO escalations (escalation_id, run_id, branch, seq, tenant, issue_type, question, rule, evidence, due_at)
             SELECT id, run_id, branch, seq, tenant, issue_type, question, rule, evidence::json,
                    now() + due * interval '1 microsecond'
             FROM UNNEST($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                         $9::bigint[], $10::int[])
                  AS e(id, run_id, seq, tenant, issue_type, question, rule, evidence, due, branch)
             RETURNING *)
         INSERT INTO notices (notice_id, kind, subject, tenant, run_id, detail)
         SELECT gen_random_uuid(), kind, escalation_id::text, tenant, run_id,
                json_build_object('escalation_id', escalation_id, 'issue_type', issue_type, 'question', question,
                                  'rule', rule, 'opened_at', opened_at, 'due_at', due_at)
         FROM opened, UNNEST(CASE issue_type WHEN 'budget_overrun' THEN ARRAY['escalation_opened', 'budget_overrun']
                                             ELSE ARRAY['escalation_opened'] END) AS kind
         ON CONFLICT DO NOTHING",
    )
    .bind(rows.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, ..)| run.run.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, ..)| run.tenant.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, _, e)| e.issue_type.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, _, e)| e.question.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, _, e)| e.rule.as_deref()).collect::<Vec<_>>())
    .bind(evidence)
    .bind(rows.iter().map(|(_, _, e)| micros(e.due)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, ..)| run.branch).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(Error::sql("escalations"))?;
    Ok(())
}

async fn incidents(connection: &mut PgConnection, winners: &Winners<'_>) -> Result<(), Error> {
    let rows: Vec<_> =
        winners.iter().filter_map(|(run, r, _)| Some((*run, r.transition.incident.as_ref()?))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH opened AS (
             INSERT INTO incidents (incident_id, run_id, tenant, kind, detail)
             SELECT id, run_id, tenant, kind, detail::json
             FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[]) AS i(id, run_id, tenant, kind, detail)
             RETURNING *)
         INSERT INTO notices (notice_id, kind, subject, tenant, run_id, detail)
         SELECT gen_random_uuid(), 'incident_opened', incident_id::text, tenant, run_id,
                json_build_object('incident_id', incident_id, 'kind', kind, 'opened_at', opened_at, 'detail', detail)
         FROM opened ON CONFLICT DO NOTHING",
    )
    .bind(rows.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, _)| run.run.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, _)| run.tenant.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, i)| i.kind.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, i)| i.detail.to_string()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(Error::sql("incidents"))?;
    Ok(())
}

async fn deaths(connection: &mut PgConnection, winners: &Winners<'_>) -> Result<(), Error> {
    let rows: Vec<_> = winners
        .iter()
        .filter_map(|(run, r, seq)| Some((*run, *r, *seq, r.transition.death.as_deref()?)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let origin = |routed: &Routed| routed.advance.origin.clone();
    sqlx::query(
        "INSERT INTO dead_letters (dead_letter_id, tenant, run_id, branch, seq, stream, entry_id, step, reason, original)
         SELECT id, tenant, run_id, branch, seq, stream, entry_id, step, reason, original
         FROM UNNEST($1::uuid[], $2::text[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::bytea[], $10::int[])
              AS d(id, tenant, run_id, seq, stream, entry_id, step, reason, original, branch)
         ON CONFLICT (stream, entry_id, sha256(original)) DO NOTHING",
    )
    .bind(rows.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, ..)| run.tenant.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, ..)| run.run.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, _, seq, _)| *seq).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, r, ..)| origin(r).map(|(stream, _)| stream)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, r, ..)| origin(r).map(|(_, entry)| entry)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, ..)| run.step.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, _, _, reason)| *reason).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, r, ..)| r.advance.original.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(run, ..)| run.branch).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(Error::sql("dead letters"))?;
    Ok(())
}

/// Letters beside the transition's own, which no entry brought.
pub(crate) async fn letters(
    connection: &mut PgConnection,
    run: &LoadedRun,
    seq: i32,
    reasons: &[String],
) -> Result<(), Error> {
    if reasons.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO dead_letters (dead_letter_id, tenant, run_id, branch, seq, step, reason, original)
         SELECT id, $2, $3, $4, $5, $6, reason, '' FROM UNNEST($1::uuid[], $7::text[]) AS d(id, reason)",
    )
    .bind(reasons.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(&run.tenant)
    .bind(run.run.0)
    .bind(run.branch)
    .bind(seq)
    .bind(&run.step)
    .bind(reasons)
    .execute(connection)
    .await
    .map_err(Error::sql("dead letters"))?;
    Ok(())
}
