//! Who says what is done next: a role's provider, or the rule of the rails where the role has none. What is said goes to the
//! rails as it stands: they alone tell a call from idle words.

use fleet::JobContext;
use model::{Failure, Report, Usage};
use providers::Said;
use rails::Choice;
use serde_json::{Value, json};

use crate::error::AgentError;
use crate::handler::Agent;
use crate::output::{self, Proposal};

/// What provenance names where the rule decided.
const RULE: &str = "rule";
/// Characters of words that are kept where no call was said.
const WORDS: usize = 4000;

impl Agent {
    pub(crate) async fn decide(&self, job: &JobContext, choice: &Choice) -> Result<Report, AgentError> {
        let thinks = |role: &String| self.roles.get(role).is_none_or(|role| role.provider.is_some());
        if !choice.role.as_ref().is_some_and(thinks) {
            return by_rule(choice);
        }
        let mut work = self.assign(job)?;
        if let Some(tools) = self.tools.as_ref().filter(|_| !choice.tools.is_empty()) {
            work.tools = tools.described(&choice.tools).await;
        }
        let ask = work.ask(None, Usage::default())?;
        let answer = self.answered(&work, &ask, Usage::default()).await?;
        let proposal = Proposal { output: said(&answer.said), patch: None };
        Ok(self.report(&work, &ask, proposal, answer.model, answer.usage))
    }
}

fn by_rule(choice: &Choice) -> Result<Report, AgentError> {
    let output = serde_json::to_value(&choice.rule).map_err(|error| Failure::permanent(error.to_string()))?;
    let prompt = "the first empty slot that a cluster can write is filled".to_owned();
    Ok(Report { output, prompt: Some(prompt), model: Some(RULE.to_owned()), ..Report::default() })
}

/// What was said, as JSON: words that are none are kept as words, and refused as such.
fn said(said: &Said) -> Value {
    let text = match said {
        Said::Json(value) => return value.clone(),
        Said::Text(text) => text,
    };
    match serde_json::from_str(output::unfenced(text)) {
        Ok(value @ Value::Object(_)) => value,
        _ => json!({ "text": text.chars().take(WORDS).collect::<String>() }),
    }
}
