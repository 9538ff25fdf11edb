//! Manifests: what runs keep beside their row that fork, loop or write a blackboard.
//!
//! Whoever advances such a run, or a branch of it, locks its manifest first and its row next, and reads its branches after
//! that: nothing of the run changes under the transition, and two branches come one after the other. Nobody waits for a
//! manifest while holding the run's row, so that two cannot wait for each other.

use std::collections::{BTreeMap, HashMap};

use model::{Lifecycle, RunId, RunState, Sha256Digest};
use rails::{BranchState, Memory};
use serde_json::{Map, Value};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Error, LoadedRun, Record};

/// A run's manifest and row, both locked.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) memory: Memory,
    pub(crate) trunk: Trunk,
}

/// How the run itself stands while a branch of it advances.
#[derive(Debug, Clone)]
pub(crate) struct Trunk {
    pub(crate) state: RunState,
    pub(crate) lifecycle: Lifecycle,
    step: String,
    seq: i32,
    attempt: i32,
    chain_head: Sha256Digest,
    chain_len: i32,
    pub(crate) content_sha256: Option<Sha256Digest>,
}

impl Trunk {
    /// The run itself, where `of` is it or one of its branches.
    pub(crate) fn run(&self, of: &LoadedRun) -> LoadedRun {
        LoadedRun {
            branch: 0,
            state: self.state,
            lifecycle: self.lifecycle,
            step: self.step.clone(),
            seq: self.seq,
            attempt: self.attempt,
            chain_head: self.chain_head,
            chain_len: self.chain_len,
            content_sha256: self.content_sha256,
            artifacts: Vec::new(),
            payload: None,
            memory: None,
            ..of.clone()
        }
    }
}

/// What there is of a run's manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum Manifest {
    /// What it keeps, with the run's branches.
    Kept(Box<Memory>),
    /// The run has none yet; it begins with the event's payload.
    ToBegin {
        /// The payload.
        payload: Vec<u8>,
    },
}

impl Record {
    /// The manifests of these runs; runs that do not exist are left out. One that a build of another version wrote is
    /// [`Error::Unreadable`], alone.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn manifests(&self, runs: &[RunId]) -> Result<HashMap<RunId, Result<Manifest, Error>>, Error> {
        if runs.is_empty() {
            return Ok(HashMap::new());
        }
        let mut connection = self.pool.acquire().await.map_err(Error::sql("a connection"))?;
        let ids: Vec<Uuid> = runs.iter().map(|run| run.0).collect();
        let rows = sqlx::query(
            "SELECT r.run_id, m.board::text AS board, m.version, m.memory::text AS memory,
                    CASE WHEN m.run_id IS NULL THEN e.payload END AS payload
             FROM runs r JOIN events e USING (event_id) LEFT JOIN manifests m USING (run_id)
             WHERE r.run_id = ANY($1)",
        )
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(Error::sql("the manifests of runs"))?;
        let mut branches = branches_of(&mut connection, &ids).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let run = RunId(row.get("run_id"));
                if let Some(payload) = row.get::<Option<Vec<u8>>, _>("payload") {
                    return (run, Ok(Manifest::ToBegin { payload }));
                }
                let branches = branches.remove(&run).unwrap_or_else(|| Ok(BTreeMap::new()));
                let memory = branches.and_then(|branches| Ok(Memory { branches, ..read(run, row)? }));
                (run, memory.map(|memory| Manifest::Kept(Box::new(memory))))
            })
            .collect())
    }
}

/// Locks the manifests of these runs; one that is missing begins with what its run was loaded with. Runs that do not exist
/// are left out.
pub(crate) async fn lock<'r>(
    connection: &mut PgConnection,
    runs: impl Iterator<Item = &'r LoadedRun>,
) -> Result<HashMap<RunId, Kept>, Error> {
    let runs: BTreeMap<Uuid, &LoadedRun> = runs.map(|run| (run.run.0, run)).collect();
    if runs.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = runs.keys().copied().collect();
    let mut kept = lock_rows(connection, &ids).await?;
    if kept.len() < ids.len() {
        for run in runs.values().filter(|run| !kept.contains_key(&run.run)) {
            begin(connection, run).await?;
        }
        kept = lock_rows(connection, &ids).await?;
    }
    // A statement of its own: it sees what was committed before the locks were had.
    for (run, branches) in branches_of(connection, &ids).await? {
        if let Some(kept) = kept.get_mut(&run) {
            kept.memory.branches = branches?;
        }
    }
    Ok(kept)
}

async fn begin(connection: &mut PgConnection, run: &LoadedRun) -> Result<(), Error> {
    let Some(memory) = run.memory.as_deref() else { return Ok(()) };
    sqlx::query(
        "INSERT INTO manifests (run_id, board, memory, expires_at)
         SELECT run_id, $2::json, $3::json, $4 FROM runs WHERE run_id = $1 ON CONFLICT DO NOTHING",
    )
    .bind(run.run.0)
    .bind(memory.board.to_string())
    .bind(rest(run.run, memory)?)
    .bind(memory.clocks.next())
    .execute(connection)
    .await
    .map_err(Error::sql("a first manifest"))?;
    Ok(())
}

