//! The role × object matrix.

use anyhow::Result;
use postgres::Client;
use std::fmt::Write as _;

/// Who may do what in these schemas, as text, an object a line. `stranger` is a
/// role without memberships; it appears under that name, whatever it is called.
pub fn privileges(client: &mut Client, stranger: &str, schemas: &[&str]) -> Result<String> {
    let roles = ["anon", "authenticated", "service_role", stranger];
    let mut tx = client.transaction()?;
    tx.batch_execute("SET LOCAL search_path = ''")?;
    let mut text = String::new();
    for row in tx.query(
        "SELECT format('role %s%s%s%s%s%s', CASE rolname WHEN $2 THEN 'stranger' ELSE rolname END,
                       CASE WHEN rolsuper THEN ' superuser' END, CASE WHEN rolcanlogin THEN ' login' END,
                       CASE WHEN rolinherit THEN ' inherit' END, CASE WHEN rolbypassrls THEN ' bypassrls' END,
                       CASE WHEN rolcreaterole OR rolcreatedb OR rolreplication THEN ' more' END)
           FROM pg_catalog.pg_roles WHERE rolname = ANY ($1)
          ORDER BY array_position($1::text[], rolname::text)",
        &[&&roles[..], &stranger],
    )? {
        writeln!(text, "{}", row.get::<_, String>(0))?;
    }
    for row in tx.query(include_str!("privileges.sql"), &[&&roles[..], &schemas])? {
        let line: String = row.get("line");
        writeln!(text, "{}", line.replace(stranger, "stranger"))?;
    }
    tx.rollback()?;
    Ok(text)
}
