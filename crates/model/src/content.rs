//! What is to be published, and its one true spelling.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
pub struct Sha256Digest(pub [u8; 32]);

impl Sha256Digest {
    /// Reads a digest from stored bytes; `None` unless there are exactly 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Lower-case hexadecimal, 64 characters.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl std::fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl std::fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl Serialize for Sha256Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(&text)
            .ok()
            .and_then(|bytes| Self::from_slice(&bytes))
            .ok_or_else(|| serde::de::Error::custom("a digest is 64 hexadecimal characters"))
    }
}

/// SHA-256 over the parts, one after the other.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Sha256Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Sha256Digest(hasher.finalize().into())
}

/// The artifact that is to be published. Plain text throughout: an outlet escapes for its own medium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Headline.
    pub title: String,
    /// A few sentences.
    pub summary: String,
    /// The text.
    pub body: String,
    /// Where the original stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// ISO 639-1, `und` where unknown.
    pub language: String,
    /// Topics.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Stored content that is not what was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlteredContent {
    /// Other bytes.
    #[error("the stored content has the digest {sha256}, and its run is bound to {bound}: it was altered")]
    Digest {
        /// What the run is bound to.
        bound: Sha256Digest,
        /// What is there.
        sha256: Sha256Digest,
    },
    /// No content at all.
    #[error("the stored content cannot be read: {0}")]
    Unreadable(String),
}

/// Content that may not be published, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The title.
    #[error("the title has 1 to {MAX_TITLE} characters on one line")]
    Title,
    /// The body.
    #[error("the body has 1 to {MAX_BODY} characters")]
    Body,
    /// The summary.
    #[error("the summary has at most {MAX_BODY} characters")]
    Summary,
    /// The address.
    #[error("`url` is `{0}`, which is no http or https address")]
    Url(String),
    /// The language.
    #[error("`language` is `{0}`, which is no ISO 639 code, such as `en`, nor `und`")]
    Language(String),
    /// A tag.
    #[error("there are at most {MAX_TAGS} tags, each of 1 to {MAX_TAG} characters on one line")]
    Tags,
}

const MAX_TITLE: usize = 1000;
const MAX_BODY: usize = 200_000;
const MAX_TAGS: usize = 50;
const MAX_TAG: usize = 100;

/// Whether a text is a plain `http` or `https` address of at most 2,048 bytes.
#[must_use]
pub fn is_web_address(text: &str) -> bool {
    let plain = text.len() <= 2048 && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let web = ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.len() > scheme.len()
    });
    plain && web
}

/// Whether a text is a line of 1 to `longest` characters: nothing in it breaks a line or turns its direction.
#[must_use]
pub fn is_line(text: &str, longest: usize) -> bool {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    !text.trim().is_empty() && text.chars().count() <= longest && !text.chars().any(odd)
}

impl Content {
    /// Checks what a person wrote as strictly as what the workers make.
    ///
    /// # Errors
    /// [`ContentError`], permanent.
    pub fn check(&self) -> Result<(), ContentError> {
        let shown = |text: &str| text.chars().take(80).collect();
        let stored = |text: &str| !text.contains('\0') && text.chars().count() <= MAX_BODY;
        if !is_line(&self.title, MAX_TITLE) {
            return Err(ContentError::Title);
        }
        if self.body.trim().is_empty() || !stored(&self.body) {
            return Err(ContentError::Body);
        }
        if !stored(&self.summary) {
            return Err(ContentError::Summary);
        }
        if let Some(url) = self.url.as_deref().filter(|url| !is_web_address(url)) {
            return Err(ContentError::Url(shown(url)));
        }
        let code =
            (2..=3).contains(&self.language.len()) && self.language.bytes().all(|b| b.is_ascii_lowercase());
        if !code {
            return Err(ContentError::Language(shown(&self.language)));
        }
        if self.tags.len() > MAX_TAGS || !self.tags.iter().all(|tag| is_line(tag, MAX_TAG)) {
            return Err(ContentError::Tags);
        }
        Ok(())
    }

    /// The content with its canonical bytes (RFC 8785) and their digest.
    ///
    /// # Errors
    /// Only where serialisation itself fails, which plain text and lists cannot make it do. Permanent.
    pub fn seal(self) -> Result<StoredContent, serde_json::Error> {
        let json = serde_json_canonicalizer::to_string(&self)?;
        let sha256 = sha256(&[json.as_bytes()]);
        Ok(StoredContent { content: self, json, sha256 })
    }
}

/// Content with the bytes that are stored and hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContent {
    /// The content.
    pub content: Content,
    /// Its canonical JSON.
    pub json: String,
    /// SHA-256 over the canonical JSON; what an approval is bound to.
    pub sha256: Sha256Digest,
}

impl StoredContent {
    /// Reads stored bytes, which must have the digest that their run is bound to.
    ///
    /// # Errors
    /// [`AlteredContent`], permanent.
    pub fn read(json: &str, bound: Sha256Digest) -> Result<Self, AlteredContent> {
        let sha256 = sha256(&[json.as_bytes()]);
        if sha256 != bound {
            return Err(AlteredContent::Digest { bound, sha256 });
        }
        let content = serde_json::from_str(json).map_err(|e| AlteredContent::Unreadable(e.to_string()))?;
        Ok(Self { content, json: json.to_owned(), sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_over_canonical_bytes_and_survives_storage() {
        let content = Content {
            title: "T €".to_owned(),
            summary: String::new(),
            body: "b".to_owned(),
            url: None,
            language: "en".to_owned(),
            tags: vec!["x".to_owned()],
        };
        let sealed = content.seal().unwrap();
        assert_eq!(sealed.json, r#"{"body":"b","language":"en","summary":"","tags":["x"],"title":"T €"}"#);
        assert_eq!(StoredContent::read(&sealed.json, sealed.sha256).unwrap(), sealed);
        let forged = format!("{} ", sealed.json);
        assert!(matches!(StoredContent::read(&forged, sealed.sha256), Err(AlteredContent::Digest { .. })));
    }

    #[test]
    fn what_a_person_wrote_is_held_to_what_workers_make() {
        let good = Content {
            title: "A new harbour".to_owned(),
            summary: String::new(),
            body: "It opened.\nPeople came.".to_owned(),
            url: Some("https://example.org/harbour".to_owned()),
            language: "en".to_owned(),
            tags: vec!["harbour".to_owned()],
        };
        assert_eq!(good.check(), Ok(()));
        let with = |change: fn(&mut Content)| {
            let mut content = good.clone();
            change(&mut content);
            content.check().unwrap_err()
        };
        assert_eq!(with(|c| c.title = "two\nlines".to_owned()), ContentError::Title);
        assert_eq!(with(|c| c.title = "turned \u{202e}round".to_owned()), ContentError::Title);
        assert_eq!(with(|c| c.body = " \n".to_owned()), ContentError::Body);
        assert_eq!(with(|c| c.summary = "a\0b".to_owned()), ContentError::Summary);
        assert!(matches!(with(|c| c.url = Some("javascript:alert(1)".to_owned())), ContentError::Url(_)));
        assert!(matches!(with(|c| c.language = "en\"><script>".to_owned()), ContentError::Language(_)));
        assert_eq!(with(|c| c.tags.push("</category>\n".to_owned())), ContentError::Tags);
    }
}
