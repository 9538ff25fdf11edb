//! `docker-compose.yml` without an engine: each service's command, environment, health check and stop signal, as plain
//! processes. Host names and container ports become ports of 127.0.0.1, mounted files and volumes the files themselves.
//!
//! What this cannot show: that the image builds, and what a container may not do (`read_only`, `cap_drop`).

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::str::FromStr;
use std::time::Duration;

use local::{PostgresOptions, PrivatePostgres, Signal, Supervised, spawn_supervised};
use serde_json::{Value, json};
use testkit::{binary, eventually, free_port};

/// Another one than the file's default, so that whoever has it written down twice is found.
const PASSWORD: &str = "harbour7";
const PROGRAMS: [&str; 7] = ["gateway", "planner", "etl", "embedding", "judge", "agent", "publisher"];
const MODEL: &str = "/usr/share/tidemill/model/all-MiniLM-L6-v2";

/// The file, and where its hosts, ports and paths are on this machine.
struct Compose {
    services: BTreeMap<String, Value>,
    folder: tempfile::TempDir,
    redis: u16,
    postgres: u16,
}

/// One container of a service as a process of its own.
struct Container {
    service: String,
    process: Option<Supervised>,
    /// What the container's ports are here.
    admin: u16,
    http: u16,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

impl Compose {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
        let text = text.replace("${POSTGRES_PASSWORD:-tidemill}", PASSWORD);
        assert!(!text.contains("${"), "a variable that this test does not know");
        let file: Value = serde_saphyr::from_str(&text).unwrap();
        let services = serde_json::from_value(file["services"].clone()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        testkit::open(folder.path());
        std::fs::create_dir(folder.path().join("root")).unwrap();
        Self { services, folder, redis: free_port(), postgres: free_port() }
    }

    fn container(&self, service: &str) -> Container {
        assert!(self.services.contains_key(service), "no service {service}");
        Container { service: service.to_owned(), process: None, admin: free_port(), http: free_port() }
    }

    /// The container's root folder: nothing may be written to it, since `read_only` is set.
    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Where a volume or a file of the repository is that a container sees at a path of its own.
    fn mounts(&self, service: &str) -> Vec<(String, PathBuf)> {
        let mounts = self.services[service]["volumes"].as_array().cloned().unwrap_or_default();
        let mut mounts: Vec<(String, PathBuf)> = mounts
            .iter()
            .map(|mount| {
                let mut parts = mount.as_str().unwrap().split(':');
                let (from, to) = (parts.next().unwrap(), parts.next().unwrap());
                let here = match from.strip_prefix("./") {
                    Some(file) => root().join(file).canonicalize().expect("a mounted file"),
                    None => self.folder.path().join(from),
                };
                (to.to_owned(), here)
            })
            .collect();
        mounts.push((MODEL.to_owned(), root().join("models/all-MiniLM-L6-v2")));
        mounts
    }

    /// What a text of a container means on this machine.
    fn here(&self, container: &Container, text: &str) -> String {
        let mut text = text
            .replace("redis:6379", &format!("127.0.0.1:{}", self.redis))
            .replace("@postgres/", &format!("@127.0.0.1:{}/", self.postgres))
            .replace("0.0.0.0:9100", &format!("127.0.0.1:{}", container.admin))
            .replace("127.0.0.1:9100", &format!("127.0.0.1:{}", container.admin))
            .replace("0.0.0.0:8080", &format!("127.0.0.1:{}", container.http));
        for (there, here) in self.mounts(&container.service) {
            text = text.replace(&there, &here.display().to_string());
        }
        text
    }

