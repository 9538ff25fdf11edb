//! How toxic a text is, 0…1, by rustrict's word lists.
//!
//! rustrict gives each category a severity. They are combined as `1 − Π(1 − weight · severity)` with severities 0.33,
//! 0.66 and 1, and weights offensive 0.9, mean 0.9, profane 0.45, sexual 0.15, the combination with the fewest false
//! alarms of those tried: swearing alone stays below the usual threshold of 0.8, a slur goes above it. A text is as
//! toxic as its worst sentence, since many mild words in a long text are no slur.
//!
//! **What it cannot see**: anything that is meant and not said in a listed word (threats, contempt, dog whistles,
//! sarcasm), who is spoken about (quoting, reporting or reclaiming a slur counts like using it), most languages but
//! English, words in pictures and links. It undoes common disguises (`f u c k`, `sh1t`, look-alike letters), and now
//! and then takes an innocent word for one.

use rustrict::{Censor, Type};

use crate::extract::guarded;
use crate::sentences::pieces_within;

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
    let mut pieces = Vec::new();
    pieces_within(text, MAX_PIECE, &mut pieces);
    pieces
        .into_iter()
        .map(|piece| guarded(|| Censor::from_str(piece).analyze()).map_or(0.0, combine))
        .fold(0.0, f64::max)
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
    fn the_worst_sentence_counts() {
        let bad = "you are a stupid bitch, kill yourself";
        assert!(one(bad) > 0.8, "{}", one(bad));
        assert!((of(["A fine day.", bad, "Another."]) - one(bad)).abs() < 1e-12);
    }
}
