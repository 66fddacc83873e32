//! OEE as SQL: the worked examples, what is undefined, what is refused, and the aggregates.

mod plant_rows;

use anyhow::Result;
use gemba_tests::extended;
use plant_rows::*;
use postgres::Client;

/// `(plant.oee(…))` to six decimals: availability, performance, performance_raw, quality, oee.
fn figures(inputs: &str) -> String {
    format!(
        "SELECT round(f.availability, 6), round(f.performance, 6), round(f.performance_raw, 6),
                round(f.quality, 6), round(f.oee, 6) FROM plant.oee({inputs}) AS f"
    )
}

#[test]
fn worked_examples() -> Result<()> {
    let db = extended("oee_examples")?;
    let mut client = db.connect()?;
    for (example, inputs, expected) in [
        (
            "1",
            "480 - 60, 47, 1.0, 19271, 19271 - 423",
            "0.888095 | 0.861081 | 0.861081 | 0.978050 | 0.747937",
        ),
        (
            "2",
            "480, 60, 60, 400, 380",
            "0.875000 | 0.952381 | 0.952381 | 0.950000 | 0.791667",
        ),
        (
            "3",
            "480, 60, 30, 400, 392",
            "0.875000 | 0.476190 | 0.476190 | 0.980000 | 0.408333",
        ),
        (
            "4",
            "16 * 60, 3.74 * 60, 12.26 * 3600 / 167, 100, 92",
            "0.766250 | 0.598802 | 0.598802 | 0.920000 | 0.422126",
        ),
        (
            "5",
            "28800 / 60, (28800 - 27540) / 60, 21, 1298, 1298 - 13",
            "0.956250 | 0.989760 | 0.989760 | 0.989985 | 0.936979",
        ),
        (
            "6a",
            "455, 32, 10, 2240, 2240 - 50",
            "0.929670 | 0.882585 | 0.882585 | 0.977679 | 0.802198",
        ),
        (
            "6b",
            "455, 18, 45, 450, 450 - 25",
            "0.960440 | 0.772311 | 0.772311 | 0.944444 | 0.700549",
        ),
        // Of this one quality and OEE are given, and both are the same whatever the downtime was.
        (
            "6c",
            "455, 0, 70, 229, 229 - 11",
            "1.000000 | 0.587179 | 0.587179 | 0.951965 | 0.558974",
        ),
        (
            "7",
            "480, 80, 30, 700, 600",
            "0.833333 | 0.875000 | 0.875000 | 0.857143 | 0.625000",
        ),
    ] {
        assert_eq!(
            table(&mut client, &figures(inputs)),
            [expected],
            "example {example}"
        );
    }
    for (inputs, expected) in [
        (
            "420, 47, 1.0, 19271, 18848, 480",
            "0.875000 | 0.747937 | 0.654444",
        ),
        (
            "420, 47, 1.0, 19271, 18848",
            "0.291667 | 0.747937 | 0.218148",
        ),
        (
            "960, 224.4, 12.26 * 3600 / 167, 100, 92",
            "0.666667 | 0.422126 | 0.281417",
        ),
    ] {
        assert_eq!(
            table(
                &mut client,
                &format!(
                    "SELECT round(utilisation, 6), round(oee, 6), round(teep, 6) FROM plant.teep({inputs})"
                )
            ),
            [expected],
            "teep of {inputs}"
        );
    }
    // Examples 6 and 8: over several, weighted by planned time.
    for (rows, expected) in [
        (
            "(455, 32, 10, 2240, 2190), (455, 18, 45, 450, 425), (455, 0, 70, 229, 218)",
            "0.687241",
        ),
        ("(100, 0, 60, 80, 80), (300, 0, 60, 135, 135)", "0.537500"),
    ] {
        let of = format!("FROM (VALUES {rows}) AS v (p, d, c, t, g)");
        assert_eq!(
            value(
                &mut client,
                &format!("SELECT round((plant.oee_agg(p, d, c, t, g)).oee, 6) {of}")
            ),
            expected
        );
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT round((plant.oee_figures(plant.oee_merge(s))).oee, 6)
                       FROM (SELECT plant.oee_state_agg(p, d, c, t, g) AS s {of} GROUP BY p, d, c) AS days"
                )
            ),
            expected
        );
    }
    Ok(())
}

