//! What the gateway does with workflows: registering, activating, showing.

use std::path::Path;

use fleet::Fault;
use rails::WorstCase;
use serde_json::{Value, json};

use super::documents;
use crate::args::OlderRuns;
use crate::client::{self, Client};
use crate::table;

pub(super) async fn register(client: &Client, file: &Path) -> Result<(), Fault> {
    let document = std::fs::read_to_string(file)
        .map_err(|e| Fault::usage(format!("{} cannot be read: {e}", file.display())))?;
    let made = client.send_text("/v1/workflows", "application/yaml", document).await?;
    let [version, active] = [&made["pipeline_version"], &made["active_version"]].map(table::plain);
    let known = if made["created"] == true { "Registered" } else { "Known before" };
    println!("{known}: {version}");
    if active == version {
        println!("It is active.");
    } else {
        let beside = if active.is_empty() { "none of its name".to_owned() } else { active };
        println!("Active is {beside}; `tidemill workflows activate {version}` changes that.");
    }
    // A gateway of the release before says nothing of it.
    if let Ok(worst) = serde_json::from_value::<WorstCase>(made["worst_case"].clone()) {
        println!("A run takes {}.", documents::in_words(&worst));
    }
    effects(&made).iter().for_each(|line| println!("{line}"));
    Ok(())
}

pub(super) async fn activate(client: &Client, version: &str, runs: OlderRuns) -> Result<(), Fault> {
    let path = format!("/v1/workflows/{}/activate", client::escaped(version));
    let made = client.post(&path, &json!({ "runs": runs.as_str() })).await?;
    let previous = table::plain(&made["previous"]);
    match previous.as_str() {
        "" => println!("{version} is active."),
        before => println!("{version} is active, in place of {before}."),
    }
    println!("{}", fate(&made));
    effects(&made).iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Which steps act outside, and why others do not though their worker might.
fn effects(made: &Value) -> Vec<String> {
    let list = |key: &str| made[key].as_array().cloned().unwrap_or_default();
    let acting: Vec<String> = list("side_effects").iter().map(table::plain).collect();
    let acting = (!acting.is_empty())
        .then(|| format!("Side effects, each only with an approval: {}.", acting.join(", ")));
    let harmless = list("without_side_effect").into_iter().map(|one| {
        let [step, reason] = [&one["step"], &one["reason"]].map(table::plain);
        format!("{step} counts as without side effects: {reason}")
    });
    acting.into_iter().chain(harmless).collect()
}

/// What becomes of the runs on other versions.
fn fate(activation: &Value) -> String {
    let open = activation["open_runs"].as_u64().unwrap_or(0);
    let done = activation["dealt_with"].as_u64().unwrap_or(0);
    let runs = if open == 1 { "1 run is".to_owned() } else { format!("{open} runs are") };
    let on = format!("{runs} open on other versions");
    match activation["runs"].as_str() {
        _ if open == 0 => "No run was open on another version.".to_owned(),
        Some("migrate") => format!("{on}: a planner migrates them; {done} so far."),
        Some("cancel") => format!("{on}: a planner cancels them; {done} so far."),
        _ => format!("{on}, and finish there."),
    }
}

pub(super) async fn list(client: &Client, json: bool) -> Result<(), Fault> {
    let found = &client.get("/v1/workflows").await?["workflows"];
    if json {
        table::json(found);
        return Ok(());
    }
    let mut shown = table::table(&["id", "active", "open runs", "registered", "by"]);
    for one in found.as_array().into_iter().flatten() {
        let [version, runs, at, by] =
            [&one["pipeline_version"], &one["open_runs"], &one["registered_at"], &one["registered_by"]]
                .map(table::plain);
        let active = if one["active"] == true { "yes" } else { "" };
        shown.add_row([version, active.to_owned(), runs, at, by]);
    }
    println!("{shown}");
    Ok(())
}

pub(super) async fn show(client: &Client, version: &str) -> Result<(), Fault> {
    table::json(&client.get(&format!("/v1/workflows/{}", client::escaped(version))).await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activation_tells_what_acts_outside_and_why_something_does_not() {
        let told = effects(&json!({ "side_effects": ["deploy", "tell"],
            "without_side_effect": [{ "step": "look", "reason": "it only reads" }] }));
        assert_eq!(told.len(), 2);
        assert!(
            told[0].contains("deploy, tell") && told[1].contains("look") && told[1].contains("it only reads")
        );
        assert!(effects(&json!({})).is_empty());
    }

    #[test]
    fn an_activation_tells_what_becomes_of_the_other_runs() {
        let told = |open: u64, runs: &str| fate(&json!({ "open_runs": open, "dealt_with": 0, "runs": runs }));
        assert!(told(0, "migrate").starts_with("No run"));
        assert!(told(1, "finish").contains("1 run is open") && told(1, "finish").contains("finish there"));
        assert!(told(3, "migrate").contains("3 runs are open") && told(3, "migrate").contains("0 so far"));
        assert!(told(2, "cancel").contains("cancels them"));
    }
}
