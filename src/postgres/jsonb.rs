//! jsonb as it is stored, read where it lies.
//!
//! An object is a header, the entries of its keys, those of its values, and then the data of all of them in
//! the same order. Keys are sorted by length, then by bytes. An entry says what it is and how long, or, now
//! and then, where it ends.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use super::json::JsonText;
use super::long::Long;
use super::numeric::Stored;
use super::varlena;
use crate::error::{Error, Result};
use pgrx::{IntoDatum, PgSqlErrorCode, pg_sys};

/// An object as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    /// The header and the entries of the keys.
    head: &'a [u8],
    keys: &'a [[u8; 4]],
    values: &'a [[u8; 4]],
    data: &'a [u8],
}

/// A value in an object.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Null,
    Number(Stored<'a>),
    /// Something else, called by what it is: "a string", "an array" …
    Other(&'static str),
    /// What is stored makes no sense.
    Broken,
}

/// What a document is instead of an object.
#[derive(Debug, Clone, Copy)]
pub struct NotAnObject(pub &'static str);

impl<'a> Object<'a> {
    /// The object of a document without the length in front.
    ///
    /// # Errors
    /// The document is something else.
    #[inline]
    pub fn read(document: &'a [u8]) -> Result<Self, NotAnObject> {
        Self::parse(document).ok_or_else(|| NotAnObject(container(document)))
    }

    #[inline]
    fn parse(document: &'a [u8]) -> Option<Self> {
        let header = u32::from_ne_bytes(*document.first_chunk()?);
        if header & pg_sys::JB_FOBJECT == 0 {
            return None;
        }
        let count = (header & pg_sys::JB_CMASK) as usize;
        let entry = size_of::<pg_sys::JEntry>();
        let (entries, data) = document[entry..].split_at_checked(count * 2 * entry)?;
        let (keys, values) = entries.as_chunks().0.split_at(count);
        Some(Self {
            head: &document[..entry + count * entry],
            keys,
            values,
            data,
        })
    }

    /// Everything about the keys: header and entries, and the keys themselves. Objects with the same of
    /// both have the same keys in the same places.
    pub fn shape(&self) -> Option<(&'a [u8], &'a [u8])> {
        Some((self.head, self.data.get(..self.keys_size())?))
    }

    /// A number that objects of another shape mostly do not have.
    pub fn mark(&self) -> u32 {
        self.keys.iter().fold(0, |mark: u32, entry| {
            (mark.rotate_left(5) ^ u32::from_ne_bytes(*entry)).wrapping_mul(0x9E37_79B1)
        })
    }

    pub fn keys_size(&self) -> usize {
        Spans::of(self.keys, 0).last().map_or(0, |span| span.end)
    }

    /// Does it have this shape?
    #[inline]
    pub fn has_shape(&self, head: &[u8], keys: &[u8]) -> bool {
        self.head == head && self.data.starts_with(keys)
    }

    /// The key of this number.
    pub fn key(&self, number: usize) -> Option<&'a [u8]> {
        let span = Spans::of(self.keys, 0).nth(number)?;
        self.data.get(span.start..span.end)
    }

    /// Values in the order of the keys, which take up so many bytes.
    #[inline(always)]
    pub fn values(&self, keys_size: usize) -> Values<'a> {
        Values {
            spans: Spans::of(self.values, keys_size),
            data: self.data,
        }
    }

    /// Calls for each key, whose bytes are UTF-8, with its number and its value, until there is an error.
    #[inline(always)]
    pub fn each<E>(
        &self,
        mut work: impl FnMut(usize, &'a [u8], Value<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut keys, mut values) = (0, self.keys_size());
        for (number, (key, value)) in self.keys.iter().zip(self.values).enumerate() {
            let (key, span) = (Span::next(key, &mut keys), Span::next(value, &mut values));
            let value = span.value(self.data).unwrap_or(Value::Broken);
            // Where the keys are broken, so are the values, which come after them.
            let key = self.data.get(key.start..key.end).unwrap_or_default();
            work(number, key, value)?;
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

/// The values of an object. Each costs a few nanoseconds, so that a call would show.
pub struct Values<'a> {
    spans: Spans<'a>,
    data: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Value<'a>> {
        let span = self.spans.next()?;
        Some(span.value(self.data).unwrap_or(Value::Broken))
    }
}

/// Where an entry's data are, and what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) kind: u32,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// That of the entry, whose data begin where those of the one before end.
    #[inline(always)]
    fn next(entry: &[u8; 4], at: &mut usize) -> Self {
        let entry = u32::from_ne_bytes(*entry);
        let number = (entry & pg_sys::JENTRY_OFFLENMASK) as usize;
        let start = *at;
        *at = if entry & pg_sys::JENTRY_HAS_OFF == 0 {
            start + number
        } else {
            number
        };
        Self {
            kind: entry & pg_sys::JENTRY_TYPEMASK,
            start,
            end: *at,
        }
    }

    #[inline(always)]
    fn value(self, data: &[u8]) -> Option<Value<'_>> {
        // Numbers and containers begin at multiples of four.
        let aligned = || data.get(self.start.next_multiple_of(4)..self.end);
        Some(match self.kind {
            pg_sys::JENTRY_ISNUMERIC => Value::Number(Stored::finite(varlena::inner(aligned()?)?)?),
            pg_sys::JENTRY_ISNULL => Value::Null,
            pg_sys::JENTRY_ISSTRING => Value::Other("a string"),
            pg_sys::JENTRY_ISBOOL_FALSE | pg_sys::JENTRY_ISBOOL_TRUE => Value::Other("a boolean"),
            pg_sys::JENTRY_ISCONTAINER => Value::Other(container(aligned()?)),
            _ => return None,
        })
    }
}

