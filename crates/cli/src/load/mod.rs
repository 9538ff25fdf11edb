//! `tidemill load`: events at a rate, whatever becomes of them, and what became of them.

mod ends;
mod profile;
mod stage;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet::Fault;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::args::Load;
use crate::client::Client;
use crate::table;
use ends::Ends;
use profile::Texts;
use stage::{Offered, Plan, Seen};

/// How much each stage of a ramp is above the one before.
const STEEPER: f64 = 1.5;
/// Stages between the last rate that was sustained and the first that was not.
const BETWEEN: usize = 2;
/// Events a second, at most.
const STEEPEST: u32 = 100_000;
/// A fleet keeps up whose backlog is worked off in this share of the stage after its end; a second is granted to each.
const KEEPS_UP: f64 = 0.1;
/// How often the fleet is looked at meanwhile, and the view is drawn where there is a terminal.
const LOOK: Duration = Duration::from_millis(500);
/// How often a line is printed where there is none.
const LINE: Duration = Duration::from_secs(5);

const HEADINGS: [&str; 9] = [
    "rate",
    "offered",
    "accepted",
    "refused",
    "at rest",
    "backlog",
    "drained in",
    "accepted p50/p99",
    "through p50/p95/p99",
];

/// One stage, and what came of it.
#[derive(Debug)]
struct Stage {
    plan: Plan,
    offered: Offered,
    ends: Ends,
    /// Jobs in the streams, the most that was seen.
    backlog: u64,
    drained: Duration,
}

pub(crate) async fn run(load: Load) -> Result<(), Fault> {
    let client = Client::of(&load.gateway)?;
    let source =
        load.source.clone().unwrap_or_else(|| format!("load-{}", chrono::Utc::now().timestamp_millis()));
    let texts = Arc::new(Mutex::new(Texts::new(load.profile)));
    let plan = |rate: u32| Plan { source: format!("{source}-{rate}"), rate, lasts: load.lasts };
    let mut stages = Vec::new();
    if load.ramp {
        ramp(&client, load.rate, plan, &texts, &mut stages).await?;
    } else {
        stages.push(carried(&client, plan(load.rate), &texts).await?);
    }
    if load.json {
        let said: Vec<Value> = stages.iter().map(Stage::json).collect();
        println!("{}", json!({ "stages": said, "sustained": sustained(&stages), "lost": lost(&stages) }));
    } else {
        summarize(&stages, load.ramp);
    }
    match lost(&stages) {
        0 => Ok(()),
        lost => {
            Err(Fault::bug(format!("{lost} accepted events have no run: `tidemill doctor` may tell why")))
        }
    }
}

/// Raises the rate until the fleet does not keep up; then looks between the last two.
async fn ramp(
    client: &Client,
    first: u32,
    plan: impl Fn(u32) -> Plan,
    texts: &Arc<Mutex<Texts>>,
    stages: &mut Vec<Stage>,
) -> Result<(), Fault> {
    let (mut rate, mut kept, mut missed) = (first, None, None);
    let mut between = 0;
    while between <= BETWEEN {
        let stage = carried(client, plan(rate), texts).await?;
        let keeps_up = stage.keeps_up();
        stages.push(stage);
        if keeps_up {
            kept = Some(rate)
        } else {
            missed = Some(rate)
        }
        rate = match (kept, missed) {
            (Some(kept), None) if kept < STEEPEST => steeper(kept),
            (Some(kept), Some(missed)) if missed - kept > 1 => {
                between += 1;
                kept + (missed - kept) / 2
            }
            // Not even the first one was sustained, or there is nothing between.
            _ => return Ok(()),
        };
    }
    Ok(())
}

fn steeper(rate: u32) -> u32 {
    let next = (f64::from(rate) * STEEPER).ceil();
    if next < f64::from(STEEPEST) { next as u32 } else { STEEPEST }
}

/// Offers a stage, waits until what was accepted is at rest, and reads what became of it.
async fn carried(client: &Client, plan: Plan, texts: &Arc<Mutex<Texts>>) -> Result<Stage, Fault> {
    let (seen, backlog) = (Arc::new(Seen::default()), Arc::new(AtomicU64::new(0)));
    let view = tokio::spawn(watch(client.clone(), plan.clone(), Arc::clone(&seen), Arc::clone(&backlog)));
    let offered = stage::offer(client, &plan, texts, &seen).await;
    let drained = ends::settled(client, &plan.source).await;
    view.abort();
    let (offered, drained) = (offered?, drained?);
    let ends = ends::read(client, &plan.source).await?;
    Ok(Stage { plan, offered, ends, backlog: backlog.load(Ordering::Relaxed), drained })
}

