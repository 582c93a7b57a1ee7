//! What is said of originals that the disk has worse than it had them: by asset, so that one that
//! is gone does not hide behind another one that came back.

use crate::base::amount::plural;
use crate::base::{Problem, Result};
use crate::catalog::night::WorseOriginal;
use crate::repo::StagedSnapshot;

/// So many of a kind are named.
const NAMED: usize = 10;

/// True of one kind.
type IsKind = fn(&WorseOriginal) -> bool;

/// Problems by name: the first few of each kind, and how many more.
pub(super) fn problems(worse: &[WorseOriginal]) -> Vec<Problem> {
    let kinds: [(IsKind, &str); 3] = [
        (|it| it.missing, "the database names this photo, but its file is not there"),
        (
            |it| it.rotten,
            "rotten on the disk: its bytes changed, and size and time of the file did not",
        ),
        (|it| !it.missing && !it.rotten, "its file is not what was uploaded any more"),
    ];
    kinds
        .into_iter()
        .flat_map(|(is_kind, message)| of_kind(worse.iter().filter(|it| is_kind(it)), message))
        .collect()
}

/// The problem that sidecars are gone that were there at `before`.
pub(super) fn sidecars(staged: &StagedSnapshot, before: Option<i64>) -> Result<Option<Problem>> {
    let Some(before) = before else { return Ok(None) };
    let gone = staged.catalog().night(staged.record().id.seconds()).sidecars_gone(before)?;
    let message = "the database names them, and they were there the night before; `shoebox audit` \
        lists them, and that snapshot has them";
    let subject = plural(gone, "sidecar", "sidecars");
    Ok((gone > 0)
        .then(|| Problem { subject: format!("{subject} gone"), message: message.to_owned() }))
}

fn of_kind<'a>(worse: impl Iterator<Item = &'a WorseOriginal>, message: &str) -> Vec<Problem> {
    let all: Vec<&WorseOriginal> = worse.collect();
    let mut problems: Vec<Problem> =
        all.iter().take(NAMED).map(|it| problem(it, message)).collect();
    let more = all.len().saturating_sub(NAMED);
    if more > 0 {
        let kept = all.iter().skip(NAMED).filter(|it| it.kept).count();
        let message = format!("the same; the bytes that were uploaded are kept of {kept} of them");
        problems.push(Problem { subject: format!("{more} more photos"), message });
    }
    problems
}

fn problem(worse: &WorseOriginal, message: &str) -> Problem {
    let kept = if worse.kept {
        "the bytes that were uploaded are kept"
    } else {
        "no backup has the bytes that were uploaded"
    };
    let subject = if worse.locked { "a locked photo".to_owned() } else { worse.name.clone() };
    Problem { subject, message: format!("{message}; {kept}") }
}
