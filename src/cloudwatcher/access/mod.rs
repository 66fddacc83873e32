//! What the caller may do and see.
//!
//! The tables that say so are themselves behind policies that ask here, so they are read with the extension's
//! rights. What was found is kept as long as nothing can have changed it: a query with a million rows reads them
//! once, and whoever is deactivated has no rights in the next statement.

mod allowed;
pub mod api;
mod known;
mod rows;

use known::Known;
