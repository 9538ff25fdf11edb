//! Input made to break whoever reads it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidemill_text::{Analyser, Analysis, Config, Source, sanitize_html};

/// Generous for a debug build on a busy machine; what takes the square of the size below takes far longer.
const LIMIT: Duration = Duration::from_secs(20);
/// Large enough to overflow a stack by depth and to show what is not linear, in bytes.
const LARGEST: usize = 256 << 10;

fn check(found: &Analysis) {
    let flat = found.text.replace('\n', " ");
    let texts = [&found.title, &flat, &found.summary, &found.language];
    for text in texts.into_iter().chain(&found.topics) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    assert!(!found.text.is_empty() && !found.title.is_empty());
    assert!(found.summary.chars().count() <= 400 && found.title.chars().count() <= 300);
    assert!((-1.0..=1.0).contains(&found.sentiment));
    for share in [found.toxicity_score, found.confidence, found.language_certainty] {
        assert!((0.0..=1.0).contains(&share), "{share}");
    }
}

fn survives(body: &str) {
    let analyser = Analyser::new(Config::default()).unwrap();
    if let Ok(found) = analyser.analyse(&Source { title: Some(body), body, language: Some(body) }) {
        check(&found);
    }
    assert!(!sanitize_html(body).contains("<script"));
}

/// Repeats the piece; a worker's thread has no less stack than a test's.
fn survives_much_of(name: &str, piece: &str) {
    let started = Instant::now();
    survives(&piece.repeat(LARGEST / piece.len()));
    assert!(started.elapsed() < LIMIT, "{name} took {:?}", started.elapsed());
}

#[test]
fn markup_that_costs_parsers_dear_is_survived() {
    for (name, piece) in [
        ("deep blocks", "<div>"),
        ("deep lists", "<ul><li>"),
        ("deep tables", "<table><tr><td>"),
        ("formatting never closed", "<p><font size=1>x</p>"),
        ("misnested formatting", "<b><i><p></b></i>"),
        ("links in links", "<a href=x>y"),
        ("nested frames", "<iframe><svg><math><template>"),
        ("end tags without start", "</div></p>"),
        ("comments never closed", "<!-- <"),
        ("tags never closed", "<a <a "),
        ("quotes never closed", "<a b=\"'"),
        ("many attributes", "<p a=1 b=2 c=3 d=4 e=5 f=6 g=7>"),
        ("flat paragraphs", "<p>a b"),
        ("breaks", "x<br><hr>"),
        ("cells", "<td>x"),
        ("a page of divs", "<html><body><div>word word, word</div>"),
        ("angle brackets", "<"),
        ("entities", "&amp;&#0;&#x202e;&notit;"),
    ] {
        survives_much_of(name, piece);
    }
}

#[test]
fn a_tag_with_endless_attributes_is_survived() {
    let attributes: String = (0..200_000).map(|i| format!(" a{i}=1")).collect();
    survives(&format!("<p{attributes}>x</p>"));
}

#[test]
fn text_that_costs_analysers_dear_is_survived() {
    for (name, piece) in [
        ("one word", "x"),
        ("one word of marks", "\u{0301}"),
        ("capitals", "AAAA BBBB "),
        ("exclamations", "!"),
        ("stops", ". "),
        ("abbreviations", "Mr. "),
        ("swearing", "shit fuck "),
        ("spaced swearing", "s h i t "),
        ("numbers", "1.2.3,4 "),
        ("digits for letters", "1e3t 4s5h0 n1 9g3r "),
        ("single digits", "1 3 "),
        ("emoji", "😀👩\u{200d}👧"),
        ("different alphabets", "aбγ字かक"),
        ("hyphens", "a-b-c-"),
        ("quotes", "'\"'\""),
        ("links", "http://x.example/a@b "),
        ("lines", "a\n"),
        ("blank lines", "\n\n"),
    ] {
        survives_much_of(name, piece);
    }
}

#[test]
fn many_different_words_are_survived() {
    let words: String = (0..200_000).map(|i| format!("w{}x{} ", i * 7919 % 200_003, i % 13)).collect();
    survives(&words);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_is_analysed_or_refused(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_markup_is_analysed_or_refused(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "<p>", "</p>", "<b>", "</b>", "<div class='x'>", "</div>", "<table>", "<tr>", "<td>", "</table>", "<ul>",
                "<li>", "<a href=\"", "\">", "<script>", "</script>", "<!--", "-->", "<svg>", "</svg>", "<html>", "<body>",
                "<title>", "<select>", "<pre>", "<br/>", "&lt;", "&#", ";", "<", ">", "'", "A good day. ", "slow, bad ",
                "\0", "\u{202e}", "é", "字", "\n", "<![CDATA[", "]]>", "<h1>", "<img src=x>", "<ol>", "<blockquote>",
            ]),
            0..60,
        )
    ) {
        survives(&pieces.concat());
    }

    #[test]
    fn text_of_any_alphabet_and_punctuation_is_analysed(text in "(\\PC|[.!?'\" -]){0,300}") {
        survives(&text);
    }

    #[test]
    fn the_same_text_gives_the_same_analysis(text in "[a-zA-Z ,.!]{1,200}x") {
        let analyser = Analyser::new(Config::default()).unwrap();
        let source = Source { body: &text, ..Source::default() };
        prop_assert_eq!(analyser.analyse(&source).unwrap(), analyser.analyse(&source).unwrap());
    }
}
