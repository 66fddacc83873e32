//! Who may read and change which dashboard, by policies alone; and who tries to get further.

mod reporting_support;

use anyhow::Result;
use gemba_tests::{Database, as_user, expect_sqlstate, extended, table, value};
use postgres::Client;
use reporting_support::*;

/// Dashboards of Anna's: one shared with Ben to see and with Cleo to change, a public one, a template.
struct House {
    client: Client,
    shared: String,
    public: String,
    template: String,
    _db: Database<'static>,
}

fn house(name: &str) -> Result<House> {
    let db = extended(name)?;
    let mut client = db.connect()?;
    people(&mut client)?;
    let shared = dashboard(&mut client, ANNA, "shared", SALES)?;
    let public = dashboard(&mut client, ANNA, "public", SALES)?;
    let template = dashboard(&mut client, ANNA, "template", SECRET)?;
    for statement in [
        format!("SELECT reporting.share_dashboard('{shared}', '{BEN}')"),
        format!("SELECT reporting.share_dashboard('{shared}', '{CLEO}', 'edit')"),
        format!("UPDATE reporting.dashboards SET is_public = true WHERE dashboard_id = '{public}'"),
        format!("UPDATE reporting.dashboards SET is_template = true WHERE dashboard_id = '{template}'"),
        format!(
            "INSERT INTO reporting.ai_insights (dashboard_id, query_text, response_text, is_private)
             SELECT id, 'why?', 'because', private FROM reporting.dashboards, (VALUES (true), (false)) AS v(private)
              WHERE dashboard_id = '{shared}'"
        ),
    ] {
        as_user(&mut client, "authenticated", Some(ANNA), |tx| tx.batch_execute(&statement))?;
    }
    Ok(House {
        client,
        shared,
        public,
        template,
        _db: db,
    })
}

/// The people of the matrix, in the order of its columns: owner, may see, may edit, stranger, nobody logged in,
/// no login at all, the application.
const PEOPLE: [(&str, Option<&str>); 7] = [
    ("authenticated", Some(ANNA)),
    ("authenticated", Some(BEN)),
    ("authenticated", Some(CLEO)),
    ("authenticated", Some(DORA)),
    ("authenticated", None),
    ("anon", None),
    ("service_role", None),
];

