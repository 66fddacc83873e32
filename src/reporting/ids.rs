//! Ids that people can read and nobody can guess.

use crate::error::Error;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Crockford's digits: none that could be taken for another.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Digits of an id: 120 bits, as many as chance gives a UUID.
const LENGTH: usize = 24;

/// A new id, `prefix_` and digits from the server's strong random numbers.
///
/// # Errors
/// `22023` for a prefix that is not made of letters, `XX000` where the system has no random numbers.
#[pg_extern(schema = "reporting", volatile, parallel_safe, strict)]
#[search_path(pg_catalog, pg_temp)]
pub fn new_id(prefix: &str) -> Result<String, ErrorReport> {
    if prefix.is_empty() || prefix.len() > 40 || !prefix.bytes().all(|b| b.is_ascii_lowercase()) {
        return Err(Error::invalid("the prefix is not a word")
            .detail(format!("prefix {prefix:?}"))
            .hint("use 1 to 40 small letters")
            .into());
    }
    let mut random = [0_u8; LENGTH];
    // SAFETY: writes exactly so many bytes into the buffer.
    #[expect(unsafe_code, reason = "the server's strong random numbers")]
    let filled = unsafe { pg_sys::pg_strong_random(random.as_mut_ptr().cast(), random.len()) };
    if !filled {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            "no random numbers can be had",
        )
        .hint("see the server's log")
        .into());
    }
    let mut id = String::with_capacity(prefix.len() + 1 + LENGTH);
    id.push_str(prefix);
    id.push('_');
    // 256 is a multiple of 32: every digit is as likely as any other.
    id.extend(
        random
            .iter()
            .map(|byte| char::from(DIGITS[usize::from(byte % 32)])),
    );
    Ok(id)
}

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use super::*;
    use crate::postgres::spi;
    use std::collections::HashSet;

    #[pg_test]
    fn ids_are_words_and_never_the_same() {
        let ids: HashSet<String> = (0..10_000).filter_map(|_| new_id("dash").ok()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| {
            id.strip_prefix("dash_").is_some_and(|digits| {
                digits.len() == LENGTH && digits.bytes().all(|b| DIGITS.contains(&b))
            })
        }));
        // Every digit turns up in every place.
        for place in 0..LENGTH {
            let digits: HashSet<u8> = ids.iter().map(|id| id.as_bytes()[5 + place]).collect();
            assert_eq!(digits.len(), 32);
        }
    }

    #[pg_test(error = "the prefix is not a word")]
    fn a_prefix_is_a_word() {
        let _ = spi::read_one::<String>("SELECT reporting.new_id('a b')", &[]);
    }
}
