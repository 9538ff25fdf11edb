//! `tidemill tap`: what passes a stage, as it passes.

use std::collections::BTreeSet;

use fleet::Fault;
use serde_json::Value;

use crate::args::Tap;
use crate::client::{self, Client};
use crate::{local_work, table};

/// The types of this fleet's own events, without `io.tidemill.run.`; docs/events.md says what each means.
const TYPES: [&str; 31] = [
    "accepted",
    "done",
    "retried",
    "escalated",
    "decided",
    "rejected",
    "duplicate",
    "published",
    "dry_run",
    "refused",
    "unknown",
    "settled",
    "cancelled",
    "died",
    "replayed",
    "sent_again",
    "carried",
    "paused",
    "resumed",
    "answered",
    "confirmed",
    "abandoned",
    "revocation_asked",
    "revoked",
    "revocation_refused",
    "timed_out",
    "begun",
    "opened",
    "closed",
    "joined",
    "changed",
];
const PREFIX: &str = "io.tidemill.run.";

pub(crate) async fn run(tap: Tap) -> Result<(), Fault> {
    if let Some(run) = &tap.run {
        local_work::id(run, "run")?;
    }
    if let Some(kind) = &tap.kind {
        check_type(kind)?;
    }
    let client = Client::of(&tap.gateway)?;
    let steps = match &tap.stage {
        Some(stage) => Some(steps_of(stage, &client.get("/v1/fleet").await?)?),
        None => None,
    };
    let mut path = String::from("/v1/events?");
    for (name, value) in [("type", &tap.kind), ("run", &tap.run)] {
        if let Some(value) = value {
            path.push_str(&format!("{name}={}&", client::escaped(value)));
        }
    }
    let mut shown = 0;
    let mut after = None;
    let mut told = false;
    loop {
        let mut events = client.follow(&path, after.as_deref()).await?;
        if !std::mem::replace(&mut told, true) {
            eprintln!("Following what happens from now on; Ctrl-C ends it.");
        }
        while let Some((id, event)) = events.next().await {
            after = id.or(after);
            if !passes(steps.as_ref(), tap.text.as_deref(), &event) {
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

/// Refuses a type of this fleet's own that there is not, and a name without its beginning. Others may send any type.
fn check_type(kind: &str) -> Result<(), Fault> {
    let own = kind.strip_prefix(PREFIX);
    let known = own.map_or_else(|| kind.contains('.'), |own| TYPES.contains(&own));
    if known {
        return Ok(());
    }
    Err(Fault::usage(format!("there is no type `{kind}`: known are {PREFIX}{{{}}}", TYPES.join(","))))
}

/// The steps that are meant by a step's name or a worker type's.
fn steps_of(stage: &str, fleet: &Value) -> Result<BTreeSet<String>, Fault> {
    let mut known = Vec::new();
    for stream in fleet["streams"].as_array().into_iter().flatten() {
        let worker = table::plain(&stream["worker"]);
        let steps: BTreeSet<String> =
            stream["steps"].as_array().into_iter().flatten().map(table::plain).collect();
        if worker == stage {
            return Ok(steps);
        }
        if steps.contains(stage) {
            return Ok(BTreeSet::from([stage.to_owned()]));
        }
        let steps: Vec<String> = steps.into_iter().collect();
        known.push(format!("{worker} ({})", steps.join(", ")));
    }
    Err(Fault::usage(format!("`{stage}` is no stage: known are {}", known.join(", "))))
}

fn passes(steps: Option<&BTreeSet<String>>, text: Option<&str>, event: &Value) -> bool {
    let step = event["data"]["step"].as_str();
    steps.is_none_or(|steps| step.is_some_and(|step| steps.contains(step)))
        && text.is_none_or(|text| event.to_string().contains(text))
}

fn line(event: &Value) -> String {
    let data = &event["data"];
    let [at, run, step, what, next, state, reason] =
        ["at", "run", "step", "what", "next", "state", "reason"].map(|name| table::plain(&data[name]));
    let to = if state == "running" { next } else { state };
    let step = if step.is_empty() { "gateway".to_owned() } else { step };
    format!("{at}  {run}  {step:<10} {what:<10} → {to:<10} {}", table::short(&reason, 80))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_those_of_the_documentation_and_others_are_refused() {
        let documented = include_str!("../../../docs/events.md");
        let listed: Vec<&str> = documented
            .lines()
            .filter_map(|line| line.strip_prefix("| `io.tidemill.run.")?.split('`').next())
            .collect();
        assert_eq!(listed, TYPES);
        assert!(check_type("io.tidemill.run.published").is_ok() && check_type("com.example.seen").is_ok());
        assert!(check_type("nosuch").is_err() && check_type("io.tidemill.run.publihsed").is_err());
    }

    #[test]
    fn a_stage_is_a_worker_type_or_a_step() {
        let fleet = json!({ "streams": [{ "worker": "etl", "steps": ["etl"] },
                                        { "worker": "publisher", "steps": ["publish", "mail"] }] });
        assert_eq!(steps_of("publisher", &fleet).unwrap(), ["mail", "publish"].map(str::to_owned).into());
        assert_eq!(steps_of("mail", &fleet).unwrap(), ["mail"].map(str::to_owned).into());
        let fault = steps_of("nostage", &fleet).unwrap_err();
        assert!(fault.message.contains("publisher (mail, publish)"), "{fault}");
    }
}
