//! A segment being read.

use crate::column::{Buffer, BytesColumn, Column, Nulls, Others, Values};
use crate::damage::Damage;
use crate::encode::{ALL_NULL, MAX_COLUMNS, NO_NULLS, NULL_RUNS};
use crate::scalar::{Kind, Scalar, Stats, Sum};
use crate::wire::{self, Reader};
use crate::{FORMAT, MAX_ROWS, bits, bytes, floats, ints, numbers};

const WHAT: &str = "header";
const NULLS: &str = "NULLs";

/// A segment whose checksum and header are right.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    rows: usize,
    columns: Vec<Entry<'a>>,
}

#[derive(Debug, Clone)]
struct Entry<'a> {
    kind: Kind,
    nulls: NullRows<'a>,
    stats: Stats<'a>,
    head: Head<'a>,
    /// Bytes of the body, known before where it begins.
    length: usize,
    body: &'a [u8],
}

/// Rows that are NULL: some of them, or all, in which case there are no bytes.
#[derive(Debug, Clone, Copy, Default)]
struct NullRows<'a> {
    count: usize,
    as_runs: bool,
    length: usize,
    bytes: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
enum Head<'a> {
    Nothing,
    Ints(ints::Head),
    Float4(floats::Head<u32>),
    Float8(floats::Head<u64>),
    Numbers(ints::Head, u16),
    Mixed(numbers::Head),
    Bytes(bytes::Head<'a>),
}

impl<'a> Segment<'a> {
    /// Checks the version, the checksum, and that the header describes the bytes that follow it.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Damage> {
        let Some([_, _, version]) = bytes
            .first_chunk()
            .filter(|first| first[..2] == wire::MAGIC)
        else {
            return Err(Damage::NotASegment);
        };
        // Magic, version and checksum are what all versions have in common, so a flipped bit is no newer version.
        let content = wire::check_seal(bytes)?;
        if *version > FORMAT {
            return Err(Damage::NewerFormat {
                found: *version,
                known: FORMAT,
            });
        }
        if *version == 0 {
            return Err(Damage::Malformed { what: "version" });
        }
        let mut reader = Reader::new(content);
        reader.take(wire::MAGIC.len() + 1, WHAT)?;
        let rows = reader.count(MAX_ROWS, "row count")?;
        let count = reader.count(MAX_COLUMNS, "column count")?;
        if rows == 0 || count == 0 {
            return Err(Damage::Malformed { what: WHAT });
        }
        // A head takes a byte at least: what claims more columns than there are bytes fails before long.
        let mut columns = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            columns.push(Entry::read(rows, &mut reader)?);
        }
        for entry in &mut columns {
            entry.take_bodies(&mut reader)?;
        }
        if reader.is_empty() {
            Ok(Self { rows, columns })
        } else {
            Err(Damage::Malformed { what: WHAT })
        }
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// What a column holds.
    ///
    /// # Panics
    /// Where there is no such column: [`Self::columns`] says how many there are.
    #[must_use]
    pub fn kind(&self, column: usize) -> Kind {
        self.columns[column].kind
    }

    /// What is known of a column without decoding it; nothing where there is no such column.
    #[must_use]
    pub fn stats(&self, column: usize) -> Stats<'a> {
        self.columns
            .get(column)
            .map_or(Stats::default(), |entry| entry.stats)
    }

    /// Bytes that the values and NULLs of a column take, without its head.
    #[must_use]
    pub fn body_size(&self, column: usize) -> usize {
        self.columns
            .get(column)
            .map_or(0, |entry| entry.nulls.length + entry.length)
    }

    /// Decodes a column into a buffer.
    ///
    /// # Errors
    /// Where there is no such column, and where its bytes make no sense although the checksum is right.
    pub fn decode<'b>(&self, column: usize, buffer: &'b mut Buffer) -> Result<Column<'b>, Damage>
    where
        'a: 'b,
    {
        let entry = self.columns.get(column).ok_or(Damage::NoSuchColumn {
            asked: column,
            columns: self.columns.len(),
        })?;
        entry.decode(self.rows, buffer)
    }
}