#[test]
fn money() -> Result<()> {
    let db = extended("oee_money")?;
    let mut client = db.connect()?;
    for (call, expected) in [
        ("financial_loss(45, 300, 25, 5)", "225.00 | 125.00 | 350.00"),
        ("financial_loss(0, 300, 0, 5)", "0.00 | 0.00 | 0.00"),
        // To the cent, half away from zero: 0.5 / 60 × 60.6 = 0.505; 0.1 / 60 × 60 = 0.1.
        ("financial_loss(0.5, 60.6, 0, 5)", "0.51 | 0.00 | 0.51"),
        ("financial_loss(0.1, 60, 3, 0.335)", "0.10 | 1.01 | 1.11"),
        ("financial_loss(NULL, 300, 25, 5)", "- | - | -"),
        (
            "loss_waterfall(480, 80, 30, 700, 600, 10)",
            "9600.00 | 1600.00 | 1000.00 | 1000.00 | 3600.00 | 6000.00",
        ),
        // Faster than ideal: no performance loss, and the bad items cost their share of the run time.
        (
            "loss_waterfall(100, 20, 60, 160, 120, 1)",
            "100.00 | 20.00 | 0.00 | 20.00 | 40.00 | 60.00",
        ),
        (
            "loss_waterfall(480, 480, 30, 0, 0, 10)",
            "9600.00 | 9600.00 | 0.00 | 0.00 | 9600.00 | 0.00",
        ),
        (
            "loss_waterfall(0, 0, 30, 0, 0, 10)",
            "0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00",
        ),
        ("variance(94, 100)", "-6 | -6 | behind"),
        ("variance(95, 100)", "-5 | -5 | on_target"),
        ("variance(105, 100)", "5 | 5 | on_target"),
        (
            "variance(105.000000000001, 100)",
            "5.000000000001 | 5.000000000001 | ahead",
        ),
        (
            "variance(94.999999999999, 100)",
            "-5.000000000001 | -5.000000000001 | behind",
        ),
        ("variance(101, 100, 0)", "1 | 1 | ahead"),
        ("variance(100, 100, 0)", "0 | 0 | on_target"),
        ("variance(7, 0)", "7 | - | on_target"),
        ("variance(2, 3, 33)", "-1 | -33.333333333333 | behind"),
        ("variance(NULL, 3)", "- | - | -"),
    ] {
        assert_eq!(
            table(&mut client, &format!("SELECT * FROM plant.{call}")),
            [expected],
            "{call}"
        );
    }
    Ok(())
}

#[test]
fn what_is_undefined() -> Result<()> {
    let db = extended("oee_edges")?;
    let mut client = db.connect()?;
    for (inputs, expected) in [
        // Nothing planned: nothing is known, but of the items.
        ("0, 0, 1, 0, 0", "- | - | - | - | -"),
        ("0, 0, 1, 5, 4", "- | - | - | 0.800000 | -"),
        // Planned, and nothing ran, or nothing was made.
        (
            "480, 480, 1, 0, 0",
            "0.000000 | 0.000000 | 0.000000 | - | 0.000000",
        ),
        (
            "480, 0, 1, 0, 0",
            "1.000000 | 0.000000 | 0.000000 | - | 0.000000",
        ),
        // Faster than ideal: capped, with the raw value beside it, and the product still holds.
        (
            "480, 80, 120, 400, 380",
            "0.833333 | 1.000000 | 2.000000 | 0.950000 | 0.791667",
        ),
        (
            "480, 0, 60, 480, 480",
            "1.000000 | 1.000000 | 1.000000 | 1.000000 | 1.000000",
        ),
        (
            "480, 80, 30, 700, 0",
            "0.833333 | 0.875000 | 0.875000 | 0.000000 | 0.000000",
        ),
        // A NULL among the inputs: nothing is known.
        ("NULL, 0, 1, 0, 0", "- | - | - | - | -"),
        ("480, NULL, 1, 0, 0", "- | - | - | - | -"),
        ("480, 0, NULL, 0, 0", "- | - | - | - | -"),
        ("480, 0, 1, NULL, 0", "- | - | - | - | -"),
        ("480, 0, 1, 0, NULL", "- | - | - | - | -"),
        // As large as numbers come here.
        (
            "9999999999999999, 0, 0.0001, 9223372036854775807, 9223372036854775807",
            "1.000000 | 0.001537 | 0.001537 | 1.000000 | 0.001537",
        ),
        // Past the twelfth decimal inputs are rounded, half away from zero.
        (
            "0.0000000000005, 0, 0.00000000003, 1, 1",
            "1.000000 | 0.500000 | 0.500000 | 1.000000 | 0.500000",
        ),
    ] {
        assert_eq!(table(&mut client, &figures(inputs)), [expected], "{inputs}");
    }
    for (inputs, expected) in [
        ("0, 0, 1, 0, 0", "0 | - | -"),
        ("480, 480, 1, 0, 0, 480", "1 | 0 | 0"),
        ("480, 0, 1, 0, 0, NULL", "- | - | -"),
    ] {
        assert_eq!(
            table(&mut client, &format!("SELECT * FROM plant.teep({inputs})")),
            [expected],
            "teep of {inputs}"
        );
    }
    assert_eq!(
        value(&mut client, "SELECT (plant.oee(NULL, 0, 1, 0, 0)) IS NULL"),
        "t"
    );
    Ok(())
}

/// The error names the field in its message and shows it in its detail.
#[track_caller]
fn names(client: &mut Client, sql: &str, field: &str, shown: &str) {
    let error = refused(client, sql, "22023");
    assert!(error.message().contains(field), "{sql}: {error:?}");
    assert!(
        error
            .detail()
            .is_some_and(|detail| detail.contains(field) && detail.contains(shown)),
        "{sql}: {error:?}"
    );
    assert!(error.hint().is_some(), "{sql}: {error:?}");
}

