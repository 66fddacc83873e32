//! Refreshes that this database does itself: materialized views, and tables with a refresh function.
//!
//! REFRESH is for the view's owner; that one statement runs with the owner's rights, and PostgreSQL itself runs
//! the view's query as its owner in a restricted context. A refresh function runs with the rights of whoever
//! calls, because its name is a text in a table, and a text must not gain rights. A superuser has too many to
//! give away like that: called by one, the function runs with the rights of service_role.

#![expect(unsafe_code, reason = "a procedure that commits")]

use crate::error::{Error, OrRaise, Result};
use crate::postgres::setting::with_setting;
use crate::postgres::subtransaction::{self, Failure};
use crate::postgres::{role, spi};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};

/// A claimed run.
struct Run {
    schema: String,
    table: String,
    method: String,
    function: Option<(String, String)>,
}

/// What a refresh said that it did.
#[derive(Default)]
struct Counts {
    processed: Option<i64>,
    inserted: Option<i64>,
    updated: Option<i64>,
    deleted: Option<i64>,
    metadata: Map<String, Value>,
}

/// Performs a claimed run and reports its end.
#[pg_extern(schema = "sqp", volatile, parallel_unsafe)]
#[search_path(pg_catalog, pg_temp)]
pub fn refresh_in_database(
    run: i64,
) -> Result<
    TableIterator<
        'static,
        (
            name!(status, String),
            name!(rows, Option<i64>),
            name!(message, Option<String>),
        ),
    >,
    ErrorReport,
> {
    Ok(TableIterator::once(perform(run)?))
}

fn perform(run: i64) -> Result<(String, Option<i64>, Option<String>)> {
    let Some(claimed) = find(run)? else {
        spi::write("SELECT sqp._refuse_ended($1)", &[run.into()])?;
        return Err(Error::state("the run has ended").detail(format!("run {run}")));
    };
    if claimed.method == "external" {
        return Err(
            Error::state("the table is not refreshed in this database")
                .detail(format!(
                    "run {run} is of {}.{}, which is neither a materialized view nor has a refresh function",
                    claimed.schema, claimed.table
                ))
                .hint("sqp.set_refresh_function() gives it one; otherwise a worker does it and calls sqp.complete_refresh()"),
        );
    }
    let worked = subtransaction::run(|| {
        let counts = work(&claimed).or_raise();
        // What was put off to the end of the transaction belongs to the work, and can fail.
        spi::write("SET CONSTRAINTS ALL IMMEDIATE", &[]).or_raise();
        counts
    });
    let mut counts = match worked {
        Ok(counts) => counts,
        Err(failure) => return Ok(failed(run, &failure)),
    };
    // The data are there already; a rule that cannot be measured does not undo them.
    let measured = subtransaction::run(|| {
        spi::write("SELECT FROM sqp.measure_quality($1)", &[run.into()]).or_raise()
    });
    let mut message = None;
    if let Err(failure) = measured {
        counts.metadata.insert(
            "measure_quality".to_owned(),
            Value::String(failure.message.clone()),
        );
        message = Some(format!(
            "its quality could not be measured: {}",
            failure.message
        ));
    }
    let processed = counts.processed;
    match subtransaction::run(|| complete(run, counts, message.is_some()).or_raise()) {
        Ok(status) => Ok((status, processed, message)),
        // For instance because the refresh function has dropped its own table, or reported its own run.
        Err(failure) => Ok(failed(run, &failure)),
    }
}

fn complete(run: i64, counts: Counts, unmeasured: bool) -> Result<String> {
    if unmeasured {
        spi::write(
            "SELECT sqp.record_quality($1, 'measure_quality', NULL, NULL, 0, 0)",
            &[run.into()],
        )?;
    }
    let status = spi::write_returning(
        "SELECT status FROM sqp.complete_refresh($1, $2, $3, $4, $5, $6::jsonb)",
        &[
            run.into(),
            counts.processed.into(),
            counts.inserted.into(),
            counts.updated.into(),
            counts.deleted.into(),
            Value::Object(counts.metadata).to_string().into(),
        ],
        |row| Ok(row.get::<String>(1)?.unwrap_or_default()),
    )?;
    Ok(status.into_iter().next().unwrap_or_default())
}