impl<'a> Entry<'a> {
    /// Reads a head. What it knows of the bodies is how long they are.
    fn read(rows: usize, reader: &mut Reader<'a>) -> Result<Self, Damage> {
        let first = reader.byte(WHAT)?;
        let (kind, form, codec) = (first & 7, first >> 3 & 3, first >> 5);
        let kind = Kind::from_code(kind).ok_or(Damage::Malformed { what: WHAT })?;
        let mut entry = Self {
            kind,
            nulls: NullRows::default(),
            stats: Stats::default(),
            head: Head::Nothing,
            length: 0,
            body: &[],
        };
        if form == ALL_NULL {
            if codec != 0 {
                return Err(Damage::Malformed { what: WHAT });
            }
            entry.nulls.count = rows;
        } else {
            if form != NO_NULLS {
                entry.nulls = NullRows::read(rows, form == NULL_RUNS, reader)?;
            }
            entry.read_head(codec, rows - entry.nulls.count, reader)?;
        }
        entry.stats.nulls = entry.nulls.count as u32;
        Ok(entry)
    }

    fn read_head(
        &mut self,
        codec: u8,
        count: usize,
        reader: &mut Reader<'a>,
    ) -> Result<(), Damage> {
        match self.kind {
            Kind::Int => {
                let head = ints::Head::read(codec, count, reader)?;
                self.length = head.length;
                self.set_bounds(Scalar::Int(head.low), Scalar::Int(head.high));
                let mantissa = head.read_sum(reader)?;
                self.stats.sum = Some(Sum { mantissa, scale: 0 });
                self.head = Head::Ints(head);
            }
            Kind::Float4 => {
                let head = floats::Head::<u32>::read(codec, count, reader)?;
                self.length = head.length;
                self.set_bounds(Scalar::Float4(head.low), Scalar::Float4(head.high));
                self.head = Head::Float4(head);
            }
            Kind::Float8 => {
                let head = floats::Head::<u64>::read(codec, count, reader)?;
                self.length = head.length;
                self.set_bounds(Scalar::Float8(head.low), Scalar::Float8(head.high));
                self.head = Head::Float8(head);
            }
            Kind::Numeric if codec == numbers::MIXED => {
                let head = numbers::Head::read(count, reader)?;
                self.length = head.length;
                if let Some([low, high]) = head.bounds {
                    self.set_bounds(low, high);
                }
                self.head = Head::Mixed(head);
            }
            Kind::Numeric => {
                let scale = numbers::read_scale(reader)?;
                let head = ints::Head::read(codec, count, reader)?;
                self.length = head.length;
                let number = |mantissa| Scalar::Number { mantissa, scale };
                self.set_bounds(number(head.low), number(head.high));
                let mantissa = head.read_sum(reader)?;
                self.stats.sum = Some(Sum { mantissa, scale });
                self.head = Head::Numbers(head, scale);
            }
            Kind::Bytes => {
                let head = bytes::Head::read(codec, count, reader)?;
                self.length = head.length;
                self.stats.low = Some(Scalar::Bytes(head.low));
                self.stats.high = head.high.map(Scalar::Bytes);
                self.head = Head::Bytes(head);
            }
        }
        Ok(())
    }

    fn set_bounds(&mut self, low: Scalar<'a>, high: Scalar<'a>) {
        self.stats.low = Some(low);
        self.stats.high = Some(high);
    }

    /// Bodies follow the heads, in the same order.
    fn take_bodies(&mut self, reader: &mut Reader<'a>) -> Result<(), Damage> {
        self.nulls.bytes = reader.take(self.nulls.length, NULLS)?;
        self.body = reader.take(self.length, "values")?;
        Ok(())
    }

