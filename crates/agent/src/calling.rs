//! A tool that an orchestrator calls. One that acts outside is planned like any publication: its call was shown to a person,
//! and is claimed in the ledger before it is made.

use fleet::JobContext;
use model::{Effect, EffectResult, Failure, Outcome, Report, RetryClass, Sha256Digest, TOOL_CALLS, sha256};
use rails::{Charge, RECALL};
use serde_json::{Value, json};

use crate::handler::Agent;
use crate::tools::{Call, Toolbox, Used};

/// How much longer than the call its effect may take: the tool's own timeout comes first.
const BEYOND: std::time::Duration = std::time::Duration::from_secs(1);
/// Characters of an answer that the ledger keeps.
const REFERENCE: usize = 500;

impl Agent {
    pub(crate) async fn use_tool(
        &self,
        job: &JobContext,
        tool: &str,
        arguments: &Value,
        turn: u32,
    ) -> Outcome {
        let Some(toolbox) = &self.tools else {
            return Outcome::Done(told(
                tool,
                arguments,
                Used::Failed("this process has no tools".to_owned()),
            ));
        };
        match self.used(toolbox, job, tool, arguments, turn).await {
            Ok(outcome) => outcome,
            Err(failure) => Outcome::Failed(failure),
        }
    }

    async fn used(
        &self,
        toolbox: &Toolbox,
        job: &JobContext,
        tool: &str,
        arguments: &Value,
        turn: u32,
    ) -> Result<Outcome, Failure> {
        if tool == RECALL {
            let used = toolbox.recall(&job.tenant, arguments).await?;
            return Ok(Outcome::Done(told(tool, arguments, used)));
        }
        let Some(known) = toolbox.find(tool).await? else {
            let used = Used::Refused(format!("there is no tool `{tool}`"));
            return Ok(Outcome::Done(told(tool, arguments, used)));
        };
        if let Err(why) = known.fits(arguments) {
            return Ok(Outcome::Done(told(tool, arguments, Used::Refused(why))));
        }
        if known.side_effect {
            let effect = Effect {
                outlet: format!("{TOOL_CALLS}{tool}"),
                name: name_of(turn, arguments),
                timeout: known.timeout.min(job.deadline) + BEYOND,
                deduplicates: false,
                dry_run: job.dry_run,
                answers: false,
            };
            let output = json!({ "tool": tool, "arguments": arguments, "dry_run": job.dry_run });
            return Ok(Outcome::Plan(
                Report { output, model: Some(model(tool)), ..Report::default() },
                effect,
            ));
        }
        let key = sha256(&[job.run.0.as_bytes(), job.step.as_bytes(), tool.as_bytes(), &turn.to_be_bytes()]);
        let call = Call { key: key.to_hex(), step: &job.step, turn, timeout: job.deadline };
        let used = toolbox.call(&known, arguments, &call).await?;
        Ok(Outcome::Done(told(tool, arguments, used)))
    }

    /// Makes a call that is claimed.
    pub(crate) async fn perform_call(
        &self,
        job: &JobContext,
        effect: &Effect,
        key: Sha256Digest,
    ) -> EffectResult {
        let charge = job.task.as_deref().and_then(|task| task.charge.as_ref());
        let Some((toolbox, Charge::Tool { tool, arguments, turn })) = self.tools.as_ref().zip(charge) else {
            let reason =
                format!("no tool is called at `{}`, yet one was planned for {}", job.step, effect.outlet);
            return EffectResult::NotSent(Failure::permanent(reason));
        };
        let known = match toolbox.find(tool).await {
            Ok(Some(known)) => known,
            Ok(None) => {
                return EffectResult::NotSent(Failure::permanent(format!("there is no tool `{tool}`")));
            }
            Err(failure) => return EffectResult::NotSent(failure),
        };
        let call = Call { key: key.to_hex(), step: &job.step, turn: *turn, timeout: effect.timeout };
        match toolbox.call(&known, arguments, &call).await {
            Ok(Used::Answered(answer)) => {
                EffectResult::Confirmed { reference: answer.to_string().chars().take(REFERENCE).collect() }
            }
            Ok(Used::Refused(reason)) => EffectResult::NotSent(Failure::permanent(reason)),
            Ok(Used::Failed(reason)) => EffectResult::Rejected { reason },
            Err(failure) if failure.class == RetryClass::Transient => {
                EffectResult::Unsettled { reason: failure.reason }
            }
            Err(failure) => EffectResult::NotSent(failure),
        }
    }
}

/// What the ledger's key is made of: a run of the same event that calls with other arguments makes another call.
fn name_of(turn: u32, arguments: &Value) -> String {
    let digest = sha256(&[arguments.to_string().as_bytes()]).to_hex();
    format!("call {turn} {}", &digest[..16])
}

/// The artifact of a call: with what it was called, and what came of it.
fn told(tool: &str, arguments: &Value, used: Used) -> Report {
    let mut output = json!({ "tool": tool, "arguments": arguments });
    let (name, value) = match used {
        Used::Answered(value) => ("result", value),
        Used::Refused(why) => ("refused", Value::String(why)),
        Used::Failed(why) => ("failed", Value::String(why)),
    };
    output[name] = value;
    Report { output, model: Some(model(tool)), ..Report::default() }
}

fn model(tool: &str) -> String {
    format!("tool:{tool}")
}