#[test]
fn bad_inputs_are_named() -> Result<()> {
    let db = extended("oee_bad_inputs")?;
    let mut client = db.connect()?;
    for (inputs, field, shown) in [
        ("-1, 0, 1, 0, 0", "planned_minutes", "-1"),
        ("480, -0.5, 1, 0, 0", "downtime_minutes", "-0.5"),
        (
            "480, 480.001, 1, 0, 0",
            "downtime_minutes",
            "480.001 of 480",
        ),
        ("0, 1, 1, 0, 0", "downtime_minutes", "1 of 0"),
        ("480, 0, 0, 0, 0", "ideal_cycle_seconds", "0"),
        ("480, 0, -2, 0, 0", "ideal_cycle_seconds", "-2"),
        ("480, 0, 0.0000000000004, 1, 1", "ideal_cycle_seconds", "0"),
        ("480, 0, 1, -3, 0", "total_count", "-3"),
        ("480, 0, 1, 3, -1", "good_count", "-1"),
        ("480, 0, 1, 3, 4", "good_count", "4 of 3"),
        (
            "480, 0, 1, -9223372036854775808, 0",
            "total_count",
            "-9223372036854775808",
        ),
        (
            "480, 0, 9999999999999999, 9223372036854775807, 0",
            "ideal_cycle_seconds",
            "9999999999999999",
        ),
    ] {
        names(
            &mut client,
            &format!("SELECT plant.oee({inputs})"),
            field,
            shown,
        );
        names(
            &mut client,
            &format!("SELECT plant.teep({inputs}, 1440)"),
            field,
            shown,
        );
        names(
            &mut client,
            &format!("SELECT plant.loss_waterfall({inputs}, 10)"),
            field,
            shown,
        );
        for aggregate in ["oee_agg", "oee_state_agg"] {
            names(
                &mut client,
                &format!("SELECT plant.{aggregate}({inputs})"),
                field,
                shown,
            );
            // Not hidden by good rows, in a window either.
            names(
                &mut client,
                &format!(
                    "SELECT plant.{aggregate}(p, d, c, t, g) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
                       FROM (SELECT 1, 480::numeric, 0::numeric, 1::numeric, 1::bigint, 1::bigint
                             UNION ALL SELECT 2, {inputs}) AS v (i, p, d, c, t, g)"
                ),
                field,
                shown,
            );
        }
    }
    for (call, field, shown) in [
        ("teep(480, 0, 1, 0, 0, 0)", "calendar_minutes", "0"),
        ("teep(480, 0, 1, 0, 0, -1440)", "calendar_minutes", "-1440"),
        ("teep(480, 0, 1, 0, 0, 479.5)", "calendar_minutes", "479.5"),
        (
            "loss_waterfall(480, 0, 1, 0, 0, -1)",
            "value_per_unit",
            "-1",
        ),
        ("financial_loss(-1, 1, 1, 1)", "downtime_minutes", "-1"),
        ("financial_loss(1, -1, 1, 1)", "hourly_rate", "-1"),
        ("financial_loss(1, 1, -1, 1)", "waste_count", "-1"),
        ("financial_loss(1, 1, 1, -1)", "cost_per_unit", "-1"),
        ("variance(1, -1)", "target", "-1"),
        ("variance(1, 1, -0.1)", "tolerance_pct", "-0.1"),
    ] {
        names(&mut client, &format!("SELECT plant.{call}"), field, shown);
    }
    for number in [
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "1e29",
        "-1e29",
        "1e1000",
        "('1' || repeat('0', 131000))::numeric",
    ] {
        for call in [
            format!("oee({number}, 0, 1, 1, 1)"),
            format!("oee(480, {number}, 1, 1, 1)"),
            format!("oee(480, 0, {number}, 1, 1)"),
            format!("teep(480, 0, 1, 1, 1, {number})"),
            format!("oee_agg({number}, 0, 1, 1, 1)"),
            format!("oee_state_agg(480, 0, {number}, 1, 1)"),
            format!("oee_agg(ROW(1, 1, 1, 1, 1, 1, {number})::plant.oee_state)"),
            format!("oee_merge(ROW({number}, 1, 1, 1, 1, 1, 1)::plant.oee_state)"),
            format!("oee_figures(ROW(1, 1, 1, {number}, 1, 1, 1)::plant.oee_state)"),
            format!("variance({number}, 1)"),
            format!("financial_loss(1, {number}, 1, 1)"),
            format!("loss_waterfall(1, 0, 1, 1, 1, {number})"),
        ] {
            let error = refused(&mut client, &format!("SELECT plant.{call}"), "22003");
            assert!(
                error.detail().is_some() && error.hint().is_some(),
                "{call}: {error:?}"
            );
        }
    }
    Ok(())
}

/// What is shown beside a field's name is the field's value.
#[test]
fn the_value_shown_is_the_fields() -> Result<()> {
    let db = extended("oee_value_shown")?;
    let mut client = db.connect()?;
    names(
        &mut client,
        "SELECT plant.oee(9999999999999999, 0, 1, 9223372036854775807, 9223372036854775806)",
        "good_count",
        "9223372036854775806",
    );
    Ok(())
}

