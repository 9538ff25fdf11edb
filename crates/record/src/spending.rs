//! Budgets beyond the run: what a tenant spends in a day, for an intent, and at all. Reserved before a call and settled
//! after it, under the locks of the rows that it is counted in, so that of two at the bound one stops.
//!
//! A reservation counts while its run is open. What a call did not say that it may spend is reserved as nothing; but where
//! nothing is left, nothing begins.

use chrono::NaiveDate;
use model::{RunId, Usage};
use rails::{Allowance, Budget, BudgetScope, Spending};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Error, Record};

/// A try of a run, or of a branch of it, that costs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spender<'a> {
    /// The run.
    pub run: RunId,
    /// Its branch; 0 is the run itself.
    pub branch: i32,
    /// Its tenant.
    pub tenant: &'a str,
    /// Its intent.
    pub intent: Uuid,
}

/// A bound that a reservation would break. In tokens, millionths of the currency, or milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} of this {}: {wanted} wanted, {spent} spent, {reserved} reserved, {limit} allowed", scope.as_str())]
pub struct Overrun {
    /// Whose bound.
    pub scope: BudgetScope,
    /// `tokens`, `cost` or `time`.
    pub what: &'static str,
    /// The bound.
    pub limit: u64,
    /// What was settled.
    pub spent: u64,
    /// What other tries may still spend.
    pub reserved: u64,
    /// What this one asked for.
    pub wanted: u64,
}

/// Tokens, millionths of the currency, milliseconds.
type Amounts = [u64; 3];

const WHAT: [&str; 3] = ["tokens", "cost", "time"];

impl Record {
    /// Reserves what a try may spend, or says which bound it would break. Asked again for the same run and branch, the later
    /// reservation takes the place of the earlier one. One transaction.
    ///
    /// # Errors
    /// [`Error::Sql`]: nothing was reserved, and nothing may be spent.
    pub async fn reserve_spending(
        &self,
        spender: &Spender<'_>,
        wanted: &Budget,
        limits: &[(BudgetScope, Budget)],
    ) -> Result<Result<(), Overrun>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let day = lock(&mut tx, std::slice::from_ref(spender)).await?;
        let reserved = reserve(&mut tx, spender, day, wanted, limits).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(reserved)
    }

    /// Charges what a try has spent, however much was reserved, and frees its reservation. One transaction.
    ///
    /// # Errors
    /// [`Error::Sql`]; nothing was charged.
    pub async fn settle_spending(&self, spender: &Spender<'_>, used: &Usage) -> Result<(), Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let day = lock(&mut tx, std::slice::from_ref(spender)).await?;
        settle(&mut tx, spender, day, used).await?;
        tx.commit().await.map_err(Error::sql("a commit"))
    }
}

/// Locks all rows in which these are counted, in one order, and tells the day (UTC).
pub(crate) async fn lock(
    connection: &mut PgConnection,
    spenders: &[Spender<'_>],
) -> Result<NaiveDate, Error> {
    let day: NaiveDate = sqlx::query_scalar("SELECT (now() AT TIME ZONE 'UTC')::date")
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::sql("its day"))?;
    let mut rows: Vec<(&str, &str, String)> =
        spenders.iter().flat_map(|spender| SCOPES.map(|scope| key(scope, spender, day))).collect();
    rows.sort();
    rows.dedup();
    let scopes: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let tenants: Vec<&str> = rows.iter().map(|row| row.1).collect();
    let subjects: Vec<&str> = rows.iter().map(|row| row.2.as_str()).collect();
    for statement in [
        "INSERT INTO spending (scope, tenant, subject)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING",
        "SELECT 1 FROM spending JOIN UNNEST($1::text[], $2::text[], $3::text[]) AS k(scope, tenant, subject)
                            USING (scope, tenant, subject)
         ORDER BY scope COLLATE \"C\", tenant COLLATE \"C\", subject COLLATE \"C\" FOR UPDATE OF spending",
    ] {
        sqlx::query(statement)
            .bind(&scopes)
            .bind(&tenants)
            .bind(&subjects)
            .execute(&mut *connection)
            .await
            .map_err(Error::sql("the lock of budgets"))?;
    }
    Ok(day)
}

pub(crate) const SCOPES: [BudgetScope; 3] = [BudgetScope::Day, BudgetScope::Intent, BudgetScope::Tenant];

fn key<'a>(scope: BudgetScope, spender: &Spender<'a>, day: NaiveDate) -> (&'static str, &'a str, String) {
    let subject = match scope {
        BudgetScope::Day => day.to_string(),
        BudgetScope::Intent => spender.intent.to_string(),
        BudgetScope::Tenant => String::new(),
    };
    (scope.as_str(), spender.tenant, subject)
}

