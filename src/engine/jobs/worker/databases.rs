//! Which databases there are, read without being connected to one.

#![expect(
    unsafe_code,
    reason = "SQL needs a database; the shared catalog is read as the server reads it"
)]

use pgrx::pg_sys;

pub struct Database {
    pub oid: pg_sys::Oid,
    pub name: String,
}

/// The databases that can be connected to, without templates.
pub fn list() -> Vec<Database> {
    let mut databases = Vec::new();
    // SAFETY: a transaction around a scan of a catalog that needs no database; each tuple is read before the
    // next is asked for.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let catalog = pg_sys::table_open(
            pg_sys::DatabaseRelationId,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        );
        let scan = pg_sys::table_beginscan_catalog(catalog, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let row: *const pg_sys::FormData_pg_database = pg_sys::GETSTRUCT(tuple).cast();
            // A limit of -2 marks what is left of a DROP DATABASE that was interrupted.
            if (*row).datallowconn && !(*row).datistemplate && (*row).datconnlimit != -2 {
                databases.push(Database {
                    oid: (*row).oid,
                    name: core::ffi::CStr::from_ptr((*row).datname.data.as_ptr())
                        .to_string_lossy()
                        .into_owned(),
                });
            }
        }
        pg_sys::table_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
    }
    databases
}
