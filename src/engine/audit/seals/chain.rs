//! The seals as they are stored.

use crate::error::{Error, Result};
use crate::postgres::{spi, time};
use gemba_core::seal::{Hash, NOTHING_BEFORE, Seal};
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;

/// A seal without its digests, which are long.
#[derive(Debug, Clone)]
pub struct Link {
    pub id: i64,
    pub system: i64,
    pub upto: i64,
    pub first_at: Option<i64>,
    pub last_at: Option<i64>,
    pub previous: Vec<u8>,
    pub hash: Vec<u8>,
    pub sealed_at: i64,
}

const LINK: &str = "SELECT s.id, s.system_id, s.upto, s.first_at, s.last_at, s.previous_hash, s.seal_hash, s.sealed_at
  FROM cloudwatcher.audit_seals s";

/// All seals, in order.
pub fn all() -> Result<Vec<Link>> {
    spi::read_all(&format!("{LINK} ORDER BY s.id"), &[], link)
}

/// The last one, as it is at this moment.
pub fn last() -> Result<Option<Link>> {
    let newest = format!("{LINK} ORDER BY s.id DESC LIMIT 1");
    Ok(spi::write_returning(&newest, &[], link)?.into_iter().next())
}

/// The last one, as the calling query sees it.
pub fn head() -> Result<Option<Link>> {
    spi::read_row(&format!("{LINK} ORDER BY s.id DESC LIMIT 1"), &[], link)
}

fn link(row: &SpiHeapTupleData) -> Result<Link> {
    let instant = |column| -> Result<Option<i64>> {
        Ok(row.get::<TimestampWithTimeZone>(column)?.map(time::micros))
    };
    Ok(Link {
        id: row.get(1)?.unwrap_or_default(),
        system: row.get(2)?.unwrap_or_default(),
        upto: row.get(3)?.unwrap_or_default(),
        first_at: instant(4)?,
        last_at: instant(5)?,
        previous: row.get(6)?.unwrap_or_default(),
        hash: row.get(7)?.unwrap_or_default(),
        sealed_at: instant(8)?.unwrap_or_default(),
    })
}

/// What a seal says of its rows.
#[derive(Debug, Default)]
pub struct Body {
    pub rows: i64,
    pub digests: Vec<u8>,
    pub batch: Vec<u8>,
}

impl Link {
    /// None when somebody has taken it away meanwhile.
    pub fn body(&self) -> Result<Option<Body>> {
        spi::read_row(
            "SELECT s.row_count, s.digests, s.batch_hash FROM cloudwatcher.audit_seals s WHERE s.id = $1",
            &[self.id.into()],
            |row| {
                Ok(Body {
                    rows: row.get(1)?.unwrap_or_default(),
                    digests: row.get(2)?.unwrap_or_default(),
                    batch: row.get(3)?.unwrap_or_default(),
                })
            },
        )
    }

    /// What its hash should be.
    pub fn computed(&self, body: &Body) -> Hash {
        Seal {
            id: self.id,
            system: self.system,
            upto: self.upto,
            rows: body.rows,
            first_at: self.first_at,
            last_at: self.last_at,
            digests: &body.digests,
            batch: &body.batch,
            previous: &self.previous,
            sealed_at: self.sealed_at,
        }
        .hash()
    }
}

/// Where the next seal has to be put on.
pub struct End {
    pub id: i64,
    pub hash: Vec<u8>,
}

impl End {
    pub fn of(last: Option<&Link>) -> Self {
        match last {
            Some(link) => Self {
                id: link.id,
                hash: link.hash.clone(),
            },
            None => Self {
                id: 0,
                hash: NOTHING_BEFORE.to_vec(),
            },
        }
    }

    /// Puts a seal on the end, which it is then itself.
    pub fn append(&mut self, seal: &Seal) -> Result<Hash> {
        let id = self.id.checked_add(1).ok_or_else(|| {
            Error::state("there is no number for another seal")
                .detail(format!("the last one is {}", self.id))
                .hint("seals count from 1 on: somebody has altered them, see gemba.verify_audit()")
        })?;
        let seal = Seal {
            id,
            previous: &self.hash,
            ..*seal
        };
        let hash = seal.hash();
        spi::write(
            "INSERT INTO cloudwatcher.audit_seals (id, system_id, upto, row_count, first_at, last_at, digests,
                                                   batch_hash, previous_hash, seal_hash, sealed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            &[
                seal.id.into(),
                seal.system.into(),
                seal.upto.into(),
                seal.rows.into(),
                seal.first_at.map(time::timestamptz).into(),
                seal.last_at.map(time::timestamptz).into(),
                seal.digests.into(),
                seal.batch.into(),
                seal.previous.into(),
                hash[..].into(),
                time::timestamptz(seal.sealed_at).into(),
            ],
        )?;
        self.id = seal.id;
        self.hash = hash.to_vec();
        Ok(hash)
    }
}
