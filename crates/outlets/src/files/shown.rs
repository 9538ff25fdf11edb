//! Text that is fit to be shown: without characters that no reader sees and some programs obey.

use std::borrow::Cow;

/// The text without what XML 1.0 forbids, control characters, byte order marks, and the controls that let text run
/// against its direction (U+202A–202E, U+2066–2069: a title could otherwise disguise what follows it). The marks that
/// right-to-left scripts need (U+200E, U+200F, U+061C) stay. Every kind of line end becomes `\n`.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| c == '\n' || fit(c)) {
        return Cow::Borrowed(text);
    }
    let unified = text.replace("\r\n", "\n");
    Cow::Owned(
        unified
            .chars()
            .map(|c| if matches!(c, '\r' | '\u{85}' | '\u{2028}' | '\u{2029}') { '\n' } else { c })
            .map(|c| if c == '\t' { ' ' } else { c })
            .filter(|c| *c == '\n' || fit(*c))
            .collect(),
    )
}

/// The same on one line, of at most `limit` characters; a cut is marked by an ellipsis.
pub(super) fn line(text: &str, limit: usize) -> String {
    let text = shown(text);
    let mut joined = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let gap = if joined.is_empty() { "" } else { " " };
        joined.extend([gap, word]);
        length += gap.len() + word.chars().count();
        if length > limit {
            let kept: String = joined.chars().take(limit.saturating_sub(1)).collect();
            return format!("{}…", kept.trim_end());
        }
    }
    joined
}

fn fit(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        && !matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_not_passed_on_and_what_scripts_need_is() {
        assert_eq!(shown("a\0b\u{1b}[31m\u{202e}c\u{2066}d\u{feff}\u{ffff}"), "ab[31mcd");
        assert_eq!(shown("a\r\nb\rc\u{2028}d\te"), "a\nb\nc\nd e");
        let arabic = "حديقة\u{200f} 👨\u{200d}👩 e\u{301}";
        assert!(matches!(shown(arabic), Cow::Borrowed(same) if same == arabic));
    }

    #[test]
    fn a_line_is_one_line_and_keeps_to_its_limit() {
        assert_eq!(line(" a\n b\u{2029}c ", 80), "a b c");
        assert_eq!(line("four five", 9), "four five");
        assert_eq!(line("four five six", 9), "four fiv…");
        assert_eq!(line("four five six", 6), "four…");
        for limit in 1..20 {
            assert!(line("one two three four five", limit).chars().count() <= limit, "{limit}");
        }
        assert_eq!(line(&"x".repeat(5000), 60).chars().count(), 60);
    }
}
