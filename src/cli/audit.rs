//! `shoebox audit`

use serde_json::json;

use super::output::{Output, count, plural, printable, size};
use super::{CommandOutcome, GlobalArgs};
use crate::base::Result;
use crate::task::audit::{
    self, AuditAside, AuditClass, AuditFinding, AuditTallies, Options, Report,
};

/// Findings of one class and owner that are told one by one.
const TOLD: usize = 50;

/// Compare the database with the files and with Immich's checksums
///
/// Reported by owner: photos without a file (and where their bytes are instead), files that no
/// photo names, bytes that are not what Immich recorded (rotten on the disk, or changed since),
/// missing sidecars and live videos, external libraries that the backup does not cover. It looks at
/// a snapshot, not at the server: take a backup first if things changed. It reads no file and
/// changes nothing. Each backup prints the totals.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The snapshot: an id, a name in the mount, or `latest`
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Only this person's photos: name, address or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Show names and paths of locked photos too
    #[arg(long)]
    locked: bool,
}

const EXAMPLES: &str = "\
Examples:
  shoebox audit
  shoebox audit --user 'Ann Lee'
  shoebox audit --json | jq -r 'select(.finding == \"no_row\").path'

What is no finding: checksums of external libraries (Immich hashes their paths), names that differ \
in how letters are composed only,
thumbnails and transcoded videos, markers and litter of file systems, profile pictures, photos of \
external libraries that Immich knows
to be gone, files that came while the backup ran (the next snapshot tells).

Rot is noticed when a file is read again although its size and time are the same: in its share of \
`shoebox run`
(reread-cycle), or by `shoebox backup --paranoid`.

JSON: one object a finding: {\"finding\": \"no_file\"|\"no_live_video\"|\"rotten\"|\"edited\"|\"differs\"|\"no_sidecar\"|\"elsewhere\"|\"no_row\"|\"not_covered\",
\"owner\", \"owner_name\", \"asset\", \"name\", \"taken\", \"path\", \"found\", \"of\", \
\"snapshot\", \"kept\": the uploaded bytes are, \"count\",
\"size\", \"trashed\", \"locked\"}; the last is
{\"finding\": \"summary\", \"snapshot\", \"findings\", \"totals\": {CLASS: {\"count\", \
\"bytes\"}}, \"aside\": {…}}. Exit code 3: something was found";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let options = Options { snapshot: self.snapshot, user: self.user, locked: self.locked };
        let report = audit::audit(&global.open()?, &options)?;
        if output.is_json() {
            report.findings.iter().try_for_each(|finding| output.answer(finding, ""))?
        } else {
            tell(&report, output)?
        }
        output.answer(&json(&report), summary(&report))?;
        Ok(if report.findings.is_empty() { CommandOutcome::Whole } else { CommandOutcome::Partly })
    }
}

/// A paragraph an owner, a line a finding.
fn tell(report: &Report, output: &Output) -> Result<()> {
    let line = |text: String| output.bytes(format!("{}\n", printable(&text)).as_bytes());
    for of_owner in
        report.findings.chunk_by(|a, b| (a.owner, &a.owner_name) == (b.owner, &b.owner_name))
    {
        line(owner(&of_owner[0]))?;
        for of_class in of_owner.chunk_by(|a, b| a.class == b.class) {
            line(format!("  {}", total(of_class)))?;
            of_class
                .iter()
                .take(TOLD)
                .try_for_each(|finding| line(format!("    {}", text(finding))))?;
            let more = of_class.len().saturating_sub(TOLD);
            if more > 0 {
                line(format!("    and {} more (all of them with --json)", count(more as u64)))?;
            }
        }
    }
    Ok(())
}

fn owner(finding: &AuditFinding) -> String {
    match (finding.owner, finding.owner_name.as_str()) {
        (Some(_), name) => name.to_owned(),
        (None, folder) => format!("no account has the folder `{folder}`"),
    }
}

fn total(findings: &[AuditFinding]) -> String {
    let (number, bytes) = findings
        .iter()
        .fold((0, 0), |(n, b), finding| (n + finding.count, b + finding.size.unwrap_or(0)));
    let bytes = if bytes > 0 { format!(" ({})", size(bytes)) } else { String::new() };
    format!("{}{bytes}: {}", words(findings[0].class, number), advice(findings[0].class))
}

/// A number of findings of a class.
pub(super) fn words(class: AuditClass, number: u64) -> String {
    let (one, many) = match class {
        AuditClass::NoFile => ("photo without a file", "photos without a file"),
        AuditClass::NoLiveVideo => {
            ("live photo without its video", "live photos without their video")
        }
        AuditClass::Rotten => ("photo rotten on the disk", "photos rotten on the disk"),
        AuditClass::Edited => {
            ("photo changed since its upload", "photos changed since their upload")
        }
        AuditClass::Differs => {
            ("photo that is not what was uploaded", "photos that are not what was uploaded")
        }
        AuditClass::NoSidecar => ("sidecar missing", "sidecars missing"),
        AuditClass::Elsewhere => {
            ("photo not where the database says", "photos not where the database says")
        }
        AuditClass::NoRow => ("file without a photo", "files without a photo"),
        AuditClass::NotCovered => {
            ("photo of external libraries not covered", "photos of external libraries not covered")
        }
    };
    plural(number, one, many)
}

