//! From a document's bytes to entries.

use feed_rs::model::Entry as Read;
use feed_rs::parser::Builder;
use model::{Failure, Sha256Digest, sha256};
use serde_json::{Value, json};

use crate::broken;

/// A feed that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its entries, in its own order.
    pub entries: Vec<Entry>,
    /// Why it could not be read to its end, where it could not.
    pub broken: Option<String>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// SHA-256 over its identity: the same however often it is read.
    pub identity: Sha256Digest,
    /// `title`, `body`, `url`, `published_at` and `language`, as far as there are any.
    pub payload: Value,
}

/// Reads a document. `uri` is where it came from, for addresses in it that are relative; its user, password and query are
/// the poller's own and get into no entry.
///
/// # Errors
/// Permanent: it is no feed, or breaks off before its first entry ends.
pub fn parse(bytes: &[u8], uri: Option<&str>) -> Result<Document, Failure> {
    let base = uri.and_then(base);
    let uri = base.as_deref();
    match broken::read(bytes, |one| whole(one, uri)) {
        (entries, Some(reason)) if entries.is_empty() => {
            Err(Failure::permanent(format!("it cannot be read as a feed: {reason}")))
        }
        (entries, broken) => Ok(Document { entries, broken }),
    }
}

fn base(uri: &str) -> Option<String> {
    let mut url = reqwest::Url::parse(uri).ok()?;
    if url.has_host() {
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
    }
    url.set_query(None);
    url.set_fragment(None);
    Some(url.into())
}

fn whole(bytes: &[u8], uri: Option<&str>) -> Result<Vec<Entry>, String> {
    // An empty id tells that there was none: the parser's own would be a random one.
    let parser =
        Builder::new().base_uri(uri).sanitize_content(false).id_generator(|_, _, _| String::new()).build();
    let feed = parser.parse(bytes).map_err(|e| e.to_string())?;
    let language = feed.language;
    Ok(feed.entries.into_iter().map(|entry| event(entry, language.as_deref())).collect())
}

