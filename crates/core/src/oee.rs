//! Overall equipment effectiveness, after ISO 22400-2: availability × performance × quality.
//!
//! Everything is derived from a [`State`], which holds times and counts and can be added to another one.
//! Over shifts, days or machines states are added and divided once at the end, which is the same as
//! weighting each OEE by its planned time. Percentages are never averaged.
//!
//! Amounts are rounded to [`PLACES`] decimal places where they come in. Their sums are exact, so the order
//! in which states are added, or taken away again, never shows.

use crate::fixed::Fixed;
pub use crate::fixed::PLACES;
use rust_decimal::{Decimal, RoundingStrategy};

/// No time of one stretch is longer, in seconds: a hundred of them can still be added up.
const LONGEST: Fixed = Fixed(10_i128.pow(24 + PLACES));

/// An argument that no machine can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// The field as callers know it, `downtime_minutes` for instance.
    pub field: &'static str,
    pub problem: &'static str,
    pub value: String,
}

impl Invalid {
    pub(crate) fn new(field: &'static str, problem: &'static str, value: impl ToString) -> Self {
        Self {
            field,
            problem,
            value: value.to_string(),
        }
    }
}

/// How fast a machine could be: ISO 22400's planned run time per item, or its inverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ideal {
    CycleSeconds(Fixed),
    UnitsPerHour(Fixed),
}

/// What a machine did in one stretch of planned time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Production {
    /// Planned busy time: breaks and scheduled stops are not part of it.
    pub planned_minutes: Fixed,
    /// Of these, the minutes in which it stood.
    pub downtime_minutes: Fixed,
    pub ideal: Ideal,
    pub total_count: i64,
    pub good_count: i64,
}

/// Times and counts that can be added up. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Planned busy time (PBT).
    pub planned: Fixed,
    /// Actual production time (APT).
    pub run: Fixed,
    /// What the items would have taken at ideal speed (PRI × PQ).
    pub ideal: Fixed,
    /// The same, but at most the run time of each stretch: faster than ideal counts as ideal.
    pub net: Fixed,
    /// The part of the net time that went into good items.
    pub effective: Fixed,
    /// Produced quantity (PQ).
    pub total: Fixed,
    /// Good quantity (GQ).
    pub good: Fixed,
}

/// The ratios, between 0 and 1 but for `performance_raw`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    pub availability: Option<Decimal>,
    pub performance: Option<Decimal>,
    /// Performance as measured; above 1 when the ideal speed is set too low.
    pub performance_raw: Option<Decimal>,
    /// Good by total; over several ideal speeds weighted by the time that the items take.
    pub quality: Option<Decimal>,
    pub oee: Option<Decimal>,
}

/// OEE against all the time that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Teep {
    /// Planned by calendar time.
    pub utilisation: Option<Decimal>,
    pub oee: Option<Decimal>,
    pub teep: Option<Decimal>,
}

/// Where the planned time went that made no good items, in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LostMinutes {
    pub availability: Decimal,
    pub performance: Decimal,
    pub quality: Decimal,
}

/// Seconds.
const HOUR: Fixed = Fixed::whole(3_600);

/// Half up, as people round.
pub fn rounded(value: Decimal, places: u32) -> Decimal {
    value.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero)
}

impl State {
    /// # Errors
    /// A field that is negative or contradicts another one; an ideal speed of zero; amounts beyond 28 digits.
    pub fn of(production: &Production) -> Result<Self, Invalid> {
        let Production {
            planned_minutes,
            downtime_minutes,
            ideal,
            total_count,
            good_count,
        } = *production;
        for (field, minutes) in [
            ("planned_minutes", planned_minutes),
            ("downtime_minutes", downtime_minutes),
        ] {
            if minutes < Fixed::ZERO {
                return Err(Invalid::new(field, "is negative", minutes));
            }
        }
        if downtime_minutes > planned_minutes {
            let value = format!("{downtime_minutes} of {planned_minutes}");
            return Err(Invalid::new(
                "downtime_minutes",
                "is more than was planned",
                value,
            ));
        }
        if total_count < 0 {
            return Err(Invalid::new("total_count", "is negative", total_count));
        }
        if good_count < 0 {
            return Err(Invalid::new("good_count", "is negative", good_count));
        }
        if good_count > total_count {
            let value = format!("{good_count} of {total_count}");
            return Err(Invalid::new("good_count", "is more than the total", value));
        }
        let planned = planned_minutes
            .times(60)
            .filter(|planned| *planned <= LONGEST)
            .ok_or_else(|| Invalid::new("planned_minutes", "is too large", planned_minutes))?;
        let run = Fixed(planned.0 - downtime_minutes.0 * 60);
        let ideal_time = ideal.time_for(total_count)?;
        let (net, effective) = if ideal_time <= run {
            (ideal_time, ideal.time_for(good_count)?)
        } else {
            // Faster than ideal: the run time is shared between good and bad items by their number.
            let effective = run
                .share(good_count, total_count)
                .ok_or_else(|| Invalid::new("good_count", "is too large", good_count))?;
            (run, effective)
        };
        Ok(Self {
            planned,
            run,
            ideal: ideal_time,
            net,
            effective,
            total: Fixed::whole(total_count),
            good: Fixed::whole(good_count),
        })
    }

