//! The pipelines for clients that COPY: rows wait in a table of texts until somebody processes them.

use super::{Given, Outcome};
use crate::error::{Error, Result};
use crate::postgres::{lock, spi};

/// Takes up to so many waiting rows out of the inbox, oldest first, and hands them to the pipeline. Sessions
/// take turns, so that an older row never overwrites what came after it.
///
/// # Errors
/// `22023` for a number below 1; what the pipeline raises, and then the rows wait on.
pub fn process(
    inbox: &str,
    most: Option<i32>,
    pipeline: fn(&[Given]) -> Result<Outcome>,
) -> Result<Outcome> {
    let Some(most) = most.filter(|most| *most > 0) else {
        let given = most.map_or_else(|| "NULL".to_owned(), |most| most.to_string());
        return Err(Error::invalid("max_rows is not above zero")
            .detail(format!("max_rows {given}"))
            .hint("give the number of rows to process at most"));
    };
    lock::take_turns_beside_writers(inbox)?;
    let mut waiting = spi::write_returning(
        &format!(
            "DELETE FROM {inbox} i USING (
               SELECT w.line_no FROM {inbox} w ORDER BY w.line_no LIMIT $1) AS next
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
