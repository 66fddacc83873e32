//! Sums by series and period.

use super::figure::Figure;
use crate::error::Result;
use std::collections::HashMap;
use uuid::Uuid;

/// A period that has figures: its first day, counted from 2000-01-01, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub from: i32,
    pub name: String,
}

/// The periods that anything has figures of; a key's number is its place here.
#[derive(Default)]
pub struct Keys {
    pub list: Vec<Key>,
    by_day: HashMap<i32, Vec<usize>>,
}

impl Keys {
    /// The number of a period.
    pub fn of(&mut self, from: i32, name: &str) -> usize {
        let same_day = self.by_day.entry(from).or_default();
        if let Some(number) = same_day
            .iter()
            .find(|number| self.list[**number].name == name)
        {
            return *number;
        }
        let name = name.to_owned();
        same_day.push(self.list.len());
        self.list.push(Key { from, name });
        self.list.len() - 1
    }
}

/// The sum of a base metric, and of how many numbers.
#[derive(Debug, Clone)]
pub struct Count {
    sum: Figure,
    numbers: u32,
}

impl Count {
    pub const NOTHING: Self = Self {
        sum: Figure::ZERO,
        numbers: 0,
    };

    pub fn add(&mut self, number: &Figure) -> Result<()> {
        self.numbers += 1;
        self.sum.add(number)
    }

    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.numbers += other.numbers;
        self.sum.add(&other.sum)
    }

    /// The sum, unless there is nothing in it.
    pub fn known(&self) -> Option<&Figure> {
        (self.numbers > 0).then_some(&self.sum)
    }

    /// The only number in it.
    pub fn single(&self) -> Option<&Figure> {
        (self.numbers == 1).then_some(&self.sum)
    }
}

/// Sums by series and period; of each so many base metrics.
pub struct Tally {
    /// What each series is of; without groups there is one, of nothing in particular.
    pub series: Vec<Option<Uuid>>,
    by_id: HashMap<Option<Uuid>, usize>,
    cells: HashMap<(usize, usize), usize>,
    counts: Vec<Count>,
    width: usize,
}

/// A period of a series.
pub struct Cell<'a> {
    pub series: usize,
    pub key: &'a Key,
    pub sums: &'a [Count],
}

impl Tally {
    /// For so many base metrics.
    pub fn new(width: usize, series: impl IntoIterator<Item = Option<Uuid>>) -> Self {
        let series: Vec<Option<Uuid>> = series.into_iter().collect();
        Self {
            by_id: series
                .iter()
                .enumerate()
                .map(|(number, id)| (*id, number))
                .collect(),
            series,
            cells: HashMap::new(),
            counts: Vec::new(),
            width,
        }
    }

    /// The sums of a period of a series, to be added to.
    pub fn cell(&mut self, id: Option<Uuid>, key: usize) -> &mut [Count] {
        let series = *self.by_id.entry(id).or_insert_with(|| {
            self.series.push(id);
            self.series.len() - 1
        });
        let width = self.width;
        let cell = *self.cells.entry((series, key)).or_insert_with(|| {
            self.counts
                .resize(self.counts.len() + width, Count::NOTHING);
            self.counts.len() / width.max(1) - 1
        });
        &mut self.counts[cell * width..(cell + 1) * width]
    }

    /// All periods of all series, by series and day.
    pub fn cells<'a>(&'a self, keys: &'a Keys) -> Vec<Cell<'a>> {
        let mut cells: Vec<Cell> = self
            .cells
            .iter()
            .map(|(&(series, key), &cell)| Cell {
                series,
                key: &keys.list[key],
                sums: &self.counts[cell * self.width..(cell + 1) * self.width],
            })
            .collect();
        cells.sort_unstable_by_key(|cell| (cell.series, cell.key));
        cells
    }

    /// The sums of some of its periods together.
    pub fn together<'a>(
        &self,
        cells: impl IntoIterator<Item = &'a Cell<'a>>,
    ) -> Result<Vec<Count>> {
        let mut sums = vec![Count::NOTHING; self.width];
        for cell in cells {
            for (sum, more) in sums.iter_mut().zip(cell.sums) {
                sum.merge(more)?;
            }
        }
        Ok(sums)
    }
}
