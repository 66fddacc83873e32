//! Cron expressions: reading them, the calendar, and the changes of the clocks.

use super::*;
use chrono::{Datelike, Timelike};
use std::collections::{BTreeSet, HashMap};

fn error(text: &str) -> String {
    Timetable::parse_cron(text).unwrap_err().to_string()
}

/// The dates of the runs after the start of a year.
fn dates(text: &str, year: i32, count: usize) -> Vec<String> {
    let from = format!("{}-12-31T23:59:59Z", year - 1);
    let mut dates = shown(&cron(text), &from, count, &UTC);
    dates.iter_mut().for_each(|date| date.truncate(10));
    dates
}

#[test]
fn five_fields_or_six() {
    let at = "2026-01-01T00:00:00Z";
    for (text, want) in [
        ("* * * * *", "2026-01-01 00:01:00"),
        ("* * * * * *", "2026-01-01 00:00:01"),
        ("*/15 30 4 * * *", "2026-01-01 04:30:00"),
        (" 7-59/20\t5,9 * * ? ", "2026-01-01 05:07:00"),
        ("0 0 * jan-mar mon-fri", "2026-01-02 00:00:00"),
        ("0 0 ? MAR,Jun Sat-Sun", "2026-03-01 00:00:00"),
        ("@hourly", "2026-01-01 01:00:00"),
        ("@Daily", "2026-01-02 00:00:00"),
        ("@midnight", "2026-01-02 00:00:00"),
        ("@weekly", "2026-01-04 00:00:00"),
        ("@monthly", "2026-02-01 00:00:00"),
        ("@yearly", "2027-01-01 00:00:00"),
        ("@annually", "2027-01-01 00:00:00"),
    ] {
        let want = [want.to_owned()];
        assert_eq!(shown(&cron(text), at, 1, &UTC), want, "{text}");
    }
}

#[test]
fn errors_name_the_field() {
    for (text, want) in [
        (
            "",
            "a cron expression has 5 fields, or 6 with seconds first, not 0",
        ),
        (
            "* * * *",
            "a cron expression has 5 fields, or 6 with seconds first, not 4",
        ),
        (
            "0 0 0 1 1 * 2030",
            "a cron expression has 5 fields, or 6 with seconds first, not 7",
        ),
        (
            "@reboot",
            "unknown cron name \"@reboot\": expected @hourly, @daily, @weekly, @monthly or @yearly",
        ),
        (
            "0 25 * * *",
            "cannot read the hour \"25\" of the cron expression: number out of bounds",
        ),
        (
            "MON * * * *",
            "cannot read the minute \"MON\" of the cron expression: \"MON\" does not belong there",
        ),
        (
            "0 0 1,,2 * *",
            "cannot read the day of month \"1,,2\" of the cron expression: a part is empty",
        ),
    ] {
        assert_eq!(error(text), want);
    }
    for (field, texts) in [
        (
            "second",
            [
                "60 * * * * *",
                "x * * * * *",
                "L * * * * *",
                "*/0 * * * * *",
            ],
        ),
        (
            "minute",
            ["60 * * * *", "5/5 * * * *", "30-10 * * * *", "-1 * * * *"],
        ),
        (
            "hour",
            ["0 24 * * *", "0 1-2-3 * * *", "0 ? * * *", "0 1/ * * *"],
        ),
        (
            "day of month",
            ["0 0 0 * *", "0 0 32 * *", "0 0 L,LW * *", "0 0 5L * *"],
        ),
        (
            "month",
            ["0 0 * 13 *", "0 0 * 0 *", "0 0 * MON *", "0 0 * 1JAN *"],
        ),
        (
            "day of week",
            ["0 0 * * 8", "0 0 * * L", "0 0 * * 5#6", "0 0 * * +5"],
        ),
        (
            "day of week",
            [
                "0 0 * * SUNDAY",
                "0 0 * * */TUE",
                "0 0 * * W",
                "0 0 * * FRI-MON",
            ],
        ),
    ] {
        for text in texts {
            let error = error(text);
            assert!(
                error.starts_with(&format!("cannot read the {field} \"")),
                "{error}"
            );
        }
    }
}

