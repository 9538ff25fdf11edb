//! A post as Markdown and as HTML. Content is plain text: everything that could mean something is escaped.

use askama::Template;

use super::head::Head;
use super::shown::shown;
use crate::Post;

/// Autoescaped by its extension. The policy in its head forbids all scripts, should anything ever get past the escaping.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="{{ head.language }}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="publication-key" content="{{ head.key }}">
<link rel="alternate" type="application/atom+xml" href="feed.atom">
<title>{{ head.title }}</title>
<style>body{max-width:42rem;margin:2rem auto;padding:0 1rem;font:1.05rem/1.6 system-ui,sans-serif;color:#1c2430;background:#fff;overflow-wrap:anywhere}h1{line-height:1.2}footer,.tags,time{color:#5b6675;font-size:.9rem}footer{border-top:1px solid #d8dee6;margin-top:2rem}.summary{font-weight:600}@media(prefers-color-scheme:dark){body{color:#dfe5ec;background:#14181e}footer,.tags,time{color:#95a1b1}a{color:#8ab4f8}}</style>
</head>
<body>
<article>
<h1 dir="auto">{{ title }}</h1>
<p><time datetime="{{ date }}">{{ day }}</time></p>
{% if !summary.is_empty() %}<p class="summary" dir="auto">{{ summary }}</p>
{% endif %}{% for paragraph in paragraphs %}<p dir="auto">{{ paragraph }}</p>
{% endfor %}{% if !tags.is_empty() %}<p class="tags" dir="auto">{{ tags }}</p>
{% endif %}</article>
<footer>
{% if let Some(url) = head.url %}<p><a href="{{ url }}" rel="nofollow noopener noreferrer">Original</a></p>
{% endif %}<p>Source {{ head.source }} · run {{ head.run }}<br>Content {{ head.content_sha256 }}</p>
</footer>
</body>
</html>
"#
)]
struct Page<'a> {
    head: &'a Head,
    title: &'a str,
    date: String,
    day: String,
    summary: &'a str,
    paragraphs: Vec<&'a str>,
    tags: String,
}

/// The HTML page.
pub(super) fn html(post: &Post<'_>, head: &Head) -> Result<String, askama::Error> {
    let [title, summary, body] = texts(post);
    Page {
        head,
        title: if title.trim().is_empty() { &head.title } else { title.trim() },
        date: head.spelled_date(),
        day: head.date.format("%-d %B %Y").to_string(),
        summary: summary.trim(),
        paragraphs: paragraphs(&body).collect(),
        tags: head.tags.join(" · "),
    }
    .render()
}

/// The Markdown file: front matter, then the text with every marker escaped.
pub(super) fn markdown(post: &Post<'_>, head: &Head) -> String {
    let [title, summary, body] = texts(post);
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let title = if title.is_empty() { &head.title } else { &title };
    let mut text = head.front_matter();
    let mut block = |before: &str, line: &str, after: &str| {
        text.extend(["\n", before, &escaped(line), after, "\n"]);
    };
    block("# ", title, "");
    let summary = summary.split_whitespace().collect::<Vec<_>>().join(" ");
    if !summary.is_empty() {
        block("**", &summary, "**");
    }
    for paragraph in paragraphs(&body) {
        block("", paragraph, "");
    }
    text
}

fn texts<'a>(post: &Post<'a>) -> [std::borrow::Cow<'a, str>; 3] {
    [shown(&post.content.title), shown(&post.content.summary), shown(&post.content.body)]
}

/// One a line; the text says by a line end where one ends.
fn paragraphs(body: &str) -> impl Iterator<Item = &str> {
    body.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// Escapes every ASCII character that Markdown, its common dialects (tables, footnotes, formulas) or the templates of
/// site generators (`{{`, `{%`) could read as markup, and what would begin a list, a rule or a heading. `CommonMark`
/// lets any ASCII punctuation be escaped.
fn escaped(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 16);
    let mut only_digits = true;
    for (at, c) in line.char_indices() {
        let marks = "\\`*_{}[]<>()#!|~&%$^".contains(c);
        let begins = at == 0 && "+-=:".contains(c);
        let numbers = only_digits && at > 0 && c == '.';
        if marks || begins || numbers {
            out.push('\\');
        }
        only_digits &= c.is_ascii_digit();
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn no_line_of_text_becomes_markup() {
        for (plain, safe) in [
            ("# no heading", r"\# no heading"),
            ("--- no rule", r"\--- no rule"),
            ("1. no list", r"1\. no list"),
            ("2) nor this", r"2\) nor this"),
            ("[x](javascript:y)", r"\[x\]\(javascript:y\)"),
            ("<b>&amp;", r"\<b\>\&amp;"),
            ("{{ site }} {% include x %}", r"\{\{ site \}\} \{\% include x \%\}"),
            ("| a | $x$ [^1]", r"\| a \| \$x\$ \[\^1\]"),
            ("It cost 3.50, e.g. - so what?", "It cost 3.50, e.g. - so what?"),
        ] {
            assert_eq!(escaped(plain), safe);
        }
    }
}
