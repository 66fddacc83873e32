//! The rooms of this house that `gemba.deploy` can build, in the order in which they may depend on
//! each other. A new room adds one line here and its own `MODULE` beside its code.

use crate::engine::migrate::Module;

/// Reads one migration's two files.
#[macro_export]
macro_rules! migration {
    ($schema:literal, $version:literal, $file:literal, $name:literal) => {
        $crate::engine::migrate::Migration {
            version: $version,
            name: $name,
            up: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/sql/",
                $schema,
                "/",
                $file,
                ".up.sql"
            )),
            down: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/sql/",
                $schema,
                "/",
                $file,
                ".down.sql"
            )),
        }
    };
}

/// The stand-in for Supabase's `auth` schema. It makes only what the database does not have, so it is
/// ordinary data definition without code of its own.
const AUTH: Module = Module {
    name: "auth",
    schema: "auth",
    description: "a stand-in for Supabase's auth schema, where the database has none",
    requires: &[],
    reference_tables: &[],
    mark: Some("gemba's stand-in"),
    migrations: &[migration!("auth", 1, "0001_stand_in", "stand_in")],
};

pub static ALL: &[Module] = &[
    AUTH,
    crate::engine::audit::MODULE,
    crate::telemetry::MODULE,
    crate::plant::MODULE,
    crate::sqp::MODULE,
    crate::reporting::MODULE,
    crate::cloudwatcher::MODULE,
];

/// The module of this name.
pub fn find(name: &str) -> Option<&'static Module> {
    ALL.iter().find(|module| module.name == name)
}
