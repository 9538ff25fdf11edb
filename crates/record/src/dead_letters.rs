//! Dead letters: what could not be decoded, validated or processed, with its bytes, its reason and its origin.

use chrono::{DateTime, Utc};
use model::{EntryFields, RunId};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Error, Record};

/// A letter that touches no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// The stream it was read from.
    pub stream: String,
    /// Its entry id there; with the stream, unique.
    pub entry_id: String,
    /// Why it cannot be processed.
    pub reason: String,
    /// Its fields as they came.
    pub fields: EntryFields,
}

/// A stored letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id.
    pub dead_letter_id: Uuid,
    /// The tenant, where it has a run.
    pub tenant: Option<String>,
    /// The run that died, where there is one.
    pub run: Option<RunId>,
    /// The step it died at.
    pub step: Option<String>,
    /// The stream it was read from.
    pub stream: Option<String>,
    /// Its entry id there.
    pub entry_id: Option<String>,
    /// Why.
    pub reason: String,
    /// Its fields as they came.
    pub fields: EntryFields,
    /// When.
    pub died_at: DateTime<Utc>,
    /// When it was replayed.
    pub replayed_at: Option<DateTime<Utc>>,
}

/// Encodes an entry's fields as they are stored: each name and value with its length (u32, big-endian) before it.
#[must_use]
pub fn encode_entry(fields: &EntryFields) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in fields.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Decodes what [`encode_entry`] made; `None` for anything else.
#[must_use]
pub fn decode_entry(mut bytes: &[u8]) -> Option<EntryFields> {
    let mut next = || -> Option<Option<Vec<u8>>> {
        if bytes.is_empty() {
            return Some(None);
        }
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let part = rest.get(..length)?.to_vec();
        bytes = rest.get(length..)?;
        Some(Some(part))
    };
    let mut fields = EntryFields::new();
    while let Some(name) = next()? {
        fields.push((name, next()??));
    }
    Some(fields)
}

/// The request id of an upstream entry that brought none: SHA-256 over stream, entry id and fields, so that adopting it
/// again, or replaying it, finds the same run.
#[must_use]
pub fn upstream_request_id(stream: &str, entry_id: &str, fields: &EntryFields) -> String {
    let body = encode_entry(fields);
    model::sha256(&[stream.as_bytes(), &[0], entry_id.as_bytes(), &[0], &body]).to_hex()
}

impl Record {
    /// Stores a letter that touches no run; the same entry again changes nothing.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn bury(&self, letter: &NewDeadLetter) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO dead_letters (dead_letter_id, stream, entry_id, reason, original)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (stream, entry_id) DO NOTHING",
        )
        .bind(Uuid::now_v7())
        .bind(&letter.stream)
        .bind(&letter.entry_id)
        .bind(letter.reason.replace('\0', "\u{fffd}"))
        .bind(encode_entry(&letter.fields))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("a dead letter"))?;
        Ok(())
    }

    /// Letters that wait for a person, newest first; of one tenant, where named.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn dead_letters(&self, tenant: Option<&str>, limit: i64) -> Result<Vec<DeadLetter>, Error> {
        self.letters("", tenant, None, limit).await
    }

    /// One letter.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, Error> {
        Ok(self.letters("any", None, Some(id), 1).await?.pop())
    }

    async fn letters(
        &self,
        which: &str,
        tenant: Option<&str>,
        id: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<DeadLetter>, Error> {
        let rows = sqlx::query(
            "SELECT dead_letter_id, tenant, run_id, step, stream, entry_id, reason, original, died_at, replayed_at
             FROM dead_letters
             WHERE ($1 = 'any' OR replayed_at IS NULL) AND ($2::text IS NULL OR tenant = $2)
               AND ($3::uuid IS NULL OR dead_letter_id = $3)
             ORDER BY dead_letter_id DESC LIMIT $4",
        )
        .bind(which)
        .bind(tenant)
        .bind(id)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the dead letters"))?;
        rows.iter()
            .map(|row| {
                let dead_letter_id: Uuid = row.get("dead_letter_id");
                Ok(DeadLetter {
                    dead_letter_id,
                    tenant: row.get("tenant"),
                    run: row.get::<Option<Uuid>, _>("run_id").map(RunId),
                    step: row.get("step"),
                    stream: row.get("stream"),
                    entry_id: row.get("entry_id"),
                    reason: row.get("reason"),
                    fields: decode_entry(row.get("original")).ok_or_else(|| {
                        Error::unreadable(format_args!("dead letter {dead_letter_id}"), "its bytes are cut")
                    })?,
                    died_at: row.get("died_at"),
                    replayed_at: row.get("replayed_at"),
                })
            })
            .collect()
    }

    /// Marks a letter without a run as replayed; `false` where it was before.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn mark_letter_replayed(&self, id: Uuid) -> Result<bool, Error> {
        let done = sqlx::query(
            "UPDATE dead_letters SET replayed_at = now() WHERE dead_letter_id = $1 AND replayed_at IS NULL",
        )
        .bind(id)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the mark of a replay"))?;
        Ok(done.rows_affected() == 1)
    }
}

pub(crate) async fn mark_replayed(connection: &mut PgConnection, run: RunId) -> Result<(), Error> {
    sqlx::query("UPDATE dead_letters SET replayed_at = now() WHERE run_id = $1 AND replayed_at IS NULL")
        .bind(run.0)
        .execute(connection)
        .await
        .map_err(Error::sql("the mark of a replay"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_kept_byte_for_byte() {
        let fields: EntryFields = vec![(b"run".to_vec(), vec![0, 0xff]), (vec![], b"x".to_vec())];
        assert_eq!(decode_entry(&encode_entry(&fields)), Some(fields));
        assert_eq!(decode_entry(&[0, 0, 0, 9, 1]), None);
        assert_eq!(decode_entry(&encode_entry(&vec![])), Some(vec![]));
    }
}
