//! What makes two texts the same.

use sha2::{Digest, Sha256};

use crate::normalise;

/// SHA-256 over the folded title and the folded body (NFKC, case and white space folded), a line break between them.
/// Texts that differ in markup, letter case, spacing or character width only have the same one.
pub(crate) fn of(title: &str, body: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(normalise::folded(title));
    hasher.update("\n");
    hasher.update(normalise::folded(body));
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_variants_are_one_text_and_words_are_not() {
        assert_eq!(of("Title", "Straße  ｆｒｅｅ"), of("TITLE ", "strasse free"));
        assert_ne!(of("a", "b c"), of("a b", "c"));
        assert_ne!(of("", "a b"), of("", "ab"));
    }
}
