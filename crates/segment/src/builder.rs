//! Columns on their way into a segment.

use crate::MAX_ROWS;
use crate::bits;
use crate::damage::EncodeError;
use crate::scalar::Kind;
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// Scale of a number that has none; real ones have 16 bits.
pub(crate) const NO_SCALE: u32 = 1 << 16;

/// Bytes of the values of one column: PostgreSQL stores no more in one piece.
const MAX_BYTES: usize = 1 << 30;

/// One column being gathered, row by row. Clearing it keeps what it has allocated.
///
/// A value of another kind than the column's counts as NULL: which method fits is known from [`Self::kind`].
#[derive(Debug, Clone)]
pub struct ColumnBuilder {
    kind: Kind,
    rows: usize,
    nulls: usize,
    /// Bits of the rows that are NULL; shorter than the rows where the last ones are not.
    null_bits: Vec<u64>,
    values: Held,
}

/// The values that are not NULL.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    Ints(Vec<i64>),
    Float4(Vec<u32>),
    Float8(Vec<u64>),
    Numbers(Numbers),
    Bytes(Texts),
}

/// Decimal numbers, and those that are none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    /// Of the numbers that have one.
    pub(crate) mantissas: Vec<i64>,
    /// The only scale, as long as there is only one; ignored otherwise.
    pub(crate) scale: u32,
    /// Scales of all numbers, [`NO_SCALE`] for those that have none. Empty as long as all have the same.
    pub(crate) scales: Vec<u32>,
    /// Those without a mantissa, one after another, and where each ends.
    pub(crate) others: Vec<u8>,
    pub(crate) other_ends: Vec<usize>,
}

/// Runs of bytes, each different one held once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    /// Which entry each value is.
    pub(crate) codes: Vec<u32>,
    /// The entries one after another, and where each ends.
    pub(crate) arena: Vec<u8>,
    pub(crate) ends: Vec<usize>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl ColumnBuilder {
    /// An empty column.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Int => Held::Ints(Vec::new()),
            Kind::Float4 => Held::Float4(Vec::new()),
            Kind::Float8 => Held::Float8(Vec::new()),
            Kind::Numeric => Held::Numbers(Numbers::default()),
            Kind::Bytes => Held::Bytes(Texts::default()),
        };
        Self {
            kind,
            rows: 0,
            nulls: 0,
            null_bits: Vec::new(),
            values,
        }
    }

    /// What the column holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Rows so far, NULL or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.nulls = 0;
        self.null_bits.clear();
        match &mut self.values {
            Held::Ints(values) => values.clear(),
            Held::Float4(values) => values.clear(),
            Held::Float8(values) => values.clear(),
            Held::Numbers(numbers) => numbers.clear(),
            Held::Bytes(texts) => texts.clear(),
        }
    }

    /// Adds a row that is NULL.
    pub fn push_null(&mut self) {
        self.repeat_null(1);
    }

    /// Adds rows that are NULL.
    pub fn repeat_null(&mut self, count: usize) {
        let end = self.rows + count;
        self.null_bits.resize(bits::words(end), 0);
        bits::fill(&mut self.null_bits, self.rows, end);
        self.rows = end;
        self.nulls += count;
    }

    /// Adds a row to [`Kind::Int`].
    pub fn push_int(&mut self, value: i64) {
        match &mut self.values {
            Held::Ints(values) => {
                values.push(value);
                self.rows += 1;
            }
            _ => self.push_null(),
        }
    }

    /// Adds rows of one value to [`Kind::Int`].
    pub fn repeat_int(&mut self, value: i64, count: usize) {
        match &mut self.values {
            Held::Ints(values) => {
                values.resize(values.len() + count, value);
                self.rows += count;
            }
            _ => self.repeat_null(count),
        }
    }

    /// Adds rows to [`Kind::Int`].
    pub fn extend_ints(&mut self, added: &[i64]) {
        match &mut self.values {
            Held::Ints(values) => {
                values.extend_from_slice(added);
                self.rows += added.len();
            }
            _ => self.repeat_null(added.len()),
        }
    }

    /// Adds a row to [`Kind::Float4`].
    pub fn push_float4(&mut self, bits: u32) {
        match &mut self.values {
            Held::Float4(values) => {
                values.push(bits);
                self.rows += 1;
            }
            _ => self.push_null(),
        }
    }

    /// Adds a row to [`Kind::Float8`].
    pub fn push_float8(&mut self, bits: u64) {
        match &mut self.values {
            Held::Float8(values) => {
                values.push(bits);
                self.rows += 1;
            }
            _ => self.push_null(),
        }
    }

    /// Adds a row to [`Kind::Numeric`].
    pub fn push_number(&mut self, mantissa: i64, scale: u16) {
        self.extend_numbers(&[mantissa], scale);
    }

    /// Adds rows of one scale to [`Kind::Numeric`].
    pub fn extend_numbers(&mut self, mantissas: &[i64], scale: u16) {
        match &mut self.values {
            Held::Numbers(numbers) => {
                numbers.add_scale(u32::from(scale), mantissas.len());
                numbers.mantissas.extend_from_slice(mantissas);
                self.rows += mantissas.len();
            }
            _ => self.repeat_null(mantissas.len()),
        }
    }

    /// Adds a row to [`Kind::Numeric`] that is no decimal number of 64 bits.
    pub fn push_other_number(&mut self, bytes: &[u8]) {
        match &mut self.values {
            Held::Numbers(numbers) => {
                numbers.add_scale(NO_SCALE, 1);
                numbers.others.extend_from_slice(bytes);
                numbers.other_ends.push(numbers.others.len());
                self.rows += 1;
            }
            _ => self.push_null(),
        }
    }

    /// Adds a row to [`Kind::Bytes`].
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.repeat_bytes(bytes, 1);
    }

    /// Adds rows of one value to [`Kind::Bytes`].
    pub fn repeat_bytes(&mut self, bytes: &[u8], count: usize) {
        match &mut self.values {
            Held::Bytes(texts) => {
                if count > 0 {
                    let code = texts.code_of(bytes);
                    texts.codes.resize(texts.codes.len() + count, code);
                }
                self.rows += count;
            }
            _ => self.repeat_null(count),
        }
    }

    /// The values that are not NULL.
    pub(crate) fn values(&self) -> &Held {
        &self.values
    }

    /// How many rows are NULL, and which.
    pub(crate) fn nulls(&self) -> (usize, &[u64]) {
        (self.nulls, &self.null_bits)
    }

    /// Whether a segment can hold it.
    pub(crate) fn check(&self, column: usize) -> Result<(), EncodeError> {
        if self.rows == 0 || self.rows > MAX_ROWS {
            return Err(EncodeError::Rows { rows: self.rows });
        }
        let length = match &self.values {
            Held::Numbers(numbers) => numbers.others.len(),
            Held::Bytes(texts) => texts.total(),
            Held::Ints(_) | Held::Float4(_) | Held::Float8(_) => 0,
        };
        if length <= MAX_BYTES {
            Ok(())
        } else {
            Err(EncodeError::TooLong { column })
        }
    }
}

