//! What the contenders written in Rust share: the load, the clock and the talk with the harness (`README.md`).

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::stream::{FuturesUnordered, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Events carried before the measured ones.
const WARM_UP: usize = 1000;
/// Bytes of an event's payload, as JSON.
const PAYLOAD: usize = 600;
/// Bytes of a stage's result, as JSON.
const RESULT: usize = 300;
/// The pace of a steady load.
const TICK: Duration = Duration::from_millis(10);
/// How often the file of ends is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long no event may end before the load is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stages that workers do, in their order.
pub const STAGES: [&str; 4] = ["etl", "embedding", "judge", "publish"];

/// What may go wrong: it ends the run.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What a contender is offered.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its number.
    pub event: usize,
    /// An object that is 600 bytes of JSON.
    pub payload: String,
}

/// A contender.
pub trait Peer: Sync {
    /// Gives events to it and returns when they are accepted; several calls are under way at once.
    fn offer(&self, events: Vec<Event>) -> impl Future<Output = Result<(), Fault>> + Send;

    /// How many of these events did not pass every stage exactly once.
    fn mismatches(&self, first: usize, count: usize) -> impl Future<Output = Result<usize, Fault>> + Send;
}

/// How a flood is offered.
#[derive(Debug, Clone, Copy)]
pub struct Offers {
    /// Events at once.
    pub chunk: usize,
    /// Offers under way.
    pub senders: usize,
}

