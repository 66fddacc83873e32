//! Whole numbers: the codecs of [`Kind::Int`](crate::Kind::Int), of mantissas, and of everything inside a segment that
//! is counted.
//!
//! | codec | head | body |
//! |---|---|---|
//! | constant | the value | |
//! | steps | unit, first and step in units | |
//! | breaks | unit, low and range in units, length | first - low and step in units, and where a step is another |
//! | bits | low, range, length | which values are the high one, bit by bit |
//! | runs | low, range, length | the same, as lengths of runs |
//! | packed | low, factor, range in factors | (value - low) / factor in as few bits as the greatest needs |
//! | pco | low, factor, range in factors, length | the same through pco, as integers of 8, 16, 32 or 64 bits |
//!
//! A column of its own says its sum after the head, as what it is above count × low, in the same units or factors.

use crate::bits;
use crate::damage::Damage;
use crate::pcodec::{self, Code, Scratch};
use crate::wire::{Reader, put, put_signed, put_wide};

/// Codecs, as numbered in the format. 7 is free for kinds that have more to say.
const CONSTANT: u8 = 0;
const STEPS: u8 = 1;
const BREAKS: u8 = 2;
const BITS: u8 = 3;
const RUNS: u8 = 4;
const PACKED: u8 = 5;
const PCO: u8 = 6;

/// What first and step of a progression may be multiples of: times come in microseconds.
const UNITS: [i64; 6] = [
    1,
    1_000,
    1_000_000,
    60_000_000,
    3_600_000_000,
    86_400_000_000,
];

const WHAT: &str = "integers";
const DAMAGE: Damage = Damage::Malformed { what: WHAT };

/// What stands before the values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    codec: u8,
    count: usize,
    /// The least value.
    pub(crate) low: i64,
    /// The greatest value.
    pub(crate) high: i64,
    first: i64,
    step: i64,
    factor: u64,
    /// The range in factors.
    most: u64,
    /// Bytes of the body.
    pub(crate) length: usize,
}

/// Scratch of encoding.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    narrow: Vec<u64>,
    u8s: Vec<u8>,
    u16s: Vec<u16>,
    u32s: Vec<u32>,
    bits: Vec<u64>,
    trial: Vec<u8>,
    /// What all values of the last column are multiples of, from its least on.
    factor: u64,
}

impl Encoder {
    /// [`Self::encode`], with the sum unless it follows from the head.
    pub(crate) fn encode_column(
        &mut self,
        values: &[i64],
        head: &mut Vec<u8>,
        body: &mut Vec<u8>,
    ) -> u8 {
        let codec = self.encode(values, head, body);
        if !matches!(codec, CONSTANT | STEPS) {
            let low = values.iter().min().copied().unwrap_or_default();
            let above = |&value: &i64| u128::from(value.wrapping_sub(low).cast_unsigned());
            let sum: u128 = values.iter().map(above).sum();
            put_wide(head, sum / u128::from(self.factor.max(1)));
        }
        codec
    }