#[test]
fn every_role_and_every_command() -> Result<()> {
    let House {
        mut client,
        shared,
        public,
        template,
        _db,
    } = house("access_matrix")?;
    let s = id_of(&mut client, &shared);
    let p = id_of(&mut client, &public);
    let t = id_of(&mut client, &template);
    let card = source(SALES);
    let place = "{\"x\": 0, \"y\": 50, \"width\": 2, \"height\": 2}";
    // Rows found or changed, or the SQLSTATE; N stands for 42501.
    #[rustfmt::skip]
    let matrix: &[(String, [&str; 7])] = &[
        // What can be seen.
        (format!("SELECT FROM reporting.dashboards WHERE id = '{s}'"), ["1", "1", "1", "0", "0", "N", "1"]),
        (format!("SELECT FROM reporting.dashboards WHERE id = '{p}'"), ["1", "1", "1", "1", "1", "N", "1"]),
        (format!("SELECT FROM reporting.dashboards WHERE id = '{t}'"), ["1", "1", "1", "1", "1", "N", "1"]),
        ("SELECT FROM reporting.dashboards".into(), ["3", "3", "3", "2", "2", "N", "3"]),
        ("SELECT FROM reporting.my_dashboards".into(), ["3", "1", "1", "0", "0", "N", "0"]),
        (format!("SELECT FROM reporting.dashboard_widgets WHERE dashboard_id = '{s}'"), ["1", "1", "1", "0", "0", "N", "1"]),
        (format!("SELECT FROM reporting.dashboard_widgets WHERE dashboard_id = '{p}'"), ["1", "1", "1", "1", "1", "N", "1"]),
        ("SELECT FROM reporting.dashboard_shares".into(), ["2", "1", "1", "0", "0", "N", "2"]),
        (format!("SELECT FROM reporting.dashboard_versions WHERE dashboard_id = '{s}'"), ["2", "0", "2", "0", "0", "N", "2"]),
        ("SELECT FROM reporting.dashboard_sources".into(), ["3", "0", "1", "0", "0", "N", "3"]),
        ("SELECT FROM reporting.ai_insights".into(), ["2", "1", "1", "0", "0", "N", "2"]),
        ("SELECT FROM reporting.workflows".into(), ["2", "0", "1", "1", "0", "N", "4"]),
        ("SELECT FROM reporting.amc_instances".into(), ["1", "0", "1", "1", "0", "N", "1"]),
        // The template's data is nobody's but Anna's; what the public dashboard shows is everybody's.
        ("SELECT FROM reporting.report_data_aggregates".into(), ["2", "1", "2", "2", "0", "N", "4"]),
        (format!("SELECT FROM reporting.report_data_aggregates WHERE workflow_id = '{SECRET}'"), ["1", "0", "0", "0", "0", "N", "1"]),
        // Dashboards.
        (format!("UPDATE reporting.dashboards SET layout_config = '{{\"columns\": 24}}' WHERE id = '{s}'"), ["1", "0", "1", "0", "0", "N", "1"]),
        (format!("UPDATE reporting.dashboards SET filter_config = '{{\"custom\": {{}}}}' WHERE id = '{s}'"), ["1", "0", "1", "0", "0", "N", "1"]),
        (format!("UPDATE reporting.dashboards SET name = 'mine' WHERE id = '{s}'"), ["1", "0", "N", "0", "0", "N", "1"]),
        (format!("UPDATE reporting.dashboards SET is_public = true WHERE id = '{s}'"), ["1", "0", "N", "0", "0", "N", "1"]),
        (format!("UPDATE reporting.dashboards SET is_template = true WHERE id = '{s}'"), ["1", "0", "N", "0", "0", "N", "1"]),
        (format!("UPDATE reporting.dashboards SET name = 'mine' WHERE id = '{p}'"), ["1", "0", "0", "0", "0", "N", "1"]),
        (format!("UPDATE reporting.dashboards SET name = 'mine' WHERE id = '{t}'"), ["1", "0", "0", "0", "0", "N", "1"]),
        (format!("DELETE FROM reporting.dashboards WHERE id = '{s}'"), ["1", "0", "0", "0", "0", "N", "1"]),
        ("DELETE FROM reporting.dashboards".into(), ["3", "0", "0", "0", "0", "N", "3"]),
        (format!("INSERT INTO reporting.dashboards (name, user_id) VALUES ('a', '{ANNA}')"), ["1", "N", "N", "N", "N", "N", "1"]),
        ("INSERT INTO reporting.dashboards (name) VALUES ('a')".into(), ["1", "1", "1", "1", "N", "N", "1"]),
        // Widgets.
        (format!("INSERT INTO reporting.dashboard_widgets (dashboard_id, widget_type, title, data_source, position_config)
                  VALUES ('{s}', 'metric_card', 't', '{card}', '{place}')"), ["1", "N", "1", "N", "N", "N", "1"]),
        (format!("INSERT INTO reporting.dashboard_widgets (dashboard_id, widget_type, title, data_source, position_config)
                  VALUES ('{p}', 'metric_card', 't', '{card}', '{place}')"), ["1", "N", "N", "N", "N", "N", "1"]),
        (format!("UPDATE reporting.dashboard_widgets SET title = 'x' WHERE dashboard_id = '{s}'"), ["1", "0", "1", "0", "0", "N", "1"]),
        (format!("UPDATE reporting.dashboard_widgets SET title = 'x' WHERE dashboard_id = '{p}'"), ["1", "0", "0", "0", "0", "N", "1"]),
        (format!("DELETE FROM reporting.dashboard_widgets WHERE dashboard_id = '{s}'"), ["1", "0", "1", "0", "0", "N", "1"]),
        ("DELETE FROM reporting.dashboard_widgets".into(), ["3", "0", "1", "0", "0", "N", "3"]),
        // Shares.
        (format!("INSERT INTO reporting.dashboard_shares (dashboard_id, shared_with_user_id, shared_by_user_id)
                  VALUES ('{s}', '{DORA}', '{ANNA}')"), ["1", "N", "N", "N", "N", "N", "1"]),
        (format!("INSERT INTO reporting.dashboard_shares (dashboard_id, shared_with_user_id) VALUES ('{p}', '{BEN}')"),
         ["1", "N", "N", "N", "N", "N", "23502"]),
        ("UPDATE reporting.dashboard_shares SET permission_level = 'edit'".into(), ["2", "0", "0", "0", "0", "N", "2"]),
        ("DELETE FROM reporting.dashboard_shares".into(), ["2", "1", "1", "0", "0", "N", "2"]),
        // What a dashboard shows.
        (format!("INSERT INTO reporting.dashboard_sources VALUES ('{s}', '{SECRET}')"), ["1", "N", "N", "N", "N", "N", "1"]),
        (format!("INSERT INTO reporting.dashboard_sources VALUES ('{s}', '{OF_CLEO}')"), ["N", "N", "1", "N", "N", "N", "1"]),
        (format!("DELETE FROM reporting.dashboard_sources WHERE dashboard_id = '{s}'"), ["1", "0", "1", "0", "0", "N", "1"]),
        (format!("DELETE FROM reporting.dashboard_sources WHERE dashboard_id = '{p}'"), ["1", "0", "0", "0", "0", "N", "1"]),
        // Versions are written by triggers.
        (format!("INSERT INTO reporting.dashboard_versions VALUES ('{s}', 99, '{{}}', '{{}}', '[]')"), ["N"; 7]),
        ("UPDATE reporting.dashboard_versions SET version = 5".into(), ["N"; 7]),
        ("DELETE FROM reporting.dashboard_versions".into(), ["N", "N", "N", "N", "N", "N", "6"]),
        // Insights.
        (format!("INSERT INTO reporting.ai_insights (dashboard_id, query_text, response_text) VALUES ('{s}', 'q', 'r')"),
         ["1", "N", "1", "N", "N", "N", "23502"]),
        (format!("INSERT INTO reporting.ai_insights (dashboard_id, query_text, response_text, is_private) VALUES ('{s}', 'q', 'r', true)"),
         ["1", "1", "1", "N", "N", "N", "23502"]),
        (format!("INSERT INTO reporting.ai_insights (dashboard_id, query_text, response_text) VALUES ('{p}', 'q', 'r')"),
         ["1", "N", "N", "N", "N", "N", "23502"]),
        ("INSERT INTO reporting.ai_insights (query_text, response_text) VALUES ('q', 'r')".into(),
         ["1", "1", "1", "1", "N", "N", "23502"]),
        (format!("INSERT INTO reporting.ai_insights (user_id, query_text, response_text) VALUES ('{ANNA}', 'q', 'r')"),
         ["1", "N", "N", "N", "N", "N", "1"]),
        ("UPDATE reporting.ai_insights SET is_private = false".into(), ["N", "N", "N", "N", "N", "N", "2"]),
        ("DELETE FROM reporting.ai_insights".into(), ["2", "0", "0", "0", "0", "N", "2"]),
        // The application's own: users read theirs and write nothing.
        ("UPDATE reporting.workflows SET user_id = user_id".into(), ["N", "N", "N", "N", "N", "N", "4"]),
        ("UPDATE reporting.report_data_aggregates SET metrics = '{}'".into(), ["N", "N", "N", "N", "N", "N", "4"]),
        ("DELETE FROM reporting.report_data_collections".into(), ["N", "N", "N", "N", "N", "N", "0"]),
        ("DELETE FROM reporting.report_data_weeks".into(), ["N", "N", "N", "N", "N", "N", "N"]),
        ("DELETE FROM reporting.metric_definitions".into(), ["N", "N", "N", "N", "N", "N", "6"]),
        ("UPDATE reporting.settings SET max_weeks = 4".into(), ["N", "N", "N", "N", "N", "N", "1"]),
        ("SELECT FROM reporting.settings".into(), ["1", "1", "1", "1", "1", "N", "1"]),
        // And what functions make of that.
        (format!("SELECT reporting.add_widget('{shared}', 'text', 't', '{{\"content\": \"c\"}}')"), ["1", "N", "1", "P0002", "P0002", "N", "1"]),
        (format!("SELECT reporting.remove_widget('{shared}', 'card')"), ["1", "N", "1", "P0002", "P0002", "N", "1"]),
        (format!("SELECT reporting.move_widgets('{shared}', '{{}}')"), ["1", "N", "1", "P0002", "P0002", "N", "1"]),
        (format!("SELECT reporting.share_dashboard('{shared}', '{DORA}')"), ["1", "N", "N", "P0002", "P0002", "N", "1"]),
        (format!("SELECT reporting.share_dashboard('{public}', '{DORA}')"), ["1", "N", "N", "N", "N", "N", "1"]),
        (format!("SELECT reporting.unshare('{shared}', '{BEN}')"), ["1", "1", "N", "P0002", "P0002", "N", "1"]),
        (format!("SELECT FROM reporting.layout_versions('{shared}')"), ["2", "N", "2", "P0002", "P0002", "N", "2"]),
        (format!("SELECT reporting.restore_layout('{shared}', 1)"), ["1", "N", "1", "P0002", "P0002", "N", "1"]),
        (format!("SELECT reporting.duplicate_dashboard('{shared}')"), ["1", "1", "1", "P0002", "P0002", "N", "1"]),
        (format!("SELECT reporting.duplicate_dashboard('{public}')"), ["1", "1", "1", "1", "N", "N", "1"]),
        (format!("SELECT reporting.create_from_template('{template}', 'new')"), ["1", "1", "1", "1", "N", "N", "1"]),
        (format!("SELECT reporting.create_from_template('{public}', 'new')"), ["22023", "22023", "22023", "22023", "22023", "N", "22023"]),
        ("SELECT reporting.create_dashboard('d')".into(), ["1", "1", "1", "1", "N", "N", "1"]),
        (format!("SELECT reporting.create_dashboard('d', owner => '{ANNA}')"), ["1", "N", "N", "N", "N", "N", "1"]),
    ];
    let mut wrong = String::new();
    for (sql, expected) in matrix {
        for ((role, user), expected) in PEOPLE.into_iter().zip(expected) {
            let expected = if *expected == "N" { "42501" } else { expected };
            let found = outcome(&mut client, role, user, sql);
            if found != expected {
                wrong += &format!("{role} {user:?}: {found} instead of {expected}: {sql}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    Ok(())
}

#[test]
fn nobody_gets_further_than_that() -> Result<()> {
    let House {
        mut client,
        shared,
        public,
        template,
        _db,
    } = house("access_escalation")?;
    let s = id_of(&mut client, &shared);
    let own = dashboard(&mut client, CLEO, "own", OF_CLEO)?;
    let o = id_of(&mut client, &own);
    for (who, sql) in [
        // Taking a dashboard over, or giving one to somebody.
        (CLEO, format!("UPDATE reporting.dashboards SET user_id = '{CLEO}' WHERE id = '{s}'")),
        (CLEO, format!("UPDATE reporting.dashboards SET user_id = '{ANNA}' WHERE id = '{o}'")),
        (CLEO, format!("UPDATE reporting.dashboards SET id = gen_random_uuid() WHERE id = '{o}'")),
        (CLEO, format!("UPDATE reporting.dashboards SET dashboard_id = '{shared}x' WHERE id = '{o}'")),
        (CLEO, format!("UPDATE reporting.dashboards SET version = 1 WHERE id = '{o}'")),
        (CLEO, format!("INSERT INTO reporting.dashboards (id, name) VALUES ('{s}', 'same')")),
        (CLEO, format!("INSERT INTO reporting.dashboards (dashboard_id, name) VALUES ('{shared}', 'same')")),
        // Moving a widget to another dashboard, in either direction.
        (CLEO, format!("UPDATE reporting.dashboard_widgets SET dashboard_id = '{o}' WHERE dashboard_id = '{s}'")),
        (CLEO, format!("UPDATE reporting.dashboard_widgets SET dashboard_id = '{s}' WHERE dashboard_id = '{o}'")),
        // Sharing onward, as oneself or in the owner's name, or moving a share.
        (CLEO, format!("INSERT INTO reporting.dashboard_shares (dashboard_id, shared_with_user_id) VALUES ('{s}', '{DORA}')")),
        (CLEO, format!("INSERT INTO reporting.dashboard_shares (dashboard_id, shared_with_user_id, shared_by_user_id)
                        VALUES ('{s}', '{DORA}', '{ANNA}')")),
        (BEN, format!("UPDATE reporting.dashboard_shares SET shared_with_user_id = '{DORA}'")),
        (BEN, format!("UPDATE reporting.dashboard_shares SET dashboard_id = '{o}'")),
        (ANNA, format!("INSERT INTO reporting.dashboard_shares (dashboard_id, shared_with_user_id, shared_by_user_id)
                        VALUES ('{s}', '{DORA}', '{BEN}')")),
        // What is inside.
        (CLEO, format!("SELECT reporting._keep_layouts(ARRAY['{s}'::uuid])")),
        (CLEO, format!("SELECT reporting._check_layout('{s}')")),
        (CLEO, "SELECT gemba._user()".to_owned()),
        (CLEO, "TRUNCATE reporting.dashboards CASCADE".to_owned()),
        (CLEO, "ALTER TABLE reporting.dashboards DISABLE ROW LEVEL SECURITY".to_owned()),
        (CLEO, "CREATE POLICY mine ON reporting.dashboards USING (true)".to_owned()),
    ] {
        let found = outcome(&mut client, "authenticated", Some(who), &sql);
        assert_eq!(found, "42501", "{sql}");
    }
    // A viewer does not make himself an editor.
    assert_eq!(
        outcome(
            &mut client,
            "authenticated",
            Some(BEN),
            "UPDATE reporting.dashboard_shares SET permission_level = 'edit'"
        ),
        "0"
    );
    // What one may not see does not exist, whether it does or not.
    let hidden = as_user(&mut client, "authenticated", Some(DORA), |tx| {
        tx.batch_execute(&format!("SELECT reporting.duplicate_dashboard('{shared}')"))
    });
    let hidden = expect_sqlstate(hidden, "P0002");
    let unknown = as_user(&mut client, "authenticated", Some(DORA), |tx| {
        tx.batch_execute("SELECT reporting.duplicate_dashboard('dash_000000000000000000000000')")
    });
    let unknown = expect_sqlstate(unknown, "P0002");
    assert_eq!(
        (hidden.message(), hidden.hint()),
        (unknown.message(), unknown.hint())
    );
    // Putting somebody else's workflow into one's own widget shows nothing.
    let mine = dashboard(&mut client, DORA, "curious", SECRET)?;
    let sees = format!(
        "SELECT count(*) FROM reporting.report_data_aggregates WHERE workflow_id = '{SECRET}'"
    );
    assert_eq!(asked(&mut client, DORA, &sees), "0");
    // Nor does an editor get at what the owner has not put there.
    as_user(&mut client, "authenticated", Some(CLEO), |tx| {
        tx.batch_execute(&format!(
            "SELECT reporting.add_widget('{shared}', 'metric_card', 't', '{}')",
            source(SECRET)
        ))
    })?;
    assert_eq!(asked(&mut client, CLEO, &sees), "0");
    assert_eq!(asked(&mut client, BEN, &sees), "0");
    assert_eq!(
        table(&mut client, &format!(
            "SELECT d.dashboard_id = '{mine}', w.name FROM reporting.dashboard_sources s JOIN reporting.dashboards d ON d.id = s.dashboard_id
               JOIN reporting.workflows w ON w.id = s.workflow_id WHERE d.dashboard_id IN ('{mine}', '{shared}') ORDER BY 1, 2")),
        ["f | sales"]
    );
    // A copy of a template has the template's widgets, and not its data.
    let copy = asked(
        &mut client,
        DORA,
        &format!("SELECT reporting.create_from_template('{template}', 'copy')"),
    );
    assert_eq!(asked(&mut client, DORA, &sees), "0");
    assert_eq!(
        asked(&mut client, DORA, &format!(
            "SELECT count(*) FROM reporting.dashboard_widgets w JOIN reporting.dashboards d ON d.id = w.dashboard_id
              WHERE d.dashboard_id = '{copy}'")),
        "1"
    );
    // Nor is it anybody else's business.
    assert_eq!(
        outcome(
            &mut client,
            "authenticated",
            Some(ANNA),
            &format!("SELECT FROM reporting.dashboards WHERE dashboard_id = '{copy}'")
        ),
        "0"
    );
    let _ = public;
    Ok(())
}

#[test]
fn what_is_taken_back_is_gone_at_once() -> Result<()> {
    let House {
        mut client,
        shared,
        public,
        _db,
        ..
    } = house("access_revoked")?;
    let s = id_of(&mut client, &shared);
    let everything = [
        format!("SELECT count(*) FROM reporting.dashboards WHERE id = '{s}'"),
        format!("SELECT count(*) FROM reporting.dashboard_widgets WHERE dashboard_id = '{s}'"),
        format!("SELECT count(*) FROM reporting.ai_insights WHERE dashboard_id = '{s}'"),
        "SELECT count(*) FROM reporting.my_dashboards".to_owned(),
        format!(
            "SELECT count(*) FROM reporting.report_data_aggregates WHERE workflow_id = '{SALES}'"
        ),
    ];
    let sees = |client: &mut Client, user: &str| -> Vec<String> {
        everything
            .iter()
            .map(|sql| asked(client, user, sql))
            .collect()
    };
    assert_eq!(sees(&mut client, BEN), ["1", "1", "1", "1", "1"]);
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.unshare('{shared}', '{BEN}')")
        ),
        "true"
    );
    // The public dashboard still shows the same workflow.
    assert_eq!(sees(&mut client, BEN), ["0", "0", "0", "0", "1"]);
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "UPDATE reporting.dashboards SET is_public = false WHERE dashboard_id = '{public}'"
        ))
    })?;
    assert_eq!(sees(&mut client, BEN), ["0", "0", "0", "0", "0"]);
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.unshare('{shared}', '{BEN}')")
        ),
        "false"
    );
    // From editing back to seeing.
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.share_dashboard('{shared}', '{CLEO}')")
        ),
        "true"
    );
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            &format!("SELECT reporting.share_dashboard('{shared}', '{CLEO}')")
        ),
        "false"
    );
    let rename =
        format!("UPDATE reporting.dashboard_widgets SET title = 'x' WHERE dashboard_id = '{s}'");
    assert_eq!(
        outcome(&mut client, "authenticated", Some(CLEO), &rename),
        "0"
    );
    // Who was given a share gives it back.
    assert_eq!(
        asked(
            &mut client,
            CLEO,
            &format!("SELECT reporting.unshare('{shared}', '{CLEO}')")
        ),
        "true"
    );
    assert_eq!(sees(&mut client, CLEO), ["0", "0", "0", "0", "0"]);
    // A workflow goes from the dashboard with the last widget that shows it, or when its owner says so.
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "SELECT reporting.share_dashboard('{shared}', '{BEN}');
             SELECT reporting.add_widget('{shared}', 'metric_card', 'again', '{}', widget_id => 'second')",
            source(SALES)
        ))
    })?;
    assert_eq!(sees(&mut client, BEN)[4], "1");
    asked(
        &mut client,
        ANNA,
        &format!("SELECT reporting.remove_widget('{shared}', 'card')"),
    );
    assert_eq!(sees(&mut client, BEN)[4], "1");
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "UPDATE reporting.dashboard_widgets SET data_source = '{}' WHERE dashboard_id = '{s}'",
            source(SECRET)
        ))
    })?;
    assert_eq!(sees(&mut client, BEN)[4], "0");
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT string_agg(workflow_id::text, ' ') FROM reporting.dashboard_sources WHERE dashboard_id = '{s}'"
            )
        ),
        SECRET
    );
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "DELETE FROM reporting.dashboard_sources WHERE dashboard_id = '{s}'"
        ))
    })?;
    assert_eq!(
        asked(
            &mut client,
            BEN,
            &format!(
                "SELECT count(*) FROM reporting.report_data_aggregates WHERE workflow_id = '{SECRET}'"
            )
        ),
        "0"
    );
    // A dashboard that is deleted takes everything along but the answers.
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "DELETE FROM reporting.dashboards WHERE id = '{s}'"
        ))
    })?;
    assert_eq!(sees(&mut client, BEN), ["0", "0", "0", "0", "0"]);
    assert_eq!(
        table(&mut client, "SELECT (SELECT count(*) FROM reporting.dashboard_widgets), (SELECT count(*) FROM reporting.dashboard_versions),
                                   (SELECT count(*) FROM reporting.dashboard_shares), (SELECT count(*) FROM reporting.ai_insights WHERE dashboard_id IS NULL)"),
        ["2 | 4 | 0 | 2"]
    );
    assert_eq!(
        asked(
            &mut client,
            ANNA,
            "SELECT count(*) FROM reporting.ai_insights"
        ),
        "2"
    );
    assert_eq!(
        asked(
            &mut client,
            BEN,
            "SELECT count(*) FROM reporting.ai_insights"
        ),
        "0"
    );
    Ok(())
}

