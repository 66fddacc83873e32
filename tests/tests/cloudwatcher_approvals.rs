//! Who approves orders: how many, in which order, in whose place, and that nobody gets around it.

mod cloudwatcher_order_support;
mod cloudwatcher_support;

use anyhow::Result;
use cloudwatcher_order_support::*;
use cloudwatcher_support::*;
use gemba_tests::{table, value};
use postgres::Client;

fn set(client: &mut Client, sql: &str) -> Result<()> {
    client.batch_execute(sql)?;
    Ok(())
}

fn give(client: &mut Client, who: &str, role: &str) -> Result<()> {
    set(
        client,
        &format!(
            "INSERT INTO cloudwatcher.user_roles (user_id, role_id) SELECT '{who}', id FROM cloudwatcher.roles WHERE name = '{role}'"
        ),
    )
}

/// Makes a due time of everything that is pending: it was asked so long ago.
fn wait(client: &mut Client, escalate: &str, expire: &str) -> Result<()> {
    set(
        client,
        &format!(
            "UPDATE cloudwatcher.settings SET escalate_after = '{escalate}', approvals_expire_after = '{expire}'"
        ),
    )
}

/// `action level approver` of what escalation did.
fn escalate(client: &mut Client) -> Vec<String> {
    served(
        client,
        "SELECT concat_ws(' ', e.action, e.level, name_of(e.approver)) FROM cloudwatcher.escalate_approvals() AS e",
    )
}

#[test]
fn amounts_decide_how_many_approve() -> Result<()> {
    let (_db, mut client) = furnished("approvals_levels")?;
    // At each amount, and a cent above it.
    for (who, price, expected) in [
        (TECH_A, "0", "approved 0"),
        (TECH_A, "100", "approved 0"),
        (TECH_A, "100.01", "pending-approval north 1"),
        (TECH_A, "5000", "pending-approval north 1"),
        (TECH_A, "5000.01", "pending-approval north 2"),
        (TECH_A, "25000", "pending-approval north 2"),
        (TECH_A, "25000.01", "pending-approval north 3"),
        (NORTH, "5000", "approved 0"),
        (NORTH, "5000.01", "pending-approval head 2"),
        (HEAD, "5000.01", "pending-approval north 2"),
        (ADMIN, "25000", "approved 0"),
        (ADMIN, "25000.01", "pending-approval north 3"),
    ] {
        let order = draft(&mut client, who, AT_A);
        asked(
            &mut client,
            who,
            &format!("SELECT cloudwatcher.add_item('{order}', '{BELT}', 1, '{CHEAP}', {price})"),
        );
        let came = submit(&mut client, who, &order);
        if who == ADMIN && price == "25000.01" {
            // Besides the admin, who ordered, there are two.
            assert_eq!(came, "55000 nobody can approve this order");
            assert_eq!(stands(&mut client, &order), "draft 25000.01");
        } else {
            assert_eq!(came, expected, "{who} {price}");
        }
    }
    Ok(())
}

#[test]
fn roles_set_the_limits_and_add_up() -> Result<()> {
    let (_db, mut client) = furnished("approvals_roles")?;
    give(&mut client, TECH_A, "manager")?;
    submitted(&mut client, TECH_A, AT_A, 5, "approved 0");
    // A role that asks in any case gives nothing, and takes nothing away.
    give(&mut client, TECH_A, "viewer")?;
    submitted(&mut client, TECH_A, AT_A, 5, "approved 0");
    set(
        &mut client,
        "UPDATE cloudwatcher.roles SET requires_approval = true WHERE name = 'manager'",
    )?;
    submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    set(
        &mut client,
        "UPDATE cloudwatcher.roles SET requires_approval = true WHERE name = 'technician'",
    )?;
    let order = draft(&mut client, TECH_A, AT_A);
    add(&mut client, TECH_A, &order, FILTER, GOOD, 1);
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "pending-approval north 1"
    );
    // The settings count where a role says nothing of itself.
    set(
        &mut client,
        "UPDATE cloudwatcher.roles SET requires_approval = false WHERE name = 'technician';
                      UPDATE cloudwatcher.settings SET approval_thresholds = '{2000,3000}'",
    )?;
    submitted(&mut client, TECH_B, AT_B, 2, "approved 0");
    submitted(&mut client, TECH_B, AT_B, 3, "pending-approval north 1");
    submitted(&mut client, TECH_B, AT_B, 4, "pending-approval north 2");
    Ok(())
}

