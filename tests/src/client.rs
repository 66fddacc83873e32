//! What tests ask of a session.

use crate::database::quote;
use postgres::error::DbError;
use postgres::{Client, Error, Transaction};
use std::sync::{Arc, Mutex, PoisonError};

/// Runs `work` in one transaction as PostgREST does: the token's claims in a setting, then the role.
/// Commits when `work` succeeds.
pub fn as_user<T>(
    client: &mut Client,
    role: &str,
    sub: Option<&str>,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut claims = serde_json::Map::new();
    claims.insert("role".into(), role.into());
    if let Some(sub) = sub {
        claims.insert("sub".into(), sub.into());
    }
    let claims = serde_json::Value::Object(claims).to_string();
    let mut transaction = client.transaction()?;
    transaction.execute(
        "SELECT set_config('request.jwt.claims', $1, true)",
        &[&claims],
    )?;
    transaction.batch_execute(&format!("SET LOCAL ROLE {}", quote(role)))?;
    let result = work(&mut transaction)?;
    transaction.commit()?;
    Ok(result)
}

/// The server's error, which must have this SQLSTATE.
#[track_caller]
pub fn expect_sqlstate<T>(result: Result<T, Error>, code: &str) -> DbError {
    let Err(error) = result else {
        panic!("expected SQLSTATE {code}, but the statement succeeded");
    };
    let Some(report) = error.as_db_error() else {
        panic!("expected SQLSTATE {code}, but the client itself failed: {error:?}");
    };
    assert_eq!(report.code().code(), code, "another error came: {report:?}");
    report.clone()
}

/// The notices that a session received, oldest first.
#[derive(Clone, Default)]
pub struct Notices(Arc<Mutex<Vec<DbError>>>);

impl Notices {
    pub(crate) fn push(&self, notice: DbError) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(notice);
    }

    /// Takes what has come so far.
    pub fn take(&self) -> Vec<DbError> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
