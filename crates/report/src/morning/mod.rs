//! The morning report: yesterday's figures of one plant, on one page.
//!
//! # The document
//!
//! One JSON object; unknown keys are refused, absent ones are null. Every amount is a *string* with an
//! exact decimal of up to 28 digits (`"62.50"`) or null, so that nothing passes through binary floating
//! point; only what counts rows (`assets`, `reporting`, `open_safety_events`, `loss_rank`) is a JSON
//! integer. Percentages are in percent, trends and gaps in percentage points, dates ISO 8601, times text
//! that is shown as it comes, in `time_zone`.
//!
//! ```json
//! {"plant": "Plant", "report_date": "2026-11-20", "generated_at": "2026-11-21 06:00",
//!  "time_zone": "Europe/Berlin", "currency": "USD", "good_from": "85", "fair_from": "70",
//!  "totals": {"oee": "71.20", "availability": "90.10", "performance": "84.00", "quality": "94.10",
//!             "oee_target": "85.00", "actual_output": "12345", "target_output": "15000",
//!             "downtime_minutes": "412", "waste_count": "320", "financial_loss": "5231.50",
//!             "assets": 12, "reporting": 11, "open_safety_events": 2},
//!  "assets": [{"name": "Press 1", "area": "Stamping", "oee": "62.50", "availability": "88.10",
//!              "performance": "75.30", "quality": "94.20", "oee_target": "85.00", "band": "poor",
//!              "actual_output": "700", "target_output": "800", "output_variance_percentage": "-12.50",
//!              "downtime_minutes": "57", "waste_count": "43", "financial_loss": "1200.00", "loss_rank": 1,
//!              "trend_7": "-3.10", "trend_30": "1.20", "priority": "high", "open_safety_events": 0,
//!              "estimated": ["ideal_rate"], "summary": "Press 1 ran at 62.5 % …"}],
//!  "losses": [{"name": "Press 1", "kind": "downtime", "loss": "1200.00", "share": "23.10",
//!              "cumulative_share": "23.10"}],
//!  "trend": [{"date": "2026-10-22", "oee": "70.10", "target": "85.00"}],
//!  "live": [{"name": "Press 1", "status": "behind", "freshness": "fresh", "current_output": "120",
//!            "target_output": "130", "minutes_old": "7"}],
//!  "safety": [{"severity": "critical", "asset": "Press 1", "reason_code": "Safety Issue",
//!              "event_timestamp": "2026-11-20 14:05", "description": "Guard door open while running"}]}
//! ```
//!
//! * `band`: `good`, `fair`, `poor`, `not planned`, `no data`; `priority`: `none`, `low`, `medium`, `high`;
//!   `severity`: `critical`, `high`, `medium`, `low`; `freshness`: `fresh`, `stale`, `no data`;
//!   `status`: `on_target`, `behind`, `ahead` or null for an asset without a target.
//! * `losses` come largest first, with the cumulative share in that order.
//! * `assets` are listed in the order in which they come; charts and tiles sort for themselves.
//! * `estimated` names the inputs for which a default stood in.
//!
//! Texts are shown as text, whatever is in them; control characters, which HTML does not allow, become
//! U+FFFD.

mod charts;
mod data;
mod format;
mod sections;
#[cfg(test)]
mod tests;
mod text;

use crate::Error;
use askama::Template;
use data::Morning;

#[derive(Template)]
#[template(path = "morning/page.html", whitespace = "minimize")]
struct Page {
    header: sections::Header,
    oee: sections::Oee,
    losses: sections::Losses,
    trend: sections::Trend,
    live: sections::Live,
    safety: sections::Safety,
    assets: sections::Assets,
    footer: sections::Footer,
}

/// The page of one plant and one day, as a complete HTML document.
///
/// # Errors
///
/// [`Error::Data`] when `data` is not the document described [above](self).
pub fn page(data: &str) -> Result<String, Error> {
    let morning: Morning = serde_json::from_str(data)?;
    let page = Page {
        header: sections::Header::new(&morning),
        oee: sections::Oee::new(&morning),
        losses: sections::Losses::new(&morning),
        trend: sections::Trend::new(&morning),
        live: sections::Live::new(&morning),
        safety: sections::Safety::new(&morning),
        assets: sections::Assets::new(&morning),
        footer: sections::Footer::new(&morning),
    };
    Ok(page.render()?)
}
