//! A throw-away cluster.

use crate::database::Database;
use crate::process::{as_server_user, run_ok, server_command};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names the pg_config of the server under test.
const PG_CONFIG: &str = "GEMBA_TEST_PG_CONFIG";

/// The port only names the socket file; each cluster has a folder of its own for it.
const PORT: &str = "5432";

/// The database that [`Cluster::extended`] copies.
const TEMPLATE: &str = "gemba_template";

const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "''"),
    ("unix_socket_permissions", "0700"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    // Dumping a table with many partitions takes a lock on each.
    ("max_locks_per_transaction", "256"),
    ("max_connections", "60"),
    ("timezone", "'UTC'"),
    ("log_statement", "'ddl'"),
];

/// A private cluster that is stopped and removed when it is dropped, or when this process ends.
pub struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
    major: u32,
    numbers: AtomicU32,
    template: Mutex<bool>,
    undertaker: Child,
}

impl Cluster {
    /// A running cluster of the server that `GEMBA_TEST_PG_CONFIG` names.
    pub fn new() -> Result<Self> {
        Self::with_settings(&[])
    }

    /// The same, with lines for postgresql.conf, such as `("shared_preload_libraries", "'gemba'")`.
    pub fn with_settings(settings: &[(&str, &str)]) -> Result<Self> {
        let config = std::env::var(PG_CONFIG)
            .ok()
            .filter(|path| !path.is_empty());
        let Some(config) = config else {
            bail!(
                "{PG_CONFIG} is not set: it names the pg_config of a server that has the extension \
                 installed (scripts/test.sh sets it)"
            );
        };
        let cluster = Self::created(Path::new(&config), settings)?;
        cluster.start()?;
        Ok(cluster)
    }

    /// A cluster that has not been started, of any server.
    pub fn created(pg_config: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let ask = |what: &str| -> Result<String> {
            Ok(run_ok(Command::new(pg_config).arg(what))?.trim().to_owned())
        };
        let bin = PathBuf::from(ask("--bindir")?);
        let version = ask("--version")?;
        let major = version
            .split(|c: char| !c.is_ascii_digit())
            .find(|part| !part.is_empty())
            .and_then(|part| part.parse().ok())
            .with_context(|| format!("{pg_config:?} says its version is {version:?}"))?;

        let cluster = Self::folder(bin, major)?;
        run_ok(
            cluster
                .server_tool("initdb")?
                .arg("-D")
                .arg(cluster.data())
                .args([
                    "-U",
                    "postgres",
                    "--auth=trust",
                    "--no-sync",
                    "--data-checksums",
                ])
                .args(["--encoding=UTF8", "--locale=C"]),
        )?;
        let mut lines = format!("unix_socket_directories = '{}'\n", cluster.dir.display());
        for (name, value) in SETTINGS.iter().chain(settings) {
            writeln!(lines, "{name} = {value}")?;
        }
        cluster.configure(&lines)?;
        Ok(cluster)
    }

    /// A folder of its own, with nothing in it yet.
    fn folder(bin: PathBuf, major: u32) -> Result<Self> {
        // Directly below /tmp, because a socket's path may have 103 characters only, and made by the
        // server's user, because it has to own it.
        let made = run_ok(
            server_command(Path::new("mktemp"))?
                .args(["-d", "/tmp/gemba-test.XXXXXX"])
                .current_dir("/"),
        )?;
        let dir = PathBuf::from(made.trim());
        let undertaker = undertaker(&bin, &dir)?;
        Ok(Self {
            bin,
            dir,
            major,
            numbers: AtomicU32::new(0),
            template: Mutex::new(false),
            undertaker,
        })
    }

    /// Adds lines to postgresql.conf.
    fn configure(&self, lines: &str) -> Result<()> {
        let conf = self.data().join("postgresql.conf");
        let before = std::fs::read_to_string(&conf)?;
        std::fs::write(&conf, before + lines)?;
        Ok(())
    }

    /// A running cluster that preloads the library, with room for many workers.
    pub fn preloaded(settings: &[(&str, &str)]) -> Result<Self> {
        let mut all = vec![
            ("shared_preload_libraries", "'gemba'"),
            ("max_worker_processes", "150"),
        ];
        all.extend(settings);
        Self::with_settings(&all)
    }

    /// A running standby of this cluster, which streams from it. It has the same databases and settings.
    pub fn standby(&self) -> Result<Self> {
        let standby = Self::folder(self.bin.clone(), self.major)?;
        run_ok(
            standby
                .server_tool("pg_basebackup")?
                .arg("-h")
                .arg(&self.dir)
                .args(["-p", PORT, "-U", "postgres", "-R", "--no-sync"])
                .args(["-c", "fast", "-X", "stream", "-D"])
                .arg(standby.data()),
        )?;
        standby.configure(&format!(
            "unix_socket_directories = '{}'\n",
            standby.dir.display()
        ))?;
        standby.start()?;
        Ok(standby)
    }

    /// Makes a standby a primary.
    pub fn promote(&self) -> Result<()> {
        run_ok(
            self.server_tool("pg_ctl")?
                .arg("-D")
                .arg(self.data())
                .args(["-w", "-t", "60", "promote"]),
        )?;
        Ok(())
    }

    /// The postmaster's process.
    pub fn postmaster(&self) -> Result<i32> {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid"))?;
        let pid = file.lines().next().unwrap_or_default().trim().to_owned();
        pid.parse()
            .with_context(|| format!("postmaster.pid begins with {pid:?}"))
    }

