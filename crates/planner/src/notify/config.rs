//! The section `notifications`.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet::Fault;
use model::Failure;
use outlets::{Secret, Target, TargetConfig};
use record::{Notice, NoticeKind};
use serde::{Deserialize, Serialize};

use super::document;

/// What people are told of, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Who is told.
    pub targets: Vec<TargetSection>,
    /// An escalation that waits for longer is overdue; none for the due time that its own step has.
    #[serde(with = "fleet::config::optional_period")]
    pub overdue_after: Option<Duration>,
    /// A notification that a target did not take for this long is given up.
    #[serde(with = "fleet::config::period")]
    pub give_up_after: Duration,
    /// How a target that did not take one is tried again.
    pub retry: Retry,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            targets: vec![],
            overdue_after: None,
            give_up_after: Duration::from_secs(24 * 3600),
            retry: Retry::default(),
        }
    }
}

/// How a target that did not take a notification is tried again.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// The first pause; each further failure doubles it.
    #[serde(with = "fleet::config::period")]
    pub pause: Duration,
    /// The longest pause.
    #[serde(with = "fleet::config::period")]
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { pause: Duration::from_secs(5), longest_pause: Duration::from_secs(300) }
    }
}

/// Who is told, of what, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSection {
    /// Its name, in logs and in the record.
    pub name: String,
    /// The address that is called.
    #[serde(default)]
    pub url: Secret,
    /// The signing secret, base64, with or without `whsec_`. Without one the target is told of no run's end.
    #[serde(default)]
    pub secret: Secret,
    /// What it is told of; nothing named means everything.
    #[serde(default)]
    pub on: Vec<NoticeKind>,
    /// Of which tenant; `*` for all, and for what concerns the fleet.
    #[serde(default = "any")]
    pub tenant: String,
    /// `json`, `slack`, or a template.
    #[serde(default = "json")]
    pub template: String,
    /// The body's type.
    #[serde(default = "json_type")]
    pub content_type: String,
    /// How long a call may take.
    #[serde(default = "few_seconds", with = "fleet::config::period")]
    pub timeout: Duration,
}

fn any() -> String {
    "*".to_owned()
}

fn json() -> String {
    "json".to_owned()
}

fn json_type() -> String {
    "application/json".to_owned()
}

fn few_seconds() -> Duration {
    Duration::from_secs(10)
}

/// A target, ready to be told.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) timeout: Duration,
    on: BTreeSet<NoticeKind>,
    tenant: String,
}

impl Receiver {
    /// The end of a run is told the target alone that whoever asked for the run named.
    pub(crate) fn wants(&self, notice: &Notice) -> bool {
        self.on.contains(&notice.kind)
            && (self.tenant == "*" || notice.tenant.as_deref() == Some(self.tenant.as_str()))
            && (notice.kind != NoticeKind::RunEnded || notice.detail["target"] == self.name.as_str())
    }

    pub(crate) fn hears_of(&self, kind: NoticeKind) -> bool {
        self.on.contains(&kind)
    }

    /// Its name, and the tenant that it is for.
    pub(crate) fn named(&self) -> (&str, &str) {
        (&self.name, &self.tenant)
    }
}

/// Checks the configured targets; each template is tried on a sample of all that its target is told.
///
/// # Errors
/// [`Fault`] of kind usage: a name twice, an address, secret or template that is none.
pub(crate) fn check(section: &Section) -> Result<Vec<Receiver>, Fault> {
    let mut names = BTreeSet::new();
    section
        .targets
        .iter()
        .map(|given| {
            let place = format!("notifications.targets.{}", given.name);
            if given.name.trim().is_empty() {
                return Err(Fault::usage("notifications.targets: each target needs a name"));
            }
            if !names.insert(&given.name) {
                return Err(Fault::usage(format!("{place} is there twice")));
            }
            receiver(given).map_err(|failure| Fault::usage(format!("{place}: {}", failure.reason)))
        })
        .collect()
}

