//! Words and claims in content, however they are dressed.

use model::Content;
use regex::{Regex, RegexBuilder};

/// What of a content is looked at, as it is and folded.
pub(crate) struct Text {
    raw: String,
    folded: String,
}

impl Text {
    /// Title, summary, body, address and tags.
    pub(crate) fn of(content: &Content) -> Self {
        // A claim may run over the end of a paragraph, and `.` matches no line break.
        let body = content.body.replace('\n', " ");
        let raw = [
            content.title.as_str(),
            &content.summary,
            &body,
            content.url.as_deref().unwrap_or_default(),
            &content.tags.join("\n"),
        ]
        .join("\n");
        Self { folded: fold(&raw), raw }
    }

    /// Where a [`term`] stands.
    pub(crate) fn term(&self, term: &Regex) -> Option<&str> {
        term.find(&self.folded).map(|hit| hit.as_str())
    }

    /// Where a [`pattern`] matches.
    pub(crate) fn claim(&self, pattern: &Regex) -> Option<&str> {
        pattern.find(&self.raw).or_else(|| pattern.find(&self.folded)).map(|hit| hit.as_str())
    }
}

/// Compiles whole words that are found in folded text with any white space between them.
pub(crate) fn term(words: &str) -> Result<Regex, String> {
    let folded: Vec<String> = fold(words).split_whitespace().map(regex::escape).collect();
    if folded.is_empty() {
        return Err("a term is empty".to_owned());
    }
    pattern(&format!(r"(?:^|[^\p{{L}}\p{{N}}])(?:{})(?:$|[^\p{{L}}\p{{N}}])", folded.join(r"\s+")))
}

/// Compiles a regular expression that minds no case.
pub(crate) fn pattern(source: &str) -> Result<Regex, String> {
    RegexBuilder::new(source)
        .case_insensitive(true)
        .size_limit(1 << 20)
        .build()
        .map_err(|e| format!("is no regular expression: {e}"))
}

/// Lower case, without accents and invisible characters, compatibility forms unified (NFKD): so that spelling a word
/// with other glyphs of the same letters does not hide it. Look-alike letters of other scripts are not seen.
pub(crate) fn fold(text: &str) -> String {
    use unicode_normalization::UnicodeNormalization;
    use unicode_normalization::char::is_combining_mark;
    text.nfkd()
        .filter(|c| {
            !is_combining_mark(*c)
                && !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
        })
        .flat_map(char::to_lowercase)
        .collect()
}
