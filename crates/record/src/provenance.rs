//! The hash-chained log: what is written, and how a chain is verified.

use chrono::{DateTime, Utc};
use model::{Actor, ChainLink, RunId, Sha256Digest, genesis, link_hash};
use rails::GateDecision;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};

use crate::{Error, Record};

/// What one link says. Bodies of input and output stand in `artifacts`; the chain holds their digests.
#[derive(Debug, Clone, Serialize)]
pub struct ProvenanceEntry<'a> {
    /// The run.
    pub run: RunId,
    /// The branch, 0 for an unforked run.
    pub branch: i32,
    /// Position along the chain, from 1.
    pub pos: i32,
    /// `created`, `transition`, `ledger`.
    pub kind: &'static str,
    /// What happened: `done`, `failed`, `escalated`, …
    pub what: &'a str,
    /// The branch's `seq` afterwards.
    pub seq: i32,
    /// The step it happened at.
    pub step: &'a str,
    /// The state afterwards.
    pub state: &'a str,
    /// The step it stands at afterwards.
    pub next: &'a str,
    /// Handler failures so far.
    pub attempt: i32,
    /// In words.
    pub reason: &'a str,
    /// Who did it.
    pub actor: &'a Actor,
    /// When, RFC 3339 with microseconds, by the actor's clock.
    #[serde(serialize_with = "micros")]
    pub at: DateTime<Utc>,
    /// The model that made the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// The prompt or rule text that led to it, bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_output_prompt: Option<&'a str>,
    /// Digest of what the step read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_sha256: Option<Sha256Digest>,
    /// Digest of what the step wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_sha256: Option<Sha256Digest>,
    /// Digest of the content afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<Sha256Digest>,
    /// The conditions that were evaluated.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub gates: &'a [GateDecision],
    /// W3C trace id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// The planner's purpose for the source.
    pub planner_intent: &'a str,
}

fn micros<S: serde::Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

impl ProvenanceEntry<'_> {
    /// The link that this entry makes after `prev`.
    pub(crate) fn link(&self, prev: Sha256Digest) -> Result<ChainLink, Error> {
        let body = serde_json::to_string(self)
            .map_err(|e| Error::unreadable(format_args!("run {}", self.run), e))?;
        Ok(ChainLink { pos: self.pos, hash: link_hash(prev, &body), body })
    }
}

/// The trace id of a `traceparent`.
#[must_use]
pub fn trace_id(traceparent: Option<&str>) -> Option<&str> {
    traceparent?.split('-').nth(1)
}

/// The first place where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenLink {
    /// The run.
    pub run_id: RunId,
    /// The branch.
    pub branch: i32,
    /// Position of the first broken link.
    pub pos: i32,
    /// What is wrong there.
    pub fault: String,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Chains looked at.
    pub chains: u64,
    /// Links looked at.
    pub links: u64,
    /// The first broken link of each broken chain.
    pub broken: Vec<BrokenLink>,
}

/// Chains read at a time.
const PAGE: i64 = 500;

/// Broken chains after which the search ends, at the end of a page.
const COLLECTED: usize = 100;

impl Record {
    /// Verifies one run's chain, or every chain where `run` is `None`; the search ends with the page
    /// that brings the broken ones to 100.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn verify(&self, run: Option<RunId>) -> Result<Verification, Error> {
        // One snapshot of all: a run that advances meanwhile is seen as it was.
        let mut snapshot = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .execute(&mut *snapshot)
            .await
            .map_err(Error::sql("a snapshot"))?;
        let mut found = Verification::default();
        verify_chains(&mut snapshot, run, &mut found).await?;
        verify_orphans(&mut snapshot, run, &mut found).await?;
        snapshot.rollback().await.map_err(Error::sql("the end of a snapshot"))?;
        Ok(found)
    }
}

async fn verify_chains(
    connection: &mut PgConnection,
    run: Option<RunId>,
    found: &mut Verification,
) -> Result<(), Error> {
    let mut after = uuid::Uuid::nil();
    while found.broken.len() < COLLECTED {
        let heads = sqlx::query(
            "SELECT run_id, 0 AS branch, chain_head, chain_len FROM runs
             WHERE run_id > $1 AND ($2::uuid IS NULL OR run_id = $2) ORDER BY run_id LIMIT $3",
        )
        .bind(after)
        .bind(run.map(|r| r.0))
        .bind(PAGE)
        .fetch_all(&mut *connection)
        .await
        .map_err(Error::sql("the heads of its chains"))?;
        let Some(last) = heads.last() else { break };
        after = last.get("run_id");
        for head in &heads {
            verify_chain(connection, head, found).await?;
        }
    }
    Ok(())
}

async fn verify_chain(
    connection: &mut PgConnection,
    head: &sqlx::postgres::PgRow,
    found: &mut Verification,
) -> Result<(), Error> {
    let run = RunId(head.get("run_id"));
    let branch: i32 = head.get("branch");
    let links = sqlx::query(
        "SELECT pos, body, hash FROM provenance_log WHERE run_id = $1 AND branch = $2 ORDER BY pos",
    )
    .bind(run.0)
    .bind(branch)
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::sql("a chain"))?;
    found.chains += 1;
    found.links += links.len() as u64;
    let links: Vec<StoredLink> = links
        .iter()
        .map(|row| StoredLink { pos: row.get("pos"), body: row.get("body"), hash: row.get("hash") })
        .collect();
    let head_hash: Vec<u8> = head.get("chain_head");
    if let Err((pos, fault)) = check_chain(run, branch, &links, head.get("chain_len"), &head_hash) {
        found.broken.push(BrokenLink { run_id: run, branch, pos, fault });
    }
    Ok(())
}

