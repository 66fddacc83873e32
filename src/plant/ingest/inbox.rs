//! The pipelines for clients that COPY: rows wait in a table of texts until somebody processes them.

use super::{Given, Outcome};
use crate::error::{Error, Result};
use crate::postgres::spi;

/// Takes up to so many waiting rows out of the inbox and hands them to the pipeline. Rows that another
/// session is processing are left to it.
///
/// # Errors
/// `22023` for a number below 1; what the pipeline raises, and then the rows wait on.
pub fn process(
    inbox: &str,
    most: i32,
    pipeline: fn(&[Given]) -> Result<Outcome>,
) -> Result<Outcome> {
    if most < 1 {
        return Err(Error::invalid("max_rows is not above zero")
            .detail(format!("max_rows {most}"))
            .hint("give the number of rows to process at most"));
    }
    let mut waiting = spi::write_returning(
        &format!(
            "DELETE FROM {inbox} i USING (
               SELECT w.line_no FROM {inbox} w ORDER BY w.line_no LIMIT $1 FOR UPDATE SKIP LOCKED) AS next
              WHERE i.line_no = next.line_no
             RETURNING i.line_no,
               (pg_catalog.jsonb_strip_nulls(pg_catalog.to_jsonb(i)) - ARRAY['line_no', 'sent_at'])::text"
        ),
        &[most.into()],
        |row| {
            Ok((
                row.get::<i64>(1)?.unwrap_or_default(),
                row.get::<String>(2)?.unwrap_or_default(),
            ))
        },
    )?;
    waiting.sort_unstable();
    let given: Vec<Given> = waiting
        .iter()
        .map(|(number, json)| Given {
            number: *number,
            json,
        })
        .collect();
    pipeline(&given)
}