#[test]
fn one_after_the_other_up_the_tree() -> Result<()> {
    let (_db, mut client) = furnished("approvals_chain")?;
    let order = submitted(&mut client, TECH_A, AT_A, 26, "pending-approval north 3");
    assert_eq!(
        chain(&mut client, &order),
        "1:north:pending 2:head:waiting 3:admin:waiting"
    );
    // Nobody but who is asked, when he is asked.
    for who in [TECH_A, HEAD, ADMIN] {
        assert_eq!(
            decide(&mut client, who, &order, "approved"),
            match who {
                TECH_A => "42501 nobody approves an order of their own",
                _ => "42501 somebody else was asked to approve this order",
            }
        );
    }
    assert_eq!(
        decide(&mut client, SOUTH, &order, "approved"),
        "P0002 the order was not found"
    );
    assert_eq!(
        decide(&mut client, RETIRED, &order, "approved"),
        "42501 permission is missing"
    );
    assert_eq!(
        said_as(
            &mut client,
            "service_role",
            None,
            &format!("cloudwatcher.decide_approval('{order}', 'approved')")
        ),
        "42501 approvals are decided by people who are logged in"
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            "m.total_amount FROM cloudwatcher.my_approvals() AS m"
        ),
        "26000.00"
    );
    assert_eq!(
        said(
            &mut client,
            HEAD,
            "count(*) FROM cloudwatcher.my_approvals() AS m"
        ),
        "0"
    );
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "pending-approval head"
    );
    // Again: the same; otherwise: no.
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "pending-approval head"
    );
    assert_eq!(
        decide(&mut client, NORTH, &order, "rejected"),
        "55000 you have decided already"
    );
    assert_eq!(
        decide(&mut client, HEAD, &order, "approved"),
        "pending-approval admin"
    );
    assert_eq!(decide(&mut client, ADMIN, &order, "approved"), "approved");
    assert_eq!(decide(&mut client, ADMIN, &order, "approved"), "approved");
    assert_eq!(
        chain(&mut client, &order),
        "1:north:approved 2:head:approved 3:admin:approved"
    );
    assert_eq!(
        value(
            &mut client,
            &format!("SELECT approved_by FROM cloudwatcher.orders WHERE id = '{order}'")
        ),
        ADMIN
    );
    assert_eq!(
        history(&mut client, &order),
        "created:tech-a item-added:tech-a submitted:tech-a level-approved:north level-approved:head level-approved:admin approved:admin"
    );
    Ok(())
}

#[test]
fn one_no_is_enough() -> Result<()> {
    let (_db, mut client) = furnished("approvals_no")?;
    let order = submitted(&mut client, TECH_A, AT_A, 6, "pending-approval north 2");
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!(
                "d.status FROM cloudwatcher.decide_approval('{order}', 'rejected', 'too dear') AS d"
            )
        ),
        "rejected"
    );
    assert_eq!(
        chain(&mut client, &order),
        "1:north:rejected 2:head:cancelled"
    );
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT concat_ws(' ', reason, closed_at IS NOT NULL) FROM cloudwatcher.orders WHERE id = '{order}'"
            )
        ),
        "too dear t"
    );
    assert_eq!(decide(&mut client, NORTH, &order, "rejected"), "rejected");
    assert_eq!(
        decide(&mut client, HEAD, &order, "approved"),
        "55000 nobody is asked to approve this order"
    );
    for (who, sql) in [
        (TECH_A, format!("cloudwatcher.submit_order('{order}')")),
        (NORTH, format!("cloudwatcher.mark_ordered('{order}')")),
        (TECH_A, format!("cloudwatcher.cancel_order('{order}')")),
        (TECH_A, format!("cloudwatcher.receive_items('{order}')")),
    ] {
        assert!(said(&mut client, who, &sql).starts_with("55000"), "{sql}");
    }
    // What is cancelled asks nobody any more.
    let order = submitted(&mut client, TECH_A, AT_A, 6, "pending-approval north 2");
    assert_eq!(
        said(
            &mut client,
            TECH_A,
            &format!("cloudwatcher.cancel_order('{order}', 'not needed')")
        ),
        "cancelled"
    );
    assert_eq!(
        chain(&mut client, &order),
        "1:north:cancelled 2:head:cancelled"
    );
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "55000 nobody is asked to approve this order"
    );
    Ok(())
}

/// Whoever creates, changes or submits an order has a hand in it, and approves nothing of it.
#[test]
fn nobody_approves_an_order_of_their_own() -> Result<()> {
    let (_db, mut client) = furnished("approvals_own")?;
    // The manager of the region orders: the company's is asked.
    let order = submitted(&mut client, NORTH, AT_A, 6, "pending-approval head 2");
    assert_eq!(chain(&mut client, &order), "1:head:pending 2:admin:waiting");
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "42501 nobody approves an order of their own"
    );
    // By putting items into a technician's draft.
    let order = engines(&mut client, TECH_A, AT_A, 1);
    add(&mut client, NORTH, &order, FILTER, GOOD, 1);
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "pending-approval head 1"
    );
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "42501 nobody approves an order of their own"
    );
    // By submitting it.
    let order = engines(&mut client, TECH_A, AT_A, 1);
    assert_eq!(
        submit(&mut client, NORTH, &order),
        "pending-approval head 1"
    );
    // By being asked in somebody's place.
    let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    give(&mut client, TECH_A, "manager")?;
    for sql in [
        format!("cloudwatcher.delegate_approval('{order}', '{TECH_A}')"),
        format!("cloudwatcher.delegate_approval('{order}', '{NORTH}')"),
    ] {
        assert_eq!(
            said(&mut client, NORTH, &sql),
            "42501 this one cannot approve the order"
        );
    }
    asked(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.set_delegate('{TECH_A}', now() + interval '1 day')"),
    );
    assert_eq!(
        decide(&mut client, TECH_A, &order, "approved"),
        "42501 nobody approves an order of their own"
    );
    let next = submitted(&mut client, TECH_A, AT_A, 6, "pending-approval north 2");
    assert_eq!(chain(&mut client, &next), "1:north:pending 2:head:waiting");
    // By escalation: the one above is passed over, and so is who stands in for whoever ordered.
    asked(
        &mut client,
        HEAD,
        &format!("SELECT cloudwatcher.set_delegate('{NORTH}', now() + interval '1 day')"),
    );
    asked(&mut client, NORTH, "SELECT cloudwatcher.end_delegation()");
    let order = submitted(&mut client, NORTH, AT_A, 6, "pending-approval head 2");
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "42501 nobody approves an order of their own"
    );
    wait(&mut client, "1 microsecond", "1 day")?;
    assert!(
        !escalate(&mut client)
            .iter()
            .any(|line| line.ends_with("north")),
        "{}",
        chain(&mut client, &order)
    );
    // By becoming the manager of the department oneself: the chain stays as written.
    set(
        &mut client,
        &format!(
            "UPDATE cloudwatcher.departments SET manager_id = '{TECH_A}' WHERE id = '{REGION_NORTH}'"
        ),
    )?;
    assert_eq!(
        decide(&mut client, TECH_A, &next, "approved"),
        "42501 nobody approves an order of their own"
    );
    Ok(())
}

