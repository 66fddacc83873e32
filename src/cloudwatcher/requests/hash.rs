//! The SHA-256 of a payload in canonical form (`gemba_core::canonical`): equal payloads have the same.

#![expect(unsafe_code, reason = "a function of a jsonb as it is stored")]

use crate::error::{OrRaise, Result};
use crate::postgres::c_function::{Call, argument, c_function, null};
use crate::postgres::jsonb::Node;
use crate::postgres::varlena;
use gemba_core::canonical;
use pgrx::{IntoDatum, pg_sys};
use sha2::{Digest, Sha256};
use std::fmt::Write;

#[rustfmt::skip]
mod exported {
    use super::*;

    c_function!(gemba_payload_hash, pg_finfo_gemba_payload_hash, payload_hash());
}

/// # Safety
/// The function is declared with one argument, a jsonb.
unsafe fn payload_hash(fcinfo: Call) -> pg_sys::Datum {
    // SAFETY: as declared; the payload lives as long as the call.
    let payload = unsafe { argument(fcinfo, 0).map(|datum| varlena::bytes(datum)) };
    match payload.map(|payload| hash(payload).or_raise()).into_datum() {
        Some(hash) => hash,
        // SAFETY: this is the call.
        None => unsafe { null(fcinfo) },
    }
}

fn hash(document: &[u8]) -> Result<String> {
    let mut canonical = Vec::with_capacity(document.len());
    write(&mut canonical, Node::document(document)?)?;
    let mut hash = String::with_capacity(64);
    for byte in Sha256::digest(&canonical) {
        // Writing to a String does not fail.
        let _ = write!(hash, "{byte:02x}");
    }
    Ok(hash)
}

fn write(out: &mut Vec<u8>, node: Node) -> Result<()> {
    match node {
        Node::Null => out.extend_from_slice(b"null"),
        Node::Bool(true) => out.extend_from_slice(b"true"),
        Node::Bool(false) => out.extend_from_slice(b"false"),
        Node::Text(text) => canonical::string(out, text),
        Node::Number(number) => {
            let (negative, weight, digits) = number.digits();
            canonical::number(out, negative, weight, &digits);
        }
        Node::Array(elements) => {
            // SAFETY: raises an error where the stack is used up.
            unsafe { pg_sys::check_stack_depth() };
            out.push(b'[');
            for (place, element) in elements.elements()?.into_iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write(out, element)?;
            }
            out.push(b']');
        }
        Node::Object(members) => {
            // SAFETY: as above.
            unsafe { pg_sys::check_stack_depth() };
            out.push(b'{');
            let mut members = members.members()?;
            members.sort_unstable_by_key(|(name, _)| *name);
            for (place, (name, value)) in members.into_iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                canonical::string(out, name);
                out.push(b':');
                write(out, value)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}
