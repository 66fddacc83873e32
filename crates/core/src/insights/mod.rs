//! What stands out in a series or a list of figures: a trend, a value out of the ordinary, the items that
//! moved a total; each with how far it may be trusted and a sentence that says it.
//!
//! Values are what the database has as floats; the same values always give the same findings, on every
//! machine: whatever is summed is put in order first, and the error function is [`libm`]'s, not the
//! platform's.
//!
//! A value that is missing or not finite is skipped where a series can do without it ([`trend`],
//! [`anomaly`]) and refused where it cannot ([`movers`]).

pub mod anomaly;
mod confidence;
mod kendall;
pub mod movers;
mod normal;
mod number;
mod robust;
#[cfg(test)]
mod tests;
pub mod text;
pub mod trend;

pub use confidence::Confidence;

/// No value is larger, whatever its sign: differences and sums of values stay finite.
pub const LARGEST: f64 = 1e150;

/// Differences smaller than this part of what is compared are what rounding leaves, and count as none.
const NEGLIGIBLE: f64 = 1e-12;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Of points that have a value.
    #[error("too few points for a trend: {found}, at least {least} are needed")]
    TooFew { found: usize, least: usize },
    /// The work grows with the square of their number.
    #[error("too many points for a trend: {found}, at most {most} are allowed")]
    TooMany { found: usize, most: usize },
    /// An argument that cannot be worked with.
    #[error("{field} {problem}")]
    Argument {
        /// As callers know it, `threshold` for instance.
        field: &'static str,
        problem: &'static str,
        value: String,
    },
}

impl Refused {
    fn argument(field: &'static str, problem: &'static str, value: impl ToString) -> Self {
        Self::Argument {
            field,
            problem,
            value: value.to_string(),
        }
    }
}

/// What one step of a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Day,
    Week,
    Month,
    Quarter,
}

impl Period {
    /// In the singular.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
        }
    }
}

/// The value, or `None` where there is none. A negative zero becomes a plain one.
///
/// # Errors
/// A finite value beyond [`LARGEST`].
fn usable(field: &'static str, value: f64) -> Result<Option<f64>, Refused> {
    if !value.is_finite() {
        return Ok(None);
    }
    if value.abs() > LARGEST {
        let problem = "is too large: at most 1e150 can be worked with";
        return Err(Refused::argument(field, problem, format!("{value:e}")));
    }
    Ok(Some(value + 0.0))
}
