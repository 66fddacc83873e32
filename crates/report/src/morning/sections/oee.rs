//! OEE of each asset against its target, the worst first.

use super::{Mark, band, named, shown};
use crate::morning::charts::Place;
use crate::morning::data::{Asset, Band, Morning, Number};
use crate::morning::format::{count, percent};
use crate::morning::text::Text;

const BARS: usize = 20;
const NAMES: usize = 20;

pub(crate) struct Oee {
    pub bars: Vec<Bar>,
    pub shown: Option<String>,
    pub thresholds: Option<String>,
    /// Assets without an OEE of the day, and why.
    pub missing: Vec<Missing>,
}

/// Assets that lack an OEE for one reason: their names, and how many more there are.
pub(crate) struct Missing {
    pub reason: &'static str,
    pub names: Vec<Text>,
    pub more: Option<String>,
}

impl Missing {
    fn new(reason: &'static str, assets: &[&Asset]) -> Option<Self> {
        let more = assets.len().saturating_sub(NAMES);
        (!assets.is_empty()).then(|| Self {
            reason,
            names: assets
                .iter()
                .take(NAMES)
                .map(|asset| named(&asset.name))
                .collect(),
            more: (more > 0).then(|| count(more as u64)),
        })
    }
}

pub(crate) struct Bar {
    pub name: Text,
    pub value: String,
    pub target_text: String,
    pub bar: Place,
    pub target: Option<Place>,
    pub mark: Mark,
    pub estimated: bool,
}

impl Oee {
    pub(crate) fn new(morning: &Morning) -> Self {
        let mut reporting: Vec<(Number, &Asset)> = morning
            .assets
            .iter()
            .filter_map(|asset| asset.oee.map(|oee| (oee, asset)))
            .collect();
        reporting.sort_by_key(|(oee, _)| *oee);
        let bars: Vec<Bar> = reporting
            .iter()
            .take(BARS)
            .map(|(oee, asset)| Bar {
                name: named(&asset.name),
                value: percent(Some(*oee)),
                target_text: percent(asset.oee_target),
                bar: Place::of(*oee),
                target: asset.oee_target.map(Place::of),
                mark: Some(asset.band)
                    .filter(|given| *given != Band::NoData)
                    .or_else(|| band(Some(*oee), morning.good_from, morning.fair_from))
                    .unwrap_or(Band::NoData)
                    .mark(),
                estimated: !asset.estimated.is_empty(),
            })
            .collect();
        let without = morning.assets.iter().filter(|asset| asset.oee.is_none());
        let (not_planned, no_data): (Vec<_>, Vec<_>) =
            without.partition(|asset| asset.band == Band::NotPlanned);
        Self {
            shown: shown(bars.len(), reporting.len()),
            bars,
            thresholds: match (morning.good_from, morning.fair_from) {
                (Some(good), Some(fair)) => Some(format!(
                    "good from {}, fair from {}",
                    percent(Some(good)),
                    percent(Some(fair))
                )),
                _ => None,
            },
            missing: [
                Missing::new("No data", &no_data),
                Missing::new("Not planned", &not_planned),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }
}
