//! Names in the CU-BEMS style: what a column header says about its sensor.
//!
//! The same header occurs on every floor and a multisensor has three columns, so a sensor is identified by floor,
//! zone, device *and* unit. Files of other sources are named by their file and their header.

/// Longest sensor identifier that [`sensor_id`] returns, in bytes.
pub const SENSOR_ID_MAX: usize = 50;

/// One data column of a wide file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Index of the column in the file, the time column included.
    pub column: usize,
    /// The header as written, trimmed.
    pub header: String,
    /// Zone of a CU-BEMS header (`z2_…` → 2).
    pub zone: Option<i32>,
    /// Device of a CU-BEMS header (`AC11`); of any other, the header without its unit.
    pub device: String,
    /// Text of the trailing parentheses (`kW`, `RH%`).
    pub unit: Option<String>,
    /// `HVAC`, `lighting`, `electrical`, `environment`, or none where the header does not tell.
    pub equipment_type: Option<&'static str>,
    /// Floor, where the header itself names it (`Floor3`).
    pub floor: Option<i32>,
}

impl Channel {
    /// Reads the header cell of `column`. Every text is accepted: an unknown form gives a channel without zone.
    #[must_use]
    pub fn parse(column: usize, header: &str) -> Self {
        let header = header.trim();
        let (name, unit) = split_unit(header);
        if let Some((zone, device, equipment)) = cu_bems_name(name)
            && unit.is_some()
        {
            return Self {
                column,
                header: header.to_owned(),
                zone: Some(zone),
                device: device.to_owned(),
                unit: unit.map(str::to_owned),
                equipment_type: Some(equipment),
                floor: None,
            };
        }
        let floor = strip_prefix_ignore_case(name, "floor").and_then(floor_number);
        Self {
            column,
            header: header.to_owned(),
            zone: None,
            device: name.to_owned(),
            unit: unit.map(str::to_owned),
            equipment_type: generic_equipment(name, unit, floor.is_some()),
            floor,
        }
    }
}

/// `name(unit)` → name and unit; the unit is absent where there are no trailing, non-empty parentheses.
fn split_unit(header: &str) -> (&str, Option<&str>) {
    let parts = header
        .strip_suffix(')')
        .and_then(|head| head.rsplit_once('('));
    match parts {
        Some((name, unit)) if !name.trim().is_empty() && !unit.trim().is_empty() => {
            (name.trim(), Some(unit.trim()))
        }
        _ => (header, None),
    }
}

/// `z2_AC11` → (2, `AC11`, `HVAC`).
fn cu_bems_name(name: &str) -> Option<(i32, &str, &'static str)> {
    let (zone, device) = name.strip_prefix('z')?.split_once('_')?;
    let zone = digits(zone)?;
    let equipment = match device {
        "Light" => "lighting",
        "Plug" => "electrical",
        _ if device
            .strip_prefix("AC")
            .is_some_and(|n| digits(n).is_some()) =>
        {
            "HVAC"
        }
        _ if device
            .strip_prefix('S')
            .is_some_and(|n| digits(n).is_some()) =>
        {
            "environment"
        }
        _ => return None,
    };
    Some((zone, device, equipment))
}

fn generic_equipment(name: &str, unit: Option<&str>, is_floor: bool) -> Option<&'static str> {
    let name = name.to_lowercase();
    let unit = unit.map(str::to_lowercase);
    let unit = unit.as_deref().unwrap_or_default();
    let names = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if is_floor
        || matches!(unit, "kw" | "w" | "kwh")
        || names(&["power", "load", "energy", "meter"])
    {
        Some("electrical")
    } else if matches!(unit, "degc" | "°c" | "rh%" | "lux")
        || names(&["degc", "°c", "rh%", "lux", "temperature", "humidity"])
    {
        Some("environment")
    } else {
        None
    }
}

