//! Decimal numbers. With one scale for all, they are integers with a scale before the head; this is about the others.
//!
//! | codec | head | body |
//! |---|---|---|
//! | mixed | form: 0 without bounds, 1 with them, 2 with them and the scale of the mantissas; length | scales; mantissas; numbers that have none |
//!
//! Where they fit, mantissas are stored with as many decimals as the finest number has: 1.5, 2 and 2.25 are 150, 200 and
//! 225 then, which is closer to each other than 15, 2 and 225.

use crate::builder::{NO_SCALE, Numbers};
use crate::bytes;
use crate::damage::Damage;
use crate::ints::{self, Decoder, Encoder};
use crate::scalar::{Scalar, compare_numbers};
use crate::wire::{Reader, put, put_signed};
use std::cmp::Ordering;

/// Next to the codecs of integers.
pub(crate) const MIXED: u8 = 7;

/// Forms.
const UNBOUNDED: u8 = 0;
const BOUNDED: u8 = 1;
const ALIGNED: u8 = 2;

const WHAT: &str = "numbers";
const DAMAGE: Damage = Damage::Malformed { what: WHAT };

/// Appends numbers and returns the codec.
pub(crate) fn encode(
    numbers: &Numbers,
    ints: &mut Encoder,
    head: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> u8 {
    if let (true, Ok(scale)) = (numbers.scales.is_empty(), u16::try_from(numbers.scale)) {
        put(head, u64::from(scale));
        return ints.encode_column(&numbers.mantissas, head, body);
    }
    let start = body.len();
    if numbers.scales.is_empty() {
        ints.encode_inside(&vec![i64::from(NO_SCALE); numbers.len()], body);
    } else {
        let scales: Vec<i64> = numbers
            .scales
            .iter()
            .map(|&scale| i64::from(scale))
            .collect();
        ints.encode_inside(&scales, body);
    }
    if numbers.other_ends.is_empty() {
        let aligned = align(numbers);
        head.push(if aligned.is_some() { ALIGNED } else { BOUNDED });
        put_bounds(numbers, head);
        if let Some((mantissas, scale)) = aligned {
            put(head, u64::from(scale));
            ints.encode_inside(&mantissas, body);
        } else {
            ints.encode_inside(&numbers.mantissas, body);
        }
    } else {
        head.push(UNBOUNDED);
        if !numbers.mantissas.is_empty() {
            ints.encode_inside(&numbers.mantissas, body);
        }
        let others = &numbers.others;
        let entry = |at| crate::builder::entry(others, &numbers.other_ends, at);
        bytes::put_values(body, (0..numbers.other_ends.len()).map(entry), ints);
    }
    put(head, (body.len() - start) as u64);
    MIXED
}

/// The mantissas with the scale of the finest number, if they fit.
fn align(numbers: &Numbers) -> Option<(Vec<i64>, u16)> {
    let most = numbers.scales.iter().max().copied()?;
    let scale = u16::try_from(most).ok()?;
    let pairs = numbers.mantissas.iter().zip(&numbers.scales);
    let aligned = pairs.map(|(mantissa, scale)| mantissa.checked_mul(power(most - scale)?));
    Some((aligned.collect::<Option<_>>()?, scale))
}

/// A power of ten, if it has 64 bits.
fn power(exponent: u32) -> Option<i64> {
    10_i64.checked_pow(exponent)
}

/// Appends the least and the greatest number.
fn put_bounds(numbers: &Numbers, head: &mut Vec<u8>) {
    let scales = numbers.scales.iter().map(|&scale| scale as u16);
    let mut all = numbers.mantissas.iter().copied().zip(scales);
    let first = all.next().unwrap_or_default();
    let (mut low, mut high) = (first, first);
    for number in all {
        if compare_numbers(number, low) == Ordering::Less {
            low = number;
        }
        if compare_numbers(number, high) == Ordering::Greater {
            high = number;
        }
    }
    for (mantissa, scale) in [low, high] {
        put_signed(head, mantissa);
        put(head, u64::from(scale));
    }
}

/// What stands before the values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    count: usize,
    /// The least and the greatest number, unless there are some without a mantissa.
    pub(crate) bounds: Option<[Scalar<'static>; 2]>,
    /// The scale of the mantissas, if it is not that of the numbers.
    aligned: Option<u16>,
    pub(crate) length: usize,
}

/// Numbers that were read.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) scales: Vec<u16>,
    /// Where among the values those without a mantissa are.
    pub(crate) other_rows: Vec<u32>,
    pub(crate) others: bytes::Values,
    wide: Vec<i64>,
    dense: Vec<i64>,
}

