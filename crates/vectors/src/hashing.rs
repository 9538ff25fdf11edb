//! The embedder of last resort: no model, only hashed words.

use futures::future::BoxFuture;
use unicode_segmentation::UnicodeSegmentation;

use crate::Embedder;
use crate::Error;
use crate::embedder::{normalise, off_thread};

const MODEL: &str = "hashing-384-v1";
const DIMENSIONS: usize = 384;
/// Bytes of a text that count: beyond a few thousand words nothing changes the direction any more.
const MAX_BYTES: usize = 64 * 1024;

/// Feature hashing of word unigrams and bigrams (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask
/// Learning"): each feature adds ±1 at a place given by its FNV-1a hash, and the sum is normalised.
///
/// It sees shared words only: a paraphrase in other words is a stranger to it, a text with the same words in another
/// order is nearly the same. Its vectors carry their own model name, so they are never compared with a model's.
#[derive(Debug)]
pub struct Hashing(());

impl Hashing {
    /// Says in the log that this is no model, since search and near-duplicates suffer silently otherwise.
    #[expect(clippy::new_without_default, reason = "a default must not choose the worst embedder in silence")]
    #[must_use]
    pub fn new() -> Self {
        tracing::warn!(
            model = MODEL,
            "NO EMBEDDING MODEL: texts are compared by their words, not their meaning; near-duplicates in other \
             words are missed. Fetch the model with `tidemill model fetch DIR` or configure an endpoint"
        );
        Self(())
    }
}

impl Embedder for Hashing {
    fn model(&self) -> &str {
        MODEL
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        let texts: Vec<String> = texts.iter().map(|text| prefix(text, MAX_BYTES).to_owned()).collect();
        Box::pin(off_thread(move || Ok(texts.iter().map(|text| hash_text(text)).collect())))
    }
}

fn hash_text(text: &str) -> Vec<f32> {
    let words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
    let mut vector = vec![0.0; DIMENSIONS];
    for word in &words {
        add(&mut vector, &[word]);
    }
    for pair in words.windows(2) {
        add(&mut vector, &[&pair[0], &pair[1]]);
    }
    // No words, or all features cancelled out: the feature of the empty text, so that the length is 1 all the same.
    if !normalise(&mut vector) {
        vector.fill(0.0);
        add(&mut vector, &[]);
    }
    vector
}

fn add(vector: &mut [f32], words: &[&str]) {
    let hash = fnv1a(words);
    let place = (hash % DIMENSIONS as u64) as usize;
    // The top bit, which the low-order remainder hardly depends on.
    vector[place] += if hash >> 63 == 0 { 1.0 } else { -1.0 };
}

/// FNV-1a, 64 bits (draft-eastlake-fnv), each word ended by a byte that occurs in no UTF-8 text.
fn fnv1a(words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The longest start of `text` of at most `limit` bytes that ends between characters.
pub(crate) fn prefix(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        hash_text(a).iter().zip(hash_text(b)).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn shared_words_are_near_and_other_words_are_far() {
        let text = "the central bank raised its interest rates on monday";
        assert!(cosine(text, "the central bank raised its interest rates on tuesday") > 0.75);
        assert!(cosine(text, "penguins waddle across antarctic ice shelves").abs() < 0.3);
    }

    #[test]
    fn word_order_counts_through_bigrams() {
        let swapped = cosine("dog bites man", "man bites dog");
        assert!(swapped > 0.3 && swapped < 0.95, "{swapped}");
    }

    #[test]
    fn case_and_punctuation_do_not_count() {
        assert!(cosine("Hello, World!", "hello world") > 0.999);
    }

    #[test]
    fn a_text_without_words_still_has_a_direction() {
        for text in ["", "   ", "…!?", "\u{0}"] {
            let length: f32 = hash_text(text).iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-6, "{text:?}");
        }
    }

    #[test]
    fn vectors_do_not_change_between_releases() {
        // Stored vectors are compared with new ones under the same model name.
        let places: Vec<usize> =
            hash_text("tide mill").iter().enumerate().filter(|(_, x)| **x != 0.0).map(|(i, _)| i).collect();
        let expected: Vec<usize> = {
            let mut places: Vec<usize> = [&["tide"][..], &["mill"], &["tide", "mill"]]
                .iter()
                .map(|words| (fnv1a(words) % 384) as usize)
                .collect();
            places.sort_unstable();
            places
        };
        assert_eq!(places, expected);
        assert_eq!(fnv1a(&[]), 0xcbf2_9ce4_8422_2325);
    }

    #[test]
    fn a_prefix_never_splits_a_character() {
        assert_eq!(prefix("añb", 2), "a");
        assert_eq!(prefix("añb", 9), "añb");
    }

    #[tokio::test]
    async fn one_vector_per_text_in_their_order() {
        let texts = vec!["alpha".to_owned(), String::new(), "beta".to_owned()];
        let vectors = Hashing::new().embed(&texts).await.unwrap();
        assert_eq!(vectors, [hash_text("alpha"), hash_text(""), hash_text("beta")]);
    }
}
