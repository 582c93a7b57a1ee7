//! What a restore leaves out since it is not Immich's: a file that psql takes later.
//!
//! What always holds: only its owner may read it; it is there only when something was left out and
//! the restore succeeded; what is there is never overwritten.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::base::durable::{sync, sync_folder};
use crate::base::{Context, Error, Result, SnapshotId};
use crate::immich::LEFT_OUT;

/// Names that are tried in one folder.
const MOST: u32 = 1000;

/// The file that `wanted`, a file or a folder, means for `snapshot`: in a folder one that is not
/// there yet.
pub(super) fn place(wanted: &Path, snapshot: SnapshotId) -> PathBuf {
    if !wanted.is_dir() {
        return wanted.to_owned();
    }
    let folder = if wanted == Path::new(".") { Path::new("") } else { wanted };
    let named = |number: u32| match number {
        1 => folder.join(format!("{LEFT_OUT}{snapshot}.sql")),
        _ => folder.join(format!("{LEFT_OUT}{snapshot}-{number}.sql")),
    };
    (1..MOST).map(named).find(|file| !file.exists()).unwrap_or_else(|| named(MOST))
}

/// The file while it is written; it begins with the first bytes.
pub(super) struct BesideDraft {
    out: Option<BufWriter<NamedTempFile>>,
    file: PathBuf,
    snapshot: SnapshotId,
}

impl BesideDraft {
    /// What will be `file`; nothing is written yet.
    pub fn new(file: &Path, snapshot: SnapshotId) -> BesideDraft {
        BesideDraft { out: None, file: file.to_owned(), snapshot }
    }

    /// Adds statements or rows.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut out = match self.out.take() {
            Some(out) => out,
            None => self.begin()?,
        };
        out.write_all(bytes).context(|| format!("writing {}", self.file.display()))?;
        self.out = Some(out);
        Ok(())
    }

    fn begin(&self) -> Result<BufWriter<NamedTempFile>> {
        let folder = folder(&self.file);
        let draft = tempfile::Builder::new().prefix(".shoebox-").tempfile_in(folder);
        let begun = draft.and_then(|draft| {
            let mut out = BufWriter::new(draft);
            out.write_all(head(self.snapshot).as_bytes()).map(|()| out)
        });
        let begun = begun.context(|| format!("writing into {}", folder.display()));
        begun.map_err(|error| error.hint("name a file for what is left out: --left-out FILE"))
    }

    /// Gives it its name, if anything was written.
    pub fn finish(self) -> Result<()> {
        let BesideDraft { out: Some(out), file, .. } = self else { return Ok(()) };
        let what = || format!("writing {}", file.display());
        let draft = out.into_inner().map_err(|error| Error::io(what(), error.into_error()))?;
        sync(draft.as_file()).context(what)?;
        let _: File =
            draft.persist_noclobber(&file).map_err(|error| Error::io(what(), error.error))?;
        sync_folder(folder(&file)).context(what)
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn head(snapshot: SnapshotId) -> String {
    format!(
        "--\n-- What is not Immich's in the database of snapshot {snapshot}: `shoebox \
            restore-database` left it out.\n\
         -- Nobody has judged it. After a look, as a superuser, into the restored database:\n\
         --   psql --set ON_ERROR_STOP=1 --single-transaction --dbname immich --file FILE\n--\n\n\
         SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nSET \
         check_function_bodies = false;\n\
         SELECT pg_catalog.set_config('search_path', 'public, pg_catalog', false);\n\n"
    )
}
