//! What the rooms need from PostgreSQL, each in one small file: queries, names, locks, roles, settings,
//! sub-transactions, time zones. Nothing here knows a domain.

pub mod backend;
pub mod c_function;
pub mod caller;
pub mod composite;
pub mod cursor;
pub mod deadline;
pub mod descriptor;
pub mod expression;
pub mod heap;
pub mod json;
pub mod json_text;
pub mod json_value;
pub mod jsonb;
pub mod jsonb_length;
pub mod jsonb_writer;
pub mod lock;
pub mod long;
pub mod memory;
pub mod names;
pub mod numeric;
pub mod plan;
pub mod relation;
pub mod role;
pub mod seen;
pub mod setting;
pub mod spi;
pub mod subtransaction;
pub mod time;
pub mod trigger;
pub mod type_cache;
pub mod varlena;
