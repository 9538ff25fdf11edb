//! Which workflow fits a goal: how much of the goal's words its name and description have, rare words counting more.
//!
//! The score is the share of the goal's weight that is covered, the weight of a word being its inverse document frequency,
//! ln(1 + n / (1 + df)), as in Spärck Jones 1972, smoothed for words that no description has. The same goal and workflows give
//! the same choice.

use std::collections::BTreeSet;

/// From this share on a workflow fits.
pub const FITS: f64 = 0.5;

/// Words that say nothing of what a text is about.
const STOP: &[&str] = &[
    "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "into", "is", "it", "its", "me",
    "my", "of", "on", "or", "our", "please", "that", "the", "their", "this", "to", "us", "want", "we",
    "with", "you", "your", "i", "need",
];

/// A workflow that a goal may be meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is for.
    pub description: &'a str,
}

/// The scores of all, from 0 to 1, the best first; of two alike the first by name.
#[must_use]
pub fn ranked<'a>(goal: &str, candidates: &[Candidate<'a>]) -> Vec<(&'a str, f64)> {
    let wanted = words(goal);
    let known: Vec<(&str, BTreeSet<String>)> = candidates
        .iter()
        .map(|one| (one.name, words(&format!("{} {}", one.name.replace('_', " "), one.description))))
        .collect();
    let weight = |word: &String| {
        let having = known.iter().filter(|(_, words)| words.contains(word)).count();
        (1.0 + as_float(known.len()) / (1.0 + as_float(having))).ln()
    };
    let whole: f64 = wanted.iter().map(weight).sum();
    let mut scores: Vec<(&str, f64)> = known
        .iter()
        .map(|(name, words)| {
            let covered: f64 = wanted.intersection(words).map(weight).sum();
            (*name, if whole > 0.0 { covered / whole } else { 0.0 })
        })
        .collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    scores
}

/// The one that fits; `None` where none does, or two fit alike.
#[must_use]
pub fn best_fit<'a>(goal: &str, candidates: &[Candidate<'a>]) -> Option<(&'a str, f64)> {
    let scores = ranked(goal, candidates);
    let (name, score) = *scores.first()?;
    let alone = scores.get(1).is_none_or(|(_, next)| *next < score);
    (score >= FITS && alone).then_some((name, score))
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| !word.is_empty() && !STOP.contains(&word.as_str()))
        .map(|word| singular(&word))
        .collect()
}

/// Without the plural's ending, of words that are long enough to have one.
fn singular(word: &str) -> String {
    match word.strip_suffix('s') {
        Some(stem) if stem.chars().count() > 2 && !stem.ends_with('s') => stem.to_owned(),
        _ => word.to_owned(),
    }
}

fn as_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Candidate<'_>; 3] = [
        Candidate { name: "build_website", description: "build a small website from a goal in words" },
        Candidate { name: "newsletter", description: "write the weekly newsletter of a museum" },
        Candidate {
            name: "trend",
            description: "detect emerging trends, summarise them, embed them for recall",
        },
    ];

    #[test]
    fn the_workflow_that_covers_the_goal_is_picked_and_one_that_does_not_is_none() {
        assert_eq!(best_fit("Please build us a website", &KNOWN).unwrap().0, "build_website");
        assert_eq!(best_fit("newsletters of our museum", &KNOWN).unwrap().0, "newsletter");
        for goal in ["", "the of and", "repair the ferry's engine", "build an engine for ships and boats"] {
            assert_eq!(best_fit(goal, &KNOWN), None, "{goal}");
        }
    }

    #[test]
    fn two_that_fit_alike_are_not_chosen_between() {
        let twins = [
            Candidate { name: "a", description: "sort mail" },
            Candidate { name: "b", description: "sort mail" },
        ];
        assert_eq!(best_fit("sort mail", &twins), None);
        assert_eq!(ranked("sort mail", &twins)[0].0, "a");
    }

    proptest::proptest! {
        #[test]
        fn scores_are_shares_and_do_not_hang_on_the_order(goal in ".{0,60}", descriptions in proptest::collection::vec(".{0,40}", 0..5)) {
            let names: Vec<String> = (0..descriptions.len()).map(|number| format!("w{number}")).collect();
            let mut known: Vec<Candidate<'_>> = names.iter().zip(&descriptions)
                .map(|(name, description)| Candidate { name, description }).collect();
            let scores = ranked(&goal, &known);
            proptest::prop_assert!(scores.iter().all(|(_, score)| (0.0..=1.0 + 1e-9).contains(score)));
            known.reverse();
            let again = ranked(&goal, &known);
            proptest::prop_assert_eq!(
                scores.iter().map(|(name, _)| *name).collect::<Vec<_>>(), again.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        }
    }
}
