//! A private PostgreSQL.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::{Uid, User};

use crate::Error;
use crate::server::{READY, Signal, find, log_tail, private_folder, reachable, socket_folder};
use crate::spawn::{Supervised, start, with_death_signal};

/// How a private PostgreSQL runs.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where it keeps its data, socket and log.
    pub folder: PathBuf,
    /// Whether commits reach the disk. `false` is for tests alone.
    pub durable: bool,
    /// More settings, such as `("max_connections", "50")`. With `listen_addresses` and `port` it is reached by TCP, too.
    pub extra: Vec<(String, String)>,
}

/// A private PostgreSQL with a database `tidemill`.
#[derive(Debug)]
pub struct PrivatePostgres {
    options: PostgresOptions,
    place: Place,
    server: Supervised,
}

/// Where the server runs, and as whom.
#[derive(Debug, Clone)]
struct Place {
    programs: PathBuf,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    /// PostgreSQL refuses to run as root: then as this user.
    user: Option<User>,
}

/// Its port, unless the settings name another: part of its socket's name.
const PORT: &str = "5432";

/// What the folder of data begins with that is not whole yet.
const UNFINISHED: &str = "data.new-";

/// How long the server of a fleet that was killed may take to stop.
const PREDECESSOR: Duration = Duration::from_secs(20);

impl PostgresOptions {
    fn port(&self) -> &str {
        self.extra.iter().rfind(|(name, _)| name == "port").map_or(PORT, |(_, port)| port)
    }

    fn socket(&self) -> String {
        format!(".s.PGSQL.{}", self.port())
    }
}

