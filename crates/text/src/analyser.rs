//! The whole analysis, in its order.

use std::sync::Arc;

use crate::confidence::{self, Evidence};
use crate::language::{Language, Languages};
use crate::{
    Config, Error, extract, fingerprint, normalise, sentences, sentiment, summary, topics, toxicity,
};

/// The longest title, in characters.
const MAX_TITLE: usize = 300;
/// The longest title made from a text, in characters.
const MAX_MADE_TITLE: usize = 100;

/// What a source sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source<'a> {
    /// Headline; plain text or HTML.
    pub title: Option<&'a str>,
    /// Text; plain, an HTML snippet or a whole page.
    pub body: &'a str,
    /// The language that the source declares, ISO 639-1; a region after it is ignored, and so is an unknown one.
    pub language: Option<&'a str>,
}

/// What was found. No text in it has a control character but the line breaks of `text`, and all of it is NFC.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// The title: the source's, else the page's own, else the beginning of the text.
    pub title: String,
    /// Plain text, a paragraph a line, at most `max_chars` characters. Never empty.
    pub text: String,
    /// A few sentences of the text, at most 400 characters.
    pub summary: String,
    /// ISO 639-1, `und` where unknown.
    pub language: String,
    /// 0…1.
    pub language_certainty: f64,
    /// −1…1; means something for English only.
    pub sentiment: f64,
    /// Most telling first, at most `topics`.
    pub topics: Vec<String>,
    /// 0…1, of the worst sentence.
    pub toxicity_score: f64,
    /// 0…1: how far the analysis can be trusted.
    pub confidence: f64,
    /// How many sentences the text has.
    pub sentences: usize,
    /// Whether text beyond a limit was dropped.
    pub truncated: bool,
    /// SHA-256 that two texts share if they are the same but for markup, case, spacing and width; of the text before
    /// it was cut.
    pub fingerprint: [u8; 32],
}

/// Analyses texts on the CPU: some milliseconds for a long one, so keep it off async threads. Cheap to clone, and to
/// share between threads.
#[derive(Clone)]
pub struct Analyser {
    config: Config,
    languages: Arc<Languages>,
}

impl std::fmt::Debug for Analyser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analyser").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A source's text, readable.
struct Readable {
    title: Option<String>,
    blocks: Vec<String>,
    truncated: bool,
}

impl Analyser {
    /// Makes an analyser.
    ///
    /// # Errors
    /// An unknown language or a limit that is too small; permanent.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.validate()?;
        let languages = Arc::new(Languages::new(&config.languages)?);
        Ok(Self { config, languages })
    }

    /// Analyses one text. The same source gives the same analysis.
    ///
    /// # Errors
    /// [`Error::Empty`] where nothing readable is left; permanent.
    pub fn analyse(&self, source: &Source<'_>) -> Result<Analysis, Error> {
        let mut readable = read(source)?;
        let whole = readable.blocks.join(" ");
        let title = readable.title.take().unwrap_or_else(|| made_title(&readable.blocks));
        let fingerprint = fingerprint::of(&title, &whole);
        let (flat, blocks) = cut(whole, &readable.blocks, self.config.max_chars);
        readable.truncated |= blocks.is_some();
        let blocks = blocks.unwrap_or(readable.blocks);

        let sentences = sentences::split(blocks.iter().map(String::as_str));
        let Language { code, certainty } = self.languages.of(&flat, source.language);
        let sentiment = sentiment::of(&flat, &sentences);
        let evidence = Evidence { language: certainty, text: &flat, sentiments: &sentiment.sentences };
        Ok(Analysis {
            summary: summary::of(&sentences, code, self.config.summary_sentences),
            language: code.to_owned(),
            language_certainty: certainty,
            sentiment: sentiment.score,
            topics: topics::of(&flat, code, self.config.topics),
            toxicity_score: toxicity::of(sentences.iter().copied().chain([title.as_str()])),
            confidence: confidence::of(&evidence),
            sentences: sentences.len(),
            truncated: readable.truncated,
            title,
            text: blocks.join("\n"),
            fingerprint,
        })
    }
}

/// Reads a source; a headline without a body is its own text.
fn read(source: &Source<'_>) -> Result<Readable, Error> {
    let body = extract::body(source.body);
    let given = source.title.map(extract::title).into_iter().chain(body.title);
    let title = given.map(|title| normalise::line(&title)).find(|title| !title.is_empty());
    let mut blocks = normalise::blocks(&body.text);
    if blocks.is_empty() {
        blocks.extend(title.clone());
    }
    if blocks.is_empty() {
        return Err(Error::Empty { bytes: source.body.len() + source.title.map_or(0, str::len) });
    }
    let title = title.map(|title| summary::shorten(&title, MAX_TITLE));
    Ok(Readable { title, blocks, truncated: body.cut })
}

fn made_title(blocks: &[String]) -> String {
    let first = blocks.iter().flat_map(|block| sentences::split([block.as_str()])).next();
    summary::shorten(first.unwrap_or_default(), MAX_MADE_TITLE)
}

/// The text within `chars` characters, on one line, and its blocks where something had to be cut.
fn cut(text: String, blocks: &[String], chars: usize) -> (String, Option<Vec<String>>) {
    let Some((mut room, _)) = text.char_indices().nth(chars) else { return (text, None) };
    let mut kept = Vec::new();
    for block in blocks {
        let part = extract::prefix(block, room).trim_end();
        if !part.is_empty() {
            kept.push(part.to_owned());
        }
        room = room.saturating_sub(block.len() + 1);
    }
    (kept.join(" "), Some(kept))
}
