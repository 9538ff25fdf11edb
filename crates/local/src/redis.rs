//! A private Redis.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::Error;
use crate::server::{READY, Signal, find, log_tail, private_folder, socket_folder};
use crate::spawn::{Supervised, start, with_death_signal};

/// How a private Redis runs.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Where it keeps its data, socket and log.
    pub folder: PathBuf,
    /// Whether it logs every write (AOF, `appendfsync everysec`).
    pub appendonly: bool,
    /// More lines of configuration, such as `("maxmemory", "10mb")`.
    pub extra: Vec<(String, String)>,
}

/// How long the server of a fleet that was killed may take to stop.
const PREDECESSOR: Duration = Duration::from_secs(10);

/// A private Redis.
#[derive(Debug)]
pub struct PrivateRedis {
    options: RedisOptions,
    socket: PathBuf,
    server: Supervised,
}

impl PrivateRedis {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn start(options: RedisOptions) -> Result<Self, Error> {
        private_folder(&options.folder)?;
        let folder = options.folder.canonicalize().map_err(Error::folder(&options.folder))?;
        let options = RedisOptions { folder, ..options };
        let sockets = socket_folder(&options.folder, "redis.sock");
        private_folder(&sockets)?;
        let socket = sockets.join("redis.sock");
        outwait_predecessor(&socket).await;
        let server = launch(&options, &socket)?;
        let mut redis = Self { options, socket, server };
        redis.wait_ready().await?;
        Ok(redis)
    }

    /// `redis+unix://` and the socket.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.server.ended().is_some()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Stops it, saving what it has.
    pub async fn stop(&mut self) {
        self.server.stop(Signal::SIGTERM, Duration::from_secs(10)).await;
    }

    /// Kills it, as a power cut would.
    pub async fn kill(&mut self) {
        self.server.stop(Signal::SIGKILL, Duration::from_secs(5)).await;
    }

    /// Starts it again, on the same folder and socket.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await;
        self.server = launch(&self.options, &self.socket)?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> Result<(), Error> {
        let until = tokio::time::Instant::now() + READY;
        while tokio::time::Instant::now() < until && self.server.ended().is_none() {
            if answers(&self.socket).await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(Error::NotReady { what: "redis-server", why: log_tail(&self.options.folder.join("redis.log")) })
    }
}

/// Waits for the server of a fleet that was killed a moment ago: two would write to one log.
async fn outwait_predecessor(socket: &std::path::Path) {
    let until = tokio::time::Instant::now() + PREDECESSOR;
    while tokio::time::Instant::now() < until && UnixStream::connect(socket).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// PING; while a snapshot is loaded the answer is an error.
async fn answers(socket: &std::path::Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket).await else { return false };
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").await.is_ok()
        && stream.read_exact(&mut answer).await.is_ok()
        && &answer == b"+PONG"
}

fn launch(options: &RedisOptions, socket: &std::path::Path) -> Result<Supervised, Error> {
    let program = find("redis-server", "redis-server", &[])?;
    let folder = &options.folder;
    let mut command = with_death_signal(&program.display().to_string(), "TERM", None);
    command.args(["--port", "0", "--daemonize", "no", "--maxmemory-policy", "noeviction", "--save", ""]);
    command.arg("--unixsocket").arg(socket).args(["--unixsocketperm", "700"]);
    command.arg("--dir").arg(folder).arg("--logfile").arg(folder.join("redis.log"));
    command.args([
        "--appendonly",
        if options.appendonly { "yes" } else { "no" },
        "--appendfsync",
        "everysec",
    ]);
    for (name, value) in &options.extra {
        command.arg(format!("--{name}")).arg(value);
    }
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    // An interrupt from the terminal must not reach the server before the workers have stopped.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    start(command, "redis-server")
}
