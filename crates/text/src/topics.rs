//! What a text is about, in its own words.
//!
//! YAKE (Campos et al. 2020, yake-rust) was chosen over RAKE: on editorials it named people and things ("Newt
//! Gingrich", "Representative Herman") where RAKE gave the longest runs between stop words ("quarrelsome House minority
//! whip", "imposed reasonable limits"). It costs several times as much, some 0.1 ms for a post and 1 ms for a page, a
//! small part of what the vector of the same text costs.

use std::collections::HashSet;

use yake_rust::StopWords;

use crate::extract::{guarded, prefix};
use crate::stopwords;

/// So much of a text is read for topics, in bytes: the head says what it is about.
const SAMPLE: usize = 4_000;
/// Longer words are no words, in bytes; candidates are compared in the square of their length.
const MAX_WORD: usize = 40;
/// Candidates for each topic wanted, of which those that repeat a better one are dropped.
const CANDIDATES: usize = 4;

/// At most `count` topics, most telling first, of up to three words; no two share a word.
pub(crate) fn of(text: &str, language: &str, count: usize) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    let none = StopWords::default();
    let stop = stopwords::list(language).unwrap_or(&none);
    let config = yake_rust::Config { only_alphanumeric_and_hyphen: true, ..yake_rust::Config::default() };
    let sample = sample(text);
    let wanted = count.saturating_mul(CANDIDATES);
    let found = guarded(|| yake_rust::get_n_best(wanted, &sample, stop, &config)).unwrap_or_default();
    let mut seen = HashSet::new();
    let mut topics: Vec<String> = Vec::new();
    for candidate in found {
        let words: Vec<String> = candidate.raw.split([' ', '-']).map(str::to_lowercase).collect();
        if topics.len() < count && !words.iter().any(|word| seen.contains(word)) {
            seen.extend(words);
            topics.push(candidate.raw);
        }
    }
    topics
}

/// The head of a text without links and mentions, and without what is no word.
fn sample(text: &str) -> String {
    let words = prefix(text, SAMPLE).split(' ');
    let words = words.filter(|w| w.len() <= MAX_WORD && !w.starts_with('@') && !w.contains("://"));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "The harbour board of Port Ellen voted on Tuesday to raise harbour fees. Fishing boats pay most \
        of the harbour fees, and the Port Ellen board said that the boats need a new pier. The new pier will cost two \
        million pounds.";

    #[test]
    fn topics_are_the_text_s_own_words_without_function_words() {
        let topics = of(TEXT, "en", 4);
        assert!(topics.len() > 1 && topics.len() <= 4, "{topics:?}");
        assert!(topics.iter().any(|topic| topic.contains("Port Ellen")), "{topics:?}");
        assert!(topics.iter().all(|topic| TEXT.contains(topic) && topic != "the"), "{topics:?}");
    }

    #[test]
    fn no_word_is_named_twice() {
        let topics = of(TEXT, "en", 10);
        let words: Vec<String> = topics.iter().flat_map(|t| t.split(' ')).map(str::to_lowercase).collect();
        assert_eq!(words.len(), words.iter().collect::<HashSet<_>>().len(), "{topics:?}");
    }

    #[test]
    fn links_and_noise_are_no_topics() {
        let noise = format!("@someone https://example.org/pier {}", "x".repeat(3_000));
        assert_eq!(of(&noise, "en", 5), Vec::<String>::new());
        assert_eq!(of(TEXT, "en", 0), Vec::<String>::new());
    }
}
