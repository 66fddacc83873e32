//! A table of counts in memory of fixed size: who has queried what how often.
//!
//! It lies in memory that processes share, so it has neither pointers nor an allocator, and everything in it is valid
//! whatever its bits. Places are found by probing one after the other from a hash on; what is taken away makes room
//! by building the rest again.

/// Who does what, and in which hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Key {
    pub database: u32,
    pub table: u32,
    pub role: u32,
    /// Hours since the epoch of whoever counts.
    pub hour: i32,
    /// All zero where nobody is logged in.
    pub user: [u8; 16],
    pub operation: u32,
}

/// How often, and when first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    pub queries: u64,
    pub first_at: i64,
    pub last_at: i64,
}

impl Count {
    pub fn one(at: i64) -> Self {
        Self {
            queries: 1,
            first_at: at,
            last_at: at,
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.queries = self.queries.saturating_add(other.queries);
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
    }
}

/// A place; empty when nothing was counted.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Place {
    pub key: Key,
    pub count: Count,
}

impl Place {
    pub const EMPTY: Self = Self {
        key: Key {
            database: 0,
            table: 0,
            role: 0,
            hour: 0,
            user: [0; 16],
            operation: 0,
        },
        count: Count {
            queries: 0,
            first_at: 0,
            last_at: 0,
        },
    };

    fn is_empty(&self) -> bool {
        self.count.queries == 0
    }
}

/// Adds a count. Returns whether there was room for it: an eighth of the places stays empty, or finding one would
/// take ever longer.
pub fn add(places: &mut [Place], taken: &mut u32, key: &Key, count: &Count) -> bool {
    let size = places.len();
    if size == 0 || count.queries == 0 {
        return count.queries == 0;
    }
    let start = hash(key) as usize % size;
    for step in 0..size {
        let place = &mut places[(start + step) % size];
        if place.is_empty() {
            if *taken as usize >= size - size / 8 {
                return false;
            }
            *taken += 1;
            *place = Place {
                key: *key,
                count: *count,
            };
            return true;
        }
        if place.key == *key {
            place.count.add(count);
            return true;
        }
    }
    false
}

/// Everything that one database has.
pub fn of_database(places: &[Place], database: u32) -> Vec<Place> {
    places
        .iter()
        .filter(|place| !place.is_empty() && place.key.database == database)
        .copied()
        .collect()
}

/// Takes away what was seen of some places; what was counted since stays.
pub fn subtract(places: &mut [Place], taken: &mut u32, seen: &[Place]) {
    let mut rest: Vec<Place> = places
        .iter()
        .filter(|place| !place.is_empty())
        .copied()
        .collect();
    let gone: std::collections::HashMap<Key, u64> =
        seen.iter().fold(Default::default(), |mut gone, place| {
            *gone.entry(place.key).or_default() += place.count.queries;
            gone
        });
    for place in &mut rest {
        if let Some(queries) = gone.get(&place.key) {
            place.count.queries = place.count.queries.saturating_sub(*queries);
        }
    }
    places.fill(Place::EMPTY);
    *taken = 0;
    for place in rest {
        add(places, taken, &place.key, &place.count);
    }
}

/// FNV-1a over the words of a key.
fn hash(key: &Key) -> u64 {
    let user = u128::from_ne_bytes(key.user);
    let words = [
        u64::from(key.database) << 32 | u64::from(key.table),
        u64::from(key.role) << 32 | u64::from(key.hour as u32),
        user as u64,
        (user >> 64) as u64,
        u64::from(key.operation),
    ];
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
        (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The product's low bits know only low bits.
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(number: u32) -> Key {
        Key {
            database: number % 3,
            table: number / 3 % 5,
            role: 10,
            hour: -1,
            user: [number as u8; 16],
            operation: number % 4,
        }
    }

    fn counts(places: &[Place]) -> HashMap<Key, u64> {
        places
            .iter()
            .filter(|place| !place.is_empty())
            .map(|place| (place.key, place.count.queries))
            .collect()
    }

    #[test]
    fn it_fills_up_and_says_so() {
        let mut places = [Place::EMPTY; 64];
        let mut taken = 0;
        let accepted = (0..100)
            .filter(|number| add(&mut places, &mut taken, &key(*number), &Count::one(5)))
            .count();
        assert_eq!((accepted, taken), (56, 56));
        // What is there already goes on being counted.
        assert!(add(&mut places, &mut taken, &key(0), &Count::one(7)));
        let place = places.iter().find(|place| place.key == key(0)).copied();
        let count = place.map(|place| place.count);
        assert_eq!(
            count,
            Some(Count {
                queries: 2,
                first_at: 5,
                last_at: 7
            })
        );
        // And what is taken away makes room.
        let seen = of_database(&places, 0);
        subtract(&mut places, &mut taken, &seen);
        assert_eq!(taken as usize, 56 - seen.len());
        assert!(of_database(&places, 0).is_empty());
        assert!(add(&mut places, &mut taken, &key(99), &Count::one(7)));
    }

    proptest! {
        #[test]
        fn it_counts_like_a_map(steps in prop::collection::vec((0u32..40, 0u32..10), 0..300)) {
            let mut places = [Place::EMPTY; 64];
            let mut taken = 0;
            let mut map: HashMap<Key, u64> = HashMap::new();
            let mut seen: Vec<Place> = Vec::new();
            for (number, what) in steps {
                match what {
                    0 => {
                        subtract(&mut places, &mut taken, &seen);
                        for place in &seen {
                            let left = map.get(&place.key).copied().unwrap_or(0).saturating_sub(place.count.queries);
                            if left == 0 { map.remove(&place.key); } else { map.insert(place.key, left); }
                        }
                        seen.clear();
                    }
                    1 => seen = of_database(&places, number % 3),
                    _ => {
                        prop_assert!(add(&mut places, &mut taken, &key(number), &Count::one(1)));
                        *map.entry(key(number)).or_default() += 1;
                    }
                }
                prop_assert_eq!(counts(&places), map.clone());
                prop_assert_eq!(taken as usize, map.len());
            }
        }
    }
}
