//! How a widget looks: its `display_config`.

use super::Invalid;
use super::strict::{self, Bool, Custom, List, Spelt, Text, Whole, Word};
use serde::{Deserialize, Serialize};

const NAME: &str = "display_config";

/// What is not given is for whoever draws the widget to choose.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Display {
    #[serde(deserialize_with = "strict::optional::<Text<200>, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x_label: Option<String>,
    #[serde(deserialize_with = "strict::optional::<Text<200>, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y_label: Option<String>,
    #[serde(deserialize_with = "strict::optional::<Text<200>, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtitle: Option<String>,
    /// In the order of the series.
    #[serde(deserialize_with = "strict::defaulted::<List<Word<Colour>, 0, 20>, _>")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub colors: Vec<Colour>,
    #[serde(deserialize_with = "strict::optional::<Word<Format>, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Only where the format is one of a currency.
    #[serde(deserialize_with = "strict::optional::<Word<Currency>, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    #[serde(deserialize_with = "strict::optional::<Whole<0, 6>, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u32>,
    #[serde(deserialize_with = "strict::optional::<Bool, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legend: Option<bool>,
    /// Only for bars and areas.
    #[serde(deserialize_with = "strict::optional::<Bool, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stacked: Option<bool>,
    #[serde(deserialize_with = "strict::optional::<Custom, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom>,
}

/// How figures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Number,
    Percent,
    Currency,
}

/// `#rrggbb`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Colour(String);

/// Three letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Currency(String);

impl Display {
    /// `stackable` says whether the widget is a chart whose series can stand on each other.
    pub(super) fn read(json: &str, stackable: bool) -> Result<Self, Invalid> {
        let display: Self = strict::object(NAME, json)?;
        if display.currency.is_some() && display.format != Some(Format::Currency) {
            let path = format!("{NAME}.currency");
            return Err(Invalid::new(path, "only the format currency has one"));
        }
        if display.stacked.is_some() && !stackable {
            let path = format!("{NAME}.stacked");
            return Err(Invalid::new(path, "only bar and area charts are stacked"));
        }
        Ok(display)
    }
}

impl Spelt for Format {
    const EXPECTED: &'static str = "number, percent or currency";

    fn spelt(text: &str) -> Option<Self> {
        match text {
            "number" => Some(Self::Number),
            "percent" => Some(Self::Percent),
            "currency" => Some(Self::Currency),
            _ => None,
        }
    }
}

impl Spelt for Colour {
    const EXPECTED: &'static str = "a colour of the form #rrggbb";

    fn spelt(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        (digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .then(|| Self(text.to_owned()))
    }
}

impl Spelt for Currency {
    const EXPECTED: &'static str = "the three letters of a currency";

    fn spelt(text: &str) -> Option<Self> {
        (text.len() == 3 && text.bytes().all(|letter| letter.is_ascii_alphabetic()))
            .then(|| Self(text.to_owned()))
    }
}
