//! The Atom feed of all posts. It is read, changed and written under a lock, so that publishers that share a folder lose
//! no entry of each other's.

use atom_syndication::{ContentBuilder, Entry, EntryBuilder, Feed, LinkBuilder, Text};
use std::fs::File;
use std::io::{BufReader, ErrorKind};

use super::{FilesConfig, names, write_whole};
use crate::Post;

const FILE: &str = "feed.atom";
const LOCK: &str = ".feed.lock";

/// The feed's entry of a post. Its id is derived from the key: the same post is the same entry.
pub(super) fn entry(post: &Post<'_>, name: &str) -> Entry {
    let date = post.published_at.fixed_offset();
    EntryBuilder::default()
        .id(format!("urn:tidemill:{}", names::suffix(post.key).trim_start_matches('-')))
        .title(Text::plain(xml_safe(&post.content.title)))
        .updated(date)
        .published(Some(date))
        .summary(Some(Text::plain(xml_safe(&post.content.summary))))
        .content(Some(
            ContentBuilder::default()
                .content_type(Some("text".to_owned()))
                .value(Some(xml_safe(&post.content.body)))
                .build(),
        ))
        .link(LinkBuilder::default().href(format!("{name}.html")).rel("alternate".to_owned()).build())
        .build()
}

/// Only characters that XML 1.0 allows.
fn xml_safe(text: &str) -> String {
    text.chars()
        .filter(|c| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..))
        .collect()
}

/// Puts an entry into the feed, replacing the one of the same id; keeps the newest.
pub(super) fn insert(config: &FilesConfig, entry: Entry) -> std::io::Result<()> {
    let lock = File::create(config.folder.join(LOCK))?;
    lock.lock()?;
    let mut feed = read(config)?;
    feed.entries.retain(|known| known.id != entry.id);
    feed.entries.push(entry);
    feed.entries.sort_by(|a, b| b.updated.cmp(&a.updated).then_with(|| a.id.cmp(&b.id)));
    feed.entries.truncate(config.feed_entries.max(1));
    feed.updated = feed.entries.first().map_or(feed.updated, |newest| newest.updated);
    let written = feed.write_to(Vec::new()).map_err(std::io::Error::other)?;
    write_whole(&config.folder, FILE, &written)
}

fn read(config: &FilesConfig) -> std::io::Result<Feed> {
    let fresh = || {
        let mut feed = Feed::default();
        feed.set_id("urn:tidemill:feed");
        feed.set_title(config.feed_title.as_str());
        feed
    };
    match File::open(config.folder.join(FILE)) {
        Ok(file) => {
            Feed::read_from(BufReader::new(file)).map_err(|e| std::io::Error::other(format!("{FILE}: {e}")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(fresh()),
        Err(error) => Err(error),
    }
}