    /// Both together; `None` past all digits.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Option<Self> {
        self.combined(other, Fixed::checked_add)
    }

    /// This one without another that had been merged into it.
    #[must_use]
    pub fn without(&self, other: &Self) -> Option<Self> {
        self.combined(other, Fixed::checked_sub)
    }

    fn combined(&self, other: &Self, by: impl Fn(Fixed, Fixed) -> Option<Fixed>) -> Option<Self> {
        Some(Self {
            planned: by(self.planned, other.planned)?,
            run: by(self.run, other.run)?,
            ideal: by(self.ideal, other.ideal)?,
            net: by(self.net, other.net)?,
            effective: by(self.effective, other.effective)?,
            total: by(self.total, other.total)?,
            good: by(self.good, other.good)?,
        })
    }

    /// The ratios. NULL where nothing was planned and so nothing is known; 0 where it was planned and
    /// nothing ran.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let was_planned = self.planned > Fixed::ZERO;
        let ran = self.run > Fixed::ZERO;
        Figures {
            availability: self.run.ratio(self.planned),
            performance: if ran {
                self.net.ratio(self.run)
            } else {
                was_planned.then_some(Decimal::ZERO)
            },
            performance_raw: if ran {
                self.ideal.ratio(self.run)
            } else {
                (was_planned && self.ideal == Fixed::ZERO).then_some(Decimal::ZERO)
            },
            quality: self
                .effective
                .ratio(self.net)
                .or_else(|| self.good.ratio(self.total)),
            oee: self.effective.ratio(self.planned),
        }
    }

    /// # Errors
    /// Calendar time that is not positive, or shorter than what was planned in it.
    pub fn teep(&self, calendar_minutes: Fixed) -> Result<Teep, Invalid> {
        let calendar = calendar_minutes
            .times(60)
            .ok_or_else(|| Invalid::new("calendar_minutes", "is too large", calendar_minutes))?;
        if calendar <= Fixed::ZERO {
            return Err(Invalid::new(
                "calendar_minutes",
                "is not above zero",
                calendar_minutes,
            ));
        }
        if calendar < self.planned {
            return Err(Invalid::new(
                "calendar_minutes",
                "is less than was planned",
                calendar_minutes,
            ));
        }
        Ok(Teep {
            utilisation: self.planned.ratio(calendar),
            oee: self.figures().oee,
            teep: self
                .figures()
                .oee
                .and_then(|_| self.effective.ratio(calendar)),
        })
    }

    /// Planned time less these three is the effective time.
    #[must_use]
    pub fn lost_minutes(&self) -> LostMinutes {
        LostMinutes {
            availability: minutes(Fixed(self.planned.0 - self.run.0)),
            performance: minutes(Fixed(self.run.0 - self.net.0)),
            quality: minutes(Fixed(self.net.0 - self.effective.0)),
        }
    }

    /// The amounts in their order, for whoever stores or sends them.
    #[must_use]
    pub fn parts(&self) -> [Fixed; 7] {
        [
            self.planned,
            self.run,
            self.ideal,
            self.net,
            self.effective,
            self.total,
            self.good,
        ]
    }

    /// The state of these amounts.
    ///
    /// # Errors
    /// Amounts that no production could have led to: negative, or one above another that bounds it.
    pub fn from_parts(parts: [Fixed; 7]) -> Result<Self, Invalid> {
        const NAMES: [&str; 7] = [
            "planned_seconds",
            "run_seconds",
            "ideal_seconds",
            "net_seconds",
            "effective_seconds",
            "total_count",
            "good_count",
        ];
        for (name, part) in NAMES.iter().zip(parts) {
            if part < Fixed::ZERO {
                return Err(Invalid::new(name, "is negative", part));
            }
        }
        let [planned, run, ideal, net, effective, total, good] = parts;
        for (name, part, limit) in [
            ("run_seconds", run, planned),
            ("net_seconds", net, run.min(ideal)),
            ("effective_seconds", effective, net),
            ("good_count", good, total),
        ] {
            if part > limit {
                return Err(Invalid::new(name, "is more than what bounds it", part));
            }
        }
        Ok(Self {
            planned,
            run,
            ideal,
            net,
            effective,
            total,
            good,
        })
    }
}

impl Ideal {
    /// Seconds that so many items take at this speed.
    fn time_for(self, count: i64) -> Result<Fixed, Invalid> {
        let (field, speed) = match self {
            Self::CycleSeconds(cycle) => ("ideal_cycle_seconds", cycle),
            Self::UnitsPerHour(rate) => ("ideal_rate", rate),
        };
        if speed <= Fixed::ZERO {
            return Err(Invalid::new(field, "is not above zero", speed));
        }
        let time = match self {
            Self::CycleSeconds(cycle) => cycle.times(count),
            Self::UnitsPerHour(rate) => HOUR.times(count).and_then(|time| time.over(rate)),
        };
        time.filter(|time| *time <= LONGEST).ok_or_else(|| {
            Invalid::new(
                field,
                "makes the items take too long",
                format!("{speed} for {count}"),
            )
        })
    }
}

/// Of seconds, for people to read.
fn minutes(seconds: Fixed) -> Decimal {
    seconds
        .decimal()
        .map_or(Decimal::MAX, |seconds| seconds / Decimal::from(60))
}

pub(crate) fn not_negative(field: &'static str, value: Decimal) -> Result<(), Invalid> {
    if value < Decimal::ZERO {
        return Err(Invalid::new(field, "is negative", value.normalize()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
