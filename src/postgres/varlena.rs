//! Values of variable length, without the length in front.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::pg_sys;
use pgrx::varlena::{
    set_varsize_4b, varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u, vardata_any, varsize_any_exhdr,
};

/// What a value holds, decompressed and fetched from wherever it is. It may begin at any address.
///
/// # Safety
/// The datum is of a type of variable length and not null, and lives longer than the slice.
pub unsafe fn bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    let mut varlena: *mut pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: the caller vouches for the type. What lies here in one piece is read where it is, and
    // detoasting makes that of everything else.
    unsafe {
        let plain = varatt_is_4b_u(varlena) || varatt_is_1b(varlena) && !varatt_is_1b_e(varlena);
        if !plain {
            varlena = pg_sys::pg_detoast_datum_packed(varlena);
        }
        std::slice::from_raw_parts(
            vardata_any(varlena).cast::<u8>(),
            varsize_any_exhdr(varlena),
        )
    }
}

/// So much of a value is asked for ahead of reading it.
const AHEAD: usize = 512;

/// Asks the processor for bytes that are about to be read: those of one row after the other are far enough
/// apart to be waited for each time.
#[inline(always)]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes[..bytes.len().min(AHEAD)].chunks(64).skip(1) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which is harmless wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// A value that holds these bytes, in the current memory context.
pub fn of_bytes(bytes: &[u8]) -> pg_sys::Datum {
    let size = bytes.len() + pg_sys::VARHDRSZ;
    // SAFETY: palloc gives that many bytes, aligned, or raises an error; also where they are more than a
    // length can say.
    unsafe {
        let varlena = pg_sys::palloc(size).cast::<pg_sys::varlena>();
        set_varsize_4b(varlena, size as i32);
        std::ptr::copy_nonoverlapping(
            bytes.as_ptr(),
            varlena.cast::<u8>().add(pg_sys::VARHDRSZ),
            bytes.len(),
        );
        pg_sys::Datum::from(varlena)
    }
}

/// What a value inside another one holds, whose bytes these are. None when they end too soon.
#[inline(always)]
pub fn inner(bytes: &[u8]) -> Option<&[u8]> {
    let little = cfg!(target_endian = "little");
    let first = usize::from(*bytes.first()?);
    let short = if little { first & 1 } else { first >> 7 } == 1;
    if short {
        let length = if little { first >> 1 } else { first & 0x7F };
        return bytes.get(1..length);
    }
    let header = u32::from_ne_bytes(*bytes.first_chunk()?);
    let length = if little {
        header >> 2
    } else {
        header & 0x3FFF_FFFF
    };
    bytes.get(pg_sys::VARHDRSZ..length as usize)
}
