//! What corridors count: posts of a tenant's day, complaints, and what was spent. A place of the day is reserved in the
//! transaction that commits the step towards its post, under the lock of that day, so that of two at the bound one stops.
//!
//! A place counts while its run is open, and for good once its post went out. Nothing has to free it: however a run ends
//! that publishes nothing, its place is no longer counted.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use model::RunId;
use rails::{CorridorFacts, DayFacts};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::prune::first_id;
use crate::{Error, Record, spending};

/// Posts among the rows `p` of the ledger that went out, or may have. What agents and tools called is none
/// ([`model::takes_posts`]).
const POSTED: &str = "p.state IN ('sent', 'confirmed', 'unknown')
     AND NOT starts_with(p.outlet, 'agent.') AND NOT starts_with(p.outlet, 'tool.')";

/// A run that wants to publish by a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: &'a str,
    /// The run's tenant.
    pub tenant: &'a str,
}

/// The counts of some tenants, whose days are locked until the transaction ends.
#[derive(Debug)]
pub(crate) struct Corridors {
    /// The transaction's time.
    pub(crate) at: DateTime<Utc>,
    tenants: BTreeMap<String, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Today first.
    days: Vec<DayFacts>,
    /// Posts of today that have no place of today, as those of workflows without a corridor.
    unreserved: u64,
    places: BTreeSet<(Uuid, String)>,
    cost_micros: u64,
}

impl Record {
    /// Asks for a place of the day for each of these runs, one after the other: what the record counts is handed to
    /// `passes`, and the place is kept where that says so. One transaction.
    ///
    /// # Errors
    /// [`Error::Sql`]; nothing was reserved.
    pub async fn reserve_posts(
        &self,
        places: &[Place<'_>],
        days: u32,
        mut passes: impl FnMut(usize, &CorridorFacts, DateTime<Utc>) -> bool,
    ) -> Result<Vec<bool>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let mut corridors = lock(&mut tx, places.iter().map(|place| place.tenant), days).await?;
        let mut kept = Vec::with_capacity(places.len());
        let mut passed = Vec::with_capacity(places.len());
        for (index, place) in places.iter().enumerate() {
            let pass = passes(index, &corridors.facts(place), corridors.at);
            if pass {
                corridors.reserve(place);
                kept.push(*place);
            }
            passed.push(pass);
        }
        write(&mut tx, &kept).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(passed)
    }

    /// Gives a place back that an open run will not use, unless its post went out.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn release_post(&self, run: RunId, step: &str) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await.map_err(Error::sql("a connection"))?;
        release(&mut connection, run, step).await
    }
}

/// Locks a tenant's day, and counts nothing.
pub(crate) async fn hold(connection: &mut PgConnection, tenant: &str) -> Result<(), Error> {
    lock(connection, std::iter::once(tenant), 0).await.map(drop)
}

/// Locks today's rows of these tenants, in one order, and counts `days` days of each, today among them.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    tenants: impl Iterator<Item = &str>,
    days: u32,
) -> Result<Corridors, Error> {
    let tenants: Vec<&str> = tenants.collect::<BTreeSet<_>>().into_iter().collect();
    let at: DateTime<Utc> = sqlx::query_scalar("SELECT now()")
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::sql("its time"))?;
    let today = at.date_naive();
    sqlx::query(
        "INSERT INTO corridor_days (tenant, day) SELECT tenant, $2 FROM UNNEST($1::text[]) AS t(tenant) ORDER BY tenant
         ON CONFLICT DO NOTHING",
    )
    .bind(&tenants)
    .bind(today)
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("the days of tenants"))?;
    sqlx::query("SELECT 1 FROM corridor_days WHERE tenant = ANY($1) AND day = $2 ORDER BY tenant FOR UPDATE")
        .bind(&tenants)
        .bind(today)
        .execute(&mut *connection)
        .await
        .map_err(Error::sql("the lock of a day"))?;
    let mut counted = BTreeMap::new();
    for tenant in tenants {
        if days > 0 {
            counted.insert(tenant.to_owned(), count(connection, tenant, today, days).await?);
        }
    }
    Ok(Corridors { at, tenants: counted })
}

