//! Where the entries of a document lie, and what can stand around some of them alone. It takes no sound document for that.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Entries of one document, at most; one that has more is read no further.
const ENTRIES: usize = 50_000;

/// Where an entry lies in its document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// The end of the entry before it. What lies between, such as the rest of one without an end, is of no entry.
    pub(crate) from: usize,
    /// Where it begins.
    pub(crate) start: usize,
    /// Where it ends.
    pub(crate) end: usize,
}

/// A document's entries, and their surroundings.
#[derive(Debug, Default)]
pub(crate) struct Parts<'a> {
    /// The entries that seem whole.
    pub(crate) spans: Vec<Span>,
    /// Entries that begin, at least.
    pub(crate) begun: usize,
    /// Whether none begins after the last that seems whole.
    pub(crate) ended: bool,
    /// What can stand before and after some of the entries, best first.
    pub(crate) frames: Vec<Frame<'a>>,
    /// Why the document as a whole cannot be sound, where that is known.
    pub(crate) fault: Option<String>,
}

/// What can stand before and after entries.
#[derive(Debug, Clone)]
pub(crate) struct Frame<'a> {
    /// Before.
    pub(crate) head: Cow<'a, [u8]>,
    /// After.
    pub(crate) tail: Cow<'a, [u8]>,
}

impl<'a> Frame<'a> {
    fn new(head: impl Into<Cow<'a, [u8]>>, tail: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { head: head.into(), tail: tail.into() }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }
}

impl<'a> Parts<'a> {
    /// The parts of a document; no spans where no entry can be found.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        if starts_json(bytes) { json(bytes) } else { xml(bytes).unwrap_or_default() }
    }

    fn note_overflow(mut self, more: bool) -> Self {
        if more {
            self.fault = Some(format!("it has more than {ENTRIES} entries"));
        }
        self
    }
}

/// Whether the parser takes a document for JSON.
pub(crate) fn starts_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| matches!(byte, b'<' | b'{')) == Some(&b'{')
}

fn xml(bytes: &[u8]) -> Option<Parts<'_>> {
    let root = root(bytes)?;
    let (prefix, name) = match root.iter().position(|byte| *byte == b':') {
        Some(colon) => root.split_at(colon + 1),
        None => root.split_at(0),
    };
    let tag: Vec<u8> = match name {
        b"feed" => [b"<", prefix, b"entry"].concat(),
        b"rss" | b"RDF" => b"<item".to_vec(),
        _ => return None,
    };
    let end = [b"</", &tag[1..], b">"].concat();
    let first = tags(bytes, &tag).next()?;
    let (mut spans, mut at) = (Vec::new(), first);
    while spans.len() < ENTRIES
        && let Some(found) = find(&bytes[at..], &end)
    {
        let (from, end) = (at, at + found + end.len());
        let start = from + tags(&bytes[from..end], &tag).last().unwrap_or_default();
        spans.push(Span { from, start, end });
        at = end;
    }
    let (head, tail) = (&bytes[..first], &bytes[at..]);
    let outer = [b"</", root, b">"].concat();
    let inner = [b"</channel>", &outer[..]].concat();
    let channel = tags(bytes, b"<channel").next().filter(|_| name == b"rss");
    let opened = channel.or_else(|| find(bytes, &[b"<", root].concat()))?;
    let short = &bytes[..opened + find(&bytes[opened..], b">")? + 1];
    let in_channel = channel.is_some() && find(head, b"</channel>").is_none();
    let close = if in_channel { inner.clone() } else { outer.clone() };
    let short_close = if channel.is_some() { inner } else { outer };
    let frames = vec![Frame::new(head, tail), Frame::new(head, close), Frame::new(short, short_close)];
    let ended = tags(tail, &tag).next().is_none();
    let more = spans.len() == ENTRIES && !ended;
    Some(Parts { begun: tags(bytes, &tag).count(), spans, ended, frames, fault: None }.note_overflow(more))
}

/// The name of a document's first element.
fn root(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        rest = &rest[rest.iter().position(|byte| *byte == b'<')?..];
        if rest.starts_with(b"<!--") {
            rest = &rest[find(rest, b"-->")?..];
        } else if matches!(rest.get(1)?, b'?' | b'!') {
            rest = &rest[1..];
        } else {
            let name = &rest[1..];
            let end =
                name.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'))?;
            return Some(&name[..end]);
        }
    }
}

/// The items of a sound JSON feed.
#[derive(Deserialize)]
struct Items<'a> {
    #[serde(borrow)]
    items: Option<&'a RawValue>,
}

fn json(bytes: &[u8]) -> Parts<'_> {
    let open = bytes.iter().position(|byte| *byte == b'{').unwrap_or_default();
    let (items, fault) = match serde_json::from_slice::<Items<'_>>(&bytes[open..]) {
        // The slice that was borrowed lies in the bytes: the difference of their addresses is its place.
        Ok(Items { items }) => (items.map(|raw| raw.get().as_ptr().addr() - bytes.as_ptr().addr()), None),
        Err(error) => (find(bytes, b"\"items\""), Some(error.to_string())),
    };
    let Some(first) = items.and_then(|items| Some(items + find(&bytes[items..], b"[")? + 1)) else {
        return Parts { fault, ..Parts::default() };
    };
    let (mut spans, mut at) = (Vec::new(), first);
    while spans.len() < ENTRIES {
        let mut values = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<&RawValue>();
        let Some(Ok(item)) = values.next() else { break };
        let end = at + values.byte_offset();
        let start = end - item.get().len();
        spans.push(Span { from: start, start, end });
        at = end + bytes[end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if bytes.get(at) != Some(&b',') {
            break;
        }
        at += 1;
    }
    let more = bytes.get(at.wrapping_sub(1)) == Some(&b',') && spans.len() == ENTRIES;
    let head = &bytes[..first];
    let empty = br#"{"version":"https://jsonfeed.org/version/1.1","title":"","items":["#;
    let frames = vec![
        Frame::new(head, bytes.get(at..).unwrap_or_default()),
        Frame::new(head, b"]}".as_slice()),
        Frame::new(empty.as_slice(), b"]}".as_slice()),
    ];
    Parts { begun: spans.len(), spans, ended: !more, frames, fault }.note_overflow(more)
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

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
