//! Questions that only the record answers race-free: is this text, or one much like it, already here?

use std::collections::HashMap;

use model::{NearClaim, RunId, RunState};
use rails::Facts;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Error, Item};

type Key = (String, Vec<u8>);

/// Answers the claims of a group inside its transaction, one set of facts per item. An item that is `known` was admitted
/// before, as another run: its own run will never be, so it claims nothing.
pub(crate) async fn answer(
    connection: &mut PgConnection,
    items: &[Item],
    known: &[Option<RunId>],
) -> Result<Vec<Facts>, Error> {
    let holders = claim_fingerprints(connection, items, known).await?;
    let standing = standing_neighbours(connection, items).await?;
    Ok(items
        .iter()
        .map(|item| Facts {
            exact_duplicate_of: item
                .fingerprint_key()
                .and_then(|key| holders.get(&key).copied())
                .filter(|holder| *holder != item.run.run),
            near_duplicate_of: item.claims.near.iter().copied().find(|near| standing.stands(item, near)),
            ..Facts::default()
        })
        .collect())
}

/// Takes each free fingerprint for the first item that has it. The unique key makes a second process wait for the
/// first one's commit, so both see one holder. A holder that is rejected, cancelled or dead, or that is no more, gives way.
async fn claim_fingerprints(
    connection: &mut PgConnection,
    items: &[Item],
    known: &[Option<RunId>],
) -> Result<HashMap<Key, RunId>, Error> {
    let fresh = items.iter().zip(known).filter(|(_, known)| known.is_none());
    let mut wanted: Vec<(Key, RunId)> =
        fresh.filter_map(|(item, _)| Some((item.fingerprint_key()?, item.run.run))).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    // One order everywhere, so that two groups cannot wait for each other.
    wanted.sort();
    wanted.dedup_by(|later, earlier| later.0 == earlier.0);
    let tenants: Vec<&str> = wanted.iter().map(|((tenant, _), _)| tenant.as_str()).collect();
    let prints: Vec<&[u8]> = wanted.iter().map(|((_, print), _)| print.as_slice()).collect();
    let runs: Vec<Uuid> = wanted.iter().map(|(_, run)| run.0).collect();
    sqlx::query(
        "INSERT INTO content_fingerprints (tenant, fingerprint, run_id)
         SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::uuid[]) ON CONFLICT DO NOTHING",
    )
    .bind(&tenants)
    .bind(&prints)
    .bind(&runs)
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("the claim of fingerprints"))?;
    let holders = fingerprint_holders(connection, &tenants, &prints).await?;
    if holders.iter().all(|holder| !holder.refused) {
        return Ok(by_key(holders));
    }
    sqlx::query(
        "UPDATE content_fingerprints f SET run_id = a.run_id
         FROM UNNEST($1::text[], $2::bytea[], $3::uuid[]) AS a(tenant, fingerprint, run_id)
         WHERE f.tenant = a.tenant AND f.fingerprint = a.fingerprint AND f.run_id <> a.run_id
           AND NOT EXISTS (SELECT FROM runs holder WHERE holder.run_id = f.run_id
                           AND holder.state NOT IN ('rejected', 'cancelled', 'dead'))",
    )
    .bind(&tenants)
    .bind(&prints)
    .bind(&runs)
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("the take-over of fingerprints"))?;
    Ok(by_key(fingerprint_holders(connection, &tenants, &prints).await?))
}

struct Holder {
    key: Key,
    run: RunId,
    refused: bool,
}

fn by_key(holders: Vec<Holder>) -> HashMap<Key, RunId> {
    holders.into_iter().map(|holder| (holder.key, holder.run)).collect()
}

async fn fingerprint_holders(
    connection: &mut PgConnection,
    tenants: &[&str],
    prints: &[&[u8]],
) -> Result<Vec<Holder>, Error> {
    let rows = sqlx::query(
        "SELECT f.tenant, f.fingerprint, f.run_id,
                coalesce(r.state IN ('rejected', 'cancelled', 'dead'), true) AS refused
         FROM UNNEST($1::text[], $2::bytea[]) AS a(tenant, fingerprint)
         JOIN content_fingerprints f USING (tenant, fingerprint) LEFT JOIN runs r ON r.run_id = f.run_id",
    )
    .bind(tenants)
    .bind(prints)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the look-up of fingerprints"))?;
    Ok(rows
        .iter()
        .map(|row| Holder {
            key: (row.get("tenant"), row.get("fingerprint")),
            run: RunId(row.get("run_id")),
            refused: row.get("refused"),
        })
        .collect())
}

struct Neighbours(HashMap<RunId, Neighbour>);

struct Neighbour {
    tenant: String,
    event_id: Uuid,
    received_at: chrono::DateTime<chrono::Utc>,
    state: RunState,
}

impl Neighbours {
    /// Whether a neighbour makes the item its duplicate: same tenant, another event, earlier, and not refused.
    fn stands(&self, item: &Item, near: &NearClaim) -> bool {
        self.0.get(&near.run).is_some_and(|n| {
            n.tenant == item.run.tenant
                && n.event_id != item.run.event_id
                && (n.received_at, near.run) < (item.run.received_at, item.run.run)
                && !matches!(n.state, RunState::Rejected | RunState::Cancelled | RunState::Dead)
        })
    }
}

async fn standing_neighbours(connection: &mut PgConnection, items: &[Item]) -> Result<Neighbours, Error> {
    let wanted: Vec<Uuid> =
        items.iter().flat_map(|item| item.claims.near.iter().map(|near| near.run.0)).collect();
    if wanted.is_empty() {
        return Ok(Neighbours(HashMap::new()));
    }
    let rows =
        sqlx::query("SELECT run_id, tenant, event_id, received_at, state FROM runs WHERE run_id = ANY($1)")
            .bind(wanted)
            .fetch_all(&mut *connection)
            .await
            .map_err(Error::sql("the look-up of neighbours"))?;
    rows.iter()
        .map(|row| {
            let run = RunId(row.get("run_id"));
            let state = row
                .get::<&str, _>("state")
                .parse()
                .map_err(|e| Error::unreadable(format_args!("run {run}"), e))?;
            let neighbour = Neighbour {
                tenant: row.get("tenant"),
                event_id: row.get("event_id"),
                received_at: row.get("received_at"),
                state,
            };
            Ok((run, neighbour))
        })
        .collect::<Result<_, Error>>()
        .map(Neighbours)
}
