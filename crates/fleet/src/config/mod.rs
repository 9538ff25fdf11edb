//! Configuration: defaults, then `tidemill.yaml`, then `TIDEMILL_*`, then flags, resolved once.
//!
//! Each section is a type with defaults; its serialised default is what the section may hold, so an unknown key is found
//! by comparison and refused with file, line and the nearest known key.

mod secrets;
mod sections;
mod shown;
mod tree;
mod units;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use secrets::read as read_secret;
pub use sections::{Admin, Database, GateFiles, Log, LogFormat, PolicyFile, Redis, Shared, Worker};
pub use units::{duration, optional_period, period, positive, size};

use crate::Fault;
use secrets::{Files, Resolution};
use shown::shown;
use tree::{Tree, join};

/// What a process was started with, beside its configuration file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Overrides {
    /// Configuration file [default: tidemill.yaml where there is one]
    #[arg(long, value_name = "FILE", env = "TIDEMILL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Redis, such as redis://127.0.0.1:6379
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
    /// PostgreSQL, such as postgres://user@127.0.0.1/tidemill
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Address of health and metrics, such as 127.0.0.1:9101
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// Any other value, such as worker.concurrency=64
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// The resolved configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    tree: Tree,
    /// The sections that every process has, but for those with secrets.
    pub shared: Shared,
}

/// One effective value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Dotted path.
    pub key: String,
    /// The value as JSON; secrets are hidden.
    pub value: String,
    /// `default`, a file and line, a variable, or a flag.
    pub origin: String,
}

const SHARED_SECTIONS: [&str; 8] =
    ["redis", "database", "streams", "worker", "admin", "log", "policy", "gates"];
const PROCESS_SECTIONS: [&str; 10] =
    ["gateway", "planner", "notifications", "etl", "embedding", "judge", "agent", "tools", "publisher", "up"];
const DEFAULT_FILE: &str = "tidemill.yaml";

impl Settings {
    /// Resolves the configuration from the process's environment and these flags.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming file and line, or the variable or flag.
    pub fn load(overrides: &Overrides) -> Result<Self, Fault> {
        Self::resolve(overrides, std::env::vars().collect())
    }

    /// Resolves the configuration from given variables.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn resolve(overrides: &Overrides, variables: BTreeMap<String, String>) -> Result<Self, Fault> {
        let config = overrides.config.clone().or_else(|| variables.get("TIDEMILL_CONFIG").map(PathBuf::from));
        let mut tree = match &config {
            Some(path) => Tree::read(path)?,
            None if std::path::Path::new(DEFAULT_FILE).exists() => Tree::read(DEFAULT_FILE.as_ref())?,
            None => Tree::default(),
        };
        for (name, value) in &variables {
            if let Some((section, key)) =
                name.strip_prefix("TIDEMILL_").and_then(|rest| rest.split_once("__"))
            {
                let path = format!("{}.{}", section.to_lowercase(), key.to_lowercase().replace("__", "."));
                tree.set(&path, value, name);
            } else if let Some(meant) = misspelt(name) {
                return Err(Fault::usage(format!(
                    "{name}: did you mean `{meant}`? Two underscores part section and key"
                )));
            }
        }
        for (path, value, flag) in [
            ("redis.url", &overrides.redis_url, "--redis-url"),
            ("database.url", &overrides.database_url, "--database-url"),
            ("admin.address", &overrides.admin, "--admin"),
        ] {
            if let Some(value) = value {
                tree.set(path, value, flag);
            }
        }
        for setting in &overrides.set {
            let (path, value) = setting
                .split_once('=')
                .filter(|(path, _)| path.contains('.'))
                .ok_or_else(|| Fault::usage(format!("--set {setting}: write it as section.key=value")))?;
            tree.set(path, value, "--set");
        }
        Self::check_sections(&tree)?;
        let shared = Shared {
            streams: section(&tree, "streams", Files::Read)?.0,
            worker: section(&tree, "worker", Files::Read)?.0,
            admin: section(&tree, "admin", Files::Read)?.0,
            log: section(&tree, "log", Files::Read)?.0,
            policy: section(&tree, "policy", Files::Read)?.0,
            gates: section(&tree, "gates", Files::Read)?.0,
        };
        if !(1..=1024).contains(&shared.streams.partitions) {
            let place = tree.origin("streams.partitions");
            return Err(Fault::usage(format!("{place}: streams.partitions: write a number from 1 to 1024")));
        }
        Ok(Self { tree, shared })
    }

    fn check_sections(tree: &Tree) -> Result<(), Fault> {
        let known: Vec<&str> = SHARED_SECTIONS.into_iter().chain(PROCESS_SECTIONS).collect();
        tree.value
            .keys()
            .find(|key| !known.contains(&key.as_str()))
            .map_or(Ok(()), |key| Err(unknown_key(tree, key, key, &known)))
    }

    /// Where Redis is.
    ///
    /// # Errors
    /// As [`Settings::section`].
    pub fn redis(&self) -> Result<Redis, Fault> {
        self.section("redis")
    }

    /// Where PostgreSQL is.
    ///
    /// # Errors
    /// As [`Settings::section`].
    pub fn database(&self) -> Result<Database, Fault> {
        self.section("database")
    }

    /// A process's own section. Files that hold its secrets are read now.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming file and line.
    pub fn section<T: DeserializeOwned + Serialize + Default>(&self, name: &str) -> Result<T, Fault> {
        section(&self.tree, name, Files::Read).map(|(section, _)| section)
    }

    /// What was given of a section, as it stands there: without defaults, unchecked, and its secrets not read.
    pub(crate) fn given(&self, name: &str) -> Option<&Value> {
        self.tree.value.get(name)
    }

    /// The effective values of a section. Secrets are hidden, and their files not even opened.
    ///
    /// # Errors
    /// As [`Settings::section`].
    pub fn effective<T: DeserializeOwned + Serialize + Default>(
        &self,
        name: &str,
    ) -> Result<Vec<Effective>, Fault> {
        let (section, from_files) = section::<T>(&self.tree, name, Files::Name)?;
        let value = serde_json::to_value(section).map_err(|e| Fault::bug(e.to_string()))?;
        let mut found = Vec::new();
        flatten(name, &value, &mut |path, value| {
            let origin = from_files.get(path).or_else(|| self.tree.origins.get(path));
            found.push(Effective {
                key: path.to_owned(),
                value: shown(path, value),
                origin: origin.map_or("default", String::as_str).to_owned(),
            });
        });
        Ok(found)
    }
}

