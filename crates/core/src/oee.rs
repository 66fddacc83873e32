//! Overall equipment effectiveness, after ISO 22400-2: availability × performance × quality.
//!
//! Everything is derived from a [`State`], which holds times and counts and can be added to another one.
//! Over shifts, days or machines states are added and divided once at the end, which is the same as
//! weighting each OEE by its planned time. Percentages are never averaged.
//!
//! Amounts are decimals, rounded to [`PLACES`] places where they come in. Sums of such amounts are exact,
//! so the order in which states are added, or taken away again, never shows.

use rust_decimal::{Decimal, RoundingStrategy};

/// Decimal places that are kept of inputs and results.
pub const PLACES: u32 = 12;

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
    CycleSeconds(Decimal),
    UnitsPerHour(Decimal),
}

/// What a machine did in one stretch of planned time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Production {
    /// Planned busy time: breaks and scheduled stops are not part of it.
    pub planned_minutes: Decimal,
    /// Of these, the minutes in which it stood.
    pub downtime_minutes: Decimal,
    pub ideal: Ideal,
    pub total_count: i64,
    pub good_count: i64,
}

/// Times and counts that can be added up. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Planned busy time (PBT).
    pub planned: Decimal,
    /// Actual production time (APT).
    pub run: Decimal,
    /// What the items would have taken at ideal speed (PRI × PQ).
    pub ideal: Decimal,
    /// The same, but at most the run time of each stretch: faster than ideal counts as ideal.
    pub net: Decimal,
    /// The part of the net time that went into good items.
    pub effective: Decimal,
    /// Produced quantity (PQ).
    pub total: Decimal,
    /// Good quantity (GQ).
    pub good: Decimal,
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

const SIXTY: Decimal = Decimal::from_parts(60, 0, 0, false, 0);
const HOUR: Decimal = Decimal::from_parts(3_600, 0, 0, false, 0);

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
        not_negative("planned_minutes", planned_minutes)?;
        not_negative("downtime_minutes", downtime_minutes)?;
        if downtime_minutes > planned_minutes {
            let value = format!(
                "{} of {}",
                downtime_minutes.normalize(),
                planned_minutes.normalize()
            );
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
        let (total, good) = (Decimal::from(total_count), Decimal::from(good_count));
        let planned = seconds("planned_minutes", planned_minutes)?;
        let run = planned - seconds("downtime_minutes", downtime_minutes)?;
        let time_for = |count: Decimal| match ideal {
            Ideal::CycleSeconds(cycle) => {
                positive("ideal_cycle_seconds", cycle)?;
                times("ideal_cycle_seconds", cycle, count)
            }
            Ideal::UnitsPerHour(rate) => {
                positive("ideal_rate", rate)?;
                times("ideal_rate", count, HOUR)?
                    .checked_div(rate)
                    .map(|time| rounded(time, PLACES))
                    .ok_or_else(|| Invalid::new("ideal_rate", "is too small", rate))
            }
        };
        let ideal_time = time_for(total)?;
        let (net, effective) = if ideal_time <= run {
            (ideal_time, time_for(good)?)
        } else {
            // Faster than ideal: the run time is shared between good and bad items by their number.
            (
                run,
                rounded(times("good_count", run, good)? / total, PLACES),
            )
        };
        Ok(Self {
            planned,
            run,
            ideal: ideal_time,
            net,
            effective,
            total,
            good,
        })
    }

    /// Both together; `None` past 28 digits.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Option<Self> {
        self.combined(other, Decimal::checked_add)
    }

    /// This one without another that had been merged into it.
    #[must_use]
    pub fn without(&self, other: &Self) -> Option<Self> {
        self.combined(other, Decimal::checked_sub)
    }

    fn combined(
        &self,
        other: &Self,
        by: impl Fn(Decimal, Decimal) -> Option<Decimal>,
    ) -> Option<Self> {
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
        let was_planned = self.planned > Decimal::ZERO;
        let ran = self.run > Decimal::ZERO;
        Figures {
            availability: ratio(self.run, self.planned),
            performance: if ran {
                ratio(self.net, self.run)
            } else {
                was_planned.then_some(Decimal::ZERO)
            },
            performance_raw: if ran {
                ratio(self.ideal, self.run)
            } else {
                (was_planned && self.ideal.is_zero()).then_some(Decimal::ZERO)
            },
            quality: ratio(self.effective, self.net).or_else(|| ratio(self.good, self.total)),
            oee: ratio(self.effective, self.planned),
        }
    }

    /// # Errors
    /// Calendar time that is not positive, or shorter than what was planned in it.
    pub fn teep(&self, calendar_minutes: Decimal) -> Result<Teep, Invalid> {
        positive("calendar_minutes", calendar_minutes)?;
        let calendar = seconds("calendar_minutes", calendar_minutes)?;
        if calendar < self.planned {
            return Err(Invalid::new(
                "calendar_minutes",
                "is less than was planned",
                calendar_minutes,
            ));
        }
        Ok(Teep {
            utilisation: ratio(self.planned, calendar),
            oee: self.figures().oee,
            teep: ratio(self.effective, calendar),
        })
    }

    /// Planned time less these three is the effective time.
    #[must_use]
    pub fn lost_minutes(&self) -> LostMinutes {
        LostMinutes {
            availability: (self.planned - self.run) / SIXTY,
            performance: (self.run - self.net) / SIXTY,
            quality: (self.net - self.effective) / SIXTY,
        }
    }

    /// The amounts in their order, for whoever stores or sends them.
    #[must_use]
    pub fn parts(&self) -> [Decimal; 7] {
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
    pub fn from_parts(parts: [Decimal; 7]) -> Result<Self, Invalid> {
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
            not_negative(name, part)?;
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

/// `a / b` to [`PLACES`] places; `None` where `b` is zero, or the result past all digits.
fn ratio(a: Decimal, b: Decimal) -> Option<Decimal> {
    a.checked_div(b)
        .map(|value| rounded(value, PLACES).normalize())
}

fn seconds(field: &'static str, minutes: Decimal) -> Result<Decimal, Invalid> {
    times(field, minutes, SIXTY)
}

fn times(field: &'static str, a: Decimal, b: Decimal) -> Result<Decimal, Invalid> {
    a.checked_mul(b)
        .map(|value| rounded(value, PLACES))
        .ok_or_else(|| Invalid::new(field, "is too large", a))
}

pub(crate) fn not_negative(field: &'static str, value: Decimal) -> Result<(), Invalid> {
    if value < Decimal::ZERO {
        return Err(Invalid::new(field, "is negative", value.normalize()));
    }
    Ok(())
}

pub(crate) fn positive(field: &'static str, value: Decimal) -> Result<(), Invalid> {
    if value <= Decimal::ZERO {
        return Err(Invalid::new(field, "is not above zero", value.normalize()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
