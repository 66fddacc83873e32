//! Making, copying, laying out, sharing and restoring dashboards.

mod reporting_support;

use anyhow::{Result, ensure};
use gemba_tests::{as_user, comes_true, expect_sqlstate, extended, table, value};
use postgres::Client;
use reporting_support::*;
use std::collections::HashSet;

/// Places of a dashboard's widgets, by name.
fn places(client: &mut Client, dashboard: &str) -> Vec<String> {
    table(
        client,
        &format!(
            "SELECT w.widget_id, concat_ws(' ', w.position_config ->> 'x', w.position_config ->> 'y',
                    w.position_config ->> 'width', w.position_config ->> 'height')
               FROM reporting.dashboard_widgets w JOIN reporting.dashboards d ON d.id = w.dashboard_id
              WHERE d.dashboard_id = '{dashboard}' ORDER BY 1"
        ),
    )
}

fn version(client: &mut Client, dashboard: &str) -> String {
    value(
        client,
        &format!("SELECT version FROM reporting.dashboards WHERE dashboard_id = '{dashboard}'"),
    )
}

fn text_widget(client: &mut Client, dashboard: &str, name: &str, place: &str) -> Result<String> {
    ask(
        client,
        "authenticated",
        Some(ANNA),
        &format!(
            "SELECT reporting.add_widget('{dashboard}', 'text', '{name}', '{{\"content\": \"{name}\"}}', {place}, widget_id => '{name}')"
        ),
    )
}

#[test]
fn a_dashboard_is_made_with_all_it_is_given() -> Result<()> {
    let db = extended("dashboards_create")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let made = asked(
        &mut client,
        ANNA,
        "SELECT reporting.create_dashboard('Sales', 'performance', 'by week', '{\"columns\": 6}', '{\"period\": {\"last\": 8}}', true)",
    );
    ensure!(made.starts_with("dash_") && made.len() == 29, "{made}");
    assert_eq!(
        table(
            &mut client,
            "SELECT name, template_type, description, layout_config, filter_config, is_public, is_template, version, user_id FROM reporting.dashboards"
        ),
        [format!(
            "Sales | performance | by week | {{\"columns\": 6}} | {{\"period\": {{\"last\": 8}}}} | t | f | 1 | {ANNA}"
        )]
    );
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT version, widgets, created_by FROM reporting.dashboard_versions WHERE created_by = '{ANNA}'"
            )
        ),
        [format!("1 | [] | {ANNA}")]
    );
    // service_role makes them for others, and for the house.
    for (owner, expected) in [(format!("'{BEN}'"), BEN), ("NULL".to_owned(), "-")] {
        let made = ask(
            &mut client,
            "service_role",
            None,
            &format!("SELECT reporting.create_dashboard('x', owner => {owner})"),
        )?;
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT coalesce(user_id::text, '-') FROM reporting.dashboards WHERE dashboard_id = '{made}'"
                )
            ),
            expected
        );
    }
    for (call, code) in [
        ("SELECT reporting.create_dashboard(NULL)", "23502"),
        (
            "SELECT reporting.create_dashboard('x', 'colourful')",
            "23514",
        ),
        (
            "SELECT reporting.create_dashboard(repeat('x', 256))",
            "22001",
        ),
    ] {
        assert_eq!(
            outcome(&mut client, "authenticated", Some(ANNA), call),
            code,
            "{call}"
        );
    }
    Ok(())
}

#[test]
fn ids_of_all_kinds_are_unguessable() -> Result<()> {
    let db = extended("dashboards_ids")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    client.batch_execute(
        "INSERT INTO reporting.dashboards (name) SELECT 'd' FROM generate_series(1, 500)",
    )?;
    let ids: HashSet<String> = table(&mut client, "SELECT dashboard_id FROM reporting.dashboards")
        .into_iter()
        .collect();
    assert_eq!(ids.len(), 500);
    // No two have a beginning in common that would say something about the others.
    let heads: HashSet<&str> = ids.iter().map(|id| &id[..11]).collect();
    ensure!(heads.len() > 495, "{} different beginnings", heads.len());
    Ok(())
}

#[test]
fn widgets_find_a_place_below_the_others() -> Result<()> {
    let db = extended("dashboards_place")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let d = asked(&mut client, ANNA, "SELECT reporting.create_dashboard('d')");
    text_widget(&mut client, &d, "a", "NULL")?;
    text_widget(&mut client, &d, "b", "NULL")?;
    text_widget(
        &mut client,
        &d,
        "c",
        "'{\"x\": 6, \"y\": 0, \"width\": 6, \"height\": 20}'",
    )?;
    text_widget(&mut client, &d, "d", "NULL")?;
    assert_eq!(
        places(&mut client, &d),
        ["a | 0 0 6 4", "b | 0 4 6 4", "c | 6 0 6 20", "d | 0 20 6 4"]
    );
    assert_eq!(version(&mut client, &d), "5");
    // Again under the same name: no.
    let again = as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!("SELECT reporting.add_widget('{d}', 'text', 't', '{{\"content\": \"\"}}', widget_id => 'a')"))
    });
    expect_sqlstate(again, "23505");
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.remove_widget('{d}', 'a')")
        ),
        "true"
    );
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.remove_widget('{d}', 'a')")
        ),
        "false"
    );
    assert_eq!(version(&mut client, &d), "6");
    Ok(())
}

