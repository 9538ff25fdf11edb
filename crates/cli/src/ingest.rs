//! `tidemill ingest`: events from a file to the gateway.

use std::time::Duration;

use fleet::Fault;
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use crate::args::Ingest;
use crate::client::Client;

/// Events of one request.
const BATCH: usize = 500;
/// Pause where the gateway took a part of a batch only.
const FULL: Duration = Duration::from_secs(1);
/// Refusals that are told one by one.
const TOLD: usize = 20;

/// What became of the events.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What the numbers of refused ones count: lines or events.
    unit: &'static str,
    pub(crate) runs: Vec<String>,
    pub(crate) repeated: usize,
    pub(crate) refused: Vec<(usize, String)>,
    /// Why a feed could not be read as a whole.
    broken: Option<String>,
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
    for (number, why) in sent.refused.iter().take(TOLD) {
        eprintln!("  {} {number}: {why}", sent.unit);
    }
    if sent.refused.len() > TOLD {
        eprintln!("  … and {} more", sent.refused.len() - TOLD);
    }
    if let Some(reason) = &sent.broken {
        eprintln!("{} is broken ({reason}): the entries that can be read were sent.", ingest.file);
    }
    if sent.runs.is_empty() && sent.refused.is_empty() {
        return Err(Fault::usage(format!("{} holds no event", ingest.file)));
    }
    match sent.refused.len() {
        0 if sent.broken.is_some() => Err(Fault::usage("a part of the feed could not be read")),
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

/// Sends everything, batch by batch. What is no NDJSON is read whole: an array, a feed (its entries are events of
/// `source`), events that spread over several lines.
pub(crate) async fn send(
    client: &Client,
    input: impl AsyncRead + Unpin,
    source: &str,
    bar: &ProgressBar,
) -> Result<Sent, Fault> {
    let broken = |e: std::io::Error| Fault::usage(format!("the input cannot be read: {e}"));
    let mut input = BufReader::new(input);
    let mut sent = Sent { unit: "line", runs: Vec::new(), repeated: 0, refused: Vec::new(), broken: None };
    let mut first = Vec::new();
    while first.trim_ascii().is_empty() && input.read_until(b'\n', &mut first).await.map_err(broken)? > 0 {}
    if let Some(rest) = first.strip_prefix(BYTE_ORDER_MARK) {
        first = rest.to_vec();
    }
    if is_document(&first) {
        input.read_to_end(&mut first).await.map_err(broken)?;
        if let Some((items, broken)) = items(&first, source)? {
            sent.broken = broken;
            sent.unit = "event";
            let mut items = (1..).zip(items);
            loop {
                let batch: Vec<_> = items.by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    return Ok(sent);
                }
                flush(client, batch, &mut sent, bar).await?;
            }
        }
    }
    let mut lines = AsyncReadExt::chain(std::io::Cursor::new(first), input);
    let (mut batch, mut number, mut line) = (Vec::new(), 0, Vec::new());
    while lines.read_until(b'\n', &mut line).await.map_err(broken)? > 0 {
        number += 1;
        let text = std::mem::take(&mut line);
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        batch.push((number, String::from_utf8_lossy(&text).trim_end().to_owned()));
        if batch.len() == BATCH {
            flush(client, std::mem::take(&mut batch), &mut sent, bar).await?;
        }
    }
    flush(client, batch, &mut sent, bar).await?;
    Ok(sent)
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether a first line begins an array, a feed, or an event that goes on in the next line.
fn is_document(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let goes_on = || serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof());
    matches!(line.first(), Some(b'[' | b'<')) || is_json_feed(line) || (!line.is_empty() && goes_on())
}

fn is_json_feed(bytes: &[u8]) -> bool {
    // Some writers escape each slash.
    let marks: [&[u8]; 2] = [b"https://jsonfeed.org/version/", br"https:\/\/jsonfeed.org\/version\/"];
    bytes.first() == Some(&b'{')
        && marks.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == *mark))
}

/// Events, and why there are not more of them.
type Events = (Vec<String>, Option<String>);

/// The entries of a feed as events, or `None` where it is none.
fn entries(bytes: &[u8], source: &str) -> Option<Result<Events, Fault>> {
    let text = bytes.trim_ascii_start();
    if text.first() != Some(&b'<') && !is_json_feed(text) {
        return None;
    }
    let read = feeds::parse(bytes, None).map_err(|failure| Fault::usage(failure.to_string()));
    Some(read.map(|document| {
        let event = |entry: &feeds::Entry| {
            serde_json::json!({ "source": source, "request_id": entry.identity, "payload": entry.payload })
                .to_string()
        };
        (document.entries.iter().map(event).collect(), document.broken)
    }))
}

/// The events of a document; `None` where it is none after all.
fn items(bytes: &[u8], source: &str) -> Result<Option<Events>, Fault> {
    if let Some(entries) = entries(bytes, source) {
        return entries.map(Some);
    }
    let flat = |item: &RawValue| item.get().replace(['\n', '\r'], " ");
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let items: Vec<Box<RawValue>> = serde_json::from_slice(bytes)
            .map_err(|e| Fault::usage(format!("the input begins an array and is none: {e}")))?;
        return Ok(Some((items.iter().map(|item| flat(item)).collect(), None)));
    }
    let values = serde_json::Deserializer::from_slice(bytes).into_iter::<Box<RawValue>>();
    let values: Option<Vec<String>> = values.map(|value| value.ok().map(|value| flat(&value))).collect();
    Ok(values.map(|values| (values, None)))
}

/// Sends one batch; what the gateway has no room for is sent again after a while.
async fn flush(
    client: &Client,
    mut batch: Vec<(usize, String)>,
    sent: &mut Sent,
    bar: &ProgressBar,
) -> Result<(), Fault> {
    let mut told = false;
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
            if !told {
                told = true;
                let waiting = batch.len();
                bar.suspend(|| {
                    eprintln!("The fleet's backlog is full: {waiting} events of this batch wait for room …")
                });
            }
            tokio::time::sleep(FULL).await;
        }
    }
    Ok(())
}
