//! Dashboards with the figures that they show, in one answer; and single series.
//!
//! Everything is read with the caller's rights, as the calling query sees it: what policies hide is not there. So a
//! dashboard looks different for those who may read less, and its version says so too.
//!
//! - [`board`]: the dashboard and its widgets
//! - [`sources`]: what there is of the workflows behind them, and how ratios are made
//! - [`version`]: by which an unchanged answer is known, before any figure is read
//! - [`view`]: which figures a widget wants
//! - [`rows`]: reads the aggregates that any of them wants, each once
//! - [`tally`]: adds up what belongs to one period of one series
//! - [`figure`]: exact numbers, their ratios and differences
//! - [`write`]: JSON, piece by piece
//! - [`payload`]: the answer, as JSON
//! - [`api`]: the functions

mod api;
pub mod board;
mod figure;
mod payload;
mod rows;
mod sources;
mod tally;
mod version;
mod view;
mod write;
