//! The stream entry: references only, at most 1 KiB.

use uuid::Uuid;

use crate::{JobKey, RunId};

/// The longest step id or `traceparent` that an entry carries, in bytes.
const MAX_TEXT: usize = 256;

/// The largest payload of an upstream's entry, in bytes: what the gateway takes where nothing else is configured.
const MAX_PAYLOAD: usize = 1 << 20;

/// The fields of an upstream's entry.
const UPSTREAM_FIELDS: [&str; 5] = ["source", "payload", "request_id", "tenant", "traceparent"];

/// A stream entry's fields as they came, in order: names and values are bytes, for nothing says they are UTF-8.
pub type EntryFields = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry that is no job. Permanent: it becomes a dead letter with its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A required field is absent.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// An entry of others has a field that means nothing.
    #[error("field `{0}` is not known; an entry has {1}")]
    Unknown(String, String),
    /// An entry of others has a field twice.
    #[error("field `{0}` is there twice")]
    Twice(String),
    /// An upstream's payload is too large.
    #[error("the payload is larger than {MAX_PAYLOAD} bytes")]
    TooLarge,
    /// A field is there and cannot be read.
    #[error("field `{field}` is not {expected}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
}

/// A request to a worker type: do one step of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which visit this is.
    pub key: JobKey,
    /// The step of the run's workflow.
    pub step: String,
    /// Handler failures so far at this step, never deliveries.
    pub attempt: i32,
    /// W3C trace context of the work that issued the job.
    pub traceparent: Option<String>,
    /// The trend, once ETL has written one.
    pub enriched_trend_id: Option<Uuid>,
}

impl Job {
    /// The entry's fields, in a fixed order.
    #[must_use]
    pub fn encode(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("run", self.key.run.to_string()),
            ("branch", self.key.branch.to_string()),
            ("seq", self.key.seq.to_string()),
            ("step", self.step.clone()),
            ("attempt", self.attempt.to_string()),
        ];
        if let Some(traceparent) = &self.traceparent {
            fields.push(("traceparent", traceparent.clone()));
        }
        if let Some(id) = self.enriched_trend_id {
            fields.push(("enriched_trend_id", id.to_string()));
        }
        fields
    }

    /// Reads a job from an entry. Unknown fields are ignored, so that a newer version may add some.
    ///
    /// # Errors
    /// [`EnvelopeError`], permanent.
    pub fn decode(fields: &EntryFields) -> Result<Self, EnvelopeError> {
        let run = Uuid::parse_str(required(fields, "run")?)
            .map_err(|_| EnvelopeError::Invalid { field: "run", expected: "a UUID" })?;
        let enriched_trend_id = text(fields, "enriched_trend_id")?
            .map(Uuid::parse_str)
            .transpose()
            .map_err(|_| EnvelopeError::Invalid { field: "enriched_trend_id", expected: "a UUID" })?;
        Ok(Self {
            key: JobKey { run: RunId(run), branch: count(fields, "branch")?, seq: count(fields, "seq")? },
            step: required(fields, "step")?.to_owned(),
            attempt: count(fields, "attempt")?,
            traceparent: text(fields, "traceparent")?.map(str::to_owned),
            enriched_trend_id,
        })
    }
}

/// An entry that an upstream added straight to the ingest stream: not yet a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamEntry {
    /// Where it came from.
    pub source: String,
    /// The payload's bytes as they came; JSON if all is well.
    pub payload: Vec<u8>,
    /// The upstream's own id of the event.
    pub request_id: Option<String>,
    /// The tenant it belongs to.
    pub tenant: Option<String>,
    /// W3C trace context of the upstream.
    pub traceparent: Option<String>,
}

impl UpstreamEntry {
    /// Whether the entry is an upstream's: it has `source` or `payload`, and no `run`.
    #[must_use]
    pub fn recognises(fields: &EntryFields) -> bool {
        let has = |name: &str| fields.iter().any(|(key, _)| key == name.as_bytes());
        !has("run") && (has("source") || has("payload"))
    }

    /// Reads an upstream's entry. Fields that are not known, or there twice, are refused: nothing is dropped in silence.
    ///
    /// # Errors
    /// [`EnvelopeError`], permanent.
    pub fn decode(fields: &EntryFields) -> Result<Self, EnvelopeError> {
        only(fields, &UPSTREAM_FIELDS)?;
        let payload = fields
            .iter()
            .find(|(key, _)| key == b"payload")
            .map(|(_, value)| value.clone())
            .ok_or(EnvelopeError::Missing("payload"))?;
        if payload.len() > MAX_PAYLOAD {
            return Err(EnvelopeError::TooLarge);
        }
        Ok(Self {
            source: required(fields, "source")?.to_owned(),
            payload,
            request_id: text(fields, "request_id")?.map(str::to_owned),
            tenant: text(fields, "tenant")?.map(str::to_owned),
            traceparent: text(fields, "traceparent")?.map(str::to_owned),
        })
    }
}

