//! A document that is broken somewhere, or long: it is read in groups of entries, and a group that cannot be read in halves,
//! so that what is broken costs no other entry, and no document a large multiple of its length in memory.

use std::borrow::Cow;
use std::ops::Range;

use crate::parts::{Frame, Parts, find, starts_json};

/// Entries read at once, at most.
const GROUP: usize = 500;
/// The longest frame around entries that is not given up for a shorter one, in bytes.
const FRAME: usize = 256 << 10;
/// What entries that are read at once may inherit from their frame, in bytes: such as authors, which each of them gets.
const INHERITED: usize = 32 << 20;
/// What is given to the parser of one document, in bytes.
const WORK: usize = 128 << 20;

/// What `parse` makes of the entries that can be read, and why not of all, where it is not of all.
pub(crate) fn read<T>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<Vec<T>, String>,
) -> (Vec<T>, Option<String>) {
    let text = if starts_json(bytes) { String::from_utf8_lossy(bytes) } else { Cow::Borrowed("") };
    let lossy = matches!(text, Cow::Owned(_));
    let bytes = if lossy { text.as_bytes() } else { bytes };
    let mut parts = Parts::of(bytes);
    if lossy {
        parts.fault.get_or_insert_with(|| "it is no UTF-8".to_owned());
    }
    let around = parts.frames.first().map_or(0, Frame::len);
    let fault = match parts.fault.clone() {
        Some(fault) => Some(fault),
        None if parts.begun <= GROUP && parts.begun * around <= INHERITED => match parse(bytes) {
            Ok(entries) => return (entries, None),
            Err(reason) => Some(reason),
        },
        None => None,
    };
    let mut groups =
        Groups { bytes, lossy, parts: &parts, parse, frame: None, entries: vec![], fault, work: WORK };
    groups.read();
    (groups.entries, groups.fault)
}

struct Groups<'a, T, P> {
    bytes: &'a [u8],
    /// Whether U+FFFD stands for bytes that are none of the encoding.
    lossy: bool,
    parts: &'a Parts<'a>,
    parse: P,
    frame: Option<&'a Frame<'a>>,
    entries: Vec<T>,
    fault: Option<String>,
    work: usize,
}

impl<T, P: Fn(&[u8]) -> Result<Vec<T>, String>> Groups<'_, T, P> {
    fn read(&mut self) {
        self.choose();
        let around = self.frame.map_or(0, Frame::len).max(1);
        let group = (INHERITED / around).clamp(1, GROUP);
        let count = self.parts.spans.len();
        for start in (0..count).step_by(group) {
            self.group(start..count.min(start + group));
        }
    }

    /// The document's own frame where it is sound, else one that is.
    fn choose(&mut self) {
        let Some((own, others)) = self.parts.frames.split_first() else { return };
        if !self.parts.ended {
            self.fault.get_or_insert_with(|| "its last entry has no end".to_owned());
        } else if self.attempt(own, &[]) && own.len() <= FRAME {
            self.frame = Some(own);
            return;
        }
        self.frame = others.last();
        for frame in others.iter().filter(|frame| frame.len() <= FRAME) {
            if self.attempt(frame, &[]) {
                self.frame = Some(frame);
                return;
            }
        }
    }

    fn group(&mut self, range: Range<usize>) {
        let bytes = self.bytes;
        let spans = &self.parts.spans[range.clone()];
        let (Some(first), Some(last), Some(frame)) = (spans.first(), spans.last(), self.frame) else {
            return;
        };
        if self.attempt(frame, &bytes[first.from..last.end]) {
            return;
        }
        if spans.len() > 1 {
            let middle = range.start + spans.len() / 2;
            self.group(range.start..middle);
            self.group(middle..range.end);
        } else if first.start > first.from {
            self.attempt(frame, &bytes[first.start..first.end]);
        }
    }

    /// Whether entries could be read in this frame; what is read is kept.
    fn attempt(&mut self, frame: &Frame<'_>, entries: &[u8]) -> bool {
        let Frame { head, tail } = frame;
        if self.lossy && find(entries, "\u{fffd}".as_bytes()).is_some() {
            return false;
        }
        let Some(left) = self.work.checked_sub(frame.len() + entries.len()) else {
            self.fault.get_or_insert_with(|| "to read it takes too much work".to_owned());
            return false;
        };
        self.work = left;
        match (self.parse)(&[&head[..], entries, &tail[..]].concat()) {
            Ok(read) => self.entries.extend(read),
            Err(reason) => {
                self.fault.get_or_insert(reason);
                return false;
            }
        }
        true
    }
}