#[test]
fn widgets_move_together_or_not_at_all() -> Result<()> {
    let db = extended("dashboards_move")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let d = asked(&mut client, ANNA, "SELECT reporting.create_dashboard('d')");
    for name in ["a", "b"] {
        text_widget(&mut client, &d, name, "NULL")?;
    }
    let moving = |positions: &str| format!("SELECT reporting.move_widgets('{d}', '{positions}')");
    // They change places.
    let swap = r#"{"a": {"x": 0, "y": 4, "width": 6, "height": 4}, "b": {"x": 0, "y": 0, "width": 6, "height": 4}}"#;
    assert_eq!(asked(&mut client, ANNA, &moving(swap)), "2");
    assert_eq!(places(&mut client, &d), ["a | 0 4 6 4", "b | 0 0 6 4"]);
    assert_eq!(version(&mut client, &d), "4");
    // Again: nothing to do, and no new version.
    assert_eq!(asked(&mut client, ANNA, &moving(swap)), "0");
    assert_eq!(version(&mut client, &d), "4");
    let refused = [
        (
            r#"{"a": {"x": 0, "y": 3, "width": 6, "height": 4}}"#,
            "23P01",
            "widgets a and b, at column 0, row 3",
        ),
        (
            r#"{"a": {"x": 7, "y": 9, "width": 6, "height": 4}}"#,
            "23514",
            "widget a: columns 7 to 12 of 12",
        ),
        (
            r#"{"a": {"x": 0, "y": 9, "width": 2, "height": 2}, "c": {"x": 0, "y": 0, "width": 1, "height": 1}}"#,
            "P0002",
            &format!("widget c of dashboard {d}"),
        ),
        ("[]", "22023", "positions []"),
    ];
    for (positions, code, detail) in refused {
        let result = as_user(&mut client, "authenticated", Some(ANNA), |tx| {
            tx.batch_execute(&moving(positions))
        });
        let error = expect_sqlstate(result, code);
        assert_eq!(error.detail(), Some(detail));
        assert!(error.hint().is_some());
    }
    assert_eq!(places(&mut client, &d), ["a | 0 4 6 4", "b | 0 0 6 4"]);
    // The same holds for whoever writes to the table directly, and for a grid that gets narrower.
    for sql in [
        "UPDATE reporting.dashboard_widgets SET position_config = position_config || '{\"y\": 1}' WHERE widget_id = 'a'"
            .to_owned(),
        format!(
            "UPDATE reporting.dashboards SET layout_config = '{{\"columns\": 5}}' WHERE dashboard_id = '{d}'"
        ),
    ] {
        let code = outcome(&mut client, "service_role", None, &sql);
        assert!(["23P01", "23514"].contains(&code.as_str()), "{code}: {sql}");
    }
    Ok(())
}

#[test]
fn a_copy_is_its_own() -> Result<()> {
    let db = extended("dashboards_copy")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let original = dashboard(&mut client, ANNA, "original", SALES)?;
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "UPDATE reporting.dashboards SET is_template = true, is_public = true, template_type = 'audience', layout_config = '{{\"columns\": 24}}'
              WHERE dashboard_id = '{original}'"
        ))
    })?;
    let copy = asked(
        &mut client,
        DORA,
        &format!("SELECT reporting.create_from_template('{original}', 'mine')"),
    );
    let twin = asked(
        &mut client,
        DORA,
        &format!("SELECT reporting.duplicate_dashboard('{copy}')"),
    );
    assert_eq!(
        table(&mut client, "SELECT name, user_id, template_type, is_public, is_template, layout_config, version,
                                   (SELECT count(*) FROM reporting.dashboard_widgets w WHERE w.dashboard_id = d.id)
                              FROM reporting.dashboards d ORDER BY created_at"),
        [
            format!("original | {ANNA} | audience | t | t | {{\"columns\": 24}} | 3 | 1"),
            format!("mine | {DORA} | audience | f | f | {{\"columns\": 24}} | 1 | 1"),
            format!("mine | {DORA} | audience | f | f | {{\"columns\": 24}} | 1 | 1"),
        ]
    );
    // One version, with the widgets; and what happens to the one does not happen to the other.
    assert_eq!(
        table(&mut client, &format!("SELECT version, jsonb_array_length(widgets) FROM reporting.dashboard_versions v JOIN reporting.dashboards d ON d.id = v.dashboard_id WHERE d.dashboard_id = '{copy}'")
            .replace("SELECT version", "SELECT v.version")),
        ["1 | 1"]
    );
    asked(
        &mut client,
        DORA,
        &format!("SELECT reporting.remove_widget('{copy}', 'card')"),
    );
    assert_eq!(places(&mut client, &original).len(), 1);
    assert_eq!(places(&mut client, &twin).len(), 1);
    Ok(())
}