fn receiver(given: &TargetSection) -> Result<Receiver, Failure> {
    let target = Target::new(&TargetConfig {
        url: given.url.clone(),
        secret: given.secret.clone(),
        template: given.template.clone(),
        content_type: given.content_type.clone(),
        timeout: given.timeout,
    })?;
    let signed = given.secret.text().is_some();
    if given.on.contains(&NoticeKind::RunEnded) && !signed {
        return Err(Failure::permanent(
            "on: run_ended is told signed, and there is no `secret` to sign it with",
        ));
    }
    let all = || NoticeKind::ALL.into_iter().filter(|kind| *kind != NoticeKind::RunEnded || signed);
    let on: BTreeSet<NoticeKind> =
        if given.on.is_empty() { all().collect() } else { given.on.iter().copied().collect() };
    for kind in &on {
        target.body(&document::sample(*kind))?;
    }
    let (name, tenant) = (given.name.clone(), given.tenant.clone());
    Ok(Receiver { name, target, timeout: given.timeout, on, tenant })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fleet::config::{Overrides, Settings};

    use super::*;

    fn section(target: &serde_json::Value) -> Result<Section, Fault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let given = serde_json::json!({ "notifications": { "targets": [target] } });
        std::fs::write(file.path(), given.to_string()).unwrap();
        let given = Overrides { config: Some(file.path().to_owned()), ..Overrides::default() };
        Settings::resolve(&given, BTreeMap::new())?.section("notifications")
    }

    fn refused(target: &serde_json::Value) -> String {
        section(target).and_then(|section| check(&section).map(drop)).unwrap_err().message
    }

    #[test]
    fn a_target_that_could_never_be_told_is_refused_at_the_start() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let url = "http://127.0.0.1:1/";
        for (target, expected) in [
            (serde_json::json!({ "name": "a" }), "url: it is missing"),
            (serde_json::json!({ "name": "a", "url": "ftp://x/" }), "http:// or https://"),
            (serde_json::json!({ "name": "a", "url": url, "secret": "?" }), "secret"),
            (serde_json::json!({ "name": "a", "url": url, "secret_file": "/nowhere" }), "/nowhere"),
            (serde_json::json!({ "name": "a", "url_file": "/nowhere" }), "targets.0.url_file: /nowhere"),
            (serde_json::json!({ "name": "a", "url": url, "url_file": "/nowhere" }), "both given"),
            (serde_json::json!({ "name": "a", "url": url, "template": "{{ titel }}" }), "does not fit"),
            (serde_json::json!({ "name": "a", "url": url, "template": "{{ text }}" }), "makes no JSON"),
            (serde_json::json!({ "name": " ", "url": url }), "needs a name"),
            (serde_json::json!({ "name": "a", "url": url, "on": ["run_ended"] }), "run_ended is told signed"),
        ] {
            let message = refused(&target);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn the_end_of_a_run_is_told_only_where_that_can_be_signed() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let hears = |more: serde_json::Value| {
            let mut target = serde_json::json!({ "name": "a", "url": "http://127.0.0.1:1/" });
            target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let receivers = check(&section(&target).unwrap()).unwrap();
            [NoticeKind::EscalationOpened, NoticeKind::RunEnded].map(|kind| receivers[0].hears_of(kind))
        };
        assert_eq!(hears(serde_json::json!({ "secret": "aHVzaGh1c2g=" })), [true, true]);
        assert_eq!(hears(serde_json::json!({})), [true, false]);
    }

    #[test]
    fn address_and_secret_come_from_files_as_they_stand_there() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name).display().to_string()
        };
        let (url, secret) = (file("url", "http://127.0.0.1:1/T0/hush\n"), file("secret", "aHVzaGh1c2g=\r\n"));
        let target = serde_json::json!({ "name": "a", "url_file": url, "secret": { "file": secret } });
        let section = section(&target).unwrap();
        assert_eq!(section.targets[0].url, Secret::from("http://127.0.0.1:1/T0/hush"));
        assert_eq!(section.targets[0].secret, Secret::from("aHVzaGh1c2g="));
        let receivers = check(&section).unwrap();
        assert!(!format!("{section:?}{receivers:?}").contains("hush"));
    }
}