/// Consent is given by putting one's workflow into a widget, and by nothing else.
#[test]
fn nobody_agrees_by_accident() -> Result<()> {
    let House {
        mut client, shared, ..
    } = house("access_consent")?;
    let s = id_of(&mut client, &shared);
    let secret = format!(
        "SELECT count(*) FROM reporting.report_data_aggregates WHERE workflow_id = '{SECRET}'"
    );
    let sales = format!(
        "SELECT count(*) FROM reporting.report_data_aggregates WHERE workflow_id = '{SALES}'"
    );
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute("UPDATE reporting.dashboards SET is_public = false")
    })?;
    // An editor names the owner's other workflow, and waits for her to touch the widget.
    as_user(&mut client, "authenticated", Some(CLEO), |tx| {
        tx.batch_execute(&format!(
            "SELECT reporting.add_widget('{shared}', 'metric_card', 't', '{}', widget_id => 'trap')",
            source(SECRET)
        ))
    })?;
    for touch in [
        format!(
            "SELECT reporting.move_widgets('{shared}', '{{\"trap\": {{\"x\": 0, \"y\": 70, \"width\": 2, \"height\": 2}}}}')"
        ),
        format!("UPDATE reporting.dashboard_widgets SET title = 'mine' WHERE dashboard_id = '{s}'"),
        format!(
            "UPDATE reporting.dashboard_widgets SET data_source = data_source || '{{\"compare\": false}}' WHERE dashboard_id = '{s}'"
        ),
        format!(
            "SELECT reporting.restore_layout('{shared}', (SELECT max(version) - 1 FROM reporting.layout_versions('{shared}')))"
        ),
        format!("SELECT reporting.remove_widget('{shared}', 'trap')"),
        format!(
            "SELECT reporting.restore_layout('{shared}', (SELECT max(version) - 1 FROM reporting.layout_versions('{shared}')))"
        ),
    ] {
        asked(
            &mut client,
            ANNA,
            &format!(
                "SELECT count(*) FROM ({}) AS t",
                if touch.starts_with("SELECT") {
                    touch.clone()
                } else {
                    "SELECT 1".into()
                }
            ),
        );
        if !touch.starts_with("SELECT") {
            as_user(&mut client, "authenticated", Some(ANNA), |tx| {
                tx.batch_execute(&touch)
            })?;
        }
        for user in [BEN, CLEO] {
            assert_eq!(asked(&mut client, user, &secret), "0", "after {touch}");
        }
    }
    // What the owner has taken back stays so until she puts it there again.
    assert_eq!(asked(&mut client, BEN, &sales), "1");
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "DELETE FROM reporting.dashboard_sources WHERE dashboard_id = '{s}'"
        ))
    })?;
    let drag = format!(
        "SELECT reporting.move_widgets('{shared}', '{{\"card\": {{\"x\": 8, \"y\": 60, \"width\": 2, \"height\": 2}}}}')"
    );
    assert_eq!(asked(&mut client, ANNA, &drag), "1");
    assert_eq!(asked(&mut client, BEN, &sales), "0");
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "SELECT reporting.add_widget('{shared}', 'metric_card', 't', '{}')",
            source(SALES)
        ))
    })?;
    assert_eq!(asked(&mut client, BEN, &sales), "1");
    // The application copies for a stranger what the stranger may not see.
    let curious = dashboard(&mut client, DORA, "curious", SECRET)?;
    for call in [
        format!("SELECT reporting.duplicate_dashboard('{curious}', 'copy', owner => '{DORA}')"),
        format!(
            "SELECT reporting.move_widgets('{curious}', '{{\"card\": {{\"x\": 8, \"y\": 60, \"width\": 2, \"height\": 2}}}}')"
        ),
        format!("SELECT reporting.restore_layout('{curious}', 1)"),
        format!("SELECT reporting.restore_layout('{curious}', 2)"),
    ] {
        ask(&mut client, "service_role", None, &call)?;
        assert_eq!(asked(&mut client, DORA, &secret), "0", "after {call}");
    }
    // And a workflow that changes hands is shown by nobody any more.
    assert_eq!(asked(&mut client, BEN, &sales), "1");
    client.batch_execute(&format!(
        "UPDATE reporting.workflows SET user_id = '{DORA}' WHERE id = '{SALES}'"
    ))?;
    for (user, expected) in [(ANNA, "0"), (BEN, "0"), (DORA, "1")] {
        assert_eq!(asked(&mut client, user, &sales), expected);
    }
    // The same user may be both at once, after a dashboard has changed hands.
    client.batch_execute(&format!(
        "UPDATE reporting.dashboards SET user_id = '{BEN}' WHERE id = '{s}'"
    ))?;
    assert_eq!(
        asked(
            &mut client,
            BEN,
            &format!("SELECT permission FROM reporting.my_dashboards WHERE id = '{s}'")
        ),
        "owner"
    );
    Ok(())
}

