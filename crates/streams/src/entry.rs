//! Entries as Redis gives them.

use model::EntryFields;
use redis::Value;

use crate::Error;

/// A stream entry's id, such as `1700000000000-0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryId(pub String);

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An entry that was delivered to this consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: EntryId,
    /// Its fields as they came.
    pub fields: EntryFields,
    /// How often it was delivered, this time included; 1 is the first.
    pub deliveries: i64,
}

pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

pub(crate) fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

pub(crate) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

pub(crate) fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::Nil => Some(vec![]),
        _ => None,
    }
}

/// A flat list of names and values.
pub(crate) fn fields(value: Value) -> Option<EntryFields> {
    match value {
        Value::Map(pairs) => pairs.into_iter().map(|(k, v)| Some((bytes(k)?, bytes(v)?))).collect(),
        Value::Nil => Some(vec![]),
        value => {
            let mut items = list(value)?.into_iter();
            let mut fields = EntryFields::new();
            while let (Some(name), Some(value)) = (items.next(), items.next()) {
                fields.push((bytes(name)?, bytes(value)?));
            }
            Some(fields)
        }
    }
}

/// `[[id, fields], …]` as XREADGROUP and XRANGE give it.
pub(crate) fn entries(value: Value, doing: &'static str) -> Result<Vec<(EntryId, EntryFields)>, Error> {
    let unreadable = || Error::Answer { doing, answer: "entries of another shape".to_owned() };
    let entry = |entry: Value| {
        let mut parts = list(entry)?.into_iter();
        let id = EntryId(text(parts.next()?)?);
        Some((id, fields(parts.next()?)?))
    };
    list(value).and_then(|found| found.into_iter().map(entry).collect()).ok_or_else(unreadable)
}
