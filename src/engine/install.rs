//! What `CREATE EXTENSION` does after its objects exist: deploy, then let go of what was deployed.
//!
//! The extension owns the code, the database owns the data. A table that stays a member of the
//! extension is left out of dumps, loses the policies that users add to it, and cannot be restored
//! without trouble, so everything that a migration created stops being a member at once.

use super::migrate;
use crate::error::{Error, Result};
use crate::gucs;
use crate::modules;
use crate::postgres::{backend, spi};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::collections::HashSet;

/// Called once, by the last statement of the install script: deploys what `gemba.deploy` names.
#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn _install() -> Result<(), ErrorReport> {
    if !backend::in_extension_script() {
        return Err(Error::state("this function belongs to CREATE EXTENSION")
            .hint("use gemba.deploy() to deploy modules")
            .into());
    }
    if is_restore()? {
        keep_jobs_off()?;
        // The dump brings the tables, with their rows, policies and grants.
        notice!(
            "gemba: no module is deployed while a dump is being restored; gemba.deploy() deploys them"
        );
        return Ok(());
    }
    let wanted = wanted_modules()?;
    letting_go(|| migrate::deploy(&wanted))?;
    spi::write(include_str!("built_in_jobs.sql"), &[])?;
    Ok(())
}

/// A worker would begin with the jobs as soon as their rows are there, before the rows that they are about are;
/// and a restored copy should not do the original's work by itself.
fn keep_jobs_off() -> Result<()> {
    if backend::in_binary_upgrade() {
        return Ok(());
    }
    let database = spi::read_one::<String>("SELECT pg_catalog.current_database()::text", &[])?
        .unwrap_or_default();
    let database = spi::ident(&database);
    spi::write(
        &format!("ALTER DATABASE {database} SET gemba.run_jobs = off"),
        &[],
    )?;
    notice!(
        "gemba: jobs are off in this restored database; ALTER DATABASE {database} RESET gemba.run_jobs lets them run"
    );
    Ok(())
}

/// Runs `work` and takes what it made out of the extension that is being created or updated.
pub fn letting_go<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    if !backend::in_extension_script() {
        return work();
    }
    let before: HashSet<Member> = members()?.into_iter().collect();
    let result = work()?;
    for member in members()? {
        if !before.contains(&member) {
            spi::write(
                &format!(
                    "ALTER EXTENSION gemba DROP {} {}",
                    member.kind, member.identity
                ),
                &[],
            )?;
        }
    }
    Ok(result)
}

#[derive(PartialEq, Eq, Hash)]
struct Member {
    kind: String,
    /// Schema-qualified and quoted by the server.
    identity: String,
}

fn members() -> Result<Vec<Member>> {
    spi::read_all(
        "SELECT i.type, i.identity
           FROM pg_catalog.pg_depend d
           JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'gemba'
          CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS i
          WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
            AND i.identity IS NOT NULL
            -- A table's row type, and the array of it, come and go with the table.
            AND NOT EXISTS (
              SELECT FROM pg_catalog.pg_type t
                LEFT JOIN pg_catalog.pg_type element ON element.oid = t.typelem
               WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = d.objid
                 AND (t.typrelid <> 0 OR element.typrelid <> 0))
          ORDER BY d.classid, d.objid",
        &[],
        |row| {
            Ok(Member {
                kind: row.get::<String>(1)?.unwrap_or_default(),
                identity: row.get::<String>(2)?.unwrap_or_default(),
            })
        },
    )
}

/// Is a dump being restored? `pg_dump` writes `SET row_security = off` into every dump, which nobody
/// types; `pg_dump --enable-row-security` does not, but `pg_restore` gives itself away by its name, and
/// every plain dump sets `xmloption`.
pub fn is_restore() -> Result<bool> {
    if backend::in_binary_upgrade() {
        return Ok(true);
    }
    Ok(spi::read_one::<bool>(
        "SELECT pg_catalog.current_setting('row_security') = 'off'
             OR pg_catalog.current_setting('application_name') = 'pg_restore'
             OR EXISTS (SELECT FROM pg_catalog.pg_settings
                         WHERE name = 'xmloption' AND source = 'session')",
        &[],
    )?
    .unwrap_or(false))
}

fn wanted_modules() -> Result<Vec<String>> {
    let setting = gucs::DEPLOY.get();
    let setting = setting
        .as_deref()
        .map(|text| text.to_string_lossy().trim().to_owned())
        .unwrap_or_default();
    Ok(match setting.as_str() {
        "all" | "" => modules::ALL
            .iter()
            .map(|module| module.name.to_owned())
            .collect(),
        "none" => Vec::new(),
        list => list
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect(),
    })
}