/// Reserves under the locks of [`lock`], which told the day.
pub(crate) async fn reserve(
    connection: &mut PgConnection,
    spender: &Spender<'_>,
    day: NaiveDate,
    wanted: &Budget,
    limits: &[(BudgetScope, Budget)],
) -> Result<Result<(), Overrun>, Error> {
    let asked = amounts(wanted).map(|amount| amount.unwrap_or(0));
    for (scope, limit) in limits {
        let limit = amounts(limit);
        let Spending { spent, reserved, granted } = counted(connection, *scope, spender, day).await?;
        let (spent, reserved, granted) = (of(spent), of(reserved), of(granted));
        for index in 0..WHAT.len() {
            let Some(limit) = limit[index].map(|limit| limit.saturating_add(granted[index])) else {
                continue;
            };
            let (spent, reserved, wanted) = (spent[index], reserved[index], asked[index]);
            let taken = spent.saturating_add(reserved);
            if taken >= limit || wanted > limit - taken {
                let overrun = Overrun { scope: *scope, what: WHAT[index], limit, spent, reserved, wanted };
                return Ok(Err(overrun));
            }
        }
    }
    keep(connection, spender, day, asked).await?;
    Ok(Ok(()))
}

/// Keeps what a try may spend, in the place of an earlier reservation of the same run and branch.
async fn keep(
    connection: &mut PgConnection,
    spender: &Spender<'_>,
    day: NaiveDate,
    asked: Amounts,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO reserved_spending (run_id, branch, tenant, intent_id, day, tokens, cost_micros, millis)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (run_id, branch) DO UPDATE SET day = EXCLUDED.day, tokens = EXCLUDED.tokens,
             cost_micros = EXCLUDED.cost_micros, millis = EXCLUDED.millis",
    )
    .bind(spender.run.0)
    .bind(spender.branch)
    .bind(spender.tenant)
    .bind(spender.intent)
    .bind(day)
    .bind(stored(asked[0]))
    .bind(stored(asked[1]))
    .bind(stored(asked[2]))
    .execute(connection)
    .await
    .map_err(Error::sql("a reservation of a budget"))?;
    Ok(())
}

/// Keeps reservations that the rails have held against what [`counted`] told.
pub(crate) async fn keep_all(
    connection: &mut PgConnection,
    spender: &Spender<'_>,
    day: NaiveDate,
    reserves: &[(i32, Allowance)],
) -> Result<(), Error> {
    for (branch, wanted) in reserves {
        let spender = Spender { branch: *branch, ..*spender };
        keep(connection, &spender, day, of(*wanted)).await?;
    }
    Ok(())
}

/// Frees what branches of a run had reserved.
pub(crate) async fn free(connection: &mut PgConnection, run: RunId, branches: &[i32]) -> Result<(), Error> {
    if branches.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM reserved_spending WHERE run_id = $1 AND branch = ANY($2)")
        .bind(run.0)
        .bind(branches)
        .execute(connection)
        .await
        .map_err(Error::sql("freed reservations"))?;
    Ok(())
}

/// Lets a scope spend more than its bound says: what a person grants.
pub(crate) async fn grant(
    connection: &mut PgConnection,
    spender: &Spender<'_>,
    day: NaiveDate,
    (scope, more): (BudgetScope, Allowance),
) -> Result<(), Error> {
    let (scope, tenant, subject) = key(scope, spender, day);
    let [tokens, cost_micros, millis] = of(more).map(stored);
    sqlx::query(
        "UPDATE spending SET granted_tokens = granted_tokens + least($4, 9223372036854775807 - granted_tokens),
                granted_cost_micros = granted_cost_micros + least($5, 9223372036854775807 - granted_cost_micros),
                granted_millis = granted_millis + least($6, 9223372036854775807 - granted_millis)
         WHERE scope = $1 AND tenant = $2 AND subject = $3",
    )
    .bind(scope)
    .bind(tenant)
    .bind(subject)
    .bind(tokens)
    .bind(cost_micros)
    .bind(millis)
    .execute(connection)
    .await
    .map_err(Error::sql("what was granted"))?;
    Ok(())
}

/// What a scope has spent, and may still spend; under the locks of [`lock`].
pub(crate) async fn counted(
    connection: &mut PgConnection,
    scope: BudgetScope,
    spender: &Spender<'_>,
    day: NaiveDate,
) -> Result<Spending, Error> {
    let (spent, granted) = spent(connection, scope, spender, day).await?;
    let reserved = reserved(connection, scope, spender, day).await?;
    let amount = |[tokens, cost_micros, millis]: Amounts| Allowance { tokens, cost_micros, millis };
    Ok(Spending { spent: amount(spent), reserved: amount(reserved), granted: amount(granted) })
}