impl Corridors {
    /// What a run's gates are shown: the places of others.
    pub(crate) fn facts(&self, place: &Place<'_>) -> CorridorFacts {
        let Some(counts) = self.tenants.get(place.tenant) else {
            return CorridorFacts { days: vec![], taken: u64::MAX, cost_micros: u64::MAX };
        };
        let own = usize::from(counts.places.contains(&(place.run.0, place.step.to_owned())));
        CorridorFacts {
            days: counts.days.clone(),
            taken: counts.unreserved + (counts.places.len() - own) as u64,
            cost_micros: counts.cost_micros,
        }
    }

    /// Counts a place for those that are asked about later. [`write`] keeps it.
    pub(crate) fn reserve(&mut self, place: &Place<'_>) {
        if let Some(counts) = self.tenants.get_mut(place.tenant) {
            counts.places.insert((place.run.0, place.step.to_owned()));
        }
    }
}

/// Keeps the places of runs that go on to publish.
pub(crate) async fn write(connection: &mut PgConnection, places: &[Place<'_>]) -> Result<(), Error> {
    if places.is_empty() {
        return Ok(());
    }
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO reserved_posts (run_id, step, tenant, day)
         SELECT run_id, step, tenant, (now() AT TIME ZONE 'UTC')::date
         FROM UNNEST($1::uuid[], $2::text[], $3::text[]) AS p(run_id, step, tenant) ORDER BY run_id, step
         ON CONFLICT (run_id, step) DO UPDATE SET day = EXCLUDED.day
         -- What went out stays with its day.
         WHERE NOT EXISTS (SELECT FROM publications p WHERE p.run_id = EXCLUDED.run_id AND p.step = EXCLUDED.step
                           AND {POSTED})"
    )))
    .bind(places.iter().map(|place| place.run.0).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.step).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.tenant).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(Error::sql("reserved posts"))?;
    Ok(())
}

/// Gives a place back, unless its post went out.
pub(crate) async fn release(connection: &mut PgConnection, run: RunId, step: &str) -> Result<(), Error> {
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "DELETE FROM reserved_posts r WHERE run_id = $1 AND step = $2
           AND NOT EXISTS (SELECT FROM publications p WHERE p.run_id = r.run_id AND p.step = r.step
                           AND {POSTED})"
    )))
    .bind(run.0)
    .bind(step)
    .execute(connection)
    .await
    .map_err(Error::sql("the release of a reserved post"))?;
    Ok(())
}

async fn count(
    connection: &mut PgConnection,
    tenant: &str,
    today: NaiveDate,
    days: u32,
) -> Result<Counts, Error> {
    let first = today - Days::new(u64::from(days.saturating_sub(1)));
    let mut published = ended_days(connection, tenant, first, today).await?;
    let (posts, unreserved) = posts_today(connection, tenant, today).await?;
    published.insert(today, posts);
    let complaints = complaints(connection, tenant, first).await?;
    let of = |counts: &BTreeMap<NaiveDate, u64>, day| counts.get(&day).copied().unwrap_or(0);
    let days = first.iter_days().take_while(|day| *day <= today).map(|day| DayFacts {
        day,
        published: of(&published, day),
        complaints: of(&complaints, day),
    });
    let mut days: Vec<DayFacts> = days.collect();
    days.reverse();
    Ok(Counts {
        days,
        unreserved,
        places: places(connection, tenant, today).await?,
        cost_micros: spending::cost_of_day(connection, tenant, today).await?,
    })
}

