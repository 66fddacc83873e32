//! How long a machine was in each state inside a window of time.
//!
//! A machine reports a state when it changes, so what it did at the opening of a window was said before it:
//! the last state before the window is carried in. Callers pass every event that began before the end of
//! the window and may reach into it, however old.
//!
//! At every instant the state in force is that of the event with the latest start among those that cover
//! it. Of two events with the same start the later one in the slice wins.
//!
//! - An event with an end covers `[at, until)`. A short stop inside a longer interval interrupts it, and
//!   the longer one resumes afterwards. With `until <= at` it covers nothing.
//! - An event without an end covers up to the start of the next event without an end. It, too, is only
//!   interrupted by those with one. The last one has no end: callers clip the window to now.
//! - Where nothing covers, the state is unknown. It is never assumed.
//!
//! All times are instants in microseconds, as in [`crate::calendar`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a machine may be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It produces.
    Running,
    /// It should, but does not: downtime.
    Stopped,
    /// A break, maintenance or a changeover that the plan has taken off the planned time.
    PlannedStop,
    /// Nothing is planned.
    Idle,
}

impl State {
    /// The word that the database stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::PlannedStop => "planned_stop",
            Self::Idle => "idle",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown machine state \"{0}\": expected running, stopped, planned_stop or idle")]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Running, Self::Stopped, Self::PlannedStop, Self::Idle]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// A machine's report that it entered a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When the state began.
    pub at: i64,
    /// When it ended, not part of it; `None` if the report did not say.
    pub until: Option<i64>,
    /// What the machine was doing.
    pub state: State,
    /// Why, as an index into the caller's list of codes.
    pub reason: Option<u32>,
}

/// A stretch of a window in one state for one reason, as long as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spell {
    /// Where it begins inside the window.
    pub from: i64,
    /// Where it ends inside the window, not part of it.
    pub to: i64,
    /// `None` if it is unknown.
    pub state: Option<State>,
    /// Index into the caller's list of codes.
    pub reason: Option<u32>,
    /// Did it begin before the window?
    pub carried_in: bool,
}

/// All spells of one state and reason together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration {
    /// `None` if it is unknown.
    pub state: Option<State>,
    /// Index into the caller's list of codes.
    pub reason: Option<u32>,
    /// Microseconds.
    pub micros: i64,
    /// How many spells began inside the window.
    pub entries: i64,
    /// Did one begin before the window?
    pub carried_in: bool,
}

/// Microseconds in each state, whatever the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Availability {
    /// Running: ISO 22400's actual production time.
    pub run: i64,
    /// Stopped: downtime.
    pub stopped: i64,
    /// Stopped as planned.
    pub planned_stop: i64,
    /// Nothing planned.
    pub idle: i64,
    /// Nothing known.
    pub unknown: i64,
}

impl Availability {
    /// The sums over the spells of a window.
    #[must_use]
    pub fn of(spells: &[Spell]) -> Self {
        let mut sums = Self::default();
        for spell in spells {
            let sum = match spell.state {
                Some(State::Running) => &mut sums.run,
                Some(State::Stopped) => &mut sums.stopped,
                Some(State::PlannedStop) => &mut sums.planned_stop,
                Some(State::Idle) => &mut sums.idle,
                None => &mut sums.unknown,
            };
            *sum = sum.saturating_add(spell.to.saturating_sub(spell.from));
        }
        sums
    }

    /// Microseconds of planned busy time: breaks, idle and unknown time are not part of it.
    #[must_use]
    pub fn planned(&self) -> i64 {
        self.run.saturating_add(self.stopped)
    }
}

/// The states of a machine in `[from, to)`, in order and without gaps. Events come in any order.
///
/// Neighbours of the same state and reason are one spell, also from different events, since to repeat a
/// state is not to enter it again. A state that resumes after an interruption is entered again. A window
/// that does not open before it closes has no spells.
#[must_use]
pub fn spells(events: &[Event], from: i64, to: i64) -> Vec<Spell> {
    // Later events can only end others past the window.
    let mut events: Vec<&Event> = events.iter().filter(|event| event.at < to).collect();
    // Stable, so that the later one in the slice wins.
    events.sort_by_key(|event| event.at);
    // Where each event ends: the open ones with the next open one.
    let mut next_open = i64::MAX;
    let mut ends: Vec<i64> = Vec::with_capacity(events.len());
    for event in events.iter().rev() {
        ends.push(event.until.unwrap_or(next_open));
        if event.until.is_none() {
            next_open = event.at;
        }
    }
    let mut sweep = Sweep::new(from, to);
    for (event, end) in events.iter().zip(ends.into_iter().rev()) {
        sweep.advance(event.at);
        sweep.begin(event, end);
    }
    sweep.advance(to);
    sweep.spells
}