/// Reports a failure, unless the run has ended by itself: one table that cannot be refreshed costs the others
/// nothing.
fn failed(run: i64, failure: &Failure) -> (String, Option<i64>, Option<String>) {
    let details = json!({ "sqlstate": failure.sqlstate, "detail": failure.detail });
    let reported = subtransaction::run(|| {
        spi::write(
            "SELECT sqp.fail_refresh($1, $2, $3::jsonb)",
            &[
                run.into(),
                failure.message.as_str().into(),
                details.to_string().into(),
            ],
        )
        .or_raise()
    });
    if let Err(again) = reported {
        warning!(
            "gemba: run {run} failed ({}), and could not be reported: {}",
            failure.message,
            again.message
        );
    }
    ("failed".to_owned(), None, Some(failure.message.clone()))
}

fn find(run: i64) -> Result<Option<Run>> {
    // As a write: the claim may be this transaction's own.
    let found = spi::write_returning(
        "SELECT table_schema, table_name, method, function_schema::text, function_name::text
           FROM sqp.refresh_config WHERE run_id = $1 FOR KEY SHARE",
        &[run.into()],
        |row| {
            Ok(Run {
                schema: row.get::<String>(1)?.unwrap_or_default(),
                table: row.get::<String>(2)?.unwrap_or_default(),
                method: row.get::<String>(3)?.unwrap_or_default(),
                function: row.get::<String>(4)?.zip(row.get::<String>(5)?),
            })
        },
    )?;
    Ok(found.into_iter().next())
}

fn work(run: &Run) -> Result<Counts> {
    match &run.function {
        Some((schema, name)) => call(schema, name),
        None => refresh(run),
    }
}

/// REFRESH MATERIALIZED VIEW, without keeping readers out where that is possible.
fn refresh(run: &Run) -> Result<Counts> {
    let view = spi::write_returning(
        "SELECT c.relowner,
                c.relispopulated AND EXISTS (
                  SELECT FROM pg_index i
                   WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                     AND i.indpred IS NULL AND i.indexprs IS NULL)
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = $1::name AND c.relname = $2::name AND c.relkind = 'm'",
        &[run.schema.as_str().into(), run.table.as_str().into()],
        |row| {
            Ok((
                row.get::<pg_sys::Oid>(1)?.unwrap_or(pg_sys::InvalidOid),
                row.get::<bool>(2)?.unwrap_or(false),
            ))
        },
    )?;
    let Some(&(owner, concurrently)) = view.first() else {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            "the materialized view does not exist",
        )
        .detail(format!("{}.{}", run.schema, run.table))
        .hint("make it again, or take it out of sqp.refresh_config"));
    };
    let name = spi::qualified(&run.schema, &run.table);
    let how = if concurrently { "CONCURRENTLY " } else { "" };
    let rows = role::as_owner_of_statement(owner, || -> Result<_> {
        // Readers queue behind a lock that is waited for. One that cannot be had within a few seconds makes it fail;
        // then it is tried again later.
        with_setting(c"lock_timeout", "5s", || {
            spi::write(&format!("REFRESH MATERIALIZED VIEW {how}{name}"), &[])
        })?;
        let rows = spi::write_returning(&format!("SELECT count(*) FROM {name}"), &[], |row| {
            Ok(row.get::<i64>(1)?)
        })?;
        Ok(rows.into_iter().next().flatten())
    })?;
    let mut counts = Counts {
        processed: rows,
        ..Counts::default()
    };
    counts
        .metadata
        .insert("concurrently".to_owned(), Value::Bool(concurrently));
    Ok(counts)
}

/// Calls a refresh function without arguments.
fn call(schema: &str, name: &str) -> Result<Counts> {
    let returns = spi::write_returning(
        "SELECT p.prorettype = 'void'::regtype FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
          WHERE n.nspname = $1::name AND p.proname = $2::name AND p.prokind = 'f' AND p.pronargs = p.pronargdefaults",
        &[schema.into(), name.into()],
        |row| Ok(row.get::<bool>(1)?.unwrap_or(false)),
    )?;
    let Some(&nothing) = returns.first() else {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            "the refresh function does not exist",
        )
        .detail(format!("{schema}.{name}, callable without arguments"))
        .hint("name another with sqp.set_refresh_function()"));
    };
    let function = spi::qualified(schema, name);
    let sql = if nothing {
        format!("SELECT NULL::text FROM (SELECT {function}()) AS f")
    } else {
        format!("SELECT to_jsonb(f)::text FROM {function}() AS f")
    };
    let run = || spi::write_returning(&sql, &[], |row| Ok(row.get::<String>(1)?));
    let answers = if role::is_superuser(role::current()) {
        role::as_owner(service_role()?, run)?
    } else {
        run()?
    };
    match answers.as_slice() {
        [Some(answer)] => Ok(understood(answer)),
        _ => Ok(Counts::default()),
    }
}

