//! Who may do what: the role × object matrix, kept as `tests/expected/privileges.txt`.

use anyhow::Result;
use gemba_tests::{assert_expected, extended, privileges};

#[test]
fn the_matrix_is_as_expected() -> Result<()> {
    let db = extended("privileges")?;
    let stranger = db.role("stranger")?;
    let found = privileges(
        &mut db.connect()?,
        &stranger,
        &[
            "gemba",
            "gemba_archive",
            "gemba_internal",
            "auth",
            "cloudwatcher",
            "plant",
            "reporting",
            "sqp",
            "telemetry",
        ],
    )?;
    assert_expected("privileges.txt", &found)
}
