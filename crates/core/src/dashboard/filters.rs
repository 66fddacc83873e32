//! Which values of a dimension count, and the defaults that a dashboard has for its widgets.

use super::Invalid;
use super::query::Period;
use super::strict::{self, Custom, Name};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Dimensions of one configuration.
const MOST_DIMENSIONS: usize = 50;
/// Values of one dimension: a row is compared with each of them.
const MOST_VALUES: usize = 100;

/// Dimensions and the values that each may have: one of the list, for each of the dimensions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Filters(BTreeMap<String, Vec<Scalar>>);

/// A value of a dimension. Numbers are as they were written, so that long ones stay what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    Text(String),
    Number(String),
    Bool(bool),
}

/// What a dashboard's `filter_config` holds: what its widgets show as long as they say nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Defaults {
    pub filters: Filters,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom>,
}

/// The fields of `filter_config`, as they come.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    filters: Option<Written>,
    #[serde(default, deserialize_with = "strict::optional::<Period, _>")]
    period: Option<Period>,
    #[serde(default, deserialize_with = "strict::optional::<Custom, _>")]
    custom: Option<Custom>,
}

impl Defaults {
    /// Reads a dashboard's `filter_config`.
    ///
    /// # Errors
    /// The place that cannot be.
    pub fn read(json: &str) -> Result<Self, Invalid> {
        const NAME: &str = "filter_config";
        let fields: Fields = strict::object(NAME, json)?;
        Ok(Self {
            filters: Filters::read(&format!("{NAME}.filters"), fields.filters)?,
            period: fields.period,
            custom: fields.custom,
        })
    }
}

/// An object of dimensions, each with its value or values as they were written.
pub(super) type Written = BTreeMap<String, Box<RawValue>>;

impl Filters {
    /// Reads filters that stand on their own; `name` is what they are called.
    ///
    /// # Errors
    /// The place that cannot be.
    pub fn parse(name: &str, json: &str) -> Result<Self, Invalid> {
        Self::read(name, Some(strict::object(name, json)?))
    }

    /// Reads what stands at this path.
    pub(super) fn read(path: &str, written: Option<Written>) -> Result<Self, Invalid> {
        let written = written.unwrap_or_default();
        if written.len() > MOST_DIMENSIONS {
            let why = format!(
                "{} dimensions, expected at most {MOST_DIMENSIONS}",
                written.len()
            );
            return Err(Invalid::new(path, why));
        }
        let mut filters = BTreeMap::new();
        for (dimension, value) in written {
            let dimension = strict::text::<Name<200>>(path, &dimension)?;
            let values = values(value.get()).map_err(|(item, why)| {
                let item = item.map(|item| format!("[{item}]")).unwrap_or_default();
                Invalid::new(format!("{path}.{dimension}{item}"), why)
            })?;
            filters.insert(dimension, values);
        }
        Ok(Self(filters))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each dimension, in the order of the alphabet, with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Scalar])> {
        self.0
            .iter()
            .map(|(dimension, values)| (dimension.as_str(), values.as_slice()))
    }

    /// These, and of the defaults those for other dimensions.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        let mut filters = defaults.0.clone();
        filters.extend(self.0.clone());
        Self(filters)
    }
}

/// One value, or a list of them; the error says at which item.
fn values(json: &str) -> Result<Vec<Scalar>, (Option<usize>, String)> {
    if !json.starts_with('[') {
        let expected = "expected a string, a number, true or false, or a list of these";
        return Ok(vec![scalar(json).ok_or((None, expected.to_owned()))?]);
    }
    let items: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|error| (None, error.to_string()))?;
    if items.is_empty() || items.len() > MOST_VALUES {
        let why = format!("{} values, expected 1 to {MOST_VALUES}", items.len());
        return Err((None, why));
    }
    items
        .iter()
        .enumerate()
        .map(|(number, item)| {
            let expected = "expected a string, a number, true or false";
            scalar(item.get()).ok_or((Some(number), expected.to_owned()))
        })
        .collect()
}

fn scalar(json: &str) -> Option<Scalar> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok().map(Scalar::Text),
        b't' => Some(Scalar::Bool(true)),
        b'f' => Some(Scalar::Bool(false)),
        b'-' | b'0'..=b'9' => Some(Scalar::Number(json.to_owned())),
        _ => None,
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Number(number) => strict::raw(number, to),
            Self::Bool(value) => to.serialize_bool(*value),
        }
    }
}
