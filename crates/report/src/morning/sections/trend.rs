//! The plant's OEE of the last days. A day without data is a hole in the line.

use crate::morning::charts::{Place, Scale, Segment};
use crate::morning::data::{Morning, Number};
use crate::morning::format::percent;
use chrono::NaiveDate;
use std::collections::BTreeMap;

const LABEL_DAYS: usize = 7;
const MOST_LABELS: usize = 5;

pub(crate) struct Trend {
    pub days: Vec<Row>,
    pub marks: Vec<(Place, String)>,
    pub labels: Vec<(Place, String)>,
    pub line: Vec<Segment>,
    pub target: Vec<Segment>,
    pub points: Vec<(Place, Place)>,
    /// From, and how wide.
    pub gaps: Vec<(Place, Place)>,
    pub last: Option<(Place, Place, String)>,
    pub title: String,
    pub description: String,
}

/// A day in the table under the chart.
pub(crate) struct Row {
    pub date: NaiveDate,
    pub label: String,
    pub oee: String,
    pub target: String,
}

/// A day in the chart.
struct Point {
    date: NaiveDate,
    x: f64,
    oee: Option<Number>,
    target: Option<Number>,
}

impl Trend {
    pub(crate) fn new(morning: &Morning) -> Self {
        let points = points(morning);
        let scale = Scale::of(
            points
                .iter()
                .flat_map(|point| [point.oee, point.target])
                .flatten(),
        );
        let known: Vec<(&Point, Number)> = points
            .iter()
            .filter_map(|point| point.oee.map(|oee| (point, oee)))
            .collect();
        Self {
            days: points
                .iter()
                .rev()
                .map(|point| Row {
                    date: point.date,
                    label: point.date.format("%a %-d %b").to_string(),
                    oee: point
                        .oee
                        .map_or_else(|| "no data".to_owned(), |oee| percent(Some(oee))),
                    target: percent(point.target),
                })
                .collect(),
            marks: scale.marks(),
            labels: labels(&points),
            line: line(&points, &scale, |point| point.oee),
            target: line(&points, &scale, |point| point.target),
            points: known
                .iter()
                .map(|(point, oee)| (Place::new(point.x), scale.place(*oee)))
                .collect(),
            gaps: gaps(&points),
            last: known
                .last()
                .map(|(point, oee)| (Place::new(point.x), scale.place(*oee), percent(Some(*oee)))),
            title: title(&points),
            description: description(&points, &known),
        }
    }
}

/// One for each day that is given, in the order of the calendar.
fn points(morning: &Morning) -> Vec<Point> {
    let days: BTreeMap<NaiveDate, _> = morning.trend.iter().map(|day| (day.date, day)).collect();
    let (Some(first), Some(last)) = (days.keys().next().copied(), days.keys().last().copied())
    else {
        return Vec::new();
    };
    let all = (last - first).num_days() as f64;
    days.values()
        .map(|day| Point {
            date: day.date,
            x: if all > 0.0 {
                (day.date - first).num_days() as f64 / all * 100.0
            } else {
                50.0
            },
            oee: day.oee,
            target: day.target,
        })
        .collect()
}

/// Joins each day to the next where both have a value. What runs level is one piece, so that dashes stay
/// even.
fn line(points: &[Point], scale: &Scale, of: impl Fn(&Point) -> Option<Number>) -> Vec<Segment> {
    let mut line: Vec<Segment> = Vec::new();
    for pair in points.windows(2) {
        let [one, next] = pair else { continue };
        let (Some(from), Some(to)) = (of(one), of(next)) else {
            continue;
        };
        if (next.date - one.date).num_days() != 1 {
            continue;
        }
        let piece = Segment {
            x1: Place::new(one.x),
            y1: scale.place(from),
            x2: Place::new(next.x),
            y2: scale.place(to),
        };
        match line.last_mut() {
            Some(last)
                if last.x2 == piece.x1
                    && last.y1 == piece.y2
                    && last.y2 == piece.y2
                    && last.y2 == piece.y1 =>
            {
                last.x2 = piece.x2;
            }
            _ => line.push(piece),
        }
    }
    line
}

/// What lies half a day off each known day: at the edges, and wherever a day is missing or empty.
fn gaps(points: &[Point]) -> Vec<(Place, Place)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let days = (last.date - first.date).num_days();
    if days == 0 {
        return Vec::new();
    }
    let half = 50.0 / days as f64;
    let mut gaps = Vec::new();
    let mut from = (first.x, true);
    for point in points.iter().filter(|point| point.oee.is_some()) {
        gaps.push((from, point.x - half));
        from = (point.x + half, false);
    }
    gaps.push((from, 100.0));
    gaps.into_iter()
        .map(|((from, _), to)| (from, to))
        // Neighbouring days leave nothing but a rounding error between them.
        .filter(|(from, to)| to - from > half / 100.0)
        .map(|(from, to)| (Place::new(from), Place::new(to - from)))
        .collect()
}

/// Every seventh day, counted back from the last, and less often in a longer chart.
fn labels(points: &[Point]) -> Vec<(Place, String)> {
    let every = LABEL_DAYS.max(points.len().div_ceil(MOST_LABELS));
    let every = if points.len() <= MOST_LABELS {
        1
    } else {
        every
    };
    points
        .iter()
        .rev()
        .step_by(every)
        .map(|point| (Place::new(point.x), point.date.format("%-d %b").to_string()))
        .collect()
}

fn title(points: &[Point]) -> String {
    match (points.first(), points.last()) {
        (Some(first), Some(last)) => format!(
            "OEE of the plant from {} to {}",
            first.date.format("%-d %B"),
            last.date.format("%-d %B %Y")
        ),
        _ => "OEE of the plant".to_owned(),
    }
}

fn description(points: &[Point], known: &[(&Point, Number)]) -> String {
    let lowest = known.iter().min_by_key(|(_, oee)| *oee);
    let highest = known.iter().max_by_key(|(_, oee)| *oee);
    let missing = points.len() - known.len();
    match (lowest, highest) {
        (Some((low, low_oee)), Some((high, high_oee))) => format!(
            "Lowest {} on {}, highest {} on {}; {}.",
            percent(Some(*low_oee)),
            low.date.format("%-d %B"),
            percent(Some(*high_oee)),
            high.date.format("%-d %B"),
            match missing {
                0 => "data for every day".to_owned(),
                1 => "no data for 1 day".to_owned(),
                days => format!("no data for {days} days"),
            }
        ),
        _ => "No data for any of the days.".to_owned(),
    }
}