/// Nobody gets below a limit by naming a lower price, or by submitting what belongs to somebody with a higher one.
#[test]
fn limits_are_not_got_around() -> Result<()> {
    let (_db, mut client) = furnished("approvals_limits")?;
    let order = draft(&mut client, TECH_A, AT_A);
    asked(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.add_item('{order}', '{ENGINE}', 6, '{GOOD}', 0.01)"),
    );
    assert_eq!(stands(&mut client, &order), "draft 0.06");
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "pending-approval north 2"
    );
    let order = draft(&mut client, TECH_A, AT_A);
    asked(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.add_item('{order}', '{ENGINE}', 6, '{CHEAP}', 0.01)"),
    );
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "pending-approval north 2"
    );
    let order = asked_one(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.create_order('{AT_A}', 'return')"),
    );
    asked(
        &mut client,
        TECH_A,
        &format!("SELECT cloudwatcher.add_item('{order}', '{ENGINE}', 6, '{GOOD}', 0)"),
    );
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "pending-approval north 2"
    );
    // A manager's draft, filled and submitted by a technician.
    let order = draft(&mut client, NORTH, AT_A);
    add(&mut client, TECH_A, &order, ENGINE, GOOD, 3);
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "pending-approval head 1"
    );
    // A total that somebody else changed while one looked at it.
    let order = engines(&mut client, NORTH, AT_A, 1);
    add(&mut client, TECH_A, &order, ENGINE, GOOD, 3);
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("cloudwatcher.submit_order('{order}', 1000)")
        ),
        "55000 the total is another one"
    );
    assert_eq!(
        said(
            &mut client,
            NORTH,
            &format!("s.status FROM cloudwatcher.submit_order('{order}', 4000) AS s")
        ),
        "approved"
    );
    Ok(())
}

#[test]
fn nobody_there_is_an_error_and_changes_nothing() -> Result<()> {
    let (_db, mut client) = furnished("approvals_nobody")?;
    set(
        &mut client,
        "UPDATE cloudwatcher.users SET is_active = false WHERE name IN ('north', 'admin')",
    )?;
    let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval head 1");
    assert_eq!(chain(&mut client, &order), "1:head:pending");
    set(
        &mut client,
        "UPDATE cloudwatcher.roles SET can_approve_subordinate_requests = false",
    )?;
    let order = engines(&mut client, TECH_A, AT_A, 1);
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "55000 nobody can approve this order"
    );
    assert_eq!(stands(&mut client, &order), "draft 1000.00");
    assert_eq!(
        history(&mut client, &order),
        "created:tech-a item-added:tech-a"
    );
    // Whoever may approve anything may still.
    set(
        &mut client,
        "UPDATE cloudwatcher.users SET is_active = true WHERE name = 'admin'",
    )?;
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "pending-approval admin 1"
    );
    Ok(())
}