fn advice(class: AuditClass) -> &'static str {
    match class {
        AuditClass::NoFile | AuditClass::NoLiveVideo => {
            "put it back from the snapshot that has it; without one, look whether a disk or folder \
                is not mounted, and on the phone"
        }
        AuditClass::Rotten => "look at the disk, and put the photo back from the snapshot",
        AuditClass::Edited => {
            "something other than Immich wrote to it; if that was not you, put it back from the \
                snapshot"
        }
        AuditClass::Differs => "open it: if it shows well, all is well; else upload it again",
        AuditClass::NoSidecar => {
            "put it back from the snapshot, or let Immich look again (Jobs: sidecar metadata)"
        }
        AuditClass::Elsewhere => {
            "Immich moved it while the backup ran, or the dump was older: `restore --all` lays it \
                where the database says; what Immich does not show either, move there"
        }
        AuditClass::NoRow => "keep it: upload it to Immich, and see whether Immich has it already",
        AuditClass::NotCovered => "`shoebox backup --external SERVER_PATH=FOLDER` takes it in",
    }
}

fn text(finding: &AuditFinding) -> String {
    let mut text = match (&finding.name, finding.locked) {
        (None, true) => "a locked photo (--locked names it)".to_owned(),
        (name, _) => name.clone().unwrap_or_else(|| "an unnamed library".to_owned()),
    };
    if let Some(taken) = finding.taken {
        text += &format!(", taken {}", taken.strftime("%Y-%m-%d %H:%M"));
    }
    if finding.trashed {
        text += ", in the trash";
    }
    if finding.class == AuditClass::NotCovered {
        text += &format!(", {}", plural(finding.count, "photo", "photos"));
    }
    if let Some(path) = &finding.path {
        text += &format!(": {path}");
    }
    text + &clues(finding)
}

/// Where the bytes are, and what has them.
fn clues(finding: &AuditFinding) -> String {
    let mut clues = Vec::new();
    if let Some(found) = &finding.found {
        let is_case =
            finding.path.as_ref().is_some_and(|path| path.to_lowercase() == found.to_lowercase());
        clues.push(format!("its bytes are at {found}"));
        clues.extend(is_case.then(|| "the names differ in upper and lower case only".to_owned()));
    }
    if let Some(of) = &finding.of {
        clues.push(match finding.class {
            AuditClass::NoLiveVideo => format!("the moving half of {of}"),
            AuditClass::NoRow => format!("the same bytes as {of}, so it can go"),
            _ => format!("where {of} has the same bytes"),
        });
    }
    clues.extend(finding.kept.then(|| "the bytes that were uploaded are kept".to_owned()));
    match (&finding.snapshot, finding.asset, finding.class) {
        (
            Some(id),
            Some(asset),
            AuditClass::NoFile | AuditClass::Rotten | AuditClass::Edited | AuditClass::Differs,
        ) => {
            let locked = if finding.locked { " --locked" } else { "" };
            clues.push(format!("shoebox restore --snapshot {id} --asset {asset}{locked} --to DIR"));
        }
        (Some(id), ..) => clues.push(format!("snapshot {id} has it")),
        (None, _, AuditClass::NoFile | AuditClass::NoLiveVideo | AuditClass::NoSidecar) => {
            clues.push("no snapshot has it".to_owned());
        }
        _ => {}
    }
    clues.iter().map(|clue| format!("; {clue}")).collect()
}

fn json(report: &Report) -> serde_json::Value {
    json!({
        "finding": "summary",
        "snapshot": report.snapshot,
        "findings": report.findings.iter().map(|finding| finding.count).sum::<u64>(),
        "totals": report.tallies,
        "aside": report.aside,
    })
}

fn summary(report: &Report) -> String {
    let found = if report.tallies.is_empty() {
        "database, files and checksums agree".to_owned()
    } else {
        totals(&report.tallies)
    };
    format!("snapshot {}: {found}{}", report.snapshot, aside(&report.aside))
}

/// All totals in one line, the worst first.
pub(super) fn totals(tallies: &AuditTallies) -> String {
    let told =
        AuditClass::ALL.iter().filter_map(|class| Some(words(*class, tallies.get(class)?.count)));
    told.collect::<Vec<_>>().join(", ")
}

fn aside(aside: &AuditAside) -> String {
    let mut told = Vec::new();
    if aside.new_files > 0 {
        told.push(plural(aside.new_files, "file came", "files came") + " while the backup ran");
    }
    if aside.offline > 0 {
        told.push(
            plural(aside.offline, "external photo is", "external photos are")
                + " offline, as Immich knows",
        );
    }
    if aside.unmapped > 0 {
        told.push(
            plural(aside.unmapped, "photo was", "photos were")
                + " found by content, their paths lie outside UPLOAD_LOCATION",
        );
    }
    told.iter().map(|words| format!("\nno finding: {words}")).collect()
}
