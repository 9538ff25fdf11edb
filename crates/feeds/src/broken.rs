//! A document that is broken somewhere, taken apart into documents of one entry each: what is broken costs no other entry.

use serde_json::{Map, Value};

/// The longest head that is put before each entry, in bytes; with [`ENTRIES`] it bounds the work that a document can ask for.
const HEAD: usize = 64 << 10;
/// Entries tried, at most.
const ENTRIES: usize = 5_000;

/// The formats in XML: how an entry begins and ends, and what closes the document after it.
const FORMATS: [(&[u8], &[u8], &[u8]); 3] = [
    (b"<item", b"</item>", b"</channel></rss>"),
    (b"<item", b"</item>", b"</rdf:RDF>"),
    (b"<entry", b"</entry>", b"</feed>"),
];

/// A document for each entry that seems whole; none where no entry can be found.
pub(crate) fn apart(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        return json(bytes).into_iter().collect();
    }
    let rdf = find(bytes, b"<rdf:RDF").is_some();
    let format = FORMATS
        .iter()
        .filter(|(_, _, close)| !close.starts_with(b"</channel>") || !rdf)
        .find(|(begin, _, _)| tags(bytes, begin).next().is_some());
    match format {
        Some((begin, end, close)) => xml(bytes, begin, end, close),
        None => vec![],
    }
}

fn xml(bytes: &[u8], begin: &[u8], end: &[u8], close: &[u8]) -> Vec<Vec<u8>> {
    let first = tags(bytes, begin).next().unwrap_or_default();
    let (head, mut rest) = bytes.split_at(first);
    let mut documents = Vec::new();
    while head.len() <= HEAD
        && documents.len() < ENTRIES
        && let Some(at) = find(rest, end)
    {
        let (entry, after) = rest.split_at(at + end.len());
        // What lies between two entries, such as the rest of one without an end, is left out.
        let from = tags(entry, begin).last().unwrap_or_default();
        documents.push([head, &entry[from..], close].concat());
        rest = after;
    }
    documents
}

/// A JSON feed with the items that are whole.
fn json(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = find(bytes, b"\"items\"")?;
    let mut rest = bytes.get(at + find(&bytes[at..], b"[")? + 1..)?;
    let mut items = Vec::new();
    while items.len() < ENTRIES {
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Map<String, Value>>();
        let Some(Ok(item)) = values.next() else { break };
        items.push(Value::Object(item));
        rest = rest[values.byte_offset()..].trim_ascii_start();
        rest = rest.strip_prefix(b",").unwrap_or_default();
    }
    let version = "https://jsonfeed.org/version/1.1";
    Some(serde_json::json!({ "version": version, "title": "", "items": items }).to_string().into_bytes())
}

/// Where tags of a name begin; `<items>` is no `<item>`.
fn tags(bytes: &[u8], begin: &[u8]) -> impl Iterator<Item = usize> {
    bytes
        .windows(begin.len() + 1)
        .enumerate()
        .filter(move |(_, window)| {
            window.starts_with(begin) && window.last().is_some_and(|next| !next.is_ascii_alphanumeric())
        })
        .map(|(at, _)| at)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