fn flatten(path: &str, value: &Value, found: &mut impl FnMut(&str, &Value)) {
    match value {
        // Items that are sections, as the sources are.
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&join(path, &index.to_string()), item, found);
            }
        }
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                flatten(&join(path, key), value, found);
            }
        }
        _ => found(path, value),
    }
}

/// The variable that was meant by one that begins with a section's name and is none: `TIDEMILL_REDIS_URL`.
fn misspelt(name: &str) -> Option<String> {
    let rest = name.strip_prefix("TIDEMILL_")?;
    let (section, key) = rest.split_once('_')?;
    let known = SHARED_SECTIONS.iter().chain(&PROCESS_SECTIONS);
    known
        .into_iter()
        .any(|known| known.eq_ignore_ascii_case(section))
        .then(|| format!("TIDEMILL_{section}__{key}"))
}

/// A section, and by path where those of its secrets came from that are in files.
fn section<T: DeserializeOwned + Serialize + Default>(
    tree: &Tree,
    name: &str,
    files: Files,
) -> Result<(T, BTreeMap<String, String>), Fault> {
    let defaults = serde_json::to_value(T::default()).map_err(|e| Fault::bug(e.to_string()))?;
    let given = tree.value.get(name).cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let given = if given.is_null() { Value::Object(Map::new()) } else { given };
    let mut resolution = Resolution::new(tree, files);
    let given = resolution.value(name, given)?;
    check_keys(tree, name, &given, &defaults)?;
    let section = serde_path_to_error::deserialize(&given).map_err(|error| {
        let path = join(name, &error.path().to_string().replace('[', ".").replace(']', ""));
        Fault::usage(format!("{}: {path}: {}", tree.origin(&path), error.inner()))
    })?;
    Ok((section, resolution.origins))
}

/// Refuses keys that the default does not have. A default that is an empty map is free for any key.
fn check_keys(tree: &Tree, path: &str, given: &Value, known: &Value) -> Result<(), Fault> {
    let (Value::Object(given_map), Value::Object(known_map)) = (given, known) else {
        return match known {
            Value::Object(_) => {
                Err(Fault::usage(format!("{}: {path} is a section, not a value", tree.origin(path))))
            }
            _ => Ok(()),
        };
    };
    if known_map.is_empty() {
        return Ok(());
    }
    for (key, value) in given_map {
        let inner = join(path, key);
        let Some(known) = known_map.get(key) else {
            let names: Vec<&str> = known_map.keys().map(String::as_str).collect();
            return Err(unknown_key(tree, &inner, key, &names));
        };
        if known.is_object() {
            check_keys(tree, &inner, value, known)?;
        }
    }
    Ok(())
}

