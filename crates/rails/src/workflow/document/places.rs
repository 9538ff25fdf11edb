//! Where the parts of a document stand in its text.

use std::collections::BTreeMap;

use saphyr::{LoadableYamlNode, MarkedYamlOwned, YamlDataOwned};

/// Lines and columns, both from 1, by JSON Pointer.
#[derive(Debug, Default)]
pub(crate) struct Places {
    values: BTreeMap<String, (u32, u32)>,
    keys: BTreeMap<String, (u32, u32)>,
}

impl Places {
    /// Of a text that is known to be YAML within bounds: aliases are followed here.
    pub(super) fn of(yaml: &str) -> Self {
        let mut places = Self::default();
        if let Some(document) =
            MarkedYamlOwned::load_from_str(yaml).ok().and_then(|all| all.into_iter().next())
        {
            places.note(&document, "");
        }
        places
    }

    fn note(&mut self, node: &MarkedYamlOwned, pointer: &str) {
        self.values.insert(pointer.to_owned(), place(node));
        match &node.data {
            YamlDataOwned::Mapping(mapping) => {
                for (key, value) in mapping {
                    if let Some(text) = key.data.as_str() {
                        let inner = format!("{pointer}/{}", escaped(text));
                        self.keys.insert(inner.clone(), place(key));
                        self.note(value, &inner);
                    }
                }
            }
            YamlDataOwned::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.note(item, &format!("{pointer}/{index}"));
                }
            }
            YamlDataOwned::Tagged(_, inner) => self.note(inner, pointer),
            _ => {}
        }
    }

    /// Where a value stands, or the nearest one around it.
    pub(crate) fn find(&self, pointer: &str) -> Option<(u32, u32)> {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.values.get(pointer) {
                return Some(*place);
            }
            pointer = pointer.rsplit_once('/')?.0;
        }
    }

    /// Where a key stands, else the value.
    pub(super) fn key(&self, pointer: &str) -> Option<(u32, u32)> {
        self.keys.get(pointer).copied().or_else(|| self.find(pointer))
    }
}

/// A key as a segment of a JSON Pointer.
pub(crate) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn place(node: &MarkedYamlOwned) -> (u32, u32) {
    let start = node.span.start;
    (number(start.line()), number(start.col() + 1))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