fn service_role() -> Result<pg_sys::Oid> {
    role::find("service_role")?
        .filter(|role| !role::is_superuser(*role))
        .ok_or_else(|| {
            Error::denied("a superuser does not run refresh functions with his own rights")
                .detail("there is no role service_role to run them as, or it is a superuser")
                .hint("SET ROLE to the role that is to refresh")
        })
}

/// Counts, from whatever a function returned: a sqp.refresh_counts (or an object with the same keys), or a number
/// of rows. Anything else says nothing.
fn understood(answer: &str) -> Counts {
    let count = |value: &Value| value.as_i64().filter(|count| *count >= 0);
    let mut counts = Counts::default();
    match serde_json::from_str(answer) {
        Ok(Value::Object(fields)) => {
            for (key, value) in fields {
                match key.as_str() {
                    "rows_processed" => counts.processed = count(&value),
                    "rows_inserted" => counts.inserted = count(&value),
                    "rows_updated" => counts.updated = count(&value),
                    "rows_deleted" => counts.deleted = count(&value),
                    _ => {
                        counts.metadata.insert(key, value);
                    }
                }
            }
        }
        Ok(value) => counts.processed = count(&value),
        Err(_) => {}
    }
    counts
}

const CLAIM: &core::ffi::CStr = c"SELECT run_id FROM sqp.claim_refresh(pg_catalog.format('database session %s', pg_catalog.pg_backend_pid()), '1 hour', 1, ARRAY['materialized view', 'function'])";

/// The number in the only column of the only row, if there is one.
///
/// # Safety
/// In an SPI connection.
unsafe fn execute_for_run(sql: &core::ffi::CStr) -> Option<i64> {
    // SAFETY: the result is read before anything else is executed, with its own descriptor.
    unsafe {
        pg_sys::SPI_execute(sql.as_ptr(), false, 0);
        if pg_sys::SPI_processed == 0 || pg_sys::SPI_tuptable.is_null() {
            return None;
        }
        let table = pg_sys::SPI_tuptable;
        let mut null = false;
        let datum = pg_sys::SPI_getbinval(*(*table).vals, (*table).tupdesc, 1, &raw mut null);
        i64::from_datum(datum, null)
    }
}

/// `CALL sqp.refresh_all_due()`: one refresh after the other, each committed before the next begins, so that no
/// lock of one lasts until all are done. Inside somebody's transaction it cannot commit, and does not.
///
/// # Safety
/// Called by PostgreSQL, without arguments.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn gemba_refresh_all_due(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: a CALL's context is a CallContext, as its tag says. Each round opens and closes one SPI
    // connection; an error closes it with its transaction.
    unsafe {
        let context = (*fcinfo).context;
        let may_commit = !context.is_null()
            && (*context).type_ == pg_sys::NodeTag::T_CallContext
            && !(*context.cast::<pg_sys::CallContext>()).atomic;
        loop {
            pgrx::check_for_interrupts!();
            let options = if may_commit {
                pg_sys::SPI_OPT_NONATOMIC as i32
            } else {
                0
            };
            pg_sys::SPI_connect_ext(options);
            // The claim is committed first: what then becomes of this session, others see it, and a crash or a
            // timeout counts as a failed attempt.
            let run = execute_for_run(CLAIM);
            if may_commit {
                pg_sys::SPI_commit();
            }
            if let Some(run) = run {
                let perform =
                    std::ffi::CString::new(format!("SELECT FROM sqp.refresh_in_database({run})"))
                        .unwrap_or_default();
                pg_sys::SPI_execute(perform.as_ptr(), false, 0);
                if may_commit {
                    pg_sys::SPI_commit();
                }
            }
            pg_sys::SPI_finish();
            if run.is_none() {
                break;
            }
        }
        (*fcinfo).isnull = true;
    }
    pg_sys::Datum::null()
}

/// How PostgreSQL is to call it.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_gemba_refresh_all_due() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}
