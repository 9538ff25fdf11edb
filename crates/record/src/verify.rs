//! Verification: whether every chain holds, and whether what it tells of is still there as it was.
//!
//! A chain holds digests; the bodies stand beside it and may be erased. A body that is there must be the one that the
//! chain tells of, and the run must stand where its last link says.

use std::collections::HashMap;

use model::{RunId, Sha256Digest, genesis, link_hash};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{BranchKey, Error, Record};

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
    /// Verifies one run's chain, or every chain where `run` is `None`; the search ends with the page that brings the
    /// broken ones to 100.
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
    let mut after = Uuid::nil();
    while found.broken.len() < COLLECTED {
        let heads = sqlx::query(
            "SELECT r.run_id, 0 AS branch, r.chain_head, r.chain_len, r.seq, r.state, r.step, r.content_sha256,
                    sha256(e.payload) AS payload
             FROM runs r LEFT JOIN events e USING (event_id)
             WHERE r.run_id > $1 AND ($2::uuid IS NULL OR r.run_id = $2) ORDER BY r.run_id LIMIT $3",
        )
        .bind(after)
        .bind(run.map(|r| r.0))
        .bind(PAGE)
        .fetch_all(&mut *connection)
        .await
        .map_err(Error::sql("the heads of its chains"))?;
        let Some(last) = heads.last() else { break };
        after = last.get("run_id");
        let runs: Vec<Uuid> = heads.iter().map(|head| head.get("run_id")).collect();
        let branches = heads_of_branches(connection, &runs).await?;
        let mut links = links_of(connection, &runs).await?;
        let bodies = bodies_of(connection, &runs).await?;
        for head in heads.iter().chain(&branches) {
            let key = BranchKey { run: RunId(head.get("run_id")), branch: head.get("branch") };
            let links = links.remove(&key).unwrap_or_default();
            found.chains += 1;
            found.links += links.len() as u64;
            if let Err((pos, fault)) = check(key, head, &links, &bodies) {
                found.broken.push(BrokenLink { run_id: key.run, branch: key.branch, pos, fault });
            }
        }
    }
    Ok(())
}

async fn heads_of_branches(connection: &mut PgConnection, runs: &[Uuid]) -> Result<Vec<PgRow>, Error> {
    sqlx::query(
        "SELECT run_id, branch, chain_head, chain_len, seq, state, step, NULL::bytea AS content_sha256,
                NULL::bytea AS payload
         FROM run_branches WHERE run_id = ANY($1) ORDER BY run_id, branch",
    )
    .bind(runs)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the heads of the chains of branches"))
}

struct StoredLink {
    pos: i32,
    body: String,
    hash: Vec<u8>,
}

async fn links_of(
    connection: &mut PgConnection,
    runs: &[Uuid],
) -> Result<HashMap<BranchKey, Vec<StoredLink>>, Error> {
    let rows = sqlx::query(
        "SELECT run_id, branch, pos, body, hash FROM provenance_log
         WHERE run_id = ANY($1) ORDER BY run_id, branch, pos",
    )
    .bind(runs)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("chains"))?;
    let mut links: HashMap<BranchKey, Vec<StoredLink>> = HashMap::new();
    for row in rows {
        let key = BranchKey { run: RunId(row.get("run_id")), branch: row.get("branch") };
        let link = StoredLink { pos: row.get("pos"), body: row.get("body"), hash: row.get("hash") };
        links.entry(key).or_default().push(link);
    }
    Ok(links)
}

/// Digests of the bodies that stand beside the chains: by branch, the `seq` of the visit, and name.
type Bodies = HashMap<(BranchKey, i32, String), Vec<u8>>;

async fn bodies_of(connection: &mut PgConnection, runs: &[Uuid]) -> Result<Bodies, Error> {
    let rows = sqlx::query(
        "SELECT run_id, branch, seq, name, sha256(convert_to(body::text, 'UTF8')) AS digest
         FROM artifacts WHERE run_id = ANY($1)",
    )
    .bind(runs)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the digests of artifacts"))?;
    let key = |row: &PgRow| BranchKey { run: RunId(row.get("run_id")), branch: row.get("branch") };
    Ok(rows.iter().map(|row| ((key(row), row.get("seq"), row.get("name")), row.get("digest"))).collect())
}

fn check(of: BranchKey, head: &PgRow, links: &[StoredLink], bodies: &Bodies) -> Result<(), (i32, String)> {
    let head_hash: Vec<u8> = head.get("chain_head");
    check_links(of.run, of.branch, links, head.get("chain_len"), &head_hash)?;
    let mut last = None;
    for link in links {
        let told: Told = serde_json::from_str(&link.body)
            .map_err(|error| (link.pos, format!("cannot be read: {error}")))?;
        let altered = |what: &str| Err((link.pos, format!("tells of another {what}: it was altered")));
        if told.kind == "created" && differs(head.get("payload"), told.output_sha256) {
            return altered("payload of the event");
        }
        let body = |name: &str| bodies.get(&(of, told.seq - 1, name.to_owned())).cloned();
        if differs(body(&told.step), told.output_sha256) {
            return altered(&format!("output of `{}`", told.step));
        }
        // Content that a branch made stands with that branch.
        if told.kind != "content" && differs(body("content"), told.content_sha256) {
            return altered("content");
        }
        last = Some((link.pos, told));
    }
    let Some((pos, told)) = last else { return Ok(()) };
    let content = head.get::<Option<Vec<u8>>, _>("content_sha256");
    let of_run = of.branch == 0;
    if told.seq != head.get::<i32, _>("seq")
        || told.state != head.get::<&str, _>("state")
        || told.next != head.get::<&str, _>("step")
        || of_run && content.as_deref() != told.content_sha256.as_ref().map(|digest| &digest.0[..])
    {
        let what = if of_run { "run" } else { "branch" };
        return Err((pos, format!("tells that its {what} stands elsewhere: the {what} was altered")));
    }
    Ok(())
}

/// What a link says about the bodies beside it and about its run.
#[derive(Deserialize)]
struct Told {
    kind: String,
    seq: i32,
    step: String,
    state: String,
    next: String,
    #[serde(default)]
    output_sha256: Option<Sha256Digest>,
    #[serde(default)]
    content_sha256: Option<Sha256Digest>,
}

/// Whether a body that is there is not the one that was told of.
fn differs(present: Option<Vec<u8>>, told: Option<Sha256Digest>) -> bool {
    present.zip(told).is_some_and(|(present, told)| present != told.0)
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

fn check_links(
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
        check_links(run, 0, &links, 4, &head).err().map(|(pos, _)| pos)
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
