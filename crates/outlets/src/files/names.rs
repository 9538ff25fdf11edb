//! File names that no title can abuse.

use crate::Post;

/// Hexadecimal characters of the key that a name carries: 64 bits. The whole key stands in the front matter.
const KEY_LENGTH: usize = 16;
/// The longest slug, in characters; with date and key a name stays far below 255 bytes.
const SLUG_LENGTH: usize = 60;
/// Characters of a title that are looked at: a slug can be no longer than what they spell.
const TITLE_LENGTH: usize = 200;

/// `<date>-<slug>-<key>`: ASCII letters, digits and hyphens only. It begins with a date, so it is no reserved name.
pub(super) fn file_name(post: &Post<'_>) -> String {
    let title: String = post.content.title.chars().take(TITLE_LENGTH).collect();
    let slug: String = slug::slugify(title).chars().take(SLUG_LENGTH).collect();
    let slug = slug.trim_matches('-');
    let slug = if slug.is_empty() { "untitled" } else { slug };
    format!("{}-{slug}{}", super::head::date(post.published_at).format("%Y-%m-%d"), suffix(post.key))
}

/// How the names of a key's files end, before the extension.
pub(super) fn suffix(key: &str) -> String {
    format!("-{}", key.get(..KEY_LENGTH).unwrap_or(key))
}

/// Whether this is a publication key: 64 lower-case hexadecimal characters.
pub(super) fn is_key(key: &str) -> bool {
    key.len() == 64 && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a name, without extension, has the form of a post's.
pub(super) fn is_post(name: &str) -> bool {
    let key = name.rsplit_once('-').map_or("", |(_, key)| key);
    let day = name.as_bytes().iter().zip(b"0000-00-00-");
    name.len() > 11 + KEY_LENGTH
        && day.clone().all(|(have, form)| have == form || (*form == b'0' && have.is_ascii_digit()))
        && key.len() == KEY_LENGTH
        && key.bytes().all(|b| b.is_ascii_hexdigit())
}
