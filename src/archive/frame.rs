//! zstd frames: what shrinks is stored in them, one frame a segment or chunk.
//!
//! The sizes of plain data are always known beforehand, so a crafted frame cannot make the reader
//! allocate more than the index promised and the format allows.

use std::cell::RefCell;

use zstd_safe::{CCtx, CParameter, DCtx, DParameter, ResetDirective};

use crate::base::{Error, ErrorKind, Result};

/// Level for originals that shrink and for key chunks.
const LEVEL: i32 = 3;
/// Level for patches: they are small, and stay for years.
const PATCH_LEVEL: i32 = 7;
/// Log2 of the window of a patch: covers three key chunks and the chunk itself.
const PATCH_WINDOW_LOG: u32 = 26;

/// The code of memory that ran out. Source: `zstd_errors.h`, "stable since v1.3.1".
const OUT_OF_MEMORY: usize = 64;

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// `plain` as one zstd frame with its size and a checksum.
pub fn compress(plain: &[u8]) -> Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|context| {
        reset(context)?;
        set(context, CParameter::CompressionLevel(LEVEL))?;
        run(context, plain)
    })
}

/// `plain` as one zstd frame that needs `prefix` to be read again (`zstd --patch-from`).
pub fn compress_patch(plain: &[u8], prefix: &[u8]) -> Result<Vec<u8>> {
    // A context of its own: it borrows the prefix.
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(PATCH_LEVEL),
        CParameter::WindowLog(PATCH_WINDOW_LOG),
        CParameter::EnableLongDistanceMatching(true),
        CParameter::LdmHashLog(20),
        CParameter::LdmMinMatch(64),
        CParameter::LdmHashRateLog(5),
    ] {
        set(&mut context, parameter)?;
    }
    context.ref_prefix(prefix).map_err(|code| failed("using a prefix", code))?;
    run(&mut context, plain)
}

/// The plain bytes of one frame; exactly `size` of them or `Damaged`.
pub fn decompress(frame: &[u8], size: usize) -> Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|context| expand(context, frame, size))
}

/// The plain bytes of a frame that was made with `prefix`; exactly `size` of them or `Damaged`.
pub fn decompress_patch(frame: &[u8], prefix: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut context = DCtx::create();
    context
        .set_parameter(DParameter::WindowLogMax(PATCH_WINDOW_LOG))
        .map_err(|code| failed("setting up zstd", code))?;
    context.ref_prefix(prefix).map_err(|code| failed("using a prefix", code))?;
    expand(&mut context, frame, size)
}

fn reset(context: &mut CCtx<'static>) -> Result<()> {
    context
        .reset(ResetDirective::SessionAndParameters)
        .map(drop)
        .map_err(|code| failed("compressing", code))
}

fn set(context: &mut CCtx<'_>, parameter: CParameter) -> Result<()> {
    context.set_parameter(parameter).map(drop).map_err(|code| failed("setting up zstd", code))
}

fn run(context: &mut CCtx<'_>, plain: &[u8]) -> Result<Vec<u8>> {
    set(context, CParameter::ChecksumFlag(true))?;
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    context.compress2(&mut frame, plain).map_err(|code| failed("compressing", code))?;
    Ok(frame)
}

fn expand(context: &mut DCtx<'_>, frame: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(size);
    match context.decompress(&mut plain, frame) {
        Ok(_) if plain.len() == size => Ok(plain),
        Ok(_) => Err(Error::damaged("a zstd frame holds less than its index says")),
        Err(code) => Err(unreadable(code)),
    }
}

/// What zstd could not do without any bytes being at fault.
fn failed(what: &str, code: usize) -> Error {
    let text = format!("{what}: {}", zstd_safe::get_error_name(code));
    if code.wrapping_neg() == OUT_OF_MEMORY {
        Error::new(ErrorKind::Exhausted, text).if_full()
    } else {
        Error::bug(text)
    }
}

/// A frame that zstd could not read: damaged, unless memory ran out.
fn unreadable(code: usize) -> Error {
    let what = "reading a zstd frame";
    match failed(what, code) {
        error if error.kind() == ErrorKind::Exhausted => error,
        _ => Error::new(
            ErrorKind::Damaged,
            format_args!("{what}: {}", zstd_safe::get_error_name(code)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_gives_back_its_bytes_and_nothing_else() {
        let plain = b"the same and the same and the same".repeat(1000);
        let frame = compress(&plain).unwrap();
        assert!(frame.len() < 1000);
        assert_eq!(decompress(&frame, plain.len()).unwrap(), plain);
        assert_eq!(decompress(&frame, plain.len() - 1).unwrap_err().kind(), ErrorKind::Damaged);
        assert_eq!(decompress(&frame, plain.len() + 1).unwrap_err().kind(), ErrorKind::Damaged);
        assert_eq!(decompress(b"no frame", 8).unwrap_err().kind(), ErrorKind::Damaged);
    }

    #[test]
    fn a_failure_that_is_not_of_the_bytes_is_not_damage() {
        let error = set(&mut CCtx::create(), CParameter::WindowLog(99)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bug);
        let out_of_memory = OUT_OF_MEMORY.wrapping_neg();
        assert!(zstd_safe::get_error_name(out_of_memory).contains("memory"));
        assert_eq!(failed("compressing", out_of_memory).kind(), ErrorKind::Exhausted);
        assert_eq!(unreadable(out_of_memory).kind(), ErrorKind::Exhausted);
    }

    #[test]
    fn a_patch_needs_its_prefix() {
        let old: Vec<u8> =
            (0..3_000_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut new = old[1000..].to_vec();
        new[2_000_000] ^= 0x55;
        let patch = compress_patch(&new, &old).unwrap();
        assert!(patch.len() < 10_000, "{}", patch.len());
        assert_eq!(decompress_patch(&patch, &old, new.len()).unwrap(), new);
        assert!(decompress_patch(&patch, &old[..old.len() - 5], new.len()).is_err());
        assert!(decompress(&patch, new.len()).is_err());
    }
}