/// A table of random stretches of work, some faster than ideal, some without output, some with a NULL.
const STRETCHES: &str = "
  SELECT setseed(0.42);
  CREATE TABLE public.work AS
    SELECT i, date '2026-01-01' + i / 40 AS day, 'a' || i % 7 AS area, i % 3 AS shift, p, d, c, t,
           (t * (0.8 + random() * 0.2))::bigint AS g
      FROM (SELECT i, CASE WHEN i % 23 <> 0 THEN p END AS p, round((p * random() * 0.4)::numeric, 3) AS d,
                   CASE WHEN i % 29 <> 0 THEN round((2 + random() * 40)::numeric, (i % 4)::int) END AS c,
                   CASE WHEN i % 11 <> 0 THEN (random() * 1500)::bigint ELSE 0 END AS t
              FROM (SELECT i, CASE WHEN i % 13 <> 0 THEN round((60 + random() * 420)::numeric, 2) ELSE 0 END AS p
                      FROM generate_series(1, %N%) AS i) AS a) AS b;
  UPDATE public.work SET d = 0 WHERE p = 0;
  UPDATE public.work SET g = NULL WHERE i % 31 = 0;
  ANALYZE public.work";

fn stretches(client: &mut Client, number: i32) -> Result<()> {
    client.batch_execute(&STRETCHES.replace("%N%", &number.to_string()))?;
    Ok(())
}

/// What the aggregate should say, from plain sums of the server's own numerics.
const BY_HAND: &str = "
  round(sum(run)::numeric(60,30) / nullif(sum(planned), 0), 12) AS availability,
  CASE WHEN sum(run) > 0 THEN round(sum(least(ideal, run))::numeric(60,30) / sum(run), 12) WHEN sum(planned) > 0 THEN 0 END AS performance,
  CASE WHEN sum(run) > 0 THEN round(sum(ideal)::numeric(60,30) / sum(run), 12) WHEN sum(planned) > 0 THEN 0 END AS performance_raw,
  coalesce(round(sum(effective)::numeric(60,30) / nullif(sum(least(ideal, run)), 0), 12), round(sum(g)::numeric(60,30) / nullif(sum(t), 0), 12)) AS quality,
  round(sum(effective)::numeric(60,30) / nullif(sum(planned), 0), 12) AS oee";

/// The rows that count, with their times in seconds.
const TIMES: &str = "(SELECT *, CASE WHEN ideal <= run THEN c * g ELSE round((run * g)::numeric(60,30) / t, 12) END AS effective
   FROM (SELECT *, p * 60 AS planned, (p - d) * 60 AS run, c * t AS ideal FROM public.work
          WHERE p IS NOT NULL AND d IS NOT NULL AND c IS NOT NULL AND t IS NOT NULL AND g IS NOT NULL) AS x) AS times";

#[test]
fn the_aggregate_is_the_sums_by_hand() -> Result<()> {
    let db = extended("oee_by_hand")?;
    let mut client = db.connect()?;
    stretches(&mut client, 4000)?;
    for groups in [
        "()",
        "day",
        "area",
        "day, area, shift",
        "ROLLUP (area, shift)",
        "CUBE (day, area, shift)",
        "GROUPING SETS ((day), (area, shift), ())",
    ] {
        // Groups that have only rows with a NULL in them are there, too, and nothing is known of them.
        let keys = "day, area, shift";
        let keys = if groups == "()" || !groups.contains(' ') {
            groups.trim_matches(['(', ')']).to_owned()
        } else if groups.starts_with("ROLLUP") {
            "area, shift".to_owned()
        } else {
            keys.to_owned()
        };
        let select = if keys.is_empty() {
            String::new()
        } else {
            format!("{keys}, ")
        };
        assert_same(
            &mut client,
            &format!(
                "SELECT {select}(f).availability, (f).performance, (f).performance_raw, (f).quality, (f).oee
                   FROM (SELECT {select}plant.oee_agg(p, d, c, t, g) AS f FROM public.work GROUP BY {groups}) AS a
                  WHERE f IS DISTINCT FROM NULL"
            ),
            &format!("SELECT {select}{BY_HAND} FROM {TIMES} GROUP BY {groups}"),
            groups,
        );
    }
    // FILTER, DISTINCT and ORDER BY are the server's, but have to work with it.
    assert_same(
        &mut client,
        "SELECT (f).* FROM (SELECT plant.oee_agg(p, d, c, t, g) FILTER (WHERE i % 2 = 0) AS f FROM public.work) AS a",
        &format!("SELECT {BY_HAND} FROM {TIMES} WHERE i % 2 = 0"),
        "filter",
    );
    assert_same(
        &mut client,
        "SELECT (f).* FROM (SELECT plant.oee_agg(DISTINCT p, d, c, t, g) AS f
                              FROM (SELECT * FROM public.work UNION ALL SELECT * FROM public.work) AS twice) AS a",
        &format!("SELECT {BY_HAND} FROM {TIMES}"),
        "distinct",
    );
    let figures: Vec<String> = ["i", "i DESC", "p DESC NULLS FIRST, g", "md5(i::text)", "c, t DESC"]
        .iter()
        .map(|order| {
            value(
                &mut client,
                &format!("SELECT plant.oee_agg(p, d, c, t, g ORDER BY {order})::text || plant.oee_state_agg(p, d, c, t, g ORDER BY {order})::text FROM public.work"),
            )
        })
        .collect();
    assert!(figures[0].len() > 60, "{figures:?}");
    assert!(
        figures.iter().all(|other| *other == figures[0]),
        "the order shows: {figures:#?}"
    );
    Ok(())
}

