//! When the page was made and how to read it.

use crate::morning::data::Morning;
use crate::morning::text::Text;

pub(crate) struct Footer {
    pub generated_at: Text,
    pub time_zone: Text,
    pub currency: Text,
}

impl Footer {
    pub(crate) fn new(morning: &Morning) -> Self {
        Self {
            generated_at: morning.generated_at.or("–"),
            time_zone: morning.time_zone.or("local time"),
            currency: morning.currency.or("the plant's currency"),
        }
    }
}