/// One session, many people: nothing that was answered for one is answered for another.
#[test]
fn answers_are_remembered_for_one_query_only() -> Result<()> {
    let House {
        mut client,
        shared,
        public,
        ..
    } = house("access_memory")?;
    let sees = format!(
        "SELECT count(*) FROM reporting.report_data_aggregates WHERE workflow_id = '{SALES}'"
    );
    as_user(&mut client, "authenticated", Some(ANNA), |tx| {
        tx.batch_execute(&format!(
            "UPDATE reporting.dashboards SET is_public = false WHERE dashboard_id = '{public}'"
        ))
    })?;
    let mut tx = client
        .build_transaction()
        .isolation_level(postgres::IsolationLevel::RepeatableRead)
        .start()?;
    tx.batch_execute("SET LOCAL ROLE authenticated")?;
    let statement = tx.prepare(&sees)?;
    for (user, expected) in [(BEN, 1), (DORA, 0), (ANNA, 1), (DORA, 0), (CLEO, 1)] {
        tx.execute(
            "SELECT set_config('request.jwt.claims', $1, true)",
            &[&format!("{{\"sub\": \"{user}\"}}")],
        )?;
        assert_eq!(
            tx.query_one(&statement, &[])?.get::<_, i64>(0),
            expected,
            "{user}"
        );
        // Within one command of a function's, too.
        let found: i64 = tx.query_one("SELECT sum(reporting.is_shown(id)::int) FROM reporting.workflows, generate_series(1, 3)", &[])?
            .get::<_, Option<i64>>(0).unwrap_or(0);
        assert_eq!(found > 0, user == ANNA, "{user}");
    }
    // What the same transaction changes counts at once.
    tx.execute(
        "SELECT set_config('request.jwt.claims', $1, true)",
        &[&format!("{{\"sub\": \"{ANNA}\"}}")],
    )?;
    tx.batch_execute(&format!("SELECT reporting.unshare('{shared}', '{BEN}')"))?;
    tx.execute(
        "SELECT set_config('request.jwt.claims', $1, true)",
        &[&format!("{{\"sub\": \"{BEN}\"}}")],
    )?;
    assert_eq!(tx.query_one(&statement, &[])?.get::<_, i64>(0), 0);
    Ok(())
}

