//! What is refused, before anything changes.

use super::*;
use gemba_tests::{expect_sqlstate, extended};

/// A call, what has to be done before it, and how it is refused.
struct Case {
    table: &'static str,
    more: &'static str,
    call: &'static str,
    code: &'static str,
    named: &'static str,
}

const COLUMNS: &str = "at timestamptz NOT NULL, k text, n int, x numeric";
const PLAIN: &str = "SELECT gemba.compress_after('s.t', '{k}', 'at', '7 days')";

const fn case(
    table: &'static str,
    more: &'static str,
    call: &'static str,
    code: &'static str,
    named: &'static str,
) -> Case {
    Case {
        table,
        more,
        call,
        code,
        named,
    }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Types.
    case("at timestamptz, k text, j jsonb", "", PLAIN, "0A000", "\"j\""),
    case("at timestamptz, k text, r int4range", "", PLAIN, "0A000", "\"r\""),
    case("at timestamptz, k text, d s.small", "", PLAIN, "0A000", "\"d\""),
    case("at timestamptz, k text, a int[]", "", PLAIN, "0A000", "\"a\""),
    case("at timestamptz, k text, c char(3)", "", PLAIN, "0A000", "\"c\""),
    // Keys.
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', '{x}', 'at', '7 days')", "0A000", "\"x\""),
    case("at timestamptz, f float8", "", "SELECT gemba.compress_after('s.t', '{f}', 'at', '7 days')", "0A000", "\"f\""),
    case("at timestamptz, k text COLLATE s.loose", "", PLAIN, "0A000", "\"k\""),
    case("at timestamptz, n int, k text GENERATED ALWAYS AS (n::text) STORED", "", PLAIN, "22023", "\"k\""),
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', '{k, k}', 'at', '7 days')", "22023", "\"k\""),
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', '{at}', 'at', '7 days')", "22023", "\"at\""),
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', '{nothing}', 'at', '7 days')", "42703", "nothing"),
    case("at timestamptz, a int, b int, c int, d int, e int, f int, g int, h int, i int", "",
         "SELECT gemba.compress_after('s.t', '{a,b,c,d,e,f,g,h,i}', 'at', '7 days')", "22023", "9"),
    // The time.
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', '{k}', 'n', '7 days')", "22023", "\"n\""),
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', '{k}', 'nothing', '7 days')", "42703", "nothing"),
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', '{k}', 'at', '-1 day')", "22023", "-1"),
    // What is unique, and constraints.
    case(COLUMNS, "SELECT gemba.manage_partitions('s.t', '1 month', unique_on => ARRAY['n', 'at'])", PLAIN, "0A000", "\"n\""),
    case("at timestamptz, k text, PRIMARY KEY (k, at)", "", PLAIN, "0A000", "t_pkey"),
    case("at timestamptz, k text, UNIQUE (k, at)", "", PLAIN, "0A000", "t_k_at_key"),
    case(COLUMNS, "CREATE UNIQUE INDEX only_one ON s.t (k, at)", PLAIN, "0A000", "only_one"),
    case("at timestamptz, k text, n int REFERENCES s.other", "", PLAIN, "0A000", "t_n_fkey"),
    case(COLUMNS, "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON s.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION s.nothing()",
         PLAIN, "0A000", "later"),
    // The table.
    case(COLUMNS, "SELECT gemba.audit('s.t')", PLAIN, "0A000", "s.t"),
    case(COLUMNS, "SELECT gemba.unmanage_partitions('s.t')", PLAIN, "55000", "s.t"),
    case(COLUMNS, "", "SELECT gemba.compress_after('s.other', '{id}', 'id', '7 days')", "42809", "s.other"),
    case(COLUMNS, "", "SELECT gemba.compress_partition('s.t_p20240101')", "55000", "s.t"),
    case(COLUMNS, PLAIN, "SELECT gemba.compress_partition('s.other')", "55000", "s.other"),
    case(COLUMNS, PLAIN, "SELECT gemba.compress_partition('s.t')", "55000", "s.t"),
    case(COLUMNS, PLAIN, "SELECT gemba.decompress_partition('s.t_p20240101')", "55000", "s.t_p20240101"),
    case(COLUMNS, "", "SELECT gemba.compress_after(NULL, '{k}', 'at', '7 days')", "22004", "NULL"),
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', NULL, 'at', '7 days')", "22004", "NULL"),
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', '{k}', NULL, '7 days')", "22004", "NULL"),
    case(COLUMNS, "", "SELECT gemba.compress_after('s.t', '{k}', 'at', NULL)", "22004", "NULL"),
    // What has changed since the policy.
    case(COLUMNS, "SELECT gemba.compress_after('s.t', '{k}', 'at', '7 days'); ALTER TABLE s.t ADD COLUMN j json",
         "SELECT gemba.compress_partition('s.t_p20240101')", "0A000", "\"j\""),
    case(COLUMNS, "SELECT gemba.compress_after('s.t', '{k}', 'at', '7 days'); SELECT gemba.audit('s.t')",
         "SELECT gemba.compress_partition('s.t_p20240101')", "0A000", "s.t"),
    case(COLUMNS, "SELECT gemba.compress_after('s.t', '{k}', 'at', '7 days'); ALTER TABLE s.t RENAME k TO key",
         "SELECT gemba.compress_partition('s.t_p20240101')", "42703", "k"),
    case(COLUMNS, "SELECT gemba.compress_after('s.t', '{k}', 'at', '7 days'); CREATE VIEW s.v AS SELECT * FROM s.t_p20240101",
         "SELECT gemba.compress_partition('s.t_p20240101')", "2BP01", "s.t_p20240101"),
];

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let db = extended("policy_refused")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE SCHEMA s;
         CREATE DOMAIN s.small AS int CHECK (VALUE < 10);
         CREATE COLLATION s.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE FUNCTION s.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TABLE s.other (id int PRIMARY KEY)",
    )?;
    for case in CASES {
        let what = format!("({}) {}; {}", case.table, case.more, case.call);
        client.batch_execute("BEGIN")?;
        client
            .batch_execute(&format!(
                "CREATE TABLE s.t ({}) PARTITION BY RANGE (at);
                 SELECT gemba.manage_partitions('s.t', '1 month', premake => 0);
                 SELECT gemba.ensure_partitions('s.t', '2024-01-01 00:00+00', '2024-02-01 00:00+00');
                 {}",
                case.table, case.more
            ))
            .map_err(|error| anyhow::anyhow!("{what}: {error:?}"))?;
        client.batch_execute("SAVEPOINT before")?;
        let error = client.simple_query(case.call).err();
        let error = error.unwrap_or_else(|| panic!("not refused: {what}"));
        let report = error
            .as_db_error()
            .unwrap_or_else(|| panic!("{what}: {error:?}"));
        assert_eq!(report.code().code(), case.code, "{what}: {report:?}");
        let said = format!(
            "{} {}",
            report.message(),
            report.detail().unwrap_or_default()
        );
        assert!(said.contains(case.named), "{what}: {report:?}");
        assert!(
            report.detail().is_some() && report.hint().is_some(),
            "{what}: {report:?}"
        );
        client.batch_execute("ROLLBACK TO before")?;
        assert_eq!(behind(&mut client), Vec::<String>::new(), "{what}");
        client.batch_execute("ROLLBACK")?;
    }
    Ok(())
}

