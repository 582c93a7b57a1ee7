//! What must hold after anything went wrong.

use std::path::Path;

use shoebox::base::Hash;

use crate::crash::past::{Night, Past, Work, assert_sound, assert_whole, ids, stored};

/// What a run that nothing happened to ends with.
pub struct Expected {
    stored: Vec<Hash>,
    snapshots: usize,
}

impl Expected {
    /// What lies in `root` after such a run.
    pub fn of(root: &Path) -> Expected {
        assert_sound(root, "when nothing goes wrong");
        Expected { stored: stored(root).into_keys().collect(), snapshots: ids(root).len() }
    }

    /// `work` on the repository in `root` went wrong, or was done where it said so: the snapshots
    /// `kept` are whole, and the next run ends as if nothing had happened.
    pub fn assert_holds(
        &self,
        past: &Past,
        root: &Path,
        work: &Work,
        kept: &[Night],
        done: bool,
        what: &str,
    ) {
        // A repair begins without a catalog.
        if root.join("catalog.sqlite").exists() {
            assert_whole(root, kept, &format!("{what}, as it is then"));
        }
        let before = ids(root);
        assert!(
            !done || before.len() == self.snapshots,
            "{what}: said to be done, with {before:?}"
        );
        past.work(root, work, what);
        let nights = self.nights(past, root, work, kept, what);
        assert_whole(root, &nights, &format!("{what}, after the next run"));
        assert_sound(root, what);
        let stored = stored(root);
        assert_eq!(
            stored.keys().copied().collect::<Vec<_>>(),
            self.stored,
            "{what}: what is stored"
        );
        assert!(stored.values().all(|copies| *copies == 1), "{what}: something is stored twice");
    }

    /// What has to be there after the next run. Backups that failed may have made their snapshots
    /// all the same.
    fn nights(
        &self,
        past: &Past,
        root: &Path,
        work: &Work,
        kept: &[Night],
        what: &str,
    ) -> Vec<Night> {
        let (after, mut nights) = (ids(root), kept.to_vec());
        match work {
            Work::Backup => {
                let new = after.iter().filter(|id| kept.iter().all(|night| night.id != **id));
                nights.extend(new.map(|id| past.night(*id)));
                assert!((1..=3).contains(&(nights.len() - kept.len())), "{what}: {after:?}");
            }
            Work::Import => {
                nights.extend(past.imported());
                assert_eq!(after.len(), self.snapshots, "{what}");
            }
            _ => assert_eq!(after.len(), self.snapshots, "{what}"),
        }
        nights
    }
}
