//! A private Weaviate for one test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use local::{Signal, Supervised, spawn_supervised};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The version that `scripts/setup-services.sh` builds.
const VERSION: &str = "1.35.2";
/// How long it may take to become ready: an election of its own alone takes it some seconds.
const READY: Duration = Duration::from_secs(120);
/// Starts, where another process takes one of its ports before it does.
const STARTS: usize = 3;

/// A Weaviate with a folder and ports of its own; it dies with the test. Its REST, gossip and Raft are on loopback; gRPC and
/// the data port it binds to every address, by which nobody is asked here.
#[derive(Debug)]
pub struct PrivateWeaviate {
    process: Supervised,
    ports: Ports,
    folder: TempDir,
    environment: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    gossip: u16,
    raft: u16,
    raft_rpc: u16,
    grpc: u16,
}

impl Ports {
    /// Ports that were free a moment ago. The data port is the one after that of gossip.
    fn free() -> Self {
        let bound: Vec<TcpListener> =
            (0..4).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let of = |index: usize| bound[index].local_addr().expect("its address").port();
        let gossip = loop {
            let one = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = one.local_addr().expect("its address").port();
            if port.checked_add(1).is_some_and(|next| TcpListener::bind(("0.0.0.0", next)).is_ok()) {
                break port;
            }
        };
        Self { http: of(0), gossip, raft: of(1), raft_rpc: of(2), grpc: of(3) }
    }
}

impl PrivateWeaviate {
    /// One that asks for no key.
    pub async fn start() -> Self {
        Self::start_with(&[("AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "true")]).await
    }

    /// One that asks for this key.
    pub async fn start_with_key(key: &str) -> Self {
        Self::start_with(&[
            ("AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "false"),
            ("AUTHENTICATION_APIKEY_ENABLED", "true"),
            ("AUTHENTICATION_APIKEY_ALLOWED_KEYS", key),
            ("AUTHENTICATION_APIKEY_USERS", "tidemill"),
            ("AUTHORIZATION_ADMINLIST_ENABLED", "true"),
            ("AUTHORIZATION_ADMINLIST_USERS", "tidemill"),
        ])
        .await
    }

    async fn start_with(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for _ in 0..STARTS {
            let mut started = Self::launch(Ports::free(), &folder, &environment);
            if is_ready(&mut started.0, started.1).await {
                let (process, ports) = started;
                return Self { process, ports, folder, environment };
            }
            assert!(log(&folder).contains("address already in use"), "no Weaviate: {}", log(&folder));
        }
        panic!("no Weaviate got its ports: {}", log(&folder));
    }

    fn launch(ports: Ports, folder: &TempDir, environment: &[(String, String)]) -> (Supervised, Ports) {
        let file = std::fs::File::create(folder.path().join("weaviate.log")).expect("a log file");
        let process = spawn_supervised(&program().display().to_string(), |command| {
            command.current_dir(folder.path()).stdin(std::process::Stdio::null());
            command.stdout(file.try_clone().expect("a log file")).stderr(file);
            command.args(["--host", "127.0.0.1", "--scheme", "http", "--port", &ports.http.to_string()]);
            command.envs([
                ("DEFAULT_VECTORIZER_MODULE", "none"),
                ("CLUSTER_HOSTNAME", "node1"),
                ("CLUSTER_ADVERTISE_ADDR", "127.0.0.1"),
                ("CLUSTER_BIND_ADDR", "127.0.0.1"),
                ("RAFT_BOOTSTRAP_EXPECT", "1"),
                ("DISABLE_TELEMETRY", "true"),
                ("GO_PROFILING_DISABLE", "true"),
            ]);
            command.env("PERSISTENCE_DATA_PATH", folder.path().join("data"));
            for (name, port) in [
                ("CLUSTER_GOSSIP_BIND_PORT", ports.gossip),
                ("CLUSTER_DATA_BIND_PORT", ports.gossip + 1),
                ("RAFT_PORT", ports.raft),
                ("RAFT_INTERNAL_RPC_PORT", ports.raft_rpc),
                ("GRPC_PORT", ports.grpc),
            ] {
                command.env(name, port.to_string());
            }
            command.envs(environment.iter().map(|(name, value)| (name, value)));
        })
        .expect("a Weaviate");
        (process, ports)
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, as a power cut would.
    pub async fn kill(&mut self) {
        self.process.stop(Signal::SIGKILL, Duration::from_secs(5)).await;
    }

    /// Starts it again, on the same folder and ports.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.process = Self::launch(self.ports, &self.folder, &self.environment).0;
        assert!(is_ready(&mut self.process, self.ports).await, "no Weaviate: {}", log(&self.folder));
    }
}

fn log(folder: &TempDir) -> String {
    let text = std::fs::read_to_string(folder.path().join("weaviate.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// The server that `make test-services` built, or the one that is named.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("TIDEMILL_WEAVIATE") {
        return PathBuf::from(named);
    }
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    let file = cache.unwrap_or_default().join(format!("tidemill/weaviate-{VERSION}/weaviate-server"));
    assert!(file.is_file(), "{} is not there: run `make test-services`", file.display());
    file
}

/// Waits until it is ready; `false` where it ended.
async fn is_ready(process: &mut Supervised, ports: Ports) -> bool {
    let until = tokio::time::Instant::now() + READY;
    while process.ended().is_none() {
        if says_ready(ports.http).await.is_ok_and(|ready| ready) {
            return true;
        }
        assert!(tokio::time::Instant::now() < until, "Weaviate is not ready within {READY:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

async fn says_ready(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /v1/.well-known/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(&status == b"HTTP/1.1 200")
}
