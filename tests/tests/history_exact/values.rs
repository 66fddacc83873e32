//! Types of columns, and values that are hard on them.

use gemba_tests::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Int2,
    Int4,
    Int8,
    Numeric,
    Fixed,
    Float4,
    Float8,
    Instant,
    Local,
    Date,
    Bool,
    Uuid,
    Text,
    Varchar,
    /// With a collation in which different texts are equal.
    Folded,
}
use Type::*;

pub const ALL: &[Type] = &[
    Int2, Int4, Int8, Numeric, Fixed, Float4, Float8, Instant, Local, Date, Bool, Uuid, Text,
    Varchar, Folded,
];

/// What `segment_by` takes.
pub const KEYS: &[Type] = &[
    Int2, Int4, Int8, Instant, Local, Date, Bool, Uuid, Text, Varchar,
];

impl Type {
    pub fn sql(self) -> &'static str {
        match self {
            Int2 => "smallint",
            Int4 => "integer",
            Int8 => "bigint",
            Numeric => "numeric",
            Fixed => "numeric(9,3)",
            Float4 => "real",
            Float8 => "double precision",
            Instant => "timestamptz",
            Local => "timestamp",
            Date => "date",
            Bool => "boolean",
            Uuid => "uuid",
            Text => "text",
            Varchar => "varchar(60)",
            Folded => "text COLLATE s.folded",
        }
    }

    pub fn is_text(self) -> bool {
        matches!(self, Text | Varchar)
    }

    pub fn has_sums(self) -> bool {
        matches!(self, Int2 | Int4 | Int8 | Numeric | Fixed)
    }

    /// `min` and `max`, in every version of the server.
    pub fn has_extremes(self) -> bool {
        !matches!(self, Bool | Uuid)
    }

    /// The value with every bit of it, as text.
    pub fn bits(self, value: &str) -> String {
        match self {
            Float4 => format!("encode(float4send({value}), 'hex')"),
            Float8 => format!("encode(float8send({value}), 'hex')"),
            Numeric | Fixed => {
                format!("left({value}::text, 80) || ' ' || md5(numeric_send({value}))")
            }
            Text | Varchar | Folded => {
                format!(
                    "octet_length({value}) || ' ' || md5({value}) || ' ' || left(quote_literal({value}), 30)"
                )
            }
            _ => format!("({value})::text"),
        }
    }

    /// Values that are equal look the same: of which of them a group or a minimum is made, nobody says.
    pub fn plain(self, value: &str) -> String {
        match self {
            Float4 | Float8 => format!("({value}) + 0"),
            Numeric | Fixed => format!("md5(trim_scale({value})::text)"),
            // How many ways there are to write the same, only the collation knows.
            Folded => format!("({value}) IS NULL"),
            Text | Varchar => format!("md5({value})"),
            _ => value.to_owned(),
        }
    }

    pub fn literal(self, value: &str) -> String {
        let name = match self {
            // A cast to the column's own type would cut what does not fit.
            Fixed => "numeric",
            Varchar | Folded => "text",
            other => other.sql(),
        };
        format!("{}::{name}", quoted(value))
    }
}

pub fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// At the edges of a type, and beyond what is common.
pub fn extreme(of: Type, random: &mut Random) -> String {
    let one: &&str = match of {
        Int2 => random.pick(&["-32768", "32767", "0", "-1", "1"]),
        Int4 => random.pick(&["-2147483648", "2147483647", "0", "-1", "65536"]),
        Int8 => random.pick(&[
            "-9223372036854775808",
            "9223372036854775807",
            "0",
            "-1",
            "4294967296",
            "-9007199254740993",
        ]),
        Numeric => {
            let exponent = random.pick(&[
                "19", "30", "100", "-20", "-70", "1000", "-1000", "-16000", "100000",
            ]);
            return match random.below(14) {
                0 | 1 => "NaN".to_owned(),
                2 => "Infinity".to_owned(),
                3 => "-Infinity".to_owned(),
                4 => "0".to_owned(),
                5 => format!("0.{}", "0".repeat(random.below(40) as usize)),
                6 => "9223372036854775807".to_owned(),
                7 => "-9223372036854775808".to_owned(),
                8 => "9223372036854775808.0".to_owned(),
                9 => format!(
                    "922337203685477580{}.{}",
                    random.below(10),
                    random.below(100)
                ),
                10 => format!(
                    "-170141183460469231731687303715884105728.{}",
                    random.below(9)
                ),
                // One value in many scales.
                11 => format!("1.{}", "0".repeat(1 + random.below(20) as usize)),
                12 => format!("{}1e{exponent}", random.pick(&["", "-"])),
                _ => format!(
                    "0.{}{}",
                    "0".repeat(random.below(25) as usize),
                    random.below(99_999)
                ),
            };
        }
        Fixed => random.pick(&["999999.999", "-999999.999", "0", "NaN", "0.001", "-0.001"]),
        Float4 => random.pick(&[
            "NaN",
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "0",
            "1e-45",
            "-1e-45",
            "3.4028235e38",
            "-3.4028235e38",
            "1.17549435e-38",
            "0.1",
        ]),
        Float8 => random.pick(&[
            "NaN",
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "0",
            "5e-324",
            "-5e-324",
            "1.7976931348623157e308",
            "-1.7976931348623157e308",
            "2.2250738585072014e-308",
            "0.1",
            "9007199254740993",
        ]),
        Instant => random.pick(&[
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00+00 BC",
            "294276-12-31 23:59:59.999999+00",
            "2000-01-01 00:00:00+00",
            "1999-12-31 23:59:59.999999+00",
        ]),
        Local => random.pick(&[
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00 BC",
            "294276-12-31 23:59:59.999999",
            "2000-01-01 00:00:00",
            "1999-12-31 23:59:59.999999",
        ]),
        Date => random.pick(&[
            "infinity",
            "-infinity",
            "4713-01-01 BC",
            "5874897-12-31",
            "2000-01-01",
            "1999-12-31",
            "2024-03-31",
        ]),
        Bool => random.pick(&["true", "false"]),
        Uuid => random.pick(&[
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "80000000-0000-0000-0000-000000000000",
            "7fffffff-ffff-ffff-ffff-ffffffffffff",
        ]),
        Text | Folded if random.one_in(40) => {
            // Long enough to be stored apart; the second kind cannot be compressed.
            let unit = format!("{:x}", random.below(u64::MAX));
            return if random.chance(50) {
                unit.repeat(100_000 / unit.len())
            } else {
                (0..6_000)
                    .map(|_| format!("{:x}", random.below(u64::MAX)))
                    .collect()
            };
        }
        Text | Varchar | Folded => random.pick(&[
            "",
            " ",
            "  ",
            "a",
            "A",
            "a ",
            "ä",
            "a\u{308}",
            "Ä",
            "ß",
            "日本語",
            "🦀",
            "\u{10ffff}",
            "\u{1}",
            "tab\there",
            "two\nlines",
            "back\\slash",
            "it's",
            "100%",
            "a_b",
            "NULL",
            "\\N",
        ]),
    };
    (*one).to_owned()
}