    /// Appends values, of which there is at least one, and returns the codec, which the caller stores.
    pub(crate) fn encode(&mut self, values: &[i64], head: &mut Vec<u8>, body: &mut Vec<u8>) -> u8 {
        let first = values.first().copied().unwrap_or_default();
        let (low, high) = values.iter().fold((first, first), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
        if low == high {
            put_signed(head, low);
            return CONSTANT;
        }
        if let Some(step) = progression(values) {
            let unit = UNITS
                .iter()
                .rposition(|unit| first % unit == 0 && step % unit == 0)
                .unwrap_or(0);
            head.push(unit as u8);
            put_signed(head, first / UNITS[unit]);
            put_signed(head, step / UNITS[unit]);
            return STEPS;
        }
        let range = high.wrapping_sub(low).cast_unsigned();
        let start = body.len();
        if let Some(unit) = put_breaks(values, low, high, body) {
            self.factor = UNITS[unit].cast_unsigned();
            head.push(unit as u8);
            put_signed(head, low / UNITS[unit]);
            put(head, range / self.factor);
            put(head, (body.len() - start) as u64);
            return BREAKS;
        }
        self.factor = self.divide(values, low);
        let most = range / self.factor;
        put_signed(head, low);
        let codec = self.encode_body(values, most, body);
        if matches!(codec, BITS | RUNS) {
            put(head, range);
        } else {
            put(head, self.factor);
            put(head, most);
        }
        if codec != PACKED {
            put(head, (body.len() - start) as u64);
        }
        codec
    }

    /// Appends what was divided, the greatest being `most`.
    fn encode_body(&mut self, values: &[i64], most: u64, body: &mut Vec<u8>) -> u8 {
        let start = body.len();
        let order = order_of_differences(values);
        self.trial.clear();
        let by_pco = values.len() > 8 && self.through_pco(most, order);
        let packed = bits::packed_size(values.len(), bits::width(most));
        if most == 1 {
            self.bits.clear();
            self.bits.resize(bits::words(values.len()), 0);
            for (at, &value) in self.narrow.iter().enumerate() {
                self.bits[at / 64] |= value << (at % 64);
            }
            let runs = bits::put_set(body, &self.bits, values.len());
            if !by_pco || body.len() - start <= self.trial.len() {
                return if runs { RUNS } else { BITS };
            }
            body.truncate(start);
        }
        if by_pco && self.trial.len() < packed {
            body.extend_from_slice(&self.trial);
            return PCO;
        }
        bits::pack(body, self.narrow.iter().copied(), bits::width(most));
        PACKED
    }

    /// Takes `low` off, divides by what all differences have in common, and returns that.
    fn divide(&mut self, values: &[i64], low: i64) -> u64 {
        self.narrow.clear();
        let differences = values
            .iter()
            .map(|value| value.wrapping_sub(low).cast_unsigned());
        self.narrow.extend(differences);
        let mut factor = 0;
        let mut exact: Option<Exact> = None;
        for &value in &self.narrow {
            if exact.is_some_and(|exact| exact.divides(value)) {
                continue;
            }
            factor = common(factor, value);
            if factor == 1 {
                return 1;
            }
            exact = (factor != 0).then(|| Exact::by(factor));
        }
        if let Some(exact) = exact {
            for value in &mut self.narrow {
                *value = exact.quotient(*value);
            }
        }
        factor.max(1)
    }

    fn through_pco(&mut self, most: u64, order: usize) -> bool {
        let Self { narrow, trial, .. } = self;
        if most <= u64::from(u8::MAX) {
            refill(&mut self.u8s, narrow, |value| value as u8);
            pcodec::compress(&self.u8s, order, trial)
        } else if most <= u64::from(u16::MAX) {
            refill(&mut self.u16s, narrow, |value| value as u16);
            pcodec::compress(&self.u16s, order, trial)
        } else if most <= u64::from(u32::MAX) {
            refill(&mut self.u32s, narrow, |value| value as u32);
            pcodec::compress(&self.u32s, order, trial)
        } else {
            pcodec::compress(narrow, order, trial)
        }
    }

    /// Appends codec, head and body in one piece.
    pub(crate) fn encode_inside(&mut self, values: &[i64], out: &mut Vec<u8>) {
        let (mut head, mut body) = (Vec::new(), Vec::new());
        let codec = self.encode(values, &mut head, &mut body);
        out.push(codec);
        out.extend_from_slice(&head);
        out.extend_from_slice(&body);
    }
}

fn refill<T>(to: &mut Vec<T>, from: &[u64], narrow: impl Fn(u64) -> T) {
    to.clear();
    to.extend(from.iter().map(|&value| narrow(value)));
}

/// Greatest common divisor.
fn common(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Division without a remainder, by one multiplication: an odd number has an inverse modulo 2^64, with which a multiple
/// becomes its quotient and everything else a number above all quotients.
#[derive(Debug, Clone, Copy)]
struct Exact {
    inverse: u64,
    shift: u32,
    most: u64,
}

impl Exact {
    /// By anything but 0.
    fn by(factor: u64) -> Self {
        let shift = factor.trailing_zeros();
        let odd = factor >> (shift % 64);
        // Newton's method; each round doubles the bits that are right, of which an odd number has three to begin with.
        let mut inverse = odd;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        }
        Self {
            inverse,
            shift,
            most: u64::MAX / factor.max(1),
        }
    }

    fn quotient(self, value: u64) -> u64 {
        value.wrapping_mul(self.inverse).rotate_right(self.shift)
    }

    fn divides(self, value: u64) -> bool {
        self.quotient(value) <= self.most
    }
}

/// The step, if each value is the one before plus always the same.
fn progression(values: &[i64]) -> Option<i64> {
    let [first, second, ..] = values else {
        return None;
    };
    let step = second.checked_sub(*first)?;
    let regular = |pair: &[i64]| pair[0].checked_add(step) == Some(pair[1]);
    values.windows(2).all(regular).then_some(step)
}

/// Which differences of neighbours are the smallest numbers: none (0), those (1), or theirs in turn (2).
pub(crate) fn order_of_differences(values: &[i64]) -> usize {
    /// Values that are looked at together, and how many times.
    const BLOCK: usize = 48;
    const BLOCKS: usize = 8;
    let size = |value: i64| u64::from(bits::width(value.unsigned_abs()));
    let stride = (values.len() / BLOCKS).max(BLOCK);
    let blocks = || {
        values
            .chunks(stride)
            .map(|all| &all[..all.len().min(BLOCK)])
    };
    let (sum, count) = blocks()
        .flatten()
        .fold((0_i128, 0), |(sum, count), &value| {
            (sum + i128::from(value), count + 1)
        });
    let centre = (sum + count / 2).div_euclid(count.max(1)) as i64;
    let mut sizes = [0_u64; 3];
    for triple in blocks().flat_map(|block| block.windows(3)) {
        let first = triple[1].wrapping_sub(triple[0]);
        let second = triple[2].wrapping_sub(triple[1]);
        sizes[0] += size(triple[2].wrapping_sub(centre));
        sizes[1] += size(second);
        sizes[2] += size(second.wrapping_sub(first));
    }
    (0..3).min_by_key(|&order| sizes[order]).unwrap_or(0)
}

/// Appends a progression with few breaks. Returns its unit if it is one; if not, nothing was appended.
fn put_breaks(values: &[i64], low: i64, high: i64, body: &mut Vec<u8>) -> Option<usize> {
    // A break takes two bytes or more: above one in 48 values, a third of a bit a value, pco does better.
    let allowed = values.len() / 48;
    let [first, second, third, ..] = values else {
        return None;
    };
    // Above half of all numbers, a difference is not what it seems to be.
    if allowed == 0 || high.checked_sub(low).is_none() {
        return None;
    }
    // Either of the first two steps may be a break.
    let fourth = values.get(3).unwrap_or(third);
    let steps = [
        second.wrapping_sub(*first),
        third.wrapping_sub(*second),
        fourth.wrapping_sub(*third),
    ];
    let step = if steps[0] == steps[1] {
        steps[0]
    } else {
        steps[2]
    };
    let mut breaks = Vec::with_capacity(allowed);
    for (at, pair) in values.windows(2).enumerate() {
        let this = pair[1].wrapping_sub(pair[0]);
        if this != step {
            if breaks.len() == allowed {
                return None;
            }
            breaks.push((at, this));
        }
    }
    let ahead = first.wrapping_sub(low);
    let fits = |unit: &i64| {
        let differences = breaks.iter().map(|&(_, this)| this);
        let mut all = differences.chain([low, ahead, step]);
        all.all(|value| value % unit == 0)
    };
    let unit = UNITS.iter().rposition(fits).unwrap_or(0);
    put_signed(body, ahead / UNITS[unit]);
    put_signed(body, step / UNITS[unit]);
    let mut last = 0;
    for (at, this) in breaks {
        put(body, (at - last) as u64);
        put_signed(body, this / UNITS[unit]);
        last = at;
    }
    Some(unit)
}

impl Head {
    /// Reads what stands before `count` values, at least one.
    pub(crate) fn read(codec: u8, count: usize, reader: &mut Reader) -> Result<Self, Damage> {
        let mut head = Self {
            codec,
            count,
            low: 0,
            high: 0,
            first: 0,
            step: 0,
            factor: 1,
            most: 0,
            length: 0,
        };
        match codec {
            CONSTANT => {
                head.low = reader.signed(WHAT)?;
                head.high = head.low;
                return Ok(head);
            }
            STEPS => return head.read_steps(reader),
            BREAKS => {
                let unit = read_unit(reader)?;
                head.low = reader.signed(WHAT)?.checked_mul(unit).ok_or(DAMAGE)?;
                head.factor = unit.cast_unsigned();
            }
            BITS | RUNS | PACKED | PCO => {
                head.low = reader.signed(WHAT)?;
                head.factor = reader.number(WHAT)?;
            }
            _ => return Err(DAMAGE),
        }
        head.most = if matches!(codec, BITS | RUNS) {
            1
        } else {
            reader.number(WHAT)?
        };
        let range = head
            .most
            .checked_mul(head.factor)
            .filter(|&range| range > 0);
        let high = i128::from(head.low) + i128::from(range.ok_or(DAMAGE)?);
        head.high = i64::try_from(high).map_err(|_| DAMAGE)?;
        head.length = if codec == PACKED {
            bits::packed_size(count, bits::width(head.most))
        } else {
            reader.count(u32::MAX as usize, WHAT)?
        };
        Ok(head)
    }

