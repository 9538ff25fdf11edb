//! Dead letters: what could not be decoded, validated or processed, with its bytes, its reason and its origin.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use model::{EntryFields, RunId};
use regex::Regex;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{BranchKey, Error, Record};

/// Letters read at once.
const PAGE: i64 = 1000;

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
    /// The branch of it that died; 0 is the run itself.
    pub branch: i32,
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
    /// When a person gave it up.
    pub discarded_at: Option<DateTime<Utc>>,
}

impl DeadLetter {
    /// Whether it still waits for a person.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.replayed_at.is_none() && self.discarded_at.is_none()
    }

    /// What letters of the same error share.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        error_fingerprint(&self.reason)
    }
}

/// Which letters are meant; an empty filter means all that wait for a person.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter {
    /// Of one tenant.
    pub tenant: Option<String>,
    /// Died at this step, or read from a stream whose name contains this.
    pub stage: Option<String>,
    /// Where `stage` is a worker type: or died at one of its steps.
    pub steps: Vec<String>,
    /// Of the error with this fingerprint.
    pub error: Option<String>,
    /// Whose reason or bytes contain this text.
    pub text: Option<String>,
    /// Died at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Died before this time.
    pub until: Option<DateTime<Utc>>,
}

/// Eight hexadecimal characters that reasons share which differ only in numbers, ids and quoted values.
#[must_use]
pub fn error_fingerprint(reason: &str) -> String {
    let shape = VALUES.replace_all(reason, "…");
    model::sha256(&[shape.as_bytes()]).to_hex()[..8].to_owned()
}

/// What is quoted, and words with a digit.
static VALUES: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant that a test compiles")]
    Regex::new(r#"`[^`]*`|"[^"]*"|\S*[0-9]\S*"#).expect("a pattern")
});

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
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (stream, entry_id, sha256(original)) DO NOTHING",
        )
        .bind(Uuid::now_v7())
        .bind(&letter.stream)
        .bind(&letter.entry_id)
        .bind(model::storable(&letter.reason))
        .bind(encode_entry(&letter.fields))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("a dead letter"))?;
        Ok(())
    }

    /// Stores a letter that touches no run, unless its entry is one already, or its stream has had one in the last 24 hours
    /// whose entry id begins with `alike`. Whether it was stored.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn bury_daily(&self, letter: &NewDeadLetter, alike: &str) -> Result<bool, Error> {
        let done = sqlx::query(
            "INSERT INTO dead_letters (dead_letter_id, stream, entry_id, reason, original)
             SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (
                 SELECT 1 FROM dead_letters WHERE stream = $2
                    AND (entry_id = $3 OR (starts_with(entry_id, $6) AND died_at > now() - interval '24 hours')))
             ON CONFLICT (stream, entry_id, sha256(original)) DO NOTHING",
        )
        .bind(Uuid::now_v7())
        .bind(&letter.stream)
        .bind(&letter.entry_id)
        .bind(model::storable(&letter.reason))
        .bind(encode_entry(&letter.fields))
        .bind(alike)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("a dead letter"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Letters that wait for a person, newest first.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the bytes of a letter are cut.
    pub async fn dead_letters(&self, filter: &LetterFilter, limit: i64) -> Result<Vec<DeadLetter>, Error> {
        let mut found: Vec<DeadLetter> = Vec::new();
        let mut before: Option<Uuid> = None;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        // The fingerprint is computed here, so pages are read until enough letters have it.
        loop {
            let page = self.letters(filter, before).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.dead_letter_id);
            let meant = |letter: &DeadLetter| {
                filter.error.as_ref().is_none_or(|error| letter.fingerprint() == *error)
            };
            found.extend(page.into_iter().filter(meant));
            if found.len() >= wanted {
                break;
            }
        }
        found.truncate(wanted);
        Ok(found)
    }

    /// One letter.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the bytes of a letter are cut.
    pub async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, Error> {
        let row = sqlx::query("SELECT * FROM dead_letters WHERE dead_letter_id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::sql("a dead letter"))?;
        row.as_ref().map(letter).transpose()
    }

    /// The letter that an entry became, where it did.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the bytes of a letter are cut.
    pub async fn letter_of_entry(&self, stream: &str, entry: &str) -> Result<Option<DeadLetter>, Error> {
        let row = sqlx::query("SELECT * FROM dead_letters WHERE stream = $1 AND entry_id = $2")
            .bind(stream)
            .bind(entry)
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::sql("a dead letter"))?;
        row.as_ref().map(letter).transpose()
    }

    async fn letters(&self, filter: &LetterFilter, before: Option<Uuid>) -> Result<Vec<DeadLetter>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM dead_letters
             WHERE replayed_at IS NULL AND discarded_at IS NULL
               AND ($1::text IS NULL OR tenant = $1)
               AND ($2::text IS NULL OR step = $2 OR step = ANY($8) OR (step IS NULL AND strpos(stream, $2) > 0))
               AND ($3::text IS NULL OR strpos(lower(reason), lower($3)) > 0
                    OR position(convert_to($3, 'UTF8') IN original) > 0)
               AND ($4::timestamptz IS NULL OR died_at >= $4)
               AND ($5::timestamptz IS NULL OR died_at < $5)
               AND ($6::uuid IS NULL OR dead_letter_id < $6)
             ORDER BY dead_letter_id DESC LIMIT $7",
        )
        .bind(&filter.tenant)
        .bind(&filter.stage)
        .bind(&filter.text)
        .bind(filter.since)
        .bind(filter.until)
        .bind(before)
        .bind(PAGE)
        .bind(&filter.steps)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the dead letters"))?;
        rows.iter().map(letter).collect()
    }

    /// Gives a letter up: it is kept, and waits for nobody. `false` where it was replayed or discarded before.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn discard_letter(&self, id: Uuid, by: &str, reason: &str) -> Result<bool, Error> {
        let done = sqlx::query(
            "UPDATE dead_letters SET discarded_at = now(), discarded_by = $2, discard_reason = $3
             WHERE dead_letter_id = $1 AND replayed_at IS NULL AND discarded_at IS NULL",
        )
        .bind(id)
        .bind(by)
        .bind(reason)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the discarding of a letter"))?;
        Ok(done.rows_affected() == 1)
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

