//! The head of a post: what its front matter says, and all that the feed needs. It is written into each Markdown file
//! and can be read back, so that a lost feed is made again from the posts.

use std::io::Read;
use std::path::Path;

use chrono::{DateTime, NaiveDate, SecondsFormat, SubsecRound, Utc};
use serde::de::DeserializeOwned;

use super::shown::line;
use crate::Post;

/// Limits in characters, so that a head stays below [`MOST_BYTES`]; the text below it is whole.
const TITLE: usize = 300;
const SUMMARY: usize = 2000;
const TAG: usize = 100;
const TAGS: usize = 50;
const URL: usize = 2048;
/// As much of a file as can be its front matter: the limits above, at up to four bytes a character and one more for an
/// escape, come to 58 KiB.
const MOST_BYTES: u64 = 64 * 1024;

/// What is said about a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) date: DateTime<Utc>,
    pub(super) summary: String,
    pub(super) language: String,
    pub(super) tags: Vec<String>,
    pub(super) source: String,
    pub(super) run: String,
    pub(super) content_sha256: String,
    pub(super) url: Option<String>,
}

impl Head {
    pub(super) fn of(post: &Post<'_>) -> Self {
        let content = post.content;
        let title = line(&content.title, TITLE);
        let told = if content.summary.trim().is_empty() { &content.body } else { &content.summary };
        Self {
            key: post.key.to_owned(),
            title: if title.is_empty() { "Untitled".to_owned() } else { title },
            date: date(post.published_at),
            summary: line(told, SUMMARY),
            language: line(&content.language, TAG),
            tags: content
                .tags
                .iter()
                .map(|tag| line(tag, TAG))
                .filter(|t| !t.is_empty())
                .take(TAGS)
                .collect(),
            source: line(post.source, TITLE),
            run: post.run.to_string(),
            content_sha256: post.sha256.to_hex(),
            url: content.url.as_deref().and_then(link),
        }
    }

    /// The front matter with its fences. JSON strings are YAML strings, and a bare RFC 3339 date is a YAML timestamp.
    pub(super) fn front_matter(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut lines = vec![
            "---".to_owned(),
            format!("publication_key: {}", quoted(&self.key)),
            format!("title: {}", quoted(&self.title)),
            format!("date: {}", self.spelled_date()),
            format!("summary: {}", quoted(&self.summary)),
            format!("language: {}", quoted(&self.language)),
            format!("tags: {}", serde_json::Value::from(self.tags.as_slice())),
            format!("source: {}", quoted(&self.source)),
            format!("run: {}", quoted(&self.run)),
            format!("content_sha256: {}", quoted(&self.content_sha256)),
        ];
        lines.extend(self.url.as_deref().map(|url| format!("url: {}", quoted(url))));
        lines.push("---\n".to_owned());
        lines.join("\n")
    }

    /// RFC 3339 with the fraction of the second, where there is one.
    pub(super) fn spelled_date(&self) -> String {
        self.date.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }

    /// Reads the front matter of a file; `None` where it is no post of this outlet's.
    pub(super) fn read(path: &Path) -> std::io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    fn parse(text: &str) -> Option<Self> {
        let (front, _) = text.strip_prefix("---\n")?.split_once("\n---\n")?;
        Some(Self {
            key: value(front, "publication_key")?,
            title: value(front, "title")?,
            date: DateTime::parse_from_rfc3339(raw(front, "date")?).ok()?.to_utc(),
            summary: value(front, "summary")?,
            language: value(front, "language")?,
            tags: value(front, "tags")?,
            source: value(front, "source")?,
            run: value(front, "run")?,
            content_sha256: value(front, "content_sha256")?,
            url: value(front, "url"),
        })
    }
}

fn raw<'a>(front: &'a str, name: &str) -> Option<&'a str> {
    front.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn value<T: DeserializeOwned>(front: &str, name: &str) -> Option<T> {
    serde_json::from_str(raw(front, name)?).ok()
}

/// A date that four digits of year can spell, which is what names, RFC 3339 and feed readers take; in microseconds.
pub(super) fn date(at: DateTime<Utc>) -> DateTime<Utc> {
    let day = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).unwrap_or_default().and_time(chrono::NaiveTime::MIN);
    at.trunc_subsecs(6).clamp(day(1, 1, 1).and_utc(), day(9999, 12, 31).and_utc())
}

/// A link only where it is one of the web: `javascript:`, `data:` and the like are no links.
fn link(url: &str) -> Option<String> {
    let web = ["http://", "https://"].iter().any(|scheme| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && url.len() > scheme.len()
    });
    let plain =
        url.chars().count() <= URL && !url.contains(char::is_whitespace) && super::shown::shown(url) == url;
    (web && plain).then(|| url.to_owned())
}
