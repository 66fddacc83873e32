//! The version of an answer: another one whenever the answer may be another one.

use super::board::Board;
use super::sources::{Definition, Sources};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// Goes up when the same facts are told in another form.
const FORM: &str = "1";

/// Characters of a version, of the 64 that the hash has.
const LENGTH: usize = 32;

/// What the answer is made of: the dashboard, what the caller may do and read, the state of the figures, and how
/// ratios are made. The figures themselves are not looked at.
pub fn version(
    board: &Board,
    sources: &Sources,
    definitions: &HashMap<String, Definition>,
) -> String {
    let mut hash = Hash(Sha256::new());
    for text in [
        FORM,
        &board.dashboard_id,
        &board.name,
        &board.layout_config,
        &board.filter_config,
        &board.permission,
    ] {
        hash.add(text);
    }
    for shown in &board.widgets {
        for text in [
            &shown.widget_id,
            &shown.widget_type,
            shown.chart_type.as_deref().unwrap_or_default(),
            &shown.title,
            &shown.data_source,
            &shown.display_config,
            &shown.position_config,
        ] {
            hash.add(text);
        }
    }
    hash.add("readable");
    let mut readable: Vec<_> = sources.readable.iter().collect();
    readable.sort_unstable();
    for workflow in readable {
        hash.add(&workflow.to_string());
    }
    hash.add("data");
    for (workflow, instance, version) in &sources.versions {
        hash.add(&format!("{workflow} {instance} {version}"));
    }
    hash.add("ratios");
    for (name, definition) in definitions.iter().collect::<BTreeMap<_, _>>() {
        let Definition {
            numerator,
            denominator,
            factor,
        } = definition;
        for text in [name, numerator, denominator, &factor.text()] {
            hash.add(text);
        }
    }
    let mut version = String::new();
    for byte in hash.0.finalize() {
        // Writing to a String does not fail.
        let _ = write!(version, "{byte:02x}");
    }
    version.truncate(LENGTH);
    version
}

struct Hash(Sha256);

impl Hash {
    /// With its length, so that no two lists of texts look the same.
    fn add(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }
}
