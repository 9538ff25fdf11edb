//! From what happened to what is committed: the rails choose, this file only fills in the forms.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Actor, Outcome, Report, Sha256Digest, sha256};
use rails::{Delay, Facts, Signal, Transition, Workflow};
use record::{Advance, LoadedRun, Routed, encode_entry};
use serde_json::Value;

use super::commit::{Happening, Pending};
use crate::Handler;

/// The longest prompt or rule text that provenance keeps, in characters.
const PROMPT_KEPT: usize = 2000;

/// Routes one job.
pub(crate) fn route<H: Handler>(
    handler: &H,
    actor: &Actor,
    run: &LoadedRun,
    job: &Pending,
    facts: &Facts,
    stream: String,
) -> Routed {
    let signal = signal(&job.happening);
    let content = report(&job.happening).and_then(|report| report.content.as_ref());
    let mut transition = match content.filter(|_| run.memory.is_some()) {
        Some(content) => {
            let facts = Facts { content: Some(content.clone()), ..facts.clone() };
            advance(&job.workflow, run, &signal, &facts)
        }
        None => advance(&job.workflow, run, &signal, facts),
    };
    if let Happening::Postponed { after, .. } = &job.happening {
        transition.delay = Delay::Exactly(*after);
    }
    let report = report(&job.happening);
    let acting = transition.beyond.as_ref().and_then(|beyond| beyond.cluster.clone());
    let died = transition.death.is_some();
    let advance = Advance {
        output: report.map(|r| &r.output).filter(|v| !v.is_null()).map(Value::to_string),
        content: report.and_then(|r| r.content.clone()),
        trend: report.and_then(|r| r.trend.clone()),
        embedding: report.and_then(|r| r.embedding.clone()).or_else(|| handler.obituary().filter(|_| died)),
        at: job.at,
        model: report.and_then(|r| r.model.clone()),
        prompt: report.and_then(|r| r.prompt.as_deref()).map(|p| p.chars().take(PROMPT_KEPT).collect()),
        prompt_sha256: report.and_then(|r| r.prompt_sha256),
        cluster: acting.or_else(|| job.workflow.step(&run.step).and_then(|step| step.cluster.clone())),
        input_sha256: job.input_sha256.or_else(|| Some(input_digest(run))),
        original: if died { encode_entry(&job.entry.fields) } else { Vec::new() },
        origin: died.then(|| (stream, job.entry.id.to_string())),
        ..Advance::by(actor.clone(), what(&signal, &transition))
    };
    Routed { delay: delay(&transition), transition, advance }
}

/// Asks the rails. A signal that the run's state forbids cannot come from a running job; were it to, the job fails
/// for good rather than go on unnoticed.
pub(crate) fn advance(
    workflow: &Workflow,
    run: &LoadedRun,
    signal: &Signal<'_>,
    facts: &Facts,
) -> Transition {
    let standing = run.standing();
    let artifacts: BTreeMap<String, Value> = workflow
        .condition_inputs(&run.step)
        .iter()
        .filter_map(|name| Some((name.clone(), serde_json::from_str(run.artifact(name)?).ok()?)))
        .collect();
    rails::advance(workflow, &standing, signal, &artifacts, facts)
        .unwrap_or_else(|impossible| rails::bug(workflow, &standing, facts, &impossible.to_string()))
}

fn signal(happening: &Happening) -> Signal<'_> {
    match happening {
        Happening::Outcome(Outcome::Done(report) | Outcome::Plan(report, _)) => {
            Signal::Done { output: &report.output, patch: report.patch.as_ref() }
        }
        Happening::Outcome(Outcome::Escalate(report, question)) => {
            Signal::Escalate { output: &report.output, question }
        }
        Happening::Outcome(Outcome::Reject(_, reason)) => Signal::Reject { reason },
        Happening::Outcome(Outcome::Failed(failure)) => Signal::Failed { failure },
        Happening::Poisoned { deliveries } => Signal::Poisoned { deliveries: *deliveries },
        Happening::Postponed { reason, .. } => Signal::Postponed { reason },
        Happening::Begins => Signal::Begin,
        Happening::DryRun { report, posts } => Signal::DryRun { output: &report.output, posts: *posts },
    }
}

fn report(happening: &Happening) -> Option<&Report> {
    match happening {
        Happening::Outcome(
            Outcome::Done(r) | Outcome::Escalate(r, _) | Outcome::Reject(r, _) | Outcome::Plan(r, _),
        )
        | Happening::DryRun { report: r, .. } => Some(r),
        Happening::Outcome(Outcome::Failed(_))
        | Happening::Poisoned { .. }
        | Happening::Postponed { .. }
        | Happening::Begins => None,
    }
}

/// What happened, in the words of logs, metrics and provenance.
fn what(signal: &Signal<'_>, transition: &Transition) -> &'static str {
    if transition.death.is_some() {
        return "died";
    }
    if transition.escalation.is_some() {
        return "escalated";
    }
    match signal {
        Signal::Failed { .. } | Signal::Postponed { .. } => record::RETRIED,
        Signal::Begin => "begun",
        Signal::Reject { .. } => "rejected",
        Signal::DryRun { .. } => "dry_run",
        _ if transition.incident.is_some() => "rejected",
        _ if transition.duplicate_of.is_some() => "duplicate",
        _ => "done",
    }
}

pub(crate) fn delay(transition: &Transition) -> Duration {
    match &transition.delay {
        Delay::Now => Duration::ZERO,
        Delay::Exactly(delay) => *delay,
        Delay::Backoff { policy, attempt } => policy.delay(*attempt, rand::random()),
    }
}

/// Digest of what the handler read: the payload, then each artifact.
pub(crate) fn input_digest(run: &LoadedRun) -> Sha256Digest {
    let mut parts: Vec<&[u8]> = run.payload.as_deref().into_iter().collect();
    parts.extend(run.artifacts.iter().flat_map(|(name, body)| [name.as_bytes(), body.as_bytes()]));
    sha256(&parts)
}
