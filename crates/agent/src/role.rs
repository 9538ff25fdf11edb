//! Roles: the built-in ones, and those of the configuration.

use std::collections::BTreeMap;

use fleet::Fault;
use providers::Chain;
use serde_json::{Map, Value};

use crate::brains;
use crate::config::{RoleSection, Section};
use crate::output;
use crate::prompt::Prompt;

/// The role of steps that name none.
pub(crate) const GENERIC: &str = "generic";

/// The documents of the built-in roles.
const BUILT_IN: [(&str, &str); 9] = [
    ("product_manager", include_str!("../prompts/product_manager.md")),
    ("coder", include_str!("../prompts/coder.md")),
    ("reviewer", include_str!("../prompts/reviewer.md")),
    ("tester", include_str!("../prompts/tester.md")),
    ("orchestrator", include_str!("../prompts/orchestrator.md")),
    ("writer", include_str!("../prompts/writer.md")),
    ("deployer", include_str!("../prompts/deployer.md")),
    ("workflow_author", include_str!("../prompts/workflow_author.md")),
    (GENERIC, include_str!("../prompts/generic.md")),
];

/// A role.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) provider: Option<Chain>,
    /// Who does it once a person asked for cheaper models.
    pub(crate) cheaper: Option<Chain>,
    pub(crate) prompt: Prompt,
    pub(crate) output_schema: Value,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) max_tokens: u32,
    pub(crate) patches: bool,
}

/// Every role by name.
///
/// # Errors
/// [`Fault`] of kind usage, naming the role or provider.
pub(crate) fn open(config: &Section) -> Result<BTreeMap<String, Role>, Fault> {
    if let Some(address) =
        config.callbacks.as_deref().filter(|it| !it.starts_with("http://") && !it.starts_with("https://"))
    {
        return Err(Fault::usage(format!("agent.callbacks: `{address}` must be http:// or https://")));
    }
    let chains = brains::open(config)?;
    let names = BUILT_IN.iter().map(|(name, _)| *name).chain(config.roles.keys().map(String::as_str));
    let mut roles = BTreeMap::new();
    for name in names {
        let section = config.roles.get(name).cloned().unwrap_or_default();
        let provider = match config.provider_of(name) {
            Some(provider) => Some(chain(name, provider, &chains)?),
            None => None,
        };
        let cheaper =
            config.provider_of(name).and_then(|provider| config.providers.get(provider)?.cheaper.as_ref());
        let cheaper = cheaper.map(|provider| chain(name, provider, &chains)).transpose()?;
        let wrong = |words: String| Fault::usage(format!("agent.roles.{name}: {words}"));
        output::Schemas::of([&section.output_schema])
            .map_err(|words| wrong(format!("output_schema: {words}")))?;
        let role = Role {
            provider,
            cheaper,
            prompt: prompt(name, &section).map_err(wrong)?,
            output_schema: section.output_schema,
            parameters: section.parameters,
            max_tokens: section.max_tokens,
            patches: section.patches,
        };
        roles.insert(name.to_owned(), role);
    }
    Ok(roles)
}

fn chain(role: &str, provider: &str, chains: &BTreeMap<String, Chain>) -> Result<Chain, Fault> {
    chains.get(provider).cloned().ok_or_else(|| {
        let known = chains.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        Fault::usage(format!(
            "the role `{role}` wants the provider `{provider}`; agent.providers has: {known}"
        ))
    })
}

fn prompt(name: &str, section: &RoleSection) -> Result<Prompt, String> {
    let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
    match (&section.prompt, &section.prompt_file, built_in) {
        (Some(_), Some(_), _) => Err("give either `prompt` or `prompt_file`".to_owned()),
        (Some(text), None, _) => Prompt::plain(name, text).map_err(|words| format!("prompt: {words}")),
        (None, Some(file), _) => {
            let wrong = |words: String| format!("prompt_file: {}: {words}", file.display());
            let document = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
            Prompt::read(&document).map_err(wrong)
        }
        (None, None, Some((_, document))) => Prompt::read(document),
        (None, None, None) => Err("give `prompt_file` or `prompt`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn registration_knows_the_built_in_roles() {
        let own: BTreeSet<&str> = BUILT_IN.iter().map(|(name, _)| *name).chain([fleet::REGISTRAR]).collect();
        assert_eq!(own, fleet::BUILT_IN_ROLES.into_iter().collect());
    }
}
