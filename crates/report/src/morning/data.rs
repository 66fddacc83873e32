//! The document as it is read; the contract stands in the [module's description](super).

use super::text::Text;
use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Morning {
    pub plant: Text,
    pub report_date: NaiveDate,
    pub generated_at: Text,
    pub time_zone: Text,
    pub currency: Text,
    pub good_from: Option<Number>,
    pub fair_from: Option<Number>,
    pub totals: Totals,
    pub assets: Vec<Asset>,
    pub losses: Vec<Loss>,
    pub trend: Vec<Day>,
    pub live: Vec<Snapshot>,
    pub safety: Vec<SafetyEvent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Totals {
    pub oee: Option<Number>,
    pub availability: Option<Number>,
    pub performance: Option<Number>,
    pub quality: Option<Number>,
    pub oee_target: Option<Number>,
    pub actual_output: Option<Number>,
    pub target_output: Option<Number>,
    pub downtime_minutes: Option<Number>,
    pub waste_count: Option<Number>,
    pub financial_loss: Option<Number>,
    pub assets: u64,
    pub reporting: u64,
    pub open_safety_events: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asset {
    pub name: Text,
    pub area: Option<Text>,
    pub oee: Option<Number>,
    pub availability: Option<Number>,
    pub performance: Option<Number>,
    pub quality: Option<Number>,
    pub oee_target: Option<Number>,
    pub band: Band,
    pub actual_output: Option<Number>,
    pub target_output: Option<Number>,
    pub output_variance_percentage: Option<Number>,
    pub downtime_minutes: Option<Number>,
    pub waste_count: Option<Number>,
    pub financial_loss: Option<Number>,
    pub loss_rank: Option<u64>,
    pub trend_7: Option<Number>,
    pub trend_30: Option<Number>,
    pub priority: Priority,
    pub open_safety_events: u64,
    pub estimated: Vec<Text>,
    pub summary: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Loss {
    pub name: Text,
    pub kind: Text,
    pub loss: Option<Number>,
    pub share: Option<Number>,
    pub cumulative_share: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Day {
    pub date: NaiveDate,
    pub oee: Option<Number>,
    pub target: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    pub name: Text,
    pub status: Option<Status>,
    pub freshness: Freshness,
    pub current_output: Option<Number>,
    pub target_output: Option<Number>,
    pub minutes_old: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SafetyEvent {
    pub severity: Severity,
    pub asset: Text,
    pub reason_code: Text,
    pub event_timestamp: Text,
    pub description: Option<Text>,
}

/// An OEE's place among the plant's thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Band {
    Good,
    Fair,
    Poor,
    #[serde(rename = "not planned")]
    NotPlanned,
    #[serde(rename = "no data")]
    NoData,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Priority {
    None,
    Low,
    Medium,
    High,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    OnTarget,
    Behind,
    Ahead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Freshness {
    Fresh,
    Stale,
    #[serde(rename = "no data")]
    NoData,
}

/// Worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Critical,
    High,
    Medium,
    Low,
}

/// An exact decimal, from a JSON string only: a JSON number would have been through binary floating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(pub Decimal);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DecimalText;

        impl Visitor<'_> for DecimalText {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string with a decimal of at most 28 digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse()
                    .map(Number)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer
            .deserialize_str(DecimalText)
            .map_err(D::Error::custom)
    }
}
