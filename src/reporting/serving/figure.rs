//! Numbers as dashboards show them: exact, however long.

use crate::error::Result;
use crate::postgres::long::Long;
use crate::postgres::numeric::Stored;
use gemba_core::metrics::{RATIO_SCALE, Sum};
use pgrx::AnyNumeric;
use std::cmp::Ordering;

/// A number.
#[derive(Debug, Clone)]
pub enum Figure {
    Short(Sum),
    /// What needs more than 128 bits, as it is written. The server computes with it.
    Long(String),
}

/// What has changed since the period before.
pub struct Change {
    pub absolute: Figure,
    /// Of the magnitude of what it was; none where that is zero.
    pub percent: Option<Figure>,
}

impl Figure {
    pub const ZERO: Self = Self::Short(Sum::ZERO);

    pub fn of(number: Stored) -> Result<Self> {
        match number.sum() {
            Some(sum) => Ok(Self::Short(sum)),
            None => Self::kept(Long::of(number)),
        }
    }

    /// As it is written, in SQL and in JSON.
    pub fn text(&self) -> String {
        match self {
            Self::Short(sum) => sum.text(),
            Self::Long(text) => text.clone(),
        }
    }

    pub fn numeric(&self) -> Option<AnyNumeric> {
        AnyNumeric::try_from(self.text().as_str()).ok()
    }

    /// Adds another one to it.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        if let (Self::Short(a), Self::Short(b)) = (&*self, other)
            && let Some(sum) = a.plus(*b)
        {
            *self = Self::Short(sum);
        } else {
            *self = Self::kept(self.long()?.plus(other.long()?)?)?;
        }
        Ok(())
    }

    fn minus(&self, other: &Self) -> Result<Self> {
        if let (Self::Short(a), Self::Short(b)) = (self, other)
            && let Some(difference) = a.minus(*b)
        {
            return Ok(Self::Short(difference));
        }
        Self::kept(self.long()?.minus(other.long()?)?)
    }

    fn magnitude(&self) -> Self {
        if let Self::Short(sum) = self
            && let Some(magnitude) = sum.magnitude()
        {
            return Self::Short(magnitude);
        }
        Self::Long(self.text().replace('-', ""))
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::Short(sum) => sum.is_zero(),
            Self::Long(text) => !text.bytes().any(|byte| matches!(byte, b'1'..=b'9')),
        }
    }

    /// factor × numerator / denominator, to six decimals; none where the denominator is zero.
    pub fn ratio(factor: &Self, numerator: &Self, denominator: &Self) -> Result<Option<Self>> {
        if denominator.is_zero() {
            return Ok(None);
        }
        if let (Self::Short(f), Self::Short(n), Self::Short(d)) = (factor, numerator, denominator)
            && let Some(ratio) = Sum::ratio(*f, *n, *d)
        {
            return Ok(Some(Self::Short(ratio)));
        }
        // The server divides to the decimals that it is given, and for a large quotient to no more than those.
        let decimals = Long::of_text("0.000000000000")?;
        let above = factor.long()?.times(numerator.long()?)?.plus(decimals)?;
        let ratio = above.over(denominator.long()?)?.rounded(RATIO_SCALE)?;
        Self::kept(ratio).map(Some)
    }

    /// Since it was `before`.
    pub fn change(&self, before: &Self) -> Result<Change> {
        let absolute = self.minus(before)?;
        let hundred = Self::Short(Sum::whole(100));
        let percent = Self::ratio(&hundred, &absolute, &before.magnitude())?;
        Ok(Change { absolute, percent })
    }

    pub fn compared(&self, other: &Self) -> Result<Ordering> {
        if let (Self::Short(a), Self::Short(b)) = (self, other)
            && let Some(order) = a.compared(*b)
        {
            return Ok(order);
        }
        Ok(self.long()?.compared(other.long()?))
    }

    fn long(&self) -> Result<Long> {
        match self {
            Self::Short(sum) => Long::of_sum(*sum),
            Self::Long(text) => Long::of_text(text),
        }
    }

    /// The text, which outlives the server's memory.
    fn kept(number: Long) -> Result<Self> {
        number.text().map(Self::Long)
    }
}
