//! `tidemill up`: a local fleet, with servers of its own where no URL is given.

mod processes;
mod restarts;
mod scale;
mod servers;
mod status;

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fleet::Fault;
use fleet::config::{Database, Overrides, Redis, Settings};
use record::Record;
use streams::{StreamNames, Streams};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agents::Agents;
use crate::args::Up;
use crate::client::LocalFleet;
use crate::tokens;
use processes::Processes;
use scale::Following;
use servers::Servers;

pub(crate) use status::Status;

/// The processes of a fleet, in the order they are started.
pub(crate) const NAMES: [&str; 7] = ["planner", "gateway", "etl", "embedding", "judge", "agent", "publisher"];

/// The signals that ask for an ordered stop. Watched from the start on, so that none comes too early.
struct ToldToStop([Signal; 3]);

impl ToldToStop {
    fn watch() -> Result<Self, Fault> {
        let watched = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        match watched {
            [Ok(interrupt), Ok(terminate), Ok(hangup)] => Ok(Self([interrupt, terminate, hangup])),
            _ => Err(Fault::bug("signals cannot be watched")),
        }
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// A local fleet that runs.
pub(crate) struct LocalFleetRun {
    pub(crate) folder: PathBuf,
    pub(crate) known: LocalFleet,
    pub(crate) token: String,
    names: StreamNames,
    scale: scale::Scales,
    servers: Servers,
    processes: Processes,
    _lock: File,
}

pub(crate) async fn run(up: Up) -> Result<(), Fault> {
    let mut told = ToldToStop::watch()?;
    let mut fleet = tokio::select! {
        fleet = LocalFleetRun::start(&up.folder, &up.scale, &up.overrides, &[]) => fleet?,
        () = told.wait() => {
            println!("Stopped before the fleet was up.");
            return Ok(());
        }
    };
    println!("Gateway:  {}", fleet.known.gateway);
    println!("Token:    {} (in {})", fleet.token, fleet.folder.join(LocalFleet::TOKEN).display());
    println!("Logs:     {}", fleet.folder.join("logs").display());
    settled_by(&up.overrides)?.iter().for_each(|line| println!("{line}"));
    // As this one was called, so that the lines can be copied.
    let tidemill = std::env::args().next().unwrap_or_else(|| "tidemill".to_owned());
    println!("Try next, in another terminal and this folder:");
    println!(
        r#"  echo '{{"source":"me","payload":{{"body":"The town library lends violins now."}}}}' | {tidemill} ingest -"#
    );
    println!("  {tidemill} runs list");
    println!(
        "  curl -H \"Authorization: Bearer $(cat {})\" {}/v1/fleet",
        fleet.folder.join(LocalFleet::TOKEN).display(),
        fleet.known.gateway
    );
    println!("Ctrl-C stops the fleet, a second Ctrl-C stops it at once.");
    let fault = fleet.supervise(&mut told).await;
    println!("Stopping …");
    fleet.stop().await;
    println!("Stopped.");
    fault.map_or(Ok(()), Err)
}

/// Where posts go, and what is done without: a policy, a model.
fn settled_by(overrides: &Overrides) -> Result<Vec<String>, Fault> {
    let settings = Settings::load(overrides)?;
    let publisher: publisher::config::Section = settings.section("publisher")?;
    let mut lines = vec![match publisher.outlet.as_str() {
        "files" if !publisher.outlets.contains_key("files") => {
            let folder = &publisher.files.folder;
            format!("Posts:    {}", std::path::absolute(folder).unwrap_or_else(|_| folder.clone()).display())
        }
        outlet => format!("Posts:    through the outlet {outlet}"),
    }];
    lines.push(match Agents::of(&settings) {
        Some(agents) => format!("Agents:   {}", agents.told),
        None => "Agents:   none: steps of agents fail (agent.providers)".to_owned(),
    });
    if settings.shared.policy.file.is_none() {
        lines.push("Policy:   none: nothing is forbidden (policy.file)".to_owned());
    }
    let embedding: recall::config::Section = settings.section("embedding")?;
    if embedding.embedder == recall::config::Kind::Auto && !embedding.model_folder.is_dir() {
        let folder = embedding.model_folder.display();
        lines.push(format!(
            "Model:    none: only repeats of words are found; `tidemill model fetch {folder}` brings it"
        ));
    }
    Ok(lines)
}

impl LocalFleetRun {
    /// Starts servers and processes.
    pub(crate) async fn start(
        folder: &Path,
        scale: &[String],
        overrides: &Overrides,
        environment: &[(String, String)],
    ) -> Result<Self, Fault> {
        let settings = Settings::load(overrides)?;
        if let Some(fault) = crate::config::faults(&settings).into_iter().next() {
            return Err(fault);
        }
        let scale = scale::scales(scale)?;
        let gateway: gateway::config::Section = settings.section("gateway")?;
        private(folder)?;
        let folder = folder
            .canonicalize()
            .map_err(|e| Fault::usage(format!("{} cannot be used: {e}", folder.display())))?;
        let lock = lock(&folder)?;
        let address = environment
            .iter()
            .find(|(name, _)| name == "TIDEMILL_GATEWAY__ADDRESS")
            .map_or(gateway.address, |(_, address)| address.clone());
        free(&address)?;
        let (redis, database) = (settings.redis()?, settings.database()?);
        let servers = Servers::start(&folder, &redis, &database).await?;
        // What the processes would find unfit is told once, here.
        let known = known((redis.clone(), database.clone()), format!("http://{address}"), &servers);
        Streams::connect(known.redis(), settings.shared.streams.clone()).await?;
        let record = Record::connect(known.database(), 2).await?;
        record.migrate().await?;
        let token = kept_token(&folder, &record).await?;
        let mut environment = environment.to_vec();
        // What is in the configuration, or in a file that it names, the processes find themselves; a second URL beside it
        // would be refused.
        if overrides.redis_url.is_some() || !redis.is_set() {
            environment.push(("TIDEMILL_REDIS__URL".to_owned(), servers.redis_url.clone()));
        }
        if overrides.database_url.is_some() || !database.is_set() {
            environment.push(("TIDEMILL_DATABASE__URL".to_owned(), servers.database_url.clone()));
        }
        let agents: agent::config::Section = settings.section("agent")?;
        if agents.callbacks.is_none() {
            environment.push(("TIDEMILL_AGENT__CALLBACKS".to_owned(), known.gateway.clone()));
        }
        let processes =
            Processes::start(&folder, overrides, &environment, &scale, settings.shared.worker.grace)?;
        let mut fleet = Self {
            folder,
            known,
            token,
            names: settings.shared.streams.clone(),
            scale,
            servers,
            processes,
            _lock: lock,
        };
        fleet.processes.ready(&fleet.known.gateway, &record).await?;
        let text = serde_json::to_vec_pretty(&fleet.known).map_err(|e| Fault::bug(e.to_string()))?;
        secret_file(&fleet.folder.join(LocalFleet::FILE), &text)?;
        Ok(fleet)
    }

    /// Keeps the fleet running until it is told to stop, or until it cannot go on.
    async fn supervise(&mut self, told: &mut ToldToStop) -> Option<Fault> {
        let mut status = Status::new(&self.known, self.names.clone()).await;
        let mut following = Following::new(&self.known, self.names.clone(), &self.scale).await;
        loop {
            let fault = tokio::select! {
                () = told.wait() => return None,
                fault = self.tend() => fault,
            };
            if fault.is_some() {
                return fault;
            }
            if let Err(fault) = following.follow(&mut self.processes).await {
                return Some(fault);
            }
            status.show(&self.processes.counts()).await;
        }
    }

    /// Restarts what died, a little later.
    async fn tend(&mut self) -> Option<Fault> {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        self.servers.tend().await;
        self.processes.tend()
    }

    /// Stops in order: the gateway, the workers, the servers. A second Ctrl-C stops at once.
    pub(crate) async fn stop(mut self) {
        let at_once = async {
            if let Ok(mut interrupt) = signal(SignalKind::interrupt()) {
                interrupt.recv().await;
            }
        };
        tokio::select! {
            () = self.processes.stop() => {}
            () = at_once => self.processes.kill(),
        }
        self.servers.stop().await;
        std::fs::remove_file(self.folder.join(LocalFleet::FILE)).ok();
    }
}

fn known((redis, database): (Redis, Database), gateway: String, servers: &Servers) -> LocalFleet {
    LocalFleet {
        gateway,
        redis_url: servers.redis_url.clone(),
        database_url: servers.database_url.clone(),
        pid: std::process::id(),
        redis: Redis { url: None, ..redis },
        database: Database { url: None, ..database },
    }
}

fn private(folder: &Path) -> Result<(), Fault> {
    let wrong = |e: std::io::Error| Fault::usage(format!("{} cannot be used: {e}", folder.display()));
    std::fs::create_dir_all(folder.join("logs")).map_err(wrong)?;
    // The token inside is readable by its owner alone; PostgreSQL, as another user, must be let through.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).map_err(wrong)
}

/// Keeps other fleets off the folder, as long as the file is open.
pub(crate) fn lock(folder: &Path) -> Result<File, Fault> {
    let path = folder.join("lock");
    let wrong = |e: std::io::Error| Fault::usage(format!("{} cannot be used: {e}", path.display()));
    let file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(wrong)?;
    match file.try_lock() {
        Ok(()) => {
            std::fs::write(&path, std::process::id().to_string()).map_err(wrong)?;
            Ok(file)
        }
        Err(std::fs::TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(&path).unwrap_or_default();
            Err(Fault::unavailable(format!(
                "another fleet (process {}) runs on {}: stop it, or choose another folder with --folder",
                pid.trim(),
                folder.display()
            )))
        }
        Err(std::fs::TryLockError::Error(e)) => Err(wrong(e)),
    }
}

fn free(address: &str) -> Result<(), Fault> {
    std::net::TcpListener::bind(address).map(drop).map_err(|e| {
        Fault::unavailable(format!("the gateway's address {address} cannot be bound: {e}; choose another with --set gateway.address=127.0.0.1:PORT"))
    })
}

/// The fleet's own token: made once, kept readable by the user alone.
async fn kept_token(folder: &Path, record: &Record) -> Result<String, Fault> {
    let path = folder.join(LocalFleet::TOKEN);
    let secret = match std::fs::read_to_string(&path) {
        Ok(text) if text.starts_with("tm_") => text.trim().to_owned(),
        _ => tokens::secret(),
    };
    if record.token_of(&secret).await?.is_none() {
        let roles: Vec<String> = record::ROLES.iter().map(|role| (*role).to_owned()).collect();
        record.add_token(model::DEFAULT_TENANT, "local", &roles, &secret).await?;
    }
    secret_file(&path, secret.as_bytes())?;
    Ok(secret)
}

fn secret_file(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let wrong = |e: std::io::Error| Fault::usage(format!("{} cannot be written: {e}", path.display()));
    let mut file =
        File::options().create(true).truncate(true).write(true).mode(0o600).open(path).map_err(wrong)?;
    file.write_all(bytes).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_fleet_on_a_folder_is_refused_with_the_first_ones_process() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        let refused = lock(folder.path()).unwrap_err().message;
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        lock(folder.path()).unwrap();
    }

    #[test]
    fn a_busy_address_is_told_with_the_remedy() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let message = free(&taken.local_addr().unwrap().to_string()).unwrap_err().message;
        assert!(message.contains("gateway.address"), "{message}");
    }
}
