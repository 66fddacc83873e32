//! What is published about the fourteen files: headers, rows, readings. Scientific Data 2020,
//! doi 10.1038/s41597-020-00582-3; the counts are those of the data set's files.

/// Facts of one published file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// 2018 (from 1 July) or 2019.
    pub year: u16,
    /// 1 to 7.
    pub floor: u8,
    /// Rows with a valid timestamp, one a minute from the year's first minute on.
    pub rows: u32,
    /// Cells that hold a value, over all data columns.
    pub readings: u64,
}

/// Minutes of 1 July to 31 December 2018.
const MINUTES_2018: u32 = 264_960;
/// Minutes of 2019.
const MINUTES_2019: u32 = 525_600;
/// Minutes of 2019 up to 22 October 13:27, where floor 6 stops.
const MINUTES_2019_FLOOR6: u32 = 424_168;

/// All files, by year and floor.
pub const FILES: [Published; 14] = [
    published(2018, 1, MINUTES_2018, 2_872_969),
    published(2018, 2, MINUTES_2018, 7_266_158),
    published(2018, 3, MINUTES_2018, 4_592_826),
    published(2018, 4, MINUTES_2018, 5_058_368),
    published(2018, 5, MINUTES_2018, 5_607_965),
    published(2018, 6, MINUTES_2018, 5_719_494),
    published(2018, 7, MINUTES_2018, 5_731_023),
    published(2019, 1, MINUTES_2019, 5_773_735),
    published(2019, 2, MINUTES_2019, 17_569_212),
    published(2019, 3, MINUTES_2019, 13_553_692),
    published(2019, 4, MINUTES_2019, 13_242_331),
    published(2019, 5, MINUTES_2019, 13_146_207),
    published(2019, 6, MINUTES_2019_FLOOR6, 10_982_825),
    published(2019, 7, MINUTES_2019, 13_786_990),
];

const fn published(year: u16, floor: u8, rows: u32, readings: u64) -> Published {
    Published {
        year,
        floor,
        rows,
        readings,
    }
}

/// Header cells of a floor's files without `Date`, in order; the same in both years.
#[must_use]
pub fn headers(floor: u8) -> Vec<String> {
    zones(floor)
        .iter()
        .enumerate()
        .flat_map(|(i, zone)| zone.headers(i + 1))
        .collect()
}

/// Devices of one zone; they stand in this order in the header.
struct Zone {
    air_conditioners: u8,
    plug: bool,
    multisensor: bool,
}

const fn zone(air_conditioners: u8, plug: bool, multisensor: bool) -> Zone {
    Zone {
        air_conditioners,
        plug,
        multisensor,
    }
}

impl Zone {
    fn headers(&self, number: usize) -> Vec<String> {
        let mut devices: Vec<String> = (1..=self.air_conditioners)
            .map(|k| format!("AC{k}(kW)"))
            .collect();
        devices.push("Light(kW)".to_owned());
        if self.plug {
            devices.push("Plug(kW)".to_owned());
        }
        if self.multisensor {
            devices.extend(["S1(degC)", "S1(RH%)", "S1(lux)"].map(str::to_owned));
        }
        devices
            .into_iter()
            .map(|device| format!("z{number}_{device}"))
            .collect()
    }
}

fn zones(floor: u8) -> &'static [Zone] {
    const FLOOR1: [Zone; 4] = [
        zone(0, true, false),
        zone(4, true, false),
        zone(0, true, false),
        zone(0, false, false),
    ];
    const FLOOR2: [Zone; 4] = [
        zone(1, true, true),
        zone(14, true, true),
        zone(0, true, true),
        zone(1, true, true),
    ];
    // The published order of floor 6's zone 4 is inferred from the others'.
    const FLOOR6: [Zone; 5] = [
        zone(1, true, true),
        zone(1, true, true),
        zone(0, true, false),
        zone(4, true, true),
        zone(1, true, true),
    ];
    const OTHERS: [Zone; 5] = [
        zone(4, true, true),
        zone(1, true, true),
        zone(0, true, false),
        zone(1, true, true),
        zone(1, true, true),
    ];
    match floor {
        1 => &FLOOR1,
        2 => &FLOOR2,
        6 => &FLOOR6,
        _ => &OTHERS,
    }
}
