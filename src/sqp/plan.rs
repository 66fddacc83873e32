//! All tables in the order in which they may run, and what keeps one from running.
//!
//! The rule stands twice: here for everybody at once, and in `sqp.claim_refresh()` for those that are looked at.
//! A table is *due* when it is enabled, its time has come and it is not parked. A parent on which it depends
//! hard is in its way unless it has succeeded since the table's own last success began, is not failing, did not
//! warn where that blocks, and has no turn of its own that comes first. A soft parent is in its way only while
//! it will run by itself now. A parent's turn moves on with each run while its child's stays, so no child
//! starves.

use crate::error::Result;
use crate::postgres::{spi, time};
use gemba_core::dag::{self, Node};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::collections::HashMap;

struct Config {
    id: i32,
    schema: String,
    table: String,
    priority: i32,
    enabled: bool,
    next: i64,
    last: Option<i64>,
    last_started: Option<i64>,
    running: bool,
    worker: Option<String>,
    run_started: Option<i64>,
    lease_expires: Option<i64>,
    attempts: i32,
    max_attempts: i32,
    parked: bool,
    blocks: bool,
    claimable: i64,
}

impl Config {
    fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// May it run, as far as it alone is concerned?
    fn goes(&self, now: i64) -> bool {
        self.enabled && self.attempts == 0 && !self.parked && self.next <= now
    }

    /// What keeps `child`, which depends hard on it, from running.
    fn obstacle(&self, child: &Self) -> Option<Obstacle> {
        let fresh = self
            .last
            .is_some_and(|last| child.last_started.is_none_or(|started| last > started));
        let first = self.enabled && self.next <= child.next;
        if self.parked {
            Some(Obstacle::Parked)
        } else if self.attempts > 0 {
            Some(Obstacle::Failing)
        } else if self.running {
            // Half of what it writes is there.
            Some(Obstacle::Before)
        } else if !fresh && !self.enabled {
            Some(Obstacle::Disabled)
        } else if self.blocks {
            Some(Obstacle::Warned)
        } else if first || !fresh {
            Some(Obstacle::Before)
        } else {
            None
        }
    }
}

/// Why a parent keeps its child from running.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// It comes first.
    Before,
    Failing,
    Parked,
    Disabled,
    Warned,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Due,
    Waiting,
    Blocked,
    BackingOff,
    Parked,
    Scheduled,
    Disabled,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Due => "due",
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::BackingOff => "backing off",
            Self::Parked => "parked",
            Self::Scheduled => "scheduled",
            Self::Disabled => "disabled",
        }
    }
}

/// A parent of a table, by its place in the list of all.
struct Parent {
    index: usize,
    hard: bool,
}

struct Plan {
    configs: Vec<Config>,
    parents: Vec<Vec<Parent>>,
    /// Of each config, whether it runs by itself now or after parents that do.
    will_run: Vec<bool>,
    states: Vec<State>,
    now: i64,
}

const CONFIGS: &str = "SELECT id, table_schema, table_name, priority, is_enabled, next_refresh_at, last_refresh_at,
       last_refresh_started_at, run_id IS NOT NULL, run_worker, run_started_at, lease_expires_at, attempts, max_attempts,
       parked_at IS NOT NULL, coalesce(last_status = 'warning' AND warning_blocks, false), claimable_at
  FROM sqp.refresh_config";
const EDGES: &str =
    "SELECT array_agg(parent_config_id), array_agg(dependent_config_id), array_agg(dependency_type = 'hard')
       FROM sqp.refresh_dependencies";

fn read_configs() -> Result<Vec<Config>> {
    spi::read_all(CONFIGS, &[], |row| {
        let at = |column| -> Result<Option<i64>> {
            Ok(row.get::<TimestampWithTimeZone>(column)?.map(time::micros))
        };
        Ok(Config {
            id: row.get(1)?.unwrap_or_default(),
            schema: row.get(2)?.unwrap_or_default(),
            table: row.get(3)?.unwrap_or_default(),
            priority: row.get(4)?.unwrap_or_default(),
            enabled: row.get(5)?.unwrap_or_default(),
            next: at(6)?.unwrap_or(i64::MAX),
            last: at(7)?,
            last_started: at(8)?,
            running: row.get(9)?.unwrap_or_default(),
            worker: row.get(10)?,
            run_started: at(11)?,
            lease_expires: at(12)?,
            attempts: row.get(13)?.unwrap_or_default(),
            max_attempts: row.get(14)?.unwrap_or_default(),
            parked: row.get(15)?.unwrap_or_default(),
            blocks: row.get(16)?.unwrap_or_default(),
            claimable: at(17)?.unwrap_or(i64::MAX),
        })
    })
}