    /// [`Self::start`] after the postmaster was killed: its children take a moment to notice, and the
    /// server refuses to start before they are gone.
    pub fn start_after_kill(&self) -> Result<()> {
        let mut last = None;
        let started = crate::ask::comes_true(|| match self.start() {
            Ok(()) => true,
            Err(error) => {
                last = Some(error);
                false
            }
        });
        match last {
            Some(error) if !started => Err(error),
            _ => Ok(()),
        }
    }

    pub fn start(&self) -> Result<()> {
        // A file takes the output, because the server inherits it and would keep a pipe open.
        run_ok(
            self.server_tool("pg_ctl")?
                .arg("-D")
                .arg(self.data())
                .arg("-l")
                .arg(self.log())
                .args(["-w", "-t", "60", "start"]),
        )
        .with_context(|| std::fs::read_to_string(self.log()).unwrap_or_default())?;
        Ok(())
    }

    /// An orderly stop: sessions are ended, everything is written.
    pub fn stop(&self) -> Result<()> {
        self.stop_as("fast")
    }

    /// A stop that the server notices no more of than of a power cut; [`Self::start`] then recovers.
    pub fn crash(&self) -> Result<()> {
        self.stop_as("immediate")
    }

    fn stop_as(&self, mode: &str) -> Result<()> {
        run_ok(
            self.server_tool("pg_ctl")?
                .arg("-D")
                .arg(self.data())
                .args(["-m", mode, "-w", "stop"]),
        )?;
        Ok(())
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// A folder that both the tests and the server can read and the server can write.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn bin(&self) -> &Path {
        &self.bin
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// An empty database. Its name is `name` and a number, so that no two tests meet.
    pub fn database(&self, name: &str) -> Result<Database<'_>> {
        self.create_database(name, "template0")
    }

    /// A database with the extension in it: a copy of one that is made for the first caller, because
    /// copying costs a tenth of creating.
    pub fn extended(&self, name: &str) -> Result<Database<'_>> {
        let mut made = self
            .template
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if !*made {
            let mut maintenance = self.connect("postgres")?;
            maintenance.batch_execute(&format!("DROP DATABASE IF EXISTS {TEMPLATE}"))?;
            maintenance.batch_execute(&format!("CREATE DATABASE {TEMPLATE} TEMPLATE template0"))?;
            self.connect(TEMPLATE)?
                .batch_execute("CREATE EXTENSION gemba")
                .context("CREATE EXTENSION gemba")?;
            *made = true;
        }
        self.create_database(name, TEMPLATE)
    }

    fn create_database(&self, name: &str, template: &str) -> Result<Database<'_>> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}_{number}");
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        let mut maintenance = self.connect("postgres")?;
        // The session that made the template may take a moment to be gone.
        let mut attempts = 0;
        loop {
            match maintenance.batch_execute(&create) {
                Err(error)
                    if attempts < 100 && error.code().is_some_and(|c| c.code() == "55006") =>
                {
                    attempts += 1;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                other => break other?,
            }
        }
        Ok(Database::new(self, name))
    }

    /// A superuser's session in the named database.
    pub fn connect(&self, database: &str) -> Result<postgres::Client> {
        Ok(self.config(database).connect(postgres::NoTls)?)
    }

    pub(crate) fn config(&self, database: &str) -> postgres::Config {
        let mut config = postgres::Config::new();
        config
            .host_path(&self.dir)
            .port(PORT.parse().unwrap_or(5432))
            .user("postgres")
            .dbname(database)
            .application_name("gemba-tests");
        config
    }

    /// A client program of this server (psql, pg_dump, pg_restore …) that finds this cluster.
    pub fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        command
            .env("PGHOST", &self.dir)
            .env("PGPORT", PORT)
            .env("PGUSER", "postgres")
            .current_dir(&self.dir);
        command
    }

    /// A program that has to run as the server's own user (initdb, pg_ctl, pg_upgrade …).
    pub fn server_tool(&self, program: &str) -> Result<Command> {
        let mut command = server_command(&self.bin.join(program))?;
        command.current_dir(&self.dir);
        // Otherwise an error's detail has a backtrace behind it.
        command.env("RUST_BACKTRACE", "0");
        Ok(command)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Closing its standard input is the signal; waiting means that the next cluster does not
        // compete with this one's end.
        drop(self.undertaker.stdin.take());
        let _ = self.undertaker.wait();
    }
}

/// A process that waits for the end of this one, however it comes, and then stops the server and
/// removes its folder. (A destructor would not do: statics have none, and a killed test runs none.)
fn undertaker(bin: &Path, dir: &Path) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    const SCRIPT: &str = r#"
        bin=$1 dir=$2 keep=$3; shift 3
        cat >/dev/null
        cd /
        if [ -f "$dir/data/postmaster.pid" ]; then
          pid=$(head -1 "$dir/data/postmaster.pid")
          "$@" "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || kill -9 "$pid"
        fi
        [ -n "$keep" ] || rm -rf "$dir"
    "#;
    Command::new("sh")
        .args(["-c", SCRIPT, "undertaker"])
        .args([bin, dir])
        .arg(std::env::var("GEMBA_TEST_KEEP").unwrap_or_default())
        // Empty for an ordinary user: env then just runs what follows.
        .arg("env")
        .args(as_server_user()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C is for the tests; this one has work to do after it.
        .process_group(0)
        .spawn()
        .context("could not start sh")
}