#[test]
fn a_layout_comes_back_as_it_was() -> Result<()> {
    let db = extended("dashboards_versions")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let d = asked(&mut client, ANNA, "SELECT reporting.create_dashboard('d')");
    for name in ["a", "b", "c"] {
        text_widget(&mut client, &d, name, "NULL")?;
    }
    let content = format!(
        "SELECT w.widget_id, w.widget_type, w.chart_type, w.title, w.data_source, w.display_config, w.position_config
           FROM reporting.dashboard_widgets w JOIN reporting.dashboards d ON d.id = w.dashboard_id WHERE d.dashboard_id = '{d}' ORDER BY 1"
    );
    let before = table(&mut client, &content);
    // All of it in one transaction is one version: one goes, one comes where it was, one changes, the grid grows.
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "SELECT reporting.remove_widget('{d}', 'a');
             SELECT reporting.add_widget('{d}', 'text', 'new', '{{\"content\": \"n\"}}', '{{\"x\": 0, \"y\": 0, \"width\": 4, \"height\": 4}}', widget_id => 'n');
             UPDATE reporting.dashboards SET layout_config = '{{\"columns\": 24}}', filter_config = '{{\"period\": {{\"last\": 4}}}}' WHERE dashboard_id = '{d}';
             UPDATE reporting.dashboard_widgets SET title = 'changed', position_config = '{{\"x\": 12, \"y\": 0, \"width\": 12, \"height\": 1}}' WHERE widget_id = 'b'"
        ))
    })?;
    assert_eq!(version(&mut client, &d), "5");
    assert_eq!(
        as_user(&mut client, "authenticated", Some(ANNA), |tx| {
            Ok(tx.query(&format!("SELECT version, widgets, is_current, created_by::text FROM reporting.layout_versions('{d}')"), &[])?
                .iter()
                .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
                .collect::<Vec<(i32, i32, bool, String)>>())
        })?,
        [
            (5, 3, true, ANNA.to_owned()),
            (4, 3, false, ANNA.to_owned()),
            (3, 2, false, ANNA.to_owned()),
            (2, 1, false, ANNA.to_owned()),
            (1, 0, false, ANNA.to_owned())
        ]
    );
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.restore_layout('{d}', 4)")
        ),
        "6"
    );
    assert_eq!(table(&mut client, &content), before);
    assert_eq!(
        value(
            &mut client,
            "SELECT layout_config || filter_config FROM reporting.dashboards"
        ),
        "{}"
    );
    // Again: it looks like that already, and that is no new version.
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.restore_layout('{d}', 4)")
        ),
        "6"
    );
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.restore_layout('{d}', 5)")
        ),
        "7"
    );
    assert_eq!(
        places(&mut client, &d),
        ["b | 12 0 12 1", "c | 0 8 6 4", "n | 0 0 4 4"]
    );
    assert_eq!(
        outcome(
            &mut client,
            "authenticated",
            Some(ANNA),
            &format!("SELECT reporting.restore_layout('{d}', 99)")
        ),
        "P0002"
    );
    assert_eq!(
        outcome(
            &mut client,
            "authenticated",
            Some(ANNA),
            &format!("SELECT reporting.restore_layout('{d}', NULL)")
        ),
        "P0002"
    );
    // So many are kept.
    client.batch_execute("UPDATE reporting.settings SET keep_versions = 3")?;
    asked(
        &mut client,
        ANNA,
        &format!("SELECT reporting.restore_layout('{d}', 4)"),
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT version FROM reporting.dashboard_versions ORDER BY 1"
        ),
        ["6", "7", "8"]
    );
    Ok(())
}

