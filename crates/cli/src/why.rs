//! `tidemill why`: in words, what a run waits for or why it ended.

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
    explain(&run, &fleet).iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn explain(run: &Value, fleet: &Value) -> Vec<String> {
    let [state, step, reason, due] =
        [&run["state"], &run["step"], &run["reason"], &run["due_at"]].map(table::plain);
    let mut lines = match state.as_str() {
        "running" => running(run, fleet, &step, &reason, &due),
        "waiting" => waiting(run, &step),
        "parked" => vec![format!("It is held back at {step}: {reason}.")],
        "duplicate" => {
            vec![format!("It ended as a duplicate of run {}.", table::plain(&run["duplicate_of"]))]
        }
        "dead" => vec![
            format!("It died at {step}: {reason}."),
            "`tidemill dlq list` shows its letter, `tidemill dlq replay` gives it another life.".to_owned(),
        ],
        ended => vec![format!("It ended as {ended} at {}: {reason}.", table::plain(&run["ended_at"]))],
    };
    for row in run["publications"].as_array().into_iter().flatten() {
        let [outlet, state, told] = [&row["outlet"], &row["state"], &row["reference"]].map(table::plain);
        lines.push(format!("Publication through {outlet}: {state} {told}").trim_end().to_owned());
        lines.extend(publications::revocation(row).map(|told| format!("  {told}")));
    }
    lines
}

fn running(run: &Value, fleet: &Value, step: &str, reason: &str, due: &str) -> Vec<String> {
    let attempt = run["attempt"].as_i64().unwrap_or(0);
    let mut lines = if attempt > 0 {
        vec![format!("It failed {attempt} times at {step} ({reason}); the next try is due at {due}.")]
    } else {
        vec![format!("It waits for a worker to do the step {step}, since {due}.")]
    };
    for stream in fleet["streams"].as_array().into_iter().flatten() {
        let workers = stream["consumers"].as_array().map_or(0, Vec::len);
        let [worker, backlog] = [&stream["worker"], &stream["backlog"]].map(table::plain);
        if workers == 0 {
            lines.push(format!("No {worker} worker is connected; {backlog} entries wait for one."));
        }
    }
    lines
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

    use super::explain;

    #[test]
    fn each_state_is_told_in_words() {
        let fleet = json!({ "streams": [{ "worker": "judge", "backlog": 3, "consumers": [] }] });
        let told = |run| explain(&run, &fleet).join("\n");
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
}