fn of(amount: Allowance) -> Amounts {
    [amount.tokens, amount.cost_micros, amount.millis]
}

/// Charges under the locks of [`lock`], which told the day.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    spender: &Spender<'_>,
    day: NaiveDate,
    used: &Usage,
) -> Result<(), Error> {
    let keys = SCOPES.map(|scope| key(scope, spender, day));
    sqlx::query(
        "WITH freed AS (DELETE FROM reserved_spending WHERE run_id = $1 AND branch = $2)
         UPDATE spending s SET tokens = s.tokens + least($6, 9223372036854775807 - s.tokens),
                cost_micros = s.cost_micros + least($7, 9223372036854775807 - s.cost_micros),
                millis = s.millis + least($8, 9223372036854775807 - s.millis)
         FROM UNNEST($3::text[], $4::text[], $5::text[]) AS k(scope, tenant, subject)
         WHERE (s.scope, s.tenant, s.subject) = (k.scope, k.tenant, k.subject)",
    )
    .bind(spender.run.0)
    .bind(spender.branch)
    .bind(keys.each_ref().map(|key| key.0))
    .bind(keys.each_ref().map(|key| key.1))
    .bind(keys.each_ref().map(|key| key.2.as_str()))
    .bind(stored(used.tokens()))
    .bind(stored(used.cost_micros))
    .bind(stored(used.millis))
    .execute(connection)
    .await
    .map_err(Error::sql("the settling of a budget"))?;
    Ok(())
}

/// What a tenant spent in a day and its tries under way may still spend in it, in millionths.
pub(crate) async fn cost_of_day(
    connection: &mut PgConnection,
    tenant: &str,
    day: NaiveDate,
) -> Result<u64, Error> {
    let spender = Spender { run: RunId(Uuid::nil()), branch: 0, tenant, intent: Uuid::nil() };
    let Spending { spent, reserved, .. } = counted(connection, BudgetScope::Day, &spender, day).await?;
    Ok(spent.cost_micros.saturating_add(reserved.cost_micros))
}

/// What was spent, and what was granted beyond the bound.
async fn spent(
    connection: &mut PgConnection,
    scope: BudgetScope,
    spender: &Spender<'_>,
    day: NaiveDate,
) -> Result<(Amounts, Amounts), Error> {
    let (scope, tenant, subject) = key(scope, spender, day);
    let row = sqlx::query(
        "SELECT tokens, cost_micros, millis, granted_tokens, granted_cost_micros, granted_millis FROM spending WHERE scope = $1 AND tenant = $2 AND subject = $3",
    )
    .bind(scope)
    .bind(tenant)
    .bind(subject)
    .fetch_optional(connection)
    .await
    .map_err(Error::sql("what was spent"))?;
    Ok(row.map_or(([0; 3], [0; 3]), |row| {
        let amount = |name: &str| row.get::<i64, _>(name).unsigned_abs();
        (
            ["tokens", "cost_micros", "millis"].map(amount),
            ["granted_tokens", "granted_cost_micros", "granted_millis"].map(amount),
        )
    }))
}

/// What the tries of others may still spend.
async fn reserved(
    connection: &mut PgConnection,
    scope: BudgetScope,
    spender: &Spender<'_>,
    day: NaiveDate,
) -> Result<Amounts, Error> {
    let row = sqlx::query(
        "SELECT least(coalesce(sum(r.tokens), 0), 9223372036854775807)::bigint AS tokens,
                least(coalesce(sum(r.cost_micros), 0), 9223372036854775807)::bigint AS cost_micros,
                least(coalesce(sum(r.millis), 0), 9223372036854775807)::bigint AS millis
         FROM reserved_spending r JOIN runs USING (run_id)
         WHERE r.tenant = $1 AND runs.state IN ('running', 'waiting', 'parked')
           AND NOT (r.run_id = $2 AND r.branch = $3)
           AND CASE $4 WHEN 'day' THEN r.day = $5 WHEN 'intent' THEN r.intent_id = $6 ELSE true END",
    )
    .bind(spender.tenant)
    .bind(spender.run.0)
    .bind(spender.branch)
    .bind(scope.as_str())
    .bind(day)
    .bind(spender.intent)
    .fetch_one(connection)
    .await
    .map_err(Error::sql("what is reserved"))?;
    Ok(["tokens", "cost_micros", "millis"].map(|name| row.get::<i64, _>(name).unsigned_abs()))
}

fn amounts(budget: &Budget) -> [Option<u64>; 3] {
    let millis = budget.time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    [budget.tokens, budget.cost_micros, millis]
}

fn stored(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
