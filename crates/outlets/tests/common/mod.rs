//! A post to send.

use model::{Content, RunId, Sha256Digest};
use tidemill_outlets::Post;

pub(crate) const KEY: &str = "00aa00aa00aa00aa00aa00aa00aa00aa00aa00aa00aa00aa00aa00aa00aa00aa";

pub(crate) fn content() -> Content {
    Content {
        title: "A \"title\" & <more>".to_owned(),
        summary: "In short.".to_owned(),
        body: "First.\nSecond.".to_owned(),
        url: Some("https://example.org/a".to_owned()),
        language: "en".to_owned(),
        tags: vec!["sea".to_owned()],
    }
}

pub(crate) fn post(content: &Content) -> Post<'_> {
    Post {
        key: KEY,
        content,
        sha256: Sha256Digest([7; 32]),
        published_at: chrono::DateTime::UNIX_EPOCH,
        run: "0197a1c2-0000-7000-8000-000000000000".parse::<RunId>().unwrap(),
        source: "wire",
    }
}
