//! Columns of every kind in every shape that a codec might stumble over.

use crate::cells::{Cell, Cells};
use gemba_segment::Kind;
use proptest::prelude::*;
use proptest::sample::select;

pub const KINDS: [Kind; 5] = [
    Kind::Int,
    Kind::Float4,
    Kind::Float8,
    Kind::Numeric,
    Kind::Bytes,
];

/// Numbers that are at the edge of something.
const EDGES: [i64; 14] = [
    i64::MIN,
    i64::MIN + 1,
    i32::MIN as i64,
    -257,
    -1,
    0,
    1,
    255,
    256,
    65_535,
    65_536,
    u32::MAX as i64,
    i64::MAX - 1,
    i64::MAX,
];

/// Floats that are special, as bits.
const FLOATS: [f64; 14] = [
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    f64::MIN,
    f64::MAX,
    f64::MIN_POSITIVE,
    f64::EPSILON,
    1.0,
    -1.5,
    0.1,
    1e300,
    5e-324,
];

/// Whole numbers: any, constant, alternating, ascending with and without gaps, wandering, few different ones, multiples.
pub fn ints() -> impl Strategy<Value = Vec<i64>> {
    prop_oneof![
        proptest::collection::vec(any::<i64>(), 1..300),
        proptest::collection::vec(select(&EDGES[..]), 1..300),
        proptest::collection::vec(-100_i64..100, 1..1000),
        proptest::collection::vec(0_i64..2, 1..1000),
        (any::<i64>(), 1_usize..500).prop_map(|(value, count)| vec![value; count]),
        (any::<i64>(), any::<i64>(), 1_usize..500).prop_map(|(a, b, count)| (0..count)
            .map(|at| if at % 2 == 0 { a } else { b })
            .collect()),
        (any::<i64>(), any::<i64>(), 1_usize..500).prop_map(|(first, step, count)| {
            let value = |at| first.wrapping_add(step.wrapping_mul(at as i64));
            (0..count).map(value).collect()
        }),
        (
            any::<i32>(),
            1_i64..100_000,
            proptest::collection::vec(0_u8..60, 1..1500)
        )
            .prop_map(|(first, step, gaps)| {
                let mut value = i64::from(first) * 60_000_000;
                let mut next = |&gap: &u8| {
                    value += step * if gap == 0 { 7 } else { 1 };
                    value
                };
                gaps.iter().map(&mut next).collect()
            }),
        (
            any::<i64>(),
            proptest::collection::vec(-20_i64..=20, 1..1500)
        )
            .prop_map(|(first, steps)| {
                let mut value = first;
                let mut next = |&step: &i64| {
                    value = value.wrapping_add(step);
                    value
                };
                steps.iter().map(&mut next).collect()
            }),
        (
            1_i64..1_000_000_000,
            proptest::collection::vec(-3000_i64..3000, 1..600)
        )
            .prop_map(|(factor, values)| values.iter().map(|value| value * factor).collect()),
        (0_usize..400, 0_usize..400).prop_map(|(zeros, ones)| {
            let mut values = vec![0; zeros + 1];
            values.resize(zeros + 1 + ones, 1);
            values
        }),
    ]
}

fn floats() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        proptest::collection::vec(any::<u64>().prop_map(f64::from_bits), 1..300),
        proptest::collection::vec(select(&FLOATS[..]), 1..300),
        proptest::collection::vec(
            (-5000_i32..5000).prop_map(|value| f64::from(value) / 100.0),
            1..1000
        ),
        proptest::collection::vec((-5000_i32..5000).prop_map(f64::from), 1..1000),
        (any::<u64>(), 1_usize..300).prop_map(|(bits, count)| vec![f64::from_bits(bits); count]),
        proptest::collection::vec(-1.0_f64..1.0, 1..600).prop_map(|steps| {
            let mut value = 20.0;
            let mut next = |step: &f64| {
                value += step;
                value
            };
            steps.iter().map(&mut next).collect()
        }),
        // NaN of every colour among numbers.
        proptest::collection::vec((any::<u64>(), 0_u8..3), 1..300).prop_map(|values| {
            let nan = |bits: u64| f64::from_bits(bits | 0x7ff0_0000_0000_0001);
            let value = |&(bits, what): &(u64, u8)| if what == 0 { nan(bits) } else { 1.25 };
            values.iter().map(value).collect()
        }),
    ]
}

