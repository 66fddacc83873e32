//! Columns on their way out of a segment.

use crate::bits;
use crate::bytes;
use crate::ints::Decoder;
use crate::numbers::Decoded;
use crate::scalar::Scalar;

/// What decoding a column writes into; it keeps its allocations from one to the next.
#[derive(Debug, Default)]
pub struct Buffer {
    pub(crate) nulls: Vec<u64>,
    pub(crate) ints: Vec<i64>,
    pub(crate) float4: Vec<u32>,
    pub(crate) float8: Vec<u64>,
    pub(crate) f32s: Vec<f32>,
    pub(crate) f64s: Vec<f64>,
    pub(crate) codes: Vec<u32>,
    pub(crate) values: bytes::Values,
    pub(crate) numbers: Decoded,
    pub(crate) decoder: Decoder,
}

impl Buffer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// One column, decoded.
#[derive(Debug, Clone, Copy)]
pub struct Column<'b> {
    /// Which rows are NULL; none where no row is, and where all are ([`Values::Nothing`]).
    pub nulls: Option<Nulls<'b>>,
    /// The values.
    pub values: Values<'b>,
}

impl Column<'_> {
    /// Whether a row is NULL.
    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Nothing) || self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }
}

/// Which rows of a column are NULL.
#[derive(Debug, Clone, Copy)]
pub struct Nulls<'b> {
    pub(crate) words: &'b [u64],
    pub(crate) count: usize,
}

impl<'b> Nulls<'b> {
    /// Whether a row is NULL.
    #[must_use]
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        bits::get(self.words, row)
    }

    /// How many rows are NULL.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The rows that are NULL, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<'b> {
        let words = self.words.iter().enumerate();
        words.flat_map(|(at, &word)| ones(word).map(move |bit| at * 64 + bit))
    }

    /// Bits of the rows, 64 a word, the first row lowest; set where it is NULL.
    #[must_use]
    pub fn words(&self) -> &'b [u64] {
        self.words
    }
}

/// Positions of the bits that are set.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            bit
        })
    })
}

/// Values of a column. Slices have an element for every row; those of rows that are NULL hold anything.
#[derive(Debug, Clone, Copy)]
pub enum Values<'b> {
    /// All rows are NULL.
    Nothing,
    /// Every row that is not NULL has this value.
    Constant(Scalar<'b>),
    /// Of [`crate::Kind::Int`].
    Ints(&'b [i64]),
    /// Of [`crate::Kind::Float4`]: bits.
    Float4(&'b [u32]),
    /// Of [`crate::Kind::Float8`]: bits.
    Float8(&'b [u64]),
    /// Of [`crate::Kind::Numeric`], all with the same scale.
    Numbers {
        /// The digits.
        mantissas: &'b [i64],
        /// How many of them are decimals.
        scale: u16,
    },
    /// Of [`crate::Kind::Numeric`], each with its own scale, or none.
    MixedNumbers {
        /// The digits; 0 where the number has none.
        mantissas: &'b [i64],
        /// How many of them are decimals.
        scales: &'b [u16],
        /// Numbers that have no mantissa.
        others: Others<'b>,
    },
    /// Of [`crate::Kind::Bytes`].
    Bytes(BytesColumn<'b>),
}

/// The numbers of a column that have no mantissa.
#[derive(Debug, Clone, Copy)]
pub struct Others<'b> {
    pub(crate) rows: &'b [u32],
    pub(crate) values: BytesColumn<'b>,
}

impl<'b> Others<'b> {
    /// What was given for a row, if it has no mantissa.
    #[must_use]
    pub fn other(&self, row: usize) -> Option<&'b [u8]> {
        if self.rows.is_empty() {
            return None;
        }
        let at = self.rows.binary_search(&u32::try_from(row).ok()?).ok()?;
        Some(self.values.entry(at as u32))
    }

    /// The rows without a mantissa, in order.
    #[must_use]
    pub fn rows(&self) -> &'b [u32] {
        self.rows
    }
}

/// Runs of bytes: entries, and which of them each row has.
#[derive(Debug, Clone, Copy)]
pub struct BytesColumn<'b> {
    /// None where each row has its own entry.
    pub(crate) codes: Option<&'b [u32]>,
    pub(crate) offsets: &'b [u32],
    pub(crate) data: &'b [u8],
}

impl<'b> BytesColumn<'b> {
    /// How many different values there are; without a dictionary, rows.
    #[must_use]
    pub fn len_of_dictionary(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is a dictionary, whose entries are all different and in the order of memcmp.
    #[must_use]
    pub fn has_dictionary(&self) -> bool {
        self.codes.is_some()
    }

    /// Which entry a row has.
    #[must_use]
    #[inline]
    pub fn code(&self, row: usize) -> u32 {
        match self.codes {
            Some(codes) => codes.get(row).copied().unwrap_or_default(),
            None => row as u32,
        }
    }

    /// Which entry each row has; none without a dictionary, where row and entry are the same.
    #[must_use]
    pub fn codes(&self) -> Option<&'b [u32]> {
        self.codes
    }

    /// The bytes of an entry; empty if there is none of that number.
    #[must_use]
    #[inline]
    pub fn entry(&self, code: u32) -> &'b [u8] {
        let at = code as usize;
        match (self.offsets.get(at), self.offsets.get(at + 1)) {
            (Some(&start), Some(&end)) => self
                .data
                .get(start as usize..end as usize)
                .unwrap_or_default(),
            _ => &[],
        }
    }
}
