//! How long each step of a run waited and worked, what it spent, and what went wrong: as the chains of the run and its
//! branches tell it.

use chrono::{DateTime, TimeDelta, Utc};
use model::{RunState, Usage};
use record::ProvenanceView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What happened at a step, all visits and tries together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepDiagnosis {
    /// The branch; 0 is the run itself.
    branch: i32,
    step: String,
    /// Milliseconds for which it waited for a worker or between tries, and a fork for its branches; where it stands there still, up to
    /// now. A try counts as waiting until it is over.
    waiting_ms: u64,
    /// Milliseconds for which a person was asked, or the run was held back.
    held_ms: u64,
    /// Milliseconds for which workers worked.
    working_ms: u64,
    /// Tokens in and out.
    tokens: u64,
    /// Millionths of the configured currency.
    cost_micros: u64,
    /// What went wrong last, be it that the step was done afterwards.
    last_error: Option<StepError>,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct StepError {
    at: DateTime<Utc>,
    /// Why a try failed or was put off, time was over, or a patch was refused.
    reason: String,
}

/// What is read of a link.
#[derive(Deserialize)]
struct Link {
    kind: String,
    what: String,
    state: RunState,
    next: String,
    reason: String,
    at: DateTime<Utc>,
    #[serde(default)]
    usage: Usage,
    patch_refused: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    reason: String,
}

impl Link {
    /// Whether it says where the run or branch stands; others only note something beside.
    fn moves(&self) -> bool {
        ["created", "transition"].contains(&self.kind.as_str())
    }

    fn error(&self) -> Option<StepError> {
        let failed = ["retried", "died", "timed_out", "refused", "unknown"].contains(&self.what.as_str());
        let refused = self.patch_refused.as_ref().map(|refused| &refused.reason);
        let reason = refused.or(failed.then_some(&self.reason))?;
        Some(StepError { at: self.at, reason: reason.clone() })
    }
}

impl StepDiagnosis {
    fn new(branch: i32, step: &str) -> Self {
        Self {
            branch,
            step: step.to_owned(),
            waiting_ms: 0,
            held_ms: 0,
            working_ms: 0,
            tokens: 0,
            cost_micros: 0,
            last_error: None,
        }
    }

    /// It stood there for so long, in a state, and a worker took part of that.
    fn stood(&mut self, state: RunState, time: TimeDelta, worked_ms: u64) {
        // Clocks of several machines may differ.
        let stood_ms = u64::try_from(time.num_milliseconds()).unwrap_or(0);
        match state {
            RunState::Running => {
                self.working_ms = self.working_ms.saturating_add(worked_ms);
                self.waiting_ms = self.waiting_ms.saturating_add(stood_ms.saturating_sub(worked_ms));
            }
            RunState::Waiting | RunState::Parked => self.held_ms = self.held_ms.saturating_add(stood_ms),
            _ => {}
        }
    }

    fn left(&mut self, link: &Link) {
        self.tokens = self.tokens.saturating_add(link.usage.tokens());
        self.cost_micros = self.cost_micros.saturating_add(link.usage.cost_micros);
        self.last_error = link.error().or(self.last_error.take());
    }
}

/// The steps of a run and its branches, by branch and in the order in which they were come to first. Links that cannot be read
/// are passed over.
pub(crate) fn diagnose(provenance: &[ProvenanceView], now: DateTime<Utc>) -> Vec<StepDiagnosis> {
    let mut found = Vec::new();
    for chain in provenance.chunk_by(|one, next| one.branch == next.branch) {
        let links = chain.iter().filter_map(|link| serde_json::from_str(link.entry.get()).ok());
        let moves: Vec<Link> = links.filter(Link::moves).collect();
        found.extend(diagnose_chain(chain[0].branch, &moves, now));
    }
    found
}

fn diagnose_chain(branch: i32, links: &[Link], now: DateTime<Utc>) -> Vec<StepDiagnosis> {
    let mut steps: Vec<StepDiagnosis> = Vec::new();
    for (number, stands) in links.iter().enumerate() {
        let next = links.get(number + 1);
        if next.is_none() && !stands.state.is_open() {
            break;
        }
        let known = steps.iter().position(|of| of.step == stands.next).unwrap_or_else(|| {
            steps.push(StepDiagnosis::new(branch, &stands.next));
            steps.len() - 1
        });
        let step = &mut steps[known];
        match next {
            Some(next) => {
                step.stood(stands.state, next.at - stands.at, next.usage.millis);
                step.left(next);
            }
            None => step.stood(stands.state, now - stands.at, 0),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    /// A link at a time: what, the state and step afterwards, and more.
    fn link(branch: i32, seconds: i64, what: &str, stands: (&str, &str), more: Value) -> ProvenanceView {
        let mut entry = json!({ "kind": "transition", "what": what, "step": "", "state": stands.0, "next": stands.1,
                                "reason": format!("because of {what}"), "at": at(seconds) });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ProvenanceView { branch, pos: 1, entry: to_raw_value(&entry).unwrap(), hash: String::new() }
    }

    fn times(of: &StepDiagnosis) -> (i32, &str, u64, u64, u64) {
        (of.branch, &of.step, of.waiting_ms, of.working_ms, of.held_ms)
    }

    #[test]
    fn waiting_working_and_being_held_add_up_to_the_time_at_a_step() {
        let spent = |millis: u64| json!({ "usage": { "millis": millis, "tokens_in": 5, "cost_micros": 7 } });
        let chain = [
            link(0, 0, "accepted", ("running", "write"), json!({ "kind": "created" })),
            link(0, 10, "retried", ("running", "write"), spent(4_000)),
            link(0, 11, "revoked", ("running", "write"), json!({ "kind": "ledger" })),
            link(0, 20, "done", ("waiting", "check"), spent(1_000)),
            link(0, 50, "decided", ("running", "write"), json!({})),
            link(0, 60, "done", ("published", "write"), spent(10_000)),
            link(0, 90, "replayed", ("running", "write"), json!({})),
        ];
        let found = diagnose(&chain, at(95));
        assert_eq!(
            found.iter().map(times).collect::<Vec<_>>(),
            [(0, "write", 6_000 + 9_000 + 5_000, 4_000 + 1_000 + 10_000, 0), (0, "check", 0, 0, 30_000)],
            "no time counts while it has ended"
        );
        assert_eq!((found[0].tokens, found[0].cost_micros), (15, 21));
        assert_eq!(found[0].last_error.as_ref().unwrap().reason, "because of retried");
        assert_eq!(found[1].last_error, None);
    }

    #[test]
    fn each_branch_has_steps_of_its_own_and_a_fork_waits_for_them() {
        let chains = [
            link(0, 0, "accepted", ("running", "both"), json!({ "kind": "created" })),
            link(0, 30, "joined", ("done", "both"), json!({})),
            link(1, 0, "opened", ("running", "left"), json!({})),
            link(1, 30, "done", ("done", "left"), json!({ "patch_refused": { "reason": "too wide" } })),
            link(2, 0, "opened", ("running", "right"), json!({})),
        ];
        let found = diagnose(&chains, at(40));
        let expected = [(0, "both", 30_000, 0, 0), (1, "left", 30_000, 0, 0), (2, "right", 40_000, 0, 0)];
        assert_eq!(found.iter().map(times).collect::<Vec<_>>(), expected);
        assert_eq!(found[1].last_error.as_ref().unwrap().reason, "too wide");
    }

    #[test]
    fn clocks_that_differ_and_links_that_cannot_be_read_do_no_harm() {
        let mut chain = vec![
            link(0, 10, "accepted", ("running", "a"), json!({ "kind": "created" })),
            link(0, 9, "done", ("done", "a"), json!({ "usage": { "millis": 5 } })),
        ];
        assert_eq!(diagnose(&chain, at(20)).iter().map(times).collect::<Vec<_>>(), [(0, "a", 0, 5, 0)]);
        chain[1].entry = to_raw_value(&json!({ "kind": "moon" })).unwrap();
        assert_eq!(diagnose(&chain, at(20)).iter().map(times).collect::<Vec<_>>(), [(0, "a", 10_000, 0, 0)]);
        assert!(diagnose(&[], at(0)).is_empty());
    }
}
