//! Rules that every object of every room keeps. An exception stands in its rule's list with its reason;
//! one that excuses nothing any more fails too.

use anyhow::Result;
use gemba_tests::{Database, extended};
use std::collections::BTreeSet;

struct Rule {
    name: &'static str,
    /// What is looked at: if there is none of it, the rule was checked on nothing.
    all: &'static str,
    /// Who breaks it.
    offenders: &'static str,
    /// Who may, and why.
    excused: &'static [(&'static str, &'static str)],
    /// Something that breaks it, to see that the rule would notice.
    mutation: &'static str,
}

/// What the queries of the rules start with: the house's objects are those outside the system's own
/// schemas and public.
const OURS: &str = r"
  WITH spaces AS (
    SELECT oid, nspname FROM pg_namespace
     WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('information_schema', 'public')
  ), relations AS (
    SELECT c.*, c.oid::regclass::text AS name FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
  ), functions AS (
    SELECT p.*, p.oid::regprocedure::text AS name, l.lanname AS language
      FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
  ), members AS (
    SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'gemba'
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  ), policy_columns AS (
    -- Of the policy's own table and of those in its subqueries, each with its partitions: a partition is
    -- scanned under its parent's policy.
    SELECT DISTINCT t.relid::oid, a.attname
      FROM pg_policy p
      JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
      JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
      JOIN relations r ON r.oid = d.refobjid
      CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(r.oid) WHERE isleaf
                          UNION SELECT r.oid WHERE r.relkind = 'r') AS t
  ) ";