/// The spells of a window by state and reason: in the order of [`State`], unknown last, and within a state
/// without a reason first, then by index.
#[must_use]
pub fn durations(spells: &[Spell]) -> Vec<Duration> {
    let mut groups = BTreeMap::new();
    for spell in spells {
        let group = groups
            .entry((spell.state.is_none(), spell.state, spell.reason))
            .or_insert(Duration {
                state: spell.state,
                reason: spell.reason,
                micros: 0,
                entries: 0,
                carried_in: false,
            });
        let micros = spell.to.saturating_sub(spell.from);
        group.micros = group.micros.saturating_add(micros);
        group.entries += i64::from(!spell.carried_in);
        group.carried_in |= spell.carried_in;
    }
    groups.into_values().collect()
}

/// Walks the line of time from its beginning, so that a spell knows where it really began.
struct Sweep<'a> {
    from: i64,
    to: i64,
    now: i64,
    /// Events begun so far and where they end, the latest start on top. One that has ended is taken off
    /// once it comes to the top, so that every event is put on and taken off once.
    begun: Vec<(&'a Event, i64)>,
    /// Where the spell at `now` began.
    since: i64,
    spells: Vec<Spell>,
    last: Option<(Option<State>, Option<u32>)>,
}

impl<'a> Sweep<'a> {
    fn new(from: i64, to: i64) -> Self {
        Self {
            from,
            to,
            now: i64::MIN,
            begun: Vec::new(),
            since: i64::MIN,
            spells: Vec::new(),
            last: None,
        }
    }

    fn begin(&mut self, event: &'a Event, end: i64) {
        if event.at < end {
            self.begun.push((event, end));
        }
    }

    /// Lets time pass, during which nothing begins.
    fn advance(&mut self, until: i64) {
        while self.now < until {
            let (end, what) = match self.begun.last() {
                Some(&(_, end)) if end <= self.now => {
                    self.begun.pop();
                    continue;
                }
                Some(&(event, end)) => (end.min(until), (Some(event.state), event.reason)),
                None => (until, (None, None)),
            };
            self.pass(end, what);
        }
    }