/// What only the one who orders says the price of, somebody else looks at.
#[test]
fn what_nobody_knows_the_price_of_is_approved() -> Result<()> {
    let (_db, mut client) = furnished("approvals_unpriced")?;
    set(
        &mut client,
        &format!(
            "DELETE FROM cloudwatcher.part_suppliers WHERE part_id IN ('{BELT}', '{FILTER}');
             INSERT INTO cloudwatcher.part_suppliers (part_id, variant_id, supplier_id, supplier_cost) VALUES
               ('{BELT}', '{LONG}', '{GOOD}', 1000), ('{BELT}', '{SHORT}', '{GOOD}', 5);
             INSERT INTO cloudwatcher.part_suppliers (part_id, supplier_id) VALUES ('{FILTER}', '{GOOD}')"
        ),
    )?;
    for (item, expected) in [
        // Any variant of it: the dearest counts, whoever it is ordered from.
        (
            format!("'{BELT}', 1, '{GOOD}', 1"),
            "pending-approval north 1",
        ),
        (
            format!("'{BELT}', 6, '{CHEAP}', 1"),
            "pending-approval north 2",
        ),
        (
            format!("'{BELT}', 1, '{GOOD}', variant => '{SHORT}'"),
            "approved 0",
        ),
        (
            format!("'{BELT}', 1, '{GOOD}', 1, variant => '{LONG}'"),
            "pending-approval north 1",
        ),
        (
            format!("'{FILTER}', 1, '{GOOD}', 0"),
            "pending-approval north 1",
        ),
        (
            format!("'{FILTER}', 1, '{GOOD}', 0.01"),
            "pending-approval north 1",
        ),
    ] {
        let order = draft(&mut client, TECH_A, AT_A);
        asked(
            &mut client,
            TECH_A,
            &format!("SELECT cloudwatcher.add_item('{order}', {item})"),
        );
        assert_eq!(submit(&mut client, TECH_A, &order), expected, "{item}");
    }
    // Only the long one has a price: the short one's is not known.
    set(
        &mut client,
        &format!("DELETE FROM cloudwatcher.part_suppliers WHERE variant_id = '{SHORT}'"),
    )?;
    let order = draft(&mut client, TECH_A, AT_A);
    asked(
        &mut client,
        TECH_A,
        &format!(
            "SELECT cloudwatcher.add_item('{order}', '{BELT}', 1, '{GOOD}', 1, variant => '{SHORT}')"
        ),
    );
    assert_eq!(
        submit(&mut client, TECH_A, &order),
        "pending-approval north 1"
    );
    // A transfer costs what it is said to.
    let order = asked_one(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.create_order('{AT_A}', 'internal_transfer', '{AT_B}')"),
    );
    asked(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.add_item('{order}', '{FILTER}', 1, '{GOOD}')"),
    );
    assert_eq!(submit(&mut client, NORTH, &order), "approved 0");
    Ok(())
}

/// Whoever is asked in somebody's place uses up what that one could have said.
#[test]
fn ones_authority_counts_once() -> Result<()> {
    let (_db, mut client) = furnished("approvals_authority")?;
    let stand_in = |who: &str| format!("cloudwatcher.set_delegate('{who}', '2099-01-01')");
    said(&mut client, NORTH, &stand_in(SOUTH));
    let order = submitted(&mut client, TECH_A, AT_A, 6, "pending-approval south 2");
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT string_agg(concat_ws('>', name_of(in_place_of), name_of(approver_id)), ' ' ORDER BY approval_level)
                   FROM cloudwatcher.order_approvals WHERE order_id = '{order}'"
            )
        ),
        "north>south head"
    );
    assert_eq!(
        said(
            &mut client,
            SOUTH,
            "name_of(m.in_place_of) FROM cloudwatcher.my_approvals() AS m"
        ),
        "north"
    );
    assert_eq!(
        decide(&mut client, SOUTH, &order, "approved"),
        "pending-approval head"
    );
    // Neither handed on to him, nor in the other one's place, nor by escalation.
    assert_eq!(
        said(
            &mut client,
            HEAD,
            &format!("cloudwatcher.delegate_approval('{order}', '{NORTH}')")
        ),
        "42501 this one cannot approve the order"
    );
    said(&mut client, HEAD, &stand_in(NORTH));
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "42501 nobody decides two levels of an order"
    );
    wait(&mut client, "1 microsecond", "1 day")?;
    assert_eq!(escalate(&mut client), ["escalated 2 admin"]);
    assert_eq!(decide(&mut client, ADMIN, &order, "approved"), "approved");
    Ok(())
}

/// What is late goes up from whoever is late.
#[test]
fn escalation_never_goes_down() -> Result<()> {
    let (_db, mut client) = furnished("approvals_upwards")?;
    let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    // The depot has a manager since.
    give(&mut client, TECH_B, "manager")?;
    set(
        &mut client,
        &format!(
            "UPDATE cloudwatcher.departments SET manager_id = '{TECH_B}' WHERE id = '{DEPOT_A}'"
        ),
    )?;
    wait(&mut client, "1 microsecond", "1 day")?;
    assert_eq!(escalate(&mut client), ["escalated 1 head"]);
    assert_eq!(escalate(&mut client), ["escalated 1 admin"]);
    assert!(escalate(&mut client).is_empty());
    assert_eq!(decide(&mut client, ADMIN, &order, "rejected"), "rejected");
    // Where the one who left has a successor, it is the successor's.
    wait(&mut client, "1 hour", "1 day")?;
    set(
        &mut client,
        &format!("UPDATE cloudwatcher.departments SET manager_id = NULL WHERE id = '{DEPOT_A}'"),
    )?;
    let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    set(
        &mut client,
        &format!(
            "UPDATE cloudwatcher.users SET is_active = false WHERE name = 'north';
             UPDATE cloudwatcher.departments SET manager_id = '{TECH_B}' WHERE id = '{REGION_NORTH}'"
        ),
    )?;
    assert_eq!(escalate(&mut client), ["escalated 1 tech-b"]);
    assert_eq!(decide(&mut client, TECH_B, &order, "rejected"), "rejected");
    // Above whoever may approve anything is nobody but others who may.
    set(
        &mut client,
        "UPDATE cloudwatcher.departments SET manager_id = NULL",
    )?;
    let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval admin 1");
    set(
        &mut client,
        &format!(
            "UPDATE cloudwatcher.departments SET manager_id = '{HEAD}' WHERE id = '{COMPANY}'"
        ),
    )?;
    wait(&mut client, "1 microsecond", "1 day")?;
    assert!(escalate(&mut client).is_empty());
    give(&mut client, SOUTH, "admin")?;
    assert_eq!(escalate(&mut client), ["escalated 1 south"]);
    assert_eq!(decide(&mut client, SOUTH, &order, "approved"), "approved");
    Ok(())
}

