//! Measures the local brains of ETL against what people said.
//!
//! ```text
//! cargo run --release -p tidemill-bench --bin brains -- sentiment EVENTS.jsonl RATINGS.tsv [EVENTS.jsonl RATINGS.tsv …]
//! ```
//!
//! The events have the shape of `POST /v1/events`, one a line; the ratings are lines of `request_id`, a tab and a number
//! from −1 to 1, under a heading.
#![expect(clippy::print_stdout, reason = "a command whose output is its purpose")]

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use model::{NewEvent, Payload};
use text::{Analyser, Analysis, Config, Source};

#[derive(Parser)]
#[command(about = "Measures the local brains of ETL against what people said")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pearson's r between `sentiment` and human ratings, the histogram of confidence, the share escalated.
    Sentiment {
        /// Pairs of files: events (NDJSON), then their ratings (TSV).
        #[arg(required = true, num_args = 2.., value_names = ["EVENTS", "RATINGS"])]
        files: Vec<PathBuf>,
        /// Confidence below this escalates.
        #[arg(long, default_value_t = 0.6)]
        confidence_below: f64,
        /// Toxicity above this escalates.
        #[arg(long, default_value_t = 0.8)]
        toxicity_above: f64,
        /// Fail where Pearson's r of any pair is below this.
        #[arg(long)]
        least_r: Vec<f64>,
    },
}

struct Thresholds {
    confidence: f64,
    toxicity: f64,
}

/// Everything measured on one pair of files.
#[derive(Default)]
struct Measured {
    /// Sentiment and its human rating.
    pairs: Vec<(f64, f64)>,
    analyses: Vec<Analysis>,
    refused: usize,
    took: Duration,
}

fn main() -> ExitCode {
    let Command::Sentiment { files, confidence_below, toxicity_above, least_r } = Cli::parse().command;
    let thresholds = Thresholds { confidence: confidence_below, toxicity: toxicity_above };
    match run(&files, &thresholds, &least_r) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(64)
        }
    }
}

fn run(files: &[PathBuf], thresholds: &Thresholds, least_r: &[f64]) -> Result<bool, String> {
    if !files.len().is_multiple_of(2) {
        return Err(format!("{} files given: each events file needs its ratings file", files.len()));
    }
    let analyser = Analyser::new(Config::default()).map_err(|e| e.to_string())?;
    let mut met = true;
    for (index, pair) in files.chunks_exact(2).enumerate() {
        let measured = measure(&analyser, &pair[0], &ratings(&pair[1])?)?;
        let r = pearson(&measured.pairs);
        println!("{}\n{}", pair[0].display(), Summary { measured: &measured, thresholds, r });
        if let Some(least) = least_r.get(index).filter(|least| r.is_none_or(|r| r < **least)) {
            println!("  FAILED: r is below {least}\n");
            met = false;
        }
    }
    Ok(met)
}

fn measure(analyser: &Analyser, events: &Path, ratings: &HashMap<String, f64>) -> Result<Measured, String> {
    let mut measured = Measured::default();
    // Word lists load on first use: that is not what a text costs.
    drop(analyser.analyse(&Source { body: "A first text.", ..Source::default() }));
    for (number, line) in read(events)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |e: model::EventError| format!("{}:{}: {e}", events.display(), number + 1);
        let event = NewEvent::parse(line.as_bytes()).map_err(at)?;
        let payload = Payload::parse(event.payload.get()).map_err(at)?;
        let source = Source {
            title: payload.title.as_deref(),
            body: payload.body.as_deref().unwrap_or_default(),
            language: payload.language.as_deref(),
        };
        let started = Instant::now();
        let analysis = analyser.analyse(&source);
        measured.took += started.elapsed();
        let Ok(analysis) = analysis else {
            measured.refused += 1;
            continue;
        };
        if let Some(rating) = event.request_id.and_then(|id| ratings.get(&id)) {
            measured.pairs.push((analysis.sentiment, *rating));
        }
        measured.analyses.push(analysis);
    }
    Ok(measured)
}

fn ratings(file: &Path) -> Result<HashMap<String, f64>, String> {
    let row = |(number, line): (usize, &str)| {
        let row =
            line.split_once('\t').and_then(|(id, rating)| Some((id.to_owned(), rating.trim().parse().ok()?)));
        row.ok_or_else(|| format!("{}:{}: want a request id, a tab and a number", file.display(), number + 1))
    };
    read(file)?.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()).map(row).collect()
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{} cannot be read: {e}", file.display()))
}