/// Shows how far it is, and keeps the highest backlog. Whoever looks is not what is measured: a look that fails is left out.
async fn watch(client: Client, plan: Plan, seen: Arc<Seen>, most: Arc<AtomicU64>) {
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let mut told = tokio::time::Instant::now();
    loop {
        let backlog = ends::backlog(&client).await.unwrap_or_default();
        most.fetch_max(backlog, Ordering::Relaxed);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let line = format!(
            "{} events/s: {} offered, {} accepted, {} refused, backlog {backlog}",
            plan.rate,
            count(&seen.offered),
            count(&seen.accepted),
            count(&seen.refused)
        );
        if terminal {
            bar.set_message(line);
            bar.tick();
        } else if told.elapsed() >= LINE {
            eprintln!("{line}");
            told = tokio::time::Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Stage {
    fn refused(&self) -> u64 {
        self.offered.refused.values().sum()
    }

    /// Accepted, and yet without a run: what must never be. An event whose answer was lost may have one more.
    fn lost(&self) -> u64 {
        self.offered.accepted.saturating_sub(self.ends.runs)
    }

    /// Everything was accepted, and came to rest soon after.
    fn keeps_up(&self) -> bool {
        let within = self.plan.lasts.mul_f64(KEEPS_UP) + Duration::from_secs(1);
        self.refused() == 0 && self.ends.at_rest() == self.ends.runs && self.drained <= within
    }

    fn cells(&self) -> [String; 9] {
        let refused: Vec<String> = self
            .offered
            .refused
            .iter()
            .map(|(status, count)| match status {
                0 => format!("{count} unanswered"),
                status => format!("{count} × {status}"),
            })
            .collect();
        [
            self.plan.rate.to_string(),
            self.offered.events.to_string(),
            self.offered.accepted.to_string(),
            if refused.is_empty() { "0".to_owned() } else { refused.join(", ") },
            self.ends.at_rest().to_string(),
            self.backlog.to_string(),
            format!("{:.1} s", self.drained.as_secs_f64()),
            percentiles(&self.offered.acceptance, &[0.5, 0.99]),
            percentiles(&self.ends.through, &[0.5, 0.95, 0.99]),
        ]
    }

    fn json(&self) -> Value {
        let millis = |histogram: &Histogram<u64>| {
            let at = |share| histogram.value_at_quantile(share) as f64 / 1000.0;
            json!({
                "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "p999_ms": at(0.999),
                "max_ms": histogram.max() as f64 / 1000.0, "count": histogram.len(),
            })
        };
        json!({
            "source": self.plan.source, "rate": self.plan.rate, "seconds": self.plan.lasts.as_secs_f64(),
            "offered": self.offered.events, "accepted": self.offered.accepted, "refused": self.offered.refused,
            "runs": self.ends.runs, "states": self.ends.states, "lost": self.lost(), "most_backlog": self.backlog,
            "drained_seconds": self.drained.as_secs_f64(), "keeps_up": self.keeps_up(),
            "acceptance": millis(&self.offered.acceptance), "through": millis(&self.ends.through),
        })
    }
}

/// In milliseconds.
fn percentiles(histogram: &Histogram<u64>, shares: &[f64]) -> String {
    let at = |share: &f64| format!("{:.0}", histogram.value_at_quantile(*share) as f64 / 1000.0);
    format!("{} ms", shares.iter().map(at).collect::<Vec<_>>().join(" / "))
}

fn lost(stages: &[Stage]) -> u64 {
    stages.iter().map(Stage::lost).sum()
}

/// The highest rate that was kept up with.
fn sustained(stages: &[Stage]) -> Option<u32> {
    stages.iter().filter(|stage| stage.keeps_up()).map(|stage| stage.plan.rate).max()
}

fn summarize(stages: &[Stage], ramp: bool) {
    let mut shown = table::table(&HEADINGS);
    for stage in stages {
        shown.add_row(stage.cells());
    }
    println!("{shown}");
    for stage in stages {
        let states: Vec<String> =
            stage.ends.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        println!("{} events/s: {} (source {})", stage.plan.rate, states.join(", "), stage.plan.source);
    }
    println!("Lost: {}. Times count from when an event was due.", lost(stages));
    if ramp {
        match sustained(stages) {
            Some(rate) => println!("Sustained: {rate} events/s."),
            None => println!("Not even the first rate was sustained: begin lower with --rate."),
        }
    } else if let [stage] = stages
        && !stage.keeps_up()
    {
        println!("The fleet did not keep up with this rate; --ramp finds the one that it sustains.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_a_ramp_rise_and_stay_within_bounds() {
        assert_eq!((steeper(100), steeper(1), steeper(99_000)), (150, 2, STEEPEST));
    }
}