/// Single precision bits that are not just a rounded double.
fn float4() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        floats().prop_map(|values| values
            .iter()
            .map(|&value| (value as f32).to_bits())
            .collect()),
        proptest::collection::vec(any::<u32>(), 1..300),
        proptest::collection::vec(0x7f80_0000_u32..0x7f80_0100, 1..300),
    ]
}

fn other() -> impl Strategy<Value = Cell> {
    prop_oneof![
        Just(Cell::Other(b"NaN".to_vec())),
        Just(Cell::Other(Vec::new())),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Cell::Other),
    ]
}

fn numbers() -> impl Strategy<Value = Vec<Cell>> {
    prop_oneof![
        (ints(), any::<u16>()).prop_map(|(values, scale)| values
            .iter()
            .map(|&mantissa| Cell::Number(mantissa, scale))
            .collect()),
        proptest::collection::vec((any::<i64>(), any::<u16>()), 1..300).prop_map(|all| all
            .iter()
            .map(|&(mantissa, scale)| Cell::Number(mantissa, scale))
            .collect()),
        // What a column without a scale of its own looks like: trailing zeros left out, or not.
        proptest::collection::vec((-5000_i64..5000, any::<bool>()), 1..600).prop_map(|all| {
            let number =
                |&(mantissa, trim): &(i64, bool)| match (trim, mantissa % 100, mantissa % 10) {
                    (true, 0, _) => Cell::Number(mantissa / 100, 0),
                    (true, _, 0) => Cell::Number(mantissa / 10, 1),
                    _ => Cell::Number(mantissa, 2),
                };
            all.iter().map(number).collect()
        }),
        proptest::collection::vec(
            prop_oneof![
                8 => (any::<i32>(), 0_u16..6).prop_map(|(mantissa, scale)| Cell::Number(i64::from(mantissa), scale)),
                1 => other()
            ],
            1..300
        ),
        proptest::collection::vec(other(), 1..50),
        (other(), 1_usize..50).prop_map(|(cell, count)| vec![cell; count]),
    ]
}

fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let words: &[&str] = &[
        "",
        "on",
        "off",
        "kW",
        "°C",
        "Wärmepumpe",
        "現場",
        "a",
        "b",
        "c",
    ];
    let from_few = move |few: usize| {
        let chosen = select(&words[..few]).prop_map(|word| word.as_bytes().to_vec());
        proptest::collection::vec(chosen, 1..600)
    };
    prop_oneof![
        from_few(10),
        from_few(2),
        from_few(1),
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..300),
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 16..=16), 1..300),
        proptest::collection::vec(".*".prop_map(String::into_bytes), 1..60),
        proptest::collection::vec(
            (0_u16..400).prop_map(|at| format!("sensor-{at:05}").into_bytes()),
            1..1500
        ),
        proptest::collection::vec(
            (0_usize..3000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
            1..40
        ),
    ]
}

/// Values of a kind, none of them NULL.
fn dense(kind: Kind) -> BoxedStrategy<Vec<Cell>> {
    match kind {
        Kind::Int => ints()
            .prop_map(|values| values.into_iter().map(Cell::Int).collect())
            .boxed(),
        Kind::Float4 => float4()
            .prop_map(|values| values.into_iter().map(Cell::Float4).collect())
            .boxed(),
        Kind::Float8 => floats()
            .prop_map(|values| {
                values
                    .iter()
                    .map(|value| Cell::Float8(value.to_bits()))
                    .collect()
            })
            .boxed(),
        Kind::Numeric => numbers().boxed(),
        Kind::Bytes => texts()
            .prop_map(|values| values.into_iter().map(Cell::Bytes).collect())
            .boxed(),
    }
}

/// A column: with no NULL, some, runs of them, or nothing else.
pub fn column(kind: Kind) -> impl Strategy<Value = Cells> {
    (dense(kind), 0_u8..6, any::<u64>()).prop_map(move |(mut cells, nulls, seed)| {
        let length = cells.len();
        for (at, cell) in cells.iter_mut().enumerate() {
            let mixed = (seed ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
            let null = match nulls {
                0 => mixed < 64,
                1 => mixed < 2,
                2 => at * 3 / length == 1,
                3 => (seed >> 32) % 4 == 0,
                _ => false,
            };
            if null {
                *cell = Cell::Null;
            }
        }
        (kind, cells)
    })
}
