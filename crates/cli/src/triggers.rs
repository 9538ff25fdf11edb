//! `tidemill triggers`.

use fleet::Fault;
use serde_json::{Value, json};

use crate::args::Triggers;
use crate::client::{self, Client};
use crate::table;

pub(crate) async fn run(command: Triggers) -> Result<(), Fault> {
    match command {
        Triggers::List { json, gateway } => list(&Client::of(&gateway)?, json).await,
        Triggers::Fire { trigger, input, request_id, gateway } => {
            fire(&Client::of(&gateway)?, &trigger, &input, request_id).await
        }
        Triggers::Backfill { trigger, from, until, rate, quiet, gateway } => {
            let body = json!({ "from": from, "until": until, "rate": rate, "quiet": quiet });
            let path = format!("/v1/triggers/{}/backfill", client::escaped(&trigger));
            let begun = Client::of(&gateway)?.post(&path, &body).await?;
            let id = table::plain(&begun["backfill_id"]);
            println!("Backfill {id} begins; `tidemill triggers backfills` shows how far it has come.");
            Ok(())
        }
        Triggers::Backfills { json, gateway } => {
            backfills(&Client::of(&gateway)?.get("/v1/backfills").await?["backfills"], json);
            Ok(())
        }
        Triggers::StopBackfill { backfill, gateway } => {
            let path = format!("/v1/backfills/{backfill}/stop");
            let stopped = Client::of(&gateway)?.post(&path, &json!({})).await?;
            match stopped["stopped_by"].as_str() {
                Some(_) => println!("Stopped after {} firings.", table::plain(&stopped["fired"])),
                None => println!("It was done already, with {} firings.", table::plain(&stopped["fired"])),
            }
            Ok(())
        }
        Triggers::Firings { trigger, outcome, limit, json, gateway } => {
            let outcome = outcome.map(|outcome| outcome.as_str().to_owned());
            let filter = [("trigger", trigger.clone()), ("outcome", outcome)].map(|(name, value)| {
                value.map(|value| format!("&{name}={}", client::escaped(&value))).unwrap_or_default()
            });
            let path = format!("/v1/firings?limit={limit}{}", filter.concat());
            let client = Client::of(&gateway)?;
            let found = &client.get(&path).await?["firings"];
            if let (Some(trigger), true) = (&trigger, found.as_array().is_none_or(Vec::is_empty)) {
                must_be_known(&client, trigger).await?;
            }
            firings(found, json);
            Ok(())
        }
    }
}

/// Refuses a trigger that nobody configured. One that is configured no more may still have firings.
async fn must_be_known(client: &Client, trigger: &str) -> Result<(), Fault> {
    let found = client.get("/v1/triggers").await?;
    let names = found["triggers"].as_array().into_iter().flatten().map(|one| table::plain(&one["name"]));
    let known: Vec<String> = names.collect();
    if known.iter().any(|name| name == trigger) {
        return Ok(());
    }
    Err(Fault::usage(format!(
        "there is no trigger `{trigger}`, and none of that name ever fired; {}",
        if known.is_empty() {
            "none is configured".to_owned()
        } else {
            format!("known are {}", known.join(", "))
        }
    )))
}

async fn list(client: &Client, json: bool) -> Result<(), Fault> {
    let found = &client.get("/v1/triggers").await?["triggers"];
    if json {
        table::json(found);
        return Ok(());
    }
    let mut shown = table::table(&["trigger", "fires", "next", "source"]);
    for trigger in found.as_array().into_iter().flatten() {
        let definition = &trigger["definition"];
        let fires = match (&definition["schedule"], &definition["on"]) {
            (Value::Null, Value::Null) => "by hand".to_owned(),
            (Value::Null, on) => format!("on {} ({})", table::plain(&on["type"]), table::plain(&on["from"])),
            (schedule, _) => {
                format!("{} {}", table::plain(&schedule["cron"]), table::plain(&schedule["timezone"]))
            }
        };
        let (name, next) = (table::plain(&trigger["name"]), table::plain(&trigger["next_at"]));
        shown.add_row([name, fires, next, table::plain(&definition["source"])]);
    }
    println!("{shown}");
    Ok(())
}

async fn fire(client: &Client, trigger: &str, input: &str, request_id: Option<String>) -> Result<(), Fault> {
    let input: Value = serde_json::from_str(input)
        .map_err(|e| Fault::usage(format!("--input is no JSON: {e}; write it like '{{\"title\":\"…\"}}'")))?;
    let mut body = json!({ "input": input });
    if let Some(request_id) = request_id {
        body["request_id"] = request_id.into();
    }
    let firing = client.post(&format!("/v1/triggers/{}/fire", client::escaped(trigger)), &body).await?;
    let request_id = table::plain(&firing["request_id"]);
    match firing["outcome"].as_str() {
        None => println!("Fired as {request_id}; `tidemill triggers firings` shows what becomes of it."),
        Some(outcome) => println!("{request_id} fired before: {outcome} {}", table::plain(&firing["reason"])),
    }
    Ok(())
}

fn backfills(found: &Value, json: bool) {
    if json {
        table::json(found);
        return;
    }
    let mut shown = table::table(&["backfill", "trigger", "next", "until", "fired", "state"]);
    for backfill in found.as_array().into_iter().flatten() {
        let plain = |name: &str| table::plain(&backfill[name]);
        let state = match (backfill["ended_at"].is_null(), backfill["stopped_by"].as_str()) {
            (true, _) => "under way".to_owned(),
            (false, Some(by)) => format!("stopped by {by}"),
            (false, None) => "done".to_owned(),
        };
        shown.add_row(
            ["backfill_id", "trigger", "next_for", "until", "fired"].map(plain).into_iter().chain([state]),
        );
    }
    println!("{shown}");
}

fn firings(found: &Value, json: bool) {
    if json {
        table::json(found);
        return;
    }
    let mut shown = table::table(&["fired", "trigger", "by", "outcome", "run or reason"]);
    for firing in found.as_array().into_iter().flatten() {
        let plain = |name: &str| table::plain(&firing[name]);
        let outcome = firing["outcome"].as_str().unwrap_or("open").to_owned();
        let why = if firing["run_id"].is_null() { plain("reason") } else { plain("run_id") };
        shown.add_row([plain("fired_at"), plain("trigger"), plain("kind"), outcome, table::short(&why, 80)]);
    }
    println!("{shown}");
}
