//! Values of rows into segments, and out of them again.

#![expect(unsafe_code, reason = "builds and reads the server's values")]

use super::layout::Shape;
use crate::postgres::numeric;
use crate::postgres::varlena;
use gemba_segment::{ColumnBuilder, Scalar, Values};
use pgrx::pg_sys::{self, Datum};

/// Adds a value to a column that is being gathered.
///
/// # Safety
/// The datum is of the shape's type.
pub unsafe fn push(builder: &mut ColumnBuilder, shape: Shape, datum: Option<Datum>) {
    let Some(datum) = datum else {
        return builder.push_null();
    };
    // SAFETY: the caller vouches for the type.
    unsafe {
        match shape {
            Shape::Float4 => builder.push_float4(datum.value() as u32),
            Shape::Float8 => builder.push_float8(datum.value() as u64),
            Shape::Numeric => {
                let stored = varlena::bytes(datum);
                match numeric::mantissa(stored) {
                    Some((mantissa, scale)) => builder.push_number(mantissa, scale),
                    None => builder.push_other_number(stored),
                }
            }
            Shape::Text => builder.push_bytes(varlena::bytes(datum)),
            Shape::Uuid => builder.push_bytes(&*datum.cast_mut_ptr::<[u8; 16]>()),
            _ => builder.push_int(shape.int(datum)),
        }
    }
}

/// A single value as a datum in the current memory context.
pub fn datum(shape: Shape, scalar: &Scalar) -> Datum {
    match *scalar {
        Scalar::Int(int) => shape.datum(int),
        Scalar::Float4(bits) => Datum::from(bits),
        Scalar::Float8(bits) => Datum::from(bits),
        Scalar::Number { mantissa, scale } => numeric::of_mantissa(mantissa, scale),
        Scalar::OtherNumber(bytes) => varlena::of_bytes(bytes),
        Scalar::Bytes(bytes) if shape == Shape::Uuid => {
            // SAFETY: palloc gives sixteen bytes or raises an error; a damaged value is cut or filled up.
            unsafe {
                let copy = pg_sys::palloc0(16).cast::<u8>();
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len().min(16));
                Datum::from(copy)
            }
        }
        Scalar::Bytes(bytes) => varlena::of_bytes(bytes),
    }
}

/// A decoded column, from which row after row is taken. Values of variable length that are made for a row
/// live until the next row of the same column is asked for.
pub struct Cells<'b> {
    shape: Shape,
    column: gemba_segment::Column<'b>,
    /// The datum of a constant, or those of a dictionary's entries, made once.
    made: Vec<Datum>,
    number: numeric::Scratch,
    bytes: Vec<u64>,
}

impl<'b> Cells<'b> {
    /// What is made once is in the current memory context, which lives as long as this.
    pub fn new(shape: Shape, column: gemba_segment::Column<'b>) -> Self {
        let made = match &column.values {
            Values::Constant(scalar) => vec![datum(shape, scalar)],
            // Where most rows have an entry of their own, making all of them first saves nothing.
            Values::Bytes(bytes) if bytes.has_dictionary() => (0..bytes.len_of_dictionary())
                .map(|code| datum(shape, &Scalar::Bytes(bytes.entry(code as u32))))
                .collect(),
            _ => Vec::new(),
        };
        Self {
            shape,
            column,
            made,
            number: numeric::Scratch::default(),
            bytes: Vec::new(),
        }
    }

    /// The value of a row; None is NULL.
    #[inline(always)]
    pub fn get(&mut self, row: usize) -> Option<Datum> {
        if self
            .column
            .nulls
            .as_ref()
            .is_some_and(|nulls| nulls.is_null(row))
        {
            return None;
        }
        Some(match &self.column.values {
            Values::Nothing => return None,
            Values::Constant(_) => self.made[0],
            Values::Ints(ints) => self.shape.datum(ints[row]),
            Values::Float4(bits) => Datum::from(bits[row]),
            Values::Float8(bits) => Datum::from(bits[row]),
            Values::Numbers { mantissas, scale } => self.number.datum(mantissas[row], *scale),
            Values::MixedNumbers {
                mantissas,
                scales,
                others,
            } => match others.other(row) {
                Some(bytes) => copy(&mut self.bytes, self.shape, bytes),
                None => self.number.datum(mantissas[row], scales[row]),
            },
            Values::Bytes(bytes) if !self.made.is_empty() => self.made[bytes.code(row) as usize],
            Values::Bytes(bytes) => copy(&mut self.bytes, self.shape, bytes.entry(bytes.code(row))),
        })
    }
}

/// Bytes as a datum in room that is used again.
fn copy(room: &mut Vec<u64>, shape: Shape, bytes: &[u8]) -> Datum {
    let header = if shape == Shape::Uuid {
        0
    } else {
        pg_sys::VARHDRSZ
    };
    let size = header + bytes.len();
    room.clear();
    room.resize(size.div_ceil(8).max(2), 0);
    let start = room.as_mut_ptr().cast::<u8>();
    // SAFETY: there is room for header and bytes.
    unsafe {
        if header > 0 {
            pgrx::varlena::set_varsize_4b(start.cast(), size as i32);
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.add(header), bytes.len());
    }
    Datum::from(start)
}
