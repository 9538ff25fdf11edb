//! `tidemill tap`: what passes a stage, as it passes.

use fleet::Fault;
use serde_json::Value;

use crate::args::Tap;
use crate::client::{self, Client};
use crate::table;

pub(crate) async fn run(tap: Tap) -> Result<(), Fault> {
    let mut path = String::from("/v1/events?");
    for (name, value) in [("type", &tap.kind), ("run", &tap.run)] {
        if let Some(value) = value {
            path.push_str(&format!("{name}={}&", client::escaped(value)));
        }
    }
    let client = Client::of(&tap.gateway)?;
    let mut shown = 0;
    let mut after = None;
    loop {
        let mut events = client.follow(&path, after.as_deref()).await?;
        while let Some((id, event)) = events.next().await {
            after = id.or(after);
            if !passes(&tap, &event) {
                continue;
            }
            if tap.json {
                println!("{event}");
            } else {
                println!("{}", line(&event));
            }
            shown += 1;
            if tap.count.is_some_and(|count| shown >= count) {
                return Ok(());
            }
        }
        // The gateway went away: it is followed again from where it was.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

fn passes(tap: &Tap, event: &Value) -> bool {
    let data = &event["data"];
    tap.stage.as_ref().is_none_or(|stage| data["step"] == **stage)
        && tap.text.as_ref().is_none_or(|text| event.to_string().contains(text.as_str()))
}

fn line(event: &Value) -> String {
    let data = &event["data"];
    let [at, run, step, what, next, state, reason] =
        ["at", "run", "step", "what", "next", "state", "reason"].map(|name| table::plain(&data[name]));
    let to = if state == "running" { next } else { state };
    let step = if step.is_empty() { "gateway".to_owned() } else { step };
    format!("{at}  {run}  {step:<10} {what:<10} → {to:<10} {}", table::short(&reason, 80))
}