    fn read_steps(mut self, reader: &mut Reader) -> Result<Self, Damage> {
        let unit = read_unit(reader)?;
        self.first = reader.signed(WHAT)?.checked_mul(unit).ok_or(DAMAGE)?;
        self.step = reader.signed(WHAT)?.checked_mul(unit).ok_or(DAMAGE)?;
        let rest = i128::from(self.step) * (self.count as i128 - 1);
        let last = i64::try_from(i128::from(self.first) + rest).map_err(|_| DAMAGE)?;
        self.low = self.first.min(last);
        self.high = self.first.max(last);
        Ok(self)
    }

    /// The sum of all values, from what follows the head if it has to.
    pub(crate) fn read_sum(&self, reader: &mut Reader) -> Result<i128, Damage> {
        let count = self.count as i128;
        match self.codec {
            CONSTANT => Ok(i128::from(self.low) * count),
            STEPS => {
                Ok(i128::from(self.first) * count
                    + i128::from(self.step) * (count * (count - 1) / 2))
            }
            _ => {
                let above = reader.wide("sum")?;
                // All values being the greatest: 88 bits at most.
                if above > u128::from(self.most) * self.count as u128 {
                    return Err(Damage::Malformed { what: "sum" });
                }
                let above = (above * u128::from(self.factor)).cast_signed();
                Ok(i128::from(self.low) * count + above)
            }
        }
    }

