//! `tidemill demo`: the main job on the sample events, from nothing to a table of where each ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleet::Fault;
use fleet::config::Overrides;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Demo, Gateway};
use crate::client::Client;
use crate::ingest::{self, Sent};
use crate::table;
use crate::up::{self, LocalFleetRun};

/// How long the samples may take; a laptop needs seconds.
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) async fn run(demo: Demo) -> Result<(), Fault> {
    let file = std::fs::read(&demo.events).map_err(|e| {
        Fault::usage(format!("{} cannot be read: {e}; run it in the repository", demo.events.display()))
    })?;
    refuse_configuration(std::env::vars().map(|(name, _)| name))?;
    empty(&demo.folder)?;
    println!("Starting a fleet in {} …", demo.folder.display());
    let absolute =
        |path: &Path| std::path::absolute(path).map(|path| path.display().to_string()).unwrap_or_default();
    let environment = vec![
        ("TIDEMILL_GATEWAY__ADDRESS".to_owned(), free_address()?),
        ("TIDEMILL_POLICY__FILE".to_owned(), absolute(&demo.policy)),
        ("TIDEMILL_PUBLISHER__FILES__FOLDER".to_owned(), absolute(&demo.folder.join("published"))),
    ];
    // Not the folder's own configuration, whose outlets, targets and servers are no place for samples.
    let overrides = Overrides { config: Some(PathBuf::from("/dev/null")), ..Overrides::default() };
    let fleet = LocalFleetRun::start(&demo.folder, &[], &overrides, &environment).await?;
    let shown = Box::pin(show(&fleet, &file)).await;
    println!("Stopping …");
    let folder = fleet.folder.clone();
    fleet.stop().await;
    println!(
        "Stopped. What was published is in {}; `make up` keeps a fleet running.",
        folder.join("published").display()
    );
    shown
}

/// Variables that send nothing anywhere.
const HARMLESS: [&str; 3] = ["EMBEDDING__EMBEDDER", "EMBEDDING__MODEL_FOLDER", "LOG__"];

/// Refuses variables that would lead the samples to servers or outlets of somebody's.
fn refuse_configuration(variables: impl Iterator<Item = String>) -> Result<(), Fault> {
    let configures = |name: &String| {
        name.strip_prefix("TIDEMILL_").is_some_and(|key| {
            key.contains("__") && !HARMLESS.iter().any(|harmless| key.starts_with(harmless))
        })
    };
    let given: Vec<String> = variables.filter(configures).collect();
    if given.is_empty() {
        return Ok(());
    }
    Err(Fault::usage(format!(
        "the demonstration stands by itself and takes no configuration: unset {} for it",
        given.join(", ")
    )))
}

async fn show(fleet: &LocalFleetRun, events: &[u8]) -> Result<(), Fault> {
    let gateway = Gateway {
        url: Some(fleet.known.gateway.clone()),
        token: Some(fleet.token.clone()),
        token_file: None,
        folder: fleet.folder.clone(),
    };
    let client = Client::of(&gateway)?;
    println!("Fleet is up at {}. Sending the sample events …", fleet.known.gateway);
    let sent = ingest::send(&client, events, "samples", &ProgressBar::hidden()).await?;
    wait(&client, &sent).await?;
    where_each_stands(&client, &sent, &fleet.folder).await?;
    published_post(&client).await?;
    println!("\nLogs are in {}.", fleet.folder.join("logs").display());
    Ok(())
}

