//! The seed's four queries, word for word, as people whom policies bind, beside its estimates; and what policies
//! cost where they have a million rows to look at.

use super::{Size, target};
use crate::Options;
use crate::reads::{WARM_UP, as_user};
use crate::report::{Report, factor, thousands};
use crate::samples::{Samples, show};
use crate::server::{Server, progress, time};
use anyhow::{Result, ensure};
use gemba_tests::Random;
use postgres::{Client, SimpleQueryMessage};
use std::time::Duration;

const DATABASE: &str = "bench_cloudwatcher_patterns";

/// Departments and users that are no depots and no technicians.
const HEADS: u64 = 11;
const ADMIN: u64 = 1;

/// Calls of queries that go over everything.
const FEW: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Technician,
    Manager,
    Admin,
    /// A superuser, whom no policy binds.
    Owner,
}

const READERS: [Reader; 4] = [
    Reader::Technician,
    Reader::Manager,
    Reader::Admin,
    Reader::Owner,
];

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Self::Technician => "technician",
            Self::Manager => "manager of the region",
            Self::Admin => "admin",
            Self::Owner => "superuser, without row security",
        }
    }

    /// The user of this kind who sees the depot.
    fn of(self, depot: u64, size: Size) -> Option<u64> {
        let depots = u64::from(size.departments) - HEADS;
        match self {
            Self::Technician => Some(depot % depots + depots),
            Self::Manager => Some(2 + (HEADS + 1 + depot % depots) % 10),
            Self::Admin => Some(ADMIN),
            Self::Owner => None,
        }
    }
}

struct Pattern {
    what: &'static str,
    sql: &'static str,
    estimate: Duration,
    /// Arguments, and the depot that they belong to.
    arguments: fn(&mut Random, Size) -> (Vec<String>, u64),
}

fn id(kind: u32, number: u64) -> String {
    format!("{kind}0000000-0000-4000-8000-{number:012}")
}

const PATTERNS: [Pattern; 4] = [
    Pattern {
        what: "pattern 1: pending requests of a device",
        sql: include_str!("../../sql/cloudwatcher/patterns/1.sql"),
        estimate: Duration::from_millis(10),
        arguments: |random, _| {
            let device = random.below(100);
            (vec![format!("truck-{device:04}")], device)
        },
    },
    Pattern {
        what: "pattern 2: what to reorder at a location",
        sql: include_str!("../../sql/cloudwatcher/patterns/2.sql"),
        estimate: Duration::from_millis(15),
        arguments: |random, size| {
            let location = random.below(size.locations.into()) + 1;
            (vec![id(2, location)], location)
        },
    },
    Pattern {
        what: "pattern 3: suppliers of a part's variant",
        sql: include_str!("../../sql/cloudwatcher/patterns/3.sql"),
        estimate: Duration::from_millis(5),
        arguments: |random, size| {
            let part = random.below(size.parts.into()) + 1;
            (vec![id(3, part), id(4, part)], part)
        },
    },
    Pattern {
        what: "pattern 4: an order's approval chain",
        sql: include_str!("../../sql/cloudwatcher/patterns/4.sql"),
        estimate: Duration::from_millis(3),
        arguments: |random, size| {
            let order = random.below(size.orders.into()) + 1;
            (vec![id(6, order)], 1 + order % u64::from(size.locations))
        },
    },
];

