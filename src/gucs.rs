//! Settings, each with the reason for its default.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;

/// Which modules `CREATE EXTENSION` deploys: `all`, `none`, or a list of names.
pub static DEPLOY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"all"));

/// How long partition maintenance keeps trying for a lock before it leaves the work to the next run.
/// Two seconds: longer than any normal statement's lock, shorter than anybody notices, and nothing
/// queues behind it meanwhile because the lock is polled, never waited for.
pub static LOCK_PATIENCE_MS: GucSetting<i32> = GucSetting::<i32>::new(2_000);

/// Do new tables of sqp.watched_schemas register themselves for refresh? On, because a table that nobody
/// registered is one that silently goes stale.
pub static AUTO_REGISTER: GucSetting<bool> = GucSetting::<bool>::new(true);

pub fn register() {
    GucRegistry::define_string_guc(
        c"gemba.deploy",
        c"Modules that CREATE EXTENSION gemba deploys.",
        c"'all', 'none', or a comma-separated list such as 'telemetry'. Read by CREATE EXTENSION only.",
        &DEPLOY,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"gemba.lock_patience",
        c"How long partition maintenance polls for a table lock.",
        c"Past this time the partition is left to the next run and reported as deferred.",
        &LOCK_PATIENCE_MS,
        0,
        600_000,
        GucContext::Userset,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        c"gemba.auto_register",
        c"Registers new tables of sqp.watched_schemas for refresh.",
        c"Off, tables are created, renamed and dropped without sqp.refresh_config following; sqp.register_existing() makes up for it.",
        &AUTO_REGISTER,
        GucContext::Userset,
        GucFlags::default(),
    );
}
