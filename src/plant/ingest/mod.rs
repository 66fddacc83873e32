//! The two pipelines: raw rows in, computed rows out, and a reason for each row that could not be taken.
//!
//! - [`rows`]: the fields of one row, from JSON, exactly
//! - [`model`]: the machines, costs, shifts and targets that a batch needs, read once
//! - [`daily`]: pipeline A, the morning report's days
//! - [`live`]: pipeline B, snapshots and safety events
//! - [`inbox`]: the same for clients that COPY
//!
//! They run with the caller's rights, which are those of `service_role`; only partitions are made with the
//! extension's. Both compute in memory and write with a few statements for the whole batch. What is already
//! there and the same stays untouched, so that a repeated call costs no new row versions and refreshes
//! nothing.

mod api;
mod daily;
mod inbox;
mod live;
pub mod model;
mod rows;

use crate::error::{Error, Result};
use crate::postgres::spi;
use serde_json::value::RawValue;

/// One row as it was handed over.
pub struct Given<'a> {
    /// Position in the call, from 1, or the line of an inbox.
    pub number: i64,
    /// A JSON object, if all is well.
    pub json: &'a str,
}

/// Why a row cannot be taken.
#[derive(Debug)]
pub struct Refusal {
    pub field: Option<&'static str>,
    pub reason: String,
}

impl Refusal {
    fn of(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            reason: reason.into(),
        }
    }

    /// The same, and what was done nevertheless.
    fn but(mut self, done: &str) -> Self {
        self.reason.push_str("; ");
        self.reason.push_str(done);
        self
    }
}

impl From<gemba_core::oee::Invalid> for Refusal {
    fn from(invalid: gemba_core::oee::Invalid) -> Self {
        Self::of(
            invalid.field,
            format!("{} {}: {}", invalid.field, invalid.problem, invalid.value),
        )
    }
}

struct Reject {
    number: i64,
    refusal: Refusal,
    raw: String,
}

/// What a call did.
#[derive(Default)]
pub struct Outcome {
    pub read: i64,
    pub inserted: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub safety_events: i64,
    rejects: Vec<Reject>,
}

impl Outcome {
    fn refuse(&mut self, row: &Given, refusal: Refusal) {
        self.rejects.push(Reject {
            number: row.number,
            refusal,
            raw: row.json.to_owned(),
        });
    }

    pub fn rejected(&self) -> i64 {
        self.rejects.len() as i64
    }

    /// The rejects for the caller: row, field, reason.
    fn rejects_json(&self) -> serde_json::Value {
        self.rejects
            .iter()
            .map(|reject| {
                serde_json::json!({
                    "row": reject.number,
                    "field": reject.refusal.field,
                    "reason": reject.refusal.reason,
                })
            })
            .collect()
    }

    /// Keeps the rejects for whoever looks later, and forgets those of long ago.
    fn store_rejects(&mut self, pipeline: &str) -> Result<()> {
        spi::write(
            "DELETE FROM plant.ingest_rejects r WHERE r.id IN (
               SELECT old.id FROM plant.ingest_rejects old
                WHERE old.rejected_at < pg_catalog.now() - (SELECT s.keep_rejects FROM plant.settings s)
                  FOR UPDATE SKIP LOCKED)",
            &[],
        )?;
        if self.rejects.is_empty() {
            return Ok(());
        }
        self.rejects.sort_by_key(|reject| reject.number);
        let (mut numbers, mut fields, mut reasons, mut raws) = (vec![], vec![], vec![], vec![]);
        for reject in &self.rejects {
            numbers.push(reject.number);
            fields.push(reject.refusal.field.map(str::to_owned));
            reasons.push(reject.refusal.reason.clone());
            raws.push(reject.raw.clone());
        }
        spi::write(
            "INSERT INTO plant.ingest_rejects (pipeline, row_number, field, reason, raw)
             SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[])",
            &[
                pipeline.into(),
                numbers.into(),
                fields.into(),
                reasons.into(),
                raws.into(),
            ],
        )?;
        Ok(())
    }
}

/// A row whose fields are known, and the machine that it names.
struct Parsed<'a, T> {
    row: &'a Given<'a>,
    fields: T,
    name: model::Name<'a>,
}

/// Reads the rows; those that cannot be read are refused.
fn parsed<'a, T: rows::Row<'a>>(
    given: &'a [Given<'a>],
    outcome: &mut Outcome,
) -> Vec<Parsed<'a, T>> {
    outcome.read = given.len() as i64;
    let mut parsed = Vec::with_capacity(given.len());
    for row in given {
        let read = rows::parse::<T>(row.json).and_then(|fields| {
            let (asset_id, source_id) = fields.names();
            let name = model::name(asset_id, source_id)?;
            Ok(Parsed { row, fields, name })
        });
        match read {
            Ok(read) => parsed.push(read),
            Err(refusal) => outcome.refuse(row, refusal),
        }
    }
    parsed
}

/// The rows of a call's argument.
///
/// # Errors
/// `22023` when it is not an array.
fn given(json: &str) -> Result<Vec<Given<'_>>> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| {
        Error::invalid("rows is not an array")
            .detail(format!(
                "it begins {:?}",
                json.chars().take(60).collect::<String>()
            ))
            .hint("give a JSON array of objects, one for each row")
    })?;
    Ok((1..)
        .zip(elements)
        .map(|(number, element)| Given {
            number,
            json: element.get(),
        })
        .collect())
}
