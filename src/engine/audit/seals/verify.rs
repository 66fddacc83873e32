//! Is the trail what was sealed?

use super::batch;
use super::beyond::Unsealed;
use super::chain::{self, Link};
use super::row::Reader;
use super::{require_columns, require_tables};
use crate::error::{Error, Result};
use crate::postgres::setting::with_setting;
use crate::postgres::spi;
use gemba_core::seal::{ENTRY, Id, NOTHING_BEFORE, hex, parse_hex};

/// What can be wrong.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Altered,
    Removed,
    Inserted,
    SealAltered,
    SealMissing,
    ChainBroken,
    OtherHead,
}

impl Kind {
    pub fn text(self) -> &'static str {
        match self {
            Self::Altered => "row altered",
            Self::Removed => "row removed",
            Self::Inserted => "row inserted",
            Self::SealAltered => "seal altered",
            Self::SealMissing => "seal missing",
            Self::ChainBroken => "chain broken",
            Self::OtherHead => "known seal differs",
        }
    }
}

pub struct Problem {
    pub seal: Option<i64>,
    pub record: Option<Id>,
    pub table: Option<String>,
    pub created_at: Option<i64>,
    pub kind: Kind,
    pub detail: String,
}

pub type Problems = Vec<Problem>;

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            seal: None,
            record: None,
            table: None,
            created_at: None,
            kind,
            detail: detail.into(),
        }
    }

    fn of(seal: i64, kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            seal: Some(seal),
            ..Self::new(kind, detail)
        }
    }
}

/// Which rows are to be looked at, both ends included, in microseconds since 2000-01-01 UTC.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub from: Option<i64>,
    pub to: Option<i64>,
}

impl Bounds {
    pub fn contain(&self, at: i64) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at <= to)
    }

    /// Could a row of the seal be within? A seal without times has no rows, or was altered.
    fn touch(&self, link: &Link) -> bool {
        let (Some(first), Some(last)) = (link.first_at, link.last_at) else {
            return true;
        };
        self.from.is_none_or(|from| last >= from) && self.to.is_none_or(|to| first <= to)
    }
}

/// A seal that was written down elsewhere.
pub struct Known {
    pub seal: Option<i64>,
    pub hash: Option<String>,
}

/// Everything that is wrong. The chain is followed from its beginning; rows and whole seals are looked at where they
/// touch the bounds. All of it is as the calling query sees it.
///
/// # Errors
/// `55000` without the tables, `22023` for arguments that make no sense.
pub fn verify(bounds: Bounds, known: &Known) -> Result<Problems> {
    spi::with_callers_snapshot(|| verify_as_seen(bounds, known))
}

fn verify_as_seen(bounds: Bounds, known: &Known) -> Result<Problems> {
    require_tables()?;
    require_columns()?;
    if let (Some(from), Some(to)) = (bounds.from, bounds.to)
        && from > to
    {
        return Err(Error::invalid("the interval ends before it begins")
            .detail("\"from\" is later than \"to\"")
            .hint("name the earlier time first"));
    }
    let mut problems = Problems::new();
    let links = chain::all()?;
    let complete = check_links(&links, &mut problems);
    check_known(&links, known, &mut problems)?;
    let mut unsealed = Unsealed::new(links.last(), bounds);
    // Otherwise the server could think of reading a whole year for each batch, before it has counted its rows.
    with_setting(c"enable_seqscan", "off", || {
        with_setting(c"jit", "off", || {
            let mut reader = Reader::new();
            links
                .iter()
                .filter(|link| bounds.touch(link))
                .try_for_each(|link| check_seal(link, &mut unsealed, &mut reader, &mut problems))
        })
    })?;
    // The rows of a seal that is not there would all count as inserted.
    if complete {
        unsealed.check(&mut problems)?;
    }
    Ok(problems)
}

/// Returns whether all are there.
fn check_links(links: &[Link], problems: &mut Problems) -> bool {
    let mut complete = true;
    let mut before = (0_i64, &NOTHING_BEFORE[..]);
    for link in links {
        pgrx::check_for_interrupts!();
        // None after the last number that there is; the first seal is 1.
        let expected = before.0.checked_add(1);
        if expected != Some(link.id) {
            complete = false;
            problems.push(missing(expected, link.id));
        } else if link.previous != before.1 {
            problems.push(Problem::of(
                link.id,
                Kind::ChainBroken,
                format!(
                    "its previous_hash is {}, the seal before has {}",
                    hex(&link.previous),
                    hex(before.1)
                ),
            ));
        }
        before = (link.id, &link.hash);
    }
    complete
}

/// Of seals that should be before this one; however many they are, they are one problem.
fn missing(first: Option<i64>, before: i64) -> Problem {
    let why = "their rows cannot be told from inserted ones, which are not looked for";
    let last = before.checked_sub(1);
    match (first, last) {
        (Some(first), Some(last)) if first == last => {
            Problem::of(first, Kind::SealMissing, format!("seal {first}: {why}"))
        }
        (Some(first), Some(last)) if first < last => Problem::of(
            first,
            Kind::SealMissing,
            format!("seals {first} to {last}: {why}"),
        ),
        _ => Problem::of(
            before,
            Kind::ChainBroken,
            "seals are numbered from 1 on, this one is not",
        ),
    }
}

fn check_known(links: &[Link], known: &Known, problems: &mut Problems) -> Result<()> {
    let Some(text) = &known.hash else {
        if let Some(seal) = known.seal {
            return Err(Error::invalid("a known seal needs its hash")
                .detail(format!("known_seal {seal}, known_hash NULL"))
                .hint("give both as gemba.audit_head() returned them"));
        }
        return Ok(());
    };
    let Some(hash) = parse_hex(text) else {
        return Err(Error::invalid("the known hash is none")
            .detail(format!("known_hash {text:?}"))
            .hint("a hash has 64 hexadecimal digits, as gemba.audit_head() returns it"));
    };
    let found = match known.seal {
        Some(seal) => links.iter().find(|link| link.id == seal),
        None => links.iter().find(|link| link.hash == hash),
    };
    let detail = match found {
        Some(link) if link.hash == hash => return Ok(()),
        Some(link) => format!("its hash is {}", hex(&link.hash)),
        None => format!("there are {} seals, and it is not among them", links.len()),
    };
    problems.push(Problem {
        seal: known.seal,
        ..Problem::new(Kind::OtherHead, detail)
    });
    Ok(())
}

fn check_seal(
    link: &Link,
    unsealed: &mut Unsealed,
    reader: &mut Reader,
    problems: &mut Problems,
) -> Result<()> {
    pgrx::check_for_interrupts!();
    let Some(body) = link.body()? else {
        return Ok(());
    };
    if link.computed(&body)[..] != link.hash[..] {
        problems.push(Problem::of(
            link.id,
            Kind::SealAltered,
            "its seal_hash is not that of its columns",
        ));
    } else if body.digests.len() as i64 != body.rows.saturating_mul(ENTRY as i64) {
        problems.push(Problem::of(
            link.id,
            Kind::SealAltered,
            "its digests are not as many as its row_count",
        ));
    }
    batch::check(link, &body, unsealed, reader, problems)
}
