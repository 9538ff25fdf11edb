//! Takes the teeth out of HTML before a parser sees it.
//!
//! A parser that follows the HTML standard can be made to work without end: ten thousand open elements cost the square
//! of their number, unclosed formatting elements are cloned into every later block, and deep trees overflow the stack
//! of whoever walks them. So markup is first rewritten by one linear pass that drops comments, scripts and whatever
//! else is never read, escapes every `<` that opens no tag, and counts how deep the parser would get. The parser sees
//! only what this pass wrote, so no difference between the two can be used to get past it. What is too deep or too
//! costly is never parsed; [`strip`] takes its text instead.

mod scan;
mod tag;
mod tags;

use scan::{Scanner, Token};
use tag::Tag;

/// The deepest tree that is parsed; real pages stay below 100.
const MAX_DEPTH: usize = 200;
/// The greatest sum of depths over all tags; a large real page comes to some 100,000.
const MAX_COST: usize = 2_000_000;

/// What is written for each tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Names and attributes, for a reader that looks at classes, ids or links.
    Everything,
    /// Names only, layout tags replaced by plain blocks: nothing is left that makes a renderer allocate.
    Blocks,
}

/// Rewrites `html`; `None` where a parser should not be let near it.
pub(crate) fn tame(html: &str, keep: Keep) -> Option<String> {
    let mut out = String::with_capacity(html.len());
    let mut depth = Depth::default();
    for token in Scanner::new(html) {
        match token {
            Token::Text(text) => out.push_str(&text.replace('<', "&lt;")),
            Token::Open(tag) => match written(&tag.name, keep) {
                Some(name) => {
                    depth.open(name)?;
                    match keep {
                        Keep::Everything => tag.write(&mut out),
                        Keep::Blocks => push_tag(&mut out, "<", name),
                    }
                }
                None => out.push(' '),
            },
            Token::Close(name) => {
                if let Some(name) = written(&name, keep) {
                    depth.close(name);
                    push_tag(&mut out, "</", name);
                }
            }
        }
    }
    Some(out)
}

fn written(name: &str, keep: Keep) -> Option<&str> {
    match keep {
        Keep::Everything => Some(name),
        Keep::Blocks => tags::as_block(name),
    }
}

/// The text of `html` without a parser: tags gone, blocks parted by line breaks, entities decoded.
pub(crate) fn strip(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    for token in Scanner::new(html) {
        match token {
            Token::Text(text) => out.push_str(&html_escape::decode_html_entities(&fold(text))),
            Token::Open(Tag { name, .. }) | Token::Close(name) => {
                if !tags::is_inline(&name) {
                    out.push('\n');
                }
            }
        }
    }
    out
}

/// Whether `text` has at least one tag of HTML; `a < b`, `<3` and `Vec<T>` are none.
pub(crate) fn is_html(text: &str) -> bool {
    text.contains('<')
        && Scanner::new(text).any(|token| match token {
            Token::Text(_) => false,
            Token::Open(Tag { name, .. }) | Token::Close(name) => tags::is_known(&name),
        })
}

/// Whether `text` is a whole page and no snippet.
pub(crate) fn is_page(text: &str) -> bool {
    Scanner::new(text).take(50).any(
        |token| matches!(token, Token::Open(tag) if matches!(tag.name.as_str(), "html" | "head" | "body")),
    )
}

/// In HTML a line break is a space like any other.
fn fold(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn push_tag(out: &mut String, opening: &str, name: &str) {
    out.push_str(opening);
    out.push_str(name);
    out.push('>');
}

/// An upper bound for how deep the parser's stack gets.
///
/// An end tag lowers it only where it matches the innermost open element exactly: everything that a parser would mend
/// (misnesting, formatting never closed) counts as still open.
#[derive(Default)]
struct Depth {
    open: Vec<String>,
    cost: usize,
}

impl Depth {
    fn open(&mut self, name: &str) -> Option<()> {
        self.cost += 1 + self.open.len();
        if !tags::closes_itself(name) {
            self.open.push(name.to_owned());
        }
        (self.open.len() <= MAX_DEPTH && self.cost <= MAX_COST).then_some(())
    }

    fn close(&mut self, name: &str) {
        if self.open.last().is_some_and(|last| last == name) {
            self.open.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_markup_passes_without_scripts_and_comments() {
        let html = "<p class=x>a<!-- <b> --><b>b</b><script>if (a<b) {}</script> 1 < 2</p>";
        assert_eq!(tame(html, Keep::Everything).unwrap(), r#"<p class="x">a<b>b</b> 1 &lt; 2</p>"#);
        assert_eq!(tame(html, Keep::Blocks).unwrap(), "<p>a<span>b</span> 1 &lt; 2</p>");
    }

    #[test]
    fn what_would_be_deep_is_refused() {
        assert_eq!(tame(&"<div>".repeat(100_000), Keep::Everything), None);
        assert_eq!(tame(&"<div></x>".repeat(100_000), Keep::Everything), None);
        assert_eq!(tame(&"<div a='</div>'>".repeat(1_000), Keep::Everything), None);
        assert_eq!(tame(&"<p><font size=1></p>".repeat(1_000), Keep::Everything), None);
    }

    #[test]
    fn long_but_flat_pages_pass() {
        let page = "<div><ul><li>one<li>two</ul><p>three<p>four</div>".repeat(5_000);
        assert!(tame(&page, Keep::Everything).is_some());
    }

    #[test]
    fn dropping_a_comment_makes_no_new_tag() {
        assert_eq!(tame("<<!-- -->script>x", Keep::Everything).unwrap(), "&lt;script>x");
    }

    #[test]
    fn stripping_keeps_text_and_parts_blocks() {
        assert_eq!(strip("<div>a<b>b</b>\n&amp; c</div><p>d"), "\nab & c\n\nd");
    }

    #[test]
    fn only_tags_of_html_make_html() {
        assert!(is_html("a<br>b") && is_html("<P>x") && is_html("x</div>"));
        assert!(!is_html("1 < 2, I <3 you, Vec<T>, <unknown>, a <- b"));
        assert!(is_page("<!doctype html><html><body>x") && !is_page("<p>x</p>"));
    }
}
