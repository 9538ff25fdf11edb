//! Text for Slack and its like: what it says is shown, and nothing in it is obeyed.

/// A mention that a team chat may expand even in plain text begins with this.
const AT: char = '@';
/// Invisible, and no part of a name.
const BREAK: char = '\u{200b}';

/// Text in which neither `<!channel>` nor a link nor `@here` is more than its letters: control sequences are escaped as
/// Slack's documentation asks, an `@` is parted from the name behind it, and lines become one.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !safe.is_empty() {
            safe.push(' ');
        }
        for character in word.chars() {
            match character {
                '&' => safe.push_str("&amp;"),
                '<' => safe.push_str("&lt;"),
                '>' => safe.push_str("&gt;"),
                AT => safe.extend([AT, BREAK]),
                other => safe.push(other),
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn mentions_and_links_are_letters_and_nothing_else() {
        assert_eq!(
            escaped("<!channel> <https://evil.example|here> & more"),
            "&lt;!channel&gt; &lt;https://evil.example|here&gt; &amp; more"
        );
        assert_eq!(escaped("@here\n\u{7}@channel"), "@\u{200b}here @\u{200b}channel");
        assert_eq!(escaped("<@U123>"), "&lt;@\u{200b}U123&gt;");
    }
}
