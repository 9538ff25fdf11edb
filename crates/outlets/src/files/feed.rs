//! The Atom feed of all posts: title, summary and link of each. It is read, changed and written under the folder's lock,
//! so that publishers that share a folder lose no entry of each other's, and its size does not grow with the texts.
//! The posts are the truth: a feed that is missing or cannot be read is made again from their front matter.

use std::io::ErrorKind;

use atom_syndication::{CategoryBuilder, Entry, EntryBuilder, Feed, Generator, LinkBuilder, Person, Text};
use uuid::Uuid;

use super::head::Head;
use super::{FilesConfig, disk};

/// The feed's file.
pub(super) const FILE: &str = "feed.atom";

/// The feed with one more post, which takes the place of an earlier one of the same key; the newest are kept.
pub(super) fn with(config: &FilesConfig, head: &Head, name: &str) -> std::io::Result<Vec<u8>> {
    let mut feed = match read(config)? {
        Some(feed) => feed,
        None => rebuilt(config)?,
    };
    let new = entry(head, name);
    feed.entries.retain(|known| known.id != new.id);
    feed.entries.push(new);
    finish(config, &mut feed);
    feed.write_to(Vec::new()).map_err(std::io::Error::other)
}

/// The feed without a key's post; `None` where it does not tell of it.
pub(super) fn without(config: &FilesConfig, key: &str) -> std::io::Result<Option<Vec<u8>>> {
    let Some(mut feed) = read(config)? else { return Ok(None) };
    let (id, before) = (id(key), feed.entries.len());
    feed.entries.retain(|known| known.id != id);
    if feed.entries.len() == before {
        return Ok(None);
    }
    finish(config, &mut feed);
    feed.write_to(Vec::new()).map(Some).map_err(std::io::Error::other)
}

/// What the configuration says goes into every feed, so that a change of it takes effect with the next post.
fn finish(config: &FilesConfig, feed: &mut Feed) {
    feed.entries.sort_by(|a, b| b.updated.cmp(&a.updated).then_with(|| a.id.cmp(&b.id)));
    feed.entries.truncate(config.feed_entries);
    feed.updated = feed.entries.first().map_or(feed.updated, |newest| newest.updated);
    let title = super::shown::line(&config.feed_title, 300);
    feed.set_title(Text::plain(title.clone()));
    feed.set_authors(vec![Person { name: title, ..Person::default() }]);
    feed.set_links(vec![LinkBuilder::default().href(FILE).rel("self".to_owned()).build()]);
    feed.set_generator(Generator { value: "Tidemill".to_owned(), ..Generator::default() });
}

/// `None` where there is none, or nothing that is a feed.
fn read(config: &FilesConfig) -> std::io::Result<Option<Feed>> {
    match std::fs::read(config.folder.join(FILE)) {
        Ok(bytes) => Ok(Feed::read_from(bytes.as_slice()).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the newest posts. File names begin with the day: all of the last day that counts are read, for names of one
/// day are not in order.
fn rebuilt(config: &FilesConfig) -> std::io::Result<Feed> {
    let mut names = disk::posts(&config.folder)?;
    names.sort_unstable_by(|a, b| b.cmp(a));
    let last_day =
        names.get(config.feed_entries - 1).and_then(|name| name.get(..10)).unwrap_or_default().to_owned();
    let mut feed = Feed::default();
    for name in names.iter().take_while(|name| name.as_str() >= last_day.as_str()) {
        if let Some(head) = disk::head(&config.folder, name)? {
            feed.entries.push(entry(&head, name));
        }
    }
    let place = std::path::absolute(&config.folder)?;
    feed.set_id(urn(&format!("feed {}", place.display())));
    Ok(feed)
}

/// Its id is derived from the key: the same post is the same entry, wherever its feed was made.
fn entry(head: &Head, name: &str) -> Entry {
    let date = head.date.fixed_offset();
    EntryBuilder::default()
        .id(id(&head.key))
        .title(Text::plain(head.title.clone()))
        .updated(date)
        .published(Some(date))
        .summary(Some(Text::plain(head.summary.clone())))
        .authors(vec![Person { name: head.source.clone(), ..Person::default() }])
        .categories(
            head.tags
                .iter()
                .map(|tag| CategoryBuilder::default().term(tag.as_str()).build())
                .collect::<Vec<_>>(),
        )
        .link(
            LinkBuilder::default()
                .href(format!("{name}.html"))
                .rel("alternate".to_owned())
                .mime_type(Some("text/html".to_owned()))
                .hreflang((head.language != "und").then(|| head.language.clone()))
                .build(),
        )
        .build()
}

fn id(key: &str) -> String {
    urn(&format!("post {key}"))
}

/// RFC 4287 asks for an IRI that never changes.
fn urn(name: &str) -> String {
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"files.outlet.tidemill");
    format!("urn:uuid:{}", Uuid::new_v5(&namespace, name.as_bytes()))
}
