//! Secrets of those who are called.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// A secret shorter than this, in bytes, would be found in any text.
const SHORTEST_SCRUBBED: usize = 6;

/// A secret, or none. `Debug` does not show it; what is shown of a configuration, `fleet::config` decides by its key.
#[derive(Clone, Serialize, Deserialize, Default, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(Option<String>);

impl Secret {
    /// The secret, as it was given; `None` where there is none.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// A text of somebody else's in which the secret, should it be there, is not.
    #[must_use]
    pub fn scrubbed(&self, text: &str) -> String {
        match self.text().filter(|secret| secret.len() >= SHORTEST_SCRUBBED) {
            Some(secret) => text.replace(secret, HIDDEN),
            None => text.to_owned(),
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "…" } else { "none" })
    }
}

/// The secrets of everybody who is called.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Arc<[Secret]>);

impl FromIterator<Secret> for Secrets {
    fn from_iter<T: IntoIterator<Item = Secret>>(secrets: T) -> Self {
        let mut secrets: Vec<Secret> = secrets.into_iter().collect();
        // One may begin with another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.text().map(str::len)));
        Self(secrets.into())
    }
}

impl Secrets {
    /// A text in which none of them is.
    #[must_use]
    pub fn scrubbed(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| secret.scrubbed(&text))
    }

    /// The same JSON, no string or key of which has one of them.
    #[must_use]
    pub fn out_of(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.scrubbed(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.out_of(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| (self.scrubbed(&key), self.out_of(value))).collect()
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_string_or_key_has_a_secret_even_where_one_begins_with_another() {
        let secrets: Secrets =
            [Secret::from("sk-12345"), Secret::from("sk-12345-more")].into_iter().collect();
        let said = json!({ "sk-12345-more": ["it is sk-12345-more!", 7], "b": { "c": "sk-12345" } });
        assert_eq!(secrets.out_of(said), json!({ "***": ["it is ***!", 7], "b": { "c": "***" } }));
        assert_eq!(Secrets::default().scrubbed("sk-12345"), "sk-12345");
    }
}
