//! Feeds: RSS 0.9 to 2.0, Atom and JSON Feed, read from http(s) or a file, each entry an event.
//!
//! An entry's identity is its own id; without one its first link; without that the SHA-256 of what it says. A document
//! that breaks off gives the entries around the break.

mod broken;
mod document;
mod fetch;
mod parts;
mod private;

pub use document::{Document, Entry, parse};
pub use fetch::{Fetched, Fetcher, Limits, Validators};
