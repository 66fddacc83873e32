//! The server under test.

use anyhow::{Context, Result};
use postgres::{Client, Config, NoTls};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A line for whoever waits.
pub fn progress(text: &str) {
    static START: OnceLock<Instant> = OnceLock::new();
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs();
    eprintln!("[{:>3}:{:02}] {text}", seconds / 60, seconds % 60);
}

/// How long something takes.
pub fn time<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let begin = Instant::now();
    let result = work()?;
    Ok((begin.elapsed(), result))
}

/// Nothing may take longer than this.
const STATEMENT_TIMEOUT: &str = "45min";

/// What it is, for the head of the report.
#[derive(Debug)]
pub struct Facts {
    pub version: String,
    pub gemba: String,
    pub timescaledb: Option<String>,
    pub settings: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
}

impl Server {
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// A superuser's session, which no row security applies to.
    pub fn connect(&self, database: &str) -> Result<Client> {
        self.connect_with_timeout(database, STATEMENT_TIMEOUT)
    }

    pub fn connect_with_timeout(&self, database: &str, timeout: &str) -> Result<Client> {
        let mut client = Config::new()
            .host_path(&self.socket)
            .user("postgres")
            .dbname(database)
            .application_name("gemba-bench")
            .connect(NoTls)
            .with_context(|| {
                format!(
                    "cannot connect to {} at {}",
                    database,
                    self.socket.display()
                )
            })?;
        client.batch_execute(&format!("SET statement_timeout = '{timeout}'"))?;
        Ok(client)
    }

    pub fn create_database(&self, name: &str) -> Result<()> {
        let mut maintenance = self.connect("postgres")?;
        maintenance.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        maintenance.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))?;
        Ok(())
    }

    pub fn drop_database(&self, name: &str) -> Result<()> {
        self.connect("postgres")?
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        Ok(())
    }

    pub fn facts(&self) -> Result<Facts> {
        let mut client = self.connect("postgres")?;
        let version = |client: &mut Client, name: &str| -> Result<Option<String>> {
            Ok(client
                .query_opt(
                    "SELECT default_version FROM pg_available_extensions WHERE name = $1",
                    &[&name],
                )?
                .map(|row| row.get(0)))
        };
        let preloaded: String = client
            .query_one("SHOW shared_preload_libraries", &[])?
            .get(0);
        let settings = client
            .query(
                "SELECT name, current_setting(name) FROM pg_settings
                  WHERE source = 'configuration file'
                    AND name NOT IN ('unix_socket_directories', 'listen_addresses', 'log_timezone', 'TimeZone',
                                     'dynamic_shared_memory_type', 'unix_socket_permissions')
                    AND name !~ '^(lc_|default_text)'
                     OR name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_level', 'data_checksums',
                                 'autovacuum')
                  ORDER BY name",
                &[],
            )?
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        Ok(Facts {
            version: client.query_one("SHOW server_version", &[])?.get(0),
            gemba: version(&mut client, "gemba")?.context("the server has no extension gemba")?,
            timescaledb: if preloaded.contains("timescaledb") {
                version(&mut client, "timescaledb")?
            } else {
                None
            },
            settings,
        })
    }
}