/// The indexes are used: a listing among very many dashboards reads few of them.
#[test]
fn a_listing_reads_what_it_lists() -> Result<()> {
    let db = extended("access_listing")?;
    let mut client = db.connect()?;
    people(&mut client)?;
    client.batch_execute(&format!(
        "INSERT INTO auth.users (email) SELECT 'u' || n FROM generate_series(1, 300) AS n;
         ALTER TABLE reporting.dashboards DISABLE TRIGGER USER;
         INSERT INTO reporting.dashboards (name, user_id)
         SELECT 'd' || n, u.id FROM generate_series(1, 20) AS n CROSS JOIN auth.users u WHERE u.email LIKE 'u%';
         ALTER TABLE reporting.dashboards ENABLE TRIGGER USER;
         INSERT INTO reporting.dashboard_shares (dashboard_id, shared_by_user_id, shared_with_user_id)
         SELECT d.id, d.user_id, '{BEN}' FROM (SELECT * FROM reporting.dashboards ORDER BY name LIMIT 30) AS d;
         UPDATE reporting.dashboards SET is_public = true WHERE id IN (SELECT id FROM reporting.dashboards ORDER BY id LIMIT 5);
         ANALYZE reporting.dashboards, reporting.dashboard_shares"
    ))?;
    for (sql, rows) in [
        ("SELECT * FROM reporting.my_dashboards", 30),
        ("SELECT * FROM reporting.dashboards", 35),
    ] {
        let plan: Vec<String> = as_user(&mut client, "authenticated", Some(BEN), |tx| {
            let found = tx.query(sql, &[])?.len();
            assert!((rows - 5..=rows).contains(&found), "{found} rows of {sql}");
            let lines = tx.query(
                &format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}"),
                &[],
            )?;
            Ok(lines.iter().map(|line| line.get(0)).collect())
        })?;
        assert!(
            !plan
                .iter()
                .any(|line| line.contains("Seq Scan on dashboards")),
            "{}",
            plan.join("\n")
        );
    }
    Ok(())
}
