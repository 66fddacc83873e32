//! The fields of one row. Numbers are read from the text of the JSON, so that nothing passes through
//! floating point; a number in quotes is a number too, because that is how many drivers send it.

use super::Refusal;
use gemba_core::instant::{self, Instant};
use gemba_core::oee::{PLACES, rounded};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::str::FromStr;

/// A field as it stands in the JSON.
pub type Field<'a> = Option<&'a RawValue>;

/// A row of pipeline A.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daily<'a> {
    #[serde(borrow)]
    pub asset_id: Field<'a>,
    pub source_id: Field<'a>,
    pub report_date: Field<'a>,
    pub planned_minutes: Field<'a>,
    pub downtime_minutes: Field<'a>,
    #[serde(alias = "actual_output")]
    pub total_count: Field<'a>,
    pub good_count: Field<'a>,
    pub waste_count: Field<'a>,
    pub ideal_rate: Field<'a>,
    pub ideal_cycle_seconds: Field<'a>,
    pub target_output: Field<'a>,
}

/// A row of pipeline B.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live<'a> {
    #[serde(borrow)]
    pub asset_id: Field<'a>,
    pub source_id: Field<'a>,
    pub snapshot_timestamp: Field<'a>,
    pub current_output: Field<'a>,
    pub target_output: Field<'a>,
    pub reason_code: Field<'a>,
    pub severity: Field<'a>,
    pub description: Field<'a>,
    pub source_record_id: Field<'a>,
    pub duration_minutes: Field<'a>,
    pub financial_impact: Field<'a>,
}

/// A row that names a machine.
pub trait Row<'a>: Deserialize<'a> {
    /// Its fields `asset_id` and `source_id`.
    fn names(&self) -> (Field<'a>, Field<'a>);
}

impl<'a> Row<'a> for Daily<'a> {
    fn names(&self) -> (Field<'a>, Field<'a>) {
        (self.asset_id, self.source_id)
    }
}

impl<'a> Row<'a> for Live<'a> {
    fn names(&self) -> (Field<'a>, Field<'a>) {
        (self.asset_id, self.source_id)
    }
}

/// Reads an object.
pub fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Refusal> {
    if !json.starts_with('{') {
        return Err(Refusal {
            field: None,
            reason: "the row is not a JSON object".to_owned(),
        });
    }
    serde_json::from_str(json).map_err(|error| Refusal {
        field: None,
        // Without " at line 1 column 17": the row is on its own here.
        reason: {
            let reason = error.to_string();
            let end = reason.rfind(" at line ").unwrap_or(reason.len());
            // A misspelt field is quoted whole, however long.
            reason[..end].chars().take(400).collect()
        },
    })
}

/// The text of a field; `None` when it is missing, null or blank.
pub fn text<'a>(name: &'static str, field: Field<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(raw) = field.map(RawValue::get) else {
        return Ok(None);
    };
    let value = match raw.as_bytes().first() {
        Some(b'"') => match raw.get(1..raw.len() - 1) {
            // Without escapes the text stands there as it is.
            Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
            _ => Cow::Owned(unescaped(name, raw)?),
        },
        Some(b'{' | b'[') => {
            return Err(Refusal::of(name, format!("{name} is not a single value")));
        }
        _ => Cow::Borrowed(raw),
    };
    Ok((!value.trim().is_empty()).then_some(value))
}

fn unescaped<T: DeserializeOwned>(name: &'static str, raw: &str) -> Result<T, Refusal> {
    serde_json::from_str(raw).map_err(|error| Refusal::of(name, format!("{name}: {error}")))
}

/// A number, rounded as all inputs are.
pub fn number(name: &'static str, field: Field) -> Result<Option<Decimal>, Refusal> {
    let Some(text) = text(name, field)? else {
        return Ok(None);
    };
    let text = text.trim();
    let plain = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let parsed = if text.bytes().all(plain) {
        // Long fractions are rounded.
        Decimal::from_str(text).or_else(|_| Decimal::from_scientific(text))
    } else {
        Err(rust_decimal::Error::ConversionTo("Decimal".to_owned()))
    };
    parsed
        .map(|value| Some(rounded(value, PLACES)))
        .map_err(|_| {
            Refusal::of(
                name,
                format!(
                    "{name} is not a number of at most 28 digits: {}",
                    quoted(text)
                ),
            )
        })
}

/// A number that is not below zero.
pub fn amount(name: &'static str, field: Field) -> Result<Option<Decimal>, Refusal> {
    match number(name, field)? {
        Some(value) if value < Decimal::ZERO => {
            Err(Refusal::of(name, format!("{name} is negative: {value}")))
        }
        other => Ok(other),
    }
}

/// A whole number that is not below zero, in the range of the database's integer.
pub fn count(name: &'static str, field: Field) -> Result<Option<i32>, Refusal> {
    let Some(value) = amount(name, field)? else {
        return Ok(None);
    };
    if !value.is_integer() {
        return Err(Refusal::of(
            name,
            format!("{name} is not a whole number: {value}"),
        ));
    }
    i32::try_from(value.trunc())
        .map(Some)
        .map_err(|_| Refusal::of(name, format!("{name} is too large: {value}")))
}

/// A date, as days since 2000-01-01.
pub fn date(name: &'static str, field: Field) -> Result<i32, Refusal> {
    let Some(text) = text(name, field)? else {
        return Err(Refusal::of(name, format!("{name} is missing")));
    };
    instant::parse_date(text.trim())
        .map_err(|error| Refusal::of(name, format!("{name}: {error}: {}", quoted(&text))))
}

/// An instant, which may lack a zone.
pub fn time(name: &'static str, field: Field) -> Result<Instant, Refusal> {
    let Some(text) = text(name, field)? else {
        return Err(Refusal::of(name, format!("{name} is missing")));
    };
    instant::parse(&text)
        .map_err(|error| Refusal::of(name, format!("{name}: {error}: {}", quoted(&text))))
}

/// A value for a message, cut where nobody would read on.
pub fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return format!("{text:?}");
    }
    format!("{:?}…", text.chars().take(MOST).collect::<String>())
}