impl Numbers {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.mantissas.len() + self.other_ends.len()
    }

    fn add_scale(&mut self, scale: u32, count: usize) {
        if self.len() == 0 {
            self.scale = scale;
        }
        if self.scales.is_empty() {
            if scale == self.scale || count == 0 {
                return;
            }
            self.scales.resize(self.len(), self.scale);
        }
        self.scales.resize(self.scales.len() + count, scale);
    }

    fn clear(&mut self) {
        self.mantissas.clear();
        self.scales.clear();
        self.others.clear();
        self.other_ends.clear();
    }
}

impl Texts {
    /// The bytes of an entry.
    pub(crate) fn entry(&self, code: usize) -> &[u8] {
        entry(&self.arena, &self.ends, code)
    }

    /// Bytes of all values, each as often as it is going to be stored.
    fn total(&self) -> usize {
        // Twice as many values as entries become a dictionary, which holds each once.
        if self.ends.len() * 2 <= self.codes.len() {
            return self.arena.len();
        }
        let lengths = self
            .codes
            .iter()
            .map(|&code| self.entry(code as usize).len());
        lengths.sum()
    }

    fn code_of(&mut self, bytes: &[u8]) -> u32 {
        // Values come in runs more often than not.
        if let Some(&last) = self.codes.last()
            && self.entry(last as usize) == bytes
        {
            return last;
        }
        let Self {
            arena,
            ends,
            index,
            hasher,
            ..
        } = self;
        let hash = hasher.hash_one(bytes);
        if let Some(&code) = index.find(hash, |&code| entry(arena, ends, code as usize) == bytes) {
            return code;
        }
        // More entries than a segment has rows are refused when it is encoded.
        let code = ends.len() as u32;
        arena.extend_from_slice(bytes);
        ends.push(arena.len());
        index.insert_unique(hash, code, |&code| {
            hasher.hash_one(entry(arena, ends, code as usize))
        });
        code
    }

    fn clear(&mut self) {
        self.codes.clear();
        self.arena.clear();
        self.ends.clear();
        self.index.clear();
    }
}

/// Entry `at` of an arena.
pub(crate) fn entry<'a>(arena: &'a [u8], ends: &[usize], at: usize) -> &'a [u8] {
    let start = match at.checked_sub(1) {
        Some(before) => ends.get(before).copied().unwrap_or(0),
        None => 0,
    };
    let end = ends.get(at).copied().unwrap_or(start);
    arena.get(start..end).unwrap_or_default()
}
