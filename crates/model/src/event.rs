//! What arrives from upstream.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest `source`, `request_id` or `tenant`, in bytes.
const MAX_NAME: usize = 200;
/// The deepest nesting that a payload may have.
const MAX_DEPTH: usize = 64;

/// An event that cannot be taken. Permanent: the sender must change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not JSON, or not the shape of an event.
    #[error("not an event: {0}")]
    Shape(String),
    /// A name is empty, too long, or has characters that no name has.
    #[error("`{field}` must be 1 to 200 bytes of text without control characters")]
    Name {
        /// The field's name.
        field: &'static str,
    },
    /// The payload nests too deep.
    #[error("`payload` nests deeper than 64 levels")]
    TooDeep,
    /// The payload is `null`, or empty.
    #[error("`payload` is empty")]
    Empty,
}

/// A source's name that has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct SourceName(String);

impl SourceName {
    /// Checks a name: 1 to 200 bytes, no control characters.
    ///
    /// # Errors
    /// [`EventError::Name`], permanent.
    pub fn parse(text: &str) -> Result<Self, EventError> {
        checked_name("source", text).map(|name| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An event as it is taken in: checked, its payload's bytes kept as they came.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Where it came from.
    pub source: SourceName,
    /// The sender's own id; the same source and id again is the same event.
    pub request_id: Option<String>,
    /// The payload, byte for byte.
    pub payload: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `source` and `payload`")]
struct Wire {
    source: String,
    payload: Box<RawValue>,
    #[serde(default)]
    request_id: Option<String>,
}

impl NewEvent {
    /// Reads one event of `POST /v1/events`.
    ///
    /// # Errors
    /// [`EventError`], permanent.
    pub fn parse(bytes: &[u8]) -> Result<Self, EventError> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|e| EventError::Shape(e.to_string()))?;
        let request_id = match wire.request_id {
            Some(id) => Some(checked_name("request_id", &id)?.to_owned()),
            None => None,
        };
        check_payload(wire.payload.get())?;
        Ok(Self { source: SourceName::parse(&wire.source)?, request_id, payload: wire.payload })
    }

    /// The event of a run that is asked for by workflow: its payload is the workflow's inputs, which may be empty.
    ///
    /// # Errors
    /// [`EventError`], permanent.
    pub fn asked_for(
        source: SourceName,
        request_id: Option<String>,
        inputs: Box<RawValue>,
    ) -> Result<Self, EventError> {
        if inputs.get() != "{}" {
            check_payload(inputs.get())?;
        }
        Ok(Self { source, request_id, payload: inputs })
    }

    /// Reads the payload that an upstream put straight into the ingest stream.
    ///
    /// # Errors
    /// [`EventError`], permanent.
    pub fn from_upstream(source: &str, request_id: &str, payload: &[u8]) -> Result<Self, EventError> {
        let text = std::str::from_utf8(payload).map_err(|e| EventError::Shape(e.to_string()))?;
        let payload: Box<RawValue> =
            serde_json::from_str(text).map_err(|e| EventError::Shape(e.to_string()))?;
        check_payload(payload.get())?;
        Ok(Self {
            source: SourceName::parse(source)?,
            request_id: Some(checked_name("request_id", request_id)?.to_owned()),
            payload,
        })
    }
}

/// Checks a name: 1 to 200 bytes of text without control characters, not only spaces.
///
/// # Errors
/// [`EventError::Name`], permanent.
pub fn checked_name<'a>(field: &'static str, text: &'a str) -> Result<&'a str, EventError> {
    if text.trim().is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(EventError::Name { field });
    }
    Ok(text)
}

fn check_payload(text: &str) -> Result<(), EventError> {
    if matches!(text, "null" | "{}" | "[]" | "\"\"") {
        return Err(EventError::Empty);
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(EventError::TooDeep);
        }
    }
    Ok(())
}

/// The fields of a payload that the trend flow understands. Anything else in it is kept and left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Payload {
    /// Headline; plain text or HTML.
    pub title: Option<String>,
    /// Text; plain, an HTML snippet or a whole page.
    pub body: Option<String>,
    /// Where the original stands.
    pub url: Option<String>,
    /// When it was published, RFC 3339.
    pub published_at: Option<String>,
    /// Declared language, ISO 639-1.
    pub language: Option<String>,
}

impl Payload {
    /// Reads the understood fields. A payload that is one JSON string is its body.
    ///
    /// # Errors
    /// [`EventError::Shape`] where an understood field has another type. Permanent.
    pub fn parse(json: &str) -> Result<Self, EventError> {
        if json.trim_start().starts_with('"') {
            let body = serde_json::from_str(json).map_err(|e| EventError::Shape(e.to_string()))?;
            return Ok(Self { body: Some(body), ..Self::default() });
        }
        serde_json::from_str(json).map_err(|e| EventError::Shape(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_payload_byte_for_byte() {
        let event = NewEvent::parse(br#"{"source":"s","payload":{"b": 1.50,  "a":"\u0041"}}"#).unwrap();
        assert_eq!(event.payload.get(), r#"{"b": 1.50,  "a":"\u0041"}"#);
    }

    #[test]
    fn what_is_no_event_is_refused_with_a_reason() {
        let deep = format!(r#"{{"source":"s","payload":{}1{}}}"#, "[".repeat(65), "]".repeat(65));
        for (bytes, expected) in [
            (r#"{"source":"s"}"#.to_owned(), "missing field `payload`"),
            (r#"{"source":"s","payload":{"a":1},"colour":1}"#.to_owned(), "unknown field `colour`"),
            (r#"{"source":"","payload":1}"#.to_owned(), "`source` must be"),
            (r#"{"source":"s","payload":null}"#.to_owned(), "is empty"),
            (r#"{"source":"s\u0000","payload":1}"#.to_owned(), "`source` must be"),
            (deep, "deeper than 64"),
            (String::new(), "not an event"),
        ] {
            let error = NewEvent::parse(bytes.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes}: {error}");
        }
    }

    #[test]
    fn brackets_in_text_are_no_nesting() {
        let text = format!(r#"{{"source":"s","payload":"{}\"["}}"#, "[".repeat(500));
        assert!(NewEvent::parse(text.as_bytes()).is_ok());
    }
}
