//! `tidemill blame`: who wrote a place of a run's blackboard.

use fleet::Fault;
use serde_json::Value;

use crate::args::Blame;
use crate::client::{self, Client};
use crate::{local_work, table};

/// Characters of a value that are shown.
const SHOWN: usize = 200;

pub(crate) async fn run(blame: Blame) -> Result<(), Fault> {
    let id = local_work::id(&blame.run, "run")?;
    let path = format!("/v1/runs/{id}/blame?pointer={}", client::escaped(&blame.pointer));
    let told = Client::of(&blame.gateway)?.get(&path).await?;
    if blame.json {
        table::json(&told);
    } else {
        lines(&told).iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

fn lines(told: &Value) -> Vec<String> {
    let value = if told["present"] == true {
        table::short(&told["value"].to_string(), SHOWN)
    } else {
        "absent".to_owned()
    };
    let taint = if told["tainted"] == true { "; it comes from an untrusted source" } else { "" };
    let mut lines = vec![format!("{} is {value}{taint}", table::plain(&told["pointer"]))];
    for writer in told["writers"].as_array().into_iter().flatten() {
        let [deed, pointer, step, at, version] =
            ["deed", "pointer", "step", "at", "board_version"].map(|name| table::plain(&writer[name]));
        let actor = &writer["actor"];
        let who = [&actor["name"], &actor["version"], &actor["id"]].map(table::plain).join(" ");
        lines.push(format!("{} {pointer} at {at}, step {step}, version {version}", deed.replace('_', " ")));
        lines.push(format!("  by {}", who.split_whitespace().collect::<Vec<_>>().join(" ")));
        for (name, key) in [
            ("cluster", "cluster_id"),
            ("model", "model"),
            ("prompt", "prompt_sha256"),
            ("input", "input_sha256"),
            ("output", "output_sha256"),
        ] {
            if !writer[key].is_null() {
                lines.push(format!("  {name} {}", table::plain(&writer[key])));
            }
        }
        lines.push(format!("  operation {}", table::short(&writer["operation"].to_string(), SHOWN)));
    }
    if told["from_the_beginning"] == true {
        lines.push("It was there from the beginning: an input, or a default of the workflow.".to_owned());
    }
    lines
}
