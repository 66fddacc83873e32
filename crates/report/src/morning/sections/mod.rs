//! The page's sections: what each shows, in words and places, ready for the template of the same name.

mod assets;
mod footer;
mod header;
mod live;
mod losses;
mod oee;
mod safety;
mod trend;

pub(crate) use assets::Assets;
pub(crate) use footer::Footer;
pub(crate) use header::Header;
pub(crate) use live::Live;
pub(crate) use losses::Losses;
pub(crate) use oee::Oee;
pub(crate) use safety::Safety;
pub(crate) use trend::Trend;

use super::data::{Band, Number, Priority, Severity};
use super::format::count;
use super::text::Text;

/// A state as a word, a sign and a class: never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub class: &'static str,
    pub sign: &'static str,
    pub word: &'static str,
}

const fn mark(class: &'static str, sign: &'static str, word: &'static str) -> Mark {
    Mark { class, sign, word }
}

impl Band {
    pub(crate) fn mark(self) -> Mark {
        match self {
            Self::Good => mark("good", "✓", "good"),
            Self::Fair => mark("fair", "~", "fair"),
            Self::Poor => mark("poor", "✕", "poor"),
            Self::NotPlanned => mark("none", "–", "not planned"),
            Self::NoData => mark("none", "–", "no data"),
        }
    }
}

impl Priority {
    pub(crate) fn mark(self) -> Mark {
        match self {
            Self::High => mark("poor", "▲", "high"),
            Self::Medium => mark("fair", "◆", "medium"),
            Self::Low => mark("plain", "▽", "low"),
            Self::None => mark("none", "–", "none"),
        }
    }
}

impl Severity {
    pub(crate) fn mark(self) -> Mark {
        match self {
            Self::Critical => mark("critical", "▲", "critical"),
            Self::High => mark("poor", "▲", "high"),
            Self::Medium => mark("fair", "◆", "medium"),
            Self::Low => mark("plain", "▽", "low"),
        }
    }
}

/// Where an OEE stands among the plant's thresholds.
fn band(oee: Option<Number>, good_from: Option<Number>, fair_from: Option<Number>) -> Option<Band> {
    match (oee, good_from, fair_from) {
        (None, ..) => Some(Band::NoData),
        (Some(oee), Some(good), _) if oee >= good => Some(Band::Good),
        (Some(oee), _, Some(fair)) => Some(if oee >= fair { Band::Fair } else { Band::Poor }),
        _ => None,
    }
}

/// A name to show, which may be blank in the table.
fn named(name: &Text) -> Text {
    name.or("(unnamed)")
}

/// "20 of 1,000 shown", where not all are.
fn shown(shown: usize, all: usize) -> Option<String> {
    (shown < all).then(|| format!("{} of {} shown", count(shown as u64), count(all as u64)))
}
