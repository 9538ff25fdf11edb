//! What stands around a run while it is routed: the rails say what they lack, and are handed that, under locks where it is
//! counted. Locks are taken in one order: the run's manifest, its tenant's day, budgets. Those of a tenant are common to many
//! runs, so a transition that counts has its transaction for itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use model::{StoredContent, Usage};
use rails::{Around, Beyond, Facts, GatePolicies, Wants};
use serde_json::Value;
use sqlx::{PgConnection, Row};

use crate::corridors::{self, Place};
use crate::manifests::Kept;
use crate::spending::{self, SCOPES, Spender};
use crate::{Error, Item, LoadedRun, Routed, beyond, gate_answers};

/// How often a transition is asked for again. One that lacks something still is committed as it is: held back.
const MOST_ASKED: usize = 50;

/// What is known around a run.
pub(crate) struct Surroundings<'r> {
    run: &'r LoadedRun,
    around: Around,
    /// Whether the transaction is for this run alone.
    alone: bool,
    /// The day (UTC), once budgets are locked.
    day: Option<NaiveDate>,
}

impl<'r> Surroundings<'r> {
    /// Of a run that has the transaction for itself.
    pub(crate) fn alone(policies: &Arc<GatePolicies>, run: &'r LoadedRun) -> Self {
        Self { alone: true, ..Self::in_company(policies, run) }
    }

    /// Of one of several runs that are advanced together.
    pub(crate) fn in_company(policies: &Arc<GatePolicies>, run: &'r LoadedRun) -> Self {
        let around = Around {
            policies: Arc::clone(policies),
            tenant: run.tenant.clone(),
            region: run.region.clone(),
            source: run.source.clone(),
            ..Around::default()
        };
        Self { run, around, alone: false, day: None }
    }

    /// Asks for the route until it lacks nothing. `None` where something is counted and the run is not alone; nothing was
    /// written then.
    ///
    /// # Errors
    /// Those of the route and of the record.
    pub(crate) async fn route<E: From<Error>>(
        &mut self,
        connection: &mut PgConnection,
        item: &Item,
        kept: &Kept,
        facts: Facts,
        route: &mut impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
    ) -> Result<Option<Routed>, E> {
        if item.usage != Usage::default() && self.around.policies.counts_spending(&self.run.tenant) {
            if !self.alone {
                return Ok(None);
            }
            let day = self.lock_budgets(connection).await?;
            spending::settle(connection, &self.spender(), day, &item.usage).await?;
        }
        let run = beyond::as_it_stands(item, kept);
        let mut facts = Facts { usage: item.usage, memory: Some(kept.memory.clone()), ..facts };
        let mut asked = 0;
        loop {
            facts.around = Some(Arc::new(self.around.clone()));
            let routed = route(&run, &facts)?;
            let wants = routed.transition.beyond.as_deref().map(|beyond| &beyond.wants);
            let Some(wants) = wants.filter(|wants| !wants.is_empty() && asked < MOST_ASKED) else {
                return Ok(Some(routed));
            };
            if wants.counts() && !self.alone {
                return Ok(None);
            }
            self.give(connection, wants).await?;
            asked += 1;
        }
    }

    /// Writes what follows beside the transition: a person's answer, a place of the day, what may be spent.
    pub(crate) async fn write(&self, connection: &mut PgConnection, beyond: &Beyond) -> Result<(), Error> {
        if let Some(answer) = &beyond.answer {
            gate_answers::write(connection, self.run.run, answer).await?;
        }
        let place = |step| Place { run: self.run.run, step, tenant: &self.run.tenant };
        let places: Vec<Place<'_>> = beyond.places.iter().map(|step| place(step)).collect();
        corridors::write(connection, &places).await?;
        if self.around.policies.counts_spending(&self.run.tenant) {
            spending::free(connection, self.run.run, &beyond.closes).await?;
        }
        if let Some(day) = self.day {
            spending::keep_all(connection, &self.spender(), day, &beyond.reserves).await?;
            for grant in &beyond.grants {
                spending::grant(connection, &self.spender(), day, *grant).await?;
            }
        }
        Ok(())
    }

    async fn give(&mut self, connection: &mut PgConnection, wants: &Wants) -> Result<(), Error> {
        for place in &wants.places {
            let tenant = std::iter::once(self.run.tenant.as_str());
            let counted = corridors::lock(connection, tenant, wants.days).await?;
            let facts = counted.facts(&Place { run: self.run.run, step: place, tenant: &self.run.tenant });
            self.around.counts.insert(place.clone(), facts);
        }
        if wants.spending {
            let day = self.lock_budgets(connection).await?;
            let mut counted = BTreeMap::new();
            for scope in SCOPES {
                counted.insert(scope, spending::counted(connection, scope, &self.spender(), day).await?);
            }
            self.around.spending = Some(counted);
        }
        if wants.answers {
            let answers = gate_answers::answers(connection, &[self.run.run.0]).await?;
            let now: DateTime<Utc> = sqlx::query_scalar("SELECT now()")
                .fetch_one(&mut *connection)
                .await
                .map_err(Error::sql("its time"))?;
            self.around.answers = Some((answers.into_iter().map(|(_, answer)| answer).collect(), now));
        }
        if !wants.artifacts.is_empty() {
            let names: Vec<&str> = wants.artifacts.iter().map(String::as_str).collect();
            let found = artifacts(connection, self.run, &names).await?;
            self.around.artifacts.extend(found);
        }
        Ok(())
    }

    async fn lock_budgets(&mut self, connection: &mut PgConnection) -> Result<NaiveDate, Error> {
        if let Some(day) = self.day {
            return Ok(day);
        }
        if self.around.policies.counts_days() {
            corridors::hold(connection, &self.run.tenant).await?;
        }
        let day = spending::lock(connection, &[self.spender()]).await?;
        self.day = Some(day);
        Ok(day)
    }

    fn spender(&self) -> Spender<'r> {
        let run = self.run;
        Spender { run: run.run, branch: run.branch, tenant: &run.tenant, intent: run.intent_id }
    }
}

/// The newest artifacts of these names; null where there is none, and for content that is not what the run is bound to.
async fn artifacts(
    connection: &mut PgConnection,
    run: &LoadedRun,
    names: &[&str],
) -> Result<BTreeMap<String, Value>, Error> {
    let rows = sqlx::query(
        "SELECT name, body::text AS body FROM artifacts WHERE run_id = $1 AND name = ANY($2) ORDER BY branch, seq",
    )
    .bind(run.run.0)
    .bind(names)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("what gates look at"))?;
    let stored: Vec<(String, String)> = rows.iter().map(|row| (row.get("name"), row.get("body"))).collect();
    let run = LoadedRun { artifacts: stored, payload: None, memory: None, ..run.clone() };
    let value = |name: &str| {
        let body = run.artifact(name)?;
        if name == "content" && StoredContent::read(body, run.content_sha256?).is_err() {
            return None;
        }
        serde_json::from_str(body).ok()
    };
    Ok(names.iter().map(|name| ((*name).to_owned(), value(name).unwrap_or_default())).collect())
}
