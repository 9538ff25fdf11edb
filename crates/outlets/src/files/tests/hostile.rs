use super::*;

fn titles() -> Vec<String> {
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\windows",
        "a\0b",
        "...",
        "???",
        "con",
        "NUL.md",
        ".htaccess",
        "-rf *",
        "\u{202e}lmth.live",
        "\u{2067}\u{2066}both ways",
        "حديقة جديدة على ضفة النهر",
        "駅舎が図書館に",
        "🦀🦀🦀",
        "---\ntitle: forged\n---\n",
        "x\u{85}title: forged\u{2028}title: forged",
        "\"quoted\" 'and' \\ back",
        "{{ site.secrets }} {% include secrets %}",
        "</title><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "]]><entry/><!--",
        "\u{1}\u{8}\u{b}\u{c}\u{1f}\u{7f}\u{fffe}\u{ffff}",
        "[x](javascript:alert(1)) ![y](data:z)",
        "&lt;b&gt; &amp;#60;",
        "",
        " \n\t ",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["x".repeat(5000), "語".repeat(5000), "\u{301}".repeat(300)])
    .collect()
}

#[tokio::test]
async fn hostile_texts_stay_inside_the_folder_and_inside_their_place() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("out");
    let files = outlet(&folder);
    let titles = titles();
    for (n, title) in (0..).zip(&titles) {
        let content = Content {
            summary: title.clone(),
            body: format!("One.\n{title}\n---\n    <script>alert(1)</script>\n1. [x](javascript:alert(1))"),
            url: Some("javascript:alert(1)".to_owned()),
            language: title.clone(),
            tags: vec![title.clone()],
            ..content(title)
        };
        let result = deliver(&files, n, &content).await;
        assert!(matches!(result, EffectResult::Confirmed { .. }), "{title}: {result:?}");
    }
    assert_eq!(listing(parent.path()), ["out"]);
    let names = listing(&folder);
    assert_eq!(names.len(), titles.len() * 2 + 1);
    for name in names.iter().filter(|name| *name != "feed.atom") {
        assert!(name.len() < 120 && name.starts_with("2026-"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'), "{name}");
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{name}");
        assert!(!text.contains(['\u{202e}', '\u{2066}', '\u{2067}', '\u{2028}', '\u{ffff}']), "{name}");
        if name.ends_with(".html") { check_page(&text, name) } else { check_markdown(&text, name) }
    }
    assert_eq!(parsed_feed(&folder).entries.len(), titles.len());
}

/// Only the template's own tags are there, and no address but a relative one.
fn check_page(page: &str, name: &str) {
    let own = [
        "!doctype", "html", "head", "meta", "link", "title", "style", "body", "article", "h1", "p", "time",
        "footer", "br",
    ];
    for tag in page.split('<').skip(1) {
        let tag = tag.trim_start_matches('/');
        let end = tag.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(tag.len());
        assert!(own.contains(&&tag[..end]), "{name}: <{tag}");
    }
    assert!(!page.contains("href=\"javascript"), "{name}");
}

/// The front matter has the writer's keys and nothing else, and no line of text below begins or holds markup.
fn check_markdown(markdown: &str, name: &str) {
    let front = front_matter(markdown);
    let keys: Vec<&str> = front.keys().map(String::as_str).collect();
    let own = [
        "content_sha256",
        "date",
        "language",
        "publication_key",
        "run",
        "source",
        "summary",
        "tags",
        "title",
    ];
    assert_eq!(keys, own, "{name}");
    let (_, text) = markdown.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    for (at, c) in text.char_indices().filter(|(_, c)| "<>[]`{}%".contains(*c)) {
        assert!(text[..at].ends_with('\\'), "{name}: {c} in {text}");
    }
    let headings = text.lines().filter(|line| line.starts_with('#')).count();
    assert_eq!(headings, 1, "{name}");
    assert!(!text.lines().any(|line| line.starts_with(' ') || line.starts_with("---")), "{name}");
}

#[tokio::test]
async fn texts_come_back_out_of_every_medium_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let title = "\"Tea\" & <scones>: it's 3 > 2, \\o/ — 駅舎 #1";
    deliver(&outlet(folder.path()), 1, &content(title)).await;
    let names = listing(folder.path());
    let markdown = std::fs::read_to_string(folder.path().join(&names[1])).unwrap();
    let front = front_matter(&markdown);
    assert_eq!(front["title"], title);
    assert_eq!(front["publication_key"], key(1));
    assert_eq!(front["url"], "https://example.org/a?b=c&d=e");
    assert_eq!(front["tags"][0], "a\"b");
    assert_eq!(titles_of(folder.path()), [title]);
    let page = std::fs::read_to_string(folder.path().join(&names[0])).unwrap();
    assert!(page.contains("https://example.org/a?b=c"), "{page}");
}

fn titles_of(folder: &Path) -> Vec<String> {
    parsed_feed(folder).entries.iter().map(|entry| entry.title.value.clone()).collect()
}

#[tokio::test]
async fn only_addresses_of_the_web_become_links() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    for (n, (url, links)) in (0..).zip([
        ("https://example.org/", true),
        ("HTTP://example.org", true),
        ("javascript:alert(1)", false),
        ("java\nscript:alert(1)", false),
        ("data:text/html,x", false),
        ("//example.org", false),
        ("https://", false),
        ("https://example.org/a b", false),
        ("https://example.org/\u{202e}gro", false),
        ("höttps://example.org", false),
    ]) {
        let content = Content { url: Some(url.to_owned()), ..content("t") };
        let key = key(n);
        let EffectResult::Confirmed { reference } = files.deliver(&post(&key, &content, at(n))).await else {
            panic!("{url} was not sent");
        };
        let page = std::fs::read_to_string(reference.replace(".md", ".html")).unwrap();
        assert_eq!(page.contains("<a href="), links, "{url}");
        assert_eq!(
            front_matter(&std::fs::read_to_string(reference).unwrap()).contains_key("url"),
            links,
            "{url}"
        );
    }
}

#[tokio::test]
async fn absurd_dates_and_endless_texts_break_neither_names_nor_the_feed() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    let endless = Content {
        summary: "word ".repeat(200_000),
        body: "x".repeat(1_000_000),
        tags: vec!["t".repeat(5000); 500],
        ..content(&"long ".repeat(100_000))
    };
    for (n, date) in (0..).zip([DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC, at(2)]) {
        let key = key(n);
        let result = files.deliver(&post(&key, &endless, date)).await;
        assert!(matches!(result, EffectResult::Confirmed { .. }), "{date}: {result:?}");
        assert!(matches!(files.ask(&key).await, Ok(Known::Delivered { .. })), "{date}");
    }
    let feed = parsed_feed(folder.path());
    assert_eq!(feed.entries.len(), 3);
    let size = std::fs::metadata(folder.path().join("feed.atom")).unwrap().len();
    assert!(size < 64 * 1024, "{size}");
    let names = listing(folder.path());
    assert!(names[0].starts_with("0001-01-01-") && names[4].starts_with("9999-12-31-"), "{names:?}");
}
