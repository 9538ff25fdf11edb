//! `tidemill runs`.

use fleet::Fault;
use serde_json::{Value, json};

use crate::args::Runs;
use crate::client::{self, Client};
use crate::{local_work, table};

pub(crate) async fn run(command: Runs) -> Result<(), Fault> {
    match command {
        Runs::List { state, source, limit, json, gateway } => {
            let mut path = format!("/v1/runs?limit={limit}");
            for (name, value) in [("state", state), ("source", source)] {
                if let Some(value) = value {
                    path.push_str(&format!("&{name}={}", client::escaped(&value)));
                }
            }
            let found = Client::of(&gateway)?.get(&path).await?;
            if json {
                table::json(&found["runs"]);
                return Ok(());
            }
            let mut shown = table::table(&["run", "state", "step", "source", "reason"]);
            for run in found["runs"].as_array().into_iter().flatten() {
                let reason = table::short(&table::plain(&run["reason"]), 60);
                let [id, state, step, source] =
                    [&run["run_id"], &run["state"], &run["step"], &run["source"]].map(table::plain);
                shown.add_row([id, state, step, source, reason]);
            }
            println!("{shown}");
        }
        Runs::Show { run, gateway } => {
            let id = local_work::id(&run, "run")?;
            table::json(&Client::of(&gateway)?.get(&format!("/v1/runs/{id}")).await?);
        }
        Runs::Start { workflow, goal, inputs, request_id, source, notify, dry_run, wait, gateway } => {
            let inputs = inputs.as_deref().map(read_inputs).transpose()?;
            let inputs = inputs.or_else(|| workflow.as_ref().map(|_| json!({})));
            let body = json!({ "workflow": workflow, "goal": goal, "inputs": inputs, "request_id": request_id,
                               "source": source, "notify": notify, "dry_run": dry_run });
            start(&Client::of(&gateway)?, &body, wait).await?;
        }
        Runs::Rerun { run, version, from, dry_run, gateway } => {
            let id = local_work::id(&run, "run")?;
            let body = json!({ "version": version, "from": from, "dry_run": dry_run });
            let made = Client::of(&gateway)?.post(&format!("/v1/runs/{id}/rerun"), &body).await?;
            let [run, version, step] =
                [&made["run_id"], &made["pipeline_version"], &made["step"]].map(table::plain);
            println!("Run {run} begins at {step}, under {version}.");
        }
        Runs::Pause { run, reason, gateway } => {
            let id = local_work::id(&run, "run")?;
            let body = json!({ "reason": reason });
            let held = Client::of(&gateway)?.post(&format!("/v1/runs/{id}/pause"), &body).await?;
            println!("Held back at {}.", table::plain(&held["step"]));
        }
        Runs::Resume { run, gateway } => {
            let id = local_work::id(&run, "run")?;
            let gone = Client::of(&gateway)?.post(&format!("/v1/runs/{id}/resume"), &json!({})).await?;
            println!("It goes on at {}.", table::plain(&gone["step"]));
        }
        Runs::Retry { run, from, gateway } => {
            let id = local_work::id(&run, "run")?;
            Client::of(&gateway)?.post(&format!("/v1/runs/{id}/retry"), &json!({ "from": from })).await?;
            println!("It goes on from {from}.");
        }
        Runs::Cancel { run, reason, gateway } => {
            let id = local_work::id(&run, "run")?;
            let body = json!({ "reason": reason });
            Client::of(&gateway)?.post(&format!("/v1/runs/{id}/cancel"), &body).await?;
            println!("Cancelled.");
        }
    }
    Ok(())
}

/// JSON, or `@` and where it stands.
fn read_inputs(given: &str) -> Result<Value, Fault> {
    let unreadable = |name: &str, e: std::io::Error| Fault::usage(format!("{name} cannot be read: {e}"));
    let text = match given.strip_prefix('@') {
        None => given.to_owned(),
        Some("-") => {
            std::io::read_to_string(std::io::stdin()).map_err(|e| unreadable("standard input", e))?
        }
        Some(file) => std::fs::read_to_string(file).map_err(|e| unreadable(file, e))?,
    };
    serde_json::from_str(&text)
        .map_err(|e| Fault::usage(format!("--inputs is no JSON: {e}; write it like '{{\"topic\":\"…\"}}'")))
}

async fn start(client: &Client, body: &Value, wait: bool) -> Result<(), Fault> {
    let begun = client.post("/v1/runs", body).await?;
    let [run, version] = [&begun["run_id"], &begun["pipeline_version"]].map(table::plain);
    let known = if begun["created"] == true { "begins" } else { "was known before" };
    println!("Run {run} {known}, under {version}.");
    if !wait {
        return Ok(());
    }
    loop {
        // Shorter than the client waits for an answer.
        let shown = client.get(&format!("/v1/runs/{run}?wait=20s")).await?;
        let [state, reason] = [&shown["state"], &shown["reason"]].map(table::plain);
        if shown["ended_at"].is_null() {
            continue;
        }
        println!("It ended as {state}: {reason}");
        return match state.as_str() {
            "published" | "done" | "duplicate" => Ok(()),
            _ => Err(Fault::unavailable(format!(
                "run {run} ended as {state}; `tidemill why {run}` tells more"
            ))),
        };
    }
}
