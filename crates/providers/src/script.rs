//! The provider `script`: canned answers for tests and demonstrations. Its model is called `script`, so that nobody takes what
//! it says for thought.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use model::{Failure, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Answer, Ask, Provider, Said};

/// The model that canned answers are of.
const MODEL: &str = "script";

/// The answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptConfig {
    /// By step, or else by role: the answer of each visit, the last one for all that follow. Text is said as it stands.
    pub answers: BTreeMap<String, Vec<Value>>,
}

/// Canned answers.
#[derive(Debug)]
pub struct Script {
    answers: BTreeMap<String, Vec<Value>>,
}

impl Script {
    /// Takes the answers.
    #[must_use]
    pub fn new(config: ScriptConfig) -> Self {
        Self { answers: config.answers }
    }

    fn answer(&self, ask: &Ask) -> Option<&Value> {
        let answers = self.answers.get(&ask.step).or_else(|| self.answers.get(&ask.role))?;
        let visit = usize::try_from(ask.visit.saturating_sub(1)).unwrap_or(usize::MAX);
        answers.get(visit).or_else(|| answers.last())
    }
}

impl Provider for Script {
    fn complete<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            let said = match self.answer(ask) {
                Some(Value::String(text)) => Said::Text(text.clone()),
                Some(value) => Said::Json(value.clone()),
                None => {
                    return Err(Failure::permanent(format!(
                        "the script has no answer for the step `{}` or the role `{}`",
                        ask.step, ask.role
                    )));
                }
            };
            Ok(Answer { said, usage: Usage::default(), model: MODEL.to_owned() })
        }
        .boxed()
    }
}
