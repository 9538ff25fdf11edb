//! From a document's bytes to entries.

use feed_rs::model::Entry as Read;
use feed_rs::parser::Builder;
use model::{Failure, Sha256Digest, sha256};
use serde_json::{Value, json};

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

/// Reads a document. `uri` is where it came from, for addresses in it that are relative.
///
/// # Errors
/// Permanent: it is no feed, or breaks off before its first entry ends.
pub fn parse(bytes: &[u8], uri: Option<&str>) -> Result<Document, Failure> {
    match whole(bytes, uri) {
        Ok(entries) => Ok(Document { entries, broken: None }),
        Err(reason) => {
            let entries = mended(bytes).and_then(|mended| whole(&mended, uri).ok()).unwrap_or_default();
            if entries.is_empty() {
                return Err(Failure::permanent(format!("it cannot be read as a feed: {reason}")));
            }
            Ok(Document { entries, broken: Some(reason) })
        }
    }
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

/// A document that was cut off, closed after its last whole entry.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    [("</item>", &["</channel></rss>", "</rdf:RDF>"][..]), ("</entry>", &["</feed>"])]
        .into_iter()
        .filter_map(|(end, closings)| Some((last(bytes, end.as_bytes())? + end.len(), closings)))
        .max_by_key(|(at, _)| *at)
        .and_then(|(at, closings)| {
            let head = bytes.get(..at)?;
            let closing =
                if last(head, b"<rdf:RDF").is_some() { closings.last()? } else { closings.first()? };
            Some([head, closing.as_bytes()].concat())
        })
}

fn last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).rposition(|window| window == wanted)
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
    fn other_documents_are_refused() {
        for other in ["", "{}", "<html><body>no</body></html>", "\u{0}\u{1}", "[1,2]"] {
            assert!(parse(other.as_bytes(), None).is_err(), "{other}");
        }
    }
}
