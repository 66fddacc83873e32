//! One test's database.

use crate::client::Notices;
use crate::cluster::Cluster;
use crate::process::{Finished, run};
use anyhow::Result;
use postgres::{Client, NoTls};
use std::process::Command;

/// A database on a test cluster; it lives as long as the cluster does.
#[derive(Clone)]
pub struct Database<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Database<'a> {
    pub(crate) fn new(cluster: &'a Cluster, name: String) -> Self {
        Self { cluster, name }
    }

    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A superuser's session.
    pub fn connect(&self) -> Result<Client> {
        self.cluster.connect(&self.name)
    }

    /// A session whose statements run as `role`.
    pub fn connect_as(&self, role: &str) -> Result<Client> {
        let mut client = self.connect()?;
        client.batch_execute(&format!("SET ROLE {}", quote(role)))?;
        Ok(client)
    }

    /// A superuser's session, and the notices and warnings that it receives.
    pub fn connect_noting(&self) -> Result<(Client, Notices)> {
        let notices = Notices::default();
        let sink = notices.clone();
        let mut config = self.cluster.config(&self.name);
        config.notice_callback(move |notice| sink.push(notice));
        Ok((config.connect(NoTls)?, notices))
    }

    /// Makes a role that no other test has, without any membership, and returns its name.
    pub fn role(&self, stem: &str) -> Result<String> {
        let role = format!("{}_{stem}", self.name);
        self.connect()?
            .batch_execute(&format!("CREATE ROLE {}", quote(&role)))?;
        Ok(role)
    }

    /// A client program (psql, pg_dump, pg_restore …) with this database as its default.
    pub fn tool(&self, program: &str) -> Command {
        let mut command = self.cluster.tool(program);
        command.env("PGDATABASE", &self.name);
        command
    }

    /// `psql -c`, stopping at the first error; for what needs psql itself (`\copy`, its exit status).
    pub fn psql(&self, commands: &str) -> Result<Finished> {
        run(self.tool("psql").args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            commands,
        ]))
    }
}

/// An identifier as it stands in a statement.
pub(crate) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
