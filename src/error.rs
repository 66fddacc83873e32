//! The one error type: what went wrong, with which value, and what to do about it.

use pgrx::pg_sys::panic::{ErrorReport, ErrorReportable};
use pgrx::{PgSqlErrorCode, spi};

/// An error on its way to the client.
///
/// Messages are lower-case and constant enough to search for; the offending value goes into the detail,
/// the remedy into the hint.
#[derive(Debug)]
pub struct Error {
    code: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

/// What the extension's own functions return; `?` turns it into PostgreSQL's error report at the surface.
pub type Result<T, E = Error> = core::result::Result<T, E>;

impl Error {
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// An argument that no call could succeed with.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
    }

    /// The named thing does not exist.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, message)
    }

    /// The thing exists, but is not in a state in which this can be done.
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            message,
        )
    }

    /// The caller may not do this.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message)
    }

    pub fn code(&self) -> PgSqlErrorCode {
        self.code
    }

    /// Code, message and detail, for a record of it.
    pub fn into_parts(self) -> (PgSqlErrorCode, String, Option<String>) {
        (self.code, self.message, self.detail)
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Error> for ErrorReport {
    #[track_caller]
    fn from(error: Error) -> Self {
        let mut report = Self::new(error.code, error.message, "gemba");
        if let Some(detail) = error.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = error.hint {
            report = report.set_hint(hint);
        }
        report
    }
}

/// SPI itself failed (a broken query raises PostgreSQL's own error instead and never comes here).
impl From<spi::Error> for Error {
    fn from(error: spi::Error) -> Self {
        if let spi::Error::SpiError(
            code @ (spi::SpiErrorCodes::Transaction | spi::SpiErrorCodes::Copy),
        ) = error
        {
            return Self::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "the command cannot run inside a function",
            )
            .detail(match code {
                spi::SpiErrorCodes::Copy => "COPY from or to the client",
                _ => "transaction control",
            })
            .hint("leave it to the background worker, where it may stand on its own");
        }
        Self::new(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            "a query of the extension returned something unexpected",
        )
        .detail(error.to_string())
    }
}

/// Ends a computation that has no caller to return an error to: triggers, sub-transactions.
pub trait OrRaise {
    type Value;

    /// The value, or the error raised as PostgreSQL's.
    fn or_raise(self) -> Self::Value;
}

impl<T> OrRaise for Result<T> {
    type Value = T;

    #[track_caller]
    fn or_raise(self) -> T {
        self.map_err(ErrorReport::from).unwrap_or_report()
    }
}