pub fn measure(server: &Server, options: &Options, size: Size, report: &mut Report) -> Result<()> {
    progress("cloudwatcher: the seed's four queries");
    server.create_database(DATABASE)?;
    let mut owner = server.connect(DATABASE)?;
    owner.batch_execute("CREATE EXTENSION gemba")?;
    owner.batch_execute(&filled(
        include_str!("../../sql/cloudwatcher/organisation.sql"),
        size,
    ))?;
    owner.batch_execute("VACUUM ANALYZE")?;
    owner.batch_execute("CHECKPOINT")?;
    report.note(&format!(
        "the seed's queries: {} users in {} departments, {} requests of 100 devices (a tenth of them pending), {} locations with {} of {} parts each, {} suppliers a part, {} orders with three approvals each; {} calls by each kind of user after {WARM_UP} that do not count, other arguments and users each time, planned anew each time, all rows fetched; all see the same rows",
        thousands(size.users.into()),
        thousands(size.departments.into()),
        thousands(size.requests.into()),
        size.locations,
        thousands(size.stocked.into()),
        thousands(size.parts.into()),
        size.suppliers,
        thousands(size.orders.into()),
        options.calls,
    ));
    for pattern in &PATTERNS {
        measure_pattern(server, options, size, pattern, report)?;
    }
    progress("cloudwatcher: policies over many requests");
    owner.batch_execute(&filled(
        include_str!("../../sql/cloudwatcher/more_requests.sql"),
        size,
    ))?;
    owner.batch_execute("VACUUM ANALYZE cloudwatcher.requests")?;
    owner.batch_execute("CHECKPOINT")?;
    measure_policies(server, options, size, report)?;
    drop(owner);
    server.drop_database(DATABASE)
}

fn filled(sql: &str, size: Size) -> String {
    [
        ("{users}", size.users),
        ("{departments}", size.departments),
        ("{locations}", size.locations),
        ("{parts}", size.parts),
        ("{stocked}", size.stocked),
        ("{suppliers}", size.suppliers),
        ("{requests}", size.requests),
        ("{more}", size.more),
        ("{orders}", size.orders),
    ]
    .iter()
    .fold(sql.to_owned(), |sql, (name, number)| {
        sql.replace(name, &number.to_string())
    })
}

/// A session of the user's, or of the superuser's.
fn become_user(client: Client, user: Option<u64>) -> Result<Client> {
    let mut client = client;
    client.batch_execute("RESET ROLE; SET search_path = cloudwatcher")?;
    match user {
        Some(user) => as_user(client, &id(0, user)),
        None => Ok(client),
    }
}

fn rows(client: &mut Client, sql: &str) -> Result<usize> {
    Ok(client
        .simple_query(sql)?
        .iter()
        .filter(|message| matches!(message, SimpleQueryMessage::Row(_)))
        .count())
}

fn measure_pattern(
    server: &Server,
    options: &Options,
    size: Size,
    pattern: &Pattern,
    report: &mut Report,
) -> Result<()> {
    let mut random = Random::new(4);
    let mut samples = READERS.map(|_| Samples::default());
    let mut client = server.connect_with_timeout(DATABASE, "10min")?;
    let mut found = 0;
    for call in 0..options.calls + WARM_UP {
        let (arguments, depot) = (pattern.arguments)(&mut random, size);
        let sql = arguments
            .iter()
            .enumerate()
            .fold(pattern.sql.to_owned(), |sql, (i, argument)| {
                sql.replace(&format!("${}", i + 1), &format!("'{argument}'"))
            });
        let mut seen = Vec::new();
        for (reader, samples) in READERS.iter().zip(&mut samples) {
            client = become_user(client, reader.of(depot, size))?;
            let (took, number) = time(|| rows(&mut client, &sql))?;
            seen.push(number);
            if call >= WARM_UP {
                samples.push(took);
            }
        }
        ensure!(
            seen.iter().all(|number| *number == seen[0]),
            "{}: they see {seen:?} rows",
            pattern.what
        );
        found += seen[0];
    }
    ensure!(found > 0, "{}: nobody found anything", pattern.what);
    let owners = samples[READERS.len() - 1].median();
    let calls = options.calls + WARM_UP;
    for (reader, samples) in READERS.iter().zip(&samples) {
        report.row(
            pattern.what,
            reader.name(),
            format!(
                "p50 {}, p99 {}, max {}",
                show(samples.percentile(50)),
                show(samples.percentile(99)),
                show(samples.max())
            ),
            format!("{} rows", found / calls),
            samples.count(),
            if *reader == Reader::Owner {
                String::new()
            } else {
                format!("takes {}", times(samples.median(), owners))
            },
        );
    }
    let p99 = samples[0].percentile(99);
    target(
        report,
        &format!(
            "{} in less than {} as a technician (p99)",
            pattern.what,
            show(pattern.estimate)
        ),
        p99 < pattern.estimate,
        &show(p99),
    );
    Ok(())
}

