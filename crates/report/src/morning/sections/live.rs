//! How the assets stand at the moment; what cannot be trusted comes first, and looks it.

use super::{Mark, mark, named, shown};
use crate::morning::charts::Place;
use crate::morning::data::{Freshness, Morning, Number, Snapshot, Status};
use crate::morning::format::{duration, quantity};
use crate::morning::text::Text;
use rust_decimal::Decimal;

const TILES: usize = 24;

pub(crate) struct Live {
    pub tiles: Vec<Tile>,
    pub shown: Option<String>,
}

pub(crate) struct Tile {
    pub name: Text,
    pub mark: Mark,
    /// What a stale asset last said.
    pub before: Option<&'static str>,
    pub current: String,
    pub target: String,
    pub age: String,
    pub bar: Option<Place>,
}

impl Live {
    pub(crate) fn new(morning: &Morning) -> Self {
        let mut snapshots: Vec<&Snapshot> = morning.live.iter().collect();
        snapshots.sort_by_key(|snapshot| urgency(snapshot));
        let tiles: Vec<Tile> = snapshots.into_iter().take(TILES).map(tile).collect();
        Self {
            shown: shown(tiles.len(), morning.live.len()),
            tiles,
        }
    }
}

fn tile(snapshot: &Snapshot) -> Tile {
    Tile {
        name: named(&snapshot.name),
        mark: match (snapshot.freshness, snapshot.status) {
            (Freshness::NoData, _) => mark("t-none", "○", "no data"),
            (Freshness::Stale, _) => mark("t-stale", "◌", "stale"),
            (Freshness::Fresh, Some(Status::Behind)) => mark("t-behind", "▼", "behind"),
            (Freshness::Fresh, Some(Status::Ahead)) => mark("t-ahead", "▲", "ahead"),
            (Freshness::Fresh, Some(Status::OnTarget)) => mark("t-on", "●", "on target"),
            (Freshness::Fresh, None) => mark("t-open", "◇", "no target"),
        },
        before: match (snapshot.freshness, snapshot.status) {
            (Freshness::Stale, Some(Status::Behind)) => Some("was behind"),
            (Freshness::Stale, Some(Status::Ahead)) => Some("was ahead"),
            (Freshness::Stale, Some(Status::OnTarget)) => Some("was on target"),
            _ => None,
        },
        current: quantity(snapshot.current_output),
        target: quantity(snapshot.target_output),
        age: match (snapshot.minutes_old, snapshot.freshness) {
            (Some(age), _) => format!("{} old", duration(Some(age))),
            (None, Freshness::NoData) => "never reported".to_owned(),
            (None, _) => "age unknown".to_owned(),
        },
        bar: match (snapshot.current_output, snapshot.target_output) {
            (Some(Number(current)), Some(Number(target))) => current
                .checked_mul(Decimal::ONE_HUNDRED)
                .and_then(|current| current.checked_div(target))
                .map(|percent| Place::of(Number(percent))),
            _ => None,
        },
    }
}

fn urgency(snapshot: &Snapshot) -> u8 {
    match (snapshot.freshness, snapshot.status) {
        (Freshness::Stale, _) => 0,
        (Freshness::Fresh, Some(Status::Behind)) => 1,
        (Freshness::NoData, _) => 2,
        (Freshness::Fresh, None) => 3,
        (Freshness::Fresh, Some(Status::OnTarget)) => 4,
        (Freshness::Fresh, Some(Status::Ahead)) => 5,
    }
}
