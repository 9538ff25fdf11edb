//! Configuration as a tree of values, each of which knows where it came from.

use std::collections::BTreeMap;
use std::path::Path;

use saphyr::{LoadableYamlNode, MarkedYamlOwned, ScalarOwned, YamlDataOwned};
use serde_json::{Map, Value};

use super::secrets::may_be_secret;
use crate::Fault;

/// A configuration document and, by dotted path, where each value of it came from.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) value: Map<String, Value>,
    pub(super) origins: BTreeMap<String, String>,
}

impl Tree {
    /// Reads a file; every key of it remembers its line.
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Fault::usage(format!("the configuration {} cannot be read: {e}", path.display())))?;
        Self::parse(&text, &path.display().to_string())
    }

    pub(super) fn parse(text: &str, name: &str) -> Result<Self, Fault> {
        let documents = MarkedYamlOwned::load_from_str(text)
            .map_err(|e| Fault::usage(format!("{name}:{}: not YAML: {}", e.marker().line(), e.info())))?;
        // The loader above lets the last of two equal keys win.
        serde_saphyr::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|e| Fault::usage(format!("{name}: {e}")))?;
        let mut tree = Self::default();
        let Some(document) = documents.first() else { return Ok(tree) };
        match &document.data {
            YamlDataOwned::Mapping(_) => {
                if let Value::Object(map) = tree.convert(document, "", name)? {
                    tree.value = map;
                }
                Ok(tree)
            }
            YamlDataOwned::Value(ScalarOwned::Null) => Ok(tree),
            _ => Err(Fault::usage(format!("{name}:1: a configuration is a mapping of sections"))),
        }
    }

    fn convert(&mut self, node: &MarkedYamlOwned, path: &str, name: &str) -> Result<Value, Fault> {
        let place = || format!("{name}:{}", node.span.start.line());
        match &node.data {
            YamlDataOwned::Mapping(mapping) => {
                let mut map = Map::new();
                for (key, value) in mapping {
                    let Some(key_text) = key.data.as_str() else {
                        return Err(Fault::usage(format!(
                            "{name}:{}: a key must be text",
                            key.span.start.line()
                        )));
                    };
                    let path = join(path, key_text);
                    self.origins.insert(path.clone(), format!("{name}:{}", key.span.start.line()));
                    map.insert(key_text.to_owned(), self.convert(value, &path, name)?);
                }
                Ok(Value::Object(map))
            }
            YamlDataOwned::Sequence(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.convert(item, &join(path, &index.to_string()), name))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            YamlDataOwned::Value(scalar) => Ok(scalar_value(scalar)),
            _ => Err(Fault::usage(format!("{}: anchors and tags are not understood here", place()))),
        }
    }

    /// Sets one value, given as text, from outside the file.
    pub(super) fn set(&mut self, path: &str, text: &str, origin: &str) {
        let mut map = &mut self.value;
        let mut parts: Vec<&str> = path.split('.').collect();
        let Some(last) = parts.pop() else { return };
        for part in parts {
            let entry = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            let Value::Object(inner) = entry else { return };
            map = inner;
        }
        // `8` and `true` mean what they mean in a file; anything else is text, and so is a secret made of digits.
        let value = match serde_json::from_str(text) {
            Ok(Value::Number(_) | Value::Bool(_) | Value::Array(_)) if may_be_secret(path) => {
                Value::String(text.to_owned())
            }
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_))) => value,
            _ => Value::String(text.to_owned()),
        };
        let inner = format!("{path}.");
        self.origins.retain(|known, _| !known.starts_with(&inner));
        note(&mut self.origins, path, &value, origin);
        map.insert(last.to_owned(), value);
    }

    /// Where the value at a path, or the nearest one around it, came from.
    pub(super) fn origin(&self, path: &str) -> &str {
        let mut path = path;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return origin;
            }
            match path.rsplit_once('.') {
                Some((outer, _)) => path = outer,
                None => return "default",
            }
        }
    }
}

/// Notes that a value and all in it came from one place.
fn note(origins: &mut BTreeMap<String, String>, path: &str, value: &Value, origin: &str) {
    origins.insert(path.to_owned(), origin.to_owned());
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| note(origins, &join(path, key), value, origin));
        }
        Value::Array(items) => {
            let indexed = items.iter().enumerate();
            indexed.for_each(|(index, item)| note(origins, &join(path, &index.to_string()), item, origin));
        }
        _ => {}
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn scalar_value(scalar: &ScalarOwned) -> Value {
    match scalar {
        ScalarOwned::Null => Value::Null,
        ScalarOwned::Boolean(value) => Value::Bool(*value),
        ScalarOwned::Integer(value) => Value::from(*value),
        ScalarOwned::FloatingPoint(value) => Value::from(value.into_inner()),
        ScalarOwned::String(value) => Value::String(value.clone()),
    }
}