/// However many wait, each approver is looked at once, and nothing that is not the caller's is read.
#[test]
fn what_is_not_due_costs_little() -> Result<()> {
    let (_db, mut client) = furnished("approvals_many")?;
    for _ in 0..20 {
        submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    }
    submitted(&mut client, NORTH, AT_A, 6, "pending-approval head 2");
    let mut tx = client.transaction()?;
    tx.batch_execute("SET LOCAL track_functions = 'all'")?;
    assert!(
        tx.query("SELECT cloudwatcher.escalate_approvals()", &[])?
            .is_empty()
    );
    let calls: i64 = tx
        .query_one(
            "SELECT calls FROM pg_stat_xact_user_functions WHERE funcname = '_can_approve'",
            &[],
        )?
        .get(0);
    assert_eq!(calls, 2);
    tx.rollback()?;
    // (What is counted goes on from one transaction to the next.)
    let count = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_all_tables
                  WHERE relid = 'cloudwatcher.orders'::regclass";
    let read = as_(&mut client, SOUTH, |tx| {
        let before: i64 = tx.query_one(count, &[])?.get(0);
        let waiting = tx.query("SELECT FROM cloudwatcher.my_approvals()", &[])?;
        assert!(waiting.is_empty());
        Ok(tx.query_one(count, &[])?.get::<_, i64>(0) - before)
    })?;
    assert_eq!(read, 0);
    Ok(())
}

/// Somebody else for some days of a longer time: the rest of it stays.
#[test]
fn a_time_within_a_longer_one_splits_it() -> Result<()> {
    let (_db, mut client) = furnished("approvals_split")?;
    let until = |who: &str, ends: &str, starts: &str| {
        format!("cloudwatcher.set_delegate('{who}', '{ends}', '{starts}')")
    };
    let planned = |client: &mut Client| {
        table(
            client,
            "SELECT concat_ws(' ', name_of(delegate_id), starts_at::date, ends_at::date)
               FROM cloudwatcher.approval_delegations ORDER BY starts_at",
        )
    };
    said(
        &mut client,
        NORTH,
        &until(SOUTH, "2099-01-21", "2099-01-01"),
    );
    let within = until(HEAD, "2099-01-07", "2099-01-05");
    let made = said(&mut client, NORTH, &within);
    let expected = [
        "south 2099-01-01 2099-01-05",
        "head 2099-01-05 2099-01-07",
        "south 2099-01-07 2099-01-21",
    ];
    assert_eq!(planned(&mut client), expected);
    assert_eq!(said(&mut client, NORTH, &within), made);
    assert_eq!(planned(&mut client), expected);
    // Over the beginning of another one: that one begins later.
    said(
        &mut client,
        NORTH,
        &until(ADMIN, "2099-01-10", "2099-01-06"),
    );
    assert_eq!(
        planned(&mut client),
        [
            "south 2099-01-01 2099-01-05",
            "head 2099-01-05 2099-01-06",
            "admin 2099-01-06 2099-01-10",
            "south 2099-01-10 2099-01-21"
        ]
    );
    // The same one's is made shorter.
    said(
        &mut client,
        NORTH,
        &until(SOUTH, "2099-01-15", "2099-01-10"),
    );
    assert_eq!(
        planned(&mut client).last().map(String::as_str),
        Some("south 2099-01-10 2099-01-15")
    );
    Ok(())
}

#[test]
fn those_who_may_approve_anything_take_turns() -> Result<()> {
    let (_db, mut client) = furnished("approvals_turns")?;
    give(&mut client, SOUTH, "admin")?;
    set(
        &mut client,
        &format!(
            "UPDATE cloudwatcher.departments SET manager_id = NULL WHERE manager_id <> '{SOUTH}'"
        ),
    )?;
    let mut asked_first = Vec::new();
    for _ in 0..4 {
        let order = engines(&mut client, TECH_A, AT_A, 1);
        asked_first.push(submit(&mut client, TECH_A, &order));
    }
    asked_first.sort();
    assert_eq!(
        asked_first,
        [
            "pending-approval admin 1",
            "pending-approval admin 1",
            "pending-approval south 1",
            "pending-approval south 1"
        ]
    );
    Ok(())
}