fn letter(row: &PgRow) -> Result<DeadLetter, Error> {
    let dead_letter_id: Uuid = row.get("dead_letter_id");
    Ok(DeadLetter {
        dead_letter_id,
        tenant: row.get("tenant"),
        run: row.get::<Option<Uuid>, _>("run_id").map(RunId),
        branch: row.get::<Option<i32>, _>("branch").unwrap_or(0),
        step: row.get("step"),
        stream: row.get("stream"),
        entry_id: row.get("entry_id"),
        reason: row.get("reason"),
        fields: decode_entry(row.get("original")).ok_or_else(|| {
            Error::unreadable(format_args!("dead letter {dead_letter_id}"), "its bytes are cut")
        })?,
        died_at: row.get("died_at"),
        replayed_at: row.get("replayed_at"),
        discarded_at: row.get("discarded_at"),
    })
}

/// Of a branch its own letters are meant, of a run those of its branches, too.
pub(crate) async fn mark_replayed(connection: &mut PgConnection, of: BranchKey) -> Result<(), Error> {
    sqlx::query(
        "UPDATE dead_letters SET replayed_at = now()
         WHERE run_id = $1 AND replayed_at IS NULL AND ($2 = 0 OR branch = $2)",
    )
    .bind(of.run.0)
    .bind(of.branch)
    .execute(connection)
    .await
    .map_err(Error::sql("the mark of a replay"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_differ_in_values_alone_share_a_fingerprint() {
        let one = error_fingerprint("`published_at` is `31st of Nevember`, no date; tried 3 times");
        assert_eq!(one, error_fingerprint("`published_at` is `soon`, no date; tried 17 times"));
        assert_ne!(one, error_fingerprint("`url` is no address"));
        assert_eq!(one.len(), 8);
    }

    #[test]
    fn an_entry_is_kept_byte_for_byte() {
        let fields: EntryFields = vec![(b"run".to_vec(), vec![0, 0xff]), (vec![], b"x".to_vec())];
        assert_eq!(decode_entry(&encode_entry(&fields)), Some(fields));
        assert_eq!(decode_entry(&[0, 0, 0, 9, 1]), None);
        assert_eq!(decode_entry(&encode_entry(&vec![])), Some(vec![]));
    }
}
