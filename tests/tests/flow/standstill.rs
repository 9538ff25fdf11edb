//! What stands still, as the planner's metrics tell it.

use serde_json::json;
use testkit::eventually;

use crate::branches::serving;
use crate::fleet::{Fleet, event, metrics};

/// Some are asked about at once, the others come to the judge, and then to a model.
const DOCUMENT: &str = "
name: slow
version: 1
steps:
  - id: etl
    worker: etl
    branches: [{ when: etl.language == 'de', escalate: doubt }]
    on_success: judge
  - { id: judge, worker: judge, on_success: both }
  - id: both
    parallel: { branches: [asked, write] }
    on_success: { end: done }
  - { id: asked, worker: etl, branches: [{ when: asked.confidence <= 1.0, escalate: doubt }], on_success: join }
  - { id: write, worker: agent, role: writer, on_success: join }
";

/// What the planner serves as this series.
async fn told(fleet: &Fleet, series: &str) -> Option<f64> {
    let planner = &fleet.workers.iter().find(|(name, _)| *name == "planner").unwrap().1;
    let metrics = metrics(planner).await;
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

async fn at(fleet: &Fleet, step: &str) -> Option<f64> {
    told(fleet, &format!(r#"tidemill_at_step_seconds{{workflow="slow",step="{step}"}}"#)).await
}

async fn unattended(fleet: &Fleet, worker: &str) -> Option<f64> {
    told(fleet, &format!(r#"tidemill_unattended_jobs{{worker="{worker}"}}"#)).await
}

#[tokio::test]
async fn runs_that_do_not_move_on_and_jobs_that_no_process_reads_are_told_but_not_what_waits_for_people() {
    let mut fleet = serving("slow", DOCUMENT).await;
    fleet.start("etl").await;
    let german =
        "Die Fähre nach der Insel legt heute wegen des Sturms nicht ab, und morgen vielleicht auch nicht.";
    fleet.add([event(1), ("asked".to_owned(), json!({ "body": german }))]).await;
    eventually("a run has been at the judge for a while", async || {
        at(&fleet, "judge").await.is_some_and(|seconds| seconds > 3.0)
    })
    .await;
    assert_eq!(unattended(&fleet, "judge").await, Some(1.0));
    assert_eq!((unattended(&fleet, "etl").await, at(&fleet, "etl").await), (Some(0.0), None));

    // A provider that is away costs no attempt, however often it is tried.
    let away = json!({ "away": { "openai": { "base_url": "http://127.0.0.1:9/v1", "model": "m" } } });
    let providers = format!("agent.providers={away}");
    let pauses = r#"agent.breaker={"failures":3,"pause":"200ms","longest_pause":"400ms"}"#;
    fleet.start_with("agent", &[&providers, "agent.provider=away", pauses], &[]).await;
    fleet.start("judge").await;
    let write = async || {
        let run = fleet.runs().await.into_iter().find(|run| run.step == "both")?;
        fleet.record.branches(run.run_id).await.ok()?.into_iter().find(|branch| branch.step == "write")
    };
    eventually("it was tried again and again", async || write().await.is_some_and(|write| write.seq > 2))
        .await;
    assert_eq!(write().await.unwrap().attempt, 0);
    let first = at(&fleet, "write").await.unwrap_or_default();
    eventually("it has been at the model for longer, though it was tried once more", async || {
        let tried = write().await.is_some_and(|write| write.seq > 3);
        tried && at(&fleet, "write").await.is_some_and(|seconds| seconds > first + 1.0)
    })
    .await;
    for worker in ["judge", "agent"] {
        eventually("somebody reads", async || unattended(&fleet, worker).await == Some(0.0)).await;
    }
    for step in ["judge", "both", "asked"] {
        assert_eq!(at(&fleet, step).await, None, "{step} does not stand still");
    }
}