#[test]
fn whoever_is_asked_hands_it_on() -> Result<()> {
    let (_db, mut client) = furnished("approvals_delegate")?;
    let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    let to = |who: &str| format!("cloudwatcher.delegate_approval('{order}', '{who}', 'on leave')");
    for (who, sql, expected) in [
        (
            TECH_A,
            to(SOUTH),
            "42501 somebody else was asked to approve this order",
        ),
        (
            ADMIN,
            to(SOUTH),
            "42501 somebody else was asked to approve this order",
        ),
        (NORTH, to(TECH_B), "P0002 this is nobody who can approve"),
        (NORTH, to(RETIRED), "P0002 this is nobody who can approve"),
        (NORTH, to(NOTHING), "P0002 this is nobody who can approve"),
        (
            NORTH,
            format!("cloudwatcher.delegate_approval('{order}', NULL)"),
            "22004 this is nobody who can approve",
        ),
        (SOUTH, to(SOUTH), "P0002 the order was not found"),
    ] {
        assert_eq!(said(&mut client, who, &sql), expected, "{sql}");
    }
    assert_eq!(said(&mut client, NORTH, &to(SOUTH)), SOUTH);
    assert_eq!(said(&mut client, NORTH, &to(SOUTH)), SOUTH);
    assert_eq!(
        chain(&mut client, &order),
        "1:north:delegated 1:south:pending"
    );
    // He sees it now, and it is his.
    assert_eq!(
        said(
            &mut client,
            SOUTH,
            "m.order_id FROM cloudwatcher.my_approvals() AS m"
        ),
        order
    );
    assert_eq!(
        said(
            &mut client,
            SOUTH,
            "count(*) FROM cloudwatcher.order_items AS i"
        ),
        "1"
    );
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "42501 somebody else was asked to approve this order"
    );
    // Not back to who gave it away.
    assert_eq!(
        said(&mut client, SOUTH, &to(NORTH)),
        "42501 this one cannot approve the order"
    );
    assert_eq!(decide(&mut client, SOUTH, &order, "approved"), "approved");
    assert_eq!(
        history(&mut client, &order),
        "created:tech-a item-added:tech-a submitted:tech-a delegated:north level-approved:south approved:south"
    );
    Ok(())
}

#[test]
fn somebody_stands_in_for_a_time() -> Result<()> {
    let (_db, mut client) = furnished("approvals_standing")?;
    let before = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    let stand_in = |who: &str, until: &str| format!("cloudwatcher.set_delegate('{who}', {until})");
    for (who, sql, expected) in [
        (
            TECH_A,
            stand_in(SOUTH, "now() + interval '1 day'"),
            "42501 permission is missing",
        ),
        (
            RETIRED,
            stand_in(SOUTH, "now() + interval '1 day'"),
            "42501 permission is missing",
        ),
        (
            NORTH,
            stand_in(TECH_B, "now() + interval '1 day'"),
            "P0002 this is nobody who can approve",
        ),
        (
            NORTH,
            stand_in(NORTH, "now() + interval '1 day'"),
            "22023 nobody stands in for himself",
        ),
        (
            NORTH,
            stand_in(SOUTH, "now()"),
            "22023 this is no time to come",
        ),
        (
            NORTH,
            stand_in(SOUTH, "'infinity'"),
            "22023 this is no time to come",
        ),
        (
            NORTH,
            stand_in(SOUTH, "NULL"),
            "22004 this is no time to come",
        ),
        (
            NORTH,
            format!(
                "cloudwatcher.set_delegate('{SOUTH}', now() + interval '1 day', now() - interval '1 day')"
            ),
            "22023 this is no time to come",
        ),
    ] {
        assert_eq!(said(&mut client, who, &sql), expected, "{sql}");
    }
    assert_eq!(
        decide(&mut client, SOUTH, &before, "approved"),
        "P0002 the order was not found"
    );
    let made = said(&mut client, NORTH, &stand_in(SOUTH, "'2099-01-01'"));
    assert_eq!(
        said(&mut client, NORTH, &stand_in(SOUTH, "'2099-01-01'")),
        made
    );
    // What was asked before he decides, and what comes asks him.
    assert_eq!(
        said(
            &mut client,
            SOUTH,
            "name_of(m.in_place_of) || m.order_id FROM cloudwatcher.my_approvals() AS m"
        ),
        format!("north{before}")
    );
    assert_eq!(
        said(&mut client, SOUTH, "count(*) FROM cloudwatcher.orders"),
        "1"
    );
    assert_eq!(decide(&mut client, SOUTH, &before, "approved"), "approved");
    let order = submitted(&mut client, TECH_A, AT_A, 6, "pending-approval south 2");
    assert_eq!(chain(&mut client, &order), "1:south:pending 2:head:waiting");
    // One at a time: the admin, instead.
    said(&mut client, NORTH, &stand_in(ADMIN, "'2099-01-01'"));
    assert_eq!(
        value(
            &mut client,
            "SELECT count(*) FROM cloudwatcher.approval_delegations WHERE ends_at > now()"
        ),
        "1"
    );
    submitted(&mut client, TECH_A, AT_A, 1, "pending-approval admin 1");
    assert_eq!(
        said(&mut client, NORTH, "cloudwatcher.end_delegation()"),
        "1"
    );
    assert_eq!(
        said(&mut client, NORTH, "cloudwatcher.end_delegation()"),
        "0"
    );
    let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    assert_eq!(
        decide(&mut client, ADMIN, &order, "approved"),
        "42501 somebody else was asked to approve this order"
    );
    // Those who stand in have no more rights than whom they stand in for.
    said(&mut client, NORTH, &stand_in(ADMIN, "'2099-01-01'"));
    set(
        &mut client,
        "UPDATE cloudwatcher.users SET is_active = false WHERE name = 'north'",
    )?;
    assert_eq!(
        decide(&mut client, ADMIN, &order, "approved"),
        "42501 somebody else was asked to approve this order"
    );
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "42501 permission is missing"
    );
    Ok(())
}

