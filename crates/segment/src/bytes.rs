//! Runs of bytes: texts, uuids, numbers that are none.
//!
//! | codec | head | body |
//! |---|---|---|
//! | constant | the value | |
//! | few | entries, in order; codec and head of the codes | codes |
//! | dictionary | bounds, length | entries, in order; codes |
//! | plain | bounds, length | values |
//!
//! Entries and values of a body are their lengths and all bytes in one piece, compressed by LZ4 if that is shorter.

use crate::bits;
use crate::builder::Texts;
use crate::damage::Damage;
use crate::ints::{self, Decoder, Encoder};
use crate::wire::{Reader, put, put_bytes};

const CONSTANT: u8 = 0;
const FEW: u8 = 1;
const DICTIONARY: u8 = 2;
const PLAIN: u8 = 3;

/// Entries that stand in the head at most, and their bytes.
const FEW_ENTRIES: usize = 16;
const FEW_BYTES: usize = 256;
/// Bytes of a bound.
const BOUND: usize = 32;

const WHAT: &str = "texts";
const DAMAGE: Damage = Damage::Malformed { what: WHAT };

/// What stands before the values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    codec: u8,
    count: usize,
    /// The least value, or its beginning.
    pub(crate) low: &'a [u8],
    /// The greatest value, if it is not too long.
    pub(crate) high: Option<&'a [u8]>,
    /// Of few entries: what is in the head.
    entries: &'a [u8],
    number: usize,
    codes: Option<ints::Head>,
    pub(crate) length: usize,
}

/// Appends values, of which there is at least one, and returns the codec.
pub(crate) fn encode(
    texts: &Texts,
    ints: &mut Encoder,
    head: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> u8 {
    let entries = texts.ends.len();
    if entries == 1 {
        put_bytes(head, texts.entry(0));
        return CONSTANT;
    }
    let mut order: Vec<u32> = (0..entries as u32).collect();
    order.sort_unstable_by(|&a, &b| texts.entry(a as usize).cmp(texts.entry(b as usize)));
    let sorted = || order.iter().map(|&code| texts.entry(code as usize));
    let dictionary = entries * 2 <= texts.codes.len();
    let few = entries <= FEW_ENTRIES && texts.arena.len() <= FEW_BYTES;
    if !few || !dictionary {
        put_bounds(head, sorted());
    }
    let start = body.len();
    if !dictionary {
        put_values(
            body,
            texts.codes.iter().map(|&code| texts.entry(code as usize)),
            ints,
        );
        put(head, (body.len() - start) as u64);
        return PLAIN;
    }
    let mut places = vec![0_i64; entries];
    for (place, &code) in order.iter().enumerate() {
        places[code as usize] = place as i64;
    }
    let codes: Vec<i64> = texts
        .codes
        .iter()
        .map(|&code| places[code as usize])
        .collect();
    if few {
        put(head, entries as u64);
        sorted().for_each(|entry| put_bytes(head, entry));
        let at = head.len();
        head.push(0);
        head[at] = ints.encode(&codes, head, body);
        return FEW;
    }
    put(body, entries as u64);
    put_values(body, sorted(), ints);
    ints.encode_inside(&codes, body);
    put(head, (body.len() - start) as u64);
    DICTIONARY
}

/// Appends the least value as far as it fits, and the greatest if it does.
fn put_bounds<'a>(head: &mut Vec<u8>, mut sorted: impl DoubleEndedIterator<Item = &'a [u8]>) {
    let low = sorted.next().unwrap_or_default();
    let high = sorted.next_back().unwrap_or_default();
    put_bytes(head, &low[..low.len().min(BOUND)]);
    if high.len() <= BOUND {
        put(head, high.len() as u64 + 1);
        head.extend_from_slice(high);
    } else {
        put(head, 0);
    }
}

/// Appends lengths and bytes.
pub(crate) fn put_values<'a>(
    out: &mut Vec<u8>,
    values: impl Iterator<Item = &'a [u8]>,
    ints: &mut Encoder,
) {
    let (mut lengths, mut data) = (Vec::new(), Vec::new());
    for value in values {
        lengths.push(value.len() as i64);
        data.extend_from_slice(value);
    }
    ints.encode_inside(&lengths, out);
    let packed = lz4_flex::block::compress(&data);
    if packed.len() < data.len() {
        put(out, packed.len() as u64);
        out.extend_from_slice(&packed);
    } else {
        put(out, 0);
        out.extend_from_slice(&data);
    }
}

/// Values that were read: their bytes, and where each begins and the last ends.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) data: Vec<u8>,
    pub(crate) offsets: Vec<u32>,
    lengths: Vec<i64>,
}