/// The spans of entries that follow each other.
pub(super) struct Spans<'a> {
    entries: std::slice::Iter<'a, [u8; 4]>,
    at: usize,
}

impl<'a> Spans<'a> {
    #[inline(always)]
    pub(super) fn of(entries: &'a [[u8; 4]], at: usize) -> Self {
        Self {
            entries: entries.iter(),
            at,
        }
    }
}

impl Iterator for Spans<'_> {
    type Item = Span;

    #[inline(always)]
    fn next(&mut self) -> Option<Span> {
        self.entries
            .next()
            .map(|entry| Span::next(entry, &mut self.at))
    }
}

/// Any value, to be read through and through.
#[derive(Debug, Clone, Copy)]
pub enum Node<'a> {
    Null,
    Bool(bool),
    Number(Stored<'a>),
    /// In the bytes of the database's encoding.
    Text(&'a [u8]),
    Array(Container<'a>),
    Object(Container<'a>),
}

/// An array or an object.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    entries: &'a [[u8; 4]],
    data: &'a [u8],
}

impl<'a> Node<'a> {
    /// The value of a document without the length in front.
    ///
    /// # Errors
    /// `XX001` when what is stored makes no sense.
    pub fn document(document: &'a [u8]) -> Result<Self> {
        let node = Self::container(document).ok_or_else(broken)?;
        // A value that holds no others is stored as the only element of an array.
        if word(document, 0) & pg_sys::JB_FSCALAR != 0
            && let Self::Array(only) = node
        {
            return only.elements()?.first().copied().ok_or_else(broken);
        }
        Ok(node)
    }

    fn container(bytes: &'a [u8]) -> Option<Self> {
        let header = u32::from_ne_bytes(*bytes.first_chunk()?);
        let object = header & pg_sys::JB_FOBJECT != 0;
        let count = (header & pg_sys::JB_CMASK) as usize * if object { 2 } else { 1 };
        let entry = size_of::<pg_sys::JEntry>();
        let (entries, data) = bytes.get(entry..)?.split_at_checked(count * entry)?;
        let entries = entries.as_chunks().0;
        let container = Container { entries, data };
        Some(if object {
            Self::Object(container)
        } else {
            Self::Array(container)
        })
    }

    fn at(span: Span, data: &'a [u8]) -> Option<Self> {
        // Numbers and containers begin at multiples of four.
        let aligned = || data.get(span.start.next_multiple_of(4)..span.end);
        Some(match span.kind {
            pg_sys::JENTRY_ISNULL => Self::Null,
            pg_sys::JENTRY_ISBOOL_FALSE => Self::Bool(false),
            pg_sys::JENTRY_ISBOOL_TRUE => Self::Bool(true),
            pg_sys::JENTRY_ISSTRING => Self::Text(data.get(span.start..span.end)?),
            pg_sys::JENTRY_ISNUMERIC => Self::Number(Stored::finite(varlena::inner(aligned()?)?)?),
            pg_sys::JENTRY_ISCONTAINER => Self::container(aligned()?)?,
            _ => return None,
        })
    }
}

impl<'a> Container<'a> {
    /// The elements of an array.
    ///
    /// # Errors
    /// `XX001`, as above.
    pub fn elements(&self) -> Result<Vec<Node<'a>>> {
        let nodes = Spans::of(self.entries, 0).map(|span| Node::at(span, self.data));
        nodes.collect::<Option<_>>().ok_or_else(broken)
    }

    /// The members of an object with their names, in the order in which they are stored.
    ///
    /// # Errors
    /// `XX001`, as above.
    pub fn members(&self) -> Result<Vec<(&'a [u8], Node<'a>)>> {
        let count = self.entries.len() / 2;
        let mut spans = Spans::of(self.entries, 0);
        let names: Vec<Span> = spans.by_ref().take(count).collect();
        let members = names.into_iter().zip(spans).map(|(name, value)| {
            let name = self.data.get(name.start..name.end)?;
            Some((name, Node::at(value, self.data)?))
        });
        members.collect::<Option<_>>().ok_or_else(broken)
    }
}

fn broken() -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
        "the document is damaged",
    )
    .detail("a jsonb whose parts do not fit together")
    .hint("restore it from a backup")
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_ne_bytes(word.copied().unwrap_or_default())
}

