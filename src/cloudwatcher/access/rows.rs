//! What policies ask for each row.

#![expect(unsafe_code, reason = "functions that keep something between calls")]

use super::Known;
use crate::error::{OrRaise, Result};
use crate::postgres::c_function::{Call, argument, c_function, kept};
use crate::postgres::caller;
use crate::postgres::seen::Seen;
use pgrx::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;

#[rustfmt::skip]
mod exported {
    use super::*;

    c_function!(gemba_sees_department, pg_finfo_gemba_sees_department, ask(Known::sees_department));
    c_function!(gemba_sees_location, pg_finfo_gemba_sees_location, ask(Known::sees_location));
    c_function!(gemba_sees_user, pg_finfo_gemba_sees_user, ask(Known::sees_user));
    c_function!(gemba_is_asked, pg_finfo_gemba_is_asked, ask(Known::is_asked));
}

type Question = fn(&Known, Option<[u8; 16]>) -> Result<bool>;

/// What was found out for a user, and when.
#[derive(Clone)]
struct Found {
    seen: Seen,
    user: Option<pgrx::Uuid>,
    known: Option<Rc<Known>>,
}

thread_local! {
    /// Several places of a query, and queries one after the other, find out the same.
    static LAST: RefCell<Option<Found>> = const { RefCell::new(None) };
}

fn find(seen: Seen) -> Result<Found> {
    let user = caller::user()?;
    let last = LAST.with_borrow(|last| {
        last.as_ref()
            .filter(|last| seen.is_telling() && last.seen == seen && last.user == user)
            .cloned()
    });
    if let Some(found) = last {
        return Ok(found);
    }
    let known = user.map(Known::of).transpose()?.map(Rc::new);
    let found = Found { seen, user, known };
    LAST.set(Some(found.clone()));
    Ok(found)
}

/// What is known of whoever calls; nothing without a login.
pub fn caller() -> Result<Option<Rc<Known>>> {
    Ok(find(Seen::now())?.known)
}

/// # Safety
/// The functions are declared with one argument, a uuid.
unsafe fn ask(fcinfo: Call, question: Question) -> pg_sys::Datum {
    // SAFETY: as declared; a uuid is sixteen bytes, by reference. And this is the call.
    let answer = unsafe {
        let about = argument(fcinfo, 0).map(|datum| *datum.cast_mut_ptr::<[u8; 16]>());
        answer(fcinfo, about, question)
    };
    pg_sys::Datum::from(answer.or_raise())
}

/// # Safety
/// `fcinfo` is the argument of a call by PostgreSQL.
unsafe fn answer(fcinfo: Call, about: Option<[u8; 16]>, question: Question) -> Result<bool> {
    let seen = Seen::now();
    // SAFETY: the places of these functions keep what was found, and looking it up calls none of them.
    let found = match unsafe { kept(fcinfo, || find(seen))? } {
        Some(found) => found,
        None => &mut find(seen)?,
    };
    if found.seen != seen {
        *found = find(seen)?;
    }
    found
        .known
        .as_ref()
        .map_or(Ok(false), |known| question(known, about))
}
