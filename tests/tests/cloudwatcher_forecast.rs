//! Forecasts of what will be used, from what is on record. The methods' own tests are in `crates/core`.

mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_support::*;
use postgres::Client;

/// So many days of use, one row each, where there was any: an expression of `n`, the number of the day from 0 on.
fn used(
    client: &mut Client,
    place: &str,
    variant: &str,
    days: i32,
    expression: &str,
) -> Result<()> {
    client.batch_execute(&format!(
        "INSERT INTO cloudwatcher.part_consumption (part_id, variant_id, location_id, quantity_consumed, consumption_date)
         SELECT '{BELT}', {variant}, '{place}', q, date '2025-01-06' + n
           FROM (SELECT n, ({expression})::int AS q FROM generate_series(0, {days} - 1) AS n) AS d WHERE q > 0"
    ))?;
    Ok(())
}

const COLUMNS: &str =
    "to_char(day, 'YYYY-MM-DD'), trim_scale(quantity), trim_scale(low), trim_scale(high), method";

fn forecast(rest: &str) -> String {
    format!("SELECT {COLUMNS} FROM cloudwatcher.consumption_forecast('{BELT}'{rest})")
}

#[test]
fn a_week_on_record_comes_again() -> Result<()> {
    let (_db, mut client) = organised("forecast_week")?;
    let client = &mut client;
    // Mondays 7, …, Fridays 3, nothing at weekends; 40 days from a Monday on, so the next one is a Saturday.
    used(
        client,
        AT_A,
        "NULL",
        40,
        "greatest(7 - n % 7, 2) * (n % 7 < 5)::int",
    )?;
    assert_eq!(
        asked(
            client,
            TECH_A,
            &forecast(&format!(", '{AT_A}', 4, as_of => '2025-02-14'"))
        ),
        [
            "2025-02-15 | 0 | 0 | 0 | holt-winters",
            "2025-02-16 | 0 | 0 | 0 | holt-winters",
            "2025-02-17 | 7 | 7 | 7 | holt-winters",
            "2025-02-18 | 6 | 6 | 6 | holt-winters"
        ]
    );
    // As of an earlier day, what came later is not known.
    assert_eq!(
        asked(
            client,
            TECH_A,
            &forecast(&format!(", '{AT_A}', 1, as_of => '2025-01-08'"))
        ),
        ["2025-01-09 | 6 | 3.737 | 8.263 | mean"]
    );
    assert_eq!(
        asked(
            client,
            TECH_A,
            &forecast(&format!(", '{AT_A}', 1, as_of => '2025-01-05'"))
        ),
        ["2025-01-06 | 0 | 0 | 0 | none"]
    );
    // Days without use since then are days of the history; and not much is expected of them.
    assert_eq!(
        asked(
            client,
            TECH_A,
            &format!(
                "SELECT method, quantity BETWEEN 0.01 AND 0.1 FROM cloudwatcher.consumption_forecast('{BELT}', '{AT_A}', 1, as_of => '2025-06-30')"
            )
        ),
        ["syntetos-boylan | t"]
    );
    // Only so many days are looked at, from the first use in them on: Monday to Friday.
    client.batch_execute("UPDATE cloudwatcher.settings SET forecast_days = 7")?;
    assert_eq!(
        asked(
            client,
            TECH_A,
            &format!(
                "SELECT method, quantity FROM cloudwatcher.consumption_forecast('{BELT}', '{AT_A}', 1, as_of => '2025-02-14')"
            )
        ),
        ["mean | 5.000"]
    );
    Ok(())
}

