//! The harness of the integration tests: a real client, real roles, a private cluster.
//!
//! ```no_run
//! # use gemba_tests::*;
//! # fn main() -> anyhow::Result<()> {
//! let db = extended("partitions")?;                  // a database with the extension, ready in ~0.1 s
//! let mut client = db.connect()?;                    // a `postgres::Client`, superuser
//! client.batch_execute("CREATE TABLE t (a int)")?;
//!
//! // as PostgREST does it: claims and role, for one transaction
//! let rows = as_user(&mut client, "authenticated", Some("6b1c…"), |tx| {
//!     tx.query("SELECT * FROM telemetry.sensors", &[])
//! })?;
//!
//! // an error is part of the interface: assert its SQLSTATE, then look at message, detail and hint
//! let error = expect_sqlstate(client.execute("SELECT gemba.deploy('nonsense')", &[]), "22023");
//! assert!(error.hint().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! **Which server.** `GEMBA_TEST_PG_CONFIG` names a pg_config whose server has the extension installed.
//! `scripts/test.sh` sets it for each major in turn; by hand:
//!
//! ```text
//! cargo pgrx install --pg-config $CONFIG --no-default-features --features pg17
//! GEMBA_TEST_PG_CONFIG=$CONFIG cargo test -p gemba-tests --test deploy undeploy_refuses
//! ```
//!
//! **Which cluster.** [`shared`] is one throw-away cluster for each test binary; [`empty`] and
//! [`extended`] give each test a database of its own on it. Tests that stop the server, dump into
//! another one or need settings start their own with [`Cluster::new`]. Every cluster listens on a Unix
//! socket only and disappears with its process, however that ends; `GEMBA_TEST_KEEP=1` leaves the folder
//! with the server's log.
//!
//! **Roles** belong to the cluster, not to the database: a test that makes one gives it a name of its
//! own (see [`Database::role`]).

mod ask;
pub mod browser;
mod client;
mod cluster;
mod database;
mod expected;
mod fixture;
mod privileges;
mod process;
mod random;
mod snapshot;

pub use ask::{comes_true, lines, table, value, wait_for, wait_until};
pub use client::{Notices, as_user, expect_sqlstate};
pub use cluster::Cluster;
pub use database::Database;
pub use expected::{assert_expected, line_changes};
pub use fixture::{ONE_SENSOR, assert_works, fill, fixture_role};
pub use privileges::privileges;
pub use process::{Finished, run, run_ok, signal};
pub use random::Random;
pub use snapshot::{Snapshot, snapshot};

use std::sync::OnceLock;

/// The cluster that all tests of this binary share.
pub fn shared() -> anyhow::Result<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::new().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("the shared cluster did not start: {error}"))
}

/// An empty database on the shared cluster.
pub fn empty(name: &str) -> anyhow::Result<Database<'static>> {
    shared()?.database(name)
}

/// A database on the shared cluster in which `CREATE EXTENSION gemba` has run.
pub fn extended(name: &str) -> anyhow::Result<Database<'static>> {
    shared()?.extended(name)
}
