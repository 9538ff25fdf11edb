//! What makes the planner act: entries that fire a trigger, and events of others.

use serde_json::{Map, Value};

use crate::envelope::{EntryFields, EnvelopeError, only, text};
use crate::event::checked_name;

/// The largest input of a trigger, and the largest event of others, in bytes.
pub const MAX_INPUT: usize = 256 << 10;

/// The fields of an entry of `planner:triggers`.
const TRIGGER_FIELDS: [&str; 5] = ["trigger", "request_id", "tenant", "input", "traceparent"];

/// An entry of `planner:triggers`: a request to fire a trigger.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerEntry {
    /// The trigger's name.
    pub trigger: String,
    /// The sender's own id; the same trigger and id again is the same firing.
    pub request_id: Option<String>,
    /// The tenant; the trigger's own where there is none.
    pub tenant: Option<String>,
    /// What the firing is about.
    pub input: Map<String, Value>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl TriggerEntry {
    /// Reads an entry. Fields that are not known, or there twice, are refused.
    ///
    /// # Errors
    /// [`EnvelopeError`], permanent.
    pub fn decode(fields: &EntryFields) -> Result<Self, EnvelopeError> {
        only(fields, &TRIGGER_FIELDS)?;
        let named = |field| match text(fields, field)? {
            Some(name) => checked_name(field, name)
                .map(|name| Some(name.to_owned()))
                .map_err(|_| EnvelopeError::Invalid { field, expected: "1 to 200 bytes of plain text" }),
            None => Ok(None),
        };
        Ok(Self {
            trigger: named("trigger")?.ok_or(EnvelopeError::Missing("trigger"))?,
            request_id: named("request_id")?,
            tenant: named("tenant")?,
            input: match fields.iter().find(|(name, _)| name == b"input") {
                Some((_, bytes)) => trigger_input(bytes)?,
                None => Map::new(),
            },
            traceparent: text(fields, "traceparent")?.map(str::to_owned),
        })
    }
}

/// Reads the input of a firing: a JSON object of at most [`MAX_INPUT`] bytes.
///
/// # Errors
/// [`EnvelopeError::Invalid`], permanent.
pub fn trigger_input(bytes: &[u8]) -> Result<Map<String, Value>, EnvelopeError> {
    let invalid = EnvelopeError::Invalid { field: "input", expected: "a JSON object of at most 256 KiB" };
    if bytes.len() > MAX_INPUT {
        return Err(invalid);
    }
    serde_json::from_slice(bytes).map_err(|_| invalid)
}

/// An event of others on `dataset:events`: a CloudEvent 1.0 in structured JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct OutsideEvent {
    /// The tenant that it is told to.
    pub tenant: Option<String>,
    /// Unique within its source.
    pub id: String,
    /// Who tells it.
    pub source: String,
    /// What happened.
    pub kind: String,
    /// The whole event.
    pub event: Value,
    /// Its bytes as they came.
    pub bytes: Vec<u8>,
}

impl OutsideEvent {
    /// Reads an entry with the field `event`, and where need be `tenant`. Other fields are ignored: outsiders add theirs.
    ///
    /// # Errors
    /// [`EnvelopeError`], permanent.
    pub fn decode(fields: &EntryFields) -> Result<Self, EnvelopeError> {
        let invalid = |expected| EnvelopeError::Invalid { field: "event", expected };
        let (_, bytes) =
            fields.iter().find(|(name, _)| name == b"event").ok_or(EnvelopeError::Missing("event"))?;
        if bytes.len() > MAX_INPUT {
            return Err(invalid("a CloudEvent of at most 256 KiB"));
        }
        let event: Value =
            serde_json::from_slice(bytes).map_err(|_| invalid("a CloudEvent in structured JSON"))?;
        let attribute = |name: &'static str| {
            event[name]
                .as_str()
                .and_then(|text| checked_name(name, text).ok())
                .map(str::to_owned)
                .ok_or(invalid("a CloudEvent with `id`, `source` and `type` of 1 to 200 bytes each"))
        };
        if event["specversion"] != "1.0" {
            return Err(invalid("a CloudEvent of specversion 1.0"));
        }
        Ok(Self {
            tenant: text(fields, "tenant")?.map(str::to_owned),
            id: attribute("id")?,
            source: attribute("source")?,
            kind: attribute("type")?,
            bytes: bytes.clone(),
            event,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> EntryFields {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn an_entry_fires_a_trigger_or_says_what_is_wrong_with_it() {
        let entry = TriggerEntry::decode(&fields(&[("trigger", "digest"), ("input", r#"{"a":1}"#)])).unwrap();
        assert_eq!((entry.trigger.as_str(), entry.input["a"].as_i64()), ("digest", Some(1)));
        for (pairs, expected) in [
            (vec![("input", "{}")], "`trigger` is missing"),
            (vec![("trigger", "")], "`trigger` is not"),
            (vec![("trigger", "t"), ("input", "[1]")], "`input` is not"),
            (vec![("trigger", "t"), ("colour", "red")], "`colour` is not known"),
            (vec![("trigger", "t"), ("trigger", "t")], "twice"),
            (vec![("trigger", "t"), ("request_id", "a\nb")], "`request_id` is not"),
        ] {
            let error = TriggerEntry::decode(&fields(&pairs)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_INPUT));
        assert!(TriggerEntry::decode(&fields(&[("trigger", "t"), ("input", &large)])).is_err());
    }

    #[test]
    fn an_event_of_others_is_a_cloud_event() {
        let good = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.sold","data":{}}"#;
        let event =
            OutsideEvent::decode(&fields(&[("tenant", "t"), ("event", good), ("more", "x")])).unwrap();
        assert_eq!((event.kind.as_str(), event.source.as_str()), ("com.example.sold", "/shop"));
        for bad in ["", "{}", "[]", &good.replace("1.0", "0.3"), &good.replace("/shop", ""), &good[..40]] {
            assert!(OutsideEvent::decode(&fields(&[("event", bad)])).is_err(), "{bad}");
        }
        assert_eq!(OutsideEvent::decode(&vec![]), Err(EnvelopeError::Missing("event")));
    }
}
