//! The SQL functions of rollups.

use super::capture;
use super::definition::{self, Measure, Rollup};
use super::refresh::{self, Outcome};
use super::table;
use crate::engine::partitions::set::Set;
use crate::error::{Error, OrRaise, Result};
use crate::postgres::relation::{self, Relation};
use crate::postgres::spi::{ident, literal};
use crate::postgres::{role, spi, subtransaction, time};
use gemba_core::calendar::Step;
use pgrx::JsonB;
use pgrx::PgRelation;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

#[expect(
    clippy::too_many_arguments,
    reason = "they have names and defaults in SQL"
)]
#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn create_rollup(
    rollup: &str,
    source: PgRelation,
    time_column: &str,
    bucket: Interval,
    group_by: Option<Vec<String>>,
    measures: default!(Option<JsonB>, "NULL"),
    time_zone: default!(&str, "'UTC'"),
    partition_by: default!(Option<Interval>, "NULL"),
) -> Result<i32, ErrorReport> {
    let source = Relation::open(relation::oid(source))?;
    role::require_owner(&source)?;
    if !matches!(source.kind, 'r' | 'p') {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            "the source of a rollup must be a table",
        )
        .detail(format!("{} is something else", source.sql()))
        .hint("name an ordinary or partitioned table, or the table of another rollup")
        .into());
    }
    let column = source.column(time_column)?;
    if column.type_name != "timestamp with time zone" {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            "the time column must be a timestamptz",
        )
        .detail(format!(
            "column {time_column:?} of {} is {}",
            source.sql(),
            column.type_name
        ))
        .hint(
            "store instants: ALTER TABLE … ALTER COLUMN … TYPE timestamptz USING … AT TIME ZONE …",
        )
        .into());
    }
    let group_by = group_by.unwrap_or_default();
    for name in &group_by {
        source.column(name)?;
    }
    let given = measures
        .as_ref()
        .map(definition::parse_measures)
        .transpose()?;
    if let Some(name) = given
        .iter()
        .flatten()
        .map(|measure| &measure.name)
        .find(|name| group_by.contains(name))
    {
        return Err(Error::invalid("a measure has the name of a group column")
            .detail(format!("measure {name:?}"))
            .hint("give the measure another name")
            .into());
    }
    let (schema, name) = target(rollup)?;
    let step = time::step(&bucket)?;
    let zone = time::ServerZone::named(time_zone)?;
    if let Some(partition_by) = &partition_by {
        definition::refuse_cut_buckets(rollup, (step, &zone), (time::step(partition_by)?, &zone))?;
    }
    // The caller is known now; the catalog is the extension's.
    Ok(role::as_extension(|| {
        let source_rollup = Rollup::id_of(source.oid)?;
        let measures = match source_rollup {
            Some(id) => {
                let parent = Rollup::by_id(id)?;
                definition::refuse_unless_nested(rollup, step, &zone, &parent)?;
                refuse_wide(&source, rollup, step)?;
                definition::inherit_measures(given, &parent)?
            }
            None => {
                check_source(&source, time_column, rollup, step)?;
                given_measures(given, &source)?
            }
        };
        create(
            Rollup {
                id: 0,
                table: source.clone(),
                source,
                source_rollup,
                time_column: time_column.to_owned(),
                bucket,
                step,
                zone,
                group_by,
                measures,
                retires: false,
            },
            partition_by.as_ref(),
            &schema,
            &name,
        )
    })?)
}

/// Whether all changes of the table can be noticed: also those that come with partitions.
fn check_source(source: &Relation, time_column: &str, rollup: &str, step: Step) -> Result<()> {
    let wrong = |what: &str| {
        Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, "a rollup cannot follow this table")
            .detail(format!("{}: {what}", source.sql()))
            .hint("use an ordinary table, or one partitioned by range on the time column itself, in one level")
    };
    let strange = spi::read_one::<String>(
        "SELECT CASE
           WHEN c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)
             THEN 'it has children by inheritance'
           WHEN c.relkind = 'p' AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_partitioned_table p
                  JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                 WHERE p.partrelid = c.oid AND p.partstrat = 'r' AND p.partnatts = 1 AND a.attname = $2::name)
             THEN 'it is not partitioned by range on its time column'
           WHEN c.relkind = 'p' AND EXISTS (
                SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class l ON l.oid = i.inhrelid
                 WHERE i.inhparent = c.oid AND l.relkind = 'p')
             THEN 'its partitions are partitioned again' END
         FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[source.oid.into(), time_column.into()],
    )?;
    if let Some(what) = strange {
        return Err(wrong(&what));
    }
    refuse_wide(source, rollup, step)
}

fn refuse_wide(source: &Relation, rollup: &str, step: Step) -> Result<()> {
    if source.kind != 'p' {
        return Ok(());
    }
    match Set::find(source.oid)? {
        Some(set) => definition::refuse_wider_than(rollup, step, set.step),
        None => Ok(()),
    }
}

