//! Expected files: pictures of a whole, kept in the repository and compared exactly.

use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::path::Path;

/// Compares with `tests/expected/<name>`; with `GEMBA_BLESS=1` writes it instead, to be read as a diff.
pub fn assert_expected(name: &str, found: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("expected")
        .join(name);
    if std::env::var("GEMBA_BLESS").is_ok_and(|value| value == "1") {
        return std::fs::write(&path, found).with_context(|| format!("{path:?}"));
    }
    let expected = std::fs::read_to_string(&path)
        .with_context(|| format!("{path:?}; GEMBA_BLESS=1 makes it"))?;
    let changes = line_changes(&expected, found);
    if changes.is_empty() {
        return Ok(());
    }
    bail!(
        "{name} is not as expected (- expected, + found); if the change is meant, run again with \
         GEMBA_BLESS=1 and read the diff\n{changes}"
    );
}

/// The lines that only one of them has; each line of such a file stands for itself. Empty when they are
/// the same.
pub fn line_changes(expected: &str, found: &str) -> String {
    let only = |mark: char, these: &str, those: &str| -> String {
        let those: HashSet<&str> = those.lines().collect();
        these
            .lines()
            .filter(|line| !those.contains(line))
            .map(|line| format!("{mark} {line}\n"))
            .collect()
    };
    let changes = only('-', expected, found) + &only('+', found, expected);
    if changes.is_empty() && expected != found {
        return "the same lines, in another order or number\n".to_owned();
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::line_changes;

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(line_changes("a\nb\nc\n", "a\nb\nc\n"), "");
        assert_eq!(line_changes("a\nb\nc\n", "a\nx\nc\n"), "- b\n+ x\n");
        assert_eq!(line_changes("a\n", "a\nb\n"), "+ b\n");
        assert_ne!(line_changes("a\nb\n", "b\na\n"), "");
    }
}
