//! Which files of a folder are dumps, by their names.

/// What a file looks like by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpName {
    Dump,
    /// A backup that was cut short left it.
    Unfinished,
    Other,
}

/// What lies beside dumps: sums, signatures, notes.
const BESIDE: [&str; 9] = ["md5", "sha1", "sha256", "sha512", "asc", "sig", "log", "json", "txt"];

/// How the name of a file begins that has what a restore left out of a dump.
pub const LEFT_OUT: &str = "left-out-of-";

impl DumpName {
    /// What `name` says: `immich.sql`, `immich.sql.gz`, `immich-20261128.sql.zst`, `immich.dump`.
    pub fn of(name: &str) -> DumpName {
        let name = name.to_lowercase();
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_named = name.contains(".sql")
            || [".dump", ".backup", ".pgsql"].iter().any(|part| name.contains(part));
        match last {
            _ if !is_named || name.starts_with('.') || name.starts_with(LEFT_OUT) => {
                DumpName::Other
            }
            "tmp" | "part" | "partial" => DumpName::Unfinished,
            beside if BESIDE.contains(&beside) => DumpName::Other,
            _ => DumpName::Dump,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_told_from_what_lies_beside_them() {
        for name in [
            "immich.sql",
            "Immich.SQL.GZ",
            "a.sql.zst",
            "a.sql.gz.age",
            "b.dump",
            "b.dump.xz",
            "c.backup",
            "d.sql.1",
        ] {
            assert_eq!(DumpName::of(name), DumpName::Dump, "{name}");
        }
        for name in ["a.sql.gz.tmp", "b.dump.part"] {
            assert_eq!(DumpName::of(name), DumpName::Unfinished, "{name}");
        }
        for name in [
            "notes.txt",
            "a.sql.gz.sha256",
            "b.dump.asc",
            ".a.sql.gz.swp",
            "left-out-of-x.sql",
            "IMG_1.jpg",
            "",
        ] {
            assert_eq!(DumpName::of(name), DumpName::Other, "{name}");
        }
    }
}
