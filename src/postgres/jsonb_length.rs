//! How long values are as text: a stored number of ten bytes may have 131,072 digits.

use super::jsonb::Spans;
use super::varlena;
use pgrx::pg_sys;

/// Strings below this size are taken to be of characters that are all escaped.
const SHORT: usize = 4_096;

/// At least the length of a document's text, without the length in front.
pub fn document(document: &[u8]) -> usize {
    let exact = document.len() > SHORT;
    let mut length = 0;
    let mut inside = Vec::new();
    let mut next = Some(document);
    while let Some(bytes) = next {
        length += container(bytes, exact, &mut inside);
        next = inside.pop();
    }
    length
}

/// Of a container without those inside it, which are noted.
fn container<'a>(bytes: &'a [u8], exact: bool, inside: &mut Vec<&'a [u8]>) -> usize {
    const ENTRY: usize = size_of::<pg_sys::JEntry>();
    let Some((header, rest)) = bytes.split_first_chunk() else {
        return 0;
    };
    let header = u32::from_ne_bytes(*header);
    let of_each = 1 + usize::from(header & pg_sys::JB_FOBJECT != 0);
    let count = (header & pg_sys::JB_CMASK) as usize * of_each;
    let Some((entries, data)) = rest.split_at_checked(count * ENTRY) else {
        return 0;
    };
    // Brackets; after each part a comma or colon, and a blank.
    let mut length = 2 + 2 * count;
    for span in Spans::of(entries.as_chunks().0, 0) {
        let part = |start: usize| data.get(start..span.end).unwrap_or_default();
        let aligned = || part(span.start.next_multiple_of(ENTRY));
        length += match span.kind {
            pg_sys::JENTRY_ISSTRING if exact => escaped(part(span.start)),
            pg_sys::JENTRY_ISSTRING => 2 + 6 * part(span.start).len(),
            pg_sys::JENTRY_ISNUMERIC => varlena::inner(aligned()).map_or(0, number),
            pg_sys::JENTRY_ISCONTAINER => {
                inside.push(aligned());
                0
            }
            _ => 5,
        };
    }
    length
}

/// At least the length of a string in JSON.
pub fn string(text: &[u8]) -> usize {
    if text.len() <= SHORT {
        return 2 + 6 * text.len();
    }
    escaped(text)
}

fn escaped(text: &[u8]) -> usize {
    let more: usize = text
        .iter()
        .map(|byte| match byte {
            0..b' ' => 5,
            b'"' | b'\\' => 1,
            _ => 0,
        })
        .sum();
    2 + text.len() + more
}

/// At least the length of a numeric, without the length in front.
pub fn number(body: &[u8]) -> usize {
    let word = |at: usize| {
        let word = body.get(at..).and_then(<[u8]>::first_chunk);
        u16::from_ne_bytes(word.copied().unwrap_or_default())
    };
    let header = word(0);
    // Where the first digit of base 10,000 stands, and how many decimals are shown: in short, or in two words.
    let (weight, scale) = match header & 0xC000 {
        0x8000 if header & 0x40 == 0 => (i32::from(header & 0x3F), header >> 7 & 0x3F),
        0x8000 => (-1, header >> 7 & 0x3F),
        0xC000 => return "-Infinity".len() + 2,
        _ => (i32::from(word(2) as i16), header & 0x3FFF),
    };
    let whole = 4 * (weight + 1).max(1);
    2 + whole as usize + usize::from(scale)
}
