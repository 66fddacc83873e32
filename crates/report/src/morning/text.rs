//! Text from a table, fit for HTML.

use serde::{Deserialize, Deserializer};
use std::fmt;

/// Somebody's text without the characters that HTML forbids, shown exactly as it is otherwise. Escaping
/// is the template's business.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn new(raw: &str) -> Self {
        Self(
            raw.chars()
                .map(|c| if forbidden(c) { '\u{FFFD}' } else { c })
                .collect(),
        )
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, or `instead` where there is nothing to see in it.
    pub(crate) fn or(&self, instead: &str) -> Self {
        if self.0.chars().all(invisible) {
            Self(instead.to_owned())
        } else {
            self.clone()
        }
    }

    /// `ideal_rate` as a reader would write it: `ideal rate`.
    pub(crate) fn spaced(&self) -> String {
        self.0.replace('_', " ")
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|raw| Self::new(&raw))
    }
}

/// Control characters but for white space, and noncharacters: parse errors in HTML, and invisible.
fn forbidden(c: char) -> bool {
    let code = u32::from(c);
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
        || (0xFDD0..=0xFDEF).contains(&code)
        || code & 0xFFFE == 0xFFFE
}

/// White space, and what takes no room: joiners, directional marks, variation selectors.
fn invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{3164}'
        )
        || matches!(c, '\u{180E}' | '\u{2800}' | '\u{FEFF}' | '\u{FFA0}')
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}')
        || matches!(c, '\u{FE00}'..='\u{FE0F}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_html_can_show() {
        assert_eq!(
            Text::new("<b>\t\u{200F}مكبس ١").as_str(),
            "<b>\t\u{200F}مكبس ١"
        );
        assert_eq!(
            Text::new("a\u{1}b\u{7F}\u{85}\u{FFFF}").as_str(),
            "a\u{FFFD}b\u{FFFD}\u{FFFD}\u{FFFD}"
        );
    }

    #[test]
    fn nothing_to_see_gets_a_word() {
        for blank in ["", "  ", "\u{200B}\u{FEFF}", "\u{202E}\u{2066}"] {
            assert_eq!(Text::new(blank).or("unnamed").as_str(), "unnamed");
        }
        assert_eq!(Text::new("\u{200B}x").or("unnamed").as_str(), "\u{200B}x");
    }
}