fn times(took: Duration, baseline: Duration) -> String {
    factor(took.as_secs_f64() / baseline.as_secs_f64().max(1e-9))
}

/// The same rows as somebody whom the policy binds, and as a superuser who names the departments, or leaves them out.
fn measure_policies(
    server: &Server,
    options: &Options,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let queries = [
        (
            "count of all",
            "SELECT count(*) FROM requests r WHERE {departments}",
        ),
        (
            "the newest fifty pending",
            "SELECT * FROM requests r WHERE r.status = 'pending' AND {departments} ORDER BY r.created_at DESC LIMIT 50",
        ),
        (
            "count of a day, by type",
            "SELECT r.request_type, count(*) FROM requests r WHERE r.created_at >= now() - interval '1 day' AND {departments} GROUP BY 1",
        ),
    ];
    let calls = options.calls.min(FEW);
    report.note(&format!(
        "policies: {} requests of 1,000 devices in {} departments, {} users; each query as a user, and in turns as a superuser: with the user's departments written into it (which an index finds), and over all rows (which a policy looks at); {calls} calls",
        thousands(u64::from(size.requests) + u64::from(size.more)),
        thousands(size.departments.into()),
        thousands(size.users.into()),
    ));
    let mut client = server.connect_with_timeout(DATABASE, "10min")?;
    for (what, query) in queries {
        for reader in [Reader::Technician, Reader::Manager, Reader::Admin] {
            let mut random = Random::new(5);
            let (mut bound, mut free, mut all) =
                (Samples::default(), Samples::default(), Samples::default());
            for call in 0..calls + 1 {
                let depot = random.below(100);
                let user = reader.of(depot, size);
                client = become_user(client, user)?;
                let departments: String = client
                    .query_one(
                        "SELECT coalesce(string_agg(quote_literal(d), ','), '') FROM my_departments() AS d",
                        &[],
                    )?
                    .get(0);
                let named = if reader == Reader::Admin {
                    "true".to_owned()
                } else {
                    format!("r.dept_id = ANY (ARRAY[{departments}]::uuid[])")
                };
                let sql = query.replace("{departments}", "true");
                let (took, ours) = time(|| Ok(client.simple_query(&sql)?))?;
                client = become_user(client, None)?;
                let (unbound, _) = time(|| Ok(client.simple_query(&sql)?))?;
                let sql = query.replace("{departments}", &named);
                let (by_hand, theirs) = time(|| Ok(client.simple_query(&sql)?))?;
                ensure!(
                    texts(&ours) == texts(&theirs),
                    "{what}: the {} sees others",
                    reader.name()
                );
                if call > 0 {
                    bound.push(took);
                    free.push(by_hand);
                    all.push(unbound);
                }
            }
            report.row(
                &format!("requests: {what}"),
                reader.name(),
                format!(
                    "p50 {}, max {}",
                    show(bound.percentile(50)),
                    show(bound.max())
                ),
                format!(
                    "without row security: p50 {} with the departments, {} over all rows",
                    show(free.percentile(50)),
                    show(all.percentile(50))
                ),
                bound.count(),
                format!(
                    "takes {} and {}",
                    times(bound.median(), free.median()),
                    times(bound.median(), all.median())
                ),
            );
        }
    }
    Ok(())
}

fn texts(messages: &[SimpleQueryMessage]) -> Vec<Vec<Option<String>>> {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|i| row.get(i).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        })
        .collect()
}
