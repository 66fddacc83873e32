//! The entropy coder: crate pco, in its wrapped form, which adds nothing of its own but what decoding needs.
//!
//! Every chunk has one page. What the bytes ask of pco is looked at before it sees them: a mode or a prediction that is
//! never written here could make it allocate more than the rows need.

use crate::damage::Damage;
use pco::data_types::Number;
use pco::errors::PcoResult;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DecompressorScratch, DeltaSpec, ModeSpec, PagingSpec};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// pco's version of its format: not stored, because [`crate::FORMAT`] implies it.
const VERSION: [u8; 2] = [4, 1];
/// Level of effort, of 12. On days of CU-BEMS-like readings 6 and 8 are as large within a byte or two, 5 is one per
/// cent larger, and all above only take longer.
const LEVEL: usize = 7;
/// pco reads a batch ahead, at most 256 values of 18 bytes, and copies the end of its bytes to where it can.
const AHEAD: usize = 256 * 18 + 16;
/// Shorter chunks are copied once, with room behind them, instead of several times by pco.
const SHORT: usize = 1 << 15;

/// What numbers are to pco.
pub(crate) trait Code: Number + Copy + Default {
    /// Bits of one.
    const BITS: usize;
    /// Whether pco may look for a common step of floats.
    const FLOAT: bool;
}

impl Code for u8 {
    const BITS: usize = 8;
    const FLOAT: bool = false;
}
impl Code for u16 {
    const BITS: usize = 16;
    const FLOAT: bool = false;
}
impl Code for u32 {
    const BITS: usize = 32;
    const FLOAT: bool = false;
}
impl Code for u64 {
    const BITS: usize = 64;
    const FLOAT: bool = false;
}
impl Code for f32 {
    const BITS: usize = 32;
    const FLOAT: bool = true;
}
impl Code for f64 {
    const BITS: usize = 64;
    const FLOAT: bool = true;
}

/// What decoding reuses.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pco: DecompressorScratch,
    /// A short chunk, and zeros.
    roomy: Vec<u8>,
    used: usize,
}

impl Scratch {
    /// The bytes with [`AHEAD`] zeros behind them.
    fn make_room(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        if length < self.used {
            self.roomy[length..self.used].fill(0);
        }
        self.used = length;
        if self.roomy.len() < length + AHEAD {
            self.roomy.resize(length + AHEAD, 0);
        }
        self.roomy[..length].copy_from_slice(bytes);
    }
}

/// Appends the numbers. Returns whether it could; if not, nothing was appended.
///
/// `order` says what is stored: values, differences, or differences of those.
pub(crate) fn compress<T: Code>(values: &[T], order: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let done = try_compress(values, order, out).is_ok() && is_ours::<T>(&out[start..]);
    if !done {
        out.truncate(start);
    }
    done
}

fn try_compress<T: Code>(values: &[T], order: usize, out: &mut Vec<u8>) -> PcoResult<()> {
    let mode = if T::FLOAT {
        ModeSpec::Auto
    } else {
        ModeSpec::Classic
    };
    let config = ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(mode)
        .with_delta_spec(DeltaSpec::TryConsecutive(order))
        .with_enable_8_bit(true)
        .with_paging_spec(PagingSpec::Exact(vec![values.len()]));
    let mut chunk = FileCompressor::default().chunk_compressor(values, &config)?;
    chunk.write_meta(&mut *out)?;
    chunk.write_page(0, &mut *out)?;
    Ok(())
}

/// Reads `count` numbers, all of the bytes.
pub(crate) fn decompress<T: Code>(
    bytes: &[u8],
    count: usize,
    out: &mut Vec<T>,
    scratch: &mut Scratch,
) -> Result<(), Damage> {
    let damage = Damage::Malformed {
        what: "entropy-coded values",
    };
    if !is_ours::<T>(bytes) {
        return Err(damage);
    }
    out.clear();
    out.resize(count, T::default());
    // pco is not known to panic on any bytes, and the tests look for such; if it did, a backend had to survive it.
    let read = catch_unwind(AssertUnwindSafe(|| {
        if bytes.len() > SHORT {
            return try_decompress(bytes, 0, out, &mut scratch.pco);
        }
        scratch.make_room(bytes);
        let roomy = &scratch.roomy[..bytes.len() + AHEAD];
        try_decompress(roomy, AHEAD, out, &mut scratch.pco)
    }));
    match read {
        Ok(Ok(true)) => Ok(()),
        Ok(_) => Err(damage),
        Err(_) => {
            *scratch = Scratch::default();
            Err(Damage::Malformed {
                what: "entropy-coded values (the decoder gave up)",
            })
        }
    }
}

/// Whether the bytes are as many numbers as fit into `out`, and `behind` more bytes.
fn try_decompress<T: Code>(
    bytes: &[u8],
    behind: usize,
    out: &mut [T],
    scratch: &mut DecompressorScratch,
) -> PcoResult<bool> {
    let (file, _) = FileDecompressor::new(VERSION.as_slice())?;
    let (chunk, rest) = file.chunk_decompressor::<T, _>(bytes)?;
    let mut page = chunk.page_decompressor_with_scratch(rest, out.len(), scratch)?;
    let progress = page.read(out)?;
    Ok(progress.finished && progress.n_processed == out.len() && page.into_src().len() == behind)
}

/// Whether the beginning of a chunk asks for nothing that is never written: a dictionary or a window to look back in
/// has a size of its own, which pco allocates before it reads on.
fn is_ours<T: Code>(bytes: &[u8]) -> bool {
    let nibble = |at: usize| bytes.get(at / 2).map(|byte| byte >> (at % 2 * 4) & 0xf);
    let delta_at = match nibble(0) {
        Some(0) => 1,
        // A step of floats, which takes as many bits as they do.
        Some(2) if T::FLOAT => 1 + T::BITS / 4,
        // Floats of less precision: how many bits less takes a byte.
        Some(3) if T::FLOAT => 3,
        _ => return false,
    };
    // None, or differences.
    matches!(nibble(delta_at), Some(0 | 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pco_still_writes_the_version_that_readers_assume() {
        let mut header = Vec::new();
        FileCompressor::default().write_header(&mut header).unwrap();
        assert_eq!(
            header, VERSION,
            "another version of pco's format needs another crate::FORMAT"
        );
    }
}
