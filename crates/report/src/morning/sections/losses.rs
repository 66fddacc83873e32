//! Where the money went: the largest losses, and what they add up to.

use super::named;
use crate::morning::charts::{Place, Segment};
use crate::morning::data::{Loss, Morning, Number};
use crate::morning::format::{money, percent, plural};
use crate::morning::text::Text;
use rust_decimal::Decimal;

const BARS: usize = 12;

pub(crate) struct Losses {
    pub bars: Vec<Bar>,
}

/// One row. The cumulative line is drawn in pieces that meet at the rows' edges, so that rows may be of
/// any height.
pub(crate) struct Bar {
    pub name: Text,
    pub kind: String,
    pub loss: String,
    pub share: String,
    pub cumulative: String,
    pub bar: Option<Place>,
    pub point: Option<Place>,
    pub line: Vec<Segment>,
    pub rest: bool,
}

impl Losses {
    pub(crate) fn new(morning: &Morning) -> Self {
        let currency = morning.currency.as_str();
        let (top, rest) = morning.losses.split_at(BARS.min(morning.losses.len()));
        let mut bars: Vec<Bar> = top
            .iter()
            .map(|loss| {
                bar(
                    named(&loss.name),
                    loss.kind.spaced(),
                    money(loss.loss, currency),
                    loss.share,
                    loss.cumulative_share,
                )
            })
            .collect();
        if let Some(last) = rest.last() {
            bars.push(Bar {
                rest: true,
                ..bar(
                    Text::new("Other"),
                    plural(rest.len() as u64, "smaller loss", "smaller losses"),
                    money(sum(rest, |loss| loss.loss), currency),
                    sum(rest, |loss| loss.share),
                    last.cumulative_share,
                )
            });
        }
        let points: Vec<Option<Place>> = bars.iter().map(|bar| bar.point).collect();
        for (index, bar) in bars.iter_mut().enumerate() {
            bar.line = pieces(
                index
                    .checked_sub(1)
                    .and_then(|before| points.get(before).copied().flatten()),
                bar.point,
                points.get(index + 1).copied().flatten(),
            );
        }
        Self { bars }
    }
}

fn bar(
    name: Text,
    kind: String,
    loss: String,
    share: Option<Number>,
    cumulative: Option<Number>,
) -> Bar {
    Bar {
        name,
        kind,
        loss,
        share: percent(share),
        cumulative: percent(cumulative),
        bar: share.map(Place::of),
        point: cumulative.map(Place::of),
        line: Vec::new(),
        rest: false,
    }
}

/// The line through one row: in at the top, through the point in the middle, out at the bottom.
fn pieces(before: Option<Place>, point: Option<Place>, after: Option<Place>) -> Vec<Segment> {
    let Some(point) = point else {
        return Vec::new();
    };
    let middle = Place::new(50.0);
    let into = before.map(|before| Segment {
        x1: before.between(point),
        y1: Place::new(0.0),
        x2: point,
        y2: middle,
    });
    let out = after.map(|after| Segment {
        x1: point,
        y1: middle,
        x2: point.between(after),
        y2: Place::new(100.0),
    });
    into.into_iter().chain(out).collect()
}

/// None when none is known, or the sum is beyond what a decimal holds.
fn sum(losses: &[Loss], of: impl Fn(&Loss) -> Option<Number>) -> Option<Number> {
    let mut known = losses.iter().filter_map(of).peekable();
    known.peek()?;
    known
        .try_fold(Decimal::ZERO, |sum, Number(value)| sum.checked_add(value))
        .map(Number)
}
