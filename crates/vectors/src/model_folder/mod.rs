//! The folder of all-MiniLM-L6-v2: its files, their pinned hashes, and where they come from.
//!
//! ```text
//! <folder>/config.json  tokenizer.json  model.safetensors     complete and verified, or not there at all
//! <folder>.lock                                               held while one process fetches
//! <folder>.partial/                                           what an interrupted fetch leaves; the next removes it
//! ```
//!
//! The folder appears by one rename after every file was verified, so whoever sees it sees all of it. Fetching twice,
//! also at once, downloads once.

mod fetch;
mod hub;
mod manifest;
mod verify;
mod wheel;

pub use fetch::{Fetched, fetch};
pub(crate) use manifest::ModelFile;
pub(crate) use verify::read_verified;
pub use verify::verify;

#[cfg(test)]
mod tests;
