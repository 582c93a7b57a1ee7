//! `shoebox thumbnailer`: what file managers run to draw one icon, as
//! `scripts/package/desktop/*.thumbnailer` tell them.
//!
//! A photo of a mount gets Immich's own preview: nothing of the photo is read. For any other file
//! this steps aside: the thumbnailer that would have been asked without us is run, and what nobody
//! else draws but is a JPEG or WebP is drawn here.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::CommandOutcome;
use super::desktop::find_program;
use crate::base::{Context, Result};
use crate::mount::preview;
use crate::task::thumbnail;

/// Draw one thumbnail, for a file manager
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// Pixels of the longer side
    #[arg(short, long, default_value_t = 128)]
    size: u32,
    /// A photo or video
    input: PathBuf,
    /// The PNG to write
    output: PathBuf,
}

/// Set for other thumbnailers: one of them that runs us again is told no.
const INSIDE: &str = "SHOEBOX_THUMBNAILER";

/// The largest photo that is drawn here when it lies in no mount.
const LARGEST: u64 = 64 << 20;

/// Types that our `.thumbnailer` files name, by the ends of names that stand for them.
const TYPES: [(&str, &[&str]); 29] = [
    ("3fr", &["image/x-hasselblad-3fr"]),
    ("3gp", &["video/3gpp"]),
    ("arw", &["image/x-sony-arw"]),
    ("avi", &["video/x-msvideo"]),
    ("avif", &["image/avif"]),
    ("cr2", &["image/x-canon-cr2"]),
    ("cr3", &["image/x-canon-cr3"]),
    ("crw", &["image/x-canon-crw"]),
    ("dng", &["image/x-adobe-dng"]),
    ("heic", &["image/heif", "image/heic"]),
    ("heif", &["image/heif"]),
    ("jpeg", &["image/jpeg"]),
    ("jpg", &["image/jpeg"]),
    ("jxl", &["image/jxl"]),
    ("m4v", &["video/x-m4v", "video/mp4"]),
    ("mkv", &["video/x-matroska"]),
    ("mov", &["video/quicktime"]),
    ("mp4", &["video/mp4"]),
    ("mts", &["video/mp2t"]),
    ("nef", &["image/x-nikon-nef"]),
    ("nrw", &["image/x-nikon-nrw"]),
    ("orf", &["image/x-olympus-orf"]),
    ("pef", &["image/x-pentax-pef"]),
    ("raf", &["image/x-fuji-raf"]),
    ("rw2", &["image/x-panasonic-rw2"]),
    ("sr2", &["image/x-sony-sr2"]),
    ("srw", &["image/x-samsung-srw"]),
    ("webm", &["video/webm"]),
    ("webp", &["image/webp"]),
];

impl Args {
    pub fn run(self) -> Result<CommandOutcome> {
        let file =
            File::open(&self.input).context(|| format!("opening {}", self.input.display()))?;
        // A preview that is damaged or of a strange kind is as good as none.
        let preview = preview::ask(&file, self.size).ok().flatten();
        if let Some(png) =
            preview.and_then(|preview| thumbnail::draw(&preview, self.size, &[]).ok())
        {
            return self.write(&png);
        }
        if std::env::var_os(INSIDE).is_none()
            && others(&self.input).iter().any(|other| other.draw(&self))
        {
            return Ok(CommandOutcome::Whole);
        }
        let mut photo = Vec::new();
        (&file)
            .take(LARGEST)
            .read_to_end(&mut photo)
            .context(|| format!("reading {}", self.input.display()))?;
        self.write(&thumbnail::draw(&photo, self.size, &[])?)
    }

    fn write(&self, png: &[u8]) -> Result<CommandOutcome> {
        std::fs::write(&self.output, png)
            .context(|| format!("writing {}", self.output.display()))?;
        Ok(CommandOutcome::Whole)
    }
}

/// Another program that draws thumbnails: its command line, with `%i`, `%u`, `%o`, `%s` in it.
#[derive(Debug, PartialEq, Eq)]
struct OtherThumbnailer(String);

