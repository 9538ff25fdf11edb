//! A private WordPress for tests: Debian's files and a MariaDB of its own, on loopback and a socket.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use local::{Supervised, spawn_supervised};
use tempfile::TempDir;

use crate::within;

/// Where Debian's package `wordpress` puts its files.
const FILES: &str = "/usr/share/wordpress";
/// Where Debian's package `mariadb-server` puts its server.
const MARIADB: &str = "/usr/sbin/mariadbd";
/// How long a server may take to become ready.
const READY: Duration = Duration::from_secs(60);

/// PHP's server forks workers that outlive it. So it runs in a process group of its own, beside a shell that waits for the
/// end of its input, which the test holds: whatever the test dies of, group and folder go.
const SERVE: &str = r#"php -q -S "127.0.0.1:$1" -t "$2/site" & read -r _; rm -rf "$2"; kill -KILL 0"#;

/// A WordPress with a user `editor` who may do everything; it dies with the test.
#[derive(Debug)]
pub struct PrivateWordpress {
    port: u16,
    password: String,
    folder: PathBuf,
    web: Child,
    _database: Supervised,
    _folder: TempDir,
}

impl PrivateWordpress {
    /// Installs it; that takes some 10 s.
    pub async fn start() -> Self {
        assert!(Path::new(FILES).is_dir(), "WordPress is not installed: run scripts/setup-services.sh");
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = temporary.path().to_owned();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        let database = database(&folder).await;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        done(Command::new("cp").args(["-rL", FILES]).arg(folder.join("site")));
        std::fs::write(folder.join("site/wp-config.php"), configuration(&folder, port))
            .expect("wp-config.php");
        let password = php(&folder, "define('WP_INSTALLING', true);", INSTALLATION);
        let web = serve(&folder, port);
        let site = Self { port, password, folder, web, _database: database, _folder: temporary };
        within(READY, "WordPress answers", async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        site
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user.
    #[must_use]
    pub fn username(&self) -> &'static str {
        "editor"
    }

    /// An application password of the user.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Runs PHP inside the site; returns what it prints.
    #[must_use]
    pub fn php(&self, code: &str) -> String {
        php(&self.folder, "", code)
    }
}

impl Drop for PrivateWordpress {
    fn drop(&mut self) {
        drop(self.web.stdin.take());
        self.web.wait().ok();
    }
}

async fn database(folder: &Path) -> Supervised {
    let (data, socket) = (folder.join("data"), folder.join("db.sock"));
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().expect("a user");
    let common = [format!("--datadir={}", data.display()), format!("--user={}", user.name)];
    done(Command::new("mariadb-install-db").arg("--no-defaults").args(&common).args([
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
    ]));
    let log = File::create(folder.join("mariadb.log")).expect("a log file");
    // Not on the PATH of ordinary users.
    let program = if Path::new(MARIADB).is_file() { MARIADB } else { "mariadbd" };
    let server = spawn_supervised(program, |command| {
        command.arg("--no-defaults").args(&common).arg(format!("--socket={}", socket.display()));
        command.arg(format!("--pid-file={}", folder.join("db.pid").display()));
        command.args([
            "--skip-networking",
            "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=0",
        ]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log);
    })
    .expect("a private MariaDB");
    let sql = |statement: &str| {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--user=root", "--execute", statement]);
        client.arg(format!("--socket={}", socket.display())).stdout(Stdio::null()).stderr(Stdio::null());
        client.status().is_ok_and(|status| status.success())
    };
    within(READY, "MariaDB answers", async || sql("CREATE DATABASE IF NOT EXISTS wordpress")).await;
    server
}

fn serve(folder: &Path, port: u16) -> Child {
    let log = File::create(folder.join("php.log")).expect("a log file");
    Command::new("sh")
        .args(["-c", SERVE, "sh", &port.to_string()])
        .arg(folder)
        .env("PHP_CLI_SERVER_WORKERS", "4")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log)
        .spawn()
        .expect("PHP's server")
}

fn php(folder: &Path, before: &str, code: &str) -> String {
    let script = format!("{before} require '{}/site/wp-load.php'; {code}", folder.display());
    let output = Command::new("php").args(["-r", &script]).output().expect("php");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn done(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{}: {error}: run scripts/setup-services.sh", command.get_program().display())
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `WP_ENVIRONMENT_TYPE` allows application passwords over http; nothing is fetched from anywhere.
fn configuration(folder: &Path, port: u16) -> String {
    format!(
        "<?php
        if (PHP_SAPI === 'cli') $_SERVER['HTTP_HOST'] = '127.0.0.1:{port}';
        define('DB_NAME', 'wordpress'); define('DB_USER', 'root'); define('DB_PASSWORD', '');
        define('DB_HOST', 'localhost:{socket}'); define('DB_CHARSET', 'utf8mb4'); define('DB_COLLATE', '');
        define('WP_HOME', 'http://127.0.0.1:{port}'); define('WP_SITEURL', 'http://127.0.0.1:{port}');
        define('AUTH_KEY', 'a'); define('SECURE_AUTH_KEY', 'b'); define('LOGGED_IN_KEY', 'c'); define('NONCE_KEY', 'd');
        define('AUTH_SALT', 'e'); define('SECURE_AUTH_SALT', 'f'); define('LOGGED_IN_SALT', 'g'); define('NONCE_SALT', 'h');
        define('WP_ENVIRONMENT_TYPE', 'local'); define('WP_HTTP_BLOCK_EXTERNAL', true);
        define('DISABLE_WP_CRON', true); define('AUTOMATIC_UPDATER_DISABLED', true);
        $table_prefix = 'wp_';
        if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
        require_once ABSPATH . 'wp-settings.php';
        ",
        socket = folder.join("db.sock").display()
    )
}

const INSTALLATION: &str = "
    require_once ABSPATH . 'wp-admin/includes/upgrade.php';
    wp_install('Test', 'editor', 'editor@example.org', true, '', 'unused');
    [$password] = WP_Application_Passwords::create_new_application_password(1, ['name' => 'tidemill']);
    echo $password;
";
