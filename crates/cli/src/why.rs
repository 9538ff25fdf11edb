//! `tidemill why`: in words, what a run waits for or why it ended.

use chrono::{DateTime, Utc};
use fleet::Fault;
use serde_json::Value;

use crate::args::Why;
use crate::client::Client;
use crate::{local_work, publications, table};

pub(crate) async fn run(why: Why) -> Result<(), Fault> {
    let id = local_work::id(&why.run, "run")?;
    let client = Client::of(&why.gateway)?;
    let run = client.get(&format!("/v1/runs/{id}")).await?;
    let fleet = client.get("/v1/fleet").await?;
    explain(&run, &fleet, Utc::now()).iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn explain(run: &Value, fleet: &Value, now: DateTime<Utc>) -> Vec<String> {
    let [state, step, reason] = [&run["state"], &run["step"], &run["reason"]].map(table::plain);
    let forked = run["branches"].as_array().is_some_and(|all| all.iter().any(is_open));
    let mut lines = match state.as_str() {
        "running" if forked => vec![format!("It forked at {step}, and waits for its branches.")],
        "running" | "waiting" | "parked" => stands(run, fleet, now),
        "duplicate" => {
            vec![format!("It ended as a duplicate of run {}.", table::plain(&run["duplicate_of"]))]
        }
        "dead" => vec![
            format!("It died at {step}: {reason}."),
            "`tidemill dlq list` shows its letter, `tidemill dlq replay` gives it another life.".to_owned(),
        ],
        ended => vec![format!("It ended as {ended} at {}: {reason}.", table::plain(&run["ended_at"]))],
    };
    lines.extend(branches(run, fleet, now));
    for row in run["publications"].as_array().into_iter().flatten() {
        let told = if row["reference"].is_null() { &row["reason"] } else { &row["reference"] };
        let [outlet, state, told] = [&row["outlet"], &row["state"], told].map(table::plain);
        lines.push(format!("Publication through {outlet}: {state} {told}").trim_end().to_owned());
        lines.extend(publications::revocation(row).map(|told| format!("  {told}")));
    }
    lines.extend(brains(run));
    lines
}

/// Where an open run or branch stands, and what it waits for.
fn stands(at: &Value, fleet: &Value, now: DateTime<Utc>) -> Vec<String> {
    let [state, step, reason] = [&at["state"], &at["step"], &at["reason"]].map(table::plain);
    match state.as_str() {
        "waiting" => waiting(at, &step),
        "parked" => parked(at, &step, &reason),
        _ => running(at, fleet, now),
    }
}

fn is_open(at: &Value) -> bool {
    ["running", "waiting", "parked"].iter().any(|open| at["state"] == *open)
}

/// What branches wait for, and why others died. Those that run have no job while their run is held back.
fn branches(run: &Value, fleet: &Value, now: DateTime<Utc>) -> Vec<String> {
    let told = |branch: &Value| match branch["state"].as_str() {
        Some("running") if run["state"] != "running" => Vec::new(),
        _ if is_open(branch) => stands(branch, fleet, now),
        Some("dead") => {
            let [step, reason] = [&branch["step"], &branch["reason"]].map(table::plain);
            vec![format!("It died at {step}: {reason}.")]
        }
        _ => Vec::new(),
    };
    let all = run["branches"].as_array().into_iter().flatten();
    all.flat_map(|branch| told(branch).into_iter().map(|line| format!("Branch {}: {line}", branch["branch"])))
        .collect()
}

/// Which brain did a step, by which prompt, and what it cost, where one said so.
fn brains(run: &Value) -> Vec<String> {
    let links = run["provenance"].as_array().into_iter().flatten().map(|link| &link["entry"]);
    let asked = links.filter(|entry| entry["prompt_sha256"].is_string() && entry["model"].is_string());
    asked
        .map(|entry| {
            let [step, model, prompt] =
                [&entry["step"], &entry["model"], &entry["prompt_sha256"]].map(table::plain);
            let count = |name: &str| entry["usage"][name].as_u64().unwrap_or_default();
            let (tokens, cost) = (count("tokens_in") + count("tokens_out"), count("cost_micros"));
            let short: String = prompt.chars().take(12).collect();
            format!(
                "{step} was done by {model}, prompt {short}: {tokens} tokens, cost {}.{:06}",
                cost / 1_000_000,
                cost % 1_000_000
            )
        })
        .collect()
}

fn parked(run: &Value, step: &str, reason: &str) -> Vec<String> {
    let mut lines = vec![format!("It is held back at {step}: {reason}.")];
    let asked = table::plain(&run["escalation"]["escalation_id"]);
    if !asked.is_empty() {
        lines.push(format!("`tidemill escalations show {asked}` shows what is asked."));
    } else if run["run_id"].is_string() {
        lines.push(format!("`tidemill runs resume {}` lets it go on.", table::plain(&run["run_id"])));
    }
    lines
}

fn running(run: &Value, fleet: &Value, now: DateTime<Utc>) -> Vec<String> {
    let attempt = run["attempt"].as_i64().unwrap_or(0);
    let [step, reason, due, worker] =
        [&run["step"], &run["reason"], &run["due_at"], &run["worker"]].map(table::plain);
    let later = DateTime::parse_from_rfc3339(&due).is_ok_and(|due| due > now);
    let mut lines = vec![match (attempt, later) {
        (0, false) => format!("It waits for a worker to do the step {step}, since {due}."),
        (0, true) => format!("It is put off at the step {step}, until {due}: {reason}."),
        (_, true) => {
            format!("It failed {attempt} times at {step} ({reason}); the next try is due at {due}.")
        }
        (_, false) => {
            format!(
                "It failed {attempt} times at {step} ({reason}); the next try waits for a worker since {due}."
            )
        }
    }];
    lines.extend(hindrances(run, fleet));
    for stream in fleet["streams"].as_array().into_iter().flatten() {
        let [name, backlog] = [&stream["worker"], &stream["backlog"]].map(table::plain);
        let consumers = stream["consumers"].as_array().into_iter().flatten();
        let live =
            consumers.filter(|one| one["idle_ms"].as_u64().is_none_or(|idle| idle < streams::SILENT_MS));
        if live.count() == 0 && (worker.is_empty() || worker == name) {
            lines.push(format!("No {name} worker is connected; {backlog} entries wait for one."));
        }
    }
    lines
}

/// What is paused or out of what the run's step needs. Of a publishing step that names no outlet the gateway does not know
/// which one it takes: then every outlet counts.
fn hindrances(run: &Value, fleet: &Value) -> Vec<String> {
    let concerns = |what: &Value| match what["kind"].as_str() {
        Some("stage") => what["name"] == run["worker"],
        Some("outlet") => {
            run["worker"] == "publisher" && (run["outlet"].is_null() || what["name"] == run["outlet"])
        }
        Some("provider") => run["worker"] == "agent",
        _ => false,
    };
    let of = |list: &str| fleet[list].as_array().into_iter().flatten().filter(|what| concerns(what));
    let paused = of("pauses").map(|pause| {
        let [kind, name, by, at, why] =
            ["kind", "name", "paused_by", "paused_at", "reason"].map(|key| table::plain(&pause[key]));
        let why = if why.is_empty() { why } else { format!(" ({why})") };
        format!(
            "The {kind} {name} is paused by {by} since {at}{why}: `tidemill resume {kind} {name}` ends that."
        )
    });
    let out = of("breakers").map(|breaker| {
        let [kind, name, at, why] =
            ["kind", "name", "opened_at", "reason"].map(|key| table::plain(&breaker[key]));
        format!("The {kind} {name} is out since {at}: {why}. It is tried again by itself.")
    });
    paused.chain(out).collect()
}

fn waiting(run: &Value, step: &str) -> Vec<String> {
    let asked = &run["escalation"];
    let [id, issue, question, due, rule] =
        [&asked["escalation_id"], &asked["issue_type"], &asked["question"], &asked["due_at"], &asked["rule"]]
            .map(table::plain);
    let mut lines = vec![format!("It waits at {step} for a person ({issue}), until {due}: {question}")];
    if !rule.is_empty() {
        lines.push(format!("The condition `{rule}` held with {}.", asked["evidence"]["values"]));
    }
    if issue == rails::PUBLICATION_UNKNOWN {
        lines.push(
            "Answer with `tidemill publications settle ID --answer delivered|resend|abandon`.".to_owned(),
        );
    } else {
        lines.push(format!("Answer with `tidemill escalations resolve {id} --decision approve|reject|…`."));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_state_is_told_in_words() {
        let fleet =
            json!({ "streams": [{ "worker": "judge", "backlog": 3, "consumers": [{ "idle_ms": 33_000 }] }] });
        let now = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc();
        let told = |run| explain(&run, &fleet, now).join("\n");
        let retried =
            told(json!({ "state": "running", "step": "judge", "attempt": 2, "reason": "x", "due_at": "t" }));
        assert!(
            retried.contains("failed 2 times at judge (x)") && retried.contains("No judge worker"),
            "{retried}"
        );
        let asked = json!({ "escalation_id": "e", "issue_type": "toxicity", "question": "?", "due_at": "t", "rule": "a > b" });
        let waiting = told(json!({ "state": "waiting", "step": "judge", "escalation": asked }));
        assert!(waiting.contains("toxicity") && waiting.contains("`a > b` held"), "{waiting}");
        assert!(told(json!({ "state": "dead", "step": "etl", "reason": "r" })).contains("dlq replay"));
        assert!(told(json!({ "state": "published", "ended_at": "t", "reason": "r" })).contains("published"));
    }

    #[test]
    fn each_open_branch_is_told_and_why_others_died() {
        let asked = json!({ "escalation_id": "e", "issue_type": "doubt", "question": "?", "due_at": "t" });
        let branch = |number: u32, state: &str, more: Value| {
            let mut branch = json!({ "branch": number, "state": state, "step": format!("s{number}"), "reason": "r",
                                     "attempt": 0, "due_at": "2026-03-01T11:00:00Z", "worker": "agent" });
            branch.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            branch
        };
        let branches = [
            branch(1, "running", json!({ "attempt": 2 })),
            branch(2, "waiting", json!({ "escalation": asked })),
            branch(3, "dead", json!({})),
            branch(4, "done", json!({})),
        ];
        let fleet = json!({ "pauses": [{ "kind": "stage", "name": "agent", "reason": "why" }] });
        let now = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc();
        let told = |state: &str| {
            let run = json!({ "run_id": "x", "state": state, "step": "both", "reason": "held", "branches": branches });
            explain(&run, &fleet, now)
        };
        let running = told("running");
        let expected = [
            "It forked at both",
            "Branch 1: It failed 2 times at s1 (r)",
            "Branch 1: The stage agent is paused",
            "Branch 2: It waits at s2 for a person (doubt)",
            "Branch 2: Answer with `tidemill escalations resolve e",
            "Branch 3: It died at s3: r.",
        ];
        assert_eq!(running.len(), expected.len(), "{running:?}");
        for (line, expected) in running.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}");
        }
        let parked = told("parked");
        assert!(parked.iter().all(|line| !line.starts_with("Branch 1")), "it has no job: {parked:?}");
        assert!(parked.iter().any(|line| line.starts_with("Branch 2")), "{parked:?}");
    }

    #[test]
    fn who_did_a_step_is_told_with_prompt_tokens_and_cost() {
        let entry = json!({ "step": "review", "model": "m-1", "prompt_sha256": "0123456789abcdef",
                            "usage": { "tokens_in": 100, "tokens_out": 20, "cost_micros": 1_000_140 } });
        let run = json!({ "state": "done", "ended_at": "t", "reason": "r",
                          "provenance": [{ "entry": { "step": "etl" } }, { "entry": entry }] });
        let told = explain(&run, &json!({}), Utc::now());
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[1], "review was done by m-1, prompt 0123456789ab: 120 tokens, cost 1.000140");
    }

    #[test]
    fn what_is_paused_or_out_is_named_where_it_holds_the_run_up() {
        let named = |kind: &str, name: &str| json!({ "kind": kind, "name": name, "reason": "why" });
        let fleet = json!({
            "pauses": [named("stage", "judge"), named("outlet", "blog"), named("source", "judge")],
            "breakers": [named("stage", "embedding"), named("outlet", "desk")],
        });
        let now = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc();
        let told = |worker: &str, outlet: Option<&str>, due: &str| {
            let run = json!({ "state": "running", "step": worker, "worker": worker, "outlet": outlet,
                              "attempt": 0, "reason": "desk: it is left alone", "due_at": due });
            explain(&run, &fleet, now).join("\n")
        };
        let paused = told("judge", None, "2026-03-01T11:00:00Z");
        assert!(
            paused.contains("since 2026-03-01T11:00") && paused.contains("resume stage judge"),
            "{paused}"
        );
        assert_eq!(paused.lines().count(), 2, "{paused}");
        assert!(told("embedding", None, "2026-03-01T11:00:00Z").contains("stage embedding is out"));
        let off = told("publisher", Some("desk"), "2026-03-01T12:05:00Z");
        assert!(
            off.contains("put off") && off.contains("until 2026-03-01T12:05") && !off.contains("since 2026"),
            "{off}"
        );
        assert!(off.contains("outlet desk is out") && !off.contains("blog"), "{off}");
        let either = told("publisher", None, "2026-03-01T11:00:00Z");
        assert!(
            either.contains("outlet blog is paused") && either.contains("outlet desk is out"),
            "{either}"
        );
        assert_eq!(told("etl", None, "2026-03-01T11:00:00Z").lines().count(), 1);
    }
}
