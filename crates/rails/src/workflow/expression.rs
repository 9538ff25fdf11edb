//! Expressions of transformers: CEL, or a JSON Pointer.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::condition::Condition;

/// What a transformer computes a value with.
#[derive(Debug)]
pub(crate) enum Expression {
    /// RFC 6901, into the transformer's own document: the blackboard for an input, the output for a patch.
    Pointer(String),
    Cel(Box<Condition>),
}

impl Expression {
    /// A JSON Pointer where it begins with `/`, else CEL.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        if source.starts_with('/') {
            return Ok(Self::Pointer(source.to_owned()));
        }
        Condition::compile(source).map(|condition| Self::Cel(Box::new(condition)))
    }

    /// As it is written.
    pub(crate) fn source(&self) -> &str {
        match self {
            Self::Pointer(pointer) => pointer,
            Self::Cel(condition) => condition.source(),
        }
    }

    /// Evaluates it; `own` is what pointers point into.
    pub(crate) fn value(&self, own: &Value, variables: &BTreeMap<&str, &Value>) -> Result<Value, String> {
        match self {
            Self::Pointer(pointer) => {
                own.pointer(pointer).cloned().ok_or_else(|| format!("`{pointer}` is absent"))
            }
            Self::Cel(condition) => {
                condition.value(variables).map_err(|e| format!("`{}`: {e}", condition.source()))
            }
        }
    }

    /// The variables that it reads.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::Pointer(_) => None,
            Self::Cel(condition) => Some(condition.roots()),
        }
        .into_iter()
        .flatten()
    }
}