#[test]
fn the_order_of_large_numbers_never_shows() -> Result<()> {
    let db = extended("oee_large_order")?;
    let mut client = db.connect()?;
    // The largest and the smallest inputs that are taken. Their sum has more than 28 digits: the promise is
    // the exact sum or an error, not a sum that depends on the order.
    let sums = |client: &mut Client, order: &str| {
        client
            .query_one(
                &format!(
                    "SELECT plant.oee_state_agg(p, 0, 1, 1, 1 ORDER BY {order})::text
                       FROM (SELECT 1e15 AS p FROM generate_series(1, 100)
                             UNION ALL SELECT 0.000000000001 FROM generate_series(1, 100)) AS v"
                ),
                &[],
            )
            .map(|row| row.get::<_, String>(0))
            .map_err(|error| error.code().map(|code| code.code().to_owned()))
    };
    let (up, down) = (sums(&mut client, "p"), sums(&mut client, "p DESC"));
    assert_eq!(up, down);
    match up {
        Ok(sum) => assert!(sum.starts_with("(6000000000000000000.000000006,"), "{sum}"),
        Err(code) => assert_eq!(code.as_deref(), Some("22003")),
    }
    Ok(())
}

#[test]
fn nothing_to_aggregate() -> Result<()> {
    let db = extended("oee_nothing")?;
    let mut client = db.connect()?;
    client.batch_execute("CREATE TABLE public.none (p numeric, d numeric, c numeric, t bigint, g bigint, s plant.oee_state, n int)")?;
    for (what, fill) in [
        ("an empty set", ""),
        (
            "rows of NULLs",
            "INSERT INTO public.none (n) SELECT 1 FROM generate_series(1, 3);
             INSERT INTO public.none (p, d, c, t, n) VALUES (480, 0, 1, 1, 1)",
        ),
    ] {
        client.batch_execute(fill)?;
        for aggregate in [
            "oee_agg(p, d, c, t, g)",
            "oee_state_agg(p, d, c, t, g)",
            "oee_agg(s)",
            "oee_merge(s)",
        ] {
            assert_eq!(
                value(
                    &mut client,
                    &format!("SELECT coalesce(plant.{aggregate}::text, 'NULL') FROM public.none")
                ),
                "NULL",
                "{aggregate} of {what}"
            );
            assert_eq!(
                value(
                    &mut client,
                    &format!(
                        "SELECT coalesce((plant.{aggregate} FILTER (WHERE false))::text, 'NULL') FROM public.none"
                    )
                ),
                "NULL",
                "{aggregate} of {what}, filtered"
            );
        }
    }
    // Rows that count for nothing leave the others alone.
    assert_eq!(
        value(
            &mut client,
            "SELECT round((plant.oee_agg(p, d, c, t, g)).oee, 6)
               FROM (SELECT p, d, c, t, g FROM public.none UNION ALL SELECT 480, 80, 30, 700, 600) AS v"
        ),
        "0.625000"
    );
    // A state with a NULL in it is none.
    assert_eq!(
        value(
            &mut client,
            "SELECT plant.oee_merge(s) FROM (VALUES (ROW(6, 5, 4, 3, 2, 1, 1)::plant.oee_state),
               (ROW(6, 5, 4, 3, 2, 1, NULL)::plant.oee_state), (NULL), (ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL)::plant.oee_state)) AS v (s)"
        ),
        "(6,5,4,3,2,1,1)"
    );
    Ok(())
}

const FRAMES: [&str; 9] = [
    "ROWS BETWEEN 3 PRECEDING AND CURRENT ROW",
    "ROWS BETWEEN 7 PRECEDING AND 2 PRECEDING",
    "ROWS BETWEEN 2 FOLLOWING AND 6 FOLLOWING",
    "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    "ROWS UNBOUNDED PRECEDING",
    "RANGE BETWEEN 20 PRECEDING AND 3 FOLLOWING",
    "GROUPS BETWEEN 4 PRECEDING AND CURRENT ROW",
    "ROWS BETWEEN 5 PRECEDING AND 5 FOLLOWING EXCLUDE CURRENT ROW",
    "ROWS BETWEEN CURRENT ROW AND CURRENT ROW",
];

