//! The few sentences that say most of a text, as they stand in it.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use crate::stopwords;

/// The longest summary, in characters.
pub(crate) const MAX_CHARS: usize = 400;
/// Only sentences from the head of a text are chosen.
const CANDIDATES: usize = 100;
/// Sentences of fewer content words score half: they say too little alone.
const LEAST_WORDS: usize = 5;
/// How much the first sentence's place counts, against 1 for its words.
const PLACE: f64 = 0.5;

/// At most `count` sentences, in their order, at most [`MAX_CHARS`] characters.
///
/// A sentence's score is the mean frequency of its content words in the whole text (SumBasic, Nenkova and Vanderwende
/// 2005, with frequencies relative to the commonest word) and a bonus for an early place, which news prose earns:
/// `0.5 / (1 + index)`; a sentence of fewer than five content words scores half.
pub(crate) fn of(sentences: &[&str], language: &str, count: usize) -> String {
    let heads = &sentences[..sentences.len().min(CANDIDATES)];
    let words: Vec<Vec<String>> = heads.iter().map(|sentence| content_words(sentence, language)).collect();
    let mut frequency: HashMap<&str, f64> = HashMap::new();
    for word in words.iter().flatten() {
        *frequency.entry(word).or_default() += 1.0;
    }
    let top = frequency.values().copied().fold(1.0, f64::max);
    let score = |index: usize| {
        let found = &words[index];
        let mean = found.iter().map(|w| frequency[w.as_str()] / top).sum::<f64>() / found.len().max(1) as f64;
        let short = if found.len() < LEAST_WORDS { 0.5 } else { 1.0 };
        short * (mean + PLACE / (1 + index) as f64)
    };
    let mut order: Vec<(usize, f64)> = (0..heads.len()).map(|index| (index, score(index))).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    join(heads, order.iter().map(|(index, _)| *index), count)
}

fn content_words(sentence: &str, language: &str) -> Vec<String> {
    let stop = stopwords::list(language);
    let words = sentence.unicode_words().map(str::to_lowercase);
    words.filter(|word| stop.is_none_or(|stop| !stop.contains(word.as_str()))).collect()
}

/// The best that fit together, in the order of the text; where not even the best fits, its beginning.
fn join(sentences: &[&str], best: impl Iterator<Item = usize>, count: usize) -> String {
    let mut chosen: Vec<usize> = Vec::new();
    let mut room = MAX_CHARS;
    for index in best {
        let chars = sentences[index].chars().count() + usize::from(!chosen.is_empty());
        if chosen.len() < count && chars <= room {
            room -= chars;
            chosen.push(index);
        } else if chosen.is_empty() {
            return shorten(sentences[index], MAX_CHARS);
        }
    }
    chosen.sort_unstable();
    chosen.iter().map(|index| sentences[*index]).collect::<Vec<_>>().join(" ")
}

/// The beginning of `text`, at most `chars` characters, cut between words where there are any, marked `…`.
pub(crate) fn shorten(text: &str, chars: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(chars) else { return text.to_owned() };
    let room = text[..end].char_indices().next_back().map_or(0, |(at, _)| at);
    let head = &text[..room];
    let cut = head.rfind(' ').filter(|at| *at > room / 2).unwrap_or(room);
    format!("{}…", head[..cut].trim_end_matches([' ', ',', ';', ':', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_telling_sentences_in_their_order() {
        let text = [
            "The harbour board voted to raise the harbour fees next spring.",
            "It rained.",
            "Someone brought sandwiches and nobody knows who ate most of them.",
            "Fishing boats pay most of the harbour fees, the board said.",
        ];
        assert_eq!(of(&text, "en", 2), format!("{} {}", text[0], text[3]));
        assert_eq!(of(&text, "en", 1), text[0]);
    }

    #[test]
    fn a_summary_is_bounded_whatever_the_sentences() {
        let long = "wörd ".repeat(300);
        let summary = of(&[long.trim(), "Short."], "en", 2);
        assert!(summary.chars().count() <= MAX_CHARS && summary.ends_with("wörd…"), "{summary}");
        assert_eq!(of(&[], "en", 2), "");
    }

    #[test]
    fn shortening_cuts_between_words() {
        assert_eq!(shorten("one two three", 13), "one two three");
        assert_eq!(shorten("one two three", 9), "one two…");
        assert_eq!(shorten("onetwothree", 5), "onet…");
    }
}
