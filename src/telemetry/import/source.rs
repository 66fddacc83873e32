//! Where the rows come from: files of the server, or lines that a client has sent.

use crate::error::{Error, Result};
use crate::postgres::spi;
use gemba_core::wide_csv::{Block, Options, WideReader};
use pgrx::prelude::*;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// What a source hands over, in this order: channels once, blocks, the end once.
pub enum Part {
    Open(Opening),
    Block(Block),
    End(Ending),
    /// The file cannot be read (any further); the text says why.
    Failed(String),
}

pub struct Opening {
    /// Name of the time column.
    pub time_column: String,
    pub channels: Vec<gemba_core::cu_bems::Channel>,
    /// Plausible bounds of each channel, × 10^4.
    pub plausible: Vec<Option<(i64, i64)>>,
}

pub struct Ending {
    pub checksum: String,
    pub bytes: u64,
}

/// Files behind a path: one file, the CSV files of a folder, or those that match a pattern; by name.
///
/// # Errors
/// `58P01` when there are none.
pub fn files(path: &str) -> Result<Vec<PathBuf>> {
    let none = |detail: String| {
        Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_FILE, "there is no such file")
            .detail(detail)
            .hint("the path is one of the database server's: a file, a folder of *.csv, or a pattern such as '/data/2018*.csv'")
    };
    let listed = |pattern: &str| -> Result<Vec<PathBuf>> {
        let mut found: Vec<PathBuf> = glob::glob(pattern)
            .map_err(|error| {
                Error::invalid("the pattern is not understood")
                    .detail(format!("{pattern:?}: {error}"))
                    .hint("use *, ? and [abc]")
            })?
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.is_file())
            .collect();
        found.sort();
        Ok(found)
    };
    let plain = Path::new(path);
    let found = if plain.is_file() {
        vec![plain.to_owned()]
    } else if plain.is_dir() {
        let folder = glob::Pattern::escape(path.trim_end_matches('/'));
        listed(&format!("{folder}/*.[cC][sS][vV]"))?
    } else {
        listed(path)?
    };
    if found.is_empty() {
        return Err(none(format!("path {path:?}")));
    }
    Ok(found)
}

/// Blocks that wait between the reader and the writer: enough to even out their pace.
const BLOCKS_AHEAD: usize = 8;

/// Reads a file in a thread of its own, so that parsing and writing use two cores. The thread never
/// calls PostgreSQL, and no signal is ever delivered to it.
pub fn read_file(path: PathBuf, options: Options) -> Result<(Receiver<Part>, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(BLOCKS_AHEAD);
    let handle = spawn_without_signals(move || {
        let outcome = File::open(&path)
            .map_err(|error| error.to_string())
            .and_then(|file| read_all(file, &options, |part| send(&sender, part)));
        if let Err(why) = outcome {
            send(&sender, Part::Failed(why));
        }
    })?;
    Ok((receiver, handle))
}

/// Whether anybody still listens.
fn send(sender: &SyncSender<Part>, part: Part) -> bool {
    sender.send(part).is_ok()
}

/// Reads everything and hands it to `take`, until that says no.
pub fn read_all(
    input: impl Read,
    options: &Options,
    mut take: impl FnMut(Part) -> bool,
) -> Result<(), String> {
    let mut input = Hashing::new(input);
    let mut reader = WideReader::open(&mut input, options).map_err(|error| error.to_string())?;
    let opening = Opening {
        time_column: reader.time_column().to_owned(),
        channels: reader.channels().to_vec(),
        plausible: (0..reader.channels().len())
            .map(|channel| reader.plausible(channel))
            .collect(),
    };
    if !take(Part::Open(opening)) {
        return Ok(());
    }
    while let Some(block) = reader.next_block().map_err(|error| error.to_string())? {
        if !take(Part::Block(block)) {
            return Ok(());
        }
    }
    drop(reader);
    take(Part::End(input.finish()));
    Ok(())
}

/// A thread that leaves the backend's signals to the backend.
#[expect(unsafe_code, reason = "signal masks are set through libc")]
fn spawn_without_signals(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    // SAFETY: both sets are local and initialised by the calls; a new thread inherits the mask, and the
    // old one is put back at once.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let spawned = std::thread::Builder::new()
            .name("gemba-reader".into())
            .spawn(work);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        spawned.map_err(|error| {
            Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
                "the reader's thread cannot be started",
            )
            .detail(error.to_string())
            .hint("raise the server's limit of processes")
        })
    }
}

/// Hashes and counts what is read through it.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    fn finish(self) -> Ending {
        let checksum = self
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ending {
            checksum,
            bytes: self.bytes,
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// The lines that this session has sent to `telemetry.import_lines`, as one file.
#[derive(Default)]
pub struct SentLines {
    after: i64,
    buffer: Vec<u8>,
    position: usize,
}

impl Read for SentLines {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.position == self.buffer.len() {
            self.fetch()
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        let count = target.len().min(self.buffer.len() - self.position);
        target[..count].copy_from_slice(&self.buffer[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

impl SentLines {
    fn fetch(&mut self) -> Result<()> {
        self.buffer.clear();
        self.position = 0;
        let lines = spi::read_all(
            "SELECT line_no, line FROM telemetry.import_lines
              WHERE session = telemetry.upload_session() AND line_no > $1 ORDER BY line_no LIMIT 10000",
            &[self.after.into()],
            |row| Ok((row.get::<i64>(1)?.unwrap_or_default(), row.get::<String>(2)?.unwrap_or_default())),
        )?;
        for (number, line) in lines {
            self.after = number;
            self.buffer.extend_from_slice(line.as_bytes());
            self.buffer.push(b'\n');
        }
        Ok(())
    }
}