/// `(parent, child, hard)`. As arrays, because a row for each edge would cost more than all the rest.
fn read_edges() -> Result<Vec<(i64, i64, bool)>> {
    let arrays = spi::read_row(EDGES, &[], |row| {
        Ok((
            row.get::<Vec<i32>>(1)?.unwrap_or_default(),
            row.get::<Vec<i32>>(2)?.unwrap_or_default(),
            row.get::<Vec<bool>>(3)?.unwrap_or_default(),
        ))
    })?;
    let (parents, children, hard) = arrays.unwrap_or_default();
    Ok(parents
        .into_iter()
        .zip(children)
        .zip(hard)
        .map(|((parent, child), hard)| (i64::from(parent), i64::from(child), hard))
        .collect())
}

impl Plan {
    fn new(configs: Vec<Config>, edges: &[(i64, i64, bool)], now: i64) -> (Self, dag::Order) {
        let index: HashMap<i64, usize> = configs
            .iter()
            .enumerate()
            .map(|(index, config)| (i64::from(config.id), index))
            .collect();
        let mut parents: Vec<Vec<Parent>> = Vec::new();
        parents.resize_with(configs.len(), Vec::new);
        for (parent, child, hard) in edges {
            if let (Some(&parent), Some(&child)) = (index.get(parent), index.get(child)) {
                parents[child].push(Parent {
                    index: parent,
                    hard: *hard,
                });
            }
        }
        let nodes: Vec<Node> = configs
            .iter()
            .map(|config| Node {
                id: i64::from(config.id),
                priority: config.priority,
                due: config.next,
            })
            .collect();
        let pairs: Vec<(i64, i64)> = edges.iter().map(|edge| (edge.0, edge.1)).collect();
        let order = dag::order(&nodes, &pairs);
        let mut plan = Self {
            will_run: vec![false; configs.len()],
            states: vec![State::Scheduled; configs.len()],
            configs,
            parents,
            now,
        };
        // Parents come before their children, so what is said of a parent is known.
        for place in &order.places {
            if let Some(&at) = index.get(&place.id) {
                plan.will_run[at] = plan.runs_by_itself(at);
                plan.states[at] = plan.state(at);
            }
        }
        (plan, order)
    }

    fn runs_by_itself(&self, at: usize) -> bool {
        let config = &self.configs[at];
        config.goes(self.now)
            && (config.running
                || self.parents[at].iter().all(|parent| {
                    !parent.hard
                        || self.configs[parent.index].obstacle(config).is_none()
                        || self.will_run[parent.index]
                }))
    }

    /// What keeps a due table from running: parents, and how.
    fn obstacles(&self, at: usize) -> impl Iterator<Item = (usize, Obstacle)> {
        let child = &self.configs[at];
        self.parents[at].iter().filter_map(move |parent| {
            let config = &self.configs[parent.index];
            if parent.hard {
                return Some((parent.index, config.obstacle(child)?));
            }
            let first =
                config.goes(self.now) && config.next <= child.next && self.will_run[parent.index];
            first.then_some((parent.index, Obstacle::Before))
        })
    }

    fn state(&self, at: usize) -> State {
        let config = &self.configs[at];
        if config.running {
            return State::Running;
        }
        if !config.enabled {
            return State::Disabled;
        }
        if config.parked {
            return State::Parked;
        }
        if config.next > self.now {
            return State::Scheduled;
        }
        if config.attempts > 0 && config.claimable > self.now {
            return State::BackingOff;
        }
        let mut state = State::Due;
        for (parent, obstacle) in self.obstacles(at) {
            if obstacle != Obstacle::Before || self.states[parent] == State::Blocked {
                return State::Blocked;
            }
            state = State::Waiting;
        }
        state
    }