impl Values {
    /// Reads what [`put_values`] wrote.
    pub(crate) fn read(
        &mut self,
        reader: &mut Reader,
        count: usize,
        scratch: &mut Decoder,
    ) -> Result<(), Damage> {
        ints::decode_inside(reader, count, &mut self.lengths, scratch)?;
        self.offsets.clear();
        self.offsets.reserve(count + 1);
        self.offsets.push(0);
        let mut end = 0_u32;
        for &length in &self.lengths {
            let length = u32::try_from(length).map_err(|_| DAMAGE)?;
            end = end.checked_add(length).ok_or(DAMAGE)?;
            self.offsets.push(end);
        }
        let packed = reader.count(u32::MAX as usize, WHAT)?;
        let total = end as usize;
        self.data.clear();
        if packed == 0 {
            self.data.extend_from_slice(reader.take(total, WHAT)?);
            return Ok(());
        }
        let packed = reader.take(packed, WHAT)?;
        // A byte of LZ4 gives 255 at most: what claims more is not worth an allocation.
        if total > packed.len().saturating_mul(255) {
            return Err(DAMAGE);
        }
        self.data.resize(total, 0);
        match lz4_flex::block::decompress_into(packed, &mut self.data) {
            Ok(length) if length == total => Ok(()),
            _ => Err(DAMAGE),
        }
    }

    fn set(&mut self, entries: &[u8], number: usize) -> Result<(), Damage> {
        self.data.clear();
        self.offsets.clear();
        self.offsets.push(0);
        let mut reader = Reader::new(entries);
        for _ in 0..number {
            self.data.extend_from_slice(reader.bytes(WHAT)?);
            self.offsets.push(self.data.len() as u32);
        }
        Ok(())
    }
}

impl<'a> Head<'a> {
    /// Reads what stands before `count` values.
    pub(crate) fn read(codec: u8, count: usize, reader: &mut Reader<'a>) -> Result<Self, Damage> {
        let mut head = Self {
            codec,
            count,
            low: &[],
            high: None,
            entries: &[],
            number: 1,
            codes: None,
            length: 0,
        };
        match codec {
            CONSTANT => {
                head.low = reader.bytes(WHAT)?;
                head.high = Some(head.low);
            }
            FEW => head.read_few(reader)?,
            DICTIONARY | PLAIN => {
                head.low = reader.bytes(WHAT)?;
                head.high = match reader.number(WHAT)? {
                    0 => None,
                    length => {
                        let length = usize::try_from(length - 1).unwrap_or(usize::MAX);
                        Some(reader.take(length, WHAT)?)
                    }
                };
                head.length = reader.count(u32::MAX as usize, WHAT)?;
            }
            _ => return Err(DAMAGE),
        }
        Ok(head)
    }

    fn read_few(&mut self, reader: &mut Reader<'a>) -> Result<(), Damage> {
        self.number = reader.count(FEW_ENTRIES, WHAT)?;
        self.entries = reader.rest();
        for at in 0..self.number {
            let entry = reader.bytes(WHAT)?;
            if at == 0 {
                self.low = entry;
            }
            self.high = Some(entry);
        }
        let codes = ints::Head::read(reader.byte(WHAT)?, self.count, reader)?;
        self.length = codes.length;
        self.codes = Some(codes);
        Ok(())
    }

    /// Whether all values are [`Self::low`].
    pub(crate) fn is_constant(&self) -> bool {
        self.codec == CONSTANT
    }

    /// Reads the entries, and the codes of the values if there is a dictionary; returns whether there is.
    pub(crate) fn decode(
        &self,
        body: &[u8],
        values: &mut Values,
        codes: &mut Vec<u32>,
        wide: &mut Vec<i64>,
        scratch: &mut Decoder,
    ) -> Result<bool, Damage> {
        let mut reader = Reader::new(body);
        match self.codec {
            FEW => {
                let head = self.codes.as_ref().ok_or(DAMAGE)?;
                values.set(self.entries, self.number)?;
                head.decode(body, wide, scratch)?;
                narrow(wide, self.number, codes)?;
                return Ok(true);
            }
            DICTIONARY => {
                let number = reader.count(self.count, WHAT)?;
                if number == 0 {
                    return Err(DAMAGE);
                }
                values.read(&mut reader, number, scratch)?;
                ints::decode_inside(&mut reader, self.count, wide, scratch)?;
                narrow(wide, number, codes)?;
            }
            _ => values.read(&mut reader, self.count, scratch)?,
        }
        if reader.is_empty() {
            Ok(self.codec == DICTIONARY)
        } else {
            Err(DAMAGE)
        }
    }
}

/// Codes, which have to be of entries that there are.
fn narrow(wide: &[i64], number: usize, codes: &mut Vec<u32>) -> Result<(), Damage> {
    let most = wide
        .iter()
        .fold(0, |most, &code| most | code.cast_unsigned());
    if bits::width(most) > 32 || wide.iter().any(|&code| code >= number as i64) {
        return Err(DAMAGE);
    }
    codes.clear();
    codes.extend(wide.iter().map(|&code| code as u32));
    Ok(())
}
