//! Is a json, which is kept as it was written, also a jsonb? That knows no zero characters, no halves of
//! characters, and no numbers that a numeric is too small for.

/// Numbers of so many digits may be too long for a numeric, or become so by their exponents.
const DIGITS: usize = 5_000;

/// Exponents of so many digits may be.
const EXPONENT: usize = 5;

/// What is nested deeper might take too much stack.
const DEPTH: usize = 1_000;

/// Says no also to some that are.
pub fn is_jsonb(text: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => match string(&text[at + 1..]) {
                Some(length) => at += length,
                None => return false,
            },
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'0'..=b'9' | b'e' | b'E' => match number(&text[at..]) {
                Some(length) => {
                    at += length;
                    continue;
                }
                None => return false,
            },
            _ => {}
        }
        at += 1;
    }
    true
}

/// How far it is to the end of a string that has begun, the quote included.
fn string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' if text.get(at + 1) == Some(&b'u') => {
                if is_odd(&text[at + 1..]) {
                    return None;
                }
                at += 2;
            }
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Some(at)
}

/// An escape, from its `u` on, that stands for no character: zero, or of those that only make one in pairs.
fn is_odd(escape: &[u8]) -> bool {
    matches!(
        escape,
        [b'u', b'0', b'0', b'0', b'0', ..] | [b'u', b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..]
    )
}

/// How long a number is that begins here, or its exponent.
fn number(text: &[u8]) -> Option<usize> {
    let digits = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    if text[0].is_ascii_digit() {
        let count = digits(0);
        return (count < DIGITS).then_some(count);
    }
    let sign = usize::from(matches!(text.get(1), Some(b'+' | b'-')));
    let count = digits(1 + sign);
    (count < EXPONENT).then_some(1 + sign + count)
}

/// The same of a text that has json somewhere in it, quoted in some way.
pub fn may_hold_jsonb(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b'u' if is_odd(&text[at..]) => return false,
            b'0'..=b'9' | b'e' | b'E' => match number(&text[at..]) {
                Some(length) => length,
                None => return false,
            },
            _ => 1,
        };
    }
    true
}
