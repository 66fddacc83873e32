//! Catching an error and going on, the only sound way: inside a sub-transaction that is rolled back.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::deadline;
use crate::error::Error;
use pgrx::PgTryBuilder;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use std::panic::AssertUnwindSafe;

/// What a caught error said.
#[derive(Debug, Clone)]
pub struct Failure {
    pub message: String,
    pub detail: Option<String>,
    /// The five characters of its SQLSTATE; of one that is not PostgreSQL's own, those of an internal error.
    pub sqlstate: String,
    /// `55P03`: somebody else held a lock for longer than patience lasted.
    pub lock_not_available: bool,
}

/// Runs `work` in a sub-transaction. If it raises an error, everything that it did is undone and the
/// error's text is returned; a cancel or a shutdown is never swallowed.
pub fn run<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    catching(|| false, work)
}

/// The same for work that is cancelled when so many milliseconds have passed: that cancel is caught, here and
/// nowhere further inside, and says what it was.
pub fn run_within<T>(milliseconds: Option<i32>, work: impl FnOnce() -> T) -> Result<T, Failure> {
    deadline::within(milliseconds, || {
        catching(deadline::passed, work).map_err(|failure| failure.of_deadline(deadline::passed()))
    })
}

fn catching<T>(cancelled_by_us: impl Fn() -> bool, work: impl FnOnce() -> T) -> Result<T, Failure> {
    // SAFETY: the memory context and resource owner are saved and put back on both paths, as PL/pgSQL's
    // exception blocks do; the sub-transaction is released or rolled back exactly once.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        let has_written = pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        if has_written {
            // SPI reads with a new snapshot only where there is a transaction id, and otherwise would not see
            // what this statement has written already.
            pg_sys::GetCurrentTransactionId();
        }

        let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
            let value = work();
            pg_sys::ReleaseCurrentSubTransaction();
            Ok(value)
        }))
        .catch_others(Err)
        .execute();
        pg_sys::MemoryContextSwitchTo(context);

        match outcome {
            Ok(value) => {
                pg_sys::CurrentResourceOwner = owner;
                Ok(value)
            }
            Err(error) => {
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
                pg_sys::MemoryContextSwitchTo(context);
                pg_sys::CurrentResourceOwner = owner;
                if is_interrupt(&error) && !cancelled_by_us() {
                    error.rethrow();
                }
                Err(Failure::of(&error))
            }
        }
    }
}

fn is_interrupt(error: &CaughtError) -> bool {
    match error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => matches!(
            report.sql_error_code(),
            PgSqlErrorCode::ERRCODE_QUERY_CANCELED
                | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
                | PgSqlErrorCode::ERRCODE_CRASH_SHUTDOWN
        ),
        CaughtError::RustPanic { .. } => false,
    }
}

impl Failure {
    pub fn of(error: &CaughtError) -> Self {
        let report = match error {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
            CaughtError::RustPanic { ereport, .. } => ereport,
        };
        Self {
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            sqlstate: sqlstate(report.sql_error_code()),
            lock_not_available: report.sql_error_code()
                == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        }
    }
}

impl Failure {
    /// Says so, if it is the cancel of a deadline.
    pub fn of_deadline(self, passed: bool) -> Self {
        if passed && self.sqlstate == "57014" {
            return Self {
                message: "the job ran longer than its timeout".to_owned(),
                ..self
            };
        }
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (code, message, detail) = error.into_parts();
        Self {
            message,
            detail,
            sqlstate: sqlstate(code),
            lock_not_available: false,
        }
    }
}

/// The five characters: each is six bits, the first the lowest.
fn sqlstate(code: PgSqlErrorCode) -> String {
    (0..5)
        .map(|place| char::from(b'0' + ((code as i32 >> (6 * place)) & 0x3f) as u8))
        .collect()
}

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use crate::postgres::spi;
    use pgrx::prelude::*;

    fn sum() -> Option<i64> {
        spi::read_one("SELECT sum(n) FROM kept", &[]).ok().flatten()
    }

    #[pg_test]
    fn a_failure_undoes_its_work_and_nothing_else() {
        let _ = spi::write("CREATE TEMPORARY TABLE kept (n int)", &[]);
        let _ = spi::write("INSERT INTO kept VALUES (1)", &[]);
        let failed = super::run(|| {
            let _ = spi::write("INSERT INTO kept VALUES (10)", &[]);
            let _ = spi::write("SELECT 1 / 0", &[]);
        });
        assert_eq!(
            failed.err().map(|f| f.message),
            Some("division by zero".to_owned())
        );
        assert_eq!(sum(), Some(1));
        // A Rust panic is an error like any other.
        let panicked = super::run(|| -> i32 {
            let _ = spi::write("INSERT INTO kept VALUES (20)", &[]);
            panic!("no");
        });
        assert!(panicked.is_err());
        assert_eq!(sum(), Some(1));
        let done = super::run(|| spi::write("INSERT INTO kept VALUES (100)", &[]).is_ok());
        assert!(matches!(done, Ok(true)));
        assert_eq!(sum(), Some(101));
    }

    #[pg_test]
    fn failures_nest() {
        let _ = spi::write("CREATE TEMPORARY TABLE kept (n int)", &[]);
        let outer = super::run(|| {
            let _ = spi::write("INSERT INTO kept VALUES (1)", &[]);
            let inner = super::run(|| {
                let _ = spi::write("INSERT INTO kept VALUES (2)", &[]);
                let _ = spi::write("SELECT 1 / 0", &[]);
            });
            inner.is_err()
        });
        assert!(matches!(outer, Ok(true)));
        assert_eq!(sum(), Some(1));
    }
}