#[test]
fn what_never_matches_is_refused() {
    for text in [
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "0 0 31 FEB ?",
        "0 0 30W 2 *",
    ] {
        let want = format!("the cron expression {text:?} never matches");
        assert_eq!(error(text), want);
    }
    // A weekday as well, and it does.
    assert_eq!(dates("0 0 30 2 MON", 2026, 1), ["2026-02-02"]);
}

#[test]
fn the_calendar() {
    for (text, year, want) in [
        // No leap year in 2100.
        (
            "0 0 29 2 *",
            2093,
            ["2096-02-29", "2104-02-29", "2108-02-29"],
        ),
        (
            "0 0 29 2 *",
            1997,
            ["2000-02-29", "2004-02-29", "2008-02-29"],
        ),
        (
            "0 0 L * *",
            2100,
            ["2100-01-31", "2100-02-28", "2100-03-31"],
        ),
        (
            "0 0 L 2 *",
            2027,
            ["2027-02-28", "2028-02-29", "2029-02-28"],
        ),
        (
            "0 0 31 * *",
            2026,
            ["2026-01-31", "2026-03-31", "2026-05-31"],
        ),
        (
            "0 0 LW * *",
            2026,
            ["2026-01-30", "2026-02-27", "2026-03-31"],
        ),
        (
            "0 0 15W * *",
            2026,
            ["2026-01-15", "2026-02-16", "2026-03-16"],
        ),
        (
            "0 0 1W * *",
            2026,
            ["2026-01-01", "2026-02-02", "2026-03-02"],
        ),
        (
            "0 0 31 12 *",
            2026,
            ["2026-12-31", "2027-12-31", "2028-12-31"],
        ),
        (
            "59 59 23 31 12 *",
            2026,
            ["2026-12-31", "2027-12-31", "2028-12-31"],
        ),
        (
            "0 0 * * 1",
            2026,
            ["2026-01-05", "2026-01-12", "2026-01-19"],
        ),
        (
            "0 0 * * 7",
            2026,
            ["2026-01-04", "2026-01-11", "2026-01-18"],
        ),
        (
            "0 0 * * 0",
            2026,
            ["2026-01-04", "2026-01-11", "2026-01-18"],
        ),
        (
            "0 0 * * SUN-MON",
            2026,
            ["2026-01-04", "2026-01-05", "2026-01-11"],
        ),
        (
            "0 0 * * 5L",
            2026,
            ["2026-01-30", "2026-02-27", "2026-03-27"],
        ),
        (
            "0 0 * * FRI#2",
            2026,
            ["2026-01-09", "2026-02-13", "2026-03-13"],
        ),
        (
            "0 0 * * MON#5",
            2026,
            ["2026-03-30", "2026-06-29", "2026-08-31"],
        ),
        // Either, where both are restricted, and both, where one begins with a star.
        (
            "0 0 13 * FRI",
            2026,
            ["2026-01-02", "2026-01-09", "2026-01-13"],
        ),
        (
            "0 0 */2 * FRI",
            2026,
            ["2026-01-09", "2026-01-23", "2026-02-13"],
        ),
        (
            "0 0 13 * */5",
            2026,
            ["2026-02-13", "2026-03-13", "2026-09-13"],
        ),
    ] {
        assert_eq!(dates(text, year, 3), want, "{text}");
    }
}

