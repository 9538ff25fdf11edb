//! Spawning children that die with this process.
//!
//! The parent-death signal follows the thread that forked, not the process. So every child is forked by one thread that
//! ends only with the process.

use std::process::{Child, Command, ExitStatus};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;

type Request = (Command, mpsc::Sender<std::io::Result<Child>>);

fn spawner() -> &'static mpsc::Sender<Request> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (requests, incoming) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in incoming {
                // Whoever asked and went away leaves a child that nobody waits for; it dies with the process.
                drop(answer.send(command.spawn()));
            }
        });
        requests
    })
}

/// A child that gets `signal` when this process ends, however it ends.
#[derive(Debug)]
pub struct Supervised {
    child: Child,
}

/// Wraps a command so that the child gets `death` when this process ends; `as_user` runs it as another user.
pub(crate) fn with_death_signal(program: &str, death: &str, as_user: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = as_user {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    command.args(["--pdeathsig", death, "--", program]);
    command
}

/// Starts a program that is killed (SIGKILL) when this process ends: whoever kills this one wants nothing to run on. `prepare` adds arguments, environment, streams.
///
/// # Errors
/// [`Error::Start`].
pub fn spawn_supervised(program: &str, prepare: impl FnOnce(&mut Command)) -> Result<Supervised, Error> {
    let mut command = with_death_signal(program, "KILL", None);
    prepare(&mut command);
    start(command, program)
}

pub(crate) fn start(command: Command, program: &str) -> Result<Supervised, Error> {
    let failed = |source| Error::Start { program: program.to_owned(), source };
    let (answer, answered) = mpsc::channel();
    let gone = || std::io::Error::other("the spawning thread is gone");
    spawner().send((command, answer)).map_err(|_| failed(gone()))?;
    let child = answered.recv().map_err(|_| failed(gone()))?.map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { program: "setpriv", package: "util-linux" },
        _ => failed(source),
    })?;
    Ok(Supervised { child })
}

impl Supervised {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal; a child that has ended gets none.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none()
            && let Ok(pid) = i32::try_from(self.child.id())
        {
            // It may end in between; then there is nobody to signal.
            kill(Pid::from_raw(pid), signal).ok();
        }
    }

    /// Sends a signal and waits for the end; kills what has not ended after `grace`. Returns whether it ended in time.
    pub async fn stop(&mut self, signal: Signal, grace: Duration) -> bool {
        self.signal(signal);
        if self.wait(grace).await.is_some() {
            return true;
        }
        self.signal(Signal::SIGKILL);
        self.wait(Duration::from_secs(5)).await;
        false
    }

    /// Waits for the end.
    pub async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let until = tokio::time::Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if tokio::time::Instant::now() >= until {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if self.ended().is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