/// Compares each frame with the aggregate over its rows alone.
fn recompute(client: &mut Client, frame: &str) {
    for partition in ["", "PARTITION BY area"] {
        for (from, inputs, row, aggregates) in [
            (
                "work",
                "p, d, c, t, g",
                "p numeric, d numeric, c numeric, t bigint, g bigint",
                ["oee_agg", "oee_state_agg"],
            ),
            ("states", "s", "s plant.oee_state", ["oee_agg", "oee_merge"]),
        ] {
            for aggregate in aggregates {
                let window = format!("OVER ({partition} ORDER BY i {frame})");
                assert_same(
                    client,
                    &format!("SELECT i, (plant.{aggregate}({inputs}) {window})::text AS result FROM public.{from}"),
                    &format!(
                        "SELECT i, (SELECT plant.{aggregate}({inputs}) FROM jsonb_to_recordset(frame) AS r ({row}))::text AS result
                           FROM (SELECT i, coalesce(jsonb_agg(to_jsonb(w)) {window}, '[]') AS frame FROM public.{from} AS w) AS frames"
                    ),
                    &format!("{aggregate} {window}"),
                );
            }
        }
    }
}

const STATES: &str = "CREATE TABLE public.states AS
  SELECT i, area, CASE WHEN i % 5 <> 0 THEN plant.oee_state_agg(p, d, c, t, g) END AS s FROM public.work GROUP BY i, area";

/// Frames that move take rows away again; each must be what its rows alone are.
#[test]
fn moving_frames_are_recomputed() -> Result<()> {
    let db = extended("oee_frames")?;
    let mut client = db.connect()?;
    stretches(&mut client, 300)?;
    client.batch_execute("DELETE FROM public.work WHERE p IS NULL OR c IS NULL OR g IS NULL")?;
    client.batch_execute(&format!(
        "{STATES}; DELETE FROM public.states WHERE s IS NULL"
    ))?;
    for frame in FRAMES {
        recompute(&mut client, frame);
    }
    Ok(())
}

/// The same with rows that do not count, which come first in some partitions.
#[test]
fn moving_frames_over_rows_with_nulls() -> Result<()> {
    let db = extended("oee_null_frames")?;
    let mut client = db.connect()?;
    stretches(&mut client, 300)?;
    client.batch_execute(STATES)?;
    for frame in FRAMES {
        recompute(&mut client, frame);
    }
    Ok(())
}

/// A window that moves has to bear a first row that does not count.
#[test]
fn a_frame_that_begins_with_nothing() -> Result<()> {
    let db = extended("oee_null_first")?;
    let mut client = db.connect()?;
    assert_eq!(
        table(
            &mut client,
            "SELECT round((plant.oee_agg(p, 80, 30, 700, 600) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)).oee, 6)
               FROM (VALUES (1, NULL), (2, 480), (3, 480)) AS v (i, p)"
        ),
        ["-", "0.625000", "0.625000"]
    );
    Ok(())
}

/// A frame whose rows that count have all left it, while rows with NULLs are still in it.
#[test]
fn a_frame_that_is_left_with_nothing() -> Result<()> {
    let db = extended("oee_empty_frame")?;
    let mut client = db.connect()?;
    for (aggregate, nothing) in [("oee_agg", "-"), ("oee_state_agg", "-")] {
        assert_eq!(
            table(
                &mut client,
                &format!(
                    "SELECT (plant.{aggregate}(p, 0, 1, 1, 1) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW))::text
                       FROM (VALUES (1, 480), (2, NULL), (3, NULL), (4, NULL)) AS v (i, p)"
                )
            )[2..],
            [nothing, nothing],
            "{aggregate}"
        );
    }
    Ok(())
}

#[test]
fn parallel_is_serial() -> Result<()> {
    let db = extended("oee_parallel")?;
    let mut client = db.connect()?;
    stretches(&mut client, 200_000)?;
    client.batch_execute(
        "CREATE TABLE public.states AS SELECT i, area, plant.oee_state_agg(p, d, c, t, g) AS s FROM public.work GROUP BY i, area;
         ANALYZE public.states; CREATE INDEX ON public.work (area)",
    )?;
    const PARALLEL: &str = "SET max_parallel_workers_per_gather = 4; SET max_parallel_workers = 8; SET parallel_setup_cost = 0;
         SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET enable_indexscan = off";
    for query in [
        "SELECT plant.oee_agg(p, d, c, t, g)::text FROM public.work",
        "SELECT plant.oee_state_agg(p, d, c, t, g)::text FROM public.work",
        "SELECT area, plant.oee_agg(p, d, c, t, g)::text, count(*) FROM public.work GROUP BY area ORDER BY area",
        "SELECT plant.oee_merge(s)::text FROM public.states",
        "SELECT area, plant.oee_agg(s)::text FROM public.states GROUP BY area ORDER BY area",
        // All workers come back without a state.
        "SELECT plant.oee_agg(p, d, c, t, g)::text FROM public.work WHERE g IS NULL",
        // One row among all.
        "SELECT plant.oee_agg(p, d, c, t, g)::text FROM public.work WHERE abs(i) = 77",
    ] {
        client.batch_execute("RESET ALL; SET max_parallel_workers_per_gather = 0")?;
        let serial = table(&mut client, query);
        client.batch_execute(PARALLEL)?;
        let plan = table(&mut client, &format!("EXPLAIN (COSTS off) {query}")).join("\n");
        for node in ["Partial", "Gather", "Parallel Seq Scan"] {
            assert!(plan.contains(node), "no {node} in {plan}");
        }
        for _ in 0..3 {
            assert_eq!(table(&mut client, query), serial, "{query}");
        }
    }
    assert_same(
        &mut client,
        "SELECT area, (f).* FROM (SELECT area, plant.oee_agg(p, d, c, t, g) AS f FROM public.work GROUP BY area) AS a",
        &format!("SELECT area, {BY_HAND} FROM {TIMES} GROUP BY area"),
        "by area, in parallel",
    );
    // An error in a worker is the same error.
    client.batch_execute("UPDATE public.work SET g = t + 1 WHERE i = 150002")?;
    names(
        &mut client,
        "SELECT plant.oee_agg(p, d, c, t, g) FROM public.work",
        "good_count",
        " of ",
    );
    Ok(())
}

