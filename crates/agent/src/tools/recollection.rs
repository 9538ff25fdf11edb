//! The built-in tool `recall`: what was embedded and means much the same, of the run's tenant alone.

use fleet::{Fault, FaultKind, Process};
use model::Failure;
use recall::Index;
use recall::config::Section;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::Used;

pub(super) const DESCRIPTION: &str =
    "Finds what was taken in before and means much the same as a text; nearest first.";
/// The longest question, in characters.
const LONGEST: usize = 10_000;
/// Answers at most.
const MOST: usize = 20;

/// The index, made with the first question: a process that nobody asks shall not carry a model.
pub(super) struct Recollection {
    process: Process,
    index: OnceCell<Index>,
}

impl std::fmt::Debug for Recollection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recollection").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    text: String,
    #[serde(default = "five")]
    k: usize,
}

fn five() -> usize {
    5
}

pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["text"],
        "additionalProperties": false,
        "properties": {
            "text": { "type": "string", "minLength": 1, "maxLength": LONGEST },
            "k": { "type": "integer", "minimum": 1, "maximum": MOST },
        },
    })
}

impl Recollection {
    pub(super) fn new(process: &Process) -> Self {
        Self { process: process.clone(), index: OnceCell::new() }
    }

    pub(super) async fn answer(&self, tenant: &str, arguments: &Value) -> Result<Used, Failure> {
        let question: Question = match serde_json::from_value(arguments.clone()) {
            Ok(question) => question,
            Err(error) => return Ok(Used::Refused(format!("the arguments of `recall` do not fit: {error}"))),
        };
        let length = question.text.trim().chars().count();
        if length == 0 || length > LONGEST || !(1..=MOST).contains(&question.k) {
            return Ok(Used::Refused(format!(
                "`text` has 1 to {LONGEST} characters, and `k` is 1 to {MOST}"
            )));
        }
        let index = match self.index.get_or_try_init(|| self.open()).await {
            Ok(index) => index,
            Err(fault) if fault.kind == FaultKind::Usage => return Ok(Used::failed(fault.message)),
            Err(fault) => return Err(Failure::unavailable(fault.message)),
        };
        let found = recall::answer(index, &self.process.record, tenant, question.text, question.k).await;
        let found = found.map_err(|error| Failure::unavailable(error.to_string()))?;
        serde_json::to_value(found).map(Used::Answered).map_err(|error| Failure::permanent(error.to_string()))
    }

    async fn open(&self) -> Result<Index, Fault> {
        let section: Section = self.process.section("embedding")?;
        Index::open(&self.process, &section).await
    }
}
