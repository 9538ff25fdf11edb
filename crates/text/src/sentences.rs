//! Where sentences end.

use unicode_segmentation::UnicodeSegmentation;

use crate::extract::prefix;

/// Longer sentences are cut into pieces, in bytes: what analyses them may take the square of their length.
const MAX_SENTENCE: usize = 1_000;

/// Words that end in a full stop within a sentence (English, the commonest of news prose).
const ABBREVIATIONS: [&str; 34] = [
    "mr", "mrs", "ms", "dr", "prof", "rev", "gen", "col", "lt", "sgt", "capt", "gov", "sen", "rep", "pres",
    "st", "vs", "jan", "feb", "mar", "apr", "aug", "sept", "oct", "nov", "dec", "no", "e.g", "i.e", "cf",
    "messrs", "hon", "mt", "ft",
];

/// The sentences of a text whose blocks are given, by Unicode's rules (UAX 29) and a list of abbreviations.
pub(crate) fn split<'a>(blocks: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut sentences = Vec::new();
    for block in blocks {
        for sentence in within(block) {
            pieces_within(sentence, MAX_SENTENCE, &mut sentences);
        }
    }
    sentences
}

fn within(block: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, part) in block.split_sentence_bound_indices() {
        let end = at + part.len();
        if end == block.len() || !goes_on(&block[start..end]) {
            found.push(block[start..end].trim());
            start = end;
        }
    }
    found
}

/// Whether what looks like a sentence ends in an abbreviation or an initial.
fn goes_on(sentence: &str) -> bool {
    let Some(stem) = sentence.trim_end().strip_suffix('.') else { return false };
    let word = stem.rsplit([' ', '(', '"', '\'']).next().unwrap_or(stem);
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase) && word != "I";
    initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

/// Cuts what is longer than `bytes`, between words where it has any.
pub(crate) fn pieces_within<'a>(mut sentence: &'a str, bytes: usize, into: &mut Vec<&'a str>) {
    while sentence.len() > bytes {
        let head = prefix(sentence, bytes);
        let cut = head.rfind(' ').filter(|at| *at > 0).unwrap_or(head.len());
        into.push(sentence[..cut].trim());
        sentence = sentence[cut..].trim_start();
    }
    if !sentence.is_empty() {
        into.push(sentence);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn abbreviations_and_initials_end_nothing() {
        let text = "Mr. J. Smith came at 3.15 p.m. yesterday. Why? \"Because.\" He left Dec. 3.";
        assert_eq!(
            split([text]),
            ["Mr. J. Smith came at 3.15 p.m. yesterday.", "Why?", "\"Because.\"", "He left Dec. 3."]
        );
    }

    #[test]
    fn blocks_end_sentences_and_so_do_ideographic_stops() {
        assert_eq!(split(["A headline", "今日は。明日は。"]), ["A headline", "今日は。", "明日は。"]);
    }

    proptest! {
        #[test]
        fn no_sentence_is_empty_or_long_and_none_is_lost(text in "[a-zé .!?\u{3002}]{0,4000}") {
            let found = split([text.as_str()]);
            prop_assert!(found.iter().all(|s| !s.is_empty() && s.len() <= MAX_SENTENCE));
            let squeeze = |s: &str| s.replace(' ', "");
            prop_assert_eq!(squeeze(&found.concat()), squeeze(&text));
        }
    }
}
