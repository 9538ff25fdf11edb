//! Intents: what the planner wants done with a source, and how.

use serde::{Deserialize, Serialize};
use sqlx::Row;
use uuid::Uuid;

use crate::{Error, Record};

/// Namespace under which an intent's id is derived from what it says.
const INTENT_NAMESPACE: Uuid = Uuid::from_u128(0x7469_6465_6d69_6c6c_696e_7465_6e74_0001);

/// An active intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Derived from everything else here: the same intent has the same id.
    pub intent_id: Uuid,
    /// The tenant it serves, or `*`.
    pub tenant: String,
    /// The region its runs get.
    pub region: String,
    /// Glob over source names.
    pub source_pattern: String,
    /// In words; logged as `planner_intent`.
    pub purpose: String,
    /// The workflow version that its runs are pinned to.
    pub pipeline_version: String,
    /// The name of that workflow.
    #[serde(default)]
    pub workflow: String,
}

/// An intent as the planner registers it; its rank is its place in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIntent {
    /// The tenant it serves, or `*`.
    pub tenant: String,
    /// The region its runs get.
    pub region: String,
    /// Glob over source names.
    pub source_pattern: String,
    /// In words.
    pub purpose: String,
    /// The workflow version.
    pub pipeline_version: String,
}

impl NewIntent {
    fn id(&self) -> Uuid {
        let text = [&self.tenant, &self.region, &self.source_pattern, &self.purpose, &self.pipeline_version]
            .map(|s| s.as_str());
        Uuid::new_v5(&INTENT_NAMESPACE, text.join("\u{1f}").as_bytes())
    }
}

impl Intent {
    /// Whether the intent serves this tenant's source.
    #[must_use]
    pub fn serves(&self, tenant: &str, source: &str) -> bool {
        (self.tenant == "*" || self.tenant == tenant) && rails::glob_matches(&self.source_pattern, source)
    }
}

impl Record {
    /// Makes exactly these intents the active ones. Earlier ones stay for the runs that name them.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn register_intents(&self, intents: &[NewIntent]) -> Result<(), Error> {
        let ids: Vec<Uuid> = intents.iter().map(NewIntent::id).collect();
        let text =
            |field: fn(&NewIntent) -> &String| intents.iter().map(|i| field(i).as_str()).collect::<Vec<_>>();
        sqlx::query(
            "WITH retired AS (UPDATE intents SET active = false WHERE active AND intent_id <> ALL($1))
             INSERT INTO intents (intent_id, tenant, region, source_pattern, purpose, pipeline_version, rank, active)
             SELECT i.*, true FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[])
                  AS i(intent_id, tenant, region, source_pattern, purpose, pipeline_version, rank)
             ON CONFLICT (intent_id) DO UPDATE SET active = true, rank = EXCLUDED.rank",
        )
        .bind(&ids)
        .bind(text(|i| &i.tenant))
        .bind(text(|i| &i.region))
        .bind(text(|i| &i.source_pattern))
        .bind(text(|i| &i.purpose))
        .bind(text(|i| &i.pipeline_version))
        .bind((0_i32..).take(intents.len()).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the registration of intents"))?;
        Ok(())
    }

    /// The active intents, the one to prefer first.
    ///
    /// # Errors
    /// [`Error::Sql`], unavailable where PostgreSQL is away.
    pub async fn active_intents(&self) -> Result<Vec<Intent>, Error> {
        let rows = sqlx::query(
            "SELECT intent_id, tenant, region, source_pattern, purpose, pipeline_version, w.name AS workflow
             FROM intents JOIN workflows w USING (pipeline_version) WHERE active ORDER BY rank, intent_id",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the look-up of intents"))?;
        Ok(rows
            .iter()
            .map(|row| Intent {
                intent_id: row.get("intent_id"),
                tenant: row.get("tenant"),
                region: row.get("region"),
                source_pattern: row.get("source_pattern"),
                purpose: row.get("purpose"),
                pipeline_version: row.get("pipeline_version"),
                workflow: row.get("workflow"),
            })
            .collect())
    }

    /// Keeps the intent of runs that are asked for by workflow: no source is served by it.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn keep_intent(&self, intent: &NewIntent, workflow: &str) -> Result<Intent, Error> {
        sqlx::query(
            "INSERT INTO intents (intent_id, tenant, region, source_pattern, purpose, pipeline_version, rank, active)
             VALUES ($1, $2, $3, $4, $5, $6, 0, false) ON CONFLICT DO NOTHING",
        )
        .bind(intent.id())
        .bind(&intent.tenant)
        .bind(&intent.region)
        .bind(&intent.source_pattern)
        .bind(&intent.purpose)
        .bind(&intent.pipeline_version)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the note of an intent"))?;
        Ok(Intent {
            intent_id: intent.id(),
            tenant: intent.tenant.clone(),
            region: intent.region.clone(),
            source_pattern: intent.source_pattern.clone(),
            purpose: intent.purpose.clone(),
            pipeline_version: intent.pipeline_version.clone(),
            workflow: workflow.to_owned(),
        })
    }
}