    /// The environment of a service and nothing else, but for the path of programs.
    fn environment(&self, container: &Container) -> BTreeMap<String, String> {
        let given = self.services[&container.service]["environment"].as_object().cloned().unwrap_or_default();
        let mut environment: BTreeMap<String, String> = given
            .into_iter()
            .map(|(name, value)| (name, self.here(container, value.as_str().expect("text"))))
            .collect();
        // The image always has the model; a checkout only where it was fetched.
        if container.service == "embedding" && !root().join("models/all-MiniLM-L6-v2").is_dir() {
            environment.insert("TIDEMILL_EMBEDDING__EMBEDDER".to_owned(), "hashing".to_owned());
        }
        environment.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
        environment
    }

    fn words(&self, container: &Container, words: &Value) -> Vec<String> {
        let words = words.as_array().expect("a list of words");
        words.iter().map(|word| self.here(container, word.as_str().expect("a word"))).collect()
    }

    /// Runs a command in the container's place, to its end.
    fn run(&self, container: &Container, words: &[String]) -> Output {
        Command::new(program(&words[0]))
            .args(&words[1..])
            .current_dir(self.root())
            .env_clear()
            .envs(self.environment(container))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Starts the service's command; `more` is what stands for the ports and folders of its container.
    fn start(&self, service: &str, more: &[String]) -> Container {
        let mut container = self.container(service);
        let words = self.words(&container, &self.services[service]["command"]);
        let log = self.folder.path().join(format!("{service}-{}.log", container.admin));
        let log = std::fs::File::create(log).unwrap();
        let environment = self.environment(&container);
        let process = spawn_supervised(&program(&words[0]).display().to_string(), |command| {
            command.args(&words[1..]).args(more).current_dir(self.root()).env_clear().envs(environment);
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        });
        container.process = Some(process.unwrap());
        container
    }

    /// Waits until the service's own health check says so.
    async fn healthy(&self, container: &mut Container, more: &[String]) {
        let check = self.services[&container.service]["healthcheck"]["test"].clone();
        let words = self.words(container, &check);
        assert_eq!(words[0], "CMD");
        let command: Vec<String> = words[1..2].iter().chain(more).chain(&words[2..]).cloned().collect();
        eventually(&format!("{} is healthy by {command:?}", container.service), async || {
            self.run(container, &command).status.success()
        })
        .await;
        let ended = container.process.as_mut().and_then(Supervised::ended);
        assert_eq!(ended, None, "{}", container.service);
    }

    /// Stops a container as an engine does: its signal, and within its time.
    async fn stop(&self, mut container: Container) {
        let service = &self.services[&container.service];
        let signal = Signal::from_str(service["stop_signal"].as_str().unwrap_or("SIGTERM")).unwrap();
        let grace = service["stop_grace_period"].as_str().and_then(|text| text.strip_suffix('s'));
        let grace = Duration::from_secs(grace.expect("a time to stop in").parse().unwrap());
        let process = container.process.as_mut().unwrap();
        process.signal(signal);
        let status = process.wait(grace).await;
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", container.service);
    }

    /// What the image's own start does: a server with this user, database and password, reached by TCP.
    async fn postgres(&self) -> PrivatePostgres {
        let of = |name: &str| self.services["postgres"]["environment"][name].as_str().unwrap().to_owned();
        assert_eq!((of("POSTGRES_USER"), of("POSTGRES_DB")), ("tidemill".to_owned(), "tidemill".to_owned()));
        let rules = self.folder.path().join("pg_hba.conf");
        std::fs::write(&rules, "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        let extra = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.postgres.to_string()),
            ("hba_file", rules.display().to_string()),
        ];
        let options = PostgresOptions {
            folder: self.folder.path().join("postgres"),
            durable: false,
            extra: extra.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        };
        let postgres = PrivatePostgres::start(options).await.unwrap();
        let password = format!("ALTER USER tidemill PASSWORD '{}'", of("POSTGRES_PASSWORD"));
        postgres.sql("tidemill", &password).unwrap();
        postgres
    }
}

fn program(word: &str) -> PathBuf {
    match word.strip_prefix("tidemill-") {
        Some(name) => binary(name),
        None if word == "tidemill" => binary(word),
        None => PathBuf::from(word),
    }
}

fn flags(flags: &[(&str, String)]) -> Vec<String> {
    flags.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]).collect()
}