fn unknown_key(tree: &Tree, path: &str, key: &str, known: &[&str]) -> Fault {
    let nearest = known
        .iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(key, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.5);
    let hint = match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    Fault::usage(format!("{}: unknown key `{path}`; {hint}", tree.origin(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: &str, variables: &[(&str, &str)], set: &[&str]) -> Result<Settings, Fault> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.yaml");
        std::fs::write(&file, yaml).unwrap();
        let overrides = Overrides {
            config: Some(file),
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            ..Overrides::default()
        };
        Settings::resolve(
            &overrides,
            variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        )
    }

    #[test]
    fn flags_beat_variables_beat_the_file_beats_the_defaults() {
        let yaml = "worker:\n  concurrency: 1\n  grace: 3s\n  takeover_after: 7s\n";
        let found = settings(
            yaml,
            &[("TIDEMILL_WORKER__CONCURRENCY", "2"), ("TIDEMILL_WORKER__GRACE", "4s")],
            &["worker.concurrency=5"],
        )
        .unwrap();
        let worker = &found.shared.worker;
        assert_eq!(worker.concurrency, 5);
        assert_eq!(worker.grace.as_secs(), 4);
        assert_eq!(worker.takeover_after.as_secs(), 7);
        let effective = found.effective::<Worker>("worker").unwrap();
        let origin = |key: &str| effective.iter().find(|e| e.key == key).unwrap().origin.clone();
        assert_eq!(origin("worker.concurrency"), "--set");
        assert_eq!(origin("worker.grace"), "TIDEMILL_WORKER__GRACE");
        assert!(origin("worker.takeover_after").ends_with("t.yaml:4"), "{}", origin("worker.takeover_after"));
        assert_eq!(origin("worker.max_deliveries"), "default");
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_the_nearest_known_one() {
        let message =
            settings("redis:\n  url: redis://x\nworker:\n  concurency: 3\n", &[], &[]).unwrap_err().message;
        assert!(message.contains("t.yaml:4") && message.contains("did you mean `concurrency`?"), "{message}");
        let message = settings("wroker: {}\n", &[], &[]).unwrap_err().message;
        assert!(message.contains("t.yaml:1") && message.contains("did you mean `worker`?"), "{message}");
    }

    #[test]
    fn a_value_without_its_unit_or_of_another_type_is_refused_with_its_place() {
        let message = settings("worker:\n  grace: 30\n", &[], &[]).unwrap_err().message;
        assert!(
            message.contains("t.yaml:2") && message.contains("worker.grace") && message.contains("60s"),
            "{message}"
        );
        let message = settings("worker:\n  concurrency: many\n", &[], &[]).unwrap_err().message;
        assert!(message.contains("t.yaml:2") && message.contains("worker.concurrency"), "{message}");
        let message = settings("worker: [1]\n", &[], &[]).unwrap_err().message;
        assert!(message.contains("t.yaml:1") && message.contains("section"), "{message}");
    }

    #[test]
    fn a_value_with_which_nothing_would_run_and_a_key_that_stands_twice_are_refused_with_their_place() {
        for (yaml, expected) in [
            ("worker:\n  concurrency: 0\n", "worker.concurrency"),
            ("worker:\n  takeover_after: 0s\n", "worker.takeover_after"),
            ("streams:\n  partitions: 0\n", "streams.partitions"),
        ] {
            let message = settings(yaml, &[], &[]).unwrap_err().message;
            assert!(message.contains("t.yaml:2") && message.contains(expected), "{message}");
        }
        let message = settings("worker:\n  group: 1\nworker:\n  group: 2\n", &[], &[]).unwrap_err().message;
        assert!(message.contains("t.yaml") && message.contains("worker"), "{message}");
        assert!(message.contains('3') && message.contains("duplicate"), "{message}");
    }

    #[test]
    fn a_variable_with_one_underscore_is_refused_and_one_that_means_something_else_is_left_alone() {
        let message = settings("{}\n", &[("TIDEMILL_REDIS_URL", "redis://x")], &[]).unwrap_err().message;
        assert!(message.contains("TIDEMILL_REDIS__URL"), "{message}");
        assert!(settings("{}\n", &[("TIDEMILL_TOKEN", "x"), ("TIDEMILL_URL", "y")], &[]).is_ok());
    }

    #[test]
    fn documents_of_gates_are_read_together_and_refused_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let good = file("good.yaml", "gates:\n  a: { hitl: {} }\n");
        let bad = file("bad.yaml", "gates:\n  b: { hitl: { wen: 'true' } }\n");
        let read = |files: &[&str]| {
            let files = serde_json::to_string(files).unwrap();
            settings("{}\n", &[("TIDEMILL_GATES__FILES", &files)], &[]).unwrap().shared.gates.read()
        };
        assert_eq!(read(&[]).unwrap().iter().count(), 0);
        assert!(read(&[&good]).unwrap().get("a").is_some());
        let message = read(&[&good, &bad]).unwrap_err().message;
        assert!(
            message.contains("bad.yaml") && message.contains("line 2") && message.contains("wen"),
            "{message}"
        );
        assert!(read(&["absent.yaml"]).unwrap_err().message.contains("absent.yaml cannot be read"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let found = settings("database:\n  url: postgres://me:hush@h/db\n", &[], &[]).unwrap();
        let shown = format!("{:?}", found.effective::<Database>("database").unwrap());
        assert!(!shown.contains("hush") && shown.contains("me:***@h"), "{shown}");
    }
}
