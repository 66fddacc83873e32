//! Versioned migrations, up and down, and their history in `gemba.schema_versions`.

use super::install::letting_go;
use crate::error::{Error, Result};
use crate::modules;
use crate::postgres::{lock, spi};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::time::Instant;

/// A room that can be deployed.
pub struct Module {
    /// Its name, which is also its folder's.
    pub name: &'static str,
    /// Where its tables stand: a schema of the same name, where nothing else is said.
    pub schema: &'static str,
    pub description: &'static str,
    /// Modules that have to be there first.
    pub requires: &'static [&'static str],
    /// Tables that a migration fills; rows in them do not stand in the way of `undeploy`.
    pub reference_tables: &'static [&'static str],
    /// Where the schema is not the module's alone: how the comments of its tables there begin.
    pub mark: Option<&'static str>,
    /// In ascending order of version, starting at 1, without gaps.
    pub migrations: &'static [Migration],
}

/// One step of a module's schema, and the way back.
pub struct Migration {
    pub version: i32,
    pub name: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

impl Migration {
    fn checksum(&self) -> String {
        let mut hex = String::with_capacity(64);
        for byte in Sha256::digest(self.up.as_bytes()) {
            // Writing into a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

impl Module {
    fn latest(&self) -> i32 {
        self.migrations.last().map_or(0, |last| last.version)
    }
}

/// What one call did, as the SQL functions return it.
pub struct Step {
    module: &'static str,
    version: i32,
    name: &'static str,
    direction: &'static str,
    execution_ms: f64,
}

type StepRow = (String, i32, String, String, f64);

fn rows(steps: Vec<Step>) -> impl Iterator<Item = StepRow> {
    steps.into_iter().map(|step| {
        (
            step.module.to_owned(),
            step.version,
            step.name.to_owned(),
            step.direction.to_owned(),
            step.execution_ms,
        )
    })
}

#[pg_extern(schema = "gemba", name = "deploy", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn deploy_sql(
    modules: default!(VariadicArray<String>, "'{}'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(module, String),
            name!(version, i32),
            name!(name, String),
            name!(direction, String),
            name!(execution_ms, f64),
        ),
    >,
    ErrorReport,
> {
    let mut wanted: Vec<String> = modules.iter().flatten().collect();
    if wanted.is_empty() {
        wanted = modules::ALL
            .iter()
            .map(|module| module.name.to_owned())
            .collect();
    }
    Ok(TableIterator::new(rows(letting_go(|| deploy(&wanted))?)))
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn migrate(
    module: &str,
    to_version: default!(Option<i32>, "NULL"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(module, String),
            name!(version, i32),
            name!(name, String),
            name!(direction, String),
            name!(execution_ms, f64),
        ),
    >,
    ErrorReport,
> {
    let module = known(module)?;
    let target = to_version.unwrap_or_else(|| module.latest());
    if target < 0 || target > module.latest() {
        return Err(Error::invalid("the module has no such version")
            .detail(format!("version {target} of module {:?}", module.name))
            .hint(format!("choose 0 to {}", module.latest()))
            .into());
    }
    serialise()?;
    if target == 0 {
        refuse_while_needed(module)?;
    }
    Ok(TableIterator::new(rows(letting_go(|| {
        bring_to(module, target)
    })?)))
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn undeploy(
    module: &str,
    force: default!(bool, "false"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(module, String),
            name!(version, i32),
            name!(name, String),
            name!(direction, String),
            name!(execution_ms, f64),
        ),
    >,
    ErrorReport,
> {
    let module = known(module)?;
    serialise()?;
    refuse_while_needed(module)?;
    if !force {
        refuse_while_filled(module)?;
    }
    Ok(TableIterator::new(rows(bring_to(module, 0)?)))
}

/// Every migration that this version of the extension carries; `gemba.modules` compares it with the
/// history.
#[pg_extern(schema = "gemba", stable, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
fn available_migrations() -> TableIterator<
    'static,
    (
        name!(module, String),
        name!(description, String),
        name!(version, i32),
        name!(name, String),
        name!(checksum, String),
    ),
> {
    TableIterator::new(modules::ALL.iter().flat_map(|module| {
        module.migrations.iter().map(|migration| {
            (
                module.name.to_owned(),
                module.description.to_owned(),
                migration.version,
                migration.name.to_owned(),
                migration.checksum(),
            )
        })
    }))
}

/// Brings the named modules, and those they require, to their latest versions.
pub fn deploy(wanted: &[String]) -> Result<Vec<Step>> {
    let mut chosen: Vec<&'static Module> = Vec::new();
    for name in wanted {
        choose(known(name)?, &mut chosen);
    }
    serialise()?;
    let mut steps = Vec::new();
    warn_of_changed_text(&chosen)?;
    for module in chosen {
        steps.extend(bring_to(module, module.latest())?);
    }
    Ok(steps)
}

/// Adds a module after those that it requires.
fn choose(module: &'static Module, chosen: &mut Vec<&'static Module>) {
    for required in module
        .requires
        .iter()
        .filter_map(|name| modules::find(name))
    {
        choose(required, chosen);
    }
    if !chosen.iter().any(|other| other.name == module.name) {
        chosen.push(module);
    }
}

fn known(name: &str) -> Result<&'static Module> {
    modules::find(name).ok_or_else(|| {
        let names: Vec<_> = modules::ALL.iter().map(|module| module.name).collect();
        Error::invalid("there is no such module")
            .detail(format!("module {name:?}"))
            .hint(format!("choose of: {}", names.join(", ")))
    })
}

/// One deploy at a time in a database; the second one finds the work done.
fn serialise() -> Result<()> {
    lock::take_turns("gemba.schema_versions")
}

fn bring_to(module: &'static Module, target: i32) -> Result<Vec<Step>> {
    let installed = installed_version(module)?;
    let mut steps = Vec::new();
    for migration in module.migrations {
        if migration.version > installed && migration.version <= target {
            steps.push(run(module, migration, "up", migration.up)?);
        }
    }
    for migration in module.migrations.iter().rev() {
        if migration.version <= installed && migration.version > target {
            steps.push(run(module, migration, "down", migration.down)?);
        }
    }
    Ok(steps)
}

/// The highest version whose last step was up.
fn installed_version(module: &Module) -> Result<i32> {
    Ok(spi::read_one::<i32>(
        "SELECT max(version) FROM (
           SELECT DISTINCT ON (version) version, direction
             FROM gemba.schema_versions WHERE module = $1 ORDER BY version, id DESC) AS last
          WHERE direction = 'up'",
        &[module.name.into()],
    )?
    .unwrap_or(0))
}

fn run(
    module: &'static Module,
    migration: &'static Migration,
    direction: &'static str,
    sql: &str,
) -> Result<Step> {
    let started = Instant::now();
    spi::write(sql, &[])?;
    let execution_ms = started.elapsed().as_secs_f64() * 1_000.0;
    spi::write(
        "INSERT INTO gemba.schema_versions (module, version, name, checksum, direction, execution_ms)
         VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            module.name.into(),
            migration.version.into(),
            migration.name.into(),
            migration.checksum().into(),
            direction.into(),
            execution_ms.into(),
        ],
    )?;
    Ok(Step {
        module: module.name,
        version: migration.version,
        name: migration.name,
        direction,
        execution_ms,
    })
}

/// A migration that was applied and has another text now: the database may not be what it says.
fn warn_of_changed_text(modules: &[&Module]) -> Result<()> {
    for module in modules {
        let changed = spi::read_one::<String>(
            "SELECT pg_catalog.array_to_string(changed_versions, ', ') FROM gemba.modules
              WHERE module = $1 AND changed_versions <> '{}'",
            &[module.name.into()],
        )?;
        if let Some(versions) = changed {
            warning!(
                "gemba: module {}: the text of applied migrations has changed: {versions}",
                module.name
            );
        }
    }
    Ok(())
}

fn refuse_while_needed(module: &Module) -> Result<()> {
    for other in modules::ALL {
        if other.requires.contains(&module.name) && installed_version(other)? > 0 {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                "another deployed module requires this one",
            )
            .detail(format!(
                "module {:?} requires {:?}",
                other.name, module.name
            ))
            .hint(format!("undeploy {:?} first", other.name)));
        }
    }
    Ok(())
}

/// How the comments of tables begin that other modules have in this one's schema.
fn marks_of_others(module: &Module) -> Vec<String> {
    modules::ALL
        .iter()
        .filter(|other| other.name != module.name && other.schema == module.schema)
        .filter_map(|other| other.mark.map(str::to_owned))
        .collect()
}

fn refuse_while_filled(module: &Module) -> Result<()> {
    let tables = spi::read_all(
        "SELECT c.relname::text FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND ($2 IS NULL OR pg_catalog.starts_with(pg_catalog.obj_description(c.oid, 'pg_class'), $2))
            AND NOT EXISTS (SELECT FROM unnest($3) AS mark
                             WHERE pg_catalog.starts_with(pg_catalog.obj_description(c.oid, 'pg_class'), mark))
          ORDER BY c.relname",
        &[
            module.schema.into(),
            module.mark.map(str::to_owned).into(),
            marks_of_others(module).into(),
        ],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )?;
    for table in tables {
        if module.reference_tables.contains(&table.as_str()) {
            continue;
        }
        let sql = spi::qualified(module.schema, &table);
        if spi::read_one::<bool>(&format!("SELECT true FROM {sql} LIMIT 1"), &[])?.is_some() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                "the module's tables hold rows",
            )
            .detail(format!("table {sql} is not empty"))
            .hint(
                "save the rows and empty the tables, or call gemba.undeploy(module, force => true)",
            ));
        }
    }
    Ok(())
}
