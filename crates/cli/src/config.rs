//! `tidemill config`: every effective value, and where it came from.

use fleet::Fault;
use fleet::config::{Admin, Database, Effective, GateFiles, Log, PolicyFile, Redis, Settings, Worker};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::Config;
use crate::table;

pub(crate) fn run(command: Config) -> Result<(), Fault> {
    let Config::Show { json, overrides } = command;
    let found = effective(&Settings::load(&overrides)?)?;
    if json {
        table::json(&serde_json::json!(found));
        return Ok(());
    }
    let mut shown = table::table(&["key", "value", "from"]);
    for one in found {
        shown.add_row([one.key, one.value, one.origin]);
    }
    println!("{shown}");
    Ok(())
}

/// A section with its type: what is shown of it, and how the process that it is for reads it.
struct Section {
    name: &'static str,
    effective: fn(&Settings, &str) -> Result<Vec<Effective>, Fault>,
    read: fn(&Settings, &str) -> Result<(), Fault>,
}

fn section<T: DeserializeOwned + Serialize + Default>(name: &'static str) -> Section {
    Section {
        name,
        effective: Settings::effective::<T>,
        read: |settings, name| settings.section::<T>(name).map(drop),
    }
}

fn sections() -> [Section; 17] {
    [
        section::<Redis>("redis"),
        section::<Database>("database"),
        section::<streams::StreamNames>("streams"),
        section::<Worker>("worker"),
        section::<Admin>("admin"),
        section::<Log>("log"),
        section::<PolicyFile>("policy"),
        section::<GateFiles>("gates"),
        section::<gateway::config::Section>("gateway"),
        section::<planner::config::Section>("planner"),
        section::<planner::notify::Section>("notifications"),
        section::<etl::config::Section>("etl"),
        section::<recall::config::Section>("embedding"),
        section::<judge::config::Section>("judge"),
        section::<agent::config::Section>("agent"),
        section::<agent::tools::config::Section>("tools"),
        section::<publisher::config::Section>("publisher"),
    ]
}

/// Every effective value of every section.
pub(crate) fn effective(settings: &Settings) -> Result<Vec<Effective>, Fault> {
    let mut found = Vec::new();
    for section in sections() {
        found.extend((section.effective)(settings, section.name)?);
    }
    Ok(found)
}

