//! From whatever a source sends to plain text: pages, snippets and plain text with entities.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dom_smoothie::{Readability, TextMode};
use html2text::render::TrivialDecorator;

use crate::markup::{self, Keep};

/// Longer input is cut before anything else looks at it, in bytes. The gateway takes less.
pub(crate) const MAX_INPUT: usize = 4 << 20;
/// Larger pages are not worth finding the article in, in elements.
const MAX_ELEMENTS: usize = 20_000;
/// Wide enough that nothing is wrapped, in columns.
const WIDTH: usize = 1 << 30;

/// Plain text taken from a source; line breaks part blocks.
#[derive(Debug, Default)]
pub(crate) struct Extracted {
    pub(crate) text: String,
    /// The page's own title.
    pub(crate) title: Option<String>,
    /// Whether input beyond the limit was dropped.
    pub(crate) cut: bool,
}

/// Takes the text out of a body. It never fails: what no parser can be trusted with is stripped of its tags.
pub(crate) fn body(raw: &str) -> Extracted {
    let input = prefix(raw, MAX_INPUT);
    let cut = input.len() < raw.len();
    if !markup::is_html(input) {
        return Extracted { text: plain(input), title: None, cut };
    }
    if markup::is_page(input)
        && let Some((title, text)) = page(input)
    {
        return Extracted { text, title: Some(title), cut };
    }
    Extracted { text: snippet(input), title: None, cut }
}

/// Takes the text out of a title, which may be plain or a snippet.
pub(crate) fn title(raw: &str) -> String {
    let input = prefix(raw, MAX_INPUT);
    if markup::is_html(input) {
        snippet(input)
    } else {
        html_escape::decode_html_entities(input).into_owned()
    }
}

/// The article of a page, by Mozilla's readability rules.
fn page(html: &str) -> Option<(String, String)> {
    let tame = markup::tame(html, Keep::Everything)?;
    let config = dom_smoothie::Config {
        disable_json_ld: true,
        max_elements_to_parse: MAX_ELEMENTS,
        text_mode: TextMode::Formatted,
        ..dom_smoothie::Config::default()
    };
    let article = guarded(|| Readability::new(tame, None, Some(config)).ok()?.parse().ok())??;
    let text = article.text_content.to_string();
    (!text.trim().is_empty()).then_some((article.title, text))
}

fn snippet(html: &str) -> String {
    markup::tame(html, Keep::Blocks).and_then(|tame| render(&tame)).unwrap_or_else(|| markup::strip(html))
}

fn render(html: &str) -> Option<String> {
    let config = html2text::config::with_decorator(TrivialDecorator::new()).raw_mode(true);
    guarded(|| config.string_from_read(html.as_bytes(), WIDTH).ok())?
}

/// Plain text: entities decoded once, since feeds and forms escape; only a blank line parts blocks, since mail and
/// terminals wrap.
fn plain(text: &str) -> String {
    let decoded = html_escape::decode_html_entities(text);
    let mut out = String::with_capacity(decoded.len());
    for line in decoded.lines() {
        out.push_str(line);
        out.push(if line.trim().is_empty() { '\n' } else { ' ' });
    }
    out
}

/// Runs a library on hostile input; a panic in it is `None`. What is known to make one panic is kept from it before.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// The longest prefix of at most `bytes` bytes.
pub(crate) fn prefix(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