#[test]
fn fixed_hours_run_once_a_day() {
    let berlin = Rules::berlin();
    let daily = cron("30 2 * * *");
    assert_eq!(
        shown(&daily, "2026-03-27T12:00Z", 3, &berlin),
        [
            "2026-03-28 01:30:00",
            "2026-03-29 01:30:00",
            "2026-03-30 00:30:00"
        ]
    );
    assert_eq!(
        shown(&daily, "2026-10-23T12:00Z", 3, &berlin),
        [
            "2026-10-24 00:30:00",
            "2026-10-25 00:30:00",
            "2026-10-26 01:30:00"
        ]
    );
    // Asked between the two passes, and in the second.
    for at in [
        "2026-10-25T00:30Z",
        "2026-10-25T00:59Z",
        "2026-10-25T01:10Z",
    ] {
        assert_eq!(
            shown(&daily, at, 1, &berlin),
            ["2026-10-26 01:30:00"],
            "{at}"
        );
    }
    // What is skipped runs among what is not, and two times at one instant are one run.
    let mixed = cron("0,30 2,3 * * *");
    assert_eq!(
        shown(&mixed, "2026-03-28T12:00Z", 3, &berlin),
        [
            "2026-03-29 01:00:00",
            "2026-03-29 01:30:00",
            "2026-03-30 00:00:00"
        ]
    );
    let later = cron("0 20 2,3 * * *");
    assert_eq!(
        shown(&later, "2026-03-28T12:00Z", 2, &berlin),
        ["2026-03-29 01:20:00", "2026-03-30 00:20:00"]
    );
    // Half an hour: 02:20 becomes 02:50, and 02:40 comes before it.
    let crossed = cron("20,40 2 * * *");
    for at in ["2026-10-03T12:00Z", "2026-10-03T15:30Z"] {
        assert_eq!(
            shown(&crossed, at, 3, &Rules::lord_howe()),
            [
                "2026-10-03 15:40:00",
                "2026-10-03 15:50:00",
                "2026-10-04 15:20:00"
            ]
        );
    }
}

#[test]
fn all_hours_follow_elapsed_time() {
    let berlin = Rules::berlin();
    let half_past = cron("30 * * * *");
    assert_eq!(
        shown(&half_past, "2026-10-24T23:30Z", 3, &berlin),
        [
            "2026-10-25 00:30:00",
            "2026-10-25 01:30:00",
            "2026-10-25 02:30:00"
        ]
    );
    // Even hours: 02:00 is skipped in March, and shown twice in October.
    let even = cron("0 */2 * * *");
    assert_eq!(
        shown(&even, "2026-03-28T22:30Z", 3, &berlin),
        [
            "2026-03-28 23:00:00",
            "2026-03-29 02:00:00",
            "2026-03-29 04:00:00"
        ]
    );
    assert_eq!(
        shown(&even, "2026-10-24T22:30Z", 3, &berlin),
        [
            "2026-10-25 00:00:00",
            "2026-10-25 01:00:00",
            "2026-10-25 03:00:00"
        ]
    );
}

#[test]
fn wildcards_keep_their_pace() {
    for zone in [Rules::berlin(), Rules::lord_howe(), Rules::beirut()] {
        for (text, step) in [
            ("*/10 * * * *", 10 * MINUTE),
            ("*/30 * * * * *", MINUTE / 2),
        ] {
            let timetable = cron(text);
            for &(at, _) in zone
                .changes
                .iter()
                .filter(|change| (0..HOUR * 24 * 3_000).contains(&change.0))
            {
                let runs = runs(&timetable, at - 3 * HOUR - 1, at + 3 * HOUR, &zone);
                let want: Vec<i64> = (at - 3 * HOUR..=at + 3 * HOUR)
                    .step_by(usize::try_from(step).unwrap())
                    .collect();
                assert_eq!(runs, want, "{text}");
            }
        }
    }
}

/// A field that is easily matched.
#[derive(Debug, Clone)]
enum Field {
    Any,
    Step(u32),
    List(BTreeSet<u32>),
}

impl Field {
    fn matches(&self, value: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Step(step) => value.is_multiple_of(*step),
            Self::List(list) => list.contains(&value),
        }
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Step(step) => write!(f, "*/{step}"),
            Self::List(list) => {
                let list: Vec<String> = list.iter().map(u32::to_string).collect();
                f.write_str(&list.join(","))
            }
        }
    }
}

fn list(values: Range<u32>) -> impl Strategy<Value = Field> {
    prop::collection::btree_set(values, 1..4).prop_map(Field::List)
}

fn field(values: Range<u32>) -> impl Strategy<Value = Field> {
    let steps = 1..values.end;
    prop_oneof![Just(Field::Any), steps.prop_map(Field::Step), list(values)]
}

