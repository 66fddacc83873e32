//! jsonb objects written directly as they are stored, for whoever makes many of one shape. How that looks is
//! told in `jsonb`.

use super::varlena;
use crate::error::{Error, OrRaise};
use pgrx::prelude::*;

const ENTRY: usize = size_of::<pg_sys::JEntry>();

/// Where the entries begin: after the document's length and the object's header.
const ENTRIES: usize = pg_sys::VARHDRSZ + ENTRY;

/// In the server's order: by length, then by bytes.
pub fn in_order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    (a.len(), a).cmp(&(b.len(), b))
}

/// The keys of an object, written once for all objects that have them.
#[derive(Debug, Default)]
pub struct Keys {
    /// The document up to its first value, the values' entries still empty.
    start: Vec<u8>,
    count: usize,
    /// What the keys themselves take up.
    size: usize,
}

impl Keys {
    /// Of names that are [`in_order`], each once.
    pub fn of<'a>(names: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let count = names.clone().count();
        let mut start = vec![0; ENTRIES + 2 * count * ENTRY];
        let header = count as u32 | pg_sys::JB_FOBJECT;
        start[pg_sys::VARHDRSZ..ENTRIES].copy_from_slice(&header.to_ne_bytes());
        let mut size = 0;
        for (number, name) in names.enumerate() {
            start.extend_from_slice(name);
            size += name.len();
            set_entry(
                &mut start,
                number,
                pg_sys::JENTRY_ISSTRING,
                name.len(),
                size,
            );
        }
        Self { start, count, size }
    }
}

/// Writes what an entry says: how long its data are or, now and then, where they end.
#[inline]
fn set_entry(document: &mut [u8], number: usize, kind: u32, length: usize, end: usize) {
    let entry = if number.is_multiple_of(pg_sys::JB_OFFSET_STRIDE as usize) {
        kind | pg_sys::JENTRY_HAS_OFF | end as u32
    } else {
        kind | length as u32
    };
    let at = ENTRIES + number * ENTRY;
    document[at..at + ENTRY].copy_from_slice(&entry.to_ne_bytes());
}

/// One object at a time: [`Self::begin`], a value for each key in their order, [`Self::finish`].
#[derive(Debug, Default)]
pub struct ObjectWriter {
    document: Vec<u8>,
    /// The entry of the next value.
    next: usize,
    /// What keys and values take up so far.
    size: usize,
}

impl ObjectWriter {
    pub fn begin(&mut self, keys: &Keys) {
        self.document.clear();
        self.document.extend_from_slice(&keys.start);
        self.next = keys.count;
        self.size = keys.size;
    }

    /// Ends the value whose data began here.
    #[inline]
    fn end(&mut self, kind: u32, start: usize) {
        let length = self.document.len() - start;
        self.size += length;
        if self.size > pg_sys::JENTRY_OFFLENMASK as usize {
            too_large(self.size);
        }
        set_entry(&mut self.document, self.next, kind, length, self.size);
        self.next += 1;
    }

    /// Numbers and containers begin at multiples of four.
    #[inline]
    fn align(&mut self) {
        let aligned = self.document.len().next_multiple_of(ENTRY);
        self.document.resize(aligned, 0);
    }

    pub fn null(&mut self) {
        self.end(pg_sys::JENTRY_ISNULL, self.document.len());
    }

    pub fn boolean(&mut self, value: bool) {
        let kind = if value {
            pg_sys::JENTRY_ISBOOL_TRUE
        } else {
            pg_sys::JENTRY_ISBOOL_FALSE
        };
        self.end(kind, self.document.len());
    }

    /// A text in UTF-8.
    #[inline]
    pub fn string(&mut self, text: &[u8]) {
        let start = self.document.len();
        self.room_for(text.len());
        self.document.extend_from_slice(text);
        self.end(pg_sys::JENTRY_ISSTRING, start);
    }

    /// A text that `write` appends.
    #[inline]
    pub fn string_by(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.document.len();
        write(&mut self.document);
        self.end(pg_sys::JENTRY_ISSTRING, start);
    }

    /// A whole number.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        // As a numeric: sign and place of the first digit, then digits of base 10,000 without zeros at the end.
        const SHORT: u16 = 0x8000;
        const SHORT_NEGATIVE: u16 = 0x2000;
        let mut digits = [0_u16; 5];
        let mut first = digits.len();
        let mut rest = value.unsigned_abs();
        while rest > 0 {
            first -= 1;
            digits[first] = (rest % 10_000) as u16;
            rest /= 10_000;
        }
        let mut last = digits.len();
        let weight = (last - first).saturating_sub(1) as u16;
        while last > first && digits[last - 1] == 0 {
            last -= 1;
        }
        let sign = if value < 0 { SHORT_NEGATIVE } else { 0 };
        let mut body = [0_u8; 12];
        let mut length = 0;
        for word in
            std::iter::once(SHORT | sign | weight).chain(digits[first..last].iter().copied())
        {
            body[length..length + 2].copy_from_slice(&word.to_ne_bytes());
            length += 2;
        }
        self.number(&body[..length]);
    }

    /// A finite numeric without the length in front.
    #[inline]
    pub fn number(&mut self, body: &[u8]) {
        let start = self.document.len();
        self.align();
        let size = body.len() + pg_sys::VARHDRSZ;
        self.document.extend_from_slice(&length_word(size));
        self.document.extend_from_slice(body);
        self.end(pg_sys::JENTRY_ISNUMERIC, start);
    }

    /// Another jsonb document, without the length in front.
    pub fn document(&mut self, inner: &[u8]) {
        let start = self.document.len();
        self.room_for(inner.len());
        if let Some((entry, data)) = scalar(inner) {
            let kind = entry & pg_sys::JENTRY_TYPEMASK;
            if kind == pg_sys::JENTRY_ISNUMERIC {
                self.align();
            }
            self.document.extend_from_slice(data);
            self.end(kind, start);
            return;
        }
        self.align();
        self.document.extend_from_slice(inner);
        self.end(pg_sys::JENTRY_ISCONTAINER, start);
    }

    /// Refuses before it takes up memory.
    fn room_for(&self, length: usize) {
        if self.size + length > pg_sys::JENTRY_OFFLENMASK as usize {
            too_large(self.size + length);
        }
    }

    /// What the object takes up so far.
    pub fn size(&self) -> usize {
        self.document.len()
    }

    /// The whole document, in the current memory context.
    pub fn finish(&mut self) -> pg_sys::Datum {
        varlena::of_bytes(&self.document[pg_sys::VARHDRSZ..])
    }
}

/// A document that is not an object or array is kept as an array of one.
fn scalar(document: &[u8]) -> Option<(u32, &[u8])> {
    let (words, data) = document.split_at_checked(2 * ENTRY)?;
    let word = |at: usize| {
        words[at..]
            .first_chunk()
            .map(|word| u32::from_ne_bytes(*word))
    };
    (word(0)? & pg_sys::JB_FSCALAR != 0).then_some((word(ENTRY)?, data))
}

/// The word in front of a value of variable length, which it counts itself.
fn length_word(size: usize) -> [u8; 4] {
    let size = size as u32;
    if cfg!(target_endian = "little") {
        (size << 2).to_ne_bytes()
    } else {
        (size & 0x3FFF_FFFF).to_ne_bytes()
    }
}

#[cold]
fn too_large(size: usize) {
    Err::<(), _>(
        Error::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "the row is too large for a jsonb",
        )
        .detail(format!(
            "more than {size} bytes of {}",
            pg_sys::JENTRY_OFFLENMASK
        ))
        .hint("exclude its largest column from the audit"),
    )
    .or_raise();
}