/// A state a day is stored; weeks and areas come from these, without the detail.
#[test]
fn stored_states_roll_up() -> Result<()> {
    let db = extended("oee_states_roll_up")?;
    let mut client = db.connect()?;
    stretches(&mut client, 4000)?;
    client.batch_execute(
        "CREATE TABLE public.days AS SELECT day, area, plant.oee_state_agg(p, d, c, t, g) AS s FROM public.work GROUP BY day, area;
         CREATE TABLE public.weeks AS SELECT date_trunc('week', day) AS week, area, plant.oee_merge(s) AS s FROM public.days GROUP BY 1, 2",
    )?;
    for (what, found, expected) in [
        (
            "weeks of days",
            "SELECT week, area, (plant.oee_figures(s)).* FROM public.weeks",
            "SELECT week, area, (f).* FROM (SELECT date_trunc('week', day) AS week, area, plant.oee_agg(p, d, c, t, g) AS f FROM public.work GROUP BY 1, 2) AS a",
        ),
        (
            "areas of weeks",
            "SELECT area, (f).* FROM (SELECT area, plant.oee_agg(s) AS f FROM public.weeks GROUP BY area) AS a",
            "SELECT area, (f).* FROM (SELECT area, plant.oee_agg(p, d, c, t, g) AS f FROM public.work GROUP BY area) AS a",
        ),
        (
            "the plant of weeks",
            "SELECT (plant.oee_figures(plant.oee_merge(s))).*, plant.oee_merge(s)::text FROM public.weeks",
            "SELECT (plant.oee_agg(p, d, c, t, g)).*, plant.oee_state_agg(p, d, c, t, g)::text FROM public.work",
        ),
    ] {
        assert_same(&mut client, found, expected, what);
    }
    // The sums themselves.
    assert_same(
        &mut client,
        "SELECT (s).* FROM (SELECT plant.oee_merge(s) AS s FROM public.weeks) AS a",
        &format!(
            "SELECT sum(planned), sum(run), sum(ideal), sum(least(ideal, run)), sum(effective), sum(t), sum(g) FROM {TIMES}"
        ),
        "sums",
    );
    Ok(())
}

#[test]
fn states_by_hand() -> Result<()> {
    let db = extended("oee_states_by_hand")?;
    let mut client = db.connect()?;
    for (state, field) in [
        ("-1, 1, 1, 1, 1, 1, 1", "planned_seconds"),
        ("9, -1, 1, 1, 1, 1, 1", "run_seconds"),
        ("9, 1, -1, 1, 1, 1, 1", "ideal_seconds"),
        ("9, 1, 1, -1, 1, 1, 1", "net_seconds"),
        ("9, 1, 1, 1, -1, 1, 1", "effective_seconds"),
        ("9, 1, 1, 1, 1, -1, 1", "total_count"),
        ("9, 1, 1, 1, 1, 1, -1", "good_count"),
        ("9, 10, 1, 1, 1, 1, 1", "run_seconds"),
        ("9, 5, 7, 6, 1, 1, 1", "net_seconds"),
        ("9, 5, 3, 4, 1, 1, 1", "net_seconds"),
        ("9, 5, 5, 4, 4.5, 1, 1", "effective_seconds"),
        ("9, 5, 5, 4, 4, 1, 2", "good_count"),
    ] {
        for call in ["oee_figures", "oee_agg", "oee_merge"] {
            names(
                &mut client,
                &format!("SELECT plant.{call}(ROW({state})::plant.oee_state)"),
                field,
                "",
            );
        }
    }
    for (state, expected) in [
        ("NULL", "- | - | - | - | -"),
        (
            "ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
            "- | - | - | - | -",
        ),
        ("ROW(9, 5, 5, 4, NULL, 1, 1)", "- | - | - | - | -"),
        ("ROW(0, 0, 0, 0, 0, 0, 0)", "- | - | - | - | -"),
        ("ROW(10, 8, 9, 8, 4, 2, 1)", "0.8 | 1 | 1.125 | 0.5 | 0.4"),
    ] {
        assert_eq!(
            table(
                &mut client,
                &format!("SELECT (plant.oee_figures({state}::plant.oee_state)).*")
            ),
            [expected],
            "{state}"
        );
    }
    // A row type that has lost or gained a column is not this type.
    refused(
        &mut client,
        "SELECT plant.oee_figures(ROW(1, 1)::plant.oee_state)",
        "42846",
    );
    refused(
        &mut client,
        "SELECT plant.oee_merge(ROW(1, 1, 1, 1, 1, 1, 1, 1)::plant.oee_state)",
        "42846",
    );
    Ok(())
}

