//! The events of a load: each text another, so that none is taken for a repeat that is not meant to be one.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::args::Profile;

const WHO: [&str; 12] = [
    "The harbour",
    "A small bakery",
    "Our library",
    "The night bus",
    "Every gardener",
    "The old cinema",
    "A choir",
    "The ferry crew",
    "Her workshop",
    "The chess club",
    "A young engineer",
    "The market hall",
];
const DOES: [&str; 10] = [
    "opens early",
    "celebrates a wonderful year",
    "repairs wooden boats",
    "lends violins",
    "struggles with high rents",
    "wins a great prize",
    "moves to the riverside",
    "teaches children to cook",
    "loses its best customers",
    "plants tall trees",
];
const WHERE: [&str; 10] = [
    "in Bergen",
    "behind the station",
    "near the lighthouse",
    "on the island",
    "at the market square",
    "in the valley",
    "under the bridge",
    "by the canal",
    "in the north",
    "outside the city",
];
/// Sentences of a post, and of an article.
const POST: usize = 3;
const ARTICLE: usize = 60;

/// Makes the events of one load.
#[derive(Debug)]
pub(super) struct Texts {
    profile: Profile,
    random: SmallRng,
    last: String,
}

impl Texts {
    pub(super) fn new(profile: Profile) -> Self {
        Self { profile, random: SmallRng::from_rng(&mut rand::rng()), last: String::new() }
    }

    /// The next event's text.
    pub(super) fn next(&mut self) -> String {
        let sentences = match (self.profile, self.random.random_range(0..100)) {
            (Profile::Mixed, 95..) if !self.last.is_empty() => return self.last.clone(),
            (Profile::Long, _) | (Profile::Mixed, 85..) => ARTICLE,
            _ => POST,
        };
        self.last = (0..sentences).map(|_| self.sentence()).collect::<Vec<_>>().join(" ");
        self.last.clone()
    }

    fn sentence(&mut self) -> String {
        let mut one = |words: &[&'static str]| *words.choose(&mut self.random).expect("there are words");
        let (who, does, place) = (one(&WHO), one(&DOES), one(&WHERE));
        format!("{who} {does} {place}, says visitor {}.", self.random.random_range(0..1_000_000))
    }
}

/// An event as a line of NDJSON.
pub(super) fn line(source: &str, request_id: &str, body: &str) -> String {
    json!({ "source": source, "request_id": request_id, "payload": { "body": body } }).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn posts_and_articles_have_their_size_and_only_a_mixed_load_repeats() {
        for (profile, bytes) in [(Profile::Short, 120..400), (Profile::Long, 3000..6000)] {
            let mut texts = Texts::new(profile);
            let made: Vec<String> = (0..200).map(|_| texts.next()).collect();
            assert!(made.iter().all(|text| bytes.contains(&text.len())), "{profile:?}: {}", made[0]);
            assert_eq!(made.iter().collect::<HashSet<_>>().len(), made.len());
        }
        let mut texts = Texts::new(Profile::Mixed);
        let made: HashSet<String> = (0..1000).map(|_| texts.next()).collect();
        assert!((900..1000).contains(&made.len()), "{}", made.len());
    }
}