/// Links whose run does not exist.
async fn verify_orphans(
    connection: &mut PgConnection,
    run: Option<RunId>,
    found: &mut Verification,
) -> Result<(), Error> {
    let orphans = sqlx::query(
        "SELECT p.run_id, p.branch, min(p.pos) AS pos FROM provenance_log p
         LEFT JOIN runs r USING (run_id)
         WHERE ($1::uuid IS NULL OR p.run_id = $1)
           AND (r.run_id IS NULL
                OR (p.branch <> 0 AND NOT EXISTS
                    (SELECT FROM run_branches b WHERE b.run_id = p.run_id AND b.branch = p.branch)))
         GROUP BY p.run_id, p.branch ORDER BY p.run_id LIMIT 100",
    )
    .bind(run.map(|r| r.0))
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::sql("the search for links without a run"))?;
    found.broken.extend(orphans.iter().map(|row| BrokenLink {
        run_id: RunId(row.get("run_id")),
        branch: row.get("branch"),
        pos: row.get("pos"),
        fault: "belongs to no run or branch".to_owned(),
    }));
    Ok(())
}

struct StoredLink {
    pos: i32,
    body: String,
    hash: Vec<u8>,
}

fn check_chain(
    run: RunId,
    branch: i32,
    links: &[StoredLink],
    len: i32,
    head: &[u8],
) -> Result<(), (i32, String)> {
    let mut prev = genesis(run, branch);
    for (expected, link) in (1_i32..).zip(links) {
        if link.pos != expected {
            return Err((expected, format!("is missing: the next link there is {}", link.pos)));
        }
        if expected > len {
            return Err((expected, format!("was inserted: the chain has {len} links")));
        }
        let hash = link_hash(prev, &link.body);
        if hash.0[..] != link.hash[..] {
            return Err((expected, "does not match its hash: it or the link before was altered".to_owned()));
        }
        if serde_json::from_str::<Position>(&link.body).ok() != Some(Position { run, branch, pos: expected })
        {
            return Err((expected, "says that it stands elsewhere".to_owned()));
        }
        prev = hash;
    }
    let present = i32::try_from(links.len()).unwrap_or(i32::MAX);
    if present < len {
        return Err((present + 1, format!("is missing: the chain has {len} links")));
    }
    if prev.0[..] != *head {
        return Err((len, "is not the one that the run's chain head names".to_owned()));
    }
    Ok(())
}

#[derive(PartialEq, Deserialize)]
struct Position {
    run: RunId,
    branch: i32,
    pos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(run: RunId, count: i32) -> (Vec<StoredLink>, Vec<u8>) {
        let mut prev = genesis(run, 0);
        let links = (1..=count)
            .map(|pos| {
                let body = format!(r#"{{"run":"{run}","branch":0,"pos":{pos}}}"#);
                prev = link_hash(prev, &body);
                StoredLink { pos, body, hash: prev.0.to_vec() }
            })
            .collect();
        (links, prev.0.to_vec())
    }

    fn fault(change: impl FnOnce(&mut Vec<StoredLink>)) -> Option<i32> {
        let run = RunId(uuid::Uuid::from_u128(5));
        let (mut links, head) = chain(run, 4);
        change(&mut links);
        check_chain(run, 0, &links, 4, &head).err().map(|(pos, _)| pos)
    }

    #[test]
    fn a_whole_chain_holds_and_each_kind_of_tampering_is_found_at_its_place() {
        assert_eq!(fault(|_| ()), None);
        assert_eq!(fault(|links| links[1].body.push(' ')), Some(2));
        assert_eq!(fault(|links| drop(links.remove(1))), Some(2));
        assert_eq!(fault(|links| drop(links.pop())), Some(4));
        assert_eq!(
            fault(|links| {
                let (body, hash) = (links[1].body.clone(), links[1].hash.clone());
                links[1].body = std::mem::replace(&mut links[2].body, body);
                links[1].hash = std::mem::replace(&mut links[2].hash, hash);
            }),
            Some(2)
        );
        let rewritten = |links: &mut Vec<StoredLink>| {
            let run = RunId(uuid::Uuid::from_u128(5));
            let (mut forged, _) = chain(run, 5);
            links.push(forged.remove(4));
        };
        assert_eq!(fault(rewritten), Some(5));
    }

    #[test]
    fn a_last_link_that_was_rewritten_with_a_fitting_hash_is_found_by_the_head() {
        assert_eq!(
            fault(|links| {
                let prev = Sha256Digest::from_slice(&links[2].hash).unwrap();
                links[3].body = links[3].body.replace("\"pos\"", "\"forged\":1,\"pos\"");
                links[3].hash = link_hash(prev, &links[3].body).0.to_vec();
            }),
            Some(4)
        );
    }
}
