//! Stock beside a model of it: long series of operations drawn by lot, each with its answer.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use gemba_tests::{Random, lines};
use std::collections::{HashMap, HashSet};

/// Part, variant and location, as numbers.
type Place = (usize, usize);

#[derive(Debug, Clone, Copy, Default)]
struct Stock {
    on_hand: i64,
    reserved: i64,
}

impl Stock {
    fn available(self) -> i64 {
        self.on_hand - self.reserved
    }

    fn figures(self) -> String {
        format!(
            "{} | {} | {}",
            self.on_hand,
            self.reserved,
            self.available()
        )
    }
}

#[derive(Debug, Clone, Copy)]
struct Reservation {
    place: Place,
    quantity: i64,
    open: i64,
}

#[derive(Debug, Clone)]
enum Operation {
    Reserve(u32, Place, i64),
    Release(u32, Option<(i64, u32)>),
    Consume(u32, Place, i64, Option<u32>),
    Receive(u32, Place, i64),
    Transfer(u32, Place, usize, i64),
    Count(u32, Place, i64),
}

/// The figures afterwards, or the refusal.
type Answer = std::result::Result<Vec<String>, &'static str>;

#[derive(Default)]
struct Model {
    stocks: HashMap<Place, Stock>,
    reservations: HashMap<u32, Reservation>,
    released: HashSet<(u32, u32)>,
}

impl Model {
    fn figures(&self, places: &[Place]) -> Answer {
        Ok(places
            .iter()
            .map(|place| self.stocks[place].figures())
            .collect())
    }

    fn apply(&mut self, operation: &Operation) -> Answer {
        match *operation {
            Operation::Reserve(number, place, quantity) => {
                if let Some(made) = self.reservations.get(&number) {
                    if (made.place, made.quantity) != (place, quantity) {
                        return Err("22023");
                    }
                    return self.figures(&[place]);
                }
                let stock = self.stocks.get_mut(&place).ok_or("55000")?;
                if stock.available() < quantity {
                    return Err("55000");
                }
                stock.reserved += quantity;
                self.reservations.insert(
                    number,
                    Reservation {
                        place,
                        quantity,
                        open: quantity,
                    },
                );
                self.figures(&[place])
            }
            Operation::Release(number, part) => {
                let made = self.reservations.get_mut(&number).ok_or("P0002")?;
                let released = match part {
                    Some((_, operation)) if self.released.contains(&(number, operation)) => 0,
                    Some((quantity, _)) => quantity,
                    None => made.open,
                };
                if released > made.open {
                    return Err("55000");
                }
                made.open -= released;
                let place = made.place;
                self.stocks.entry(place).or_default().reserved -= released;
                if let Some((_, operation)) = part {
                    self.released.insert((number, operation));
                }
                self.figures(&[place])
            }
            Operation::Consume(_, place, quantity, reservation) => {
                let stock = self.stocks.get_mut(&place).ok_or("55000")?;
                let there = match reservation {
                    None => stock.available(),
                    Some(number) => {
                        let made = self
                            .reservations
                            .get(&number)
                            .filter(|made| made.place == place)
                            .ok_or("P0002")?;
                        if made.open < quantity {
                            return Err("55000");
                        }
                        stock.on_hand
                    }
                };
                if there < quantity {
                    return Err("55000");
                }
                stock.on_hand -= quantity;
                if let Some(made) =
                    reservation.and_then(|number| self.reservations.get_mut(&number))
                {
                    made.open -= quantity;
                    stock.reserved -= quantity;
                }
                self.figures(&[place])
            }
            Operation::Receive(_, place, quantity) => {
                self.stocks.entry(place).or_default().on_hand += quantity;
                self.figures(&[place])
            }
            Operation::Transfer(_, place, to, quantity) => {
                if place.1 == to {
                    return Err("22023");
                }
                let source = self.stocks.get_mut(&place).ok_or("55000")?;
                if source.available() < quantity {
                    return Err("55000");
                }
                source.on_hand -= quantity;
                self.stocks.entry((place.0, to)).or_default().on_hand += quantity;
                self.figures(&[place, (place.0, to)])
            }
            Operation::Count(_, place, counted) => {
                self.stocks.entry(place).or_default().on_hand = counted;
                self.figures(&[place])
            }
        }
    }
}

const ROOMS: [&str; 3] = [AT_A, AT_B, WAREHOUSE];