fn create(
    mut definition: Rollup,
    partition_by: Option<&Interval>,
    schema: &str,
    name: &str,
) -> Result<i32> {
    let source = definition.source.clone();

    // Writers that began before the triggers were there would go unnoticed: wait for them, in the
    // partitions too, before the first build looks.
    let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", source.sql());
    role::as_owner(source.owner, || spi::write(&lock, &[]))?;

    let table_sql = spi::qualified(schema, name);
    let id = spi::write_returning(
        "SELECT pg_catalog.nextval('gemba.rollup_definitions_id_seq')::int",
        &[],
        |row| Ok(row.get::<i32>(1)?.unwrap_or_default()),
    )?
    .into_iter()
    .next()
    .unwrap_or_default();
    definition.id = id;
    role::as_owner(source.owner, || {
        table::create(&definition, &table_sql, schema, partition_by.is_some())
    })?;
    let oid = spi::read_one::<pg_sys::Oid>(
        "SELECT $1::pg_catalog.regclass::oid",
        &[table_sql.as_str().into()],
    )?
    .unwrap_or(pg_sys::InvalidOid);
    definition.table = Relation::open(oid)?;
    spi::write(
        "INSERT INTO gemba.rollup_definitions (id, rollup, source, source_rollup, time_column, bucket, group_by, measures, time_zone)
         VALUES ($1, $2, $3, $4, $5::name, $6, $7::name[], $8, $9)",
        &[
            id.into(),
            oid.into(),
            source.oid.into(),
            definition.source_rollup.into(),
            definition.time_column.as_str().into(),
            definition.bucket.into(),
            definition.group_by.clone().into(),
            JsonB(serde_json::to_value(&definition.measures).unwrap_or_default()).into(),
            definition.zone.name().into(),
        ],
    )?;
    if let Some(partition_by) = partition_by {
        table::manage(&definition, partition_by)?;
    }
    capture_from_now_on(&definition)?;
    let view = live_view(&definition, schema, name)?;
    role::as_owner(source.owner, || spi::write(&view, &[]))?;
    Ok(id)
}

/// Changes of a table are caught by triggers; those of a rollup are noted by its own refresh.
fn capture_from_now_on(rollup: &Rollup) -> Result<()> {
    if rollup.source_rollup.is_none() {
        capture::watch(rollup)?;
    }
    // Everything is yet to be computed.
    capture::note_rollup(rollup, i64::MIN, i64::MAX)
}

fn given_measures(given: Option<Vec<Measure>>, source: &Relation) -> Result<Vec<Measure>> {
    let measures = given.ok_or_else(|| {
        Error::invalid("a rollup of a table needs measures")
            .detail(format!("source {}", source.sql()))
            .hint("give for instance {\"total\": {\"function\": \"sum\", \"column\": \"value\"}}")
    })?;
    for column in measures
        .iter()
        .filter_map(|measure| measure.column.as_deref())
    {
        source.column(column)?;
    }
    Ok(measures)
}

/// Splits `schema.table` with the server's own rules for quoting.
fn target(rollup: &str) -> Result<(String, String)> {
    let parts =
        spi::read_one::<Vec<String>>("SELECT pg_catalog.parse_ident($1)", &[rollup.into()])?
            .unwrap_or_default();
    match <[String; 2]>::try_from(parts) {
        Ok([schema, name]) => Ok((schema, name)),
        Err(_) => Err(Error::invalid("the rollup needs a name with its schema")
            .detail(format!("rollup {rollup:?}"))
            .hint("write schema.table")),
    }
}

/// The rollup plus what is not refreshed yet, computed on the fly from the source.
fn live_view(rollup: &Rollup, schema: &str, name: &str) -> Result<String> {
    let source = match rollup.source_rollup {
        // The days of a live view are made of live hours.
        Some(_) => spi::qualified(&rollup.source.schema, &live_name(&rollup.source.name)),
        None => rollup.source.sql(),
    };
    let stored: Vec<_> = rollup
        .columns()
        .iter()
        .map(|column| ident(column))
        .collect();
    let derived = rollup.derived();
    let read: String = derived
        .iter()
        .map(|(name, _)| format!(", {}", ident(name)))
        .collect();
    let computed: String = derived
        .iter()
        .map(|(name, expression)| format!(", {expression} AS {}", ident(name)))
        .collect();
    let tail = rollup.select(&source, "pending.from_bucket", "pending.to_bucket");
    let id = rollup.id;
    let columns = stored.join(", ");
    let view = spi::qualified(schema, &live_name(name));
    Ok(format!(
        "CREATE VIEW {view} WITH (security_invoker = true) AS
         SELECT {columns}{read} FROM {table} AS held
          WHERE NOT EXISTS (SELECT FROM gemba.pending_buckets({id}) AS pending
                             WHERE held.bucket >= pending.from_bucket AND held.bucket < pending.to_bucket)
         UNION ALL
         SELECT {columns}{computed}
           FROM gemba.pending_buckets({id}) AS pending CROSS JOIN LATERAL ({tail}) AS tail;
         COMMENT ON VIEW {view} IS {comment}",
        table = rollup.table.sql(),
        comment = literal(&format!(
            "{} and, computed on the fly, what is not refreshed yet",
            rollup.table.sql()
        )),
    ))
}

