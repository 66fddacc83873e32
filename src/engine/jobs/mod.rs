//! Jobs: SQL that runs by a timetable, as a role, once at a time, with retries and a history.
//!
//! - [`api`]: the SQL functions
//! - [`timetable`]: a schedule's text, and when it is due next
//! - [`catalog`]: starting and ending runs in `gemba.jobs` and `gemba.job_runs`
//! - [`session`]: runs what is due in the caller's session, for servers without a worker
//! - [`worker`]: runs what is due in processes of its own
//!
//! **No run is lost, and none runs twice.** A run is begun with a row in `gemba.job_runs` that is committed
//! before anything else happens. The row is marked as succeeded in the very transaction that does the work.
//! So a row that still says `running` while its process is gone did nothing (its work was rolled back), and
//! is taken up again. Only commands that commit on their own way (a procedure with COMMIT, VACUUM) can have
//! done a part.

pub mod api;
pub mod catalog;
pub mod session;
pub mod timetable;
pub mod worker;
