//! What the registration of workflows knows of agents: their roles, and those of them that act outside.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{REGISTRAR, Settings};

/// The roles that agents have without any configuration.
pub const BUILT_IN_ROLES: [&str; 10] = [
    "product_manager",
    "coder",
    "reviewer",
    "tester",
    "deployer",
    "orchestrator",
    "writer",
    "workflow_author",
    REGISTRAR,
    "generic",
];

/// The kinds of providers that act outside: a tool, an address, a program.
const ACTING: [&str; 3] = ["mcp", "http", "command"];

/// The roles that the section `agent` of the configuration names, beside the built-in ones.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    names: BTreeSet<String>,
    acting: BTreeSet<String>,
    /// Whether the configuration says anything of agents: if not, they are configured elsewhere.
    configured: bool,
}

impl Roles {
    /// Those of a process's configuration. No secret is read.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        settings.given("agent").map(Self::in_section).unwrap_or_default()
    }

    /// Those of a section.
    #[must_use]
    pub fn in_section(section: &Value) -> Self {
        let none = Map::new();
        let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let section = section.as_object().unwrap_or(&none);
        let [roles, providers] =
            ["roles", "providers"].map(|key| section.get(key).map(map).unwrap_or_default());
        let names: BTreeSet<String> =
            BUILT_IN_ROLES.iter().map(|name| (*name).to_owned()).chain(roles.keys().cloned()).collect();
        let usual = section.get("provider").and_then(Value::as_str);
        let provider = |role: &str| roles.get(role).and_then(|role| role["provider"].as_str()).or(usual);
        let acts = |role: &&String| provider(role).is_some_and(|name| acts(&providers, name));
        // No provider does what the registrar does.
        let acting = names.iter().filter(|role| *role != REGISTRAR).filter(acts);
        let acting = acting.cloned().collect();
        Self { acting, names, configured: !(roles.is_empty() && providers.is_empty()) }
    }

    /// With exactly these names.
    pub(crate) fn naming(self, names: &[String]) -> Self {
        Self { names: names.iter().cloned().collect(), configured: true, ..self }
    }

    /// Every role; `None` where this configuration says nothing of agents.
    #[must_use]
    pub fn known(&self) -> Option<Vec<&str>> {
        self.configured.then(|| self.names.iter().map(String::as_str).collect())
    }

    /// Those whose provider, or one that stands in for it, is a tool, an address or a program: a step of theirs counts as a
    /// side effect, unless its document says why not.
    #[must_use]
    pub fn acting(&self) -> Vec<&str> {
        self.acting.iter().map(String::as_str).collect()
    }
}

/// Whether a provider acts, or one that stands in for it, or the cheaper one, or one that stands in for that.
fn acts(providers: &Map<String, Value>, name: &str) -> bool {
    let chain = |name: &str| {
        let first = providers.get(name);
        let fallbacks = first.and_then(|first| first["fallback"].as_array()).into_iter().flatten();
        let fallbacks = fallbacks.filter_map(Value::as_str).filter_map(|name| providers.get(name));
        first.into_iter().chain(fallbacks).collect::<Vec<_>>()
    };
    let own = chain(name);
    let cheaper = own.first().and_then(|first| first["cheaper"].as_str()).map(chain).unwrap_or_default();
    let acts = |provider: &&Value| ACTING.iter().any(|kind| !provider[*kind].is_null());
    own.iter().chain(&cheaper).any(acts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_role_acts_by_its_provider_or_by_one_that_stands_in_for_it() {
        let roles = Roles::in_section(&json!({
            "provider": "chat",
            "providers": {
                "chat": { "openai": { "model": "m" }, "http": null },
                "tool": { "mcp": { "tool": "t" } },
                "either": { "script": {}, "fallback": ["gone", "program"] },
                "program": { "command": { "command": ["true"] } },
                "dear": { "openai": { "model": "m" }, "cheaper": "either" },
            },
            "roles": { "deployer": { "provider": "tool" }, "scribe": { "provider": "either" }, "poet": {},
                       "thinker": { "provider": "dear" } },
        }));
        assert_eq!(roles.acting(), ["deployer", "scribe", "thinker"]);
        assert!(roles.known().unwrap().contains(&"poet") && roles.known().unwrap().contains(&"coder"));
        let usual = Roles::in_section(&json!({ "provider": "p", "providers": { "p": { "http": {} } } }));
        assert_eq!(usual.acting().len(), BUILT_IN_ROLES.len() - 1);
        for nothing in [json!(null), json!({}), json!({ "provider": "chat" })] {
            let roles = Roles::in_section(&nothing);
            assert!(roles.known().is_none() && roles.acting().is_empty());
        }
    }
}
