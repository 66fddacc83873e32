//! The audit trail: what it costs to have a table audited, beside a trigger for each row as people write it and
//! supa_audit, where the server has that.

mod seals;

use crate::Options;
use crate::report::{Report, factor};
use crate::samples::{Samples, show};
use crate::server::{Server, progress, time};
use anyhow::{Result, ensure};
use postgres::Client;
use std::time::Duration;

const DATABASE: &str = "bench_audit";

/// How much slower an audited statement may be than one that is not.
const INSERT_LIMIT: f64 = 3.0;
const UPDATE_LIMIT: f64 = 4.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    None,
    Gemba,
    RowTrigger,
    SupaAudit,
}

impl Side {
    fn label(self) -> &'static str {
        match self {
            Self::None => "not audited",
            Self::Gemba => "gemba",
            Self::RowTrigger => "row trigger in PL/pgSQL",
            Self::SupaAudit => "supa_audit",
        }
    }

    /// Puts the table `parts` under audit.
    fn audit(self, client: &mut Client) -> Result<()> {
        client.batch_execute(match self {
            Self::None => "",
            Self::Gemba => "CREATE EXTENSION gemba; SELECT gemba.audit('public.parts')",
            Self::RowTrigger => include_str!("../sql/audit/row_trigger.sql"),
            Self::SupaAudit => {
                "CREATE EXTENSION supa_audit CASCADE; SELECT audit.enable_tracking('public.parts'::regclass)"
            }
        })?;
        Ok(())
    }

    /// Entries that the log has of changes.
    fn entries(self, client: &mut Client) -> Result<Option<i64>> {
        let table = match self {
            Self::None => return Ok(None),
            Self::Gemba => "cloudwatcher.audit_logs WHERE operation <> 'AUDIT'",
            Self::RowTrigger => "audit_logs",
            Self::SupaAudit => "audit.record_version",
        };
        let count = client.query_one(&format!("SELECT count(*) FROM {table}"), &[])?;
        Ok(Some(count.get(0)))
    }
}

/// What one side took.
#[derive(Default)]
struct Taken {
    insert: Samples,
    update: Samples,
    /// One row at a time, each in a transaction of its own.
    single: Samples,
}

pub fn measure(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    let rows: i64 = if options.quick { 5_000 } else { 200_000 };
    let mut sides = vec![Side::None, Side::Gemba, Side::RowTrigger];
    if has_supa_audit(server)? {
        sides.push(Side::SupaAudit);
    } else {
        report.note("**supa_audit: not on this server**, so there are no rows of it");
        progress("supa_audit: NOT ON THIS SERVER, nothing of it is measured");
    }
    let mut taken: Vec<_> = sides.iter().map(|side| (*side, Taken::default())).collect();
    // In turns, so that what the machine does meanwhile is nobody's alone.
    for run in 1..=options.runs {
        for (side, taken) in &mut taken {
            progress(&format!("audit: {}, run {run}", side.label()));
            measure_once(server, *side, rows, options, taken)?;
        }
    }
    server.drop_database(DATABASE)?;
    let half = rows / 2;
    show_all(
        report,
        &format!("INSERT of {rows} rows"),
        rows,
        &taken,
        |t| &t.insert,
    );
    show_all(
        report,
        &format!("UPDATE of two columns of {half} rows"),
        half,
        &taken,
        |t| &t.update,
    );
    show_all(report, "UPDATE of one row, by its key", 1, &taken, |t| {
        &t.single
    });
    target(report, "audited bulk INSERT", INSERT_LIMIT, &taken, |t| {
        &t.insert
    });
    target(report, "audited bulk UPDATE", UPDATE_LIMIT, &taken, |t| {
        &t.update
    });
    seals::measure(server, options, report)
}

fn has_supa_audit(server: &Server) -> Result<bool> {
    let found = server.connect("postgres")?.query(
        "SELECT FROM pg_available_extensions WHERE name = 'supa_audit'",
        &[],
    )?;
    Ok(!found.is_empty())
}

fn measure_once(
    server: &Server,
    side: Side,
    rows: i64,
    options: &Options,
    taken: &mut Taken,
) -> Result<()> {
    server.create_database(DATABASE)?;
    let mut client = server.connect(DATABASE)?;
    let tables = include_str!("../sql/audit/tables.sql").replace("{rows}", &rows.to_string());
    client.batch_execute(&tables)?;
    side.audit(&mut client)?;
    for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
        client.batch_execute(statement)?;
    }
    let statement = |client: &mut Client, sql: &str, rows: i64| -> Result<Duration> {
        let (took, changed) = time(|| Ok(client.execute(sql, &[])?))?;
        ensure!(changed == rows.unsigned_abs(), "{sql}: {changed} rows");
        Ok(took)
    };
    taken.insert.push(statement(
        &mut client,
        "INSERT INTO parts SELECT * FROM given",
        rows,
    )?);
    client.batch_execute("VACUUM ANALYZE parts")?;
    client.batch_execute("CHECKPOINT")?;
    taken.update.push(statement(
        &mut client,
        "UPDATE parts SET quantity = quantity + 1, price = price + 1 WHERE substr(name, 13)::int % 2 = 0",
        rows / 2,
    )?);
    let ids = client.query(
        &format!(
            "SELECT id::text FROM given ORDER BY id LIMIT {}",
            options.calls
        ),
        &[],
    )?;
    let one =
        client.prepare("UPDATE parts SET quantity = quantity + 1 WHERE id = $1::text::uuid")?;
    for id in &ids {
        let id: String = id.get(0);
        let (took, _) = time(|| Ok(client.execute(&one, &[&id])?))?;
        taken.single.push(took);
    }
    if let Some(found) = side.entries(&mut client)? {
        let wanted = rows + rows / 2 + ids.len() as i64;
        ensure!(
            found == wanted,
            "{}: {found} entries instead of {wanted}",
            side.label()
        );
    }
    Ok(())
}

fn show_all(
    report: &mut Report,
    what: &str,
    rows: i64,
    taken: &[(Side, Taken)],
    of: impl Fn(&Taken) -> &Samples,
) {
    let plain = of(&taken[0].1).median();
    for (side, taken) in taken {
        let samples = of(taken);
        let more = samples.median().saturating_sub(plain);
        let detail = if *side == Side::None {
            String::new()
        } else {
            let each = more.as_secs_f64() * 1e6 / rows as f64;
            format!("; {each:.1} µs a row more")
        };
        report.row(
            what,
            side.label(),
            show(samples.median()),
            format!("{}{detail}", samples.spread()),
            samples.count(),
            format!("{} the unaudited time", ratio(samples, plain)),
        );
    }
}

fn ratio(samples: &Samples, plain: Duration) -> String {
    factor(samples.median().as_secs_f64() / plain.as_secs_f64().max(1e-9))
}

fn target(
    report: &mut Report,
    what: &str,
    limit: f64,
    taken: &[(Side, Taken)],
    of: impl Fn(&Taken) -> &Samples,
) {
    let plain = of(&taken[0].1).median();
    let Some((_, ours)) = taken.iter().find(|(side, _)| *side == Side::Gemba) else {
        return;
    };
    let met = of(ours).median().as_secs_f64() <= limit * plain.as_secs_f64();
    let verdict = if met { "met" } else { "**missed**" };
    report.note(&format!(
        "target {verdict}: {what} in at most {limit} times the unaudited time: {}",
        ratio(of(ours), plain)
    ));
}
