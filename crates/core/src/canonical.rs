//! JSON in one form for everything that is equal, so that it can be hashed: members sorted by the bytes of their
//! names, numbers as plain decimals without needless zeros, strings with as few escapes as JSON allows, no spaces.

use std::io::Write;

/// Decimal digits in one digit of PostgreSQL's numeric.
const GROUP: usize = 4;

/// Adds a string, whose bytes are UTF-8.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control if control < 0x20 => {
                // Writing to a Vec does not fail.
                let _ = write!(out, "\\u{control:04x}");
            }
            plain => out.push(plain),
        }
    }
    out.push(b'"');
}

/// Adds a number of digits of base 10,000, the first of which counts for this power of it.
pub fn number(out: &mut Vec<u8>, negative: bool, weight: i16, digits: &[u16]) {
    let (weight, digits) = without_zeros(weight, digits);
    if digits.is_empty() {
        out.push(b'0');
        return;
    }
    if negative {
        out.push(b'-');
    }
    let whole = usize::try_from(weight + 1).unwrap_or(0);
    if whole == 0 {
        out.push(b'0');
    }
    for place in 0..whole {
        let digit = digits.get(place).copied().unwrap_or(0);
        let _ = if place == 0 {
            write!(out, "{digit}")
        } else {
            write!(out, "{digit:0GROUP$}")
        };
    }
    let fraction = digits.get(whole..).unwrap_or_default();
    if fraction.is_empty() {
        return;
    }
    out.push(b'.');
    // Groups of zeros between the point and the first digit.
    let zeros = usize::try_from(-(weight + 1)).unwrap_or(0);
    out.resize(out.len() + zeros * GROUP, b'0');
    for digit in fraction {
        let _ = write!(out, "{digit:0GROUP$}");
    }
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// The same number without digits that are zero at either end.
fn without_zeros(weight: i16, digits: &[u16]) -> (i32, &[u16]) {
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = &digits[leading..];
    let trailing = digits.iter().rev().take_while(|digit| **digit == 0).count();
    (
        i32::from(weight) - i32::try_from(leading).unwrap_or(i32::MAX),
        &digits[..digits.len() - trailing],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(negative: bool, weight: i16, digits: &[u16]) -> String {
        let mut out = Vec::new();
        number(&mut out, negative, weight, digits);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(written(false, 0, &[]), "0");
        assert_eq!(written(true, 0, &[0]), "0");
        assert_eq!(written(false, 0, &[1]), "1");
        assert_eq!(written(false, 0, &[1, 0]), "1");
        assert_eq!(written(true, 0, &[12, 5000]), "-12.5");
        assert_eq!(written(false, 1, &[12]), "120000");
        assert_eq!(written(false, 1, &[0, 12]), "12");
        assert_eq!(written(false, 1, &[1, 2, 30]), "10002.003");
        assert_eq!(written(false, -1, &[1]), "0.0001");
        assert_eq!(written(false, -2, &[1200]), "0.000012");
        assert_eq!(written(false, 2, &[1]), "100000000");
    }

    #[test]
    fn strings_have_one_form() {
        let mut out = Vec::new();
        string(&mut out, "a\"\\/\u{8}\u{c}\n\r\t\u{1}\u{7f}ü".as_bytes());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\u{7f}ü\""
        );
    }

    proptest! {
        #[test]
        fn strings_are_json(text in any::<String>()) {
            let mut out = Vec::new();
            string(&mut out, text.as_bytes());
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn numbers_are_what_they_were(negative: bool, weight in -6_i16..6, digits in prop::collection::vec(0_u16..10_000, 0..6)) {
            let text = written(negative, weight, &digits);
            let sum: f64 = digits
                .iter()
                .enumerate()
                .map(|(place, digit)| f64::from(*digit) * 10_000_f64.powi(i32::from(weight) - place as i32))
                .sum();
            let sum = if negative { -sum } else { sum };
            let read: f64 = text.parse().unwrap();
            prop_assert!((read - sum).abs() <= sum.abs() * 1e-12, "{text} for {sum}");
            prop_assert!(!text.contains('.') || !text.ends_with(['0', '.']), "{text}");
            prop_assert!(!text.starts_with("00") && text != "-0", "{text}");
        }
    }
}
