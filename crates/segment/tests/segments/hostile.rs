//! Bytes that are not what was written.

use crate::allocations;
use crate::cells::{Cell, Cells, cells, segment};
use gemba_segment::{Buffer, Column, Damage, FORMAT, Kind, Scalar, Segment, Values, reseal};
use std::time::{Duration, Instant};

/// A small segment through each codec there is, each kind with and without NULLs.
fn specimens() -> Vec<Vec<u8>> {
    let mut numbers = Numbers(1);
    let mut columns: Vec<Cells> = Vec::new();
    let mut add = |kind, value: &mut dyn FnMut(i64) -> Cell| {
        columns.push((kind, (0..150).map(&mut *value).collect()));
        let nulls = |at| if at % 11 == 3 { Cell::Null } else { value(at) };
        columns.push((kind, (0..150).map(nulls).collect()));
        let runs = |at| if at < 70 { Cell::Null } else { value(at) };
        columns.push((kind, (0..150).map(runs).collect()));
    };
    let text = |text: String| Cell::Bytes(text.into_bytes());
    add(Kind::Int, &mut |_| Cell::Int(-5));
    add(Kind::Int, &mut |at| Cell::Int(at * 3_600_000_000));
    add(Kind::Int, &mut |at| Cell::Int(at + i64::from(at > 60) * 9));
    add(Kind::Int, &mut |_| Cell::Int(numbers.next() as i64 & 1));
    add(Kind::Int, &mut |at| Cell::Int(at / 50 % 2));
    add(Kind::Int, &mut |_| Cell::Int(numbers.next() as i64));
    add(Kind::Int, &mut |at| {
        Cell::Int(at * at % 100 + (numbers.next() & 3) as i64)
    });
    add(Kind::Int, &mut |at| {
        Cell::Int(at * at * 77 + (numbers.next() & 30) as i64)
    });
    add(Kind::Int, &mut |at| {
        Cell::Int(at * at * 70_007 + (numbers.next() & 30) as i64)
    });
    add(Kind::Int, &mut |at| {
        Cell::Int(at * at * 7_000_007 + (numbers.next() & 30) as i64)
    });
    add(Kind::Int, &mut |at| {
        Cell::Int(at * at * 70_000_000_007 + (numbers.next() & 3000) as i64)
    });
    add(Kind::Float4, &mut |at| {
        Cell::Float4((at as f32 / 10.0).to_bits())
    });
    add(Kind::Float4, &mut |_| Cell::Float4(numbers.next() as u32));
    add(Kind::Float8, &mut |at| {
        Cell::Float8((at as f64 / 100.0 + (numbers.next() & 3) as f64).to_bits())
    });
    add(Kind::Float8, &mut |at| {
        Cell::Float8(f64::from((at as f32).sqrt()).to_bits())
    });
    add(Kind::Float8, &mut |at| {
        Cell::Float8((at as f64).sqrt().to_bits())
    });
    add(Kind::Float8, &mut |_| Cell::Float8(numbers.next()));
    add(Kind::Numeric, &mut |at| {
        Cell::Number(at * 100 + (numbers.next() & 3) as i64 * 100, 4)
    });
    add(Kind::Numeric, &mut |at| {
        Cell::Number(at * 10, (at % 3) as u16)
    });
    add(Kind::Numeric, &mut |at| match at % 7 {
        0 => Cell::Other(b"NaN".to_vec()),
        _ => Cell::Number(at, 2),
    });
    add(Kind::Numeric, &mut |_| Cell::Other(b"Infinity".to_vec()));
    add(Kind::Bytes, &mut |_| text("kW".into()));
    add(Kind::Bytes, &mut |at| text(format!("{}", at / 20 % 2)));
    add(Kind::Bytes, &mut |at| {
        text(format!("sensor number {}", at * 7 % 40))
    });
    add(Kind::Bytes, &mut |at| text(format!("sensor number {at}")));
    add(Kind::Bytes, &mut |_| {
        Cell::Bytes(numbers.next().to_le_bytes().to_vec())
    });
    columns
        .iter()
        .map(|column| segment(std::slice::from_ref(column)))
        .collect()
}

/// Numbers without a pattern that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for bytes in specimens() {
        let mut changed = bytes.clone();
        for bit in 0..bytes.len() * 8 {
            changed[bit / 8] ^= 1 << (bit % 8);
            let noticed = Segment::open(&changed).map(|_| ()).unwrap_err();
            if bit < 16 {
                assert_eq!(noticed, Damage::NotASegment);
            } else {
                assert!(
                    matches!(noticed, Damage::Checksum { .. }),
                    "bit {bit}: {noticed:?}"
                );
            }
            changed[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(changed, bytes);
    }
}

#[test]
fn every_truncation_and_every_addition_is_noticed() {
    for bytes in specimens() {
        for length in 0..bytes.len() {
            assert!(Segment::open(&bytes[..length]).is_err());
            let mut short = bytes[..length].to_vec();
            reseal(&mut short);
            assert!(
                cells(&short, &mut Buffer::new()).is_err(),
                "{length} of {}",
                bytes.len()
            );
        }
        let mut long = bytes.clone();
        long.push(0);
        assert!(Segment::open(&long).is_err());
        reseal(&mut long);
        assert!(Segment::open(&long).is_err());
    }
}

