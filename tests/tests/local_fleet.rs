//! The local fleet of `tidemill up` and `tidemill demo`: started, hurt, stopped and started again as people do it.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use local::{Signal, Supervised, spawn_supervised};
use serde_json::Value;
use testkit::{Servers, binary, eventually, within};
use tidemill_tests::Checked;
use tokio::process::Command;

/// `tidemill up` in a folder of its own.
struct Up {
    process: Supervised,
    folder: PathBuf,
}

impl Up {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(folder.join("up.log")).unwrap();
        let process = spawn_supervised(&binary("tidemill").display().to_string(), |command| {
            command.current_dir(folder).args(["up", "--set", "embedding.embedder=hashing"]);
            command.args(["--set", &format!("gateway.address={}", free_address())]).args(arguments);
            command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        })
        .unwrap();
        Self { process, folder: folder.to_owned() }
    }

    async fn ready(folder: &Path, arguments: &[&str]) -> Self {
        let mut up = Self::start(folder, arguments);
        let known = folder.join(".tidemill/fleet.json");
        let mut ended = None;
        while ended.is_none() && !known.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            ended = up.process.ended();
        }
        assert_eq!(ended, None, "{}", up.said());
        up
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("up.log")).unwrap()
    }

    async fn says(&self, words: &str) {
        eventually(&format!("it says `{words}`"), async || self.said().contains(words)).await;
    }

    /// Its servers and processes, by program name.
    fn family(&self) -> BTreeMap<u32, String> {
        let mut family = BTreeMap::from([(self.process.id(), String::new())]);
        loop {
            let known = family.len();
            for (pid, parent, name) in processes() {
                if family.contains_key(&parent) {
                    family.insert(pid, name);
                }
            }
            if family.len() == known {
                family.remove(&self.process.id());
                return family;
            }
        }
    }

    fn member(&self, name: &str) -> Option<u32> {
        let own = self.process.id();
        processes()
            .into_iter()
            .find(|(_, of, known)| *of == own && name.starts_with(known))
            .map(|(pid, ..)| pid)
    }

    async fn interrupt(mut self) {
        self.process.signal(Signal::SIGINT);
        let status = self.process.wait(Duration::from_secs(60)).await;
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", self.said());
    }

    /// Sends events that nobody sent before, and waits until each has ended.
    async fn carries(&self, name: &str, count: usize) {
        let file = self.folder.join(format!("{name}.ndjson"));
        let lines: Vec<String> = (0..count).map(|number| event(name, number).to_string()).collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
        let sent = run(&self.folder, &["ingest", &file.display().to_string()]).await;
        assert!(sent.contains(&format!("{count} accepted")), "{sent}");
        eventually(&format!("the {count} events called {name} are ended"), async || {
            let runs: Value =
                serde_json::from_str(&run(&self.folder, &["runs", "list", "--json"]).await).unwrap();
            let of: Vec<&Value> = runs.as_array().unwrap().iter().filter(|r| r["source"] == name).collect();
            of.len() == count && of.iter().all(|run| run["state"] != "running")
        })
        .await;
    }
}

fn event(name: &str, number: usize) -> Value {
    let body = format!(
        "The {name} line {number} opened on a bright morning. Passengers praised the quiet carriages, the clean \
         stations and the helpful staff. The town plans another line next year, if the money lasts."
    );
    serde_json::json!({ "source": name, "request_id": format!("{name}-{number}"), "payload": { "body": body } })
}

/// A free port on a loopback address that no other test uses, so that nobody takes it meanwhile.
fn free_address() -> String {
    static USED: AtomicU8 = AtomicU8::new(1);
    let own = format!("127.{}.{}.1:0", std::process::id() % 250 + 1, USED.fetch_add(1, Ordering::Relaxed));
    std::net::TcpListener::bind(own).unwrap().local_addr().unwrap().to_string()
}

