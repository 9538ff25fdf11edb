//! What is configured of agents, in words.

use agent::config::Section;
use fleet::{Roles, Settings};

/// Providers by name with their kinds, the roles that act outside, and whether something is amiss.
pub(crate) struct Agents {
    pub(crate) told: String,
    /// Why workers that take long cannot tell that they are done.
    pub(crate) mute: bool,
}

impl Agents {
    /// `None` where no provider is configured.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        let section: Section = settings.section("agent").ok()?;
        if section.providers.is_empty() {
            return None;
        }
        let named: Vec<String> =
            section.providers.iter().map(|(name, one)| format!("{name} ({})", one.kind())).collect();
        let roles = Roles::of(settings);
        let acting = match roles.acting() {
            acting if acting.is_empty() => String::new(),
            acting => format!("; steps of {} count as side effects", acting.join(", ")),
        };
        let usual = section.provider.as_ref().map(|name| format!(", {name} for roles that name none"));
        let told = format!("{}{}{acting}", named.join(", "), usual.unwrap_or_default());
        let mute = section.callbacks.is_none() && section.providers.values().any(|one| one.http.is_some());
        Some(Self { told, mute })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fleet::config::Overrides;

    use super::*;

    fn of(set: &[&str]) -> Option<Agents> {
        let set = set.iter().map(|one| (*one).to_owned()).collect();
        Agents::of(&Settings::resolve(&Overrides { set, ..Overrides::default() }, BTreeMap::new()).unwrap())
    }

    #[test]
    fn providers_are_named_with_their_kinds_and_the_roles_that_act() {
        assert!(of(&[]).is_none());
        let providers = r#"agent.providers={"a":{"script":{"answers":{}}},"b":{"http":{"url":"http://h","secret":"c2VjcmV0"}}}"#;
        let roles = r#"agent.roles={"deployer":{"provider":"b"}}"#;
        let agents = of(&[providers, "agent.provider=a", roles]).unwrap();
        assert_eq!(
            agents.told,
            "a (script), b (http), a for roles that name none; steps of deployer count as side effects"
        );
        assert!(agents.mute);
        assert!(!of(&[providers, "agent.callbacks=http://127.0.0.1:8080"]).unwrap().mute);
    }
}
