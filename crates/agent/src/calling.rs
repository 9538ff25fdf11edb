//! A tool that an orchestrator calls. One that acts outside is planned like any publication: its call was shown to a person,
//! and is claimed in the ledger before it is made.

use fleet::JobContext;
use model::{Effect, EffectResult, Failure, Known, Outcome, Report, Sha256Digest, TOOL_CALLS, sha256};
use rails::{Charge, RECALL};
use serde_json::{Value, json};

use crate::effect::failed;
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
            return Outcome::Done(told(tool, arguments, Used::failed("this process has no tools")));
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
            let asked =
                rails::shown(tool, arguments).is_ok_and(|call| Some(call.sha256) == job.content_sha256);
            if !asked {
                return Err(Failure::permanent(format!(
                    "the tool `{tool}` acts outside, and did not when the workflow was registered: register it again"
                )));
            }
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
        let failure = match toolbox.call(&known, arguments, &call).await {
            Ok(Used::Answered(answer)) => {
                self.unheard().remove(&call.key);
                let reference = answer.to_string().chars().take(REFERENCE).collect();
                return EffectResult::Confirmed { reference };
            }
            Ok(Used::Refused(reason)) => return EffectResult::NotSent(Failure::permanent(reason)),
            Ok(Used::Failed(failure)) | Err(failure) => failure,
        };
        let under_way = known.has_under_way(&call.key);
        let result = failed(failure, under_way);
        if under_way { result } else { self.bounded(&call.key, result) }
    }

    /// What is known of a tool's call that nobody saw end; `None` where the outlet is no tool.
    pub(crate) async fn known_call(&self, outlet: &str) -> Option<Result<Known, Failure>> {
        let toolbox = self.tools.as_ref()?;
        Some(match toolbox.find(outlet.strip_prefix(TOOL_CALLS)?).await {
            Ok(Some(known)) if known.repeats() => Ok(Known::Repeatable),
            Ok(_) => Ok(Known::CannotTell),
            Err(failure) => Err(failure),
        })
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
        Used::Failed(failure) => ("failed", Value::String(failure.reason)),
    };
    output[name] = value;
    Report { output, model: Some(model(tool)), ..Report::default() }
}

fn model(tool: &str) -> String {
    format!("tool:{tool}")
}
