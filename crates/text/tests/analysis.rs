//! What a caller sees of ordinary texts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fmt::Write;

use tidemill_text::{Analyser, Analysis, Config, Error, Source};

const NEWS: &str = "The harbour board of Port Ellen voted on Tuesday to raise harbour fees for fishing boats. Most \
    boat owners welcomed the vote, since the fees will pay for a new pier. The old pier was badly damaged in the \
    storms of last winter, and nobody has felt safe on it since. Work on the new pier begins in April.";

fn analyse(source: &Source<'_>) -> Analysis {
    Analyser::new(Config::default()).unwrap().analyse(source).unwrap()
}

fn of(body: &str) -> Analysis {
    analyse(&Source { body, ..Source::default() })
}

#[test]
fn clean_english_prose_is_trusted() {
    let found = of(NEWS);
    assert_eq!((found.language.as_str(), found.sentences, found.truncated), ("en", 4, false));
    assert!(found.language_certainty > 0.9 && found.confidence > 0.8, "{found:?}");
    assert!(found.toxicity_score < 0.1 && found.sentiment.abs() < 0.5, "{found:?}");
    assert_eq!(found.text, NEWS);
    assert!(found.topics.iter().any(|topic| topic.contains("pier")), "{:?}", found.topics);
}

#[test]
fn very_short_and_garbled_posts_are_not_trusted() {
    for body in [
        "ok",
        "hahaha!!!",
        "Moving day.",
        "xq zzkt vrrp 0x3f ||| 99",
        "\u{fffd}\u{fffd}d\u{fffd} th\u{fffd} b\u{fffd}",
    ] {
        let found = of(body);
        assert!(found.confidence < 0.6, "{body}: {found:?}");
    }
}

#[test]
fn a_snippet_loses_its_markup_and_keeps_its_words_apart() {
    let found =
        of("<p>One &amp; two<br>three</p><ul><li>four</li><li>five</ul><script>six</script>seven<b>teen</b>");
    assert_eq!(found.text, "One & two\nthree\nfour\nfive\nseventeen");
    let table = of("<table><tr><td colspan=99999999>a</td><td>b</td></tr><tr><th>c</table><hr>d");
    assert_eq!(table.text, "a b\nc\nd");
}

#[test]
fn a_page_is_reduced_to_its_article_and_title() {
    let mut paragraphs = String::new();
    for part in 1..6 {
        write!(paragraphs, "<p>Part {part}. {NEWS}</p>").unwrap();
    }
    let page = format!(
        "<!doctype html><html><head><title>Fees rise in Port Ellen</title><style>p{{}}</style></head><body>\
         <nav><ul><li><a href=/>Home</a><li><a href=/x>Imprint</a></ul></nav><article class=story>{paragraphs}</article>\
         <footer>Cookie settings</footer><script>track()</script></body></html>"
    );
    let found = of(&page);
    assert_eq!(found.title, "Fees rise in Port Ellen");
    assert!(
        found.text.starts_with("Part 1. The harbour") && found.text.contains("Part 5."),
        "{}",
        found.text
    );
    assert!(!found.text.contains("Imprint") && !found.text.contains("Cookie"), "{}", found.text);
}

#[test]
fn plain_text_that_looks_like_markup_is_left_alone() {
    assert_eq!(of("I <3 you, 1 < 2 &amp; Vec<T> is &lt;b&gt;").text, "I <3 you, 1 < 2 & Vec<T> is <b>");
}

#[test]
fn a_missing_title_is_the_beginning_of_the_text() {
    assert_eq!(of("Short one. And more.").title, "Short one.");
    let endless = NEWS.replace('.', ",");
    let long = of(&endless).title;
    assert!(long.chars().count() <= 100 && long.ends_with('…'), "{long}");
    assert!(endless.starts_with(long.trim_end_matches('…')), "{long}");
    assert_eq!(
        analyse(&Source { title: Some(" <b>A</b> &amp; B\u{202e} "), body: NEWS, language: None }).title,
        "A & B"
    );
}

#[test]
fn a_headline_alone_is_its_own_text() {
    let found = analyse(&Source { title: Some("Pier opens"), body: " \n", language: None });
    assert_eq!((found.title.as_str(), found.text.as_str()), ("Pier opens", "Pier opens"));
}

#[test]
fn nothing_readable_is_refused_for_good() {
    let analyser = Analyser::new(Config::default()).unwrap();
    for body in [
        "",
        " \t\n",
        "\0\u{7}",
        "\u{200b}\u{202e}\u{feff}",
        "<p> </p><script>x</script>",
        "<!-- only -->&nbsp;<br>",
    ] {
        let error = analyser.analyse(&Source { body, ..Source::default() }).unwrap_err();
        assert_eq!(error, Error::Empty { bytes: body.len() }, "{body:?}");
        let failure = model::Failure::from(error);
        assert_eq!(failure.class, model::RetryClass::Permanent);
        assert!(failure.reason.contains("empty"), "{}", failure.reason);
    }
}

#[test]
fn a_long_text_is_cut_and_says_so() {
    let analyser = Analyser::new(Config { max_chars: 200, ..Config::default() }).unwrap();
    let long = NEWS.repeat(3);
    let cut = analyser.analyse(&Source { body: &long, ..Source::default() }).unwrap();
    assert!(cut.truncated && cut.text.chars().count() <= 200 && long.starts_with(&cut.text));
    let other = analyser.analyse(&Source { body: &format!("{long} The end."), ..Source::default() }).unwrap();
    assert_eq!(cut.text, other.text);
    assert_ne!(cut.fingerprint, other.fingerprint, "texts that differ beyond the cut are different texts");
}

#[test]
fn repeats_share_a_fingerprint_whatever_their_dress() {
    let plain = analyse(&Source { title: Some("Fees rise"), body: NEWS, language: None });
    let html = NEWS.to_uppercase().replace(". ", ".</p>\n\n<p>");
    let dressed = analyse(&Source {
        title: Some("<i>FEES</i>  rise"),
        body: &format!("<p>{html}</p>"),
        language: Some("en"),
    });
    assert_eq!(plain.fingerprint, dressed.fingerprint);
    assert_ne!(plain.fingerprint, of(NEWS).fingerprint, "the title counts");
}

#[test]
fn slurs_are_seen_in_title_and_text_and_through_disguise() {
    for (title, body) in [
        (None, "You are a st\u{200b}upid b1tch, kill yourself."),
        (Some("kill yourself you stupid bitch"), NEWS),
    ] {
        let found = analyse(&Source { title, body, language: None });
        assert!(found.toxicity_score > 0.8, "{found:?}");
    }
}

#[test]
fn the_configuration_is_checked() {
    let unknown = Config { languages: vec!["en".to_owned(), "xx".to_owned()], ..Config::default() };
    assert_eq!(Analyser::new(unknown).unwrap_err(), Error::UnknownLanguage { code: "xx".to_owned() });
    let small = Config { max_chars: 5, ..Config::default() };
    assert!(Analyser::new(small).unwrap_err().to_string().contains("`max_chars` must be at least 100"));
    assert!(
        serde_json::from_str::<Config>(r#"{"topic": 3}"#).unwrap_err().to_string().contains("unknown field")
    );
    assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
}