const RULES: &[Rule] = &[
    Rule {
        name: "every table has row level security, partitions included",
        all: "SELECT name FROM relations WHERE relkind = 'r' AND relispartition",
        offenders: "SELECT name FROM relations WHERE relkind IN ('r', 'p') AND NOT relrowsecurity",
        excused: &[],
        mutation: "CREATE TABLE telemetry.bare (a int)",
    },
    Rule {
        name: "partitions are reached through their parent only: nobody is granted anything on one",
        all: "SELECT name FROM relations WHERE relkind = 'r' AND relispartition",
        offenders: "SELECT name FROM relations, aclexplode(relacl) AS x
                     WHERE relkind = 'r' AND relispartition AND x.grantee <> relowner",
        excused: &[],
        mutation: "DO $$ BEGIN EXECUTE format('GRANT SELECT ON %s TO anon',
                     (SELECT partition FROM gemba.partitions LIMIT 1)); END $$",
    },
    Rule {
        name: "the columns of every foreign key lead an index, in any order",
        all: "SELECT conname::text FROM pg_constraint c JOIN relations r ON r.oid = c.conrelid WHERE contype = 'f'",
        offenders: "SELECT r.name || '.' || c.conname FROM pg_constraint c JOIN relations r ON r.oid = c.conrelid
                     WHERE c.contype = 'f' AND NOT EXISTS (
                       SELECT FROM pg_index i
                        WHERE i.indrelid = c.conrelid AND i.indisvalid
                          -- (Looking for a value implies that it is one.)
                          AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)',
                                 (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.conrelid AND ARRAY[a.attnum] = c.conkey)))
                          AND i.indnkeyatts >= cardinality(c.conkey)
                          AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)",
        excused: &[],
        mutation: "DROP INDEX telemetry.subscriptions_user_id_idx",
    },
    Rule {
        name: "every column that a policy reads leads an index that can find a value",
        all: "SELECT attname::text FROM policy_columns",
        offenders: "SELECT r.name || '.' || n.attname FROM policy_columns n JOIN relations r ON r.oid = n.relid
                     WHERE NOT EXISTS (
                       SELECT FROM pg_index i
                         JOIN pg_class ic ON ic.oid = i.indexrelid
                         JOIN pg_am am ON am.oid = ic.relam AND am.amname IN ('btree', 'hash')
                         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                        WHERE i.indrelid = n.relid AND i.indisvalid AND a.attname = n.attname)",
        excused: &[],
        // A BRIN index leads with the column, and does not count.
        mutation: "CREATE POLICY late ON telemetry.sensor_readings USING (\"timestamp\" < now())",
    },
    Rule {
        name: "every function that looks names up pins its search_path",
        all: "SELECT name FROM functions WHERE proconfig IS NOT NULL",
        // Immutable C functions are arithmetic. A body that was parsed when it was created (BEGIN ATOMIC)
        // has its names resolved already.
        offenders: r"SELECT name FROM functions
                      WHERE prokind <> 'a' AND prosqlbody IS NULL
                        AND NOT (language = 'c' AND provolatile = 'i' AND NOT prosecdef)
                        AND NOT EXISTS (SELECT FROM unnest(proconfig) AS s WHERE s LIKE 'search\_path=%')",
        excused: &[
            (
                "gemba_internal.audit_rows()",
                "values become JSON as they do for the writer; it names nothing",
            ),
            (
                "gemba_internal.capture_rows()",
                "called for each row written, where setting a path would cost more than the work; it runs no SQL",
            ),
            (
                "gemba_internal.note_insert(timestamp with time zone,integer,integer,integer,bigint,text)",
                "as above",
            ),
            (
                "gemba_internal.guard_history()",
                "it finds a table as the statement does that names it; it pins the path where it runs SQL",
            ),
            (
                "gemba_internal.audit_rows()",
                "called for each statement, of one row mostly; it pins the path where it runs SQL",
            ),
            (
                "gemba.bucket_start(interval,timestamp with time zone,text)",
                "called for each row of a rollup; it runs no SQL",
            ),
            (
                "cloudwatcher.is_asked(uuid)",
                "called for each row that a policy looks at; it pins the path where it looks something up",
            ),
            ("cloudwatcher.sees_department(uuid)", "as above"),
            ("cloudwatcher.sees_location(uuid)", "as above"),
            ("cloudwatcher.sees_user(uuid)", "as above"),
            ("auth.jwt()", "every name is qualified; a SET clause would keep it from being inlined"),
            ("auth.role()", "as above"),
            ("auth.uid()", "as above"),
            (
                "reporting.is_shown(uuid)",
                "called for each row that a policy looks at; it pins the path where it looks something up",
            ),
            (
                "sqp.refresh_all_due()",
                "a procedure with a SET clause cannot commit; all it runs is one call, qualified",
            ),
        ],
        mutation: "CREATE FUNCTION telemetry.loose() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    },
    Rule {
        name: "a pinned search_path holds nothing that an ordinary user may create objects in, pg_temp last",
        all: "SELECT name FROM functions WHERE prosecdef",
        offenders: r#"SELECT name || ' ' || s FROM functions CROSS JOIN unnest(proconfig) AS s
                      WHERE s LIKE 'search\_path=%' AND s <> 'search_path=""'
                        AND s !~ '^search_path=pg_catalog(, (cloudwatcher|gemba|plant|reporting|sqp|telemetry|auth))*, pg_temp$'
                     UNION ALL
                     SELECT name || ' is SECURITY DEFINER' FROM functions
                      WHERE prosecdef AND NOT coalesce(proconfig::text LIKE '%search\_path=%', false)"#,
        excused: &[],
        mutation: "ALTER FUNCTION gemba.maintain_partitions() SET search_path = public",
    },
    Rule {
        name: "everything that a user meets has a COMMENT, unless its name starts with _",
        all: "SELECT name FROM relations",
        offenders: r"SELECT 'schema ' || nspname FROM spaces WHERE obj_description(oid, 'pg_namespace') IS NULL
                     UNION ALL
                     SELECT 'relation ' || name FROM relations
                      WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition AND relname NOT LIKE '\_%'
                        AND obj_description(oid, 'pg_class') IS NULL
                     UNION ALL
                     SELECT 'function ' || name FROM functions
                      WHERE proname NOT LIKE '\_%' AND obj_description(oid, 'pg_proc') IS NULL
                     UNION ALL
                     SELECT 'type ' || t.oid::regtype FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
                      WHERE t.typtype IN ('d', 'e', 'r') AND obj_description(t.oid, 'pg_type') IS NULL",
        excused: &[],
        mutation: "COMMENT ON FUNCTION gemba.deploy(text[]) IS NULL",
    },
    Rule {
        name: "no volatile function is executable by PUBLIC",
        all: "SELECT name FROM functions WHERE provolatile = 'v'",
        offenders: "SELECT name FROM functions, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS x
                     WHERE provolatile = 'v' AND x.grantee = 0",
        excused: &[
            ("gemba_internal.audit_rows()", "as the next one"),
            (
                "gemba_internal.capture_rows()",
                "a trigger runs with the writer's rights; nobody has USAGE on the schema, so nobody can name it",
            ),
            ("gemba_internal.capture_truncate()", "as above"),
            (
                "gemba_internal.note_insert(timestamp with time zone,integer,integer,integer,bigint,text)",
                "as above",
            ),
        ],
        mutation: "CREATE FUNCTION telemetry.open() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    },
    Rule {
        name: "nothing is granted to PUBLIC on a table or sequence",
        all: "SELECT name FROM relations",
        offenders: "SELECT name FROM relations, aclexplode(relacl) AS x WHERE x.grantee = 0",
        excused: &[],
        mutation: "GRANT SELECT ON telemetry.sensors TO PUBLIC",
    },
    Rule {
        name: "every view obeys its caller's policies; materialized views cannot",
        all: "SELECT name FROM relations WHERE relkind = 'v'",
        offenders: "SELECT name FROM relations WHERE relkind = 'm' OR relkind = 'v'
                     AND NOT coalesce(reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)",
        excused: &[(
            "sqp.search_performance_summary",
            "every logged-in user may read all of both its sources",
        )],
        mutation: "CREATE VIEW telemetry.everything AS SELECT * FROM telemetry.sensor_readings",
    },
    Rule {
        name: "the extension owns code and its own catalog; tables of a domain, triggers and policies are the database's",
        all: "SELECT name FROM relations JOIN members ON objid = oid",
        offenders: "SELECT pg_describe_object(classid, objid, 0) FROM members
                     WHERE classid IN ('pg_trigger'::regclass, 'pg_policy'::regclass)
                        OR classid = 'pg_class'::regclass
                           AND objid NOT IN (SELECT oid FROM pg_class WHERE relnamespace = 'gemba'::regnamespace)",
        excused: &[],
        mutation: "ALTER EXTENSION gemba ADD TABLE telemetry.sensors",
    },
    Rule {
        name: "a dump has every row and position of the extension's own catalog (pg_extension_config_dump)",
        all: "SELECT name FROM relations JOIN members ON objid = oid WHERE relkind = 'S'",
        offenders: "SELECT r.name FROM relations r JOIN members ON classid = 'pg_class'::regclass AND objid = r.oid
                     WHERE r.relkind IN ('r', 'p', 'S')
                       AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'gemba' AND r.oid = ANY (extconfig))",
        excused: &[],
        mutation: "CREATE TABLE gemba.forgotten (a int); ALTER EXTENSION gemba ADD TABLE gemba.forgotten",
    },
    Rule {
        // Their constraints exist before their rows. pg_restore -j loads tables at once, and a dump with
        // --inserts brings rows in the order in which they lie.
        name: "rows of the extension's tables can be restored in any order: no foreign keys among them",
        all: "SELECT name FROM relations JOIN members ON objid = oid WHERE relkind = 'r'",
        offenders: "SELECT r.name || '.' || c.conname FROM pg_constraint c
                      JOIN relations r ON r.oid = c.conrelid
                      JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = r.oid
                     WHERE c.contype = 'f'",
        excused: &[],
        mutation: "ALTER TABLE gemba.schema_versions ADD FOREIGN KEY (module) REFERENCES telemetry.sensors NOT VALID",
    },
];

