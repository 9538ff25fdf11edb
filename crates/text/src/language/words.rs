//! Languages by their function words.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use unicode_segmentation::UnicodeSegmentation;

use crate::{sentiment, stopwords};

/// One more word of a language than of the next multiplies the odds by this, its base-2 logarithm being 2.
const BITS_A_WORD: f64 = 2.0;
/// What an English word of feeling counts, in function words: some of them are at home in other languages too.
const FEELING: f64 = 0.5;

/// A witness's word on a language.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vote {
    /// ISO 639-1.
    pub(super) code: &'static str,
    /// 0…1.
    pub(super) certainty: f64,
}

/// Which languages have a function word.
static OWNERS: LazyLock<HashMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let mut owners: HashMap<&'static str, Vec<&'static str>> = HashMap::new();
    for (code, words) in stopwords::all() {
        for word in words.iter() {
            owners.entry(word).or_default().push(code);
        }
    }
    owners
});

/// The language with the most function words, be it allowed or not: a text in another language must not pass for one
/// of the allowed. A word that `k` languages share counts `1/k` for each; with a lead of `m` words over the next
/// language the certainty is `1 − 2^(−2m)`. Words of feeling that the English sentiment lexicon knows count half a
/// word for English. Of equals an allowed language is heard.
pub(super) fn vote(sample: &str, allowed: &HashSet<&'static str>) -> Option<Vote> {
    let mut counts: HashMap<&'static str, f64> = HashMap::new();
    for word in sample.unicode_words() {
        let owners = OWNERS.get(word).map(Vec::as_slice).unwrap_or_default();
        for code in owners {
            *counts.entry(code).or_default() += 1.0 / owners.len() as f64;
        }
    }
    if sentiment::has_words_of_feeling(sample) {
        *counts.entry("en").or_default() += FEELING;
    }
    let rank = |code: &&'static str| (allowed.contains(code), std::cmp::Reverse(*code));
    let (code, most) = counts.iter().max_by(|a, b| a.1.total_cmp(b.1).then(rank(a.0).cmp(&rank(b.0))))?;
    let next = counts.iter().filter(|(other, _)| *other != code).map(|(_, n)| *n).fold(0.0, f64::max);
    Some(Vote { code, certainty: 1.0 - (-BITS_A_WORD * (most - next)).exp2() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_words_tell_less_than_a_language_s_own() {
        let allowed = HashSet::from(["en", "es", "it", "de"]);
        let shared = vote("no", &allowed).unwrap();
        let own = vote("they", &allowed).unwrap();
        assert!(shared.certainty < 0.1, "{shared:?}");
        assert_eq!(own, Vote { code: "en", certainty: 0.75 });
        assert_eq!(vote("they", &HashSet::from(["de"])).unwrap().code, "en");
        assert_eq!(vote("4711", &allowed), None);
    }
}
