//! The provider `command`: a program of this machine does the step, JSON in and JSON out, within limits.
//!
//! It runs in a process group of its own, which ends with the call whatever becomes of it, and sees nothing of the fleet's
//! environment. A shell sets its limits before it becomes the program.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use calls::mcp::INHERITED;
use futures::FutureExt;
use futures::future::BoxFuture;
use model::{Failure, Usage};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::endpoint::longer_than;
use crate::{Answer, Ask, LONGEST_ANSWER, Provider, Said};

/// Sets limits (processor seconds, KiB of memory, blocks of a file), then becomes the program.
const LIMITED: &str =
    r#"ulimit -c 0 && ulimit -t "$1" && ulimit -v "$2" && ulimit -f "$3" && shift 3 && exec "$@""#;
/// Bytes of a block, as `ulimit -f` counts.
const BLOCK: u64 = 512;
/// Bytes of what a program complains that are kept.
const COMPLAINT: u64 = 300;
/// The exit code by which a program says that no other try would help, after BSD's `EX_DATAERR`.
const FOR_GOOD: i32 = 65;

/// Which program, within which limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// The program with its arguments; no shell reads them.
    pub command: Vec<String>,
    /// Its environment, beside PATH, HOME, LANG, TMPDIR and TZ.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Its working folder; without one, an empty one that is removed afterwards.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// Whether it does the same `task` only once: then it is started again where nobody saw how it ended.
    #[serde(default)]
    pub repeatable: bool,
    /// Seconds of processor time.
    #[serde(default = "minute")]
    pub cpu_seconds: u64,
    /// MiB of memory, as addresses.
    #[serde(default = "gibibyte")]
    pub memory_mib: u64,
    /// MiB of any one file that it writes.
    #[serde(default = "file")]
    pub file_mib: u64,
}

fn minute() -> u64 {
    60
}

fn gibibyte() -> u64 {
    1024
}

fn file() -> u64 {
    64
}

/// A program of this machine.
#[derive(Debug)]
pub struct Program {
    config: CommandConfig,
}

/// A running program, and everything that it started.
struct Group {
    child: Child,
    group: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // Gone already, where nothing of it is left.
            killpg(group, Signal::SIGKILL).ok();
        }
    }
}

impl Program {
    /// Starts nothing yet.
    ///
    /// # Errors
    /// Permanent: there is no program, or a limit is 0.
    pub fn new(config: CommandConfig) -> Result<Self, Failure> {
        if config.command.first().is_none_or(String::is_empty) {
            return Err(Failure::permanent("command: name a program"));
        }
        if config.cpu_seconds == 0 || config.memory_mib == 0 {
            return Err(Failure::permanent("cpu_seconds and memory_mib must be 1 or more"));
        }
        Ok(Self { config })
    }

    fn start(&self, ask: &Ask, folder: &std::path::Path) -> Result<Group, Failure> {
        let config = &self.config;
        let child = Command::new("/bin/sh")
            .args(["-c", LIMITED, "sh"])
            .arg(config.cpu_seconds.to_string())
            .arg((config.memory_mib * 1024).to_string())
            .arg((config.file_mib * (1 << 20) / BLOCK).to_string())
            .args(&config.command)
            .current_dir(folder)
            // The fleet's own variables may hold secrets, and are none of the program's business.
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(&config.environment)
            .env("TIDEMILL_TASK", &ask.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Failure::unavailable(format!("no shell can be started: {e}")))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Group { child, group })
    }

    async fn run(&self, ask: &Ask) -> Result<Said, Failure> {
        let empty;
        let folder = match &self.config.folder {
            Some(folder) => folder.as_path(),
            None => {
                empty = tempfile::tempdir()
                    .map_err(|e| Failure::unavailable(format!("no temporary folder can be made: {e}")))?;
                empty.path()
            }
        };
        let mut group = self.start(ask, folder)?;
        let child = &mut group.child;
        let (Some(mut input), Some(output), Some(complaints)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Failure::unavailable("the program has no standard streams"));
        };
        let told = json!({
            "task": ask.key, "step": ask.step, "visit": ask.visit, "role": ask.role, "prompt": ask.prompt,
            "input": ask.input["input"], "board": ask.input["board"], "output_schema": ask.output_schema,
        })
        .to_string();
        let write = async move {
            // A program need not read what it is told.
            input.write_all(told.as_bytes()).await.ok();
        };
        let ((), output, complaints) =
            tokio::join!(write, read(output, LONGEST_ANSWER as u64 + 1), complaint(complaints));
        let output = output.map_err(|e| Failure::transient(format!("its output cannot be read: {e}")))?;
        if output.len() > LONGEST_ANSWER {
            return Err(longer_than(LONGEST_ANSWER));
        }
        let status =
            child.wait().await.map_err(|e| Failure::transient(format!("its end cannot be seen: {e}")))?;
        ended(status, &complaints)?;
        String::from_utf8(output).map(Said::Text).map_err(|_| Failure::unreadable("its output is not UTF-8"))
    }
}

async fn read(stream: impl AsyncRead + Unpin, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(limit).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The beginning of what a program complains of; the rest is read, so that it does not block, and dropped.
async fn complaint(mut stream: impl AsyncRead + Unpin) -> String {
    let mut first = Vec::new();
    (&mut stream).take(COMPLAINT).read_to_end(&mut first).await.ok();
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
    String::from_utf8_lossy(&first).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ended(status: ExitStatus, complaints: &str) -> Result<(), Failure> {
    match status.code() {
        Some(0) => Ok(()),
        Some(FOR_GOOD) => Err(Failure::permanent(format!("the program gives up: {complaints}"))),
        Some(126 | 127) => Err(Failure::unavailable(format!("the program cannot be started: {complaints}"))),
        _ => Err(Failure::transient(format!("the program ended with {status}: {complaints}"))),
    }
}

impl Provider for Program {
    fn complete<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            let said = self.run(ask).await.map_err(|failure| {
                // Its complaints may tell of its environment.
                let secrets = self.config.environment.values().filter(|value| value.len() > 5);
                let reason =
                    secrets.fold(failure.reason, |reason, secret| reason.replace(secret.as_str(), "***"));
                Failure { reason, ..failure }
            })?;
            let program = self.config.command.first().map_or("", String::as_str);
            let name = program.rsplit('/').next().unwrap_or(program);
            Ok(Answer { said, usage: Usage::default(), model: format!("command:{name}") })
        }
        .boxed()
    }

    fn acts_outside(&self) -> bool {
        true
    }

    fn repeats(&self) -> bool {
        self.config.repeatable
    }
}
