//! A post as Markdown and as HTML. Content is plain text: everything that could mean something is escaped.

use askama::Template;
use chrono::SecondsFormat;

use crate::Post;

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="{{ language }}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>body{max-width:42rem;margin:2rem auto;padding:0 1rem;font:1.05rem/1.6 system-ui,sans-serif;color:#1c2430}h1{line-height:1.2}footer,.tags{color:#5b6675;font-size:.9rem}.summary{font-weight:600}</style>
</head>
<body>
<article>
<h1 dir="auto">{{ title }}</h1>
<p><time datetime="{{ date }}">{{ day }}</time></p>
{% if !summary.is_empty() %}<p class="summary" dir="auto">{{ summary }}</p>
{% endif %}{% for paragraph in paragraphs %}<p dir="auto">{{ paragraph }}</p>
{% endfor %}{% if !tags.is_empty() %}<p class="tags">{{ tags }}</p>
{% endif %}</article>
<footer>
{% if let Some(url) = url %}<p><a href="{{ url }}" rel="nofollow noopener">Original</a></p>
{% endif %}<p>Run {{ run }} · {{ sha256 }}</p>
</footer>
</body>
</html>
"#
)]
struct Page<'a> {
    language: &'a str,
    title: &'a str,
    date: String,
    day: String,
    summary: &'a str,
    paragraphs: Vec<&'a str>,
    tags: String,
    url: Option<&'a str>,
    run: String,
    sha256: String,
}

fn date(post: &Post<'_>) -> String {
    post.published_at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A link only where it is one of the web: `javascript:` and the like are no links.
pub(super) fn link<'a>(post: &Post<'a>) -> Option<&'a str> {
    post.content.url.as_deref().filter(|url| {
        let start = url.get(..8).unwrap_or(url).to_ascii_lowercase();
        start.starts_with("http://") || start.starts_with("https://")
    })
}

/// The HTML page.
pub(super) fn html(post: &Post<'_>) -> String {
    let content = post.content;
    let page = Page {
        language: &content.language,
        title: &content.title,
        date: date(post),
        day: post.published_at.format("%-d %B %Y").to_string(),
        summary: &content.summary,
        paragraphs: content.body.lines().filter(|line| !line.trim().is_empty()).collect(),
        tags: content.tags.join(" · "),
        url: link(post),
        run: post.run.to_string(),
        sha256: post.sha256.to_hex(),
    };
    // Rendering text into a string cannot fail.
    page.render().unwrap_or_default()
}

/// The Markdown file: front matter as YAML (JSON strings are YAML), then the text with every marker escaped.
pub(super) fn markdown(post: &Post<'_>) -> String {
    let content = post.content;
    let quoted = |text: &str| {
        serde_json::Value::from(text).to_string().replace("\u{2028}", " ").replace("\u{2029}", " ")
    };
    let tags: Vec<String> = content.tags.iter().map(|tag| quoted(tag)).collect();
    let mut lines = vec![
        "---".to_owned(),
        format!("title: {}", quoted(&content.title)),
        format!("date: {}", date(post)),
        format!("language: {}", quoted(&content.language)),
        format!("tags: [{}]", tags.join(", ")),
        format!("source: {}", quoted(post.source)),
        format!("run: {}", quoted(&post.run.to_string())),
        format!("publication_key: {}", quoted(post.key)),
        format!("content_sha256: {}", quoted(&post.sha256.to_hex())),
    ];
    lines.extend(link(post).map(|url| format!("url: {}", quoted(url))));
    lines.extend(["---".to_owned(), String::new(), format!("# {}", escaped(&content.title)), String::new()]);
    if !content.summary.is_empty() {
        lines.extend([format!("**{}**", escaped(content.summary.trim())), String::new()]);
    }
    for paragraph in content.body.lines().filter(|line| !line.trim().is_empty()) {
        lines.extend([escaped(paragraph.trim()), String::new()]);
    }
    lines.join("\n")
}

/// Escapes every ASCII character that Markdown could read as markup (CommonMark lets any punctuation be escaped), and
/// numbers that would begin a list.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut digits_only = true;
    for c in text.chars() {
        let marks = matches!(
            c,
            '\\' | '`'
                | '*'
                | '_'
                | '{'
                | '}'
                | '['
                | ']'
                | '<'
                | '>'
                | '('
                | ')'
                | '#'
                | '!'
                | '|'
                | '~'
                | '&'
        );
        let begins = out.is_empty() && matches!(c, '+' | '-' | '=' | ':');
        let lists = digits_only && !out.is_empty() && matches!(c, '.');
        if marks || begins || lists {
            out.push('\\');
        }
        digits_only &= c.is_ascii_digit();
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}
