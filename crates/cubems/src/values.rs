//! Readings of one channel: a working day's curve, weekends, and noise that varies slowly, from position alone.

use crate::random::{below, hash};
use crate::spikes;

const MINUTES_PER_DAY: u32 = 1_440;
/// Minutes between the knots of the noise.
const KNOT: u64 = 32;

/// Load at each full hour of a working day, per mille of the channel's amplitude.
const COOLING: [u16; 25] = [
    0, 0, 0, 0, 0, 40, 300, 700, 850, 900, 920, 950, 930, 940, 950, 930, 880, 700, 350, 150, 80,
    30, 0, 0, 0,
];
const OFFICE: [u16; 25] = [
    90, 80, 80, 80, 80, 100, 250, 600, 850, 900, 900, 890, 780, 850, 900, 890, 850, 650, 400, 250,
    180, 140, 110, 100, 90,
];
const DAYLIGHT: [u16; 25] = [
    20, 20, 20, 20, 20, 30, 150, 450, 700, 800, 850, 900, 900, 900, 880, 800, 700, 500, 200, 80,
    50, 40, 30, 20, 20,
];

#[derive(Clone, Copy)]
enum Kind {
    Cooling,
    Light,
    Plug,
    Temperature,
    Humidity,
    Illuminance,
    /// 2019Floor2 `z2_AC11`: it reports, and always zero.
    Idle,
}

/// The readings of one column of one file, without regard to what is missing.
pub struct Channel {
    kind: Kind,
    key: u64,
    amplitude: u64,
    spikes: Vec<(u32, u32)>,
    /// Minutes from 1 July 2018 to the file's first row, so that a sensor's curve runs on over the new year.
    offset: u32,
}

impl Channel {
    pub fn new(seed: u64, year: u16, floor: u8, header: &str, offset: u32) -> Self {
        let kind = match header.split_once('_').map_or("", |(_, device)| device) {
            "AC11(kW)" if (year, floor) == (2019, 2) => Kind::Idle,
            "Light(kW)" => Kind::Light,
            "Plug(kW)" => Kind::Plug,
            "S1(degC)" => Kind::Temperature,
            "S1(RH%)" => Kind::Humidity,
            "S1(lux)" => Kind::Illuminance,
            _ => Kind::Cooling,
        };
        let name = header
            .bytes()
            .fold(u64::from(floor), |key, byte| hash(key, u64::from(byte)));
        let key = hash(hash(seed, 2), name);
        // Such that the whole building peaks near 700 kW.
        let (least, span) = match kind {
            Kind::Cooling => (200, 1_200),
            Kind::Light => (100, 800),
            Kind::Plug => (50, 550),
            Kind::Temperature => (2_400, 300),
            Kind::Humidity => (4_800, 1_000),
            Kind::Illuminance => (15, 35),
            Kind::Idle => (0, 1),
        };
        let spikes = spikes::of(year, floor, header)
            .map(|spike| (spike.minute, spike.hundredths))
            .collect();
        Self {
            kind,
            key,
            amplitude: least + below(hash(key, u64::MAX), span),
            spikes,
            offset,
        }
    }

    /// Whether the reading has two decimals: lux are whole numbers.
    pub fn has_decimals(&self) -> bool {
        !matches!(self.kind, Kind::Illuminance)
    }

    pub fn is_spike(&self, minute: u32) -> bool {
        self.spikes.iter().any(|&(at, _)| at == minute)
    }

    /// The reading at a row of the file: hundredths, or whole lux.
    pub fn value(&self, minute: u32) -> u32 {
        if let Some(&(_, value)) = self.spikes.iter().find(|&&(at, _)| at == minute) {
            return value;
        }
        let minute = minute + self.offset;
        let (noise, jitter) = (self.noise(minute), hash(self.key, u64::from(minute)) >> 60);
        let load = |curve: &[u16; 25], weekend: u64| {
            let share = if is_weekend(minute) { weekend } else { 100 };
            self.amplitude * interpolate(curve, minute) * share * (800 + noise * 2 / 5)
                / 100_000_000
        };
        let value = match self.kind {
            Kind::Idle => 0,
            Kind::Cooling => match load(&COOLING, 25) {
                0 => 0,
                load => load + jitter,
            },
            Kind::Light => load(&OFFICE, 30) + jitter / 8,
            Kind::Plug => load(&OFFICE, 55) + jitter / 4,
            Kind::Illuminance => load(&DAYLIGHT, 60),
            Kind::Temperature => {
                self.amplitude + interpolate(&DAYLIGHT, minute) / 8 + noise * 3 / 10 + jitter / 4
            }
            Kind::Humidity => {
                self.amplitude + 900 - interpolate(&DAYLIGHT, minute) / 2 + noise * 6 / 10 + jitter
            }
        };
        value as u32
    }

    /// 0 to 1000, in straight lines from knot to knot.
    fn noise(&self, minute: u32) -> u64 {
        let (knot, within) = (u64::from(minute) / KNOT, u64::from(minute) % KNOT);
        let at = |knot| below(hash(!self.key, knot), 1_001);
        (at(knot) * (KNOT - within) + at(knot + 1) * within) / KNOT
    }
}

/// 1 July 2018 was a Sunday.
fn is_weekend(minute: u32) -> bool {
    matches!(minute / MINUTES_PER_DAY % 7, 0 | 6)
}

fn interpolate(curve: &[u16; 25], minute: u32) -> u64 {
    let minute = minute % MINUTES_PER_DAY;
    let (hour, within) = ((minute / 60) as usize, u64::from(minute % 60));
    (u64::from(curve[hour]) * (60 - within) + u64::from(curve[hour + 1]) * within) / 60
}
