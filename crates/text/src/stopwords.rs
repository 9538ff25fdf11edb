//! Function words by language: they carry no topic, but tell the language. The lists are yake-rust's.

use std::collections::HashMap;
use std::sync::LazyLock;

use yake_rust::StopWords;

/// ISO 639-1 codes, and the names of two of them in yake-rust. Breton goes by `br` in both but cannot be detected.
const LISTED: [(&str, &str); 33] = [
    ("ar", "ar"),
    ("bg", "bg"),
    ("cs", "cz"),
    ("da", "da"),
    ("de", "de"),
    ("el", "el"),
    ("en", "en"),
    ("es", "es"),
    ("et", "et"),
    ("fa", "fa"),
    ("fi", "fi"),
    ("fr", "fr"),
    ("hi", "hi"),
    ("hr", "hr"),
    ("hu", "hu"),
    ("hy", "hy"),
    ("id", "id"),
    ("it", "it"),
    ("ja", "ja"),
    ("lt", "lt"),
    ("lv", "lv"),
    ("nb", "no"),
    ("nl", "nl"),
    ("pl", "pl"),
    ("pt", "pt"),
    ("ro", "ro"),
    ("ru", "ru"),
    ("sk", "sk"),
    ("sl", "sl"),
    ("sv", "sv"),
    ("tr", "tr"),
    ("uk", "uk"),
    ("zh", "zh"),
];

static LISTS: LazyLock<HashMap<&'static str, StopWords>> = LazyLock::new(|| {
    LISTED.iter().filter_map(|(code, name)| Some((*code, StopWords::predefined(name)?))).collect()
});

/// The list of a language, where there is one.
pub(crate) fn list(code: &str) -> Option<&'static StopWords> {
    LISTS.get(code)
}

/// All lists.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static StopWords)> {
    LISTS.iter().map(|(code, words)| (*code, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_language_has_its_words() {
        assert!(LISTED.iter().all(|(code, _)| list(code).is_some_and(|words| words.len() > 20)));
        assert!(list("en").unwrap().contains("the") && list("cs").unwrap().contains("ale"));
    }
}