/// Two who put something in the same place at once: one of them does.
#[test]
fn two_do_not_put_something_in_the_same_place() -> Result<()> {
    let db = extended("dashboards_race")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let d = asked(&mut client, ANNA, "SELECT reporting.create_dashboard('d')");
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let mut first = db.connect()?;
        let mut second = db.connect()?;
        let place = format!(
            "{{\"x\": 0, \"y\": {}, \"width\": 6, \"height\": 4}}",
            level.len() * 10
        );
        let add = |name: &str| {
            format!(
                "SELECT reporting.add_widget('{d}', 'text', 't', '{{\"content\": \"\"}}', '{place}', widget_id => '{name} {level}')"
            )
        };
        let mut one = first.build_transaction().start()?;
        one.batch_execute(&add("one"))?;
        let waiting = std::thread::spawn({
            let (begin, sql) = (
                format!("BEGIN ISOLATION LEVEL {level}; SELECT 1"),
                add("other"),
            );
            move || {
                second.batch_execute(&begin)?;
                second.batch_execute(&sql)?;
                second.batch_execute("COMMIT")
            }
        });
        ensure!(
            comes_true(|| value(
                &mut client,
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            ) == "1"),
            "the second one did not wait for the first"
        );
        one.commit()?;
        let result = waiting
            .join()
            .map_err(|_| anyhow::anyhow!("the second session panicked"))?;
        expect_sqlstate(
            result,
            if level == "READ COMMITTED" {
                "23P01"
            } else {
                "40001"
            },
        );
    }
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM reporting.dashboard_widgets"
        ),
        "3"
    );
    Ok(())
}

/// Moving, restoring, adding and removing at once: they wait for each other and never stand in each other's way.
#[test]
fn many_change_one_dashboard_at_once() -> Result<()> {
    let db = extended("dashboards_turns")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    client.batch_execute("UPDATE reporting.settings SET keep_versions = 10000")?;
    let d = asked(&mut client, ANNA, "SELECT reporting.create_dashboard('d')");
    for name in ["a", "b"] {
        text_widget(&mut client, &d, name, "NULL")?;
    }
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..6)
            .map(|number| {
                let (db, d) = (&db, &d);
                scope.spawn(move || -> Result<()> {
                    let mut client = db.connect()?;
                    for round in 0..40 {
                        let call = match (number + round) % 4 {
                            0 => format!("SELECT reporting.move_widgets('{d}', '{{\"a\": {{\"x\": 6, \"y\": {}, \"width\": 6, \"height\": 4}}}}')", 100 + round * 4),
                            1 => format!("SELECT reporting.restore_layout('{d}', 3)"),
                            2 => format!("SELECT reporting.add_widget('{d}', 'text', 't', '{{\"content\": \"\"}}', widget_id => 'w{number}.{round}')"),
                            _ => format!("SELECT reporting.remove_widget('{d}', 'w{number}.{}')", round - 1),
                        };
                        ask(&mut client, "authenticated", Some(ANNA), &call)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        Ok(())
    })?;
    assert_eq!(
        value(
            &mut client,
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ),
        "0"
    );
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT count(*) = max(version) FROM reporting.layout_versions('{d}')")
        ),
        "true"
    );
    Ok(())
}

#[test]
fn sharing_says_what_is_wrong() -> Result<()> {
    let db = extended("dashboards_share")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let d = dashboard(&mut client, ANNA, "d", SALES)?;
    let houses = ask(
        &mut client,
        "service_role",
        None,
        "SELECT reporting.create_dashboard('the house''s')",
    )?;
    for (role, user, call, code) in [
        (
            "authenticated",
            Some(ANNA),
            format!("'{d}', '{ANNA}'"),
            "22023",
        ),
        ("authenticated", Some(ANNA), format!("'{d}', NULL"), "22023"),
        (
            "authenticated",
            Some(ANNA),
            format!("'{d}', '{BEN}', 'own'"),
            "22023",
        ),
        (
            "authenticated",
            Some(ANNA),
            format!("'{d}', '{BEN}', NULL"),
            "22023",
        ),
        (
            "authenticated",
            Some(ANNA),
            format!("'{d}', gen_random_uuid()"),
            "23503",
        ),
        (
            "authenticated",
            Some(ANNA),
            format!("NULL, '{BEN}'"),
            "P0002",
        ),
        (
            "service_role",
            None,
            format!("'{houses}', '{BEN}'"),
            "55000",
        ),
    ] {
        let result = as_user(&mut client, role, user, |tx| {
            tx.batch_execute(&format!("SELECT reporting.share_dashboard({call})"))
        });
        let error = expect_sqlstate(result, code);
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{error:?}"
        );
        assert_eq!(
            error.message().chars().next().map(char::is_lowercase),
            Some(true),
            "{error:?}"
        );
    }
    // By the application, in the owner's name.
    assert_eq!(
        ask(
            &mut client,
            "service_role",
            None,
            &format!("SELECT reporting.share_dashboard('{d}', '{BEN}', 'edit')")
        )?,
        "true"
    );
    assert_eq!(
        table(
            &mut client,
            "SELECT shared_by_user_id, shared_with_user_id, permission_level FROM reporting.dashboard_shares"
        ),
        [format!("{ANNA} | {BEN} | edit")]
    );
    Ok(())
}
