//! Floats, bit for bit.
//!
//! | codec | head | body |
//! |---|---|---|
//! | constant | the bits | |
//! | pco | bits of low and high, length | through pco as floats |
//! | bits | bits of low and high, length | through pco as integers |
//! | raw | bits of low and high | all bits, the lowest byte first |

use crate::damage::Damage;
use crate::ints::order_of_differences;
use crate::pcodec::{self, Code, Scratch};
use crate::scalar::FloatBits;
use crate::wire::{Reader, put};

const CONSTANT: u8 = 0;
const PCO: u8 = 1;
const BITS: u8 = 2;
const RAW: u8 = 3;

const WHAT: &str = "floats";
const DAMAGE: Damage = Damage::Malformed { what: WHAT };

/// The bits of a float, and the float.
pub(crate) trait Bits: FloatBits + Code {
    type Float: Code;
    type Bytes: AsRef<[u8]>;
    fn float(self) -> Self::Float;
    fn of(float: Self::Float) -> Self;
    fn bytes(self) -> Self::Bytes;
    fn read(reader: &mut Reader) -> Result<Self, Damage>;
}

impl Bits for u32 {
    type Float = f32;
    type Bytes = [u8; 4];
    fn float(self) -> f32 {
        f32::from_bits(self)
    }
    fn of(float: f32) -> Self {
        float.to_bits()
    }
    fn bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }
    fn read(reader: &mut Reader) -> Result<Self, Damage> {
        Ok(Self::from_le_bytes(reader.array(WHAT)?))
    }
}

impl Bits for u64 {
    type Float = f64;
    type Bytes = [u8; 8];
    fn float(self) -> f64 {
        f64::from_bits(self)
    }
    fn of(float: f64) -> Self {
        float.to_bits()
    }
    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }
    fn read(reader: &mut Reader) -> Result<Self, Damage> {
        Ok(Self::from_le_bytes(reader.array(WHAT)?))
    }
}

/// What stands before the values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<T> {
    codec: u8,
    count: usize,
    pub(crate) low: T,
    pub(crate) high: T,
    pub(crate) length: usize,
}

/// Appends floats, of which there is at least one, and returns the codec.
pub(crate) fn encode<T: Bits>(values: &[T], head: &mut Vec<u8>, body: &mut Vec<u8>) -> u8 {
    let Some(&first) = values.first() else {
        return RAW;
    };
    if values.iter().all(|&value| value == first) {
        head.extend_from_slice(first.bytes().as_ref());
        return CONSTANT;
    }
    let (low, high) = values.iter().fold((first, first), |(low, high), &value| {
        (
            if value.rank() < low.rank() {
                value
            } else {
                low
            },
            if value.rank() > high.rank() {
                value
            } else {
                high
            },
        )
    });
    head.extend_from_slice(low.bytes().as_ref());
    head.extend_from_slice(high.bytes().as_ref());
    let (codec, length) = encode_body(values, body);
    if codec != RAW {
        put(head, length as u64);
    }
    codec
}

fn encode_body<T: Bits>(values: &[T], body: &mut Vec<u8>) -> (u8, usize) {
    let start = body.len();
    let raw = values.len() * (T::BITS / 8);
    // Where the bits of neighbours are close, so are the numbers.
    let bits: Vec<i64> = values.iter().map(|&value| value.rank()).collect();
    let order = order_of_differences(&bits);
    let floats: Vec<T::Float> = values.iter().map(|value| value.float()).collect();
    if pcodec::compress(&floats, order, body)
        && body.len() - start < raw
        && comes_back(values, &body[start..])
    {
        return (PCO, body.len() - start);
    }
    body.truncate(start);
    if pcodec::compress(values, order, body) && body.len() - start < raw {
        return (BITS, body.len() - start);
    }
    body.truncate(start);
    for value in values {
        body.extend_from_slice(value.bytes().as_ref());
    }
    (RAW, raw)
}

/// Whether floats that went through pco are the same bits again: it computes with them, and some bits of NaN are
/// nobody's business but the owner's.
fn comes_back<T: Bits>(values: &[T], bytes: &[u8]) -> bool {
    let mut floats = Vec::new();
    let read =
        pcodec::decompress::<T::Float>(bytes, values.len(), &mut floats, &mut Scratch::default());
    let same = |(&value, &float): (&T, &T::Float)| T::of(float) == value;
    read.is_ok() && values.iter().zip(&floats).all(same)
}

impl<T: Bits> Head<T> {
    /// Reads what stands before `count` values.
    pub(crate) fn read(codec: u8, count: usize, reader: &mut Reader) -> Result<Self, Damage> {
        let low = T::read(reader)?;
        let (high, length) = match codec {
            CONSTANT => (low, 0),
            PCO | BITS => (T::read(reader)?, reader.count(u32::MAX as usize, WHAT)?),
            RAW => (T::read(reader)?, count * (T::BITS / 8)),
            _ => return Err(DAMAGE),
        };
        Ok(Self {
            codec,
            count,
            low,
            high,
            length,
        })
    }

    /// Whether all values are [`Self::low`].
    pub(crate) fn is_constant(&self) -> bool {
        self.codec == CONSTANT
    }

    /// Reads the values.
    pub(crate) fn decode(
        &self,
        body: &[u8],
        out: &mut Vec<T>,
        floats: &mut Vec<T::Float>,
        scratch: &mut Scratch,
    ) -> Result<(), Damage> {
        out.clear();
        match self.codec {
            CONSTANT => out.resize(self.count, self.low),
            PCO => {
                pcodec::decompress(body, self.count, floats, scratch)?;
                out.extend(floats.iter().map(|&float| T::of(float)));
            }
            BITS => pcodec::decompress(body, self.count, out, scratch)?,
            _ => {
                let mut reader = Reader::new(body);
                out.reserve(self.count);
                for _ in 0..self.count {
                    out.push(T::read(&mut reader)?);
                }
            }
        }
        Ok(())
    }
}