/// What a document, or a value that holds others, is called.
fn container(bytes: &[u8]) -> &'static str {
    let header = word(bytes, 0);
    if header & pg_sys::JB_FOBJECT != 0 {
        return "an object";
    }
    if header & pg_sys::JB_FSCALAR == 0 {
        return "an array";
    }
    match word(bytes, 4) & pg_sys::JENTRY_TYPEMASK {
        pg_sys::JENTRY_ISNULL => "null",
        pg_sys::JENTRY_ISNUMERIC => "a number",
        pg_sys::JENTRY_ISSTRING => "a string",
        _ => "a boolean",
    }
}

/// An object of these keys, each once, and numbers.
pub fn of_numbers(mut pairs: Vec<(&[u8], Long)>) -> pg_sys::Datum {
    pairs.sort_unstable_by_key(|(key, _)| (key.len(), *key));
    let mut built: Vec<pg_sys::JsonbPair> = pairs
        .iter()
        .map(|(key, number)| {
            let mut pair = pg_sys::JsonbPair::default();
            pair.key.type_ = pg_sys::jbvType::jbvString;
            pair.key.val.string.val = key.as_ptr().cast_mut().cast();
            pair.key.val.string.len = key.len() as i32;
            pair.value.type_ = pg_sys::jbvType::jbvNumeric;
            pair.value.val.numeric = number.datum().cast_mut_ptr();
            pair
        })
        .collect();
    let mut object = pg_sys::JsonbValue {
        type_: pg_sys::jbvType::jbvObject,
        ..Default::default()
    };
    object.val.object.nPairs = built.len() as i32;
    object.val.object.pairs = built.as_mut_ptr();
    // SAFETY: the object is whole, its keys are sorted as the server wants them, and it is only read. What
    // is too large for a jsonb, the server refuses.
    pg_sys::Datum::from(unsafe { pg_sys::JsonbValueToJsonb(&raw mut object) })
}

/// A document that others are asked about. It lives as long as the call in which it was made.
pub struct Part(pg_sys::Datum);

impl Part {
    /// Of the text of some JSON.
    pub fn of(json: String) -> Option<Self> {
        JsonText(json).into_datum().map(Self)
    }

    /// Does the document hold this, as the operator `@>` says?
    ///
    /// # Safety
    /// The document is a jsonb.
    pub unsafe fn is_in(&self, document: pg_sys::Datum) -> bool {
        // SAFETY: both are jsonb; the server only reads them.
        let held = unsafe {
            pgrx::direct_function_call::<bool>(
                pg_sys::jsonb_contains,
                &[Some(document), Some(self.0)],
            )
        };
        held == Some(true)
    }
}