fn live_name(table: &str) -> String {
    format!("{table}_live")
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn drop_rollup(rollup: &str) -> Result<(), ErrorReport> {
    let rollup = role::as_extension(|| Rollup::named(rollup))?;
    role::require_owner(&rollup.table)?;
    Ok(role::as_extension(|| drop(&rollup))?)
}

fn drop(rollup: &Rollup) -> Result<()> {
    if let Some(child) = spi::read_one::<String>(
        "SELECT rollup::text FROM gemba.rollup_definitions WHERE source_rollup = $1 LIMIT 1",
        &[rollup.id.into()],
    )? {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            "another rollup is built from this one",
        )
        .detail(format!("{child} reads {}", rollup.table.sql()))
        .hint(format!("call gemba.drop_rollup('{child}') first")));
    }
    capture::unwatch(rollup)?;
    for table in ["rollup_changes", "rollup_leaves", "rollup_expired"] {
        spi::write(
            &format!("DELETE FROM gemba.{table} WHERE rollup_id = $1"),
            &[rollup.id.into()],
        )?;
    }
    spi::write(
        "DELETE FROM gemba.rollup_definitions WHERE id = $1",
        &[rollup.id.into()],
    )?;
    let view = spi::qualified(&rollup.table.schema, &live_name(&rollup.table.name));
    // As its owner: a view of this name may be somebody else's by now.
    role::as_owner(rollup.table.owner, || {
        spi::write(&format!("DROP VIEW IF EXISTS {view}"), &[])?;
        spi::write(&format!("DROP TABLE {}", rollup.table.sql()), &[])
    })?;
    Ok(())
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
fn unfreeze_rollup(
    rollup: &str,
    from_ts: TimestampWithTimeZone,
    to_ts: TimestampWithTimeZone,
) -> Result<i64, ErrorReport> {
    let rollup = role::as_extension(|| Rollup::named(rollup))?;
    role::require_owner(&rollup.table)?;
    let (from, to) = (time::micros(from_ts), time::micros(to_ts));
    Ok(role::as_extension(|| {
        let freed = spi::write(
            "DELETE FROM gemba.rollup_expired
              WHERE rollup_id = $1 AND from_time < $3 AND to_time > $2",
            &[rollup.id.into(), from_ts.into(), to_ts.into()],
        )?;
        capture::note_rollup(&rollup, from, to)?;
        Ok(freed as i64)
    })?)
}

type OutcomeRow = (String, i64, i64, i64, i64, f64, Option<String>);

fn row(outcome: Outcome) -> OutcomeRow {
    (
        outcome.rollup,
        outcome.ranges,
        outcome.rows_written,
        outcome.rows_removed,
        outcome.ranges_frozen,
        outcome.milliseconds,
        None,
    )
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn refresh_rollup(
    rollup: &str,
) -> Result<
    TableIterator<
        'static,
        (
            name!(rollup, String),
            name!(ranges, i64),
            name!(rows_written, i64),
            name!(rows_removed, i64),
            name!(ranges_frozen, i64),
            name!(milliseconds, f64),
            name!(error, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let outcomes = refresh::refresh_with_sources(&Rollup::named(rollup)?)?;
    Ok(TableIterator::new(outcomes.into_iter().map(row)))
}

#[pg_extern(schema = "gemba", volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn refresh_rollups() -> Result<
    TableIterator<
        'static,
        (
            name!(rollup, String),
            name!(ranges, i64),
            name!(rows_written, i64),
            name!(rows_removed, i64),
            name!(ranges_frozen, i64),
            name!(milliseconds, f64),
            name!(error, Option<String>),
        ),
    >,
    ErrorReport,
> {
    // A rollup is older than those built from it.
    let rollups = spi::read_all(
        "SELECT id, rollup::text FROM gemba.rollup_definitions ORDER BY id",
        &[],
        |row| {
            Ok((
                row.get::<i32>(1)?.unwrap_or_default(),
                row.get::<String>(2)?.unwrap_or_default(),
            ))
        },
    )?;
    let mut rows = Vec::with_capacity(rollups.len());
    for (id, name) in rollups {
        // One rollup that fails must not keep the others stale.
        let outcome = subtransaction::run(|| {
            Rollup::by_id(id)
                .and_then(|rollup| refresh::refresh(&rollup))
                .or_raise()
        });
        rows.push(match outcome {
            Ok(outcome) => row(outcome),
            Err(failure) => (name, 0, 0, 0, 0, 0.0, Some(failure.message)),
        });
    }
    Ok(TableIterator::new(rows))
}