/// A scale.
pub(crate) fn read_scale(reader: &mut Reader) -> Result<u16, Damage> {
    reader
        .count(usize::from(u16::MAX), WHAT)
        .map(|scale| scale as u16)
}

impl Head {
    /// Reads what stands before `count` numbers.
    pub(crate) fn read(count: usize, reader: &mut Reader) -> Result<Self, Damage> {
        let form = reader.byte(WHAT)?;
        if form > ALIGNED {
            return Err(DAMAGE);
        }
        let mut bound = || {
            let mantissa = reader.signed(WHAT)?;
            let scale = read_scale(reader)?;
            Ok::<_, Damage>(Scalar::Number { mantissa, scale })
        };
        let bounds = match form {
            UNBOUNDED => None,
            _ => Some([bound()?, bound()?]),
        };
        let aligned = match form {
            ALIGNED => Some(read_scale(reader)?),
            _ => None,
        };
        Ok(Self {
            count,
            bounds,
            aligned,
            length: reader.count(u32::MAX as usize, WHAT)?,
        })
    }

    /// Reads the numbers.
    pub(crate) fn decode(
        &self,
        body: &[u8],
        mantissas: &mut Vec<i64>,
        decoded: &mut Decoded,
        scratch: &mut Decoder,
    ) -> Result<(), Damage> {
        let Decoded {
            scales,
            other_rows,
            others,
            wide,
            dense,
        } = decoded;
        let mut reader = Reader::new(body);
        ints::decode_inside(&mut reader, self.count, wide, scratch)?;
        scales.clear();
        other_rows.clear();
        for (at, &scale) in wide.iter().enumerate() {
            if scale == i64::from(NO_SCALE) {
                other_rows.push(at as u32);
            }
            match u16::try_from(scale) {
                Ok(scale) => scales.push(scale),
                Err(_) if scale == i64::from(NO_SCALE) => scales.push(0),
                Err(_) => return Err(DAMAGE),
            }
        }
        dense.clear();
        if other_rows.len() < self.count {
            ints::decode_inside(&mut reader, self.count - other_rows.len(), dense, scratch)?;
        }
        if !other_rows.is_empty() {
            others.read(&mut reader, other_rows.len(), scratch)?;
        }
        if !reader.is_empty() {
            return Err(DAMAGE);
        }
        mantissas.clear();
        let mut dense = dense.iter();
        let mut mantissa = |&scale: &i64| match scale == i64::from(NO_SCALE) {
            true => 0,
            false => dense.next().copied().unwrap_or_default(),
        };
        mantissas.extend(wide.iter().map(&mut mantissa));
        match self.aligned {
            Some(scale) => restore(mantissas, scales, scale),
            None => Ok(()),
        }
    }
}

/// Gives mantissas of one scale the scales that their numbers have.
fn restore(mantissas: &mut [i64], scales: &[u16], from: u16) -> Result<(), Damage> {
    for (mantissa, &to) in mantissas.iter_mut().zip(scales) {
        let power = from.checked_sub(to).and_then(|by| power(u32::from(by)));
        *mantissa /= power.ok_or(DAMAGE)?;
    }
    Ok(())
}
