//! The cloudwatcher room.
//!
//! - `patterns`: the seed's four queries beside its estimates, and what policies cost over a million requests
//! - `requests`: claimed, answered and submitted by several clients at once
//! - `stock`: reserving and releasing, beside bare tables

mod patterns;
mod requests;
mod stock;

use crate::Options;
use crate::report::Report;
use crate::server::Server;
use anyhow::Result;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    users: u32,
    departments: u32,
    locations: u32,
    parts: u32,
    /// Parts that each location has.
    stocked: u32,
    suppliers: u32,
    requests: u32,
    /// Requests that come to them for the policies.
    more: u32,
    orders: u32,
    /// Parts that are reserved and released, so many times a round.
    reserved: u32,
    reservations: u32,
    rounds: usize,
}

impl Size {
    fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                users: 200,
                departments: 50,
                locations: 10,
                parts: 1_000,
                stocked: 200,
                suppliers: 10,
                requests: 5_000,
                more: 20_000,
                orders: 500,
                reserved: 100,
                reservations: 800,
                rounds: 2,
            }
        } else {
            Self {
                users: 10_000,
                departments: 1_000,
                locations: 100,
                parts: 50_000,
                stocked: 5_000,
                suppliers: 10,
                requests: 100_000,
                more: 900_000,
                orders: 10_000,
                reserved: 1_000,
                reservations: 30_000,
                rounds: 5,
            }
        }
    }
}

pub fn measure(server: &Server, options: &Options, report: &mut Report) -> Result<()> {
    let size = Size::of(options);
    patterns::measure(server, options, size, report)?;
    requests::measure(server, options, size, report)?;
    stock::measure(server, size, report)
}

/// What was wanted and what came out.
fn target(report: &mut Report, wanted: &str, met: bool, came_out: &str) {
    let verdict = if met { "met" } else { "**missed**" };
    report.note(&format!("target {verdict}: {wanted}: {came_out}"));
}