/// Makes an access token as the head of the file says.
fn token(compose: &Compose) -> String {
    let words = "tidemill tokens add --name me --role ingest --role read --role operate";
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let made = compose.run(&compose.container("migrate"), &words);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// Sends one event to the gateway and waits until it is published.
async fn publishes(gateway: &Container, token: &str, published: &Path) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let body = "The council opened the new harbour beside the old library on Tuesday morning. It cost less than planners \
                had feared. Residents welcomed it with music and a long walk, and many stayed until the evening.";
    let event = json!({ "source": "me", "payload": { "title": "A new harbour", "body": body } });
    let client = reqwest::Client::new();
    let url = format!("http://127.0.0.1:{}/v1", gateway.http);
    let sent = client.post(format!("{url}/events")).bearer_auth(token).json(&event).send().await.unwrap();
    assert!(sent.status().is_success(), "{sent:?}");
    eventually("the run is published", async || {
        let answer = client.get(format!("{url}/runs")).bearer_auth(token).send().await.unwrap();
        answer.text().await.unwrap().contains("\"published\"")
    })
    .await;
    let posts = std::fs::read_dir(published).unwrap().filter_map(Result::ok);
    assert_eq!(posts.filter(|post| post.path().extension().is_some_and(|e| e == "md")).count(), 1);
}

#[tokio::test]
async fn every_service_starts_becomes_healthy_carries_an_event_and_stops() {
    let compose = Compose::read();
    let data = compose.folder.path().join("redis");
    std::fs::create_dir(&data).unwrap();
    let port = compose.redis.to_string();
    let own = flags(&[("--port", port.clone()), ("--dir", data.display().to_string())]);
    let mut redis = compose.start("redis", &own);
    compose.healthy(&mut redis, &flags(&[("-p", port)])).await;
    let mut server = compose.postgres().await;
    let mut postgres = compose.container("postgres");
    compose.healthy(&mut postgres, &flags(&[("--port", compose.postgres.to_string())])).await;

    let migrate = compose.container("migrate");
    let words = compose.words(&migrate, &compose.services["migrate"]["command"]);
    let migrated = compose.run(&migrate, &words);
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));

    // Two of one service, as `--scale` has it.
    let mut fleet: Vec<Container> =
        PROGRAMS.iter().chain(&["etl"]).map(|name| compose.start(name, &[])).collect();
    for container in &mut fleet {
        compose.healthy(container, &[]).await;
    }
    let publisher = PROGRAMS.iter().position(|name| *name == "publisher").unwrap();
    let published = compose.here(&fleet[publisher], "/var/lib/tidemill/published");
    publishes(&fleet[0], &token(&compose), Path::new(&published)).await;

    let left: Vec<_> = std::fs::read_dir(compose.root()).unwrap().collect();
    assert!(left.is_empty(), "nothing is written beside the volumes: {left:?}");
    for container in fleet {
        compose.stop(container).await;
    }
    compose.stop(redis).await;
    server.stop().await;
}

#[test]
fn every_program_has_a_service_that_waits_for_the_schema_and_none_has_a_name_that_forbids_a_second() {
    let compose = Compose::read();
    for name in PROGRAMS {
        let service = &compose.services[name];
        assert_eq!(service["command"], json!([format!("tidemill-{name}")]));
        assert_eq!(service["depends_on"]["migrate"]["condition"], "service_completed_successfully");
        assert_eq!(service["depends_on"]["redis"]["condition"], "service_healthy");
        assert_eq!(service["healthcheck"]["test"][0], "CMD", "{name}");
        assert!(service.get("container_name").is_none(), "{name}");
    }
    assert_eq!(compose.services["migrate"]["depends_on"]["postgres"]["condition"], "service_healthy");
}