    fn decode<'b>(&self, rows: usize, buffer: &'b mut Buffer) -> Result<Column<'b>, Damage>
    where
        'a: 'b,
    {
        if self.nulls.count == rows {
            return Ok(Column {
                nulls: None,
                values: Values::Nothing,
            });
        }
        let Buffer {
            nulls,
            ints,
            float4,
            float8,
            f32s,
            f64s,
            codes,
            values,
            numbers,
            decoder,
        } = buffer;
        let nulls = self.nulls.decode(rows, nulls)?;
        let values = match &self.head {
            Head::Nothing => Values::Nothing,
            Head::Ints(head) if head.is_constant() => Values::Constant(Scalar::Int(head.low)),
            Head::Ints(head) => {
                head.decode(self.body, ints, decoder)?;
                Values::Ints(spread(ints, rows, nulls))
            }
            Head::Float4(head) if head.is_constant() => Values::Constant(Scalar::Float4(head.low)),
            Head::Float4(head) => {
                head.decode(self.body, float4, f32s, &mut decoder.pco)?;
                Values::Float4(spread(float4, rows, nulls))
            }
            Head::Float8(head) if head.is_constant() => Values::Constant(Scalar::Float8(head.low)),
            Head::Float8(head) => {
                head.decode(self.body, float8, f64s, &mut decoder.pco)?;
                Values::Float8(spread(float8, rows, nulls))
            }
            Head::Numbers(head, scale) if head.is_constant() => Values::Constant(Scalar::Number {
                mantissa: head.low,
                scale: *scale,
            }),
            Head::Numbers(head, scale) => {
                head.decode(self.body, ints, decoder)?;
                Values::Numbers {
                    mantissas: spread(ints, rows, nulls),
                    scale: *scale,
                }
            }
            Head::Mixed(head) => {
                head.decode(self.body, ints, numbers, decoder)?;
                spread_rows(&mut numbers.other_rows, rows, nulls);
                Values::MixedNumbers {
                    mantissas: spread(ints, rows, nulls),
                    scales: spread(&mut numbers.scales, rows, nulls),
                    others: Others {
                        rows: &numbers.other_rows,
                        values: BytesColumn {
                            codes: None,
                            offsets: &numbers.others.offsets,
                            data: &numbers.others.data,
                        },
                    },
                }
            }
            Head::Bytes(head) if head.is_constant() => Values::Constant(Scalar::Bytes(head.low)),
            Head::Bytes(head) => {
                let coded = head.decode(self.body, values, codes, ints, decoder)?;
                Values::Bytes(BytesColumn {
                    codes: coded.then(|| spread(codes, rows, nulls)),
                    offsets: if coded {
                        &values.offsets
                    } else {
                        spread_offsets(&mut values.offsets, rows, nulls)
                    },
                    data: &values.data,
                })
            }
        };
        Ok(Column { nulls, values })
    }
}

impl<'a> NullRows<'a> {
    fn read(rows: usize, as_runs: bool, reader: &mut Reader<'a>) -> Result<Self, Damage> {
        let count = reader.count(rows - 1, NULLS)?;
        if count == 0 {
            return Err(Damage::Malformed { what: NULLS });
        }
        let length = if as_runs {
            reader.count(rows, NULLS)?
        } else {
            rows.div_ceil(8)
        };
        Ok(Self {
            count,
            as_runs,
            length,
            bytes: &[],
        })
    }

    fn decode<'b>(&self, rows: usize, set: &'b mut Vec<u64>) -> Result<Option<Nulls<'b>>, Damage> {
        if self.count == 0 {
            return Ok(None);
        }
        if bits::read_set(self.bytes, self.as_runs, rows, set, NULLS)? != self.count {
            return Err(Damage::Malformed { what: NULLS });
        }
        Ok(Some(Nulls {
            words: set,
            count: self.count,
        }))
    }
}

/// Moves values, of which there are only those that are not NULL, to their rows.
fn spread<'b, T: Copy + Default>(
    values: &'b mut Vec<T>,
    rows: usize,
    nulls: Option<Nulls>,
) -> &'b [T] {
    let Some(nulls) = nulls else {
        return values;
    };
    let mut left = values.len();
    values.resize(rows, T::default());
    for row in (0..rows).rev() {
        // The rows before the first NULL are where they belong.
        if left > row {
            break;
        }
        if !nulls.is_null(row) {
            left -= 1;
            values[row] = values[left];
        }
    }
    values
}

/// [`spread`] for where values begin: a row that is NULL is empty.
fn spread_offsets<'b>(offsets: &'b mut Vec<u32>, rows: usize, nulls: Option<Nulls>) -> &'b [u32] {
    let Some(nulls) = nulls else {
        return offsets;
    };
    let mut left = offsets.len() - 1;
    let mut next = offsets[left];
    offsets.resize(rows + 1, 0);
    offsets[rows] = next;
    for row in (0..rows).rev() {
        if !nulls.is_null(row) {
            left -= 1;
            next = offsets[left];
        }
        offsets[row] = next;
    }
    offsets
}

/// Turns positions among the values that are not NULL into rows.
fn spread_rows(positions: &mut [u32], rows: usize, nulls: Option<Nulls>) {
    let Some(nulls) = nulls else {
        return;
    };
    let mut values = (0..rows).filter(|&row| !nulls.is_null(row)).enumerate();
    for position in positions {
        let found = values.find(|&(at, _)| at == *position as usize);
        *position = found.map_or(u32::MAX, |(_, row)| row as u32);
    }
}
