//! Which items moved a total from one period to the next.

use super::confidence::Confidence;
use super::{NEGLIGIBLE, Refused, usable};
use std::cmp::Ordering;

/// A part of the total, a campaign for instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub name: String,
    /// `None` where the item was not there; it counts as zero.
    pub previous: Option<f64>,
    pub current: Option<f64>,
    /// The periods before the previous one, the oldest first, with `None` for a period without it. Needed
    /// for the confidence only.
    pub history: Vec<Option<f64>>,
}

/// Whether an item was there before and is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Stayed,
    New,
    Gone,
}

impl Presence {
    /// The word that the database shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stayed => "stayed",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }
}

/// How an item moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Mover {
    pub name: String,
    pub previous: Option<f64>,
    pub current: Option<f64>,
    pub presence: Presence,
    /// Current less previous.
    pub change: f64,
    /// The change by the size of what it was before, so that its sign is the change's. `None` if that was zero,
    /// or the item was not there.
    pub relative: Option<f64>,
    /// The part of the total's change that is this item's: the parts of all items add up to one, a part
    /// is negative where the item went against the total, and above one where others did. `None` where
    /// the items outweigh each other and the total did not change.
    pub share: Option<f64>,
    /// How many of its earlier changes are known, and how many of them were smaller than this one, up or
    /// down.
    pub earlier: usize,
    pub smaller: usize,
}

impl Mover {
    /// How far the change stands out from the item's own usual ups and downs: of its m earlier changes from
    /// one period to the next, the number that were smaller, up or down, by m + 1; rounded down, 0.99 at
    /// most. `None` where no earlier change is known.
    ///
    /// If the item only went on as it always did, and this change could as well have come at any other
    /// time, the chance of one that large is no more than 1 − confidence.
    #[must_use]
    pub fn confidence(&self) -> Option<Confidence> {
        (self.earlier > 0)
            .then(|| Confidence::of(self.smaller as f64 / (self.earlier as f64 + 1.0)))
    }
}

/// What moved a total.
#[derive(Debug, Clone, PartialEq)]
pub struct Movers {
    pub previous: f64,
    pub current: f64,
    /// The sum of the items' changes.
    pub change: f64,
    /// Those that rose most, the first most of all; of equal changes the name decides, byte by byte.
    pub risers: Vec<Mover>,
    /// Those that fell most, likewise.
    pub fallers: Vec<Mover>,
}

/// The `most` items that rose most, and as many that fell most. Those that did not change are in neither list,
/// and those that are there in neither period are left out.
///
/// # Errors
/// [`Refused::Argument`] for two items of one name, and for values that are not finite or beyond
/// [`LARGEST`](super::LARGEST).
pub fn movers(items: &[Item], most: usize) -> Result<Movers, Refused> {
    // By name: sums depend on the order, and must not depend on the order in which the items came.
    let mut order: Vec<&Item> = items.iter().collect();
    order.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = order.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Refused::argument("name", "appears twice", &twice[0].name));
    }
    let mut all = Vec::with_capacity(order.len());
    for item in order {
        all.extend(mover(item)?);
    }
    let change: f64 = all.iter().map(|mover| mover.change).sum();
    let gross: f64 = all.iter().map(|mover| mover.change.abs()).sum();
    if change.abs() > NEGLIGIBLE * gross {
        for mover in &mut all {
            mover.share = Some(mover.change / change + 0.0);
        }
    }
    let total = |value: fn(&Mover) -> Option<f64>| all.iter().filter_map(value).sum::<f64>() + 0.0;
    let first = |sign: Ordering| {
        let mut list: Vec<_> = all
            .iter()
            .filter(|mover| mover.change.partial_cmp(&0.0) == Some(sign))
            .collect();
        // Stable, so that names decide between equals.
        list.sort_by(|a, b| b.change.abs().total_cmp(&a.change.abs()));
        list.into_iter().take(most).cloned().collect()
    };
    Ok(Movers {
        previous: total(|mover| mover.previous),
        current: total(|mover| mover.current),
        change: change + 0.0,
        risers: first(Ordering::Greater),
        fallers: first(Ordering::Less),
    })
}

/// `None` for an item that is there in neither period.
fn mover(item: &Item) -> Result<Option<Mover>, Refused> {
    let previous = finite("previous", item.previous)?;
    let current = finite("current", item.current)?;
    let presence = match (previous, current) {
        (Some(_), Some(_)) => Presence::Stayed,
        (None, Some(_)) => Presence::New,
        (Some(_), None) => Presence::Gone,
        (None, None) => return Ok(None),
    };
    let change = current.unwrap_or(0.0) - previous.unwrap_or(0.0);
    let mut history = Vec::with_capacity(item.history.len() + 1);
    for &value in &item.history {
        history.push(finite("history", value)?);
    }
    history.push(previous);
    let earlier: Vec<f64> = history
        .windows(2)
        .filter_map(|pair| Some((pair[1]? - pair[0]?).abs()))
        .collect();
    // 0.3 − 0.2 is a hair less than 0.2 − 0.1, and not smaller for that.
    let scale = history
        .iter()
        .chain(&[current])
        .flatten()
        .fold(0.0, |scale: f64, value| scale.max(value.abs()));
    let smaller = change.abs() - NEGLIGIBLE * scale;
    Ok(Some(Mover {
        name: item.name.clone(),
        previous,
        current,
        presence,
        change,
        relative: previous
            .filter(|&previous| previous != 0.0)
            .map(|previous| change / previous.abs())
            .filter(|relative| relative.is_finite()),
        share: None,
        smaller: earlier.iter().filter(|&&size| size < smaller).count(),
        earlier: earlier.len(),
    }))
}

fn finite(field: &'static str, value: Option<f64>) -> Result<Option<f64>, Refused> {
    match value {
        None => Ok(None),
        Some(value) => match usable(field, value)? {
            None => Err(Refused::argument(field, "is not finite", value)),
            usable => Ok(usable),
        },
    }
}
