//! The policy: what must never be published, whatever anyone measured. A pure function of content and source.

use model::{Content, Sha256Digest, sha256};
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::glob_matches;
use crate::terms::{Text, pattern, term};

/// A policy that cannot be used. Permanent: a person must change the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(String);

/// What must never be published.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    text: String,
    terms: Vec<(String, Regex)>,
    sources: Vec<String>,
    forbidden_languages: Vec<String>,
    allowed_languages: Vec<String>,
    claims: Vec<(String, Regex)>,
}

/// One breach of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The rule, such as `forbidden_term:glimmerdrift`.
    pub rule: String,
    /// What matched, at most 120 characters.
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Document {
    forbidden_terms: Vec<String>,
    forbidden_sources: Vec<String>,
    forbidden_languages: Vec<String>,
    allowed_languages: Vec<String>,
    claims: Vec<Claim>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    name: String,
    pattern: String,
}

impl Policy {
    /// Reads a policy document.
    ///
    /// # Errors
    /// [`PolicyError`] with line and column where YAML is at fault, or the pattern's name.
    pub fn parse(yaml: &str) -> Result<Self, PolicyError> {
        let document: Document =
            if yaml.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
                Document::default()
            } else {
                serde_saphyr::from_str(yaml)
                    .map_err(|e| PolicyError(format!("the policy cannot be read: {e}")))?
            };
        let terms = document
            .forbidden_terms
            .iter()
            .map(|words| Ok((words.clone(), term(words).map_err(PolicyError)?)))
            .collect::<Result<_, _>>()?;
        let claims = document
            .claims
            .iter()
            .map(|claim| {
                let compiled = pattern(&claim.pattern)
                    .map_err(|e| PolicyError(format!("the pattern of `{}` {e}", claim.name)))?;
                Ok((claim.name.clone(), compiled))
            })
            .collect::<Result<_, PolicyError>>()?;
        Ok(Self {
            text: yaml.to_owned(),
            terms,
            sources: document.forbidden_sources,
            forbidden_languages: document.forbidden_languages,
            allowed_languages: document.allowed_languages,
            claims,
        })
    }

    /// The document.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Digest of the document.
    #[must_use]
    pub fn sha256(&self) -> Sha256Digest {
        sha256(&[self.text.as_bytes()])
    }

    /// Every breach in this content from this source; empty where it may go out.
    #[must_use]
    pub fn evaluate(&self, content: &Content, source: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut add = |rule: String, detail: &str| {
            found.push(Violation { rule, detail: detail.trim().chars().take(120).collect() });
        };
        let text = Text::of(content);
        for (term, pattern) in &self.terms {
            if let Some(hit) = text.term(pattern) {
                add(format!("forbidden_term:{term}"), hit);
            }
        }
        for (name, pattern) in &self.claims {
            if let Some(hit) = text.claim(pattern) {
                add(format!("claim:{name}"), hit);
            }
        }
        if let Some(pattern) = self.sources.iter().find(|pattern| glob_matches(pattern, source)) {
            add(format!("forbidden_source:{pattern}"), source);
        }
        let language = &content.language;
        if self.forbidden_languages.contains(language)
            || !(self.allowed_languages.is_empty() || self.allowed_languages.contains(language))
        {
            add(format!("language:{language}"), language);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(body: &str) -> Content {
        Content {
            title: "t".to_owned(),
            summary: String::new(),
            body: body.to_owned(),
            url: None,
            language: "en".to_owned(),
            tags: vec![],
        }
    }

    fn policy() -> Policy {
        Policy::parse(
            "forbidden_terms: [Glimmerdrift, blue moon]\nforbidden_sources: ['spam-*']\nforbidden_languages: [xx]\n\
             claims:\n  - { name: cure, pattern: 'cures? (all|every)' }\n",
        )
        .unwrap()
    }

    #[test]
    fn terms_are_found_as_whole_words_however_they_are_dressed() {
        for body in [
            "Buy GLIMMERDRIFT!",
            "glímmerdrift",
            "ｇｌｉｍｍｅｒｄｒｉｆｔ",
            "glim\u{200b}merdrift",
            "a Blue \n Moon rises",
        ] {
            assert_eq!(policy().evaluate(&content(body), "s").len(), 1, "{body}");
        }
        assert!(policy().evaluate(&content("glimmerdrifting bluemoon"), "s").is_empty());
    }

    #[test]
    fn claims_sources_and_languages_are_found() {
        assert_eq!(policy().evaluate(&content("It cures every ill"), "s")[0].rule, "claim:cure");
        let parted = policy().evaluate(&content("It cures\nevery ill"), "s");
        assert_eq!(parted[0].rule, "claim:cure", "a paragraph's end hides nothing");
        assert_eq!(policy().evaluate(&content("x"), "spam-7")[0].rule, "forbidden_source:spam-*");
        let foreign = Content { language: "xx".to_owned(), ..content("x") };
        assert_eq!(policy().evaluate(&foreign, "s")[0].rule, "language:xx");
    }

    #[test]
    fn a_policy_with_an_unknown_key_or_a_bad_pattern_is_refused() {
        assert!(Policy::parse("forbiden_terms: [x]\n").unwrap_err().to_string().contains("forbiden_terms"));
        assert!(
            Policy::parse("claims: [{ name: a, pattern: '(' }]\n").unwrap_err().to_string().contains("`a`")
        );
        assert!(Policy::parse("forbidden_terms: ['  ']\n").is_err());
        assert!(Policy::parse("# nothing\n").unwrap().evaluate(&content("x"), "s").is_empty());
    }
}
