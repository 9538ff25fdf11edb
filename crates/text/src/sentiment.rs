//! How a text feels, −1…1: VADER (Hutto and Gilbert 2014), a lexicon with rules for negation, emphasis and emoji.
//!
//! **Only English words are known to it.** In other languages it sees emoji, emoticons, exclamation marks and
//! borrowed words; a neutral 0 there says nothing. It does not see irony, or who is praised and who is blamed.
//!
//! A short text is scored whole, as the lexicon was made for; a long one is the mean over its sentences, since the
//! sum over a long text runs to the ends of the scale.

use vader_sentimental::SentimentIntensityAnalyzer;

use crate::extract::{guarded, prefix};

/// Texts up to this length are scored whole, in bytes.
const SHORT: usize = 300;

/// The sentiment of a text and of each of its sentences, −1…1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sentiment {
    pub(crate) score: f64,
    pub(crate) sentences: Vec<f64>,
}

/// Scores a text of these sentences.
pub(crate) fn of(text: &str, sentences: &[&str]) -> Sentiment {
    let each: Vec<f64> = sentences.iter().map(|sentence| compound(sentence)).collect();
    let whole = if text.len() <= SHORT || each.is_empty() {
        compound(prefix(text, SHORT))
    } else {
        each.iter().sum::<f64>() / each.len() as f64
    };
    Sentiment { score: whole, sentences: each }
}

fn compound(text: &str) -> f64 {
    let analyser = SentimentIntensityAnalyzer::new();
    let compound = guarded(|| analyser.polarity_scores(text).compound).unwrap_or(0.0);
    if compound.is_finite() { compound.clamp(-1.0, 1.0) } else { 0.0 }
}

/// Whether any word of `text` is one of feeling in English; emoji and emoticons are no words.
pub(crate) fn has_words_of_feeling(text: &str) -> bool {
    let words = text.split(|c: char| !(c.is_ascii_alphabetic() || c == '\'')).filter(|word| word.len() > 2);
    compound(&words.collect::<Vec<_>>().join(" ")) != 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(text: &str) -> f64 {
        of(text, &[text]).score
    }

    #[test]
    fn praise_is_above_neutral_is_above_blame() {
        assert!(score("What a wonderful, great day!") > 0.6);
        assert!(score("The bus goes to the harbour.").abs() < 0.1);
        assert!(score("A horrible, disgusting failure.") < -0.6);
        assert!(score("It is not good.") < 0.0);
    }

    #[test]
    fn a_long_text_is_the_mean_of_its_sentences() {
        let sentences = ["I love this great book.", "It was horrible to read."].repeat(20);
        let text = sentences.join(" ");
        let found = of(&text, &sentences);
        let mean = (score(sentences[0]) + score(sentences[1])) / 2.0;
        assert!((found.score - mean).abs() < 1e-9);
        assert_eq!(found.sentences.len(), 40);
    }
}
