//! Splits markup into text and tags, linear in its length whatever it holds.

use super::tag::{self, Tag};
use super::tags;

/// A piece of markup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Text, entities undecoded; a `<` in it opens no tag.
    Text(&'a str),
    /// A start tag.
    Open(Tag<'a>),
    /// An end tag; the name in lower case.
    Close(String),
}

/// Yields the pieces that a reader may see; comments, declarations and unread elements are passed over.
pub(super) struct Scanner<'a> {
    rest: &'a str,
    /// Unread elements known to have no end tag in what is left, so that it is searched once only.
    endless: Vec<&'static str>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(html: &'a str) -> Self {
        Self { rest: html, endless: Vec::new() }
    }

    /// Passes over `<!…>`, `<?…>` and `</…` that names nothing. One without an end swallows the rest, as in a browser.
    fn skip_declaration(&mut self) {
        let end = match self.rest.strip_prefix("<!--") {
            Some(comment) => comment.find("-->").map(|at| at + 7),
            None => self.rest.find('>').map(|at| at + 1),
        };
        self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
    }

    /// Passes over an unread element's content, its start tag being taken.
    fn skip_content(&mut self, name: &'static str) {
        if self.endless.contains(&name) {
            return;
        }
        match find_end(self.rest, name) {
            Some(end) => self.rest = &self.rest[end..],
            // A script runs to the end of the page; of other elements an unclosed tag must not hide the text.
            None if matches!(name, "script" | "style") => self.rest = "",
            None => self.endless.push(name),
        }
    }

    fn text(&mut self) -> Token<'a> {
        let bytes = self.rest.as_bytes();
        let end = (1..bytes.len()).find(|&at| bytes[at] == b'<' && opens_markup(&bytes[at..]));
        let (text, rest) = self.rest.split_at(end.unwrap_or(bytes.len()));
        self.rest = rest;
        Token::Text(text)
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        while !self.rest.is_empty() {
            let bytes = self.rest.as_bytes();
            if !(bytes[0] == b'<' && opens_markup(bytes)) {
                return Some(self.text());
            }
            let closing = bytes[1] == b'/';
            let start = if closing { 2 } else { 1 };
            if !bytes.get(start).is_some_and(u8::is_ascii_alphabetic) {
                self.skip_declaration();
                continue;
            }
            // A tag without an end is dropped with the rest, as the standard has it.
            let Some((tag, length)) = tag::read(&self.rest[start..]) else {
                self.rest = "";
                break;
            };
            self.rest = &self.rest[start + length..];
            let name = tag.name.as_str();
            if tags::RAW.contains(&name) {
                continue;
            }
            if let Some(unread) = tags::UNREAD.into_iter().find(|unread| *unread == name) {
                if !closing {
                    self.skip_content(unread);
                }
                continue;
            }
            return Some(if closing { Token::Close(tag.name) } else { Token::Open(tag) });
        }
        None
    }
}

fn opens_markup(bytes: &[u8]) -> bool {
    match bytes.get(1) {
        Some(b'/') => bytes.get(2).is_some(),
        Some(b'!' | b'?') => true,
        Some(byte) => byte.is_ascii_alphabetic(),
        None => false,
    }
}

/// Where the end tag of `name` ends.
fn find_end(html: &str, name: &str) -> Option<usize> {
    let bytes = html.as_bytes();
    let mut from = 0;
    while let Some(found) = html[from..].find("</") {
        let at = from + found + 2;
        let end = at + name.len();
        let named = bytes.get(at..end).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()));
        if named && bytes.get(end).is_none_or(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>')) {
            return Some(html[end..].find('>').map_or(html.len(), |close| end + close + 1));
        }
        from = at;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unread_elements_go_with_their_content() {
        let html = "a<STYLE>p{}</style >b<svg><text>c</text></svg>d<script>e";
        let text: Vec<_> = Scanner::new(html).collect();
        assert_eq!(text, [Token::Text("a"), Token::Text("b"), Token::Text("d")]);
    }

    proptest! {
        #[test]
        fn any_text_is_scanned_to_its_end(html in "[<>/!a-z \"'=&;-]{0,200}") {
            prop_assert!(Scanner::new(&html).count() <= html.len());
        }
    }
}
