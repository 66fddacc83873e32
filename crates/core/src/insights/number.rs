//! Numbers as people read them.

/// With so many significant digits, but never without one of its whole digits; thousands are set apart. What
/// would be all zeros or more than fifteen digits becomes a power of ten.
pub(super) fn number(value: f64, significant: usize) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.*e}", significant.saturating_sub(1));
    // After rounding, so that 0.9996 is looked at as the 1.00 that it will be.
    let Some((digits, exponent)) = scientific
        .split_once('e')
        .and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?)))
    else {
        return scientific;
    };
    if !(-4..15).contains(&exponent) {
        return format!("{}e{exponent}", trimmed(digits));
    }
    let places = (significant as i32 - 1 - exponent).max(0) as usize;
    grouped(trimmed(&format!("{value:.places$}")))
}

/// Hundredfold, with a percent sign.
pub(super) fn percent(part: f64) -> String {
    format!("{}%", number(part * 100.0, 3))
}

/// With the sign that it has.
pub(super) fn signed(text: &str) -> String {
    if text.starts_with('-') || text == "0" || text == "0%" {
        text.to_owned()
    } else {
        format!("+{text}")
    }
}

/// To three places, as p-values are printed.
pub(super) fn p(p: f64) -> String {
    if p < 0.000_5 {
        "p < 0.001".to_owned()
    } else {
        format!("p = {p:.3}")
    }
}

/// Without zeros at the end of a fraction.
fn trimmed(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// A comma after each three whole digits.
fn grouped(text: &str) -> String {
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut groups = String::from(sign);
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            groups.push(',');
        }
        groups.push(digit);
    }
    groups + fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_that_matter() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.2, "1.2"),
            (1.213_4, "1.21"),
            (0.999_6, "1"),
            (99.95, "100"),
            (999.6, "1,000"),
            (-1_234.5, "-1,234"),
            (12_345.678, "12,346"),
            (123_456_789.0, "123,456,789"),
            (0.000_123_456, "0.000123"),
            (0.000_012_3, "1.23e-5"),
            (-0.000_000_1, "-1e-7"),
            (999_999_999_999_999.0, "1e15"),
            (1.5e20, "1.5e20"),
            (5e-324, "4.94e-324"),
        ] {
            assert_eq!(number(value, 3), text, "{value}");
        }
        assert_eq!(number(1.213_4, 4), "1.213");
        assert_eq!(number(0.1 + 0.2, 4), "0.3");
    }

    #[test]
    fn parts_signs_and_chances() {
        assert_eq!(percent(0.3), "30%");
        assert_eq!(percent(1.0 / 3.0), "33.3%");
        assert_eq!(percent(-12.0), "-1,200%");
        assert_eq!(signed("5%"), "+5%");
        assert_eq!(signed("-5"), "-5");
        assert_eq!(signed("0"), "0");
        assert_eq!(p(1.0), "p = 1.000");
        assert_eq!(p(0.000_5), "p = 0.001");
        assert_eq!(p(0.000_499), "p < 0.001");
        assert_eq!(p(0.0), "p < 0.001");
    }

    proptest! {
        #[test]
        fn what_is_read_is_close_to_what_was_written(value in -1e16_f64..1e16, small in any::<bool>()) {
            let value = if small { value * 1e-18 } else { value };
            let text = number(value, 4);
            let read: f64 = text.replace(',', "").parse().expect("a number");
            prop_assert!((read - value).abs() <= value.abs() * 0.000_500_1, "{} {}", value, text);
        }
    }
}
