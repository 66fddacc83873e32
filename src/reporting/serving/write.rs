//! JSON, written piece by piece: numbers keep all their digits, and what is JSON already is taken as it is.

use crate::error::Result;
use chrono::NaiveDate;

/// The keys of an object that is being written.
pub struct Fields<'a> {
    out: &'a mut String,
    empty: bool,
}

pub fn object(out: &mut String, fill: impl FnOnce(&mut Fields) -> Result<()>) -> Result<()> {
    out.push('{');
    fill(&mut Fields { out, empty: true })?;
    out.push('}');
    Ok(())
}

pub fn list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T) -> Result<()>,
) -> Result<()> {
    out.push('[');
    for (number, item) in items.into_iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        write(out, item)?;
    }
    out.push(']');
    Ok(())
}

pub fn text(out: &mut String, text: &str) {
    // A string can always be written.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

impl Fields<'_> {
    /// The value of a key is what `write` writes.
    pub fn with(&mut self, key: &str, write: impl FnOnce(&mut String) -> Result<()>) -> Result<()> {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        text(self.out, key);
        self.out.push(':');
        write(self.out)
    }

    pub fn json(&mut self, key: &str, json: &str) -> Result<()> {
        self.with(key, |out| {
            out.push_str(json);
            Ok(())
        })
    }

    pub fn text(&mut self, key: &str, value: &str) -> Result<()> {
        self.with(key, |out| {
            text(out, value);
            Ok(())
        })
    }

    pub fn date(&mut self, key: &str, date: NaiveDate) -> Result<()> {
        self.text(key, &date.to_string())
    }
}