/// Posts of days that have ended. Each day is counted once, and kept: a later look need not walk the ledger again.
async fn ended_days(
    connection: &mut PgConnection,
    tenant: &str,
    first: NaiveDate,
    today: NaiveDate,
) -> Result<BTreeMap<NaiveDate, u64>, Error> {
    let rows = sqlx::query(
        "SELECT day, published FROM corridor_days
         WHERE tenant = $1 AND day >= $2 AND day < $3 AND published IS NOT NULL",
    )
    .bind(tenant)
    .bind(first)
    .bind(today)
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::sql("the posts of earlier days"))?;
    let mut kept: BTreeMap<NaiveDate, u64> =
        rows.iter().map(|row| (row.get("day"), row.get::<i64, _>("published").unsigned_abs())).collect();
    let absent: Vec<NaiveDate> =
        first.iter_days().take_while(|day| *day < today).filter(|day| !kept.contains_key(day)).collect();
    let Some(from) = absent.first() else { return Ok(kept) };
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO corridor_days (tenant, day, published)
         SELECT $1, d.day, count(p.publication_id)
         FROM UNNEST($2::date[]) AS d(day)
         LEFT JOIN publications p ON p.publication_id >= $3 AND p.tenant = $1 AND {POSTED}
              AND (p.sent_at AT TIME ZONE 'UTC')::date = d.day
         GROUP BY d.day ORDER BY d.day
         ON CONFLICT (tenant, day) DO UPDATE SET published = EXCLUDED.published
         RETURNING day, published"
    )))
    .bind(tenant)
    .bind(&absent)
    .bind(before(*from))
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::sql("the count of earlier days"))?;
    kept.extend(rows.iter().map(|row| (row.get("day"), row.get::<i64, _>("published").unsigned_abs())));
    Ok(kept)
}

/// The lowest id of a publication of a day. Ids are made by clocks of their own, which may be an hour off.
fn before(day: NaiveDate) -> Uuid {
    first_id(day.and_time(chrono::NaiveTime::MIN).and_utc() - TimeDelta::hours(1))
}

/// Posts of today, and how many of them have no place of today: what was held back on an earlier day takes one of this.
async fn posts_today(
    connection: &mut PgConnection,
    tenant: &str,
    today: NaiveDate,
) -> Result<(u64, u64), Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT count(*) AS posts,
                count(*) FILTER (WHERE NOT EXISTS (SELECT FROM reserved_posts r
                                                   WHERE r.run_id = p.run_id AND r.step = p.step AND r.day = $3))
                    AS unreserved
         FROM publications p
         WHERE p.publication_id >= $1 AND p.tenant = $2 AND {POSTED}
           AND (p.sent_at AT TIME ZONE 'UTC')::date = $3"
    )))
    .bind(before(today))
    .bind(tenant)
    .bind(today)
    .fetch_one(connection)
    .await
    .map_err(Error::sql("the posts of today"))?;
    let count = |name: &str| row.get::<i64, _>(name).unsigned_abs();
    Ok((count("posts"), count("unreserved")))
}

/// The places of today that count.
async fn places(
    connection: &mut PgConnection,
    tenant: &str,
    today: NaiveDate,
) -> Result<BTreeSet<(Uuid, String)>, Error> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT r.run_id, r.step FROM reserved_posts r
         WHERE r.tenant = $1 AND r.day = $2
           AND (EXISTS (SELECT FROM runs WHERE runs.run_id = r.run_id AND runs.state IN ('running', 'waiting', 'parked'))
                OR EXISTS (SELECT FROM publications p WHERE p.run_id = r.run_id AND p.step = r.step
                           AND {POSTED}))"
    )))
    .bind(tenant)
    .bind(today)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the reserved posts of a day"))?;
    Ok(rows.iter().map(|row| (row.get("run_id"), row.get("step"))).collect())
}

/// Complaints since a day, by the day they came in.
async fn complaints(
    connection: &mut PgConnection,
    tenant: &str,
    first: NaiveDate,
) -> Result<BTreeMap<NaiveDate, u64>, Error> {
    let rows = sqlx::query(
        "SELECT (given_at AT TIME ZONE 'UTC')::date AS day, count(*) AS complaints FROM feedback
         WHERE tenant = $1 AND kind = 'complaint' AND given_at >= $2 GROUP BY 1",
    )
    .bind(tenant)
    .bind(first.and_time(chrono::NaiveTime::MIN).and_utc())
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the complaints of a tenant"))?;
    Ok(rows.iter().map(|row| (row.get("day"), row.get::<i64, _>("complaints").unsigned_abs())).collect())
}