fn names(db: &Database, sql: &str) -> Result<BTreeSet<String>> {
    let mut client = db.connect()?;
    let rows = client.query(&format!("{OURS}{sql}"), &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Lines about what is wrong; none when the rule is kept.
fn verdict(db: &Database, rule: &Rule) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    if names(db, rule.all)?.is_empty() {
        lines.push("nothing was looked at".to_owned());
    }
    let found = names(db, rule.offenders)?;
    let excused: BTreeSet<String> = rule
        .excused
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    lines.extend(
        found
            .difference(&excused)
            .map(|name| format!("broken by {name}")),
    );
    lines.extend(
        excused
            .difference(&found)
            .map(|name| format!("excuses {name}, which needs it no more")),
    );
    Ok(lines)
}

#[test]
fn every_rule_is_kept() -> Result<()> {
    let db = extended("shape")?;
    let mut report = String::new();
    for rule in RULES {
        for line in verdict(&db, rule)? {
            report += &format!("{}:\n    {line}\n", rule.name);
        }
    }
    assert!(report.is_empty(), "\n{report}");
    Ok(())
}

#[test]
fn every_rule_would_notice() -> Result<()> {
    let db = extended("shape_mutations")?;
    let mut client = db.connect()?;
    for rule in RULES {
        // Others' offences are already there: what counts is that one comes to them.
        let before = names(&db, rule.offenders)?;
        client.batch_execute(rule.mutation)?;
        let after = names(&db, rule.offenders)?;
        assert!(
            after.len() > before.len(),
            "{:?} does not mind {:?}",
            rule.name,
            rule.mutation
        );
    }
    Ok(())
}