fn sql(operation: &Operation) -> String {
    let thing = |what: usize| match what {
        0 => (FILTER, "NULL".to_owned()),
        1 => (BELT, "NULL".to_owned()),
        _ => (BELT, format!("'{LONG}'")),
    };
    let at = |(what, room): Place| {
        let (part, variant) = thing(what);
        (format!("'{part}', '{}'", ROOMS[room]), variant)
    };
    let call = match *operation {
        Operation::Reserve(number, place, quantity) => {
            let (place, variant) = at(place);
            format!(
                "reserve_stock({place}, {quantity}, {variant}, '{}')",
                id(number)
            )
        }
        Operation::Release(number, None) => format!("release_stock('{}')", id(number)),
        Operation::Release(number, Some((quantity, operation))) => {
            format!(
                "release_stock('{}', {quantity}, '{}')",
                id(number),
                id(operation)
            )
        }
        Operation::Consume(number, place, quantity, reservation) => {
            let (place, variant) = at(place);
            let reservation =
                reservation.map_or("NULL".to_owned(), |number| format!("'{}'", id(number)));
            format!(
                "consume_part({place}, {quantity}, {variant}, {reservation}, operation => '{}')",
                id(number)
            )
        }
        Operation::Receive(number, place, quantity) => {
            let (place, variant) = at(place);
            format!(
                "receive_stock({place}, {quantity}, {variant}, '{}')",
                id(number)
            )
        }
        Operation::Transfer(number, place, to, quantity) => {
            let (place, variant) = at(place);
            format!(
                "transfer_stock({place}, '{}', {quantity}, {variant}, '{}')",
                ROOMS[to],
                id(number)
            )
        }
        Operation::Count(number, place, counted) => {
            let (place, variant) = at(place);
            format!(
                "count_stock({place}, {counted}, {variant}, '{}')",
                id(number)
            )
        }
    };
    format!(
        "SELECT quantity_on_hand, quantity_reserved, quantity_available FROM cloudwatcher.{call}"
    )
}

fn drawn(random: &mut Random, step: u32) -> Operation {
    let place = (random.below(3) as usize, random.below(3) as usize);
    let quantity = 1 + random.below(6) as i64;
    let earlier = random.below(u64::from(step) + 1) as u32;
    match random.below(9) {
        0 => Operation::Receive(step, place, quantity),
        1 => Operation::Count(step, place, random.below(20) as i64),
        2 => Operation::Transfer(step, place, random.below(3) as usize, quantity),
        3 => Operation::Consume(step, place, quantity, None),
        4 => Operation::Consume(step, place, quantity, Some(earlier)),
        5 => Operation::Release(earlier, None),
        6 => Operation::Release(earlier, Some((quantity, step))),
        _ => Operation::Reserve(step, place, quantity),
    }
}

/// Where an operation happens, of which the figures are known.
fn places(model: &Model, operation: &Operation) -> Vec<Place> {
    match *operation {
        Operation::Release(number, _) => model
            .reservations
            .get(&number)
            .map(|made| made.place)
            .into_iter()
            .collect(),
        Operation::Transfer(_, place, to, _) => vec![place, (place.0, to)],
        Operation::Reserve(_, place, _)
        | Operation::Consume(_, place, _, _)
        | Operation::Receive(_, place, _)
        | Operation::Count(_, place, _) => vec![place],
    }
}

#[test]
fn it_goes_as_in_the_model() -> Result<()> {
    let (_db, mut client) = organised("stock_model")?;
    for seed in 0..3 {
        let mut random = Random::new(seed);
        let mut model = Model::default();
        let mut done: Vec<Operation> = Vec::new();
        let (mut went, mut refused) = (0, 0);
        for step in 0..400 {
            // Now and then something is repeated that was done before: the figures of today, and nothing changes.
            let again = !done.is_empty() && random.one_in(6);
            let operation = if again {
                random.pick(&done).clone()
            } else {
                drawn(&mut random, step)
            };
            let expected = match (&operation, again) {
                (Operation::Release(..) | Operation::Reserve(..), _) | (_, false) => {
                    model.apply(&operation)
                }
                (_, true) => model.figures(&places(&model, &operation)),
            };
            let sql = sql(&operation);
            let found: Answer = match as_service(&mut client, |tx| tx.simple_query(&sql)) {
                Ok(messages) => Ok(lines(&messages)),
                Err(error) => match error.code().map_or("", |code| code.code()) {
                    "55000" => Err("55000"),
                    "P0002" => Err("P0002"),
                    "22023" => Err("22023"),
                    _ => panic!("{error:?}\nin {sql}"),
                },
            };
            assert_eq!(
                found, expected,
                "seed {seed}, step {step}, again: {again}: {sql}"
            );
            if found.is_ok() {
                went += 1;
                if !again {
                    done.push(operation);
                }
            } else {
                refused += 1;
            }
        }
        assert!(went > 100 && refused > 50, "{went}, {refused}");
        stock_adds_up(&mut client);
        client.batch_execute(
            "SET session_replication_role = replica;
             TRUNCATE cloudwatcher.inventory, cloudwatcher.stock_movements, cloudwatcher.stock_reservations, cloudwatcher.part_consumption;
             SET session_replication_role = origin",
        )?;
    }
    Ok(())
}
