//! File names that no title can abuse.

use crate::Post;

/// Hexadecimal characters of the key that a name carries.
pub(super) const KEY_LENGTH: usize = 16;
/// The longest slug, in characters; with date and key a name stays far below 255 bytes.
const SLUG_LENGTH: usize = 60;

/// `<date>-<slug>-<key>`: ASCII letters, digits and hyphens only.
pub(super) fn file_name(post: &Post<'_>) -> String {
    let slug: String = slug::slugify(&post.content.title).chars().take(SLUG_LENGTH).collect();
    let slug = slug.trim_matches('-');
    let slug = if slug.is_empty() { "untitled" } else { slug };
    format!("{}-{slug}{}", post.published_at.format("%Y-%m-%d"), suffix(post.key))
}

/// How the name of a key's files ends.
pub(super) fn suffix(key: &str) -> String {
    let safe: String = key.chars().filter(char::is_ascii_alphanumeric).take(KEY_LENGTH).collect();
    format!("-{safe:0>KEY_LENGTH$}")
}
