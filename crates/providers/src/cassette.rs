//! Cassettes: answers that are recorded, and replayed instead of asking.
//!
//! An answer's file is named by the SHA-256 of what was asked, as canonical JSON (RFC 8785). Names and times of a run are no part
//! of it, so that another run that asks the same hears the same.

use std::io::Write;
use std::path::{Path, PathBuf};

use model::{Failure, Usage, sha256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Answer, Ask, LONGEST_ANSWER, Said};

/// Where answers are kept, and whether they are asked for.
#[derive(Debug, Clone)]
pub enum Cassette {
    /// Each answer is written into this folder.
    Record(PathBuf),
    /// Answers are read from this folder, and nobody is asked.
    Replay(PathBuf),
}

/// An answer on a cassette.
#[derive(Debug, Serialize, Deserialize)]
struct Recording {
    model: String,
    usage: Usage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
}

impl Recording {
    fn of(answer: &Answer) -> Self {
        let (text, json) = match &answer.said {
            Said::Text(text) => (Some(text.clone()), None),
            Said::Json(value) => (None, Some(value.clone())),
        };
        Self { model: answer.model.clone(), usage: answer.usage, text, json }
    }

    fn answer(self) -> Answer {
        let said = self.text.map_or_else(|| Said::Json(self.json.unwrap_or_default()), Said::Text);
        Answer { said, usage: self.usage, model: self.model }
    }
}

/// What names a recording.
///
/// # Errors
/// Permanent: it has no canonical form.
pub(crate) fn digest(ask: &Ask) -> Result<String, Failure> {
    let asked = json!({
        "role": ask.role,
        "system": ask.system,
        "prompt": ask.prompt,
        "input": ask.input,
        "output_schema": ask.output_schema,
        "parameters": ask.parameters,
    });
    let canonical = serde_json_canonicalizer::to_vec(&asked)
        .map_err(|e| Failure::permanent(format!("what is asked has no canonical form: {e}")))?;
    Ok(sha256(&[&canonical]).to_hex())
}

fn file(folder: &Path, digest: &str) -> PathBuf {
    folder.join(format!("{digest}.json"))
}

/// Reads a recording.
///
/// # Errors
/// Permanent: there is none, or it cannot be read.
pub(crate) fn replay(folder: &Path, digest: &str) -> Result<Answer, Failure> {
    let wrong = |why: String| {
        Failure::permanent(format!(
            "the cassette {} has no answer to this, {digest}: {why}",
            folder.display()
        ))
    };
    let file = file(folder, digest);
    let length = std::fs::metadata(&file).map_err(|e| wrong(e.to_string()))?.len();
    if length > 2 * LONGEST_ANSWER as u64 {
        return Err(wrong("its file is too long".to_owned()));
    }
    let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_str::<Recording>(&text).map(Recording::answer).map_err(|e| wrong(e.to_string()))
}

/// Writes a recording; whoever reads meanwhile sees it whole or not at all.
///
/// # Errors
/// Unavailable: the folder cannot be written to.
pub(crate) fn record(folder: &Path, digest: &str, answer: &Answer) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&Recording::of(answer))
        .map_err(|e| Failure::permanent(format!("the answer cannot be recorded: {e}")))?;
    let written = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(text.as_bytes())?;
        new.persist(file(folder, digest)).map_err(|e| e.error)?;
        Ok(())
    };
    written().map_err(|e| {
        Failure::unavailable(format!("the cassette {} cannot be written: {e}", folder.display()))
    })
}
