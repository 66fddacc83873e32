//! Whole numbers: the codecs of [`Kind::Int`](crate::Kind::Int), of mantissas, and of everything inside a segment that
//! is counted.
//!
//! | codec | head | body |
//! |---|---|---|
//! | constant | the value | |
//! | steps | unit, first and step in units | |
//! | breaks | low, range, length | first, step, and where a step is another |
//! | bits | low, range, length | which values are the high one, bit by bit |
//! | runs | low, range, length | the same, as lengths of runs |
//! | packed | low, range, factor | (value - low) / factor in as few bits as the greatest needs |
//! | pco | low, range, factor, length | the same through pco, as integers of 8, 16, 32 or 64 bits |

use crate::bits;
use crate::damage::Damage;
use crate::pcodec::{self, Code, Scratch};
use crate::wire::{Reader, put, put_signed};

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
    /// Bytes of the body.
    pub(crate) length: usize,
}

/// Whether the sum of values follows from the head that a codec has.
pub(crate) fn knows_sum(codec: u8) -> bool {
    matches!(codec, CONSTANT | STEPS)
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
}

impl Encoder {
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
        put_signed(head, low);
        put(head, range);
        let start = body.len();
        let codec = self.encode_body(values, low, range, head, body);
        if codec != PACKED {
            put(head, (body.len() - start) as u64);
        }
        codec
    }

    fn encode_body(
        &mut self,
        values: &[i64],
        low: i64,
        range: u64,
        head: &mut Vec<u8>,
        body: &mut Vec<u8>,
    ) -> u8 {
        let start = body.len();
        if put_breaks(values, body) {
            return BREAKS;
        }
        let factor = self.divide(values, low);
        let most = range / factor;
        self.trial.clear();
        let order = order_of_differences(values);
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
        put(head, factor);
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
        for &value in &self.narrow {
            factor = common(factor, value);
            if factor == 1 {
                return 1;
            }
        }
        for value in &mut self.narrow {
            *value /= factor;
        }
        factor
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
    let size = |value: i64| u64::from(bits::width(value.unsigned_abs()));
    let centre = {
        let sum: i128 = values.iter().map(|&value| i128::from(value)).sum();
        (sum / values.len().max(1) as i128) as i64
    };
    let mut sizes = [0_u64; 3];
    for triple in values.windows(3) {
        let first = triple[1].wrapping_sub(triple[0]);
        let second = triple[2].wrapping_sub(triple[1]);
        sizes[0] += size(triple[2].wrapping_sub(centre));
        sizes[1] += size(second);
        sizes[2] += size(second.wrapping_sub(first));
    }
    (0..3).min_by_key(|&order| sizes[order]).unwrap_or(0)
}

/// Appends a progression with few breaks. Returns whether it is one; if not, nothing was appended.
fn put_breaks(values: &[i64], body: &mut Vec<u8>) -> bool {
    let start = body.len();
    // A break takes three bytes or more: above one in 48 values, half a bit a value, pco does better.
    let allowed = values.len() / 48;
    let [first, second, third, ..] = values else {
        return false;
    };
    if allowed == 0 {
        return false;
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
    put_signed(body, *first);
    put_signed(body, step);
    let (mut found, mut last) = (0, 0);
    for (at, pair) in values.windows(2).enumerate() {
        let this = pair[1].wrapping_sub(pair[0]);
        if this != step {
            found += 1;
            if found > allowed {
                body.truncate(start);
                return false;
            }
            put(body, (at - last) as u64);
            put_signed(body, this);
            last = at;
        }
    }
    true
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
            length: 0,
        };
        match codec {
            CONSTANT => {
                head.low = reader.signed(WHAT)?;
                head.high = head.low;
                return Ok(head);
            }
            STEPS => return head.read_steps(reader),
            BREAKS | BITS | RUNS | PACKED | PCO => {}
            _ => return Err(DAMAGE),
        }
        head.low = reader.signed(WHAT)?;
        let range = reader.number(WHAT)?;
        let high = i128::from(head.low) + i128::from(range);
        head.high = i64::try_from(high).map_err(|_| DAMAGE)?;
        if matches!(codec, PACKED | PCO) {
            head.factor = reader.number(WHAT)?;
            if head.factor == 0 || range % head.factor != 0 {
                return Err(DAMAGE);
            }
        }
        head.length = if codec == PACKED {
            bits::packed_size(count, bits::width(range / head.factor))
        } else {
            reader.count(u32::MAX as usize, WHAT)?
        };
        Ok(head)
    }

    fn read_steps(mut self, reader: &mut Reader) -> Result<Self, Damage> {
        let unit = *UNITS.get(usize::from(reader.byte(WHAT)?)).ok_or(DAMAGE)?;
        self.first = reader.signed(WHAT)?.checked_mul(unit).ok_or(DAMAGE)?;
        self.step = reader.signed(WHAT)?.checked_mul(unit).ok_or(DAMAGE)?;
        let rest = i128::from(self.step) * (self.count as i128 - 1);
        let last = i64::try_from(i128::from(self.first) + rest).map_err(|_| DAMAGE)?;
        self.low = self.first.min(last);
        self.high = self.first.max(last);
        Ok(self)
    }

    /// The sum of all values, if it follows from the head.
    pub(crate) fn known_sum(&self) -> Option<i128> {
        let count = self.count as i128;
        match self.codec {
            CONSTANT => Some(i128::from(self.low) * count),
            STEPS => Some(
                i128::from(self.first) * count + i128::from(self.step) * (count * (count - 1) / 2),
            ),
            _ => None,
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
        let range = self.high.wrapping_sub(low).cast_unsigned();
        match self.codec {
            CONSTANT => out.resize(count, low),
            STEPS => {
                let value = |at: usize| self.first.wrapping_add(self.step.wrapping_mul(at as i64));
                out.extend((0..count).map(value));
            }
            BREAKS => decode_breaks(body, count, out)?,
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
                let width = bits::width(range / self.factor);
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
                let most = range / self.factor;
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

fn decode_breaks(body: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Damage> {
    let mut reader = Reader::new(body);
    let mut value = reader.signed(WHAT)?;
    let step = reader.signed(WHAT)?;
    out.reserve(count);
    out.push(value);
    let mut last = 0;
    while !reader.is_empty() {
        // The step from row `at` to the next is another.
        let at = last + reader.count(count, WHAT)?;
        let other = reader.signed(WHAT)?;
        if at + 1 < out.len() || at + 1 >= count {
            return Err(DAMAGE);
        }
        while out.len() <= at {
            value = value.wrapping_add(step);
            out.push(value);
        }
        value = value.wrapping_add(other);
        out.push(value);
        last = at;
    }
    while out.len() < count {
        value = value.wrapping_add(step);
        out.push(value);
    }
    Ok(())
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