impl PrivatePostgres {
    /// Makes the data folder where it is missing, starts the server and waits until it answers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn start(options: PostgresOptions) -> Result<Self, Error> {
        let place = Place::prepare(&options)?;
        let alone = place.alone().await?;
        place.sweep();
        if !place.data.exists() {
            place.initialise()?;
        }
        let server = place.launch(&options, alone)?;
        let mut postgres = Self { options, place, server };
        postgres.wait_ready().await?;
        postgres.create_database("tidemill")?;
        Ok(postgres)
    }

    /// Removes the data of a server that does not run, wherever it stands.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn erase(folder: &Path) -> Result<(), Error> {
        let base = noted(folder);
        for path in base.as_deref().into_iter().chain([folder]).filter(|path| path.exists()) {
            std::fs::remove_dir_all(path).map_err(Error::folder(path))?;
        }
        Ok(())
    }

    /// The URL of its database `tidemill`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("tidemill")
    }

    /// The URL of a database.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        let port = self.options.port();
        format!("postgres://tidemill@localhost:{port}/{database}?host={}", self.place.sockets.display())
    }

    /// Makes a database, unless it is there.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create_database(&self, name: &str) -> Result<(), Error> {
        let exists = self.sql("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"))?;
        if exists.trim().is_empty() {
            self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        }
        Ok(())
    }

    /// Runs SQL through `psql`; returns what it prints, unaligned.
    ///
    /// # Errors
    /// [`Error::NotReady`] with what `psql` said.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, Error> {
        let output = Command::new(self.place.programs.join("psql"))
            .args([
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "tidemill",
                "-d",
                database,
                "-c",
                sql,
            ])
            .arg("-h")
            .arg(&self.place.sockets)
            .args(["-p", self.options.port()])
            .output()
            .map_err(|source| Error::Start { program: "psql".to_owned(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::NotReady {
            what: "PostgreSQL",
            why: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Writes a database to a file, as SQL.
    ///
    /// # Errors
    /// [`Error::NotReady`] with what `pg_dump` said.
    pub fn dump(&self, database: &str, file: &Path) -> Result<(), Error> {
        self.client("pg_dump", &["-d", database, "-f"], file)
    }

    /// Makes a database and puts a dump into it.
    ///
    /// # Errors
    /// [`Error::NotReady`] with what `psql` said.
    pub fn put_back(&self, database: &str, file: &Path) -> Result<(), Error> {
        self.create_database(database)?;
        self.client("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f"], file)
    }

    fn client(&self, program: &'static str, arguments: &[&str], file: &Path) -> Result<(), Error> {
        let output = Command::new(self.place.programs.join(program))
            .args(["-U", "tidemill", "-h"])
            .arg(&self.place.sockets)
            .args(arguments)
            .arg(file)
            .output()
            .map_err(|source| Error::Start { program: program.to_owned(), source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::NotReady { what: program, why: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
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

    /// Stops it (fast shutdown: clients are sent away, commits kept).
    pub async fn stop(&mut self) {
        self.server.stop(Signal::SIGINT, Duration::from_secs(20)).await;
    }

    /// Stops it without a checkpoint, as a crash would.
    pub async fn kill(&mut self) {
        self.server.stop(Signal::SIGQUIT, Duration::from_secs(10)).await;
    }

    /// Starts it again, on the same folder.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await;
        let alone = self.place.alone().await?;
        self.server = self.place.launch(&self.options, alone)?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> Result<(), Error> {
        let until = tokio::time::Instant::now() + READY;
        while tokio::time::Instant::now() < until && self.server.ended().is_none() {
            if self.place.sockets.join(self.options.socket()).exists()
                && self.sql("postgres", "SELECT 1").is_ok()
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Error::NotReady { what: "PostgreSQL", why: log_tail(&self.place.log) })
    }
}

impl Place {
    fn prepare(options: &PostgresOptions) -> Result<Self, Error> {
        let folder = options.folder.as_path();
        let folder = std::path::absolute(folder).map_err(Error::folder(folder))?;
        std::fs::create_dir_all(&folder).map_err(Error::folder(&folder))?;
        let user = if Uid::effective().is_root() { other_user() } else { None };
        // Another user may not be let through to the folder: then the data stands where everyone may pass.
        let base = match &user {
            Some(user) if !reachable(&folder.join("x"), user.uid.as_raw()) => elsewhere(&folder)?,
            _ => folder,
        };
        let sockets = socket_folder(&base, &options.socket());
        for path in [&base, &sockets] {
            private_folder(path)?;
            if let Some(user) = &user {
                std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                    .map_err(Error::folder(path))?;
            }
        }
        let programs = find("initdb", "postgresql", &debian_folders())?;
        // `initdb` in PATH may be a link; the other programs stand beside what it points to.
        let programs = programs.canonicalize().unwrap_or(programs);
        let programs = programs.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { programs, data: base.join("data"), log: base.join("postgres.log"), sockets, user })
    }

    fn command(&self, program: &str, death: &str) -> Command {
        let program = self.programs.join(program);
        let user = self.user.as_ref().map(|user| user.name.as_str());
        let mut command = with_death_signal(&program.display().to_string(), death, user);
        command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").current_dir("/");
        command
    }

    /// Removes what an interrupted start left. Whoever still writes to it ends by itself; the next start looks again.
    fn sweep(&self) {
        let beside = self.data.parent().and_then(|base| std::fs::read_dir(base).ok()).into_iter().flatten();
        for entry in beside.filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                std::fs::remove_dir_all(entry.path()).ok();
            }
        }
    }

    /// Makes the data beside its place and moves it there once it is whole: a start may be interrupted at any moment, and
    /// what was begun then may still be written to for a while.
    fn initialise(&self) -> Result<(), Error> {
        let unfinished = self.data.with_file_name(format!("{UNFINISHED}{}", std::process::id()));
        let mut command = self.command("initdb", "KILL");
        command.arg("-D").arg(&unfinished).args([
            "-U",
            "tidemill",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-N",
        ]);
        let output =
            command.output().map_err(|source| Error::Start { program: "initdb".to_owned(), source })?;
        if output.status.success() {
            return std::fs::rename(&unfinished, &self.data).map_err(Error::folder(&self.data));
        }
        Err(Error::NotReady {
            what: "initdb",
            why: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn launch(&self, options: &PostgresOptions, alone: File) -> Result<Supervised, Error> {
        let log =
            File::options().create(true).append(true).open(&self.log).map_err(Error::folder(&self.log))?;
        let again = log.try_clone().map_err(Error::folder(&self.log))?;
        self.remove_stale_locks(&options.socket());
        let mut command = self.command("postgres", "INT");
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.sockets).args(["-h", ""]);
        let durable = if options.durable { "on" } else { "off" };
        let fixed = [("fsync", durable), ("full_page_writes", durable), ("max_connections", "200")];
        let extra = options.extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in fixed.into_iter().chain(extra) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdin(alone).stdout(log).stderr(again);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        start(command, "postgres")
    }

    /// Waits until no server runs on the data. A server holds the lock as its standard input for as long as it or one of its
    /// processes lives, also where whoever started it was killed; it is told to stop then, and may take a while.
    async fn alone(&self) -> Result<File, Error> {
        let path = self.data.with_file_name("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(Error::folder(&path))?;
        let until = tokio::time::Instant::now() + PREDECESSOR;
        while lock.try_lock().is_err() {
            if tokio::time::Instant::now() >= until {
                let why = format!("another one runs on {} and does not stop", self.data.display());
                return Err(Error::NotReady { what: "PostgreSQL", why });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(lock)
    }

    /// Removes the lock files of a server that was killed, whatever state they are in: PostgreSQL itself cannot tell
    /// whether the process they name is a server.
    fn remove_stale_locks(&self, socket: &str) {
        for lock in [self.data.join("postmaster.pid"), self.sockets.join(format!("{socket}.lock"))] {
            // Most often there is none.
            std::fs::remove_file(lock).ok();
        }
    }
}

/// Where the data stands that cannot stand in `folder`, which keeps the path.
const ELSEWHERE: &str = "elsewhere";

fn elsewhere(folder: &Path) -> Result<PathBuf, Error> {
    let note = folder.join(ELSEWHERE);
    if let Some(path) = noted(folder) {
        return Ok(path);
    }
    let path = tempfile::Builder::new()
        .prefix("tidemill-")
        .tempdir_in("/var/tmp")
        .map_err(Error::folder(Path::new("/var/tmp")))?
        .keep();
    std::fs::write(&note, path.display().to_string()).map_err(Error::folder(&note))?;
    Ok(path)
}

fn noted(folder: &Path) -> Option<PathBuf> {
    std::fs::read_to_string(folder.join(ELSEWHERE)).ok().map(PathBuf::from)
}

/// Gives a file to the user that private servers run as where this is root: a key that only its owner can read.
///
/// # Errors
/// [`Error::Folder`].
pub fn give_to_postgres(file: &Path) -> Result<(), Error> {
    match other_user().filter(|_| Uid::effective().is_root()) {
        Some(user) => std::os::unix::fs::chown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .map_err(Error::folder(file)),
        None => Ok(()),
    }
}

fn other_user() -> Option<User> {
    ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten())
}

/// Where Debian keeps the servers' programs, newest first.
fn debian_folders() -> Vec<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    versions.sort();
    versions.reverse();
    versions
}
