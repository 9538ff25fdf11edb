//! Secrets: text in the configuration, or files beside it, as containers mount them.
//!
//! Whatever holds a secret, and every URL, since it may hold a password, can be given as `<key>_file` in place of `<key>`.
//! The files are put in the places of their keys before a section is read, so that no section knows of them. A process
//! reads the files of its own sections alone: what only the publisher may see, no other process asks for.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::tree::{Tree, join};
use crate::Fault;

/// What keys of secrets are called, or end with after an underscore.
const NAMES: [&str; 5] = ["url", "password", "secret", "token", "api_key"];
/// Sections of which any value may be a secret.
const OPEN: [&str; 2] = ["headers", "environment"];
const FILE: &str = "_file";
/// Sections whose `url` is a secret as a whole, as those of team chats are.
const SECRET_ADDRESSES: [&str; 4] = ["webhook", "mcp", "http", "targets"];
/// What is shown of a secret.
pub(super) const HIDDEN: &str = "***";

/// Whether the value at a path may be a secret.
pub(super) fn may_be_secret(path: &str) -> bool {
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    is_named(key) || OPEN.iter().any(|open| is_called(section, open))
}

/// Whether the value at a path is a URL of which no more than the host may be shown.
pub(super) fn is_secret_address(path: &str) -> bool {
    path.strip_suffix(".url").is_some_and(|section| {
        let list = section.rsplit_once('.').filter(|(_, item)| item.bytes().all(|b| b.is_ascii_digit()));
        let section = list.map_or(section, |(list, _)| list);
        SECRET_ADDRESSES.iter().any(|address| is_called(section, address))
    })
}

/// Whether a section is called so, and is no outlet of that name.
fn is_called(path: &str, name: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(outer, last)| last == name && !outer.ends_with("outlets"))
}

fn is_named(key: &str) -> bool {
    NAMES.iter().any(|name| key == *name || key.strip_suffix(name).is_some_and(|rest| rest.ends_with('_')))
}

/// The text of a secret's file, without the newline at its end.
///
/// # Errors
/// [`Fault`] of kind usage, naming key and file: it cannot be read, or is empty.
pub fn read(key: &str, file: &Path) -> Result<String, Fault> {
    let wrong = |why: &str| Fault::usage(format!("{key}: {} {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| wrong(&format!("cannot be read: {e}")))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.trim().is_empty() {
        return Err(wrong("is empty: write the secret into it"));
    }
    Ok(secret.to_owned())
}

/// What is done about files that hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// They are read.
    Read,
    /// They are named: something that hides the secret stands in its place.
    Name,
}

/// Puts secrets in the places of the files that hold them.
#[derive(Debug)]
pub(super) struct Resolution<'a> {
    tree: &'a Tree,
    files: Files,
    /// By the path of a secret, where it came from.
    pub(super) origins: BTreeMap<String, String>,
}

impl<'a> Resolution<'a> {
    pub(super) fn new(tree: &'a Tree, files: Files) -> Self {
        Self { tree, files, origins: BTreeMap::new() }
    }

    /// Resolves what is given at a path.
    pub(super) fn value(&mut self, path: &str, given: Value) -> Result<Value, Fault> {
        match given {
            Value::Object(map) => self.section(path, map).map(Value::Object),
            Value::Array(items) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| self.value(&join(path, &index.to_string()), item))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            other => Ok(other),
        }
    }

    fn section(&mut self, path: &str, given: Map<String, Value>) -> Result<Map<String, Value>, Fault> {
        let mut resolved = Map::new();
        for (key, value) in &given {
            let inner = join(path, key);
            if let Some(stem) = file_of(path, key) {
                match value {
                    Value::Null => continue,
                    Value::String(file) => {
                        self.refuse_both(&join(path, stem), &inner, given.get(stem))?;
                        let secret = self.secret(&join(path, stem), &inner, file)?;
                        resolved.insert(stem.to_owned(), secret);
                        continue;
                    }
                    _ => {}
                }
            }
            let taken = resolved.contains_key(key) && value.is_null();
            if !taken {
                let value =
                    if may_be_secret(&inner) { self.given(&inner, value.clone())? } else { value.clone() };
                resolved.insert(key.clone(), self.value(&inner, value)?);
            }
        }
        Ok(resolved)
    }

    /// A secret as text, or as `{ file: … }`.
    fn given(&mut self, path: &str, value: Value) -> Result<Value, Fault> {
        match &value {
            Value::Object(map) if map.len() == 1 => match map.get("file") {
                Some(Value::String(file)) => self.secret(path, &join(path, "file"), file),
                _ => Ok(value),
            },
            // A message of the type's own would show the value.
            Value::Number(_) | Value::Bool(_) | Value::Array(_) => Err(Fault::usage(format!(
                "{}: {path}: it must be text: put it in quotes",
                self.tree.origin(path)
            ))),
            _ => Ok(value),
        }
    }

    fn refuse_both(&self, path: &str, file: &str, value: Option<&Value>) -> Result<(), Fault> {
        match value {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(Fault::usage(format!(
                "{}: {path} and {file} ({}) are both given: keep one",
                self.tree.origin(path),
                self.tree.origin(file)
            ))),
        }
    }

    fn secret(&mut self, path: &str, key: &str, file: &str) -> Result<Value, Fault> {
        let origin = self.tree.origin(key);
        self.origins.insert(path.to_owned(), format!("{origin}, in {file}"));
        Ok(Value::String(match self.files {
            Files::Read => read(&format!("{origin}: {key}"), file.as_ref())?,
            Files::Name => HIDDEN.to_owned(),
        }))
    }
}