#[test]
fn what_is_no_segment_says_so() {
    let good = segment(&[(Kind::Int, vec![Cell::Int(1); 3])]);
    assert_eq!(Segment::open(&[]).unwrap_err(), Damage::NotASegment);
    assert_eq!(
        Segment::open(b"hello, world").unwrap_err(),
        Damage::NotASegment
    );
    let mut newer = good.clone();
    newer[2] = FORMAT + 1;
    reseal(&mut newer);
    let error = Segment::open(&newer).unwrap_err();
    let expected = Damage::NewerFormat {
        found: FORMAT + 1,
        known: FORMAT,
    };
    assert_eq!(error, expected);
    assert_eq!(
        error.to_string(),
        "the segment is of format version 2, and this library reads up to 1"
    );
    let mut versionless = good.clone();
    versionless[2] = 0;
    reseal(&mut versionless);
    assert!(matches!(
        Segment::open(&versionless),
        Err(Damage::Malformed { .. })
    ));
    let error = Segment::open(&good)
        .unwrap()
        .decode(1, &mut Buffer::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the segment has 1 columns, and column 1 was asked for (they count from 0)"
    );
}

/// Touches all that a column gives, as a reader would.
fn walk(column: &Column, rows: usize) -> u64 {
    let scalar = |scalar: Scalar| match scalar {
        Scalar::Int(value) => value as u64,
        Scalar::Float4(bits) => u64::from(bits),
        Scalar::Float8(bits) => bits,
        Scalar::Number { mantissa, scale } => mantissa as u64 ^ u64::from(scale),
        Scalar::OtherNumber(bytes) | Scalar::Bytes(bytes) => bytes.len() as u64,
    };
    let mut total = 0_u64;
    // All rows are there; of many, some are enough.
    for row in (0..rows).step_by((rows / 500).max(1)) {
        let value = match column.values {
            Values::Nothing => 0,
            Values::Constant(value) => scalar(value),
            Values::Ints(values) => values[row] as u64,
            Values::Float4(values) => u64::from(values[row]),
            Values::Float8(values) => values[row],
            Values::Numbers { mantissas, .. } => mantissas[row] as u64,
            Values::MixedNumbers {
                mantissas,
                scales,
                others,
            } => {
                let other = others.other(row).map_or(0, <[u8]>::len);
                mantissas[row] as u64 ^ u64::from(scales[row]) ^ other as u64
            }
            Values::Bytes(values) => {
                let code = values.code(row);
                assert!((code as usize) < values.len_of_dictionary());
                values.entry(code).len() as u64
            }
        };
        total = total.wrapping_add(value) ^ u64::from(column.is_null(row));
    }
    total
}

/// Opens and decodes; returns whether the bytes were a segment all through.
fn survives(bytes: &[u8], buffer: &mut Buffer) -> bool {
    let Ok(segment) = Segment::open(bytes) else {
        return false;
    };
    let mut whole = true;
    for at in 0..segment.columns() {
        let _ = segment.stats(at);
        match segment.decode(at, buffer) {
            Ok(column) => {
                std::hint::black_box(walk(&column, segment.rows()));
            }
            Err(damage) => {
                // The last line of defence is not to be reached by anything.
                assert!(!damage.to_string().contains("gave up"), "{bytes:?}");
                whole = false;
            }
        }
    }
    whole
}

/// A segment that somebody made: changed in one to four places, cut, doubled, or mixed with another.
fn mutate(bytes: &mut Vec<u8>, specimens: &[Vec<u8>], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        // Heads decide more than bodies.
        let end = if numbers.below(2) == 0 {
            bytes.len().min(24)
        } else {
            bytes.len()
        };
        let at = 3 + numbers.below(end.saturating_sub(3).max(1));
        let Some(byte) = bytes.get_mut(at) else {
            continue;
        };
        match numbers.below(8) {
            0 => *byte = 0,
            1 => *byte = 0xff,
            2 => *byte = byte.wrapping_add(1),
            3 => *byte ^= 1 << numbers.below(8),
            4 => *byte = numbers.next() as u8,
            5 => bytes.truncate(at.max(8)),
            6 => {
                let other = &specimens[numbers.below(specimens.len())];
                let from = numbers.below(other.len());
                let to = (from + numbers.below(40)).min(other.len());
                bytes.splice(
                    at..(at + to - from).min(bytes.len()),
                    other[from..to].iter().copied(),
                );
            }
            _ => bytes.insert(at, numbers.next() as u8),
        }
    }
}

/// Whatever has a checksum that is right is read or refused: no panic, no endless loop, no allocation out of
/// proportion. The time is a limit of the test, not a claim: all mutations are tried in far less.
#[test]
fn forged_segments_are_read_or_refused() {
    let specimens = specimens();
    let mut numbers = Numbers(20_261_121);
    let mut buffer = Buffer::new();
    let (mut whole, mut tried) = (0, 0);
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    while tried < 250_000 {
        let mut bytes = specimens[numbers.below(specimens.len())].clone();
        mutate(&mut bytes, &specimens, &mut numbers);
        reseal(&mut bytes);
        // Many rows are allowed, and slow: a few are tried.
        let rows = Segment::open(&bytes).map_or(0, |segment| segment.rows());
        tried += 1;
        if rows > 100_000 && tried % 64 != 0 {
            continue;
        }
        let before = Instant::now();
        allocations::forget();
        whole += usize::from(survives(&bytes, &mut buffer));
        longest = longest.max(before.elapsed());
        // Eight bytes a row and a value, what LZ4 can make of the bytes, and pco's tables.
        let most = 8 * (rows + 1) + 255 * bytes.len() + (1 << 20);
        let largest = allocations::largest();
        assert!(
            largest <= most,
            "{largest} bytes for {rows} rows: {bytes:?}"
        );
    }
    println!(
        "{whole} of {tried} were segments still, {:?}, longest {longest:?}",
        began.elapsed()
    );
    assert!(
        whole > tried / 100,
        "the mutations are too coarse to get anywhere: {whole}"
    );
    assert!(whole < tried, "the mutations change nothing");
}