    /// Whether all values are [`Self::low`].
    pub(crate) fn is_constant(&self) -> bool {
        self.codec == CONSTANT
    }

    /// Reads the values.
    pub(crate) fn decode(
        &self,
        body: &[u8],
        out: &mut Vec<i64>,
        scratch: &mut Decoder,
    ) -> Result<(), Damage> {
        out.clear();
        let (count, low) = (self.count, self.low);
        let most = self.most;
        match self.codec {
            CONSTANT => out.resize(count, low),
            STEPS => {
                put_steps(out, self.first, self.step, count);
            }
            BREAKS => self.decode_breaks(body, out)?,
            BITS | RUNS => {
                bits::read_set(body, self.codec == RUNS, count, &mut scratch.bits, WHAT)?;
                let value = |at: usize| {
                    if bits::get(&scratch.bits, at) {
                        self.high
                    } else {
                        low
                    }
                };
                out.extend((0..count).map(value));
            }
            PACKED => {
                let width = bits::width(most);
                if body.len() != bits::packed_size(count, width) {
                    return Err(DAMAGE);
                }
                out.reserve(count);
                let factor = self.factor;
                bits::unpack(body, count, width, |value| {
                    out.push(low.wrapping_add(value.wrapping_mul(factor).cast_signed()));
                });
            }
            PCO => {
                if most <= u64::from(u8::MAX) {
                    self.through_pco(body, out, &mut scratch.u8s, &mut scratch.pco)?;
                } else if most <= u64::from(u16::MAX) {
                    self.through_pco(body, out, &mut scratch.u16s, &mut scratch.pco)?;
                } else if most <= u64::from(u32::MAX) {
                    self.through_pco(body, out, &mut scratch.u32s, &mut scratch.pco)?;
                } else {
                    self.through_pco(body, out, &mut scratch.u64s, &mut scratch.pco)?;
                }
            }
            _ => return Err(DAMAGE),
        }
        Ok(())
    }