    fn reason(&self, at: usize) -> Option<String> {
        let config = &self.configs[at];
        let text = time::instant_text;
        Some(match self.states[at] {
            State::Running => {
                let worker = config.worker.as_deref().unwrap_or("somebody");
                let started = config.run_started.map(text).unwrap_or_default();
                match config.lease_expires.filter(|end| *end <= self.now) {
                    Some(end) => format!(
                        "claimed by {worker} at {started}; the lease expired at {}, so the next claim takes it over",
                        text(end)
                    ),
                    None => format!("claimed by {worker} at {started}"),
                }
            }
            State::Disabled => "is_enabled is false".to_owned(),
            State::Parked => format!(
                "failed {} times; sqp.retry_refresh() tries it again",
                config.attempts
            ),
            State::Scheduled => format!("due at {}", text(config.next)),
            State::BackingOff => format!(
                "failed {} of {} times; tried again at {}",
                config.attempts,
                config.max_attempts,
                text(config.claimable)
            ),
            State::Due => return None,
            State::Waiting | State::Blocked => self.parents_in_the_way(at),
        })
    }

    fn parents_in_the_way(&self, at: usize) -> String {
        const MOST: usize = 5;
        let mut obstacles: Vec<_> = self.obstacles(at).collect();
        // What has to be dealt with goes first.
        obstacles.sort_by_key(|(parent, obstacle)| {
            (
                *obstacle == Obstacle::Before && self.states[*parent] != State::Blocked,
                self.configs[*parent].id,
            )
        });
        let more = obstacles.len().saturating_sub(MOST);
        let mut parts: Vec<String> = obstacles
            .iter()
            .take(MOST)
            .map(|(parent, obstacle)| {
                let name = self.configs[*parent].name();
                match obstacle {
                    Obstacle::Parked => format!("{name} is parked"),
                    Obstacle::Failing => {
                        format!("{name} failed {} times", self.configs[*parent].attempts)
                    }
                    Obstacle::Disabled => {
                        format!("{name} is disabled and was not refreshed since")
                    }
                    Obstacle::Warned => format!("{name} ended with a warning, which blocks"),
                    Obstacle::Before => match self.states[*parent] {
                        State::Scheduled => format!(
                            "waits for {name}, due at {}",
                            time::instant_text(self.configs[*parent].next)
                        ),
                        state => format!("waits for {name}, which is {}", state.text()),
                    },
                }
            })
            .collect();
        if more > 0 {
            parts.push(format!("and {more} more"));
        }
        parts.join("; ")
    }
}

/// Every registered table: parents before children, of equals the one that goes first.
#[pg_extern(schema = "sqp", volatile, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
fn refresh_plan() -> Result<
    TableIterator<
        'static,
        (
            name!(position, i32),
            name!(level, Option<i32>),
            name!(config_id, i32),
            name!(table_schema, String),
            name!(table_name, String),
            name!(priority, i32),
            name!(state, String),
            name!(reason, Option<String>),
            name!(next_refresh_at, TimestampWithTimeZone),
            name!(last_refresh_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    // Both as of one moment.
    let (configs, edges) =
        spi::with_callers_snapshot(|| -> Result<_> { Ok((read_configs()?, read_edges()?)) })?;
    let (mut plan, order) = Plan::new(configs, &edges, time::now());
    let index: HashMap<i64, usize> = plan
        .configs
        .iter()
        .enumerate()
        .map(|(index, config)| (i64::from(config.id), index))
        .collect();
    let mut rows = Vec::with_capacity(order.places.len());
    let places: Vec<_> = order
        .places
        .iter()
        .filter_map(|place| Some((index.get(&place.id).copied()?, place.level)))
        .collect();
    // Reasons name parents, so names are moved out only once all are written.
    let reasons: Vec<_> = places.iter().map(|(at, _)| plan.reason(*at)).collect();
    for (position, ((at, level), reason)) in places.into_iter().zip(reasons).enumerate() {
        let state = plan.states[at].text();
        let config = &mut plan.configs[at];
        rows.push((
            position as i32 + 1,
            level.map(|level| level as i32),
            config.id,
            std::mem::take(&mut config.schema),
            std::mem::take(&mut config.table),
            config.priority,
            state.to_owned(),
            reason,
            time::timestamptz(config.next),
            config.last.map(time::timestamptz),
        ));
    }
    Ok(TableIterator::new(rows))
}
