//! The processes of a local fleet: started, restarted with backoff when they die, stopped in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleet::config::Overrides;
use fleet::{Fault, FaultKind};
use local::{Signal, Supervised, spawn_supervised};

use record::Record;

use super::NAMES;
use super::restarts::Restarts;
use super::scale::Scales;

/// How long the gateway may take to answer at first.
const READY: Duration = Duration::from_secs(60);

/// Threads of one pass of the model. With one, the embedder runs a pass on each core; with more, they wait for each other.
const MODEL_THREADS: &str = "RAYON_NUM_THREADS";

pub(super) struct Processes {
    members: Vec<Member>,
    /// What every process is started with.
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    grace: Duration,
}

struct Member {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    process: Option<Supervised>,
    restarts: Restarts,
    number: usize,
    /// Told to end for good.
    retiring: bool,
}

impl Processes {
    pub(super) fn start(
        folder: &Path,
        overrides: &Overrides,
        environment: &[(String, String)],
        scale: &Scales,
        grace: Duration,
    ) -> Result<Self, Fault> {
        let mut arguments = Vec::new();
        if let Some(config) = &overrides.config {
            arguments.extend(["--config".to_owned(), config.display().to_string()]);
        }
        arguments.extend(overrides.set.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
        let mut processes = Self {
            members: Vec::new(),
            arguments,
            environment: environment.to_vec(),
            folder: folder.to_owned(),
            // A worker gives back what it holds within its grace; a little more is for the way out.
            grace: grace + Duration::from_secs(5),
        };
        for name in NAMES {
            processes.scale(name, scale.get(name).map_or(1, |range| *range.start()))?;
        }
        Ok(processes)
    }

    /// Starts processes of a type until there are so many, or tells those beyond to end.
    pub(super) fn scale(&mut self, name: &str, wanted: usize) -> Result<(), Fault> {
        let Some(name) = NAMES.into_iter().find(|known| *known == name) else { return Ok(()) };
        let staying = || |member: &&mut Member| member.name == name && !member.retiring;
        let running = self.members.iter_mut().filter(staying()).count();
        for member in self.members.iter_mut().filter(staying()).skip(wanted) {
            member.retire();
        }
        for _ in running..wanted {
            self.add(name)?;
        }
        if wanted != running && running > 0 {
            println!("{name}: {running} → {wanted} processes");
        }
        Ok(())
    }

    fn add(&mut self, name: &'static str) -> Result<(), Fault> {
        let own = std::env::current_exe().map_err(|e| Fault::bug(e.to_string()))?;
        let taken = |number: &usize| self.members.iter().any(|one| one.name == name && one.number == *number);
        let number = (1..).find(|number| !taken(number)).unwrap_or_default();
        let mut member = Member {
            name,
            program: own.with_file_name(format!("tidemill-{name}")),
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            log: self.folder.join("logs").join(format!("{name}-{number}.log")),
            process: None,
            restarts: Restarts::new(),
            number,
            retiring: false,
        };
        member.launch()?;
        self.members.push(member);
        Ok(())
    }

    /// Waits until the gateway takes requests, and the planner has said what is wanted of each source.
    pub(super) async fn ready(&mut self, gateway: &str, record: &Record) -> Result<(), Fault> {
        let address = gateway.trim_start_matches("http://").to_owned();
        let until = Instant::now() + READY;
        while tokio::net::TcpStream::connect(&address).await.is_err()
            || record.active_intents().await?.is_empty()
        {
            if let Some(fault) = self.tend() {
                return Err(fault);
            }
            if Instant::now() > until {
                return Err(Fault::unavailable(format!(
                    "the gateway does not answer at {address}, or the planner has registered nothing; see their logs"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Restarts what died. A fault where a process calls its configuration wrong: restarting would not help.
    pub(super) fn tend(&mut self) -> Option<Fault> {
        self.members.retain_mut(|member| !member.has_retired());
        self.members.iter_mut().filter(|member| !member.retiring).find_map(Member::tend)
    }

    /// How many processes of each type run.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for member in &self.members {
            *counts.entry(member.name).or_default() += usize::from(member.process.is_some());
        }
        counts
    }

    /// Stops the gateway, then all others at once, each within its grace.
    pub(super) async fn stop(&mut self) {
        let grace = self.grace;
        let (first, rest): (Vec<_>, Vec<_>) = self
            .members
            .iter_mut()
            .filter_map(|m| Some((m.name, m.process.as_mut()?)))
            .partition(|(name, _)| *name == "gateway");
        for group in [first, rest] {
            let stopping = group.into_iter().map(|(_, process)| process.stop(Signal::SIGTERM, grace));
            futures::future::join_all(stopping).await;
        }
    }

    /// Kills all at once; what they held is taken over by the next fleet.
    pub(super) fn kill(&mut self) {
        self.members
            .iter_mut()
            .filter_map(|m| m.process.as_mut())
            .for_each(|process| process.signal(Signal::SIGKILL));
    }
}

impl Member {
    fn launch(&mut self) -> Result<(), Fault> {
        let wrong =
            |e: std::io::Error| Fault::usage(format!("{} cannot be written: {e}", self.log.display()));
        let log = std::fs::File::options().create(true).append(true).open(&self.log).map_err(wrong)?;
        let again = log.try_clone().map_err(wrong)?;
        if !self.program.is_file() {
            return Err(Fault::unavailable(format!(
                "{} is not there: build or install all of Tidemill's binaries into one folder",
                self.program.display()
            )));
        }
        let process = spawn_supervised(&self.program.display().to_string(), |command| {
            command.args(&self.arguments).envs(self.environment.iter().cloned());
            if self.name == "embedding" && std::env::var_os(MODEL_THREADS).is_none() {
                command.env(MODEL_THREADS, "1");
            }
            command.stdin(std::process::Stdio::null()).stdout(log).stderr(again);
            // Ctrl-C at the terminal is for the fleet, which stops its processes in order.
            std::os::unix::process::CommandExt::process_group(command, 0);
        })
        .map_err(|e| Fault::unavailable(e.to_string()))?;
        self.process = Some(process);
        self.restarts.started();
        Ok(())
    }

    /// Tells it to end, and not to be started again. What it holds it gives back.
    fn retire(&mut self) {
        self.retiring = true;
        if let Some(process) = &mut self.process {
            process.signal(Signal::SIGTERM);
        }
    }

    fn has_retired(&mut self) -> bool {
        self.retiring && self.process.as_mut().is_none_or(|process| process.ended().is_some())
    }

    fn tend(&mut self) -> Option<Fault> {
        if self.restarts.waits() {
            return if self.restarts.is_due() { self.launch().err() } else { None };
        }
        let status = self.process.as_mut()?.ended()?;
        self.process = None;
        if status.code() == Some(FaultKind::Usage as i32) {
            return Some(Fault::usage(format!("{} will not start: {}", self.name, last_words(&self.log))));
        }
        let pause = self.restarts.died();
        eprintln!(
            "{} ended ({status}); started again in {pause:?}. Its log: {}",
            self.name,
            self.log.display()
        );
        None
    }
}

/// The last line of a log: what a process said before it ended.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}