/// The same person is never two levels.
#[test]
fn two_levels_are_two_people() -> Result<()> {
    let (_db, mut client) = furnished("approvals_two")?;
    let order = submitted(&mut client, TECH_A, AT_A, 6, "pending-approval north 2");
    asked(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.set_delegate('{HEAD}', '2099-01-01')"),
    );
    assert_eq!(
        decide(&mut client, HEAD, &order, "approved"),
        "42501 nobody decides two levels of an order"
    );
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "pending-approval head"
    );
    asked(
        &mut client,
        HEAD,
        &format!("SELECT cloudwatcher.set_delegate('{NORTH}', '2099-01-01')"),
    );
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "pending-approval head"
    );
    assert_eq!(
        said(
            &mut client,
            HEAD,
            &format!("cloudwatcher.delegate_approval('{order}', '{NORTH}')")
        ),
        "42501 this one cannot approve the order"
    );
    assert_eq!(stands(&mut client, &order), "pending-approval 6000.00");
    // Both departments have the same manager: he is asked once.
    set(
        &mut client,
        &format!(
            "UPDATE cloudwatcher.departments SET manager_id = '{HEAD}' WHERE id = '{REGION_NORTH}'"
        ),
    )?;
    let order = engines(&mut client, TECH_A, AT_A, 6);
    submit(&mut client, TECH_A, &order);
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT count(DISTINCT approver_id) FROM cloudwatcher.order_approvals WHERE order_id = '{order}'"
            )
        ),
        "2"
    );
    Ok(())
}

#[test]
fn what_nobody_decides_goes_up_and_ends() -> Result<()> {
    let (_db, mut client) = furnished("approvals_late")?;
    let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    assert!(escalate(&mut client).is_empty());
    wait(&mut client, "1 microsecond", "1 day")?;
    assert_eq!(escalate(&mut client), ["escalated 1 head"]);
    assert_eq!(escalate(&mut client), ["escalated 1 admin"]);
    // There is nobody else: it stays.
    assert!(escalate(&mut client).is_empty());
    assert_eq!(
        chain(&mut client, &order),
        "1:north:escalated 1:head:escalated 1:admin:pending"
    );
    assert_eq!(
        decide(&mut client, NORTH, &order, "approved"),
        "42501 somebody else was asked to approve this order"
    );
    assert_eq!(
        value(
            &mut client,
            &format!(
                "SELECT count(DISTINCT pending_since) FROM cloudwatcher.order_approvals WHERE order_id = '{order}'"
            )
        ),
        "1"
    );
    wait(&mut client, "1 microsecond", "2 microseconds")?;
    assert_eq!(escalate(&mut client), ["timed-out 1"]);
    assert!(escalate(&mut client).is_empty());
    assert_eq!(stands(&mut client, &order), "rejected 1000.00");
    assert_eq!(
        decide(&mut client, ADMIN, &order, "approved"),
        "55000 nobody is asked to approve this order"
    );
    assert_eq!(
        history(&mut client, &order),
        "created:tech-a item-added:tech-a submitted:tech-a escalated escalated timed-out rejected"
    );
    assert_eq!(
        table(
            &mut client,
            &format!(
                "SELECT DISTINCT h.metadata ->> 'role' FROM cloudwatcher.order_history h WHERE h.order_id = '{order}' AND h.user_id IS NULL"
            )
        ),
        ["service_role"]
    );
    Ok(())
}

#[test]
fn an_approver_who_left_is_passed_over() -> Result<()> {
    let (_db, mut client) = furnished("approvals_left")?;
    let order = submitted(&mut client, TECH_A, AT_A, 6, "pending-approval north 2");
    set(
        &mut client,
        "UPDATE cloudwatcher.users SET is_active = false WHERE name = 'north'",
    )?;
    assert_eq!(escalate(&mut client), ["escalated 1 admin"]);
    assert_eq!(
        chain(&mut client, &order),
        "1:north:escalated 1:admin:pending 2:head:waiting"
    );
    assert_eq!(
        decide(&mut client, ADMIN, &order, "approved"),
        "pending-approval head"
    );
    set(
        &mut client,
        "DELETE FROM cloudwatcher.user_roles WHERE user_id IN (SELECT id FROM cloudwatcher.users WHERE name = 'head')",
    )?;
    assert!(escalate(&mut client).is_empty(), "there is nobody else");
    give(&mut client, SOUTH, "admin")?;
    assert_eq!(escalate(&mut client), ["escalated 2 south"]);
    assert_eq!(decide(&mut client, SOUTH, &order, "approved"), "approved");
    assert_eq!(
        outcomes(&mut client, "SELECT cloudwatcher.escalate_approvals()"),
        [
            "42501: anon stranger retired viewer a b c north south head admin",
            "0: service"
        ]
    );
    Ok(())
}

