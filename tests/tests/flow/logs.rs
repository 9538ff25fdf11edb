//! The logs of a run's processes name what a reader searches for, by the names that hold everywhere.

use serde_json::{Value, json};
use testkit::eventually;

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event};

/// What the processes said of a run, each with the process that said it.
fn said(fleet: &Fleet, run: &str) -> Vec<(&'static str, Value)> {
    let mut said = Vec::new();
    for (name, worker) in &fleet.workers {
        let lines = worker.log();
        let lines = lines.lines().map(|line| serde_json::from_str(line).expect("a log of JSON lines"));
        said.extend(lines.filter(|line: &Value| line["run_id"] == run).map(|line| (*name, line)));
    }
    said
}

/// Whether a line has a value under a name; 0 is one.
fn has(line: &Value, name: &str) -> bool {
    match &line[name] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

#[tokio::test]
async fn the_logs_of_a_run_carry_every_name_of_the_design_with_a_value() {
    let mut fleet = Fleet::with(&["gateway", "etl", "embedding"]).await;
    let policy = fleet.servers.folder().join("policy.yaml");
    std::fs::write(&policy, "forbidden_terms: [Glimmerdrift]\n").unwrap();
    fleet.start_with("judge", &[&format!("policy.file={}", policy.display())], &[]).await;
    fleet.start("publisher").await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (request_id, payload) = event(1);
    desk.post("/v1/events", json!({ "source": "s", "request_id": request_id, "payload": payload })).await;
    // One comes by the gateway, one straight to the stream and without a trace of its own.
    fleet.add([event(2)]).await;
    for run in fleet.settled(2).await {
        assert_eq!(run.state, "published", "{run:?}");
        let id = run.run_id.to_string();
        let last = || said(&fleet, &id).iter().any(|(_, line)| line["message"] == "published");
        eventually("the publisher says so", async || last()).await;
        let lines = said(&fleet, &id);
        for (worker, names) in [
            ("etl", &["worker_output_prompt"][..]),
            ("embedding", &["enriched_trend_id"]),
            ("judge", &["enriched_trend_id", "worker_output_prompt"]),
            ("publisher", &["enriched_trend_id"]),
        ] {
            let transitions: Vec<&Value> = lines
                .iter()
                .filter(|(of, line)| *of == worker && has(line, "seq"))
                .map(|(_, line)| line)
                .collect();
            assert_eq!(transitions.len(), 1, "{worker}: {lines:?}");
            for name in ["trace_id", "run_id", "planner_intent", "step", "attempt"].iter().chain(names) {
                assert!(has(transitions[0], name), "{worker} lacks {name}: {}", transitions[0]);
            }
            assert_eq!(transitions[0]["trace_id"].as_str(), run.trace_id.as_deref(), "{worker}");
        }
    }
}
