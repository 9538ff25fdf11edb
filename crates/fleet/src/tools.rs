//! The names of the tools that are configured, for those who check workflows. The agent has the tools themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Settings;

/// Tools by name, and which of them are declared to have no side effect.
#[derive(Debug, Clone, Default)]
pub struct KnownTools {
    names: Vec<String>,
    harmless: Vec<String>,
}

/// What of the section `tools` tells names and effects; the rest is the agent's.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Section {
    registry: BTreeMap<String, Declared>,
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Declared {
    side_effect: bool,
}

impl Default for Declared {
    fn default() -> Self {
        Self { side_effect: true }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Server {
    harmless: BTreeMap<String, String>,
}

impl KnownTools {
    /// Those of a configuration. What is wrong with the section is for the agent to say.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let section = settings.given("tools").and_then(|section| Section::deserialize(section).ok());
        let section = section.unwrap_or_default();
        let harmless = section.registry.iter().filter(|(_, tool)| !tool.side_effect);
        let found = section.servers.iter().flat_map(|(server, declared)| {
            declared.harmless.keys().map(move |tool| format!("{server}.{tool}"))
        });
        Self {
            harmless: harmless.map(|(name, _)| name.clone()).chain(found).collect(),
            names: section
                .registry
                .into_keys()
                .chain(section.servers.into_keys().map(|server| format!("{server}.*")))
                .collect(),
        }
    }

    /// The names; of a server's tools a pattern, since what it has is asked when it is called.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Those that are declared to have no side effect.
    #[must_use]
    pub fn harmless(&self) -> Vec<&str> {
        self.harmless.iter().map(String::as_str).collect()
    }
}