fn padded(head: &str, bytes: usize) -> String {
    let text: String = "the quick brown fox ".chars().cycle().take(bytes - head.len() - 2).collect();
    format!(r#"{head}{text}"}}"#)
}

/// The payload of an event: an object that is 600 bytes of JSON.
pub fn payload_of(event: usize) -> String {
    padded(&format!(r#"{{"event":{event},"title":"Event {event}","body":""#), PAYLOAD)
}

/// What a stage keeps of an event: an object that is 300 bytes of JSON.
pub fn result_of(event: usize, stage: &str) -> String {
    padded(&format!(r#"{{"event":{event},"stage":"{stage}","result":""#), RESULT)
}

/// Notes events' ends in the file of ends.
#[derive(Debug)]
pub struct NoteEnds(File);

impl NoteEnds {
    /// Opens the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(file: &Path) -> Result<Self, Fault> {
        Ok(Self(File::options().create(true).append(true).open(file)?))
    }

    /// Notes that an event ended now.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn note(&self, event: usize) -> Result<(), Fault> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1000.0;
        (&self.0).write_all(format!("{event} {now:.3}\n").as_bytes())?;
        Ok(())
    }
}

/// Starts processes of workers: this program with the argument `worker` and the file of ends. They are killed when
/// this process ends, however it ends.
fn start_workers(folder: &Path, ends: &Path, count: usize) -> Result<Vec<Child>, Fault> {
    let start = |number| {
        let log = File::create(folder.join(format!("worker-{number}.log")))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(std::env::current_exe()?)
            .arg("worker")
            .arg(ends)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(child)
    };
    (0..count).map(start).collect()
}

/// Stops them: SIGTERM, and SIGKILL after ten seconds.
async fn stop_workers(workers: Vec<Child>) {
    for mut worker in workers {
        if let Some(id) = worker.id() {
            // It may have ended in between.
            drop(std::process::Command::new("kill").arg(id.to_string()).status());
        }
        if tokio::time::timeout(Duration::from_secs(10), worker.wait()).await.is_err() {
            drop(worker.kill().await);
        }
    }
}

/// Ends when SIGTERM or SIGINT comes.
///
/// # Errors
/// Where no signal can be waited for.
pub async fn terminated() -> Result<(), Fault> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! { _ = term.recv() => (), _ = int.recv() => () }
    Ok(())
}

/// Milliseconds since 1970, as the file of ends has them.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// The file of ends, read as it grows.
struct Ends {
    file: File,
    rest: String,
    at: HashMap<usize, f64>,
}

impl Ends {
    fn look(&mut self) -> Result<(), Fault> {
        let mut grown = std::mem::take(&mut self.rest);
        self.file.read_to_string(&mut grown)?;
        let whole = grown.rfind('\n').map_or(0, |end| end + 1);
        for line in grown[..whole].lines() {
            let (event, at) = line.split_once(' ').ok_or("a line of ends without a time")?;
            self.at.entry(event.parse()?).or_insert(at.parse()?);
        }
        self.rest = grown.split_off(whole);
        Ok(())
    }

    /// Waits until `count` events have ended in all, or none does for a long time.
    async fn reach(&mut self, count: usize) -> Result<(), Fault> {
        self.look()?;
        let (mut before, mut since) = (self.at.len(), Instant::now());
        while self.at.len() < count && since.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
            self.look()?;
            if self.at.len() > before {
                (before, since) = (self.at.len(), Instant::now());
            }
        }
        Ok(())
    }
}

struct Load {
    events: usize,
    began: f64,
    /// Events a second of a steady load.
    rate: Option<f64>,
}

impl Load {
    fn due(&self, index: usize) -> f64 {
        self.began + self.rate.map_or(0.0, |rate| index as f64 * 1000.0 / rate)
    }

    fn summary(&self, ends: &Ends, first: usize, errors: usize) -> Value {
        let ended = |index: usize| ends.at.get(&(first + index)).map(|at| (at, at - self.due(index)));
        let (at, mut taken): (Vec<f64>, Vec<f64>) = (0..self.events).filter_map(ended).unzip();
        taken.sort_by(f64::total_cmp);
        let last = at.into_iter().fold(self.began, f64::max);
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let part = |share: f64| {
            let index = ((share * taken.len() as f64).ceil() as usize).checked_sub(1)?;
            self.rate.map(|_| rounded(taken[index]))
        };
        json!({
            "events": self.events, "seconds": rounded((last - self.began) / 1000.0), "p50_ms": part(0.5),
            "p95_ms": part(0.95), "p99_ms": part(0.99), "max_ms": part(1.0), "errors": errors,
        })
    }
}

fn events_of(first: usize, count: usize) -> Vec<Event> {
    (first..first + count).map(|event| Event { event, payload: payload_of(event) }).collect()
}

async fn flood(
    peer: &impl Peer,
    offers: Offers,
    ends: &mut Ends,
    first: usize,
    count: usize,
) -> Result<Load, Fault> {
    let began = now();
    let starts = (0..count).step_by(offers.chunk);
    let chunks = starts.map(|at| peer.offer(events_of(first + at, offers.chunk.min(count - at))));
    futures::stream::iter(chunks).buffer_unordered(offers.senders).try_collect::<()>().await?;
    ends.reach(first + count).await?;
    Ok(Load { events: count, began, rate: None })
}

async fn steady(
    peer: &impl Peer,
    offers: Offers,
    ends: &mut Ends,
    first: usize,
    rate: f64,
    seconds: f64,
) -> Result<Load, Fault> {
    let (started, began, count) = (Instant::now(), now(), (rate * seconds) as usize);
    let (mut sent, mut under) = (0, FuturesUnordered::new());
    while sent < count {
        let until = count.min((started.elapsed().as_secs_f64() * rate) as usize + 1);
        for at in (sent..until).step_by(offers.chunk) {
            under.push(peer.offer(events_of(first + at, offers.chunk.min(until - at))));
        }
        sent = until;
        let tick = tokio::time::sleep(TICK);
        tokio::pin!(tick);
        loop {
            tokio::select! {
                () = &mut tick => break,
                Some(accepted) = under.next(), if !under.is_empty() => accepted?,
            }
        }
    }
    under.try_collect::<()>().await?;
    ends.reach(first + count).await?;
    Ok(Load { events: count, began, rate: Some(rate) })
}

async fn carry(
    peer: &impl Peer,
    offers: Offers,
    ends: &mut Ends,
    go: oneshot::Receiver<()>,
    arguments: &[String],
) -> Result<Value, Fault> {
    flood(peer, offers, ends, 0, WARM_UP).await?;
    println!("ready");
    go.await?;
    let load = match arguments {
        [kind, events] if kind == "flood" => flood(peer, offers, ends, WARM_UP, events.parse()?).await?,
        [kind, rate, seconds] if kind == "steady" => {
            steady(peer, offers, ends, WARM_UP, rate.parse()?, seconds.parse()?).await?
        }
        _ => return Err("expected: flood EVENTS or steady RATE SECONDS".into()),
    };
    let errors = peer.mismatches(WARM_UP, load.events).await?;
    Ok(load.summary(ends, WARM_UP, errors))
}

/// Tells of the harness's line on standard input, and ends with it.
async fn listen(go: oneshot::Sender<()>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    if let Ok(Some(_)) = lines.next_line().await {
        // Nobody waits any more where the run has broken off.
        go.send(()).ok();
        while let Ok(Some(_)) = lines.next_line().await {}
    }
}

/// Runs a contender as the arguments say, `flood EVENTS` or `steady RATE SECONDS`, with its processes of workers.
/// Returns the exit code.
///
/// # Errors
/// Whatever broke the run off; nothing that it started runs on.
pub async fn drive(peer: impl Peer, offers: Offers, arguments: &[String]) -> Result<i32, Fault> {
    let folder = PathBuf::from(std::env::var("FOLDER")?);
    let count = std::env::var("WORKERS").ok().filter(|count| !count.is_empty());
    let file = folder.join("ends");
    File::create(&file)?;
    let mut ends = Ends { file: File::open(&file)?, rest: String::new(), at: HashMap::new() };
    let workers = start_workers(&folder, &file, count.map_or(Ok(1), |count| count.parse())?)?;
    let (send_go, go) = oneshot::channel();
    let closed = tokio::spawn(listen(send_go));
    tokio::pin!(closed);
    let outcome = tokio::select! {
        figures = carry(&peer, offers, &mut ends, go, arguments) => match figures {
            Ok(figures) => {
                println!("{figures}");
                tokio::select! {
                    _ = &mut closed => Ok(0),
                    signal = terminated() => signal.map(|()| 143),
                }
            }
            Err(fault) => Err(fault),
        },
        _ = &mut closed => Ok(1),
        signal = terminated() => signal.map(|()| 143),
    };
    stop_workers(workers).await;
    outcome
}