/// Every process of this machine: its id, its parent's and its name, cut to 15 characters by the kernel.
fn processes() -> Vec<(u32, u32, String)> {
    let read = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let (pid, name) = head.split_once(" (")?;
        let mut fields = tail.split_whitespace();
        // A zombie is gone; whoever inherited it has not looked yet.
        (fields.next()? != "Z").then_some(())?;
        Some((pid.parse().ok()?, fields.next()?.parse().ok()?, name.to_owned()))
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| read(entry.ok()?)).collect()
}

fn kill(pid: u32, signal: Signal) {
    let status = std::process::Command::new("kill")
        .arg(format!("-{}", signal as i32))
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Runs a command of the CLI in the folder, with the gateway's answers checked; returns what it printed.
async fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = asking(folder, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn asking(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let checked = Checked::before_any().await;
    let mut command = Command::new(binary("tidemill"));
    command.current_dir(folder).args(arguments).env("HTTP_PROXY", checked.url()).env_remove("NO_PROXY");
    command.output().await.unwrap()
}

/// The runs as JSON, where the gateway answers.
async fn listed(folder: &Path) -> Option<String> {
    let output = asking(folder, &["runs", "list", "--json"]).await;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// A folder that PostgreSQL, as another user, may pass through.
fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[tokio::test]
async fn what_dies_is_started_again_and_the_flow_goes_on() {
    let folder = folder();
    let up = Up::ready(folder.path(), &["--scale", "etl=2"]).await;
    eventually("two ETL processes run", async || {
        up.family().values().filter(|name| *name == "tidemill-etl").count() == 2
    })
    .await;
    up.carries("before", 3).await;
    for name in ["tidemill-judge", "tidemill-embedding", "tidemill-gateway", "redis-server", "postgres"] {
        let pid = up.member(name).unwrap();
        kill(pid, Signal::SIGKILL);
        eventually(&format!("{name} is back"), async || up.member(name).is_some_and(|now| now != pid)).await;
    }
    eventually("the gateway answers again", async || listed(folder.path()).await.is_some()).await;
    up.carries("after", 3).await;
    for name in ["judge ended", "embedding ended", "redis-server ended", "PostgreSQL ended"] {
        up.says(name).await;
    }
    up.interrupt().await;
}

#[tokio::test]
async fn a_fleet_that_was_killed_leaves_no_process_and_carries_on_where_it_was() {
    let folder = folder();
    let mut up = Up::ready(folder.path(), &[]).await;
    up.carries("first", 3).await;
    let family = up.family();
    assert!(family.len() >= 8, "six processes and two servers: {family:?}");
    up.process.signal(Signal::SIGKILL);
    // The workers at once; the servers stop in order, and a start right away waits for them.
    let workers = || {
        processes()
            .into_iter()
            .filter(|(pid, _, name)| family.contains_key(pid) && name.starts_with("tidemill"))
    };
    within(Duration::from_secs(2), "no worker is left", async || workers().count() == 0).await;
    let up = Up::start(folder.path(), &[]);
    eventually("it knows the runs of before", async || {
        listed(folder.path()).await.is_some_and(|runs| runs.matches("\"first\"").count() == 3)
    })
    .await;
    up.carries("second", 3).await;
    let verified = run(folder.path(), &["audit", "verify"]).await;
    assert!(verified.contains("6 chains"), "{verified}");
    up.interrupt().await;
    assert!(!folder.path().join(".tidemill/fleet.json").exists());
}

#[tokio::test]
async fn a_first_start_that_is_killed_at_any_moment_leaves_a_folder_that_the_next_one_can_use() {
    let folder = folder();
    for pause in [20, 100, 200, 300, 400, 600, 1000] {
        let mut up = Up::start(folder.path(), &[]);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let how = if pause % 200 == 0 { Signal::SIGINT } else { Signal::SIGKILL };
        up.process.signal(how);
        up.process.wait(Duration::from_secs(30)).await.expect("it stops");
    }
    let up = Up::ready(folder.path(), &[]).await;
    up.interrupt().await;
    let leftover = std::fs::read_dir(folder.path().join(".tidemill/postgres")).unwrap();
    let names: Vec<_> = leftover.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with("data.new")), "{names:?}");
}

#[tokio::test]
async fn a_second_fleet_is_refused_and_a_second_interrupt_stops_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let mut up = Up::ready(folder.path(), &["--set", "worker.grace=50s"]).await;
    let token = folder.path().join(".tidemill/token").metadata().unwrap();
    assert_eq!(token.permissions().mode() & 0o777, 0o600, "the token is its owner's alone");
    let second =
        Command::new(binary("tidemill")).current_dir(folder.path()).arg("up").output().await.unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(69), "{said}");
    assert!(said.contains(&up.process.id().to_string()) && said.contains("--folder"), "{said}");
    // A process that is asleep does not stop when it is asked to.
    kill(up.member("tidemill-etl").unwrap(), Signal::SIGSTOP);
    up.process.signal(Signal::SIGINT);
    up.says("Stopping").await;
    let family = up.family();
    let mut obeyed = false;
    for _ in 0..20 {
        up.process.signal(Signal::SIGINT);
        obeyed |= up.process.wait(Duration::from_secs(1)).await.is_some();
    }
    assert!(obeyed, "{}", up.said());
    eventually("all are gone", async || processes().iter().all(|(pid, ..)| !family.contains_key(pid))).await;
}