/// What a table usually holds.
pub fn ordinary(of: Type, random: &mut Random) -> String {
    match of {
        Int2 | Int4 | Int8 => (random.below(2_000) as i64 - 500).to_string(),
        Numeric => format!(
            "{}.{:0w$}",
            random.below(900) as i64 - 300,
            random.below(100),
            w = 2 + random.below(2) as usize
        ),
        Fixed => format!(
            "{}.{:03}",
            random.below(900) as i64 - 300,
            random.below(1_000)
        ),
        Float4 => format!("{}", (random.below(4_000) as f32 - 1_000.0) / 10.0),
        Float8 => format!("{}", (random.below(4_000_000) as f64 - 1_000_000.0) / 7.0),
        Instant => format!(
            "2024-0{}-0{} {:02}:{:02}:00+00",
            1 + random.below(9),
            1 + random.below(9),
            random.below(24),
            random.below(60)
        ),
        Local => format!(
            "2024-0{}-0{} {:02}:00:00.{}",
            1 + random.below(9),
            1 + random.below(9),
            random.below(24),
            random.below(1_000_000)
        ),
        Date => format!(
            "20{:02}-0{}-1{}",
            random.below(40),
            1 + random.below(9),
            random.below(9)
        ),
        Bool => random.chance(50).to_string(),
        Uuid => format!(
            "{:016x}{:016x}",
            random.below(u64::MAX),
            random.below(u64::MAX)
        ),
        Text | Varchar | Folded => format!(
            "{} {}",
            random.pick(&["pump", "Pump", "fan", "valve of the third line"]),
            random.below(300)
        ),
    }
}

/// Any at all.
pub fn any(of: Type, random: &mut Random) -> String {
    match of {
        _ if random.chance(25) => extreme(of, random),
        Int2 => (random.below(65_536) as i64 - 32_768).to_string(),
        Int4 => (random.below(u64::MAX) as i32).to_string(),
        Int8 => (random.below(u64::MAX) as i64 >> random.below(60)).to_string(),
        Numeric => {
            let digits = random.below(u64::MAX) >> random.below(64);
            let scale = random.below(25);
            format!("{}{digits}e-{scale}", random.pick(&["", "-"]))
        }
        Float4 => format!(
            "{:e}",
            finite(f64::from(f32::from_bits(random.below(u64::MAX) as u32)))
        ),
        Float8 => format!("{:e}", finite(f64::from_bits(random.below(u64::MAX)))),
        Instant | Local => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}{}",
            1 + random.below(3_000),
            1 + random.below(12),
            1 + random.below(28),
            random.below(24),
            random.below(60),
            random.below(60),
            random.below(1_000_000),
            if of == Instant { "+00" } else { "" }
        ),
        Text | Varchar | Folded => {
            let length = random.below(30);
            (0..length)
                .filter_map(|_| char::from_u32(1 + random.below(0x2ff) as u32))
                .collect()
        }
        _ => ordinary(of, random),
    }
}

fn finite(number: f64) -> f64 {
    // What is subnormal to a `real` may be refused as out of range.
    if number.is_finite() && (number == 0.0 || number.abs() > 1.2e-38) {
        number
    } else {
        0.5
    }
}