/// What fits is compressed, checks and all, and comes back.
#[test]
fn what_fits_is_taken() -> Result<()> {
    let db = extended("policy_taken")?;
    let mut client = db.connect()?;
    client.batch_execute(
        "CREATE SCHEMA s; CREATE SEQUENCE s.numbers;
         CREATE FUNCTION s.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'stamped'; RETURN NEW; END $$;
         CREATE TABLE s.\"T t\" (
           gone text, \"At\" date NOT NULL, k varchar(5), id bigint DEFAULT nextval('s.numbers') NOT NULL, u uuid, b boolean, s smallint, r real,
           l timestamp, note text DEFAULT 'none', twice int GENERATED ALWAYS AS (s * 2) STORED,
           CONSTRAINT positive CHECK (id > 0), CHECK (length(note) < 100)) PARTITION BY RANGE (\"At\");
         ALTER TABLE s.\"T t\" DROP COLUMN gone;
         SELECT gemba.manage_partitions('s.\"T t\"', '1 month', premake => 0, time_zone => 'Asia/Bangkok');
         SELECT gemba.ensure_partitions('s.\"T t\"', '2024-01-01 00:00+07', '2024-03-01 00:00+07');
         CREATE INDEX ON s.\"T t\" (k);
         CREATE TRIGGER stamp BEFORE INSERT ON s.\"T t\" FOR EACH ROW EXECUTE FUNCTION s.stamp();
         INSERT INTO s.\"T t\" (\"At\", k, s) SELECT date '2024-01-01' + n % 60, nullif('k' || n % 3, 'k2'), n FROM generate_series(0, 299) AS n;
         CREATE TABLE s.twin AS SELECT * FROM s.\"T t\";
         SELECT gemba.compress_after('s.\"T t\"', '{}', 'At', '0'),
                gemba.compress_after('s.\"T t\"', '{k}', 'At', '1 month 2 days')",
    )?;
    assert_eq!(
        table(
            &mut client,
            "SELECT segment_by, order_by, after FROM gemba.compression_policies WHERE parent = 's.\"T t\"'::regclass"
        ),
        ["{k} | At | 1 mon 2 days"]
    );
    for partition in ["s.\"T t_p20240101\"", "s.\"T t_p20240201\""] {
        compress(&mut client, partition)?;
        assert_eq!(kind(&mut client, partition), "f");
        expect_same_as(&mut client, "s.\"T t\"", "s.twin");
    }
    // Triggers, defaults and generated columns are the table's, and go on.
    assert_eq!(
        table(
            &mut client,
            "INSERT INTO s.\"T t\" (\"At\", s) VALUES ('2024-01-05', 4) RETURNING k, id, note, twice"
        ),
        ["- | 301 | stamped | 8"]
    );
    let stops = "SELECT gemba.stop_compressing('s.\"T t\"')";
    assert_eq!(value(&mut client, stops), "t");
    assert_eq!(value(&mut client, stops), "f");
    // What is compressed stays so, and takes its late rows in.
    assert_eq!(compress(&mut client, "s.\"T t_p20240101\"")?, 156);
    assert_eq!(
        value(&mut client, "SELECT sum(late_rows) FROM gemba.history"),
        "0"
    );
    client.batch_execute(
        "DELETE FROM s.\"T t\" WHERE id = 301;
         SELECT gemba.decompress_partition('s.\"T t_p20240101\"'), gemba.decompress_partition('s.\"T t_p20240201\"')",
    )?;
    expect_same_as(&mut client, "s.\"T t\"", "s.twin");
    assert_eq!(behind(&mut client), Vec::<String>::new());
    // And what is compressed cannot be audited.
    client.batch_execute("SELECT gemba.compress_after('s.\"T t\"', '{k}', 'At', '0')")?;
    compress(&mut client, "s.\"T t_p20240101\"")?;
    let error = expect_sqlstate(
        client.simple_query("SELECT gemba.audit('s.\"T t\"')"),
        "42809",
    );
    assert!(
        error.detail().is_some_and(|d| d.contains("T t_p20240101")) && error.hint().is_some(),
        "{error:?}"
    );
    Ok(())
}
