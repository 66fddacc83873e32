//! Who changes something, why, and from where. Asked by code that runs with the rights of whoever is asked
//! about, so it calls nobody else's functions.

#![expect(
    unsafe_code,
    reason = "reads the session's settings and its connection"
)]

use crate::gucs;
use crate::postgres::{role, varlena};
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::net::IpAddr;

pub struct Who {
    pub user: Option<[u8; 16]>,
    pub role: String,
    pub reason: Option<CString>,
    /// An inet without the length in front.
    pub address: Option<Vec<u8>>,
}

/// What a text was read as the last time.
#[derive(Default)]
struct Read<T> {
    text: Vec<u8>,
    value: Option<T>,
}

impl<T: Clone> Read<T> {
    fn of(&mut self, text: &[u8], read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        if text.is_empty() {
            return None;
        }
        if self.text != text {
            self.value = std::str::from_utf8(text).ok().and_then(read);
            self.text = text.to_vec();
        }
        self.value.clone()
    }
}

thread_local! {
    static CLAIMS: RefCell<Read<[u8; 16]>> = RefCell::default();
    static ADDRESS: RefCell<Read<Vec<u8>>> = RefCell::default();
    /// Of the connection, which has only one.
    static CONNECTION: RefCell<Option<Option<Vec<u8>>>> = const { RefCell::new(None) };
}

pub fn asks() -> Who {
    let reason = gucs::CHANGE_REASON.get();
    Who {
        user: user(),
        role: role_name(),
        reason: reason.filter(|reason| !reason.is_empty()),
        address: given_address().or_else(connection),
    }
}

/// The token's subject, as `gemba._user()` reads it.
pub fn user() -> Option<[u8; 16]> {
    let claims = setting(c"request.jwt.claims");
    CLAIMS.with_borrow_mut(|last| {
        last.of(&claims, |claims| {
            let claims: serde_json::Value = serde_json::from_str(claims).ok()?;
            uuid(claims.get("sub")?.as_str()?)
        })
    })
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    // The server reads every form that this does, but for URNs.
    let plain = !text.starts_with("urn:");
    plain
        .then(|| uuid::Uuid::try_parse(text).ok().map(uuid::Uuid::into_bytes))
        .flatten()
}

/// A setting that somebody has made up, or nothing.
fn setting(name: &CStr) -> Vec<u8> {
    // SAFETY: with missing_ok the call returns NULL or a C string, which is copied at once.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        if value.is_null() {
            return Vec::new();
        }
        CStr::from_ptr(value).to_bytes().to_vec()
    }
}

/// The role that was set, else that of the session: current_user may be the owner of a SECURITY DEFINER function.
fn role_name() -> String {
    // SAFETY: both read the backend's own state.
    let role = unsafe {
        match pg_sys::GetCurrentRoleId() {
            pg_sys::InvalidOid => pg_sys::GetSessionUserId(),
            set => set,
        }
    };
    role::name(role)
}

fn given_address() -> Option<Vec<u8>> {
    let text = gucs::CLIENT_IP.get()?;
    ADDRESS.with_borrow_mut(|last| {
        last.of(text.to_bytes(), |text| {
            let address: IpAddr = text.trim().parse().ok()?;
            // The server's struct: family, bits of the net mask, address.
            Some(match address {
                IpAddr::V4(v4) => [&[2, 32], v4.octets().as_slice()].concat(),
                IpAddr::V6(v6) => [&[3, 128], v6.octets().as_slice()].concat(),
            })
        })
    })
}

fn connection() -> Option<Vec<u8>> {
    let known = CONNECTION.with_borrow(Clone::clone);
    known.unwrap_or_else(|| {
        // SAFETY: the function takes no arguments and returns an inet or null.
        let address = unsafe {
            pgrx::direct_function_call_as_datum(pg_sys::inet_client_addr, &[])
                .map(|inet| varlena::bytes(inet).to_vec())
        };
        CONNECTION.replace(Some(address.clone()));
        address
    })
}
