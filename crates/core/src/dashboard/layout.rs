//! Where widgets stand: a grid of columns that goes on downwards, in which no two overlap.

use super::Invalid;
use super::strict::{self, Custom, Whole};
use serde::{Deserialize, Serialize};

/// Columns of the widest grid.
pub const MOST_COLUMNS: u32 = 48;
/// Rows of the longest grid.
pub const MOST_ROWS: u32 = 10_000;

/// A dashboard's `layout_config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    #[serde(deserialize_with = "columns")]
    pub columns: u32,
    /// In pixels.
    #[serde(deserialize_with = "strict::optional::<Whole<8, 400>, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_height: Option<u32>,
    #[serde(deserialize_with = "strict::optional::<Custom, _>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom>,
}

/// A widget's `position_config`: its upper left cell, from 0, and how many cells it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    #[serde(deserialize_with = "strict::required::<Whole<0, { MOST_COLUMNS - 1 }>, _>")]
    pub x: u32,
    #[serde(deserialize_with = "strict::required::<Whole<0, { MOST_ROWS - 1 }>, _>")]
    pub y: u32,
    #[serde(deserialize_with = "strict::required::<Whole<1, MOST_COLUMNS>, _>")]
    pub width: u32,
    #[serde(deserialize_with = "strict::required::<Whole<1, MOST_ROWS>, _>")]
    pub height: u32,
}

/// Two widgets, by their numbers in the list, and the cells that both of them take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    pub first: usize,
    pub second: usize,
    pub cells: Position,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            columns: 12,
            row_height: None,
            custom: None,
        }
    }
}

fn columns<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let columns = strict::optional::<Whole<1, MOST_COLUMNS>, _>(from)?;
    Ok(columns.unwrap_or_else(|| Layout::default().columns))
}

impl Layout {
    /// Reads a dashboard's `layout_config`.
    ///
    /// # Errors
    /// The place that cannot be.
    pub fn read(json: &str) -> Result<Self, Invalid> {
        strict::object("layout_config", json)
    }
}

impl Position {
    /// Reads a widget's `position_config`, in a grid of so many columns.
    ///
    /// # Errors
    /// The place that cannot be.
    pub fn read(json: &str, columns: u32) -> Result<Self, Invalid> {
        const NAME: &str = "position_config";
        let position: Self = strict::object(NAME, json)?;
        for (key, end, limit, cells) in [
            ("width", position.right(), columns, "columns"),
            ("height", position.bottom(), MOST_ROWS, "rows"),
        ] {
            if end > limit {
                let why = format!("it ends at {end}, and there are {limit} {cells}");
                return Err(Invalid::new(format!("{NAME}.{key}"), why));
            }
        }
        Ok(position)
    }

    /// The first column to the right of it.
    fn right(self) -> u32 {
        self.x.saturating_add(self.width)
    }

    /// The first row below it.
    fn bottom(self) -> u32 {
        self.y.saturating_add(self.height)
    }

    /// The cells that both take.
    fn shared(self, other: Self) -> Option<Self> {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let width = self.right().min(other.right()).checked_sub(x)?;
        let height = self.bottom().min(other.bottom()).checked_sub(y)?;
        (width > 0 && height > 0).then_some(Self {
            x,
            y,
            width,
            height,
        })
    }
}

/// The topmost two widgets that overlap, of those the leftmost; `None` where each has its cells for itself.
///
/// Widgets are laid down from the top. As long as none overlaps, the last one in a column is also the lowest
/// one, so each new widget is compared with one for each of its columns.
#[must_use]
pub fn overlap(widgets: &[Position]) -> Option<Overlap> {
    let mut order: Vec<usize> = (0..widgets.len()).collect();
    order.sort_unstable_by_key(|&number| (widgets[number].y, widgets[number].x, number));
    let mut lowest: Vec<Option<usize>> = Vec::new();
    for second in order {
        let widget = widgets[second];
        let columns = widget.x as usize..widget.right() as usize;
        if lowest.len() < columns.end {
            lowest.resize(columns.end, None);
        }
        for column in &mut lowest[columns] {
            if let Some(first) = column.replace(second)
                && let Some(cells) = widgets[first].shared(widget)
            {
                return Some(Overlap {
                    first,
                    second,
                    cells,
                });
            }
        }
    }
    None
}