/// What the processes would refuse, a fault for each section.
pub(crate) fn faults(settings: &Settings) -> Vec<Fault> {
    let mut faults: Vec<Fault> =
        sections().iter().filter_map(|section| (section.read)(settings, section.name).err()).collect();
    if let Ok(section) = settings.section::<publisher::config::Section>("publisher") {
        faults.extend(publisher::check(&section).err());
    }
    if let (Ok(section), Ok(notifications)) = (settings.section("planner"), settings.section("notifications"))
    {
        faults.extend(planner::check(&section, &notifications).err());
    }
    if let Ok(section) = settings.section::<agent::config::Section>("agent") {
        faults.extend(agent::check(&section).err());
        if let Ok(tools) = settings.section::<agent::tools::config::Section>("tools") {
            faults.extend(agent::tools::Toolbox::new(&tools, section.breaker).err());
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fleet::config::Overrides;

    use super::*;

    /// Every secret that there is, in `FILE`.
    const SECRETS: &str = "
redis: { url_file: FILE }
database: { url_file: FILE }
embedding:
  openai: { base_url_file: FILE, api_key_file: FILE }
  weaviate: { url_file: FILE, api_key_file: FILE }
notifications: { targets: [{ name: t, url_file: FILE, secret_file: FILE }] }
planner: { sources: [{ name: s, url_file: FILE, cron: '* * * * *' }] }
agent:
  providers:
    a: { openai: { model: m, base_url_file: FILE, api_key_file: FILE } }
    b: { anthropic: { model: m, base_url_file: FILE, api_key: { file: FILE } } }
    c: { mcp: { url_file: FILE, token_file: FILE, tool: t, environment: { KEY: { file: FILE } } } }
    d: { http: { url_file: FILE, secret_file: FILE } }
    e: { command: { command: [p, q], environment: { KEY: { file: FILE } } } }
tools:
  registry:
    a: { mcp: { url_file: FILE, token_file: FILE, tool: t } }
    b: { http: { url_file: FILE, secret_file: FILE } }
  servers:
    c: { url_file: FILE, token_file: FILE, environment: { KEY: { file: FILE } } }
publisher:
  outlets:
    a: { webhook: { url_file: FILE, secret_file: FILE, headers: { authorization_file: FILE } } }
    b: { wordpress: { url_file: FILE, username: u, password_file: FILE } }
    c: { email: { host: h, username: u, password: { file: FILE }, from: a@h, to: [b@h] } }
    d: { mcp: { url_file: FILE, token_file: FILE, tool: t, arguments: {}, environment: { KEY: { file: FILE } } } }
";

    #[test]
    fn every_secret_may_stand_in_a_file_that_is_read_and_not_shown() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "hush\n").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), SECRETS.replace("FILE", &secret.path().display().to_string())).unwrap();
        let given = Overrides { config: Some(file.path().to_owned()), ..Overrides::default() };
        let settings = Settings::resolve(&given, BTreeMap::new()).unwrap();
        let found = effective(&settings).unwrap();
        let shown = serde_json::to_string(&found).unwrap();
        assert!(!shown.contains("hush"), "{shown}");
        let path = secret.path().display().to_string();
        let of_files = found.iter().filter(|one| one.origin.ends_with(&path)).count();
        assert_eq!(of_files, SECRETS.matches("FILE").count(), "each tells its file: {shown}");

        assert_eq!(settings.redis().unwrap().url().unwrap(), "hush");
        assert_eq!(settings.database().unwrap().url().unwrap(), "hush");
        let outlets = settings.section::<publisher::config::Section>("publisher").unwrap().outlets;
        let outlets = serde_json::to_value(outlets).unwrap().to_string();
        assert_eq!(outlets.matches("hush").count(), 9, "{outlets}");
        let brains = settings.section::<agent::config::Section>("agent").unwrap().providers;
        assert_eq!(serde_json::to_string(&brains).unwrap().matches("hush").count(), 10);
        let planner = settings.section::<planner::config::Section>("planner").unwrap();
        assert_eq!(planner.sources[0].url, "hush");
        let embedding = settings.section::<recall::config::Section>("embedding").unwrap();
        assert_eq!(embedding.openai.base_url, "hush");
        assert_eq!(embedding.weaviate.url, "hush");
        for key in [embedding.openai.api_key, embedding.weaviate.api_key] {
            assert_eq!(key.as_deref(), Some("hush"));
        }
        let notifications = settings.section::<planner::notify::Section>("notifications").unwrap();
        let notifications = serde_json::to_string(&notifications).unwrap();
        assert_eq!(notifications.matches("hush").count(), 2, "{notifications}");
        std::fs::remove_file(secret.path()).unwrap();
        assert_eq!(serde_json::to_string(&effective(&settings).unwrap()).unwrap(), shown, "it opens no file");
    }

    #[test]
    fn each_section_that_a_process_would_refuse_is_told_of() {
        let wrong = "
gateway: { adress: x }
planner: { sources: [{ name: s, cron: '* * * * *' }] }
publisher: { outlets: { desk: { webhook: { url: 'https://example.org', secret_file: /no/such/file } } } }
";
        let found = |yaml: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), yaml).unwrap();
            let given = Overrides { config: Some(file.path().to_owned()), ..Overrides::default() };
            let faults = faults(&Settings::resolve(&given, BTreeMap::new()).unwrap());
            faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>()
        };
        let told = found(wrong);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("did you mean `address`?"), "{told:?}");
        assert!(told[1].contains("planner.sources") && told[2].contains("/no/such/file"), "{told:?}");
        let told = found("publisher: { outlet: moon }");
        assert!(told.len() == 1 && told[0].contains("there is no outlet `moon`"), "{told:?}");
        drop(rustls::crypto::ring::default_provider().install_default());
        for (yaml, expected) in [
            ("planner: { sources: [{ name: s, url: 'file:s.xml', cron: daily }] }", "`daily` is no cron"),
            (
                "planner: { triggers: [{ name: t, source: s, schedule: { cron: '0 7 * * *', timezone: Moon } }] }",
                "`Moon` is no time zone",
            ),
            (
                "planner: { triggers: [{ name: t, source: s, on: { from: outside, type: a, when: '1 +' } }] }",
                "planner.triggers.t",
            ),
            (
                "planner: { intents: [], triggers: [{ name: t, source: s }] }",
                "no intent serves its source `s`",
            ),
            ("notifications: { targets: [{ name: t, url: moon }] }", "notifications.targets.t"),
        ] {
            let told = found(yaml);
            assert!(told.len() == 1 && told[0].contains(expected), "{yaml}: {told:?}");
        }
        assert_eq!(found("{}"), Vec::<String>::new());
    }

    #[test]
    fn neither_secrets_nor_secret_addresses_of_notifications_are_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let target = "{ name: chat, url: 'https://hooks.example.org/T0/hush', secret: whsec_hush }";
        std::fs::write(file.path(), format!("notifications:\n  targets: [{target}]\n")).unwrap();
        let given = Overrides { config: Some(file.path().to_owned()), ..Overrides::default() };
        let shown = effective(&Settings::resolve(&given, BTreeMap::new()).unwrap()).unwrap();
        let value = |key: &str| {
            shown.iter().find(|one| one.key.ends_with(key)).map(|one| one.value.as_str()).unwrap()
        };
        assert_eq!(value("notifications.targets.0.url"), r#""https://hooks.example.org/***""#);
        assert_eq!(value("notifications.targets.0.secret"), r#""***""#);
    }

    #[test]
    fn the_reference_configuration_names_every_key_with_its_default() {
        let file =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/tidemill.reference.yaml");
        let given = Overrides { config: Some(file), ..Overrides::default() };
        let reference = effective(&Settings::resolve(&given, BTreeMap::new()).unwrap()).unwrap();
        let empty = tempfile::NamedTempFile::new().unwrap();
        let nothing = Overrides { config: Some(empty.path().to_owned()), ..Overrides::default() };
        let defaults = effective(&Settings::resolve(&nothing, BTreeMap::new()).unwrap()).unwrap();
        for default in &defaults {
            let own = reference.iter().find(|one| one.key == default.key).unwrap();
            assert_eq!(own.value, default.value, "{} is documented with another value", default.key);
            assert!(own.origin.contains("reference"), "{} is missing from the reference", default.key);
        }
        assert_eq!(reference.len(), defaults.len());
    }
}
