//! `tidemill load` against a fleet that keeps up, and against one that does not.

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{binary, eventually};
use tokio::process::Command;

use crate::door::{ALL, Desk};
use crate::fleet::Fleet;

const WORKERS: [&str; 4] = ["etl", "embedding", "judge", "publisher"];

/// The command, not yet started.
async fn load(fleet: &Fleet, arguments: &[&str]) -> Command {
    let desk = Desk::of(fleet, "default", &ALL).await;
    let mut command = Command::new(binary("tidemill"));
    command.current_dir(fleet.servers.folder()).args(["load", "--json"]).args(arguments);
    command.args(["--url", &fleet.gateway().await, "--token", &desk.token]).kill_on_drop(true);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command
}

fn said(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_load_that_is_kept_up_with_has_every_event_accepted_once_and_its_times_told() {
    let mut fleet = Fleet::with(&WORKERS).await;
    fleet.start("gateway").await;
    let arguments = ["--rate", "40", "--for", "2s", "--source", "drill"];
    let told = said(&load(&fleet, &arguments).await.output().await.unwrap());
    let stage = &told["stages"][0];
    assert_eq!((&stage["offered"], &stage["accepted"], &stage["runs"]), (&80.into(), &80.into(), &80.into()));
    assert_eq!((&told["lost"], stage["states"]["running"].as_u64()), (&0.into(), None), "{told}");
    assert_eq!(stage["acceptance"]["count"], 80, "{told}");
    let ended =
        fleet.runs().await.iter().filter(|run| run.source == "drill-40" && run.ended_at.is_some()).count();
    assert_eq!(stage["through"]["count"], ended, "{told}");
    assert!(stage["through"]["p99_ms"].as_f64() >= stage["through"]["p50_ms"].as_f64(), "{told}");
    assert!(stage["acceptance"]["p50_ms"].as_f64() > Some(0.1), "{told}");
}

#[tokio::test]
async fn a_load_that_is_too_much_is_sent_away_and_nothing_of_it_is_lost() {
    let mut fleet = Fleet::with(&[]).await;
    fleet.start_with("gateway", &["gateway.high_water=20"], &[]).await;
    let loading =
        load(&fleet, &["--rate", "200", "--for", "2s", "--profile", "short"]).await.spawn().unwrap();
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let event = json!({ "source": "else", "payload": { "body": "One more event than there is room for." } });
    eventually("events are sent away", async || {
        desk.post("/v1/events", event.clone()).await.0 == StatusCode::TOO_MANY_REQUESTS
    })
    .await;
    for worker in WORKERS {
        fleet.start(worker).await;
    }
    let told = said(&loading.wait_with_output().await.unwrap());
    let stage = &told["stages"][0];
    let refused = stage["refused"]["429"].as_u64().unwrap_or_default();
    let accepted = stage["accepted"].as_u64().unwrap();
    assert!(refused > 0 && accepted > 20, "{told}");
    assert_eq!((refused + accepted, &stage["runs"]), (400, &accepted.into()), "{told}");
    assert_eq!(
        (&told["lost"], &told["sustained"], &stage["keeps_up"]),
        (&0.into(), &Value::Null, &false.into())
    );
    assert!(stage["most_backlog"].as_u64() > Some(0), "{told}");
    fleet.assert_consistent().await;
}
