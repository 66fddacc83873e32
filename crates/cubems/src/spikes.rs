//! Single readings that no building would give: what a check for implausible values has to find.

/// One reading out of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spike {
    /// Year of the file.
    pub year: u16,
    /// Floor of the file.
    pub floor: u8,
    /// Header of the column.
    pub header: &'static str,
    /// Row of the file, counted from 0.
    pub minute: u32,
    /// The reading, in hundredths.
    pub hundredths: u32,
}

/// The published outliers. Values are as published, and so is the minute of the first; the other minutes are chosen.
pub const SPIKES: [Spike; 4] = [
    // 2018-09-11 09:54
    Spike {
        year: 2018,
        floor: 1,
        header: "z3_Light(kW)",
        minute: 104_274,
        hundredths: 476_243,
    },
    // 2018-08-20 14:07
    Spike {
        year: 2018,
        floor: 1,
        header: "z2_AC2(kW)",
        minute: 72_847,
        hundredths: 79_872,
    },
    // 2018-09-11 09:55
    Spike {
        year: 2018,
        floor: 1,
        header: "z4_Light(kW)",
        minute: 104_275,
        hundredths: 51_201,
    },
    // 2018-07-14 03:31
    Spike {
        year: 2018,
        floor: 5,
        header: "z2_S1(degC)",
        minute: 18_931,
        hundredths: 1_083,
    },
];

/// The spikes of one column.
pub fn of(year: u16, floor: u8, header: &str) -> impl Iterator<Item = &'static Spike> {
    SPIKES
        .iter()
        .filter(move |spike| spike.year == year && spike.floor == floor && spike.header == header)
}