/// Pearson's correlation; `None` where one side does not vary.
fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let count = pairs.len() as f64;
    let mean = |side: fn(&(f64, f64)) -> f64| pairs.iter().map(side).sum::<f64>() / count;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        xy += (x - mx) * (y - my);
        xx += (x - mx).powi(2);
        yy += (y - my).powi(2);
    }
    (xx > 0.0 && yy > 0.0).then(|| xy / (xx * yy).sqrt())
}

struct Summary<'a> {
    measured: &'a Measured,
    thresholds: &'a Thresholds,
    r: Option<f64>,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured { pairs, analyses, refused, took } = self.measured;
        let each = took.as_secs_f64() * 1e6 / (analyses.len() + refused).max(1) as f64;
        let r = self.r.map_or_else(|| "none".to_owned(), |r| format!("{r:.4}"));
        writeln!(f, "  texts {}, refused {refused}, {each:.0} µs a text", analyses.len())?;
        writeln!(f, "  sentiment: Pearson r {r} over {} rated texts", pairs.len())?;
        self.languages(f)?;
        self.histogram(f)?;
        self.escalated(f)
    }
}

impl Summary<'_> {
    fn share(&self, holds: impl Fn(&Analysis) -> bool) -> (usize, f64) {
        let count = self.measured.analyses.iter().filter(|a| holds(a)).count();
        (count, 100.0 * count as f64 / self.measured.analyses.len().max(1) as f64)
    }

    fn languages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for analysis in &self.measured.analyses {
            *counts.entry(&analysis.language).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(code, count)| (std::cmp::Reverse(*count), *code));
        let listed: Vec<String> = counts.iter().map(|(code, count)| format!("{code} {count}")).collect();
        writeln!(f, "  languages: {}", listed.join(", "))
    }

    fn histogram(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  confidence:")?;
        for tenth in 0..10_u8 {
            let low = f64::from(tenth) / 10.0;
            let high = f64::from(tenth + 1) / 10.0;
            let last = tenth == 9;
            let (count, share) = self.share(|a| a.confidence >= low && (a.confidence < high || last));
            let bar = "#".repeat((share / 2.0).round() as usize);
            writeln!(f, "    {low:.1}–{high:.1} {count:>6} {share:>5.1} % {bar}")?;
        }
        Ok(())
    }

    fn escalated(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Thresholds { confidence, toxicity } = *self.thresholds;
        let doubtful = |a: &Analysis| a.confidence < confidence;
        let toxic = |a: &Analysis| a.toxicity_score > toxicity;
        for (name, (count, share)) in [
            (format!("confidence < {confidence}"), self.share(doubtful)),
            (format!("toxicity_score > {toxicity}"), self.share(toxic)),
            ("either".to_owned(), self.share(|a| doubtful(a) || toxic(a))),
        ] {
            writeln!(f, "  escalated by {name:<22} {count:>6} {share:>5.1} %")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_is_one_for_a_line_and_none_for_a_constant() {
        assert!((pearson(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]).unwrap() - 1.0).abs() < 1e-12);
        assert!((pearson(&[(0.0, 1.0), (1.0, -1.0)]).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(pearson(&[(0.5, 1.0), (0.5, 2.0)]), None);
        assert_eq!(pearson(&[]), None);
    }

    #[test]
    fn events_are_matched_with_their_ratings() {
        let folder = tempfile::tempdir().unwrap();
        let (events, rated) = (folder.path().join("e.jsonl"), folder.path().join("r.tsv"));
        let bodies =
            ["What a wonderful day, I love it!", "The train leaves at noon.", "This is horrible, I hate it."];
        let lines = bodies.iter().enumerate().map(|(i, body)| {
            format!("{{\"source\":\"s\",\"request_id\":\"r{i}\",\"payload\":{{\"body\":\"{body}\"}}}}\n")
        });
        std::fs::write(&events, lines.collect::<String>()).unwrap();
        std::fs::write(&rated, "request_id\thuman\nr0\t0.9\nr1\t0\nr2\t-0.9\n").unwrap();
        let analyser = Analyser::new(Config::default()).unwrap();
        let measured = measure(&analyser, &events, &ratings(&rated).unwrap()).unwrap();
        assert!(pearson(&measured.pairs).unwrap() > 0.95, "{:?}", measured.pairs);
        assert_eq!((measured.analyses.len(), measured.refused), (3, 0));
    }

    #[test]
    fn a_bad_rating_is_named_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let rated = folder.path().join("r.tsv");
        std::fs::write(&rated, "request_id\thuman\nr0\tgood\n").unwrap();
        assert!(ratings(&rated).unwrap_err().contains("r.tsv:2:"));
    }
}
