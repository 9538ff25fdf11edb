//! Unicode, brought to one spelling.
//!
//! **NFC, not NFKC, for text that is kept and shown.** NFKC would turn `x²` into `x2`, `™` into `TM` and `½` into
//! `1⁄2`: it changes what an author said. **NFKC for what is only compared**: fingerprint and language read a folded
//! copy, so that `ｆｒｅｅ` and `𝐟𝐫𝐞𝐞` are `free` there.
//!
//! Removed everywhere: NUL and all other control characters, noncharacters, private use, bidirectional controls (which
//! make a text read otherwise than it is stored), zero-width characters, soft hyphens, invisible operators, fillers
//! and tag characters. A zero-width joiner stays where it does its work: between emoji, and inside a word of a script
//! that needs it (Arabic, Indic). Combining marks beyond four in a row ("zalgo") go. White space folds to one space.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// No script stacks more marks than this on one letter.
const MARKS_IN_A_ROW: usize = 4;

/// Cleans `text` to NFC; every line break that is left parts two blocks, and no block is empty.
pub(crate) fn blocks(text: &str) -> Vec<String> {
    text.split(['\n', '\u{2029}']).map(line).filter(|block| !block.is_empty()).collect()
}

/// Cleans `text` to NFC on a single line.
pub(crate) fn line(text: &str) -> String {
    let visible = drop_marks_beyond_limit(drop_invisible(text).nfc());
    let mut out = String::with_capacity(visible.len());
    for word in visible.split(is_space).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// A copy for comparing only: NFKC, without joiners and emoji variants, case-folded, on a single line.
///
/// The case fold is upper case, then lower case, character by character, which joins `ß` with `ss` and final with
/// medial sigma, as full case folding (Unicode 3.13, D144) does.
pub(crate) fn folded(text: &str) -> String {
    let compatible: String = line(text).chars().filter(|c| !is_joiner_or_variant(*c)).nfkc().collect();
    let cased = compatible.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    line(&cased.nfkc().collect::<String>())
}

fn drop_invisible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if is_space(c) {
            out.push(' ');
        } else if c == '\u{200d}' || c == '\u{200c}' {
            if joins(out.chars().next_back(), rest.peek().copied()) {
                out.push(c);
            }
        } else if !is_invisible(c) {
            out.push(c);
        }
    }
    out
}

/// Whether a joiner between these two does something that a reader sees.
fn joins(before: Option<char>, after: Option<char>) -> bool {
    match (before, after) {
        (Some(a), Some(b)) => (is_pictograph(a) && is_pictograph(b)) || (takes_joiner(a) && takes_joiner(b)),
        _ => false,
    }
}

fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{fe0f}' | '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

fn takes_joiner(c: char) -> bool {
    matches!(c, '\u{0600}'..='\u{08ff}' | '\u{0900}'..='\u{0dff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{18aa}')
        && (c.is_alphanumeric() || is_combining_mark(c))
}

fn drop_marks_beyond_limit(chars: impl Iterator<Item = char>) -> String {
    let mut marks = 0;
    chars
        .filter(|c| {
            marks = if is_combining_mark(*c) { marks + 1 } else { 0 };
            marks <= MARKS_IN_A_ROW
        })
        .collect()
}

/// White space, with the two blanks that Unicode does not count as such.
fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{2800}'
}

fn is_joiner_or_variant(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}' | '\u{f0000}'..)
        || (c as u32) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_seen_is_removed() {
        assert_eq!(line("a\0b\u{7}\u{9b}c"), "abc");
        assert_eq!(line("pay\u{202e}lap\u{202c} \u{2066}now\u{2069}"), "paylap now");
        assert_eq!(line("f\u{200b}r\u{2060}e\u{feff}e\u{ad}\u{200d}x"), "freex");
        assert_eq!(line("hi\u{e0041}\u{e007f}\u{3164}\u{ffff}\u{e000}"), "hi");
    }

    #[test]
    fn joiners_stay_where_they_do_their_work() {
        for text in ["👩\u{200d}👧", "❤\u{fe0f}\u{200d}🔥", "می\u{200c}خواهم", "क्\u{200d}ष"]
        {
            assert_eq!(line(text), text.nfc().collect::<String>());
        }
    }

    #[test]
    fn shown_text_keeps_what_its_author_wrote() {
        assert_eq!(line("x² ½ ™ ﬁ ｆｕｌｌ"), "x² ½ ™ ﬁ ｆｕｌｌ");
        assert_eq!(line("e\u{301}te\u{301}"), "été");
    }

    #[test]
    fn compared_text_folds_case_width_and_style() {
        assert_eq!(folded("Straße ΣΟΦΟΣ"), folded("STRASSE σοφος"));
        assert_eq!(folded("ｆｒｅｅ 𝐅𝐑𝐄𝐄 ❤\u{fe0f}"), "free free ❤");
    }

    #[test]
    fn stacked_marks_are_cut() {
        assert_eq!(line(&format!("z{}", "\u{0335}".repeat(50))).chars().count(), 1 + MARKS_IN_A_ROW);
    }

    #[test]
    fn white_space_folds_and_blocks_stay_apart() {
        assert_eq!(line(" a \t\u{a0}\u{2003} b\r\n\u{2028}c "), "a b c");
        assert_eq!(blocks("one\n \n\ntwo\u{2029}three"), ["one", "two", "three"]);
    }

    proptest! {
        #[test]
        fn a_cleaned_line_is_clean_and_stays_as_it_is(text in any::<String>()) {
            let once = line(&text);
            prop_assert!(!once.chars().any(char::is_control));
            prop_assert!(!once.contains("  "));
            prop_assert_eq!(line(&once), once);
        }

        #[test]
        fn folding_twice_changes_nothing(text in any::<String>()) {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }
    }
}
