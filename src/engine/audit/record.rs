//! What an entry calls its row: the text of the key, or the hash of one that is too long for an index.

use crate::postgres::setting::with_settings;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt::Write as _;

/// Bytes of a key that stands in the log as it is. An index row has room for 2,700, the table's name included.
pub const LONGEST: usize = 1_000;

/// The settings under which keys are made texts, so that a row has one name in all sessions.
const SETTINGS: [(&CStr, &str); 5] = [
    (c"bytea_output", "hex"),
    (c"intervalstyle", "postgres"),
    (c"extra_float_digits", "1"),
    (c"datestyle", "ISO"),
    (c"timezone", "UTC"),
];

/// The record_id of a key: the key itself, `sha256:` and its SHA-256 in hex where it is too long.
pub fn id(key: &str) -> Cow<'_, str> {
    if key.len() <= LONGEST {
        return Cow::Borrowed(key);
    }
    let mut id = String::from("sha256:");
    for byte in Sha256::digest(key.as_bytes()) {
        // Writing to memory does not fail.
        let _ = write!(id, "{byte:02x}");
    }
    Cow::Owned(id)
}

/// Runs `work`, which makes texts of keys or reads them.
pub fn with_key_settings<T>(work: impl FnOnce() -> T) -> T {
    with_settings(&SETTINGS, work)
}