impl OtherThumbnailer {
    /// Runs it; true when it drew.
    fn draw(&self, args: &Args) -> bool {
        let uri = super::thumbnails::uri(&args.input);
        let mut words = self.0.split_ascii_whitespace().map(|word| fill(word, args, &uri));
        let Some(program) = words.next() else { return false };
        let mut command = Command::new(program);
        command.args(words).env(INSIDE, "1").stdin(Stdio::null()).stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
            && args.output.metadata().is_ok_and(|written| written.len() > 0)
    }
}

fn fill(word: &str, args: &Args, uri: &str) -> std::ffi::OsString {
    match word {
        "%i" => args.input.clone().into(),
        "%o" => args.output.clone().into(),
        _ => {
            word.replace("%u", uri).replace("%s", &args.size.to_string()).replace("%%", "%").into()
        }
    }
}

/// The other thumbnailers that are installed for what `input` is called, as the desktop looks for
/// them: the user's own first.
fn others(input: &Path) -> Vec<OtherThumbnailer> {
    let end = input.extension().and_then(|end| end.to_str()).unwrap_or_default().to_lowercase();
    let Some((_, types)) = TYPES.iter().find(|(known, _)| *known == end) else { return Vec::new() };
    let mut found = Vec::new();
    for folder in folders() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        let texts = entries.iter().filter_map(|path| std::fs::read_to_string(path).ok());
        found.extend(texts.filter_map(|text| other(&text, types)));
    }
    found
}

fn folders() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = set("XDG_DATA_HOME").map(PathBuf::from);
    let home = home.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    let shared = set("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share:/usr/share".into());
    home.into_iter()
        .chain(std::env::split_paths(&shared))
        .map(|folder| folder.join("thumbnailers"))
        .collect()
}

/// What the `.thumbnailer` file `text` says, where it draws one of `types`, can be run, and is not
/// ours.
fn other(text: &str, types: &[&str]) -> Option<OtherThumbnailer> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))
            .map(str::trim)
    };
    let draws = value("MimeType")?.split(';').any(|kind| types.contains(&kind.trim()));
    let command = value("Exec")?;
    let program = command.split_ascii_whitespace().next()?;
    let name = Path::new(program).file_name()?;
    let there = Path::new(program).is_file() || find_program(program).is_some();
    (draws && there && name != "shoebox").then(|| OtherThumbnailer(command.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERAS: &str = include_str!("../../scripts/package/desktop/shoebox.thumbnailer");
    const PHOTOS: &str = include_str!("../../scripts/package/desktop/shoebox-photos.thumbnailer");

    #[test]
    fn each_type_that_is_asked_for_is_known_here_and_the_other_way_round() {
        let line = |text: &'static str| {
            text.lines().find_map(|line| line.strip_prefix("MimeType=")).unwrap()
        };
        let mut named: Vec<&str> =
            [CAMERAS, PHOTOS].map(line).iter().flat_map(|types| types.split(';')).collect();
        named.retain(|kind| !kind.is_empty());
        for kind in &named {
            assert!(TYPES.iter().any(|(_, types)| types.contains(kind)), "{kind}");
        }
        for (_, types) in TYPES {
            assert!(types.iter().all(|kind| named.contains(kind)), "{types:?}");
        }
    }

    #[test]
    fn other_thumbnailers_are_found_and_ours_is_not() {
        let text = "[Thumbnailer Entry]\nTryExec=sh\nExec=sh -s %s %u \
            %o\nMimeType=image/png;image/jpeg;\n";
        assert_eq!(other(text, &["image/jpeg"]), Some(OtherThumbnailer("sh -s %s %u %o".into())));
        assert_eq!(other(text, &["image/heif"]), None);
        assert_eq!(other(&text.replace("Exec=sh", "Exec=no-such-program"), &["image/jpeg"]), None);
        assert_eq!(other(PHOTOS, &["image/jpeg"]), None);
    }
}
