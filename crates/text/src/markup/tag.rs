//! Reads one tag.

/// Attributes beyond this are dropped: a parser compares each with every other.
const MAX_ATTRIBUTES: usize = 16;

/// A start or end tag.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    /// In lower case.
    pub(super) name: String,
    /// Names as written, values without their quotes, entities undecoded.
    pub(super) attributes: Vec<(&'a str, &'a str)>,
}

impl Tag<'_> {
    /// Writes the start tag so that every reader of HTML agrees on where it ends.
    pub(super) fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        for (name, value) in &self.attributes {
            out.push(' ');
            out.push_str(name);
            out.push_str("=\"");
            out.push_str(&value.replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;"));
            out.push('"');
        }
        out.push('>');
    }
}

/// Reads the tag whose name begins `text`; answers it and its length up to and with the `>`. `None` where it never
/// ends.
pub(super) fn read(text: &str) -> Option<(Tag<'_>, usize)> {
    let bytes = text.as_bytes();
    let name_end = bytes.iter().position(|b| is_break(*b))?;
    let mut tag = Tag { name: safe_name(&text[..name_end]).to_ascii_lowercase(), attributes: Vec::new() };
    let mut at = name_end;
    loop {
        at += bytes[at..].iter().position(|b| !b.is_ascii_whitespace() && *b != b'/')?;
        if bytes[at] == b'>' {
            return Some((tag, at + 1));
        }
        // A `=` in the first place belongs to the name (HTML standard, 13.2.5.32).
        let name_start = at;
        at += 1 + bytes[at + 1..].iter().position(|b| is_break(*b) || *b == b'=')?;
        let name = safe_name(&text[name_start..at]);
        let (value, end) = value(text, at)?;
        at = end;
        if !name.is_empty() && tag.attributes.len() < MAX_ATTRIBUTES {
            tag.attributes.push((name, value));
        }
    }
}

/// The value that may follow an attribute's name, and where it ends.
fn value(text: &str, name_end: usize) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    let skip = |at: usize| Some(at + bytes.get(at..)?.iter().position(|b| !b.is_ascii_whitespace())?);
    let equals = skip(name_end)?;
    if bytes[equals] != b'=' {
        return Some(("", name_end));
    }
    let start = skip(equals + 1)?;
    if let quote @ (b'"' | b'\'') = bytes[start] {
        let end = start + 1 + bytes[start + 1..].iter().position(|b| *b == quote)?;
        return Some((&text[start + 1..end], end + 1));
    }
    let end = start + bytes[start..].iter().position(|b| b.is_ascii_whitespace() || *b == b'>')?;
    Some((&text[start..end], end))
}

fn is_break(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>')
}

/// The name up to the first character that no name of HTML has.
fn safe_name(name: &str) -> &str {
    let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '_')));
    &name[..end.unwrap_or(name.len())]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Option<String> {
        read(text).map(|(tag, _)| {
            let mut out = String::new();
            tag.write(&mut out);
            out
        })
    }

    #[test]
    fn a_tag_is_written_as_every_reader_reads_it() {
        assert_eq!(
            written("A HREF=x title='a > \"b\"' checked>z").unwrap(),
            r#"<a HREF="x" title="a &gt; &quot;b&quot;" checked="">"#
        );
        assert_eq!(written("br/>").unwrap(), "<br>");
        assert_eq!(written("b =\">").unwrap(), "<b>");
        assert_eq!(written("b a = >x").unwrap(), "<b a=\"\">");
    }

    #[test]
    fn a_tag_that_never_ends_is_none() {
        for text in ["a", "a href", "a href=", "a href='x>", "a b c ", "a =", "a x= "] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_tag_reads_as_itself(text in "[a-z][<>/a-z \"'=&é-]{0,60}") {
            if let Some(once) = written(&text) {
                prop_assert_eq!(written(&once[1..]).unwrap(), once);
            }
        }
    }
}
