//! The live status: a line per worker type on a terminal, a plain line every ten seconds elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use streams::{StreamNames, Streams, WORK_STREAMS};

use crate::client::LocalFleet;

pub(crate) struct Status {
    streams: Option<Streams>,
    bars: Vec<ProgressBar>,
    shown: Instant,
    /// Entries that each stream was ever given, when it was last looked at.
    added: BTreeMap<&'static str, (Instant, u64, u64)>,
    terminal: bool,
}

impl Status {
    pub(crate) async fn new(fleet: &LocalFleet, names: StreamNames) -> Self {
        let streams = Streams::connect(fleet.redis(), names).await.ok();
        let terminal = std::io::stderr().is_terminal();
        let all = MultiProgress::new();
        let bars = WORK_STREAMS
            .iter()
            .map(|_| {
                let bar = all.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{msg}") {
                    bar.set_style(style);
                }
                bar
            })
            .collect();
        Self { streams, bars, shown: Instant::now(), added: BTreeMap::new(), terminal }
    }

    /// Shows where the fleet stands, not more often than a person can read.
    pub(crate) async fn show(&mut self, running: &BTreeMap<&'static str, usize>) {
        let every = Duration::from_secs(if self.terminal { 1 } else { 10 });
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let Some(streams) = self.streams.clone() else { return };
        let mut lines = Vec::new();
        for stream in WORK_STREAMS {
            let Ok(backlog) = streams.backlog(stream.worker).await else { return };
            let rate = self.rate(
                stream.worker,
                streams.entries_added(stream.worker).await.unwrap_or(0),
                backlog.stream,
            );
            let running = running.get(stream.worker).copied().unwrap_or(0);
            lines.push(format!(
                "{:<10} {running} running  {:>6} waiting  {:>5} retrying  {rate:>7.0}/s  oldest {:.1} s",
                stream.worker,
                backlog.stream,
                backlog.retry,
                std::time::Duration::from_millis(backlog.oldest_ms).as_secs_f64()
            ));
        }
        if self.terminal {
            self.bars.iter().zip(lines).for_each(|(bar, line)| bar.set_message(line));
        } else {
            lines.iter().for_each(|line| println!("{line}"));
        }
    }

    /// Jobs done a second since the last look: entries added, less what the backlog grew.
    fn rate(&mut self, worker: &'static str, added: u64, backlog: u64) -> f64 {
        let now = Instant::now();
        let before = self.added.insert(worker, (now, added, backlog));
        let Some((at, added_before, backlog_before)) = before else { return 0.0 };
        let done = added.saturating_sub(added_before) + backlog_before;
        done.saturating_sub(backlog) as f64 / now.duration_since(at).as_secs_f64().max(0.001)
    }
}
