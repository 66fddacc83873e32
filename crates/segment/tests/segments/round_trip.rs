//! What goes in comes out, bit for bit, and what a segment says of it is true.

use crate::cells::{Cell, Cells, builder, cells, check, check_stats, fill};
use crate::shapes::{KINDS, column};
use gemba_segment::{
    Buffer, ColumnBuilder, EncodeError, Kind, Scalar, Segment, Values, encode, encode_into,
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn ints(column in column(Kind::Int)) {
        check(&[column]);
    }

    #[test]
    fn floats_of_single_precision(column in column(Kind::Float4)) {
        check(&[column]);
    }

    #[test]
    fn floats_of_double_precision(column in column(Kind::Float8)) {
        check(&[column]);
    }

    #[test]
    fn numbers(column in column(Kind::Numeric)) {
        check(&[column]);
    }

    #[test]
    fn bytes(column in column(Kind::Bytes)) {
        check(&[column]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Columns beside each other, cut to the same length, through a buffer that has seen others.
    #[test]
    fn several_columns(
        a in column(Kind::Int),
        b in column(Kind::Float4),
        c in column(Kind::Float8),
        d in column(Kind::Numeric),
        e in column(Kind::Bytes),
        f in column(Kind::Numeric),
    ) {
        let mut columns = [a, b, c, d, e, f];
        let rows = columns.iter().map(|column| column.1.len()).min().unwrap();
        let mut buffer = Buffer::new();
        for column in &mut columns {
            cells(&check(std::slice::from_ref(column)), &mut buffer).unwrap();
            column.1.truncate(rows);
        }
        prop_assert_eq!(cells(&check(&columns), &mut buffer).unwrap(), columns);
    }
}

/// One NULL; one value; nothing but NULLs.
#[test]
fn short_ones() {
    for kind in KINDS {
        check(&[(kind, vec![Cell::Null])]);
        check(&[(kind, vec![Cell::Null; 1000])]);
        for value in example(kind) {
            check(&[(kind, vec![value.clone()])]);
            check(&[(kind, vec![value.clone(), Cell::Null])]);
            check(&[(kind, vec![Cell::Null, value.clone()])]);
            check(&[(
                kind,
                vec![value.clone(), value.clone(), Cell::Null, value.clone()],
            )]);
        }
    }
}

fn example(kind: Kind) -> Vec<Cell> {
    match kind {
        Kind::Int => [i64::MIN, -1, 0, i64::MAX].map(Cell::Int).to_vec(),
        Kind::Float4 => [0, 0x8000_0000, 0x7fc0_0001, 0xffff_ffff]
            .map(Cell::Float4)
            .to_vec(),
        Kind::Float8 => [0, 1 << 63, 0x7ff8_0000_0000_0001, u64::MAX]
            .map(Cell::Float8)
            .to_vec(),
        Kind::Numeric => vec![
            Cell::Number(i64::MIN, u16::MAX),
            Cell::Number(0, 0),
            Cell::Number(0, 4),
            Cell::Other(b"Infinity".to_vec()),
            Cell::Other(Vec::new()),
        ],
        Kind::Bytes => vec![
            Cell::Bytes(Vec::new()),
            Cell::Bytes(vec![0]),
            Cell::Bytes(vec![255; 33]),
            Cell::Bytes(vec![7; 100_000]),
        ],
    }
}

/// A million rows: more than one batch, page or block of anything.
#[test]
fn long_ones() {
    const ROWS: i64 = 1_000_000;
    let mixed = |at: i64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()) >> 40;
    let columns: Vec<Cells> = vec![
        (Kind::Int, (0..ROWS).map(Cell::Int).collect()),
        (
            Kind::Int,
            (0..ROWS).map(|at| Cell::Int(mixed(at))).collect(),
        ),
        (
            Kind::Numeric,
            (0..ROWS)
                .map(|at| Cell::Number(at / 7 + mixed(at) % 9, 2))
                .collect(),
        ),
        (
            Kind::Float8,
            (0..ROWS)
                .map(|at| Cell::Float8((mixed(at) as f64 / 8.0).to_bits()))
                .collect(),
        ),
        (
            Kind::Bytes,
            (0..ROWS)
                .map(|at| Cell::Bytes(format!("{}", mixed(at) % 1000).into_bytes()))
                .collect(),
        ),
        (
            Kind::Bytes,
            (0..ROWS)
                .map(|at| match at % 5 {
                    0 => Cell::Null,
                    _ => Cell::Bytes(at.to_be_bytes().to_vec()),
                })
                .collect(),
        ),
    ];
    for column in columns {
        check(&[column]);
    }
}

/// The methods for many rows add what the methods for one add, and clearing leaves nothing behind.
#[test]
fn many_rows_at_once() {
    let mut builders = KINDS.map(ColumnBuilder::new);
    for round in 0..3_i64 {
        let rows = 5;
        builders.iter_mut().for_each(ColumnBuilder::clear);
        let [int, float4, float8, number, bytes] = &mut builders;
        int.repeat_null(1);
        int.repeat_int(round, 2);
        int.extend_ints(&[7, 8]);
        fill(float4, &vec![Cell::Float4(round as u32); rows]);
        fill(float8, &vec![Cell::Null; rows]);
        number.extend_numbers(&[round, 2, 3], 2);
        number.extend_numbers(&[], 9);
        number.repeat_null(1);
        number.extend_numbers(&[4], if round == 1 { 3 } else { 2 });
        bytes.repeat_bytes(b"unused", 0);
        bytes.repeat_bytes(b"a", 3);
        bytes.repeat_bytes(format!("b{round}").as_bytes(), 2);
        let read = cells(&encode(&builders).unwrap(), &mut Buffer::new()).unwrap();
        let expected = [
            vec![
                Cell::Null,
                Cell::Int(round),
                Cell::Int(round),
                Cell::Int(7),
                Cell::Int(8),
            ],
            vec![Cell::Float4(round as u32); 5],
            vec![Cell::Null; 5],
            vec![
                Cell::Number(round, 2),
                Cell::Number(2, 2),
                Cell::Number(3, 2),
                Cell::Null,
                Cell::Number(4, if round == 1 { 3 } else { 2 }),
            ],
            vec![
                Cell::Bytes(b"a".to_vec()),
                Cell::Bytes(b"a".to_vec()),
                Cell::Bytes(b"a".to_vec()),
                Cell::Bytes(format!("b{round}").into_bytes()),
                Cell::Bytes(format!("b{round}").into_bytes()),
            ],
        ];
        assert!(
            read.iter().map(|column| &column.1).eq(&expected),
            "{read:?}"
        );
    }
}

#[test]
fn what_is_no_segment_is_refused() {
    let ints = |rows| builder(Kind::Int, &vec![Cell::Int(1); rows]);
    assert_eq!(encode(&[]), Err(EncodeError::NoColumns));
    assert_eq!(encode(&[ints(0)]), Err(EncodeError::Rows { rows: 0 }));
    let mut out = vec![1, 2, 3];
    let uneven = encode_into(&[ints(3), ints(4)], &mut out);
    let expected = EncodeError::Uneven {
        column: 1,
        found: 4,
        expected: 3,
    };
    assert_eq!((uneven, out.as_slice()), (Err(expected), &[1, 2, 3][..]));
    let mut many = ColumnBuilder::new(Kind::Int);
    many.repeat_int(1, gemba_segment::MAX_ROWS + 1);
    assert!(matches!(encode(&[many]), Err(EncodeError::Rows { .. })));
    let columns = 4097;
    assert_eq!(
        encode(&vec![ints(1); columns]),
        Err(EncodeError::TooManyColumns {
            columns,
            most: 4096
        })
    );
}

/// As many rows as there may be.
#[test]
fn the_longest_segment() {
    let mut column = ColumnBuilder::new(Kind::Int);
    column.repeat_int(5, gemba_segment::MAX_ROWS - 1);
    column.push_null();
    let bytes = encode(&[column]).unwrap();
    let segment = Segment::open(&bytes).unwrap();
    assert_eq!(segment.rows(), gemba_segment::MAX_ROWS);
    let mut buffer = Buffer::new();
    let column = segment.decode(0, &mut buffer).unwrap();
    assert!(matches!(column.values, Values::Constant(Scalar::Int(5))));
    let nulls = column.nulls.unwrap();
    assert_eq!(
        (nulls.count(), nulls.iter().next()),
        (1, Some(gemba_segment::MAX_ROWS - 1))
    );
}

/// What costs nothing to know is told without slices.
#[test]
fn forms_of_values() {
    let bytes = check(&[
        (Kind::Int, vec![Cell::Int(3); 100]),
        (Kind::Numeric, vec![Cell::Number(3, 1); 100]),
        (Kind::Bytes, vec![Cell::Bytes(b"kW".to_vec()); 100]),
        (
            Kind::Bytes,
            (0..100).map(|at| Cell::Bytes(vec![b'x', at % 2])).collect(),
        ),
        (
            Kind::Bytes,
            (0..100).map(|at| Cell::Bytes(vec![b'x', at])).collect(),
        ),
        (Kind::Float8, vec![Cell::Null; 100]),
    ]);
    let segment = Segment::open(&bytes).unwrap();
    let mut buffer = Buffer::new();
    let mut values = |at| format!("{:?}", segment.decode(at, &mut buffer).unwrap().values);
    assert_eq!(values(0), "Constant(Int(3))");
    assert_eq!(values(1), "Constant(Number { mantissa: 3, scale: 1 })");
    assert_eq!(values(2), "Constant(Bytes([107, 87]))");
    assert_eq!(values(5), "Nothing");
    for (at, entries, coded) in [(3, 2, true), (4, 100, false)] {
        let Values::Bytes(column) = segment.decode(at, &mut buffer).unwrap().values else {
            panic!("not bytes");
        };
        assert_eq!(
            (column.len_of_dictionary(), column.has_dictionary()),
            (entries, coded)
        );
    }
    assert!(segment.decode(6, &mut buffer).is_err());
    check_stats(&segment.stats(6), &[]);
}

/// A builder goes to another thread, and a segment is read by several.
#[test]
fn threads() {
    fn sendable<T: Send + Sync>() {}
    sendable::<ColumnBuilder>();
    sendable::<Segment>();
    sendable::<Buffer>();
}

/// Numbers whose trailing zeros are left out cost little more than those that have them.
#[test]
fn numbers_without_trailing_zeros() {
    let hundredths = |at: i64| 2000 + at * at % 700 / 9;
    let full = (0..1440).map(|at| Cell::Number(hundredths(at), 2));
    let trimmed = (0..1440).map(|at| match hundredths(at) {
        value if value % 100 == 0 => Cell::Number(value / 100, 0),
        value if value % 10 == 0 => Cell::Number(value / 10, 1),
        value => Cell::Number(value, 2),
    });
    let full = check(&[(Kind::Numeric, full.collect())]).len();
    let trimmed = check(&[(Kind::Numeric, trimmed.collect())]).len();
    assert!(trimmed < full + 1440 / 8, "{trimmed} and {full} bytes");
}
