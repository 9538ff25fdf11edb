use std::collections::BTreeMap;

use model::RunId;

use super::*;
use crate::{Catalog, builtin_trend};

fn content(body: &str) -> Content {
    Content {
        title: "t".to_owned(),
        summary: String::new(),
        body: body.to_owned(),
        url: None,
        language: "en".to_owned(),
        tags: vec![],
    }
}

fn decided(state: RunState, issue: &str, decision: &Decision, body: &str) -> Result<Transition, Refusal> {
    let catalog = Catalog { workers: &["etl", "embedding", "judge", "publisher"], ..Catalog::default() };
    let workflow = Workflow::register(builtin_trend(), &BTreeMap::new(), &catalog).unwrap();
    let policy = Policy::parse("forbidden_terms: [bad]\n").unwrap();
    let at = Standing {
        run: RunId(uuid::Uuid::nil()),
        branch: 0,
        state,
        lifecycle: Lifecycle::Qa,
        step: "judge",
        attempt: 0,
        content: None,
        dry_run: false,
    };
    let asked = Asked {
        issue_type: issue,
        content: Some(&content(body)),
        policy: &policy,
        source: "s",
        rule: None,
        by: "ada",
        facts: &Facts::default(),
    };
    decide(&workflow, &at, &asked, decision)
}

#[test]
fn approvals_by_people_are_bound_by_policy_and_overrides_are_not() {
    let waiting = |decision: &Decision, body: &str| decided(RunState::Waiting, "toxicity", decision, body);
    let good = waiting(&Decision::Approve, "good").unwrap();
    assert_eq!((good.step.as_str(), good.approval.unwrap().basis), ("publish", Basis::Person));
    assert!(matches!(waiting(&Decision::Approve, "bad"), Err(Refusal::Violates(_))));
    assert_eq!(waiting(&Decision::Override, "bad").unwrap().approval.unwrap().basis, Basis::Override);
    assert!(matches!(waiting(&Decision::Edit(Box::new(content("bad"))), "good"), Err(Refusal::Violates(_))));
    assert!(waiting(&Decision::Edit(Box::new(content("fine"))), "bad").unwrap().approval.is_some());
    assert_eq!(waiting(&Decision::Reject, "bad").unwrap().state, RunState::Rejected);
}

#[test]
fn sending_back_forgets_the_quality_reached_and_unknown_steps_and_ended_runs_are_refused() {
    let back = decided(RunState::Waiting, "toxicity", &Decision::SendBack("etl".to_owned()), "x").unwrap();
    assert_eq!((back.step.as_str(), back.lifecycle, back.approval), ("etl", Lifecycle::Draft, None));
    let lost = Decision::SendBack("moon".to_owned());
    assert!(matches!(decided(RunState::Waiting, "toxicity", &lost, "x"), Err(Refusal::UnknownStep(_))));
    assert_eq!(decided(RunState::Cancelled, "toxicity", &Decision::Approve, "x"), Err(Refusal::NotWaiting));
    assert_eq!(
        decided(RunState::Waiting, PUBLICATION_UNKNOWN, &Decision::Approve, "x"),
        Err(Refusal::SettlePublication)
    );
}