    fn through_pco<T: Code + Into<u64>>(
        &self,
        body: &[u8],
        out: &mut Vec<i64>,
        narrow: &mut Vec<T>,
        scratch: &mut Scratch,
    ) -> Result<(), Damage> {
        pcodec::decompress(body, self.count, narrow, scratch)?;
        let (low, factor) = (self.low, self.factor);
        let wide = |&value: &T| low.wrapping_add(value.into().wrapping_mul(factor).cast_signed());
        out.extend(narrow.iter().map(wide));
        Ok(())
    }
}

/// Appends so many values.
fn put_steps(out: &mut Vec<i64>, first: i64, step: i64, count: usize) {
    let mut next = first;
    out.extend((0..count).map(|_| {
        let value = next;
        next = next.wrapping_add(step);
        value
    }));
}

fn read_unit(reader: &mut Reader) -> Result<i64, Damage> {
    UNITS
        .get(usize::from(reader.byte(WHAT)?))
        .copied()
        .ok_or(DAMAGE)
}

impl Head {
    fn decode_breaks(&self, body: &[u8], out: &mut Vec<i64>) -> Result<(), Damage> {
        let (count, unit) = (self.count, self.factor.cast_signed());
        let mut reader = Reader::new(body);
        let ahead = reader.signed(WHAT)?.wrapping_mul(unit);
        let mut first = self.low.wrapping_add(ahead);
        let step = reader.signed(WHAT)?.wrapping_mul(unit);
        out.reserve(count);
        let mut last = 0;
        while !reader.is_empty() {
            // The step from row `at` to the next is another.
            let at = last + reader.count(count, WHAT)?;
            let other = reader.signed(WHAT)?.wrapping_mul(unit);
            if at < out.len() || at + 1 >= count {
                return Err(DAMAGE);
            }
            let run = at + 1 - out.len();
            put_steps(out, first, step, run);
            let end = first.wrapping_add(step.wrapping_mul(run as i64 - 1));
            first = end.wrapping_add(other);
            last = at;
        }
        let run = count - out.len();
        put_steps(out, first, step, run);
        Ok(())
    }
}

/// Scratch of decoding.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bits: Vec<u64>,
    u8s: Vec<u8>,
    u16s: Vec<u16>,
    u32s: Vec<u32>,
    u64s: Vec<u64>,
    pub(crate) pco: Scratch,
}

/// Reads what [`Encoder::encode_inside`] wrote.
pub(crate) fn decode_inside(
    reader: &mut Reader,
    count: usize,
    out: &mut Vec<i64>,
    scratch: &mut Decoder,
) -> Result<Head, Damage> {
    let codec = reader.byte(WHAT)?;
    let head = Head::read(codec, count, reader)?;
    let body = reader.take(head.length, WHAT)?;
    head.decode(body, out, scratch)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exact_division(factor in 1_u64.., shift in 0_u32..64, value: u64) {
            let factor = (factor >> shift).max(1);
            let exact = Exact::by(factor);
            let multiple = value - value % factor;
            prop_assert_eq!(exact.quotient(multiple), multiple / factor);
            prop_assert!(exact.divides(multiple));
            prop_assert_eq!(exact.divides(value), value % factor == 0);
        }
    }

    /// The codec that values get is the one that was made for them.
    #[test]
    fn codecs_are_chosen() {
        let codec = |values: &[i64]| {
            let (mut head, mut body) = (Vec::new(), Vec::new());
            let codec = Encoder::default().encode(values, &mut head, &mut body);
            (codec, head.len() + body.len())
        };
        let minute = 60_000_000;
        let times: Vec<i64> = (0..1440)
            .map(|at| 584_000_000_000_000 / minute * minute + at * minute)
            .collect();
        let gaps: Vec<i64> = times
            .iter()
            .copied()
            .filter(|time| time / minute % 100 > 2)
            .collect();
        let noise = |at: i64| {
            let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed());
            (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb_u64.cast_signed())
        };
        assert_eq!(codec(&[7; 100]), (CONSTANT, 1));
        assert_eq!(codec(&times), (STEPS, 6));
        assert_eq!(codec(&gaps).0, BREAKS);
        assert!(codec(&gaps).1 < 64, "{}", codec(&gaps).1);
        assert_eq!(
            codec(&(0..1000).map(|at| at / 33 % 2).collect::<Vec<_>>()).0,
            RUNS
        );
        assert_eq!(
            codec(&(0..100).map(|at| noise(at) & 1).collect::<Vec<_>>()).0,
            BITS
        );
        assert_eq!(codec(&(0..100).map(noise).collect::<Vec<_>>()).0, PACKED);
        let walk: Vec<i64> = (0..1440_i64)
            .map(|at| (at * at / 700) % 5000 * 100 + (noise(at) >> 62) * 100)
            .collect();
        assert_eq!(codec(&walk).0, PCO);
        // What all have in common costs nothing.
        let plain: Vec<i64> = walk.iter().map(|value| value / 100).collect();
        assert!(codec(&walk).1 <= codec(&plain).1 + 4);
    }
}
