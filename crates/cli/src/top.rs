//! `tidemill top`: the fleet, live.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use fleet::Fault;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Row, Table};
use serde_json::Value;

use crate::args::Top;
use crate::client::Client;
use crate::table;

/// How often the fleet is looked at.
const LOOK: Duration = Duration::from_secs(1);
const HEADINGS: [&str; 7] = ["stage", "backlog", "per second", "oldest", "retries", "letters", "processes"];

pub(crate) async fn run(top: Top) -> Result<(), Fault> {
    if !top.once && !std::io::stdout().is_terminal() {
        return Err(Fault::usage("a live view needs a terminal; `tidemill top --once` prints one picture"));
    }
    let client = Client::of(&top.gateway)?;
    let mut fleet = View::default();
    fleet.look(&client).await?;
    if top.once {
        let mut shown = table::table(&HEADINGS);
        for stage in fleet.stages() {
            shown.add_row(stage.cells());
        }
        println!("{shown}\n{}", fleet.runs());
        for line in fleet.pauses().into_iter().chain(fleet.breakers()) {
            println!("{line}");
        }
        return Ok(());
    }
    let mut terminal = ratatui::init();
    let ended = loop {
        if let Err(error) = terminal.draw(|frame| draw(frame, &fleet)) {
            break Err(Fault::bug(format!("the terminal cannot be drawn on: {error}")));
        }
        match tokio::task::spawn_blocking(told_to_end).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => break Ok(()),
            Ok(Err(error)) => break Err(Fault::bug(format!("the keyboard cannot be read: {error}"))),
            Err(error) => break Err(Fault::bug(error.to_string())),
        }
        // Where the gateway is away the last picture stays, and says since when.
        fleet.trouble = fleet.look(&client).await.err().map(|fault| fault.message);
    };
    ratatui::restore();
    ended
}

/// Waits for a key until it is time to look again; whether it was `q`, Escape or Ctrl-C.
fn told_to_end() -> std::io::Result<bool> {
    let until = Instant::now() + LOOK;
    while event::poll(until.saturating_duration_since(Instant::now()))? {
        if let Event::Key(key) = event::read()? {
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers == event::KeyModifiers::CONTROL;
            if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What was seen last, and when the time before.
#[derive(Default)]
struct View {
    seen: Value,
    at: Option<Instant>,
    /// Jobs that left each stage, a second.
    rates: HashMap<String, f64>,
    trouble: Option<String>,
}

struct Stage<'a> {
    seen: &'a Value,
    rate: Option<f64>,
}

impl View {
    async fn look(&mut self, client: &Client) -> Result<(), Fault> {
        let seen = client.get("/v1/fleet").await?;
        let now = Instant::now();
        if let Some(before) = self.at {
            let seconds = now.duration_since(before).as_secs_f64().max(0.001);
            for stream in list(&seen["streams"]) {
                let worker = table::plain(&stream["worker"]);
                let earlier =
                    list(&self.seen["streams"]).find(|earlier| earlier["worker"] == stream["worker"]);
                if let Some(earlier) = earlier {
                    let left = |stream: &Value| number(&stream["added"]) - number(&stream["backlog"]);
                    self.rates.insert(worker, ((left(stream) - left(earlier)) / seconds).max(0.0));
                }
            }
        }
        (self.seen, self.at) = (seen, Some(now));
        Ok(())
    }

    fn stages(&self) -> impl Iterator<Item = Stage<'_>> {
        list(&self.seen["streams"]).map(|seen| {
            let rate = self.rates.get(&table::plain(&seen["worker"])).copied();
            Stage { seen, rate }
        })
    }

    fn runs(&self) -> String {
        let counts = self.seen["runs"].as_object().into_iter().flatten();
        let told: Vec<String> = counts.map(|(state, count)| format!("{state} {count}")).collect();
        format!("Runs: {}", if told.is_empty() { "none".to_owned() } else { told.join(", ") })
    }

    fn pauses(&self) -> Option<String> {
        let told: Vec<String> = list(&self.seen["pauses"])
            .map(|pause| format!("{} {}", table::plain(&pause["kind"]), table::plain(&pause["name"])))
            .collect();
        if told.is_empty() { None } else { Some(format!("Paused: {}", told.join(", "))) }
    }

    /// What is out, a line each.
    fn breakers(&self) -> impl Iterator<Item = String> {
        list(&self.seen["breakers"]).map(|breaker| {
            let told = |name: &str| table::plain(&breaker[name]);
            let reason = table::short(&told("reason"), 80);
            format!("Out since {}: {} {}: {reason}", told("opened_at"), told("kind"), told("name"))
        })
    }
}

impl Stage<'_> {
    fn live(&self) -> usize {
        list(&self.seen["consumers"])
            .filter(|one| number(&one["idle_ms"]) < streams::SILENT_MS as f64)
            .count()
    }

    fn cells(&self) -> [String; 7] {
        let oldest = Duration::from_secs(number(&self.seen["oldest_ms"]) as u64 / 1000);
        [
            table::plain(&self.seen["worker"]),
            table::plain(&self.seen["backlog"]),
            self.rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.0}")),
            humantime::format_duration(oldest).to_string(),
            table::plain(&self.seen["retries"]),
            table::plain(&self.seen["dead_letters"]),
            self.live().to_string(),
        ]
    }
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let height = u16::try_from(view.stages().count()).unwrap_or(u16::MAX).saturating_add(3);
    let [stages, notes] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(4)]).areas(frame.area());
    let rows = view.stages().map(|stage| {
        let style = if stage.live() == 0 { Style::new().red() } else { Style::new() };
        Row::new(stage.cells().map(Cell::from)).style(style)
    });
    let table = Table::new(rows, [Constraint::Fill(1); 7])
        .header(Row::new(HEADINGS).bold())
        .block(Block::bordered().title(" tidemill top "));
    frame.render_widget(table, stages);
    let mut lines = vec![Line::from(view.runs())];
    lines.extend(view.pauses().map(|line| Line::from(line).yellow()));
    lines.extend(view.breakers().map(|line| Line::from(line).red()));
    if let Some(trouble) = &view.trouble {
        lines.push(Line::from(trouble.as_str()).red());
    }
    lines.push(Line::from("q ends it").dim());
    frame.render_widget(ratatui::text::Text::from(lines), notes);
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}
