//! Bytes in and out: variable-length integers, a reader that never leaves its bytes, the checksum.

use crate::damage::Damage;

/// First bytes of every segment, of any version.
pub(crate) const MAGIC: [u8; 2] = [0xb7, b'g'];
/// Bytes of the checksum, which are the last.
pub(crate) const CHECKSUM: usize = 4;

/// Appends 7 bits a byte, the lowest first.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// [`put`] for sums.
pub(crate) fn put_wide(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number with a sign, small ones of either sign being short.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends bytes with their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends the checksum of what stands from `start` on.
pub(crate) fn seal(out: &mut Vec<u8>, start: usize) {
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Splits the checksum off and compares it.
pub(crate) fn check_seal(bytes: &[u8]) -> Result<&[u8], Damage> {
    let (content, stored) = bytes
        .split_last_chunk::<CHECKSUM>()
        .ok_or(Damage::Truncated { what: "checksum" })?;
    let (stored, computed) = (u32::from_le_bytes(*stored), crc32c::crc32c(content));
    if stored == computed {
        Ok(content)
    } else {
        Err(Damage::Checksum { stored, computed })
    }
}

/// Makes the checksum of a changed segment right again, for tests of what a checksum does not show.
pub fn reseal(segment: &mut [u8]) {
    if let Some((content, stored)) = segment.split_last_chunk_mut::<CHECKSUM>() {
        *stored = crc32c::crc32c(content).to_le_bytes();
    }
}

/// Reads from the beginning of what is left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Damage> {
        let (first, rest) = self.left.split_first().ok_or(Damage::Truncated { what })?;
        self.left = rest;
        Ok(*first)
    }

    pub(crate) fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self
            .left
            .split_at_checked(length)
            .ok_or(Damage::Truncated { what })?;
        self.left = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Damage> {
        let (taken, rest) = self
            .left
            .split_first_chunk()
            .ok_or(Damage::Truncated { what })?;
        self.left = rest;
        Ok(*taken)
    }

    pub(crate) fn number(&mut self, what: &'static str) -> Result<u64, Damage> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            // The tenth byte has a single bit to give.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damage::Malformed { what })
    }

    pub(crate) fn wide(&mut self, what: &'static str) -> Result<u128, Damage> {
        let mut value = 0;
        for shift in (0..112).step_by(7) {
            let byte = self.byte(what)?;
            value |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damage::Malformed { what })
    }

    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, Damage> {
        let value = self.number(what)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A number of at most `most`.
    pub(crate) fn count(&mut self, most: usize, what: &'static str) -> Result<usize, Damage> {
        match usize::try_from(self.number(what)?) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(Damage::Malformed { what }),
        }
    }

    /// Bytes with their length before them.
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Damage> {
        let length = self.number(what)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), what)
    }

    /// All that is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.left
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back() {
        let values = [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN, 1 << 62];
        let mut out = Vec::new();
        for value in values {
            put_signed(&mut out, value);
            put(&mut out, value.cast_unsigned());
        }
        put_wide(&mut out, (1 << 112) - 1);
        let mut reader = Reader::new(&out);
        for value in values {
            assert_eq!(reader.signed("").unwrap(), value);
            assert_eq!(reader.number("").unwrap(), value.cast_unsigned());
        }
        assert_eq!(reader.wide("").unwrap(), (1 << 112) - 1);
        assert!(reader.is_empty());
    }

    #[test]
    fn integers_that_are_too_long_are_refused() {
        assert!(Reader::new(&[0xff; 11]).number("").is_err());
        assert!(Reader::new(&[0xff; 20]).wide("").is_err());
        let mut bytes = [0x80; 10];
        bytes[9] = 2;
        assert!(Reader::new(&bytes).number("").is_err());
        assert!(Reader::new(&[0x80]).number("").is_err());
    }
}
