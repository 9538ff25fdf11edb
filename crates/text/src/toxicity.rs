//! How toxic a text is, 0…1, by rustrict's word lists.
//!
//! rustrict gives each category a severity. They are combined as `1 − Π(1 − weight · severity)` with severities 0.33,
//! 0.66 and 1, and weights offensive 0.9, mean 0.9, profane 0.45, sexual 0.15, the combination with the fewest false
//! alarms of those tried: swearing alone stays below the usual threshold of 0.8, a slur goes above it. A text is as
//! toxic as its worst sentence, since many mild words in a long text are no slur.
//!
//! **What it cannot see**: anything that is meant and not said in a listed word (threats, contempt, dog whistles,
//! sarcasm), who is spoken about (quoting, reporting or reclaiming a slur counts like using it), most languages but
//! English, words in pictures and links. It undoes common disguises (`f u c k`, `sh1t`, look-alike letters). In doing so
//! it reads digits as letters and across spaces, and found slurs in `in 1983` and `building, a`: one editorial in
//! thirteen came out above 0.8. Hence a match that begins inside one word and ends in another is taken out, and the
//! sentence is scored again. What hides behind other letters in that way is not seen.

use rustrict::{Censor, Type};

use crate::extract::guarded;
use crate::sentences::pieces_within;

/// Stands for what is censored; cleaned text has no control characters.
const MASK: char = '\u{1}';
/// So often false matches are taken out of one piece; what is left then counts.
const MAX_PASSES: usize = 3;
/// Longer sentences are looked at in pieces, in bytes: rustrict takes the square of the length of some.
const MAX_PIECE: usize = 300;
/// Categories and their weights.
const WEIGHTS: [(Type, f64); 4] =
    [(Type::OFFENSIVE, 0.9), (Type::MEAN, 0.9), (Type::PROFANE, 0.45), (Type::SEXUAL, 0.15)];
/// Severities and their values.
const SEVERITIES: [(Type, f64); 3] = [(Type::SEVERE, 1.0), (Type::MODERATE, 0.66), (Type::MILD, 0.33)];

/// The toxicity of the worst of these texts, 0…1.
pub(crate) fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> f64 {
    texts.into_iter().map(one).fold(0.0, f64::max)
}

fn one(text: &str) -> f64 {
    let words: Vec<&str> = text.split(' ').filter(|word| !is_number(word)).collect();
    let text = words.join(" ");
    let mut pieces = Vec::new();
    pieces_within(&text, MAX_PIECE, &mut pieces);
    pieces.into_iter().map(|piece| guarded(|| piece_score(piece)).unwrap_or(0.0)).fold(0.0, f64::max)
}

/// Whether a word is a number: rustrict tries every letter that a digit may stand for, at great cost and to no use
/// where there is no letter beside it. A single digit may be one of letters spaced out.
fn is_number(word: &str) -> bool {
    word.len() > 1 && word.contains(|c: char| c.is_ascii_digit()) && !word.contains(char::is_alphabetic)
}

/// The score without matches that begin within one word and end in another.
fn piece_score(piece: &str) -> f64 {
    let mut text = piece.to_owned();
    for _ in 0..MAX_PASSES {
        let mut censor = Censor::from_str(&text);
        let found = censor.analyze();
        if combine(found) == 0.0 {
            return 0.0;
        }
        match without_straddling(&text) {
            Some(rest) => text = rest,
            None => return combine(found),
        }
    }
    combine(Censor::from_str(&text).analyze())
}

/// The text without what was matched across words from within one; `None` where nothing was.
fn without_straddling(text: &str) -> Option<String> {
    let censored = Censor::from_str(text)
        .with_censor_threshold(Type::ANY)
        .with_censor_first_character_threshold(Type::ANY)
        .with_censor_replacement(MASK)
        .censor();
    let (chars, masked): (Vec<char>, Vec<char>) = (text.chars().collect(), censored.chars().collect());
    if chars.len() != masked.len() {
        return None;
    }
    let mut rest = String::new();
    let mut at = 0;
    let mut dropped = false;
    while at < chars.len() {
        let length = masked[at..].iter().take_while(|c| **c == MASK).count();
        let span = &chars[at..at + length];
        let within_word = at > 0 && chars[at - 1].is_alphanumeric() && chars[at].is_alphanumeric();
        if within_word && span.iter().any(|c| c.is_whitespace()) {
            rest.push(' ');
            dropped = true;
        } else {
            rest.extend(&chars[at..at + length.max(1)]);
        }
        at += length.max(1);
    }
    dropped.then_some(rest)
}

fn combine(found: Type) -> f64 {
    let harmless = WEIGHTS.iter().map(|(category, weight)| 1.0 - weight * severity(found & *category));
    1.0 - harmless.product::<f64>()
}

fn severity(found: Type) -> f64 {
    SEVERITIES.iter().find(|(level, _)| found.is(*level)).map_or(0.0, |(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_combine_by_the_documented_formula() {
        assert!((combine(Type::NONE)).abs() < 1e-12);
        assert!((combine(Type::OFFENSIVE & Type::SEVERE) - 0.9).abs() < 1e-12);
        let both = (Type::PROFANE & Type::MODERATE) | (Type::SEXUAL & Type::MILD);
        assert!((combine(both) - (1.0 - (1.0 - 0.45 * 0.66) * (1.0 - 0.15 * 0.33))).abs() < 1e-12);
    }

    #[test]
    fn ordinary_words_are_harmless_and_swearing_is_no_slur() {
        assert!(one("The assessment of Scunthorpe's class was passed on to the committee.") < 0.1);
        let swearing = one("what the fuck is this shit");
        assert!(swearing > 0.2 && swearing < 0.8, "{swearing}");
    }

    #[test]
    fn a_match_from_within_one_word_into_another_is_none() {
        for text in [
            "Sales fell by half in 1983 and in 1979.",
            "The building, a high-rise, burnt.",
            "A film on doco on TV.",
        ] {
            assert!(one(text) < 0.5, "{text}: {}", one(text));
        }
        assert!(one("He sold it in 1983, you stupid bitch, kill yourself.") > 0.8);
        assert!(one("so k i l l y o u r s e l f you b i t c h") > 0.5);
    }

    #[test]
    fn the_worst_sentence_counts() {
        let bad = "you are a stupid bitch, kill yourself";
        assert!(one(bad) > 0.8, "{}", one(bad));
        assert!((of(["A fine day.", bad, "Another."]) - one(bad)).abs() < 1e-12);
    }
}