/// Refuses fields that are not known, or there twice: nothing is dropped in silence.
pub(crate) fn only(fields: &EntryFields, known: &[&str]) -> Result<(), EnvelopeError> {
    let shown = |name: &[u8]| String::from_utf8_lossy(&name[..name.len().min(40)]).into_owned();
    for (at, (name, _)) in fields.iter().enumerate() {
        if !known.iter().any(|known| known.as_bytes() == name) {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            return Err(EnvelopeError::Unknown(shown(name), known.join(", ")));
        }
        if fields[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(EnvelopeError::Twice(shown(name)));
        }
    }
    Ok(())
}

pub(crate) fn text<'a>(
    fields: &'a EntryFields,
    name: &'static str,
) -> Result<Option<&'a str>, EnvelopeError> {
    let Some((_, value)) = fields.iter().find(|(key, _)| key == name.as_bytes()) else {
        return Ok(None);
    };
    let invalid =
        EnvelopeError::Invalid { field: name, expected: "UTF-8 text of at most 256 bytes without NUL" };
    let value = std::str::from_utf8(value).map_err(|_| invalid.clone())?;
    if value.len() > MAX_TEXT || value.contains('\0') {
        return Err(invalid);
    }
    Ok(Some(value))
}

fn required<'a>(fields: &'a EntryFields, name: &'static str) -> Result<&'a str, EnvelopeError> {
    text(fields, name)?.ok_or(EnvelopeError::Missing(name))
}

fn count(fields: &EntryFields, name: &'static str) -> Result<i32, EnvelopeError> {
    required(fields, name)?
        .parse::<i32>()
        .ok()
        .filter(|number| *number >= 0)
        .ok_or(EnvelopeError::Invalid { field: name, expected: "a whole number from 0 to 2147483647" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            key: JobKey { run: RunId(Uuid::from_u128(7)), branch: 0, seq: 3 },
            step: "judge".to_owned(),
            attempt: 1,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            enriched_trend_id: Some(Uuid::from_u128(9)),
        }
    }

    fn fields(job: &Job) -> EntryFields {
        job.encode().into_iter().map(|(k, v)| (k.as_bytes().to_vec(), v.into_bytes())).collect()
    }

    #[test]
    fn a_job_survives_the_stream_and_stays_under_one_kibibyte() {
        let job = job();
        let fields = fields(&job);
        assert_eq!(Job::decode(&fields), Ok(job));
        assert!(fields.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() < 1024);
    }

    #[test]
    fn a_negative_count_bytes_that_are_no_text_and_a_missing_field_are_refused_by_name() {
        let mut negative = fields(&job());
        negative[2].1 = b"-1".to_vec();
        assert!(matches!(Job::decode(&negative), Err(EnvelopeError::Invalid { field: "seq", .. })));
        let mut garbled = fields(&job());
        garbled[3].1 = vec![0xff, 0xfe];
        assert!(matches!(Job::decode(&garbled), Err(EnvelopeError::Invalid { field: "step", .. })));
        let mut short = fields(&job());
        short.remove(0);
        assert_eq!(Job::decode(&short), Err(EnvelopeError::Missing("run")));
    }

    #[test]
    fn an_upstream_entry_is_told_from_a_job_and_keeps_its_payload_bytes() {
        let entry: EntryFields =
            vec![(b"source".to_vec(), b"s".to_vec()), (b"payload".to_vec(), vec![b'{', 0xff])];
        assert!(UpstreamEntry::recognises(&entry));
        assert!(!UpstreamEntry::recognises(&fields(&job())));
        assert_eq!(UpstreamEntry::decode(&entry).map(|e| e.payload), Ok(vec![b'{', 0xff]));
    }

    #[test]
    fn an_upstream_entry_with_fields_that_would_be_dropped_or_too_much_payload_is_refused() {
        let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let plain = vec![field("source", "s"), field("payload", "{}")];
        assert!(UpstreamEntry::decode(&plain).is_ok());
        let with = |more| UpstreamEntry::decode(&[plain.clone(), vec![more]].concat()).unwrap_err();
        let known = "`source`, `payload`, `request_id`, `tenant`, `traceparent`".to_owned();
        assert_eq!(with(field("colour", "red")), EnvelopeError::Unknown("colour".to_owned(), known));
        assert_eq!(with(field("source", "t")), EnvelopeError::Twice("source".to_owned()));
        let large = vec![field("source", "s"), field("payload", &"x".repeat(MAX_PAYLOAD + 1))];
        assert_eq!(UpstreamEntry::decode(&large), Err(EnvelopeError::TooLarge));
    }
}