#[test]
fn the_parts_of_the_aggregates_are_out_of_reach() -> Result<()> {
    let db = extended("oee_parts")?;
    let mut client = db.connect()?;
    let parts = table(
        &mut client,
        "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'plant'::regnamespace AND proname LIKE '\\_oee\\_%' ORDER BY 1",
    );
    assert_eq!(parts.len(), 9, "{parts:?}");
    // Each takes a value that no statement can make, which keeps hostile bytes away, too.
    assert!(
        parts.iter().all(|part| part.contains("internal")),
        "{parts:?}"
    );
    for sql in [
        "SELECT plant._oee_final_state(NULL::internal)",
        "SELECT plant._oee_final_figures('x'::internal)",
        "SELECT plant._oee_deserialize('\\xdeadbeef'::bytea, NULL::internal)",
        "SELECT plant._oee_combine(NULL::internal, NULL::internal)",
    ] {
        refused(&mut client, sql, "42846");
    }
    for sql in [
        "SELECT plant._oee_final_state(NULL)",
        "SELECT plant._oee_serialize(NULL)",
        "SELECT plant._oee_deserialize('\\xdeadbeef', NULL)",
        "SELECT plant._oee_add(NULL, 1, 1, 1, 1, 1)",
    ] {
        refused(&mut client, sql, "42883");
        refused_as(&mut client, "authenticated", sql, "42883");
    }
    assert_eq!(
        table(
            &mut client,
            "SELECT role, p.oid::regprocedure FROM pg_proc p, unnest(ARRAY['anon', 'authenticated', 'service_role', 'public']) AS role
              WHERE p.pronamespace = 'plant'::regnamespace AND p.proname LIKE '\\_oee\\_%' AND has_function_privilege(role, p.oid, 'EXECUTE')"
        ),
        [""; 0]
    );
    // Nor in an aggregate of one's own, which is how a client could hand them bytes.
    client.batch_execute("CREATE SCHEMA theirs; GRANT ALL ON SCHEMA theirs TO authenticated")?;
    for (sql, code) in [
        (
            "CREATE AGGREGATE theirs.mine (plant.oee_state) (SFUNC = plant._oee_add_state, STYPE = internal,
               FINALFUNC = plant._oee_final_state)",
            "42P13",
        ),
        (
            "CREATE AGGREGATE theirs.mine (internal) (SFUNC = plant._oee_deserialize, STYPE = bytea)",
            "42501",
        ),
        (
            "CREATE FUNCTION theirs.mine(internal) RETURNS plant.oee_state LANGUAGE c AS '$libdir/gemba', 'gemba_oee_final_state'",
            "42501",
        ),
    ] {
        refused_as(&mut client, "authenticated", sql, code);
    }
    Ok(())
}

/// One call of each function and aggregate that users have.
const CALLS: [&str; 10] = [
    "oee(480, 80, 30, 700, 600)",
    "teep(480, 80, 30, 700, 600)",
    "oee_figures(ROW(1, 1, 1, 1, 1, 1, 1)::plant.oee_state)",
    "oee_agg(480, 80, 30, 700, 600)",
    "oee_agg(ROW(1, 1, 1, 1, 1, 1, 1)::plant.oee_state)",
    "oee_state_agg(480, 80, 30, 700, 600)",
    "oee_merge(ROW(1, 1, 1, 1, 1, 1, 1)::plant.oee_state)",
    "variance(94, 100)",
    "financial_loss(45, 300, 25, 5)",
    "loss_waterfall(480, 80, 30, 700, 600, 10)",
];

#[test]
fn who_may_call_them() -> Result<()> {
    let db = extended("oee_roles")?;
    let mut client = db.connect()?;
    for call in CALLS {
        let sql = format!("SELECT plant.{call}");
        for role in ["authenticated", "service_role"] {
            assert_eq!(
                table_as(&mut client, role, &sql),
                table(&mut client, &sql),
                "{role}: {call}"
            );
        }
        refused_as(&mut client, "anon", &sql, "42501");
    }
    // With USAGE on the schema it would still not be allowed.
    client.batch_execute("GRANT USAGE ON SCHEMA plant TO anon")?;
    for call in CALLS {
        refused_as(
            &mut client,
            "anon",
            &format!("SELECT plant.{call}"),
            "42501",
        );
    }
    Ok(())
}