#[test]
fn a_job_looks_after_what_nobody_decides() -> Result<()> {
    let (_db, mut client) = furnished("approvals_job")?;
    let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
    set(
        &mut client,
        "UPDATE cloudwatcher.settings SET escalate_after = '1 microsecond'",
    )?;
    set(
        &mut client,
        "SELECT gemba.run_job_now('cloudwatcher: approvals'); SELECT gemba.run_due_jobs()",
    )?;
    assert_eq!(
        chain(&mut client, &order),
        "1:north:escalated 1:head:pending"
    );
    Ok(())
}

#[test]
fn approvals_are_seen_with_their_order() -> Result<()> {
    let (_db, mut client) = furnished("approvals_seen")?;
    submitted(&mut client, TECH_A, AT_A, 26, "pending-approval north 3");
    assert_eq!(
        outcomes(&mut client, "SELECT FROM cloudwatcher.order_approvals"),
        [
            "42501: anon",
            "0: stranger retired b c south",
            "3: viewer a north head admin service"
        ]
    );
    // The seed's query of the chain, with the names of people up to the admin.
    assert_eq!(
        outcomes(
            &mut client,
            "SELECT FROM cloudwatcher.order_approvals oa JOIN cloudwatcher.users u ON oa.approver_id = u.id"
        ),
        [
            "42501: anon",
            "0: stranger retired b c south",
            "3: viewer a north head admin service"
        ]
    );
    asked(
        &mut client,
        NORTH,
        &format!("SELECT cloudwatcher.set_delegate('{SOUTH}', '2099-01-01')"),
    );
    assert_eq!(
        outcomes(&mut client, "SELECT FROM cloudwatcher.approval_delegations"),
        [
            "42501: anon",
            "0: stranger retired viewer a b c head",
            "1: north south admin service"
        ]
    );
    assert_eq!(
        outcomes(&mut client, "SELECT FROM cloudwatcher.my_approvals()"),
        [
            "42501: anon",
            "0: stranger retired viewer a b c head admin service",
            "1: north south"
        ]
    );
    Ok(())
}

/// Two decide, or one decides while the other cancels: one of them is first, and the other one is told.
#[test]
fn decisions_race() -> Result<()> {
    let (db, mut client) = furnished("approvals_race")?;
    for round in 0..8 {
        let order = submitted(&mut client, TECH_A, AT_A, 1, "pending-approval north 1");
        let calls: Vec<(&str, String)> = vec![
            (
                NORTH,
                format!("d.status FROM cloudwatcher.decide_approval('{order}', 'approved') AS d"),
            ),
            (
                NORTH,
                format!("d.status FROM cloudwatcher.decide_approval('{order}', 'rejected') AS d"),
            ),
            (TECH_A, format!("cloudwatcher.cancel_order('{order}')")),
            (
                NORTH,
                format!("cloudwatcher.delegate_approval('{order}', '{HEAD}')"),
            ),
            (
                NORTH,
                format!("d.status FROM cloudwatcher.decide_approval('{order}', 'approved') AS d"),
            ),
        ];
        let workers: Vec<_> = calls
            .into_iter()
            .cycle()
            .skip(round % 5)
            .take(5)
            .map(|(who, sql)| {
                let mut client = db.connect()?;
                Ok(std::thread::spawn(move || {
                    (sql.clone(), said(&mut client, who, &sql))
                }))
            })
            .collect::<Result<_>>()?;
        let answers: Vec<(String, String)> = workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .collect();
        assert_eq!(answers.len(), 5);
        let decided = answers
            .iter()
            .filter(|(sql, answer)| {
                sql.contains("decide") && (answer == "approved" || answer == "rejected")
            })
            .count();
        let state = stands(&mut client, &order);
        let chain = chain(&mut client, &order);
        match state.as_str() {
            "approved 1000.00" | "rejected 1000.00" => {
                let stands = state.trim_end_matches(" 1000.00");
                assert!(
                    decided > 0
                        && answers.iter().all(|(sql, answer)| !sql.contains("decide")
                            || answer == stands
                            || answer.starts_with("55000")),
                    "{answers:?}"
                );
                assert_eq!(chain, format!("1:north:{stands}"));
            }
            "cancelled 1000.00" => assert!(
                !chain.contains("pending") && !chain.contains("waiting"),
                "{chain}"
            ),
            "pending-approval 1000.00" => assert_eq!(chain, "1:north:delegated 1:head:pending"),
            other => panic!("{other} {answers:?}"),
        }
        assert!(
            !answers
                .iter()
                .any(|(_, answer)| answer.starts_with("40") || answer.starts_with("23")),
            "{answers:?}"
        );
        // Each step once.
        assert_eq!(
            value(
                &mut client,
                &format!(
                    "SELECT count(*) FROM (SELECT FROM cloudwatcher.order_history WHERE order_id = '{order}' GROUP BY event_type HAVING count(*) > 1) AS twice"
                )
            ),
            "0"
        );
    }
    Ok(())
}
