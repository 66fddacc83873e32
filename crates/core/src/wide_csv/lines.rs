//! Records of a CSV file, borrowed from one buffer.
//!
//! A line without quotes is split at its commas where it lies; a line with a quote goes through `csv-core`, because
//! its record may hold commas and line ends. Only `\n` ends a line: a `\r` stays in its field, where trimming takes it.

use super::ReadError;
use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};
use std::io::{ErrorKind, Read};

/// Bytes asked of the input at a time: large enough that the calls do not count, small enough for the cache.
const CHUNK: usize = 256 * 1024;
/// A longer record is an unclosed quote or no CSV at all; reading on would only take memory.
const MAX_RECORD: usize = 1024 * 1024;

/// The input and what of it is buffered: `buffer[start..end]` is read but not consumed.
pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_eof: bool,
    /// 1-based physical line at `start`.
    line: u64,
    quoted: csv_core::Reader,
}

/// Extent of one record, line end included.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub bytes: usize,
    lines: u64,
}

/// Where the fields of the record read last lie. Valid until the next call of [`Lines::record`].
#[derive(Default)]
pub(super) struct Fields {
    /// The record in the buffer, without its `\n`.
    raw: std::ops::Range<usize>,
    ends: Vec<usize>,
    /// Text of the fields where quotes had to be resolved; otherwise the fields are in the buffer.
    unquoted: Option<Vec<u8>>,
}

impl<R: Read> Lines<R> {
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            at_eof: false,
            line: 1,
            quoted: ReaderBuilder::new()
                .terminator(Terminator::Any(b'\n'))
                .build(),
        }
    }

    pub fn line(&self) -> u64 {
        self.line
    }

    pub fn skip_bom(&mut self) -> Result<(), ReadError> {
        while self.end - self.start < 3 && !self.at_eof {
            self.fill()?;
        }
        if self.buffer[self.start..self.end].starts_with(b"\xef\xbb\xbf") {
            self.start += 3;
        }
        Ok(())
    }

    /// Finds the record that begins `offset` bytes after the first unconsumed one; `None` at the end of the input.
    pub fn record(
        &mut self,
        offset: usize,
        fields: &mut Fields,
    ) -> Result<Option<Span>, ReadError> {
        let mut searched = 0;
        loop {
            let from = self.start + offset;
            let found = memchr::memchr2(b'\n', b'"', &self.buffer[from + searched..self.end]);
            match found.map(|at| from + searched + at) {
                Some(at) if self.buffer[at] == b'"' => {
                    return self.quoted_record(offset, fields).map(Some);
                }
                Some(at) => {
                    fields.split(&self.buffer, from..at);
                    return Ok(Some(Span {
                        bytes: at + 1 - from,
                        lines: 1,
                    }));
                }
                None if self.at_eof && from == self.end => return Ok(None),
                None if self.at_eof => {
                    fields.split(&self.buffer, from..self.end);
                    return Ok(Some(Span {
                        bytes: self.end - from,
                        lines: 1,
                    }));
                }
                None => {
                    searched = self.end - from;
                    self.fill_record(searched)?;
                }
            }
        }
    }

    fn quoted_record(&mut self, offset: usize, fields: &mut Fields) -> Result<Span, ReadError> {
        // A record is looked for in a small window first: preparing room for all that is buffered, at each record of
        // a file that quotes everything, would cost more than reading it.
        let (mut window, mut room) = (4 * 1024, 256);
        loop {
            let from = self.start + offset;
            let to = self.end.min(from + window);
            let mut text = fields.unquoted.take().unwrap_or_default();
            // Unquoting never lengthens a record.
            text.resize(text.len().max(to - from + 1), 0);
            fields.ends.clear();
            fields.ends.resize(room, 0);
            self.quoted.reset();
            let (mut result, read, written, mut count) =
                self.quoted
                    .read_record(&self.buffer[from..to], &mut text, &mut fields.ends);
            if result == ReadRecordResult::InputEmpty && self.at_eof && to == self.end {
                let rest =
                    self.quoted
                        .read_record(&[], &mut text[written..], &mut fields.ends[count..]);
                result = rest.0;
                count += rest.3;
            }
            fields.unquoted = Some(text);
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => {
                    fields.ends.truncate(count);
                    let raw = &self.buffer[from..from + read];
                    fields.raw = from..from + read - usize::from(raw.ends_with(b"\n"));
                    return Ok(Span {
                        bytes: read,
                        lines: memchr::memchr_iter(b'\n', raw).count() as u64,
                    });
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => room *= 2,
                ReadRecordResult::InputEmpty if to < self.end => window *= 2,
                ReadRecordResult::InputEmpty => {
                    window = window.max(2 * (to - from));
                    self.fill_record(to - from)?;
                }
            }
        }
    }

    pub fn consume(&mut self, span: Span) {
        self.start += span.bytes;
        self.line += span.lines;
    }

    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    fn fill_record(&mut self, have: usize) -> Result<(), ReadError> {
        if have > MAX_RECORD {
            return Err(ReadError::RecordTooLong { line: self.line });
        }
        self.fill()
    }

    fn fill(&mut self) -> Result<(), ReadError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < self.end + CHUNK {
            self.buffer.resize(self.end + CHUNK, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    self.at_eof = n == 0;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ReadError::Io {
                        line: self.line,
                        source,
                    });
                }
            }
        }
    }
}

impl Fields {
    fn split(&mut self, buffer: &[u8], raw: std::ops::Range<usize>) {
        self.unquoted = None;
        self.ends.clear();
        self.ends
            .extend(memchr::memchr_iter(b',', &buffer[raw.clone()]).map(|at| raw.start + at));
        self.ends.push(raw.end);
        self.raw = raw;
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn raw<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.raw.clone()]
    }

    pub fn is_blank(&self, buffer: &[u8]) -> bool {
        self.ends.len() < 2 && self.raw(buffer).trim_ascii().is_empty()
    }

    /// Field `index`, trimmed; empty where the record is too short.
    #[inline]
    pub fn get<'a>(&'a self, buffer: &'a [u8], index: usize) -> &'a [u8] {
        let Some(&end) = self.ends.get(index) else {
            return &[];
        };
        let field = match (&self.unquoted, index.checked_sub(1)) {
            (None, Some(before)) => &buffer[self.ends[before] + 1..end],
            (None, None) => &buffer[self.raw.start..end],
            (Some(text), Some(before)) => &text[self.ends[before]..end],
            (Some(text), None) => &text[..end],
        };
        field.trim_ascii()
    }
}
