//! Reading the file of a dump: what it hashes to, and what it says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::base::{Hash, Result};
use crate::immich::{self, ReadDump};

/// What came of reading a dump.
pub(super) struct TakenRead {
    pub dump: ReadDump,
    /// BLAKE3 of the plain bytes.
    pub plain: Hash,
    /// The same without what is random in them.
    pub print: Hash,
}

/// Why a dump was not read to its end.
pub(super) enum ImportFailure {
    /// The file cannot be read, or changed meanwhile.
    File(String),
    /// It is the end of the import.
    Fatal(crate::base::Error),
}

impl From<crate::base::Error> for ImportFailure {
    fn from(error: crate::base::Error) -> Self {
        ImportFailure::Fatal(error)
    }
}

/// BLAKE3 of the file at `path`, as it lies there; `each` is told of each piece.
pub(super) fn hash(
    path: &Path,
    each: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Hash, ImportFailure> {
    let mut file = open(path)?;
    let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(Hash(*hasher.finalize().as_bytes())),
            Ok(len) => {
                hasher.update(&piece[..len]);
                each(len)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&error)),
        }
    }
}

/// Reads the dump at `path`, whose file hashed to `file`; every plain byte goes to `tee`.
pub(super) fn read(
    path: &Path,
    file: Hash,
    options: &immich::Options<'_>,
    tee: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<TakenRead, ImportFailure> {
    let mut source =
        ImportReader { file: open(path)?, hasher: blake3::Hasher::new(), failed: None };
    let (mut plain, mut print) = (blake3::Hasher::new(), Fingerprint::default());
    let read = immich::read(&mut source, options, &mut |bytes| {
        plain.update(bytes);
        print.update(bytes);
        tee(bytes)
    });
    if let Some(error) = source.failed {
        return Err(unreadable(&error));
    }
    let dump = read?;
    // Of a bad dump the rest is not read.
    if dump.is_good() && Hash(*source.hasher.finalize().as_bytes()) != file {
        return Err(ImportFailure::File("it changed while it was read".to_owned()));
    }
    Ok(TakenRead { dump, plain: Hash(*plain.finalize().as_bytes()), print: print.finish() })
}

/// Opens a file and nothing else: no pipe is waited for.
fn open(path: &Path) -> Result<File, ImportFailure> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| unreadable(&error))?;
    match file.metadata() {
        Ok(meta) if !meta.is_file() => Err(ImportFailure::File("it is not a file".to_owned())),
        Ok(meta) if meta.size() == 0 => Err(ImportFailure::File("it is empty".to_owned())),
        Ok(_) => Ok(file),
        Err(error) => Err(unreadable(&error)),
    }
}

fn unreadable(error: &io::Error) -> ImportFailure {
    ImportFailure::File(format!("it cannot be read: {error}"))
}

/// Tells a file that cannot be read from a repository that cannot be written.
struct ImportReader {
    file: File,
    hasher: blake3::Hasher,
    failed: Option<io::Error>,
}

impl Read for ImportReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Ok(len) => {
                self.hasher.update(&buffer[..len]);
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(told)
            }
        }
    }
}

/// Hashes a dump without the lines that differ in two dumps of one state: `\restrict KEY` and
/// `\unrestrict KEY`, whose keys pg_dump draws at random.
#[derive(Default)]
pub(super) struct Fingerprint {
    hasher: blake3::Hasher,
    /// The beginning of a line that may be one of these.
    held: Vec<u8>,
    inside: bool,
}

/// No such line is longer: a key has 63 characters.
const LONGEST: usize = 128;

impl Fingerprint {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map(|end| end + 1);
            let (piece, later) = rest.split_at(end.unwrap_or(rest.len()));
            self.piece(piece, end.is_some());
            rest = later;
        }
    }

    /// A piece of one line, which ends it if `ends`.
    fn piece(&mut self, piece: &[u8], ends: bool) {
        if !self.inside && piece.first() != Some(&b'\\') || self.inside && self.held.is_empty() {
            self.hasher.update(piece);
        } else {
            self.held.extend_from_slice(piece);
            if ends || self.held.len() > LONGEST {
                if !is_key(&self.held) {
                    self.hasher.update(&self.held);
                }
                self.held.clear();
            }
        }
        self.inside = !ends;
    }

    /// The hash of all bytes taken.
    pub fn finish(mut self) -> Hash {
        if !is_key(&self.held) {
            self.hasher.update(&self.held);
        }
        Hash(*self.hasher.finalize().as_bytes())
    }
}

fn is_key(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let key = line.strip_prefix(b"\\restrict ").or_else(|| line.strip_prefix(b"\\unrestrict "));
    key.is_some_and(|key| !key.is_empty() && key.iter().all(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(text: &str, piece: usize) -> Hash {
        let mut print = Fingerprint::default();
        text.as_bytes().chunks(piece).for_each(|piece| print.update(piece));
        print.finish()
    }

    #[test]
    fn only_keys_are_left_out_however_the_bytes_come() {
        let long = "x".repeat(300);
        let of = |key: &str, row: &str| {
            format!(
                "--\n\n\\restrict {key}\n\nCOPY t (a) FROM \
                    stdin;\n{row}\n\\\\{long}\n\\.\n\n\\unrestrict {key}\n"
            )
        };
        let plain = print(&of("abc", "1"), 1);
        for piece in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(print(&of("abc", "1"), piece), plain);
            assert_eq!(print(&of("XYZ09", "1"), piece), plain);
            assert_ne!(print(&of("abc", "2"), piece), plain);
            assert_ne!(print(&of("a-b", "1"), piece), plain);
        }
        assert_ne!(print("\\.\n", 1), print("", 1));
        assert_eq!(print("a\n\\restrict k", 1), print("a\n", 1));
    }
}
