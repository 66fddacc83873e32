//! Numbers as people read them: thousands apart, decimals fixed, a minus that is one.

use super::data::Number;
use rust_decimal::{Decimal, RoundingStrategy};

/// Stands where there is no value.
pub(crate) const NONE: &str = "–";

const MINUS: char = '\u{2212}';

/// `-1234.567` with two places: `−1,234.57`. Halves are rounded away from zero.
pub(crate) fn decimal(value: Decimal, places: u32) -> String {
    let rounded = round(value, places);
    // Not `{:.2}`: a Decimal of many digits panics in it.
    let digits = rounded.abs().to_string();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 4);
    if rounded.is_sign_negative() && !rounded.is_zero() {
        text.push(MINUS);
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if places > 0 {
        text.push('.');
        text.extend(
            fraction
                .chars()
                .chain(std::iter::repeat('0'))
                .take(places as usize),
        );
    }
    text
}

/// As [`decimal`], with a plus where it is one.
pub(crate) fn signed(value: Decimal, places: u32) -> String {
    let text = decimal(value, places);
    if round(value, places) > Decimal::ZERO {
        format!("+{text}")
    } else {
        text
    }
}

/// `71.2%`
pub(crate) fn percent(value: Option<Number>) -> String {
    value.map_or_else(
        || NONE.to_owned(),
        |Number(value)| format!("{}%", decimal(value, 1)),
    )
}

/// Pieces and minutes: whole where they are, else with one place.
pub(crate) fn quantity(value: Option<Number>) -> String {
    value.map_or_else(
        || NONE.to_owned(),
        |Number(value)| decimal(value, if value.fract().is_zero() { 0 } else { 1 }),
    )
}

/// Rows: `1,000`
pub(crate) fn count(value: u64) -> String {
    decimal(Decimal::from(value), 0)
}

/// `$1,234.50`; a currency without a well-known sign stands in front: `CHF 1,234.50`.
pub(crate) fn money(value: Option<Number>, currency: &str) -> String {
    let Some(Number(value)) = value else {
        return NONE.to_owned();
    };
    let places = match currency {
        "JPY" | "KRW" | "VND" | "CLP" | "ISK" => 0,
        _ => 2,
    };
    let sign = match currency {
        "USD" => "$".to_owned(),
        "EUR" => "€".to_owned(),
        "GBP" => "£".to_owned(),
        "JPY" => "¥".to_owned(),
        // What is no code is not repeated with every amount; the page's foot has it in full.
        other if other.trim().is_empty() || other.chars().count() > 4 => String::new(),
        other => format!("{other}\u{A0}"),
    };
    let text = decimal(value, places);
    match text.strip_prefix(MINUS) {
        Some(amount) => format!("{MINUS}{sign}{amount}"),
        None => format!("{sign}{text}"),
    }
}

/// Minutes as `52 min`, `6 h 52 min` or `3 d 4 h`.
pub(crate) fn duration(value: Option<Number>) -> String {
    let Some(Number(value)) = value else {
        return NONE.to_owned();
    };
    let minutes = round(value.abs(), 0);
    let sign = if value.is_sign_negative() && !minutes.is_zero() {
        MINUS.to_string()
    } else {
        String::new()
    };
    let (hours, rest) = split(minutes, 60);
    if hours.is_zero() {
        return format!("{sign}{rest} min");
    }
    if hours < Decimal::from(48) {
        return format!("{sign}{hours} h {rest} min");
    }
    let (days, hours) = split(hours, 24);
    format!("{sign}{} d {hours} h", decimal(days, 0))
}

/// `1 asset`, `2 assets`
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

fn split(value: Decimal, by: u32) -> (Decimal, Decimal) {
    let by = Decimal::from(by);
    let whole = value.checked_div(by).unwrap_or_default().floor();
    (whole, value.checked_rem(by).unwrap_or_default().normalize())
}

fn round(value: Decimal, places: u32) -> Decimal {
    value.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Option<Number> {
        text.parse().ok().map(Number)
    }

    #[test]
    fn thousands_places_and_minus() {
        let of = |text: &str, places| decimal(text.parse().unwrap(), places);
        assert_eq!(of("0", 0), "0");
        assert_eq!(of("-0.04", 1), "0.0");
        assert_eq!(of("-0.05", 1), "−0.1");
        assert_eq!(of("999", 2), "999.00");
        assert_eq!(of("1234567.895", 2), "1,234,567.90");
        assert_eq!(of("-12345", 0), "−12,345");
        assert_eq!(
            of("79228162514264337593543950335", 2),
            "79,228,162,514,264,337,593,543,950,335.00"
        );
    }

    #[test]
    fn signs_and_units() {
        assert_eq!(signed("1.25".parse().unwrap(), 1), "+1.3");
        assert_eq!(signed("0.04".parse().unwrap(), 1), "0.0");
        assert_eq!(signed("-3.1".parse().unwrap(), 1), "−3.1");
        assert_eq!(percent(number("71.25")), "71.3%");
        assert_eq!(percent(None), "–");
        assert_eq!(quantity(number("12345.00")), "12,345");
        assert_eq!(quantity(number("0.25")), "0.3");
        assert_eq!(plural(1, "asset", "assets"), "1 asset");
        assert_eq!(plural(1000, "asset", "assets"), "1,000 assets");
    }

    #[test]
    fn amounts() {
        assert_eq!(money(number("5231.5"), "USD"), "$5,231.50");
        assert_eq!(money(number("-1"), "EUR"), "−€1.00");
        assert_eq!(money(number("1234"), "CHF"), "CHF\u{A0}1,234.00");
        assert_eq!(money(number("1234.4"), "JPY"), "¥1,234");
        assert_eq!(money(None, "USD"), "–");
    }

    #[test]
    fn durations() {
        for (minutes, text) in [
            ("0", "0 min"),
            ("59.4", "59 min"),
            ("60", "1 h 0 min"),
            ("412", "6 h 52 min"),
            ("2880", "2 d 0 h"),
            ("4560", "3 d 4 h"),
            ("-5", "−5 min"),
        ] {
            assert_eq!(duration(number(minutes)), text);
        }
    }

    proptest! {
        #[test]
        fn any_decimal_comes_back(mantissa in any::<i128>(), scale in 0u32..=28, places in 0u32..4) {
            let value = Decimal::from_i128_with_scale(mantissa % (1 << 96), scale);
            let back = decimal(value, places).replace(',', "").replace(MINUS, "-");
            prop_assert_eq!(back.parse::<Decimal>().unwrap(), round(value, places));
            for text in [duration(Some(Number(value))), quantity(Some(Number(value))), signed(value, places)] {
                prop_assert!(!text.is_empty());
            }
        }
    }
}
