//! `tidemill ingest`: events from a file to the gateway.

use std::time::Duration;

use fleet::Fault;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::args::Ingest;
use crate::client::Client;

/// Events of one request.
const BATCH: usize = 500;
/// Pause where the gateway took a part of a batch only.
const FULL: Duration = Duration::from_secs(1);
/// Refusals that are told one by one.
const TOLD: usize = 20;

/// What became of the events.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) runs: Vec<String>,
    pub(crate) repeated: usize,
    pub(crate) refused: Vec<(usize, String)>,
}

pub(crate) async fn run(ingest: Ingest) -> Result<(), Fault> {
    let client = Client::of(&ingest.gateway)?;
    let input: Box<dyn AsyncRead + Unpin + Send> = if ingest.file == "-" {
        Box::new(tokio::io::stdin())
    } else {
        let file = tokio::fs::File::open(&ingest.file).await;
        Box::new(file.map_err(|e| Fault::usage(format!("{} cannot be read: {e}", ingest.file)))?)
    };
    let stem = std::path::Path::new(&ingest.file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let source = ingest.source.or(stem.filter(|stem| stem != "-")).unwrap_or_else(|| "feed".to_owned());
    let bar = progress();
    let sent = send(&client, input, &source, &bar).await?;
    bar.finish_and_clear();
    println!(
        "{} accepted, {} of them known before, {} refused.",
        sent.runs.len(),
        sent.repeated,
        sent.refused.len()
    );
    for (line, why) in sent.refused.iter().take(TOLD) {
        eprintln!("  line {line}: {why}");
    }
    if sent.runs.is_empty() && sent.refused.is_empty() {
        return Err(Fault::usage(format!("{} holds no event", ingest.file)));
    }
    match sent.refused.len() {
        0 => Ok(()),
        refused => Err(Fault::usage(format!("{refused} events were refused"))),
    }
}

pub(crate) fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} events sent, {per_sec}") {
        bar.set_style(style);
    }
    bar
}

/// Sends everything, batch by batch. An array, a feed (its entries are events of `source`), and an event that spreads
/// over several lines are read whole.
pub(crate) async fn send(
    client: &Client,
    input: impl AsyncRead + Unpin,
    source: &str,
    bar: &ProgressBar,
) -> Result<Sent, Fault> {
    let broken = |e: std::io::Error| Fault::usage(format!("the input cannot be read: {e}"));
    let mut input = BufReader::new(input);
    let mut sent = Sent::default();
    let (mut batch, mut number) = (Vec::new(), 0);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).await.map_err(broken)? > 0 {
        number += 1;
        let text = std::mem::take(&mut line);
        if number == 1 && is_document(&text) {
            let mut whole = text;
            tokio::io::AsyncReadExt::read_to_end(&mut input, &mut whole).await.map_err(broken)?;
            for (index, item) in items(&whole, source)?.into_iter().enumerate() {
                batch.push((index + 1, item));
            }
            break;
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        batch.push((number, String::from_utf8_lossy(&text).trim_end().to_owned()));
        if batch.len() == BATCH {
            flush(client, std::mem::take(&mut batch), &mut sent, bar).await?;
        }
    }
    while !batch.is_empty() {
        let rest = batch.split_off(batch.len().min(BATCH));
        flush(client, std::mem::replace(&mut batch, rest), &mut sent, bar).await?;
    }
    Ok(sent)
}

/// Whether a first line begins an array, a feed, or an event that goes on in the next line.
fn is_document(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    matches!(line.first(), Some(b'[' | b'<')) || line == b"{" || is_json_feed(line)
}

fn is_json_feed(bytes: &[u8]) -> bool {
    let mark = b"https://jsonfeed.org/version/";
    bytes.first() == Some(&b'{') && bytes.windows(mark.len()).any(|window| window == mark)
}

/// The entries of a feed as events, or `None` where it is none.
fn entries(bytes: &[u8], source: &str) -> Option<Result<Vec<String>, Fault>> {
    let text = bytes.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.first() != Some(&b'<') && !is_json_feed(text) {
        return None;
    }
    let read = feeds::parse(bytes, None).map_err(|failure| Fault::usage(failure.to_string()));
    Some(read.map(|document| {
        if let Some(reason) = &document.broken {
            eprintln!("the feed breaks off ({reason}): what comes before is sent");
        }
        let event = |entry: &feeds::Entry| {
            serde_json::json!({ "source": source, "request_id": entry.identity, "payload": entry.payload })
                .to_string()
        };
        document.entries.iter().map(event).collect()
    }))
}

fn items(bytes: &[u8], source: &str) -> Result<Vec<String>, Fault> {
    if let Some(entries) = entries(bytes, source) {
        return entries;
    }
    let wrong = |e: serde_json::Error| {
        Fault::usage(format!("the input is neither NDJSON, nor an event, nor an array, nor a feed: {e}"))
    };
    let flat = |item: &RawValue| item.get().replace(['\n', '\r'], " ");
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let items: Vec<Box<RawValue>> = serde_json::from_slice(bytes).map_err(wrong)?;
        return Ok(items.iter().map(|item| flat(item)).collect());
    }
    let one: Box<RawValue> = serde_json::from_slice(bytes).map_err(wrong)?;
    Ok(vec![flat(&one)])
}

/// Sends one batch; what the gateway has no room for is sent again after a while.
async fn flush(
    client: &Client,
    mut batch: Vec<(usize, String)>,
    sent: &mut Sent,
    bar: &ProgressBar,
) -> Result<(), Fault> {
    while !batch.is_empty() {
        let lines: Vec<&str> = batch.iter().map(|(_, line)| line.as_str()).collect();
        let answer = client.send_lines(&lines.join("\n")).await?;
        let mut again = Vec::new();
        for item in answer["items"].as_array().into_iter().flatten() {
            let index = item["index"].as_u64().and_then(|n| usize::try_from(n).ok());
            let Some((number, line)) = index.and_then(|index| batch.get(index)) else { continue };
            match &item["run_id"] {
                Value::String(run) => {
                    sent.repeated += usize::from(item["created"] == Value::Bool(false));
                    sent.runs.push(run.clone());
                }
                _ if item["error"]["status"] == 429 => again.push((*number, line.clone())),
                _ => {
                    let why = item["error"]["detail"].as_str().unwrap_or("refused").to_owned();
                    sent.refused.push((*number, why));
                }
            }
        }
        bar.inc(u64::try_from(batch.len() - again.len()).unwrap_or(0));
        batch = again;
        if !batch.is_empty() {
            tokio::time::sleep(FULL).await;
        }
    }
    Ok(())
}
