//! What is to be published, and its one true spelling.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

impl Content {
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
    /// Reads stored bytes; the digest is computed from them, not believed.
    ///
    /// # Errors
    /// The bytes are no content. Permanent.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        let content = serde_json::from_str(json)?;
        Ok(Self { content, json: json.to_owned(), sha256: sha256(&[json.as_bytes()]) })
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
        assert_eq!(StoredContent::read(&sealed.json).unwrap(), sealed);
    }
}
