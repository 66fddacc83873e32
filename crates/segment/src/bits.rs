//! Bit sets, as bits or as lengths of runs, and integers of a few bits each.

use crate::damage::Damage;
use crate::wire::{Reader, put};

/// Words that hold so many bits.
pub(crate) fn words(bits: usize) -> usize {
    bits.div_ceil(64)
}

/// Whether bit `at` is set.
pub(crate) fn get(words: &[u64], at: usize) -> bool {
    words
        .get(at / 64)
        .is_some_and(|word| word >> (at % 64) & 1 == 1)
}

/// Appends the first `bits` bits as runs if that is shorter than bit by bit. Returns whether they are runs.
pub(crate) fn put_set(out: &mut Vec<u8>, set: &[u64], bits: usize) -> bool {
    let start = out.len();
    let plain = bits.div_ceil(8);
    let (mut at, mut current) = (0, false);
    while at < bits && out.len() - start < plain {
        let end = run_end(set, at, bits, current);
        put(out, (end - at) as u64);
        (at, current) = (end, !current);
    }
    if at == bits && out.len() - start < plain {
        return true;
    }
    out.truncate(start);
    let bytes = set.iter().flat_map(|word| word.to_le_bytes());
    out.extend(bytes.take(plain));
    out.resize(start + plain, 0);
    if !bits.is_multiple_of(8)
        && let Some(last) = out.last_mut()
    {
        *last &= (1 << (bits % 8)) - 1;
    }
    false
}

/// First position from `at` on whose bit is not `value`.
fn run_end(set: &[u64], mut at: usize, bits: usize, value: bool) -> usize {
    while at < bits {
        let word = set.get(at / 64).copied().unwrap_or(0);
        let other = if value { !word } else { word } >> (at % 64);
        if other != 0 {
            return bits.min(at + other.trailing_zeros() as usize);
        }
        at = (at / 64 + 1) * 64;
    }
    bits
}

/// Reads what [`put_set`] wrote, all of it, and returns how many bits are set.
pub(crate) fn read_set(
    bytes: &[u8],
    runs: bool,
    bits: usize,
    set: &mut Vec<u64>,
    what: &'static str,
) -> Result<usize, Damage> {
    set.clear();
    if runs {
        set.resize(words(bits), 0);
        let mut reader = Reader::new(bytes);
        let (mut at, mut current, mut count) = (0, false, 0);
        while at < bits {
            let run = reader.count(bits - at, what)?;
            if run == 0 && at > 0 {
                return Err(Damage::Malformed { what });
            }
            if current {
                fill(set, at, at + run);
                count += run;
            }
            (at, current) = (at + run, !current);
        }
        return if reader.is_empty() {
            Ok(count)
        } else {
            Err(Damage::Malformed { what })
        };
    }
    if bytes.len() != bits.div_ceil(8) {
        return Err(Damage::Malformed { what });
    }
    let (whole, rest) = bytes.as_chunks::<8>();
    set.extend(whole.iter().map(|chunk| u64::from_le_bytes(*chunk)));
    if !rest.is_empty() {
        let mut chunk = [0; 8];
        chunk[..rest.len()].copy_from_slice(rest);
        set.push(u64::from_le_bytes(chunk));
    }
    if !bits.is_multiple_of(64)
        && let Some(last) = set.last()
        && last >> (bits % 64) != 0
    {
        return Err(Damage::Malformed { what });
    }
    Ok(set.iter().map(|word| word.count_ones() as usize).sum())
}

/// Sets the bits from `from` up to `to`.
pub(crate) fn fill(set: &mut [u64], from: usize, to: usize) {
    let mut at = from;
    while at < to {
        let until = to.min((at / 64 + 1) * 64);
        let count = until - at;
        let mask = if count == 64 {
            u64::MAX
        } else {
            (1 << count) - 1
        };
        if let Some(word) = set.get_mut(at / 64) {
            *word |= mask << (at % 64);
        }
        at = until;
    }
}

/// Bits that a number takes.
pub(crate) fn width(most: u64) -> u32 {
    u64::BITS - most.leading_zeros()
}

/// Bytes that `count` numbers of so many bits take.
pub(crate) fn packed_size(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends numbers of `width` bits each.
pub(crate) fn pack(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u32) {
    let (mut pending, mut filled) = (0_u128, 0);
    for value in values {
        pending |= u128::from(value) << filled;
        filled += width;
        while filled >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(pending as u8);
    }
}

/// Gives each of `count` numbers of `width` bits to `each`; the bytes have to be of [`packed_size`].
pub(crate) fn unpack(bytes: &[u8], count: usize, width: u32, mut each: impl FnMut(u64)) {
    let mask = if width == 64 {
        u64::MAX
    } else {
        (1 << width) - 1
    };
    let (mut pending, mut filled) = (0_u128, 0);
    let mut bytes = bytes.iter();
    for _ in 0..count {
        while filled < width {
            pending |= u128::from(bytes.next().copied().unwrap_or(0)) << filled;
            filled += 8;
        }
        each(pending as u64 & mask);
        pending >>= width;
        filled -= width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sets_come_back(bools in proptest::collection::vec(proptest::bool::weighted(0.1), 1..700), sparse: bool) {
            let mut set = vec![0; words(bools.len())];
            for (at, &bit) in bools.iter().enumerate() {
                if bit || (!sparse && at % 3 == 0) {
                    fill(&mut set, at, at + 1);
                }
            }
            let mut out = Vec::new();
            let runs = put_set(&mut out, &set, bools.len());
            prop_assert!(out.len() <= bools.len().div_ceil(8));
            let mut read = Vec::new();
            let count = read_set(&out, runs, bools.len(), &mut read, "").unwrap();
            prop_assert_eq!(&read, &set);
            prop_assert_eq!(count, (0..bools.len()).filter(|&at| get(&set, at)).count());
        }

        #[test]
        fn numbers_of_any_width_come_back(values in proptest::collection::vec(any::<u64>(), 1..100), bits in 0_u32..=64) {
            let kept: Vec<u64> = values.iter().map(|value| if bits == 0 { 0 } else { value >> (64 - bits) }).collect();
            let mut out = Vec::new();
            pack(&mut out, kept.iter().copied(), bits);
            prop_assert_eq!(out.len(), packed_size(kept.len(), bits));
            let mut read = Vec::new();
            unpack(&out, kept.len(), bits, |value| read.push(value));
            prop_assert_eq!(read, kept);
        }
    }
}