/// The key whose secret a file holds, where this key names such a file.
fn file_of<'k>(path: &str, key: &'k str) -> Option<&'k str> {
    let stem = key.strip_suffix(FILE)?;
    // A program's environment has names of its own that end in this way.
    (is_named(stem) || is_called(path, "headers")).then_some(stem)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::config::{Overrides, Settings};

    /// A section with outlets of any shape, as the publisher has them.
    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Section {
        outlets: Map<String, Value>,
    }

    fn publisher(yaml: &str, variables: &[(&str, &str)]) -> (Result<Section, Fault>, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let given = Overrides { config: Some(file.path().to_owned()), ..Overrides::default() };
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let settings = Settings::resolve(&given, variables).unwrap();
        let shown = settings.effective::<Section>("publisher");
        (settings.section("publisher"), format!("{shown:?}"))
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().display().to_string();
        (file, path)
    }

    #[test]
    fn a_secret_comes_from_a_file_by_key_by_variable_or_as_a_section_and_is_not_shown() {
        let (_kept, path) = file(" hush\r\n\n");
        let long =
            format!("publisher:\n  outlets:\n    x:\n      email:\n        password: {{ file: {path} }}\n");
        let short = format!("publisher:\n  outlets:\n    x:\n      email:\n        password_file: {path}\n");
        let variable = [("TIDEMILL_PUBLISHER__OUTLETS__X__EMAIL__PASSWORD_FILE", path.as_str())];
        for (yaml, variables) in [(long.as_str(), &[][..]), (&short, &[]), ("{}", &variable)] {
            let (section, shown) = publisher(yaml, variables);
            assert_eq!(section.unwrap().outlets["x"]["email"]["password"], " hush");
            assert!(!shown.contains("hush") && shown.contains(&path), "{shown}");
        }
    }

    #[test]
    fn urls_headers_and_items_of_lists_come_from_files_too() {
        let (_kept, path) = file("https://u:hush@h/\n");
        let yaml = format!(
            "publisher:\n  outlets:\n    x:\n      webhook:\n        url_file: {path}\n        headers:\n          \
             authorization_file: {path}\n          x-key: {{ file: {path} }}\n      list: [{{ token_file: {path} }}]\n"
        );
        let (section, shown) = publisher(&yaml, &[]);
        let outlet = &section.unwrap().outlets["x"];
        let webhook = &outlet["webhook"];
        for found in [&webhook["url"], &webhook["headers"]["authorization"], &webhook["headers"]["x-key"]] {
            assert_eq!(found, "https://u:hush@h/");
        }
        assert_eq!(outlet["list"][0]["token"], "https://u:hush@h/");
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn a_file_that_is_missing_or_empty_and_a_secret_given_twice_are_refused_by_key_and_file() {
        let (_kept, empty) = file("\n");
        let at = "publisher:\n  outlets:\n    x:\n      mcp:\n";
        for (given, words) in [
            (format!("        token_file: {empty}\n"), [empty.as_str(), "is empty"]),
            ("        token_file: /none\n".to_owned(), ["/none", "cannot be read"]),
            (format!("        token: hush\n        token_file: {empty}\n"), ["both given", "token_file"]),
            ("        token: 77\n".to_owned(), ["quotes", "token"]),
        ] {
            let message = publisher(&format!("{at}{given}"), &[]).0.unwrap_err().message;
            assert!(message.contains("publisher.outlets.x.mcp.token"), "{message}");
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
            assert!(!message.contains("hush") && !message.contains("77"), "{message}");
        }
    }

    #[test]
    fn what_is_set_in_place_of_a_list_tells_its_own_origin_item_by_item() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "publisher:\n  outlets: { x: [{ url: http://old/, tool: t }] }\n")
            .unwrap();
        let given = Overrides {
            config: Some(file.path().to_owned()),
            set: vec![r#"publisher.outlets={"x":[{"url":"http://h/","token_file":"/none"}]}"#.to_owned()],
            ..Overrides::default()
        };
        let settings = Settings::resolve(&given, BTreeMap::new()).unwrap();
        let origins: Vec<_> = settings.effective::<Section>("publisher").unwrap();
        let origins: Vec<_> = origins.iter().map(|one| (one.key.as_str(), one.origin.as_str())).collect();
        let expected =
            [("publisher.outlets.x.0.token", "--set, in /none"), ("publisher.outlets.x.0.url", "--set")];
        assert_eq!(origins, expected);
    }

    #[test]
    fn a_secret_of_digits_given_by_a_variable_is_text() {
        let variable = [("TIDEMILL_PUBLISHER__OUTLETS__X__EMAIL__PASSWORD", "0123")];
        assert_eq!(publisher("{}", &variable).0.unwrap().outlets["x"]["email"]["password"], "0123");
    }
}