    /// Lets time pass in one state.
    fn pass(&mut self, end: i64, what: (Option<State>, Option<u32>)) {
        let continued = self.last == Some(what);
        if !continued {
            self.since = self.now;
            self.last = Some(what);
        }
        let (from, to) = (self.now.max(self.from), end.min(self.to));
        self.now = end;
        if from >= to {
            return;
        }
        match self.spells.last_mut() {
            Some(spell) if continued => spell.to = to,
            _ => self.spells.push(Spell {
                from,
                to,
                state: what.0,
                reason: what.1,
                carried_in: self.since < self.from,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State::{Idle, PlannedStop, Running, Stopped};
    use super::*;
    use proptest::prelude::*;

    fn open(at: i64, state: State) -> Event {
        Event {
            at,
            until: None,
            state,
            reason: None,
        }
    }

    fn closed(at: i64, until: i64, state: State) -> Event {
        Event {
            until: Some(until),
            ..open(at, state)
        }
    }

    /// From, to, state, carried in.
    fn plain(events: &[Event], from: i64, to: i64) -> Vec<(i64, i64, Option<State>, bool)> {
        spells(events, from, to)
            .into_iter()
            .map(|s| (s.from, s.to, s.state, s.carried_in))
            .collect()
    }

    #[test]
    fn words() {
        for state in [Running, Stopped, PlannedStop, Idle] {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert_eq!(PlannedStop.to_string(), "planned_stop");
        let error = "down".parse::<State>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown machine state \"down\": expected running, stopped, planned_stop or idle"
        );
        for text in ["", "Running", " idle"] {
            assert!(text.parse::<State>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_state_before_the_window_is_carried_in() {
        let events = [open(50, Stopped), open(0, Running), open(80, Running)];
        assert_eq!(
            plain(&events, 20, 100),
            [
                (20, 50, Some(Running), true),
                (50, 80, Some(Stopped), false),
                (80, 100, Some(Running), false),
            ]
        );
        // A state that begins with the window is entered in it.
        assert_eq!(plain(&events, 50, 60), [(50, 60, Some(Stopped), false)]);
        assert_eq!(plain(&events, 51, 60), [(51, 60, Some(Stopped), true)]);
    }

    #[test]
    fn what_nobody_reported_is_unknown() {
        assert_eq!(plain(&[], 0, 10), [(0, 10, None, true)]);
        let events = [closed(2, 4, Running), closed(6, 8, Stopped)];
        assert_eq!(
            plain(&events, 0, 10),
            [
                (0, 2, None, true),
                (2, 4, Some(Running), false),
                (4, 6, None, false),
                (6, 8, Some(Stopped), false),
                (8, 10, None, false),
            ]
        );
    }

    #[test]
    fn a_short_stop_interrupts_and_the_longer_interval_resumes() {
        let events = [
            closed(0, 100, Running),
            closed(40, 50, Stopped),
            closed(45, 47, PlannedStop),
        ];
        assert_eq!(
            plain(&events, 46, 110),
            [
                (46, 47, Some(PlannedStop), true),
                (47, 50, Some(Stopped), false),
                (50, 100, Some(Running), false),
                (100, 110, None, false),
            ]
        );
    }

    #[test]
    fn an_open_event_ends_with_the_next_open_one() {
        let events = [
            open(0, Running),
            closed(10, 20, Stopped),
            open(30, Idle),
            // Cover nothing, and change nothing.
            closed(40, 40, Running),
            closed(50, 45, Running),
        ];
        assert_eq!(
            plain(&events, 0, 60),
            [
                (0, 10, Some(Running), false),
                (10, 20, Some(Stopped), false),
                (20, 30, Some(Running), false),
                (30, 60, Some(Idle), false),
            ]
        );
        assert_eq!(plain(&events, 55, 60), [(55, 60, Some(Idle), true)]);
        // The last one has no end.
        let endless = [open(0, Running)];
        assert_eq!(
            plain(&endless, i64::MAX - 1, i64::MAX),
            [(i64::MAX - 1, i64::MAX, Some(Running), true)]
        );
    }

    #[test]
    fn of_equal_starts_the_later_in_the_slice_wins() {
        let (stop, run) = (closed(0, 10, Stopped), closed(0, 5, Running));
        assert_eq!(plain(&[run, stop], 0, 10), [(0, 10, Some(Stopped), false)]);
        assert_eq!(
            plain(&[stop, run], 0, 10),
            [(0, 5, Some(Running), false), (5, 10, Some(Stopped), false)]
        );
        assert_eq!(
            plain(&[open(0, Idle), closed(0, 5, Running)], 0, 9),
            [(0, 5, Some(Running), false), (5, 9, Some(Idle), false)]
        );
        // The first of two open ones ends where it starts.
        assert_eq!(
            plain(&[open(0, Idle), open(0, Running)], 0, 9),
            [(0, 9, Some(Running), false)]
        );
    }

    #[test]
    fn a_repeated_report_is_no_new_entry() {
        let heartbeat: Vec<_> = (0..10).map(|n| open(n * 10, Running)).collect();
        assert_eq!(plain(&heartbeat, 5, 95), [(5, 95, Some(Running), true)]);
        assert_eq!(plain(&heartbeat, 10, 95), [(10, 95, Some(Running), true)]);
        // Another reason is another spell.
        let mut events = [open(0, Stopped), open(10, Stopped), open(20, Stopped)];
        events[1].reason = Some(7);
        assert_eq!(spells(&events, 0, 30).len(), 3);
    }

    #[test]
    fn windows_without_length_are_empty() {
        for (from, to) in [(5, 5), (6, 5), (i64::MAX, i64::MIN)] {
            assert_eq!(spells(&[open(0, Running)], from, to), []);
        }
        assert_eq!(durations(&[]), []);
    }

    #[test]
    fn durations_are_grouped_and_ordered() {
        let mut events = [
            open(10, Stopped),
            open(20, Running),
            open(30, Stopped),
            open(40, Stopped),
            open(50, Running),
        ];
        events[0].reason = Some(2);
        events[2].reason = Some(1);
        let of = |state, reason, micros, entries, carried_in| Duration {
            state,
            reason,
            micros,
            entries,
            carried_in,
        };
        let spells = spells(&events, 5, 60);
        assert_eq!(
            durations(&spells),
            [
                of(Some(Running), None, 20, 2, false),
                of(Some(Stopped), None, 10, 1, false),
                of(Some(Stopped), Some(1), 10, 1, false),
                of(Some(Stopped), Some(2), 10, 1, false),
                of(None, None, 5, 0, true),
            ]
        );
        let availability = Availability::of(&spells);
        assert_eq!(
            availability,
            Availability {
                run: 20,
                stopped: 30,
                unknown: 5,
                ..Availability::default()
            }
        );
        assert_eq!(availability.planned(), 50);
    }

    #[test]
    fn the_whole_line_does_not_overflow() {
        let events = [open(i64::MIN, Running), open(i64::MAX, Idle)];
        let spells = spells(&events, i64::MIN, i64::MAX);
        assert_eq!(durations(&spells)[0].micros, i64::MAX);
        assert_eq!(Availability::of(&spells).planned(), i64::MAX);
    }

    fn state() -> impl Strategy<Value = State> {
        prop::sample::select(vec![Running, Stopped, PlannedStop, Idle])
    }

    fn event() -> impl Strategy<Value = Event> {
        let until = prop::option::of(-2_i64..25);
        (0_i64..40, until, state(), prop::option::of(0_u32..2)).prop_map(
            |(at, length, state, reason)| Event {
                at,
                until: length.map(|length| at + length),
                state,
                reason,
            },
        )
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        prop::collection::vec(event(), 0..14)
    }

    /// The rules, asked for one instant.
    fn model(events: &[Event], t: i64) -> (Option<State>, Option<u32>) {
        let starts: Vec<(i64, usize)> = events.iter().map(|e| e.at).zip(0..).collect();
        let covering = starts.iter().filter(|&&start| {
            let event = &events[start.1];
            let next = starts
                .iter()
                .filter(|&&other| other > start && events[other.1].until.is_none())
                .min();
            let end = event.until.or(next.map(|next| next.0)).unwrap_or(i64::MAX);
            event.at <= t && t < end
        });
        covering.max().map_or((None, None), |&(_, index)| {
            (Some(events[index].state), events[index].reason)
        })
    }

    proptest! {
        #[test]
        fn agrees_with_asking_each_instant(events in events(), from in -5_i64..70, width in 0_i64..70) {
            let to = from + width;
            let mut want: Vec<Spell> = Vec::new();
            for t in from..to {
                let (state, reason) = model(&events, t);
                match want.last_mut() {
                    Some(last) if (last.state, last.reason) == (state, reason) => last.to = t + 1,
                    _ => want.push(Spell {
                        from: t,
                        to: t + 1,
                        state,
                        reason,
                        carried_in: t == from && model(&events, t - 1) == (state, reason),
                    }),
                }
            }
            prop_assert_eq!(spells(&events, from, to), want);
        }

        #[test]
        fn spells_partition_the_window(events in events(), from in -5_i64..70, width in 1_i64..70) {
            let to = from + width;
            let spells = spells(&events, from, to);
            prop_assert_eq!(spells.first().map(|s| s.from), Some(from));
            prop_assert_eq!(spells.last().map(|s| s.to), Some(to));
            prop_assert!(spells.iter().all(|s| s.from < s.to));
            prop_assert!(spells.windows(2).all(|pair| pair[0].to == pair[1].from));
            prop_assert!(spells.iter().skip(1).all(|s| !s.carried_in));
            let durations = durations(&spells);
            prop_assert_eq!(durations.iter().map(|d| d.micros).sum::<i64>(), width);
            let began = spells.iter().filter(|s| !s.carried_in).count() as i64;
            prop_assert_eq!(durations.iter().map(|d| d.entries).sum::<i64>(), began);
            let all = Availability::of(&spells);
            prop_assert_eq!(all.planned() + all.planned_stop + all.idle + all.unknown, width);
        }

        #[test]
        fn windows_add_up(events in events(), from in -5_i64..70, a in 0_i64..40, b in 0_i64..40) {
            let (cut, to) = (from + a, from + a + b);
            let whole = durations(&spells(&events, from, to));
            let (first, second) = (spells(&events, from, cut), spells(&events, cut, to));
            let parts = durations(&[first, second].concat());
            prop_assert_eq!(whole.len(), parts.len());
            for (whole, part) in whole.iter().zip(&parts) {
                prop_assert_eq!((whole.state, whole.reason), (part.state, part.reason));
                prop_assert_eq!((whole.micros, whole.entries), (part.micros, part.entries));
            }
        }

        #[test]
        fn distinct_starts_come_in_any_order(
            (sorted, shuffled) in prop::collection::btree_map(0_i64..40, event(), 0..14)
                .prop_map(|events| {
                    events.into_iter().map(|(at, event)| Event { at, ..event }).collect::<Vec<_>>()
                })
                .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
            from in -5_i64..70, width in 0_i64..70,
        ) {
            prop_assert_eq!(
                spells(&sorted, from, from + width),
                spells(&shuffled, from, from + width)
            );
        }

        #[test]
        fn no_instant_panics(
            events in prop::collection::vec((any::<i64>(), any::<Option<i64>>(), state()), 0..8),
            from in any::<i64>(), to in any::<i64>(),
        ) {
            let events: Vec<_> = events
                .into_iter()
                .map(|(at, until, state)| Event { at, until, state, reason: None })
                .collect();
            let spells = spells(&events, from, to);
            let _ = (durations(&spells), Availability::of(&spells).planned());
        }
    }
}
