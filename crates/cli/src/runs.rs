//! `tidemill runs`.

use fleet::Fault;
use serde_json::json;

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