/// Second, minute, hour, days of the month and of the week; no month.
#[derive(Debug, Clone)]
struct Expression {
    fields: [Field; 3],
    date: Field,
    weekday: Field,
}

impl Expression {
    fn text(&self) -> String {
        let [second, minute, hour] = &self.fields;
        format!("{second} {minute} {hour} {} * {}", self.date, self.weekday)
    }

    fn matches(&self, local: i64) -> bool {
        let time = date_time(local).unwrap();
        let [second, minute, hour] = &self.fields;
        let in_month = self.date.matches(time.day());
        let in_week = self.weekday.matches(time.weekday().num_days_from_sunday());
        let in_both = matches!(
            (&self.date, &self.weekday),
            (Field::List(_), Field::List(_))
        );
        local % SECOND == 0
            && second.matches(time.second())
            && minute.matches(time.minute())
            && hour.matches(time.hour())
            && if in_both {
                in_month || in_week
            } else {
                in_month && in_week
            }
    }

    /// The rules word by word, looking at each moment of a window: for all hours what the clocks show; for
    /// others each local time at its one instant.
    fn runs(&self, from: i64, to: i64, grain: i64, zone: &Rules) -> BTreeSet<i64> {
        let moments = |from: i64, to: i64| (from..=to).step_by(usize::try_from(grain).unwrap());
        if !matches!(self.fields[2], Field::List(_)) {
            return moments(from + grain, to)
                .filter(|&at| self.matches(zone.local(at)))
                .collect();
        }
        let margin = DAY + HOUR;
        let mut first = HashMap::new();
        for at in moments(from - margin, to + margin) {
            first.entry(zone.local(at)).or_insert(at);
        }
        let skipped = zone.steps().flat_map(|(at, before, after)| {
            moments(at + before, at + after - grain).map(move |local| (local, local - before))
        });
        let skipped: Vec<_> = skipped
            .filter(|(local, _)| !first.contains_key(local))
            .collect();
        first
            .into_iter()
            .chain(skipped)
            .filter(|&(local, at)| at > from && at <= to && self.matches(local))
            .map(|(_, at)| at)
            .collect()
    }
}

/// One change of the clocks, on the grain, by up to three hours or a day.
fn one_change(grain: i64) -> impl Strategy<Value = Rules> {
    let by = prop_oneof![-180_i64..=180, Just(1_440), Just(-1_440)];
    (0_i64..20 * DAY / grain, -10_i64..10, by, any::<bool>()).prop_map(
        move |(at, first, by, first_pass)| Rules {
            first_pass,
            ..Rules::one(at * grain, first * HOUR, by * MINUTE)
        },
    )
}

fn expression(seconds: bool) -> impl Strategy<Value = Expression> {
    let second = if seconds {
        prop_oneof![list(0..60), (20_u32..60).prop_map(Field::Step)].boxed()
    } else {
        list(0..1).boxed()
    };
    let date = prop_oneof![3 => Just(Field::Any), 1 => list(1..22)];
    let weekday = prop_oneof![3 => Just(Field::Any), 1 => list(0..7)];
    let hour = prop_oneof![field(0..24), list(0..6)];
    (second, field(0..60), hour, date, weekday).prop_map(|(second, minute, hour, date, weekday)| {
        Expression {
            fields: [second, minute, hour],
            date,
            weekday,
        }
    })
}

