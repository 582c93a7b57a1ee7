//! `shoebox thumbnails`

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;
use walkdir::WalkDir;

use super::desktop::cache_folder;
use super::output::{Output, plural};
use super::{CommandOutcome, signal};
use crate::base::{Context, Error, ErrorKind, Result};
use crate::mount::preview;
use crate::task::thumbnail;

/// Write Immich's previews to where file managers look for thumbnails
///
/// For every photo and video below FOLDER, a folder of a mount, where the backup has previews
/// (`shoebox backup --generated`). The photos themselves are not read. Needed for file managers
/// that run no other program for their icons, such as Dolphin; the others do this by themselves as
/// you look.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  shoebox thumbnails '/mnt/photos/latest/users/Ann Lee/by date/2024'")]
pub(super) struct Args {
    /// A folder of a mount
    folder: PathBuf,
    /// Pixels of the longer side: 128, 256, 512 or 1024 (repeatable)
    #[arg(long, value_name = "PIXELS", default_values_t = [128, 256], value_parser = size)]
    size: Vec<u32>,
}

/// Folders of thumbnails and the sizes in them: "Thumbnail Managing Standard", section 2.
const SIZES: [(u32, &str); 4] =
    [(128, "normal"), (256, "large"), (512, "x-large"), (1024, "xx-large")];

/// What stays as it is in a file's URI, as GLib and Qt write it: the name of a thumbnail depends on
/// each letter.
const PLAIN: AsciiSet = NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

fn size(text: &str) -> Result<u32> {
    let known = text.parse().ok().filter(|size| SIZES.iter().any(|(known, _)| known == size));
    known.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format_args!("`{text}` is none of 128, 256, 512 and 1024"))
    })
}

/// How many.
#[derive(Debug, Default, Serialize)]
struct ThumbnailCounts {
    /// Photos that got thumbnails, or whose previews could not be read.
    photos: u64,
    failed: u64,
    /// Photos that had all of theirs.
    had: u64,
    /// Files without a preview in the backup.
    without: u64,
}

impl Args {
    pub fn run(self, output: &Output) -> Result<CommandOutcome> {
        let cache = cache_folder().map(|cache| cache.join("thumbnails"));
        let cache =
            cache.ok_or_else(|| Error::invalid("neither XDG_CACHE_HOME nor HOME is set"))?;
        let folder = std::path::absolute(&self.folder)
            .context(|| format!("looking at {}", self.folder.display()))?;
        let real = folder.canonicalize().context(|| format!("looking at {}", folder.display()))?;
        for (_, name) in SIZES.iter().filter(|(size, _)| self.size.contains(size)) {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder
                .create(cache.join(name))
                .context(|| format!("making {}", cache.join(name).display()))?;
        }
        let stop = signal::stop_flag()?;
        let mut counts = ThumbnailCounts::default();
        for entry in WalkDir::new(&real).into_iter().filter_map(std::result::Result::ok) {
            if stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(Error::new(
                    ErrorKind::Interrupted,
                    "stopped; the thumbnails that were made stay",
                ));
            }
            if !entry.file_type().is_file() {
                continue;
            }
            // File managers speak of the path that they were given, or of the real one.
            let below = entry.path().strip_prefix(&real).unwrap_or(entry.path());
            let mut names = vec![entry.path().to_owned(), folder.join(below)];
            names.dedup();
            self.one(&cache, &names, &mut counts)?;
        }
        if counts.photos + counts.had + counts.failed == 0 {
            return Err(Error::not_found(format_args!(
                "a preview of Immich's below {}",
                self.folder.display()
            ))
            .hint(
                "give a folder of a mount; its snapshot must have been made with `shoebox \
                    backup --generated`",
            ));
        }
        output.answer(
            &counts,
            format!(
                "{} got thumbnails, {} had theirs, {} without a preview{}",
                plural(counts.photos, "photo", "photos"),
                counts.had,
                plural(counts.without, "file", "files"),
                if counts.failed > 0 {
                    format!(", {} could not be drawn", counts.failed)
                } else {
                    String::new()
                },
            ),
        )?;
        Ok(if counts.failed > 0 { CommandOutcome::Partly } else { CommandOutcome::Whole })
    }

    /// The thumbnails of one file, which goes by `names`.
    fn one(&self, cache: &Path, names: &[PathBuf], counts: &mut ThumbnailCounts) -> Result<()> {
        let Some(Ok(file)) = names.first().map(File::open) else { return Ok(()) };
        let Ok(meta) = file.metadata() else { return Ok(()) };
        let (time, bytes) = (meta.mtime().to_string(), meta.len().to_string());
        let wanted: Vec<_> = SIZES.iter().filter(|(size, _)| self.size.contains(size)).collect();
        let places = names
            .iter()
            .flat_map(|name| wanted.iter().map(move |(size, folder)| (uri(name), *size, *folder)));
        let missing: Vec<_> = places
            .map(|(uri, size, folder)| (cache.join(folder).join(name_of(&uri)), uri, size))
            .filter(|(path, ..)| !is_of(path, &time))
            .collect();
        let Some(largest) = missing.iter().map(|(_, _, size)| *size).max() else {
            counts.had += 1;
            return Ok(());
        };
        let picture = match preview::ask(&file, largest) {
            Ok(Some(picture)) => picture,
            Ok(None) => {
                counts.without += 1;
                return Ok(());
            }
            Err(_) => {
                counts.failed += 1;
                return Ok(());
            }
        };
        for (path, uri, size) in missing {
            let texts = [
                ("Thumb::URI", uri.as_str()),
                ("Thumb::MTime", &time),
                ("Thumb::Size", &bytes),
                ("Software", "shoebox"),
            ];
            let Ok(png) = thumbnail::draw(&picture, size, &texts) else {
                counts.failed += 1;
                return Ok(());
            };
            put(&path, &png)?;
        }
        counts.photos += 1;
        Ok(())
    }
}

/// The URI of the file at `path`, as file managers write it.
pub(super) fn uri(path: &Path) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_bytes(), &PLAIN))
}

fn name_of(uri: &str) -> String {
    format!("{}.png", hex::encode(Md5::digest(uri.as_bytes())))
}

/// True when `path` is a thumbnail of a file of the time `time`. The text stands near its front.
fn is_of(path: &Path, time: &str) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let mut head = Vec::new();
    let mark = [b"tEXtThumb::MTime\0", time.as_bytes()].concat();
    file.take(8192).read_to_end(&mut head).is_ok() && memchr::memmem::find(&head, &mark).is_some()
}

fn put(path: &Path, png: &[u8]) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file is 0600, as the standard wants thumbnails to be.
    let mut file = tempfile::NamedTempFile::new_in(folder).context(writing)?;
    file.write_all(png).context(writing)?;
    file.persist(path).map_err(|error| Error::io(writing(), error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_written_as_file_managers_do() {
        // What `gio info -a standard::name` and QUrl::fromLocalFile say of such a name.
        let path = Path::new("/mnt/2024-05/Ann's photo (1) [x] #ü;%.HEIC");
        assert_eq!(
            uri(path),
            "file:///mnt/2024-05/Ann's%20photo%20(1)%20%5Bx%5D%20%23%C3%BC%3B%25.HEIC"
        );
    }

    #[test]
    fn a_thumbnail_is_named_as_the_standard_says() {
        // The standard's own example.
        assert_eq!(
            name_of("file:///home/jens/photos/me.png"),
            "c6ee772d9e49320e97ec29a7eb5b1697.png"
        );
    }
}