/// The floor that a CU-BEMS file name tells: `2018Floor7.csv` → 7.
#[must_use]
pub fn floor_from_file_name(name: &str) -> Option<i32> {
    let lower = name.to_ascii_lowercase();
    lower.match_indices("floor").find_map(|(at, word)| {
        let rest = &lower[at + word.len()..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        floor_number(&rest[..end])
    })
}

/// Three digits at most: a longer number after "floor" is a year or a serial number.
fn floor_number(text: &str) -> Option<i32> {
    (text.len() <= 3).then(|| digits(text)).flatten()
}

fn digits(text: &str) -> Option<i32> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

/// Identifier of a channel: `F{floor}.z{zone}.{device}.{unit}` for a CU-BEMS channel of a known floor, otherwise
/// `{prefix}.` and the rest (for a generic header, the header without unit).
///
/// The result has 1 to [`SENSOR_ID_MAX`] bytes of `[A-Za-z0-9_.-]`, plus `~` and 8 hexadecimal digits of a hash of
/// the whole name where it was too long or held characters that had to be replaced: such names stay distinct.
#[must_use]
pub fn sensor_id(prefix: &str, floor: Option<i32>, channel: &Channel) -> String {
    let Some(zone) = channel.zone else {
        return safe_id(&format!("{prefix}.{}", channel.device));
    };
    let unit: String = channel
        .unit
        .iter()
        .flat_map(|u| u.chars())
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let place = floor
        .or(channel.floor)
        .map_or_else(|| prefix.to_owned(), |floor| format!("F{floor}"));
    safe_id(&format!("{place}.z{zone}.{}.{unit}", channel.device))
}

fn safe_id(name: &str) -> String {
    let mut lossy = false;
    let mut id: String = name
        .chars()
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '.' | '-' => c,
            // A blank in a header is common and carries nothing: it does not cost the name a hash.
            ' ' => '_',
            _ => {
                lossy = true;
                '_'
            }
        })
        .collect();
    if lossy || id.len() > SENSOR_ID_MAX {
        id.truncate(SENSOR_ID_MAX - 9);
        id.push_str(&format!("~{:08x}", fnv1a(name.as_bytes())));
    }
    id
}

/// FNV-1a, 64 bits folded to 32: stable over versions and machines, as identifiers must be.
fn fnv1a(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    ((hash >> 32) ^ (hash & 0xffff_ffff)) as u32
}

/// The file stem without trailing dates, so that successive files of one meter continue the same sensor:
/// `one_minute_power_2016-01` → `one_minute_power`. Never empty.
#[must_use]
pub fn source_prefix(file_stem: &str) -> &str {
    let mut rest = file_stem.trim();
    while let Some(shorter) = strip_date(rest) {
        rest = shorter;
        // "2018-07_to_2019-06": the word belongs to the dates only once one of them is gone.
        if let Some(head) = rest
            .strip_suffix("to")
            .filter(|head| head.ends_with(SEPARATORS))
        {
            rest = head.trim_end_matches(SEPARATORS);
        }
    }
    match (rest, file_stem.trim()) {
        ("", "") => "source",
        ("", whole) => whole,
        _ => rest,
    }
}

const SEPARATORS: [char; 4] = ['_', '-', '.', ' '];

/// Removes one trailing `YYYY`, `YYYY-MM` or `YYYY-MM-DD` (any or no separators inside) and the separator before it.
fn strip_date(text: &str) -> Option<&str> {
    let tail = text.trim_end_matches(|c: char| c.is_ascii_digit() || SEPARATORS.contains(&c));
    // The longest date first: of "x_2018_07" the month alone is no date.
    text.char_indices()
        .skip_while(|&(at, _)| at < tail.len())
        .filter(|&(at, c)| {
            c.is_ascii_digit()
                && (at == 0 || text[..at].ends_with(SEPARATORS))
                && is_date(&text[at..])
        })
        .map(|(at, _)| text[..at].trim_end_matches(SEPARATORS))
        .next()
}

