//! Settings, each with the reason for its default.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;

/// Which modules `CREATE EXTENSION` deploys: `all`, `none`, or a list of names.
pub static DEPLOY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"all"));

/// How long partition maintenance keeps trying for a lock before it leaves the work to the next run.
/// Two seconds: longer than any normal statement's lock, shorter than anybody notices, and nothing
/// queues behind it meanwhile because the lock is polled, never waited for.
pub static LOCK_PATIENCE_MS: GucSetting<i32> = GucSetting::<i32>::new(2_000);

/// Databases that the background worker looks after. All of them, because whoever preloads the library
/// wants its jobs to run; one without the extension costs a look now and then.
pub static WORKER_DATABASES: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"*"));

/// Jobs at once in one database. With the launcher and the database's scheduler that makes six of the
/// eight processes that `max_worker_processes` allows by default, which leaves two for parallel queries.
pub static MAX_RUNNING_JOBS: GucSetting<i32> = GucSetting::<i32>::new(4);

/// Are jobs to be run? For `ALTER DATABASE … SET`: a restored copy should not do the original's work.
pub static RUN_JOBS: GucSetting<bool> = GucSetting::<bool>::new(true);

/// How long the history of runs is kept, in minutes. A superuser's to say: it is everybody's history.
pub static JOB_HISTORY_MINUTES: GucSetting<i32> = GucSetting::<i32>::new(30 * 24 * 60);

/// Do new tables of sqp.watched_schemas register themselves for refresh? On, because a table that nobody
/// registered is one that silently goes stale.
pub static AUTO_REGISTER: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Why something is changed, for the audit trail. Nothing, because only the application knows.
pub static CHANGE_REASON: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Where a request came from, for the audit trail. Nothing: without it that is where the connection comes from,
/// which behind an API is the API.
pub static CLIENT_IP: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Is it counted who queries which table with row level security? On, because it costs less than a microsecond a
/// query. A superuser's to say: whoever is counted should not decide about it.
pub static COUNT_ACCESS: GucSetting<bool> = GucSetting::<bool>::new(true);

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
    GucRegistry::define_string_guc(
        c"gemba.worker_databases",
        c"Databases whose jobs the background worker runs.",
        c"'*' for all, or a comma-separated list.",
        &WORKER_DATABASES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"gemba.max_running_jobs",
        c"Jobs that run at once in one database.",
        c"Each takes one of max_worker_processes.",
        &MAX_RUNNING_JOBS,
        1,
        1_000,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"gemba.run_jobs",
        c"Runs the jobs of this database.",
        c"Set it off for one database with ALTER DATABASE, for instance in a restored copy.",
        &RUN_JOBS,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"gemba.job_history",
        c"How long the history of runs is kept.",
        c"Read by gemba.expire_job_runs().",
        &JOB_HISTORY_MINUTES,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_bool_guc(
        c"gemba.auto_register",
        c"Registers new tables of sqp.watched_schemas for refresh.",
        c"Off, tables are created, renamed and dropped without sqp.refresh_config following; sqp.register_existing() makes up for it.",
        &AUTO_REGISTER,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"gemba.change_reason",
        c"Why something is changed, for the audit trail.",
        c"Written to change_reason of every entry; set it for a transaction with SET LOCAL.",
        &CHANGE_REASON,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"gemba.client_ip",
        c"The address that a request came from, for the audit trail.",
        c"Written to ip_address of every entry instead of the connection's; what is no address is ignored.",
        &CLIENT_IP,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"gemba.count_access",
        c"Counts who queries which table with row level security.",
        c"Where the server preloads the library; gemba.collect_access() moves the counts into cloudwatcher.data_access.",
        &COUNT_ACCESS,
        GucContext::Suset,
        GucFlags::default(),
    );
}
