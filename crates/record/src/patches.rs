//! The patches of a run's blackboard, as its chain tells of them.

use model::RunId;
use serde_json::value::RawValue;
use sqlx::Row;

use crate::{Error, Record};

/// What a blackboard began with, and what changed it.
#[derive(Debug)]
pub struct Patches {
    /// The payload of the run's event.
    pub payload: Vec<u8>,
    /// The links that tell of an applied patch, in the order in which they were applied.
    pub links: Vec<PatchLink>,
}

/// A link that tells of an applied patch.
#[derive(Debug)]
pub struct PatchLink {
    /// The branch whose chain it is of.
    pub branch: i32,
    /// Its place there.
    pub pos: i32,
    /// What it says.
    pub entry: Box<RawValue>,
    /// The artifact of the step that proposed it, where that left one.
    pub output: Option<Box<RawValue>>,
}

impl Record {
    /// The patches that were applied to a run's blackboard; `None` where there is no such run.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where a hand was at the chain.
    pub async fn patches(&self, run: RunId) -> Result<Option<Patches>, Error> {
        let payload: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT e.payload FROM runs r JOIN events e USING (event_id) WHERE r.run_id = $1",
        )
        .bind(run.0)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("the payload of a run"))?;
        let Some(payload) = payload else { return Ok(None) };
        // A step's artifact has the `seq` that its job had, its link the one after.
        let rows = sqlx::query(
            "SELECT p.branch, p.pos, p.body, a.body::text AS output
             FROM provenance_log p
             CROSS JOIN LATERAL (SELECT p.body::json AS told) AS link
             LEFT JOIN artifacts a ON a.run_id = p.run_id AND a.branch = p.branch
                  AND a.seq = (told ->> 'seq')::int - 1 AND a.name = told ->> 'step'
             WHERE p.run_id = $1 AND told -> 'patch_applied' IS NOT NULL
             ORDER BY (told ->> 'board_version')::bigint",
        )
        .bind(run.0)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the patches of a blackboard"))?;
        let unreadable = |e: serde_json::Error| Error::unreadable(format_args!("run {run}"), e);
        let links = rows.iter().map(|row| {
            let output: Option<String> = row.get("output");
            Ok(PatchLink {
                branch: row.get("branch"),
                pos: row.get("pos"),
                entry: RawValue::from_string(row.get("body")).map_err(unreadable)?,
                output: output.map(RawValue::from_string).transpose().map_err(unreadable)?,
            })
        });
        Ok(Some(Patches { payload, links: links.collect::<Result<_, Error>>()? }))
    }
}