#[test]
fn places_and_variants_add_up_as_far_as_they_are_seen() -> Result<()> {
    let (_db, mut client) = organised("forecast_sums")?;
    let client = &mut client;
    for (place, variant, daily) in [
        (AT_A, "NULL".to_owned(), 1),
        (AT_A, format!("'{LONG}'"), 2),
        (AT_B, format!("'{LONG}'"), 4),
        (AT_C, format!("'{SHORT}'"), 8),
    ] {
        used(client, place, &variant, 60, &daily.to_string())?;
        // In more than one row a day, too.
        used(client, place, &variant, 60, &daily.to_string())?;
    }
    let total = |rest: &str| {
        format!(
            "SELECT count(*), trim_scale(sum(quantity)) FROM cloudwatcher.consumption_forecast('{BELT}', horizon => 10, as_of => '2025-03-06'{rest})"
        )
    };
    for (who, rest, expected) in [
        (HEAD, String::new(), "10 | 300"),
        (NORTH, String::new(), "10 | 140"),
        (TECH_A, String::new(), "10 | 60"),
        (TECH_C, String::new(), "10 | 160"),
        (HEAD, format!(", variant => '{LONG}'"), "10 | 120"),
        (TECH_A, format!(", variant => '{LONG}'"), "10 | 40"),
        (HEAD, format!(", location => '{AT_B}'"), "10 | 80"),
        (TECH_A, format!(", variant => '{SHORT}'"), "10 | 0"),
    ] {
        assert_eq!(
            asked_one(client, who, &total(&rest)),
            expected,
            "{who}{rest}"
        );
    }
    assert_eq!(
        outcomes(client, &forecast("")),
        [
            "42501: anon",
            "P0002: stranger retired",
            "30: viewer a b c north south head admin service"
        ]
    );
    assert_eq!(
        outcomes(client, &forecast(&format!(", '{AT_A}'"))),
        [
            "42501: anon",
            "P0002: stranger retired b c south",
            "30: viewer a north head admin service"
        ]
    );
    Ok(())
}

#[test]
fn every_argument_has_its_error() -> Result<()> {
    let (_db, mut client) = organised("forecast_errors")?;
    let client = &mut client;
    for (call, code) in [
        ("consumption_forecast(NULL)".to_owned(), "22004"),
        (format!("consumption_forecast('{NOTHING}')"), "P0002"),
        (
            format!("consumption_forecast('{FILTER}', '{NOTHING}')"),
            "P0002",
        ),
        (
            format!("consumption_forecast('{FILTER}', variant => '{LONG}')"),
            "P0002",
        ),
        (
            format!("consumption_forecast('{FILTER}', horizon => NULL)"),
            "22004",
        ),
        (
            format!("consumption_forecast('{FILTER}', horizon => 0)"),
            "22023",
        ),
        (
            format!("consumption_forecast('{FILTER}', horizon => -1)"),
            "22023",
        ),
        (
            format!("consumption_forecast('{FILTER}', horizon => 367)"),
            "22023",
        ),
        (
            format!("consumption_forecast('{FILTER}', as_of => 'infinity')"),
            "22023",
        ),
        (
            format!("consumption_forecast('{FILTER}', as_of => '-infinity')"),
            "22023",
        ),
        (
            format!("consumption_forecast('{FILTER}', as_of => current_date + 2)"),
            "22023",
        ),
        ("_forecast('{1,NULL}', 1)".to_owned(), "22023"),
        ("_forecast('{1,-1}', 1)".to_owned(), "22023"),
        ("_forecast('{1,NaN}', 1)".to_owned(), "22023"),
        ("_forecast('{Infinity}', 1)".to_owned(), "22023"),
        (
            "_forecast(array_fill(1::float8, ARRAY[3661]), 1)".to_owned(),
            "22023",
        ),
    ] {
        let error = refused(
            client,
            TECH_A,
            &format!("SELECT * FROM cloudwatcher.{call}"),
            code,
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{call}: {error:?}"
        );
    }
    assert_eq!(
        asked(
            client,
            TECH_A,
            "SELECT * FROM cloudwatcher._forecast('{}', 1)"
        ),
        ["1 | 0 | 0 | 0 | none"]
    );
    Ok(())
}
