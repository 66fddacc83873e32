//! What is logged of a table. It stands in the arguments of the table's triggers and nowhere else, so that
//! dumps, renames and drops take care of it by themselves.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Columns that the log does not have at all.
    pub exclude: Vec<String>,
    /// Columns of which the log only says that they changed.
    pub mask: Vec<String>,
    /// Does an UPDATE log all columns, or those that changed?
    pub full_rows: bool,
}

impl Options {
    /// Of a trigger's argument.
    pub fn read(argument: &str) -> Option<Self> {
        serde_json::from_str(argument).ok()
    }

    /// As a trigger's argument, and as the log tells of it.
    pub fn text(&self) -> String {
        // Lists of strings and a boolean can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Every column that is named.
    pub fn columns(&self) -> impl Iterator<Item = &String> {
        self.exclude.iter().chain(&self.mask)
    }
}