/// Waits until every run is ended or waits for a person.
async fn wait(client: &Client, sent: &Sent) -> Result<(), Fault> {
    let mut runs = sent.runs.clone();
    runs.sort();
    runs.dedup();
    let bar = ProgressBar::new(u64::try_from(runs.len()).unwrap_or(0));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} events ended or waiting, {elapsed}")
    {
        bar.set_style(style);
    }
    let until = Instant::now() + LIMIT;
    loop {
        let counts = client.get("/v1/runs?limit=1").await?;
        let open: u64 =
            ["running", "parked"].iter().filter_map(|state| counts["counts"][*state].as_u64()).sum();
        bar.set_position(bar.length().unwrap_or(0).saturating_sub(open));
        if open == 0 {
            bar.finish();
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Fault::bug(format!(
                "{open} events neither ended nor wait after {LIMIT:?}; see the logs"
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn where_each_stands(client: &Client, sent: &Sent, folder: &Path) -> Result<(), Fault> {
    let mut rows: BTreeMap<(String, String), usize> = BTreeMap::new();
    let runs = client.get("/v1/runs?limit=500").await?;
    let mut incidents = Vec::new();
    for run in runs["runs"].as_array().into_iter().flatten() {
        let [state, reason] = [&run["state"], &run["reason"]].map(table::plain);
        if state == "rejected" {
            incidents.push(table::plain(&run["run_id"]));
        }
        let why = match state.as_str() {
            "published" => "sent through the outlet `files`".to_owned(),
            _ => table::short(&reason, 80),
        };
        *rows.entry((state, why)).or_default() += 1;
    }
    for (line, why) in &sent.refused {
        *rows
            .entry(("refused at the door".to_owned(), format!("line {line}: {}", table::short(why, 70))))
            .or_default() += 1;
    }
    if sent.repeated > 0 {
        rows.insert(
            ("known before".to_owned(), "the same source and request id again".to_owned()),
            sent.repeated,
        );
    }
    let mut shown = table::table(&["where", "events", "why"]);
    for ((state, why), count) in rows {
        let state = if state == "waiting" { "waiting for a person".to_owned() } else { state };
        shown.add_row([state, count.to_string(), why]);
    }
    println!("\n{shown}");
    if let Some(run) = incidents.first() {
        let folder = folder.display();
        println!(
            "Why was that rejected? `tidemill up --folder {folder}` runs this fleet again; then, in another terminal, \
             `tidemill runs show {run} --folder {folder}` tells."
        );
    }
    Ok(())
}

async fn published_post(client: &Client) -> Result<(), Fault> {
    let published = client.get("/v1/runs?state=published&limit=1").await?;
    let Some(run) = published["runs"][0]["run_id"].as_str() else {
        return Err(Fault::bug("nothing was published; see the logs"));
    };
    let run = client.get(&format!("/v1/runs/{run}")).await?;
    println!("\nOne published post: {}", table::plain(&run["publications"][0]["reference"]));
    let mut shown = table::table(&["#", "step", "what", "then", "who", "hash"]);
    for link in run["provenance"].as_array().into_iter().flatten() {
        let entry = &link["entry"];
        let [pos, step, what, next, who, hash] = [
            &link["pos"],
            &entry["step"],
            &entry["what"],
            &entry["next"],
            &entry["actor"]["name"],
            &link["hash"],
        ]
        .map(table::plain);
        let then =
            if entry["state"].as_str() == Some("running") { next } else { table::plain(&entry["state"]) };
        shown.add_row([pos, step, what, then, who, table::short(&hash, 13)]);
    }
    println!("{shown}");
    Ok(())
}

fn empty(folder: &Path) -> Result<(), Fault> {
    // A folder that is no demonstration's is left alone.
    let own = !folder.exists()
        || folder.join("lock").exists()
        || folder.read_dir().is_ok_and(|mut d| d.next().is_none());
    if !own {
        return Err(Fault::usage(format!(
            "{} holds something else; choose another with --folder",
            folder.display()
        )));
    }
    if folder.exists() {
        let _lock = up::lock(folder)?;
        local::PrivatePostgres::erase(&folder.join("postgres")).map_err(|e| Fault::usage(e.to_string()))?;
        std::fs::remove_dir_all(folder)
            .map_err(|e| Fault::usage(format!("{} cannot be emptied: {e}", folder.display())))?;
    }
    Ok(())
}

fn free_address() -> Result<String, Fault> {
    let listener =
        std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| Fault::unavailable(e.to_string()))?;
    Ok(listener.local_addr().map_err(|e| Fault::bug(e.to_string()))?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_name_servers_or_outlets_are_refused() {
        let refused = |name: &str| refuse_configuration([name.to_owned()].into_iter()).is_err();
        assert!(refused("TIDEMILL_DATABASE__URL") && refused("TIDEMILL_PUBLISHER__OUTLET"));
        assert!(refused("TIDEMILL_EMBEDDING__WEAVIATE__URL"));
        assert!(!refused("TIDEMILL_EMBEDDING__EMBEDDER") && !refused("TIDEMILL_LOG__LEVEL"));
        assert!(!refused("TIDEMILL_TOKEN") && !refused("HOME"));
    }
}