#[tokio::test]
async fn a_fleet_and_its_commands_use_servers_over_tls_whose_urls_stand_in_files() {
    let folder = folder();
    let servers = Servers::start_tls().await;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path.display().to_string()
    };
    let mut redis = format!("redis:\n  url_file: {}\n", file("redis-url", &servers.redis_url()));
    for setting in servers.redis_certificates() {
        let (key, path) = setting.trim_start_matches("redis.").split_once('=').unwrap();
        redis.push_str(&format!("  {key}: {path}\n"));
    }
    let database = file("database-url", &servers.database_at("localhost"));
    let ca = servers.ca_file().display().to_string();
    let config = file("fleet.yaml", &format!("{redis}database:\n  url_file: {database}\n  ca_file: {ca}\n"));
    let up = Up::ready(folder.path(), &["--config", &config]).await;
    up.carries("encrypted", 3).await;
    let verified = run(folder.path(), &["audit", "verify"]).await;
    assert!(verified.contains("3 chains"), "{verified}");
    assert!(!up.family().values().any(|name| name == "postgres" || name == "redis-server"));
    up.interrupt().await;
}

#[tokio::test]
async fn the_demonstration_ends_as_its_samples_say_and_may_be_repeated() {
    let folder = folder();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    // Nothing of it holds for the samples: with it no publisher would start.
    std::fs::write(folder.path().join("tidemill.yaml"), "publisher: { outlet: nowhere }\n").unwrap();
    for _ in 0..2 {
        let checked = Checked::before_any().await;
        let output = Command::new(binary("tidemill"))
            .current_dir(folder.path())
            .env("TIDEMILL_EMBEDDING__EMBEDDER", "hashing")
            .env("HTTP_PROXY", checked.url())
            .env_remove("NO_PROXY")
            .args(["demo", "--folder", "demo", "--events"])
            .arg(deploy.join("samples/events.ndjson"))
            .arg("--policy")
            .arg(deploy.join("policy.yaml"))
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let count = |state: &str| -> u32 {
            let rows = said.lines().filter(|line| line.starts_with(&format!("│ {state} ")));
            rows.map(|line| {
                line[format!("│ {state} ").len()..].split_whitespace().next().unwrap().parse::<u32>().unwrap()
            })
            .sum()
        };
        for (state, expected) in [
            ("dead", 7),
            ("rejected", 6),
            ("waiting for a person", 7),
            ("refused at the door", 5),
            ("known before", 1),
        ] {
            assert_eq!(count(state), expected, "{state}: {said}");
        }
        // Near repeats that are handled at the same moment may both be published.
        assert_eq!(count("published") + count("duplicate"), 60, "{said}");
        assert!((4..=7).contains(&count("duplicate")), "{said}");
        assert!(said.contains("tidemill-publisher") && said.contains("One published post: "), "{said}");
        assert!(folder.path().join("demo/published").is_dir());
    }
}