fn is_date(text: &str) -> bool {
    let number = |digits: &str| digits.parse::<u32>().unwrap_or(0);
    let plain: String = text.chars().filter(char::is_ascii_digit).collect();
    let shape: Vec<usize> = text.split(SEPARATORS).map(str::len).collect();
    matches!(shape[..], [4 | 6 | 8] | [4, 2] | [4, 2, 2])
        && (1970..2100).contains(&number(&plain[..4]))
        && (plain.len() < 6 || (1..=12).contains(&number(&plain[4..6])))
        && (plain.len() < 8 || (1..=31).contains(&number(&plain[6..8])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(prefix: &str, floor: Option<i32>, header: &str) -> String {
        sensor_id(prefix, floor, &Channel::parse(1, header))
    }

    #[test]
    fn cu_bems_headers() {
        for (header, zone, device, unit, equipment) in [
            ("z2_AC11(kW)", 2, "AC11", "kW", "HVAC"),
            ("z1_S1(RH%)", 1, "S1", "RH%", "environment"),
            ("z4_Light(kW)", 4, "Light", "kW", "lighting"),
            ("z3_Plug(kW)", 3, "Plug", "kW", "electrical"),
        ] {
            let c = Channel::parse(5, header);
            assert_eq!(
                (
                    c.column,
                    c.zone,
                    c.device.as_str(),
                    c.unit.as_deref(),
                    c.equipment_type,
                    c.floor
                ),
                (5, Some(zone), device, Some(unit), Some(equipment), None)
            );
        }
        assert_eq!(id("x", Some(2), "z1_S1(RH%)"), "F2.z1.S1.RH");
        assert_eq!(id("x", None, "z2_AC11(kW)"), "x.z2.AC11.kW");
    }

    #[test]
    fn generic_headers() {
        let floor = Channel::parse(3, "Floor3");
        assert_eq!(
            (floor.floor, floor.equipment_type),
            (Some(3), Some("electrical"))
        );
        let equipment = |header| Channel::parse(1, header).equipment_type;
        assert_eq!(equipment("Total POWER"), Some("electrical"));
        assert_eq!(equipment("x (kWh)"), Some("electrical"));
        assert_eq!(equipment("roof(°C)"), Some("environment"));
        assert_eq!(equipment("Humidity"), Some("environment"));
        assert_eq!(equipment("state"), None);
        assert_eq!(Channel::parse(1, "a()").unit, None);
        assert_eq!(
            id("one_minute_power", None, "Power"),
            "one_minute_power.Power"
        );
        assert_eq!(id("m", Some(4), "Total power (kW)"), "m.Total_power");
    }

    #[test]
    fn file_names() {
        assert_eq!(floor_from_file_name("2018Floor7.csv"), Some(7));
        assert_eq!(floor_from_file_name("cham5_floor_hourly_2018-07.csv"), None);
        assert_eq!(floor_from_file_name("floor2018.csv"), None);
        for (stem, prefix) in [
            ("one_minute_power_2016-01", "one_minute_power"),
            ("cham5_floor_hourly_2018-07_2019-06", "cham5_floor_hourly"),
            ("meter_2018_07_01_to_2018_07_31", "meter"),
            ("meter_20180701", "meter"),
            ("meter_12", "meter_12"),
            ("2018Floor1", "2018Floor1"),
            ("2016-01", "2016-01"),
            ("", "source"),
        ] {
            assert_eq!(source_prefix(stem), prefix, "{stem}");
        }
    }

    #[test]
    fn long_names_stay_distinct() {
        let long = "a".repeat(60);
        let (a, b) = (
            id("p", None, &format!("{long}1")),
            id("p", None, &format!("{long}2")),
        );
        assert_eq!(a.len(), SENSOR_ID_MAX);
        assert_ne!(a, b);
        assert_ne!(id("p", None, "é"), id("p", None, "è"));
    }

    proptest! {
        #[test]
        fn ids_are_short_and_safe(prefix in ".{0,60}", header in ".{0,80}", floor in proptest::option::of(any::<i32>())) {
            let id = id(&prefix, floor, &header);
            prop_assert!((1..=SENSOR_ID_MAX).contains(&id.len()));
            prop_assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-~".contains(&b)));
            prop_assert!(!source_prefix(&prefix).is_empty());
        }
    }
}