fn event(read: Read, language: Option<&str>) -> Entry {
    let url = read
        .links
        .iter()
        .find(|link| link.rel.as_deref().is_none_or(|rel| rel == "alternate"))
        .or(read.links.first())
        .map(|link| link.href.clone())
        .filter(|href| href.starts_with("http://") || href.starts_with("https://"));
    let body = read.content.and_then(|content| content.body).or(read.summary.map(|text| text.content));
    let mut payload = json!({
        "title": read.title.map(|text| text.content),
        "body": body,
        "url": url,
        "published_at": read.published.or(read.updated),
        "language": read.language.as_deref().or(language),
    });
    if let Value::Object(fields) = &mut payload {
        fields.retain(|_, value| !value.is_null());
    }
    let identity = [Some(read.id), url].into_iter().flatten().find(|id| !id.trim().is_empty());
    let identity =
        identity.map_or_else(|| sha256(&[payload.to_string().as_bytes()]), |id| sha256(&[id.as_bytes()]));
    Entry { identity, payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSS: &str = r#"<?xml version="1.0"?><rss version="2.0"><channel><title>T</title><language>en</language>
        <item><title>One &amp; all</title><link>https://example.org/1</link><guid>id-1</guid><description>&lt;p&gt;Text&lt;/p&gt;</description><pubDate>Fri, 20 Nov 2026 10:00:00 GMT</pubDate></item>
        <item><title>Two</title><link>https://example.org/2</link></item>
        <item><title>Three</title><description>No id, no link.</description></item></channel></rss>"#;

    #[test]
    fn entries_become_payloads_with_an_identity_that_stays() {
        let read = parse(RSS.as_bytes(), None).unwrap();
        assert_eq!((read.entries.len(), &read.broken), (3, &None));
        let first = &read.entries[0].payload;
        assert_eq!(first["title"], "One & all");
        assert_eq!(first["url"], "https://example.org/1");
        assert_eq!(first["language"], "en");
        assert!(first["published_at"].as_str().unwrap().starts_with("2026-11-20T10:00:00"), "{first}");
        assert_eq!(parse(RSS.as_bytes(), None).unwrap(), read);
        let mut identities: Vec<_> = read.entries.iter().map(|entry| entry.identity).collect();
        identities.dedup();
        assert_eq!(identities.len(), 3);
        let edited = RSS.replace("One &amp; all", "One, corrected");
        assert_eq!(parse(edited.as_bytes(), None).unwrap().entries[0].identity, identities[0]);
    }

    #[test]
    fn a_feed_cut_in_half_gives_what_comes_before_the_cut() {
        let cut = &RSS[..RSS.find("Three").unwrap()];
        let read = parse(cut.as_bytes(), None).unwrap();
        assert_eq!(read.entries.len(), 2);
        assert!(read.broken.is_some());
        assert!(parse(&RSS.as_bytes()[..60], None).is_err());
    }

    #[test]
    fn an_entry_that_cannot_be_read_costs_no_other() {
        let mangled = RSS.replace("<title>Two</title>", "<title>Two</tilte>");
        let read = parse(mangled.as_bytes(), None).unwrap();
        let titles: Vec<_> = read.entries.iter().map(|entry| entry.payload["title"].clone()).collect();
        assert_eq!((titles, read.broken.is_some()), (vec![json!("One & all"), json!("Three")], true));
    }

    #[test]
    fn an_rdf_feed_cut_in_half_gives_what_comes_before_the_cut() {
        let head = r#"<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
            <channel rdf:about="c"><title>T</title><items><rdf:Seq/></items></channel>"#;
        let item = |n| {
            format!(
                r#"<item rdf:about="{n}"><title>Title {n}</title><link>https://example.org/{n}</link></item>"#
            )
        };
        let read = parse(format!("{head}{}{}<item rdf:ab", item(1), item(2)).as_bytes(), None).unwrap();
        assert_eq!((read.entries.len(), read.broken.is_some()), (2, true));
    }

    #[test]
    fn bytes_of_another_encoding_cost_no_entry_but_their_own() {
        let at = RSS.find("Two").unwrap();
        let wrong = [&RSS.as_bytes()[..at], b"Caf\xe9 ", &RSS.as_bytes()[at..]].concat();
        let read = parse(&wrong, None).unwrap();
        let titles: Vec<_> = read.entries.iter().filter_map(|e| e.payload["title"].as_str()).collect();
        assert!(titles.contains(&"One & all") && titles.contains(&"Three"), "{titles:?}");
        let declared = [&b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>"[..], &wrong[21..]].concat();
        let read = parse(&declared, None).unwrap();
        assert_eq!((read.entries[1].payload["title"].as_str(), read.broken), (Some("Café Two"), None));
    }

    #[test]
    fn a_json_feed_cut_in_half_gives_what_comes_before_the_cut() {
        let item = |n| json!({ "id": format!("id-{n}"), "title": format!("Title {n}"), "content_text": "Text, [x] {y}" });
        let feed = json!({ "version": "https://jsonfeed.org/version/1.1", "title": "T", "items": [item(1), item(2), item(3)] });
        let text = feed.to_string();
        let read = parse(&text.as_bytes()[..text.find("Title 3").unwrap()], None).unwrap();
        assert_eq!((read.entries.len(), read.broken.is_some()), (2, true));
        let all = parse(text.as_bytes(), None).unwrap();
        assert_eq!((&all.entries[..2], &all.broken), (&read.entries[..], &None));
    }

    #[test]
    fn what_the_address_of_a_feed_hides_gets_into_no_entry() {
        let atom = |href: &str| {
            format!(
                r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><entry><title>One</title><link href="{href}"/></entry></feed>"#
            )
        };
        for (href, url) in [
            ("/1", "https://example.org/1"),
            ("", "https://example.org/feed"),
            ("#1", "https://example.org/feed#1"),
        ] {
            let read =
                parse(atom(href).as_bytes(), Some("https://user:SECRET@example.org/feed?token=SECRET"))
                    .unwrap();
            assert_eq!(read.entries[0].payload["url"], url, "{href}");
        }
    }

    fn numbered(read: &Document) -> Vec<&str> {
        read.entries.iter().filter_map(|entry| entry.payload["title"].as_str()).collect()
    }

    #[test]
    fn an_item_of_a_json_feed_that_cannot_be_read_costs_no_other() {
        let item = |n: &str, more: &str| format!(r#"{{"id":"{n}","title":"{n}"{more}}}"#);
        let feed = |items: &[String]| {
            format!(
                r#"{{"version":"https:\/\/jsonfeed.org\/version\/1.1","title":"T","language":"de","_x":{{"items":[]}},"items":[{}]}}"#,
                items.join(", ")
            )
        };
        let wrong = feed(&[item("a", ""), item("b", r#","url":[1]"#), "7".to_owned(), item("c", "")]);
        let read = parse(wrong.as_bytes(), None).unwrap();
        assert_eq!((numbered(&read), read.broken.is_some()), (vec!["a", "c"], true));
        assert_eq!(read.entries[0].payload["language"], "de");
        let mut latin = feed(&[item("a", ""), item("b", r#","summary":"caf#""#), item("c", "")]).into_bytes();
        for byte in latin.iter_mut().filter(|byte| **byte == b'#') {
            *byte = 0xe9;
        }
        let read = parse(&latin, None).unwrap();
        assert_eq!((numbered(&read), read.broken.is_some()), (vec!["a", "c"], true));
    }

    #[test]
    fn what_is_broken_before_the_first_entry_costs_none() {
        let read =
            parse(RSS.replace("<title>T</title>", "<title>T & <b>U</title>").as_bytes(), None).unwrap();
        assert_eq!((read.entries.len(), read.broken.is_some()), (3, true));
    }

    #[test]
    fn entries_in_a_namespace_of_their_own_are_found() {
        let entry = |n| format!("<a:entry><a:id>{n}</a:id><a:title>{n}</a:title></a:entry>");
        let feed = format!(
            "<!-- <feed> --><a:feed xmlns:a=\"http://www.w3.org/2005/Atom\"><a:title>T</a:title>{}{}<a:entry><a:ti",
            entry("a"),
            entry("b")
        );
        let read = parse(feed.as_bytes(), None).unwrap();
        assert_eq!((numbered(&read), read.broken.is_some()), (vec!["a", "b"], true));
    }

    #[test]
    fn a_feed_of_very_many_entries_is_whole_without_being_read_at_once() {
        let item = |n: usize| format!("<item><guid>{n}</guid><title>{n}</title></item>\n");
        let feed = |end: &str| {
            let items: String = (0..3_000).map(item).collect();
            format!("<rss version=\"2.0\"><channel><title>T</title>{items}{end}")
        };
        let read = parse(feed("</channel></rss>\n").as_bytes(), None).unwrap();
        assert_eq!((read.entries.len(), &read.broken), (3_000, &None));
        assert_eq!(read.entries[2_999].payload["title"], "2999");
        for end in ["<item><title>", ""] {
            let cut = parse(feed(end).as_bytes(), None).unwrap();
            assert!(cut.entries == read.entries && cut.broken.is_some(), "{end}: {:?}", cut.broken);
        }
    }

    #[test]
    fn other_documents_are_refused() {
        for other in ["", "{}", "<html><body>no</body></html>", "\u{0}\u{1}", "[1,2]"] {
            assert!(parse(other.as_bytes(), None).is_err(), "{other}");
        }
    }
}