async fn lock_rows(connection: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<RunId, Kept>, Error> {
    let rows = sqlx::query(
        "SELECT m.run_id, m.board::text AS board, m.version, m.memory::text AS memory, r.state, r.lifecycle, r.step,
                r.seq, r.attempt, r.chain_head, r.chain_len, r.content_sha256, now() AS now
         FROM manifests m JOIN runs r USING (run_id)
         WHERE m.run_id = ANY($1) ORDER BY m.run_id FOR UPDATE OF m, r",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the lock of manifests"))?;
    rows.iter()
        .map(|row| {
            let run = RunId(row.get("run_id"));
            let memory = Memory { now: Some(row.get("now")), ..read(run, row)? };
            Ok((run, Kept { memory, trunk: trunk(run, row)? }))
        })
        .collect()
}

/// Keeps what a transition made of the memory.
pub(crate) async fn store(connection: &mut PgConnection, run: RunId, memory: &Memory) -> Result<(), Error> {
    sqlx::query(
        "UPDATE manifests SET board = $2::json, version = $3, memory = $4::json, expires_at = $5, updated_at = now()
         WHERE run_id = $1",
    )
    .bind(run.0)
    .bind(memory.board.to_string())
    .bind(memory.version)
    .bind(rest(run, memory)?)
    .bind(memory.clocks.next())
    .execute(connection)
    .await
    .map_err(Error::sql("a manifest"))?;
    Ok(())
}

/// What stands in no column of its own.
fn rest(run: RunId, memory: &Memory) -> Result<String, Error> {
    let unreadable = |e| Error::unreadable(format_args!("the manifest of run {run}"), e);
    let mut fields = serde_json::to_value(memory).map_err(unreadable)?;
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("board");
        fields.remove("version");
    }
    Ok(fields.to_string())
}

/// What is stored lies over what a new memory has: builds before or after may know fewer fields.
fn read(run: RunId, row: &PgRow) -> Result<Memory, Error> {
    let unreadable = |e| Error::unreadable(format_args!("the manifest of run {run}"), e);
    let mut fields = serde_json::to_value(Memory::default()).map_err(unreadable)?;
    let stored: Map<String, Value> = serde_json::from_str(row.get("memory")).map_err(unreadable)?;
    let board: Value = serde_json::from_str(row.get("board")).map_err(unreadable)?;
    if let Some(fields) = fields.as_object_mut() {
        fields.extend(stored);
        fields.insert("board".to_owned(), board);
        fields.insert("version".to_owned(), Value::from(row.get::<i64, _>("version")));
    }
    serde_json::from_value(fields).map_err(unreadable)
}

fn trunk(run: RunId, row: &PgRow) -> Result<Trunk, Error> {
    let unreadable = |why: &dyn std::fmt::Display| Error::unreadable(format_args!("run {run}"), why);
    Ok(Trunk {
        state: row.get::<&str, _>("state").parse().map_err(|e| unreadable(&e))?,
        lifecycle: row.get::<&str, _>("lifecycle").parse().map_err(|e| unreadable(&e))?,
        step: row.get("step"),
        seq: row.get("seq"),
        attempt: row.get("attempt"),
        chain_head: Sha256Digest::from_slice(row.get("chain_head"))
            .ok_or_else(|| unreadable(&"its chain head is no SHA-256"))?,
        chain_len: row.get("chain_len"),
        content_sha256: row.get::<Option<&[u8]>, _>("content_sha256").and_then(Sha256Digest::from_slice),
    })
}

type Branches = BTreeMap<i32, BranchState>;

async fn branches_of(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<RunId, Result<Branches, Error>>, Error> {
    let rows =
        sqlx::query("SELECT run_id, branch, fork_step, state, step FROM run_branches WHERE run_id = ANY($1)")
            .bind(ids)
            .fetch_all(connection)
            .await
            .map_err(Error::sql("the branches of runs"))?;
    let mut found: HashMap<RunId, Result<Branches, Error>> = HashMap::new();
    for row in rows {
        let (run, number): (RunId, i32) = (RunId(row.get("run_id")), row.get("branch"));
        let of_run = found.entry(run).or_insert_with(|| Ok(Branches::new()));
        match (row.get::<&str, _>("state").parse(), &mut *of_run) {
            (Ok(state), Ok(branches)) => {
                let branch = BranchState { fork: row.get("fork_step"), state, step: row.get("step") };
                branches.insert(number, branch);
            }
            (Err(e), _) => *of_run = Err(Error::unreadable(format_args!("branch {number} of run {run}"), e)),
            (_, Err(_)) => {}
        }
    }
    Ok(found)
}