/// All runs of a window, and what comes next after a moment in it.
fn compare(
    expression: &Expression,
    from: i64,
    to: i64,
    at: i64,
    grain: i64,
    zone: &Rules,
) -> Result<(), TestCaseError> {
    let timetable = cron(&expression.text());
    let want = expression.runs(from, to, grain, zone);
    let got = runs(&timetable, from, to, zone);
    prop_assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "{got:?}");
    let texts = |runs: &[i64]| -> Vec<String> {
        runs.iter()
            .map(|&run| date_time(run).unwrap().to_string())
            .collect()
    };
    let list: Vec<i64> = want.iter().copied().collect();
    prop_assert_eq!(texts(&got), texts(&list), "{}", expression.text());
    let next = timetable.next_after(at, zone).filter(|&run| run <= to);
    prop_assert_eq!(
        next,
        want.range(at + 1..).next().copied(),
        "{} after {}",
        expression.text(),
        at
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn agrees_with_a_look_at_every_minute(
        zone in one_change(MINUTE), expression in expression(false), at in 0..2 * DAY,
    ) {
        let change = zone.changes[0].0;
        compare(&expression, change - DAY, change + 2 * DAY, change - DAY / 2 + at, MINUTE, &zone)?;
    }

    #[test]
    fn agrees_with_a_look_at_every_minute_in_real_zones(
        zone in prop::sample::select(Rules::all()), change in any::<prop::sample::Index>(),
        expression in expression(false), at in 0..2 * DAY,
    ) {
        let change = zone.changes[change.index(zone.changes.len())].0;
        // Only this change matters; the others would have to be looked at minute by minute too.
        let near = |(at, ..): &(i64, i64, i64)| *at == change;
        let (_, first, after) = zone.steps().find(near).unwrap();
        let alone = Rules::one(change, first, after - first);
        compare(&expression, change - DAY, change + 2 * DAY, change - DAY / 2 + at, MINUTE, &alone)?;
    }

    #[test]
    fn the_next_is_the_same_from_anywhere_before_it(
        zone in prop::sample::select(Rules::all()), expression in expression(true), at in 0_i64..5_000, back in 0.0..1.0,
    ) {
        let timetable = cron(&expression.text());
        let at = at * DAY + 11 * HOUR;
        let next = timetable.next_after(at, &zone).unwrap();
        let between = next - 1 - ((next - 1 - at) as f64 * back) as i64;
        prop_assert_eq!(timetable.next_after(between, &zone), Some(next));
    }

    #[test]
    fn fixed_hours_run_once_for_each_date(
        zone in prop::sample::select(vec![Rules::berlin(), Rules::lord_howe(), Rules::beirut()]),
        hour in prop_oneof![0_i64..4, 0_i64..24], minute in 0_i64..60, year in 2000..2100,
    ) {
        // None of these zones skips the hour before midnight, whose runs would move to the next date.
        let timetable = cron(&format!("{minute} {hour} * * *"));
        let (from, years) = (utc(&format!("{year}-01-01T12:00Z")), 3 * 366);
        let runs = runs(&timetable, from, from + years * DAY, &zone);
        let dates: Vec<i64> = runs.iter().map(|&run| zone.local(run).div_euclid(DAY)).collect();
        prop_assert!(dates.windows(2).all(|pair| pair[1] == pair[0] + 1));
        prop_assert!(dates.len() >= 3 * 366 - 1);
        let time = hour * HOUR + minute * MINUTE;
        for (run, date) in runs.into_iter().zip(dates) {
            prop_assert_eq!(run, zone.once(date * DAY + time));
        }
    }

    #[test]
    fn anything_is_read_or_refused(
        text in prop_oneof![
            "[-0-9*/,#LWA-Z@? +]{0,20}",
            "([0-9*]{1,2}|\\*/[0-9]|[0-9]-[0-9]|[0-9],[1-3][0-9]?W?|L|[A-Z]{3}|[0-7]L|[0-7]#[0-6])( ([0-9*]{1,2}|\\*/[0-9]|[0-9]-[0-9]|[0-9],[1-3][0-9]?W?|L|[A-Z]{3}|[0-7]L|[0-7]#[0-6])){4,5}",
            ".{0,12}",
        ],
    ) {
        if let Ok(timetable) = Timetable::parse_cron(&text) {
            let run = timetable.next_after(0, &Rules::berlin());
            prop_assert!(run.is_some(), "{text:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_a_look_at_every_second(
        zone in one_change(SECOND), expression in expression(true), at in 0..6 * HOUR,
    ) {
        let change = zone.changes[0].0;
        compare(&expression, change - 3 * HOUR, change + 4 * HOUR, change - 3 * HOUR + at, SECOND, &zone)?;
    }
}
