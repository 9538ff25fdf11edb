//! Stored vectors: read in commit order by a cursor that misses no late commit, or by id to fill a store anew; and those
//! of pruned runs that such a store has still to remove.

use chrono::{DateTime, Utc};
use model::RunId;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{Error, Record};

/// Where a reader of vectors stands. Starts at the default; grows with every page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmbeddingCursor {
    xid: i64,
    vector: Uuid,
}

/// A stored vector.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEmbedding {
    /// The vector's id, which is its trend's.
    pub vector_id: Uuid,
    /// The run.
    pub run: RunId,
    /// The tenant.
    pub tenant: String,
    /// The model that made it.
    pub model: String,
    /// When the run's event was received.
    pub received_at: DateTime<Utc>,
    /// L2-normalised.
    pub vector: Vec<f32>,
}

impl Record {
    /// The next vectors after the cursor, received after `since`, at most `limit`. Rows of transactions that could
    /// still commit late (at or above `pg_snapshot_xmin`) are left for the next call.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn embeddings_after(
        &self,
        cursor: &mut EmbeddingCursor,
        since: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<StoredEmbedding>, Error> {
        let rows = sqlx::query(
            "SELECT vector_id, run_id, tenant, model, received_at, vector, xid FROM embedding_records
             WHERE (xid, vector_id) > ($1, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
               AND status = 'succeeded' AND received_at > $3
             ORDER BY xid, vector_id LIMIT $4",
        )
        .bind(cursor.xid)
        .bind(cursor.vector)
        .bind(since)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the vectors after a cursor"))?;
        if let Some(last) = rows.last() {
            *cursor = EmbeddingCursor { xid: last.get("xid"), vector: last.get("vector_id") };
        }
        Ok(rows.iter().map(stored).collect())
    }

    /// The next vectors of a model after an id, in the order of ids, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn embeddings_of(
        &self,
        model: &str,
        after: Uuid,
        limit: i64,
    ) -> Result<Vec<StoredEmbedding>, Error> {
        let rows = sqlx::query(
            "SELECT vector_id, run_id, tenant, model, received_at, vector FROM embedding_records
             WHERE vector_id > $1 AND model = $2 AND status = 'succeeded' ORDER BY vector_id LIMIT $3",
        )
        .bind(after)
        .bind(model)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the vectors of a model"))?;
        Ok(rows.iter().map(stored).collect())
    }

    /// The models that vectors are of, with how many, the most used first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn embedding_models(&self) -> Result<Vec<(String, u64)>, Error> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT model, count(*) FROM embedding_records WHERE status = 'succeeded'
             GROUP BY model ORDER BY count(*) DESC, model",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the models of vectors"))?;
        Ok(rows.into_iter().map(|(model, count)| (model, count.unsigned_abs())).collect())
    }

    /// Vectors of pruned runs that the store outside has still to remove, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn removed_vectors(&self, limit: i64) -> Result<Vec<Uuid>, Error> {
        sqlx::query_scalar("SELECT vector_id FROM removed_vectors ORDER BY vector_id LIMIT $1")
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("the vectors to be removed"))
    }

    /// Notes that the store outside has removed these.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn forget_removed_vectors(&self, vectors: &[Uuid]) -> Result<(), Error> {
        sqlx::query("DELETE FROM removed_vectors WHERE vector_id = ANY($1)")
            .bind(vectors)
            .execute(&self.pool)
            .await
            .map_err(Error::sql("the note of removed vectors"))?;
        Ok(())
    }
}

fn stored(row: &PgRow) -> StoredEmbedding {
    StoredEmbedding {
        vector_id: row.get("vector_id"),
        run: RunId(row.get("run_id")),
        tenant: row.get("tenant"),
        model: row.get("model"),
        received_at: row.get("received_at"),
        vector: floats(row.get("vector")),
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
