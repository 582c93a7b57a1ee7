//! What the real pg_dump writes of a database full of traps.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::immich::{read_with, records};
use shoebox::base::library::LibraryRecord;
use shoebox::immich::{DumpKind, DumpVerdict};

const TRAPS: &str = r#"
CREATE TABLE "user" (id uuid PRIMARY KEY, name text, email text, "isAdmin" bool, "deletedAt" timestamptz);
CREATE TABLE asset (id uuid PRIMARY KEY, "ownerId" uuid, "originalPath" text, type text, "originalFileName" text,
  checksum bytea, "localDateTime" timestamptz, "fileCreatedAt" timestamptz, "createdAt" timestamptz, visibility text);
CREATE TABLE album (id uuid PRIMARY KEY, "albumName" text, "ownerId" uuid, "order" text);
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE one (t text);
INSERT INTO one VALUES (''), (NULL), ('\.'), (E'\\N'), (E'a\r\nb'), ('COPY public.x (a) FROM stdin;');
CREATE TABLE "we""ird, (t)" ("a "" , )b" text);
INSERT INTO "we""ird, (t)" VALUES (E'\x01\x08\x0b\x0c');
CREATE SCHEMA other; CREATE TABLE other.asset (x int); INSERT INTO other.asset VALUES (1);
INSERT INTO "user" VALUES ('00000000-0000-4000-8000-00000000000a', E'A\tn\n\\n''"', 'a@b', true, NULL);
INSERT INTO asset VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-00000000000a',
  '/data/upload/u/a.jpg', 'IMAGE', E'x\b\f\x0b\\é', '\x0102030405060708090a0b0c0d0e0f1011121314',
  '2025-01-02 03:04:05+00', 'infinity', '0044-03-15 12:00 BC', 'timeline');
INSERT INTO album VALUES ('00000000-0000-4000-8000-0000000000a1', E'two\nlines \\. \\N', '00000000-0000-4000-8000-00000000000a', 'desc');
CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS
  E'BEGIN\r\nCOPY public.asset (id) FROM stdin;\r\n/*\n\\.\n*/ RAISE ''it''''s; $1''; -- $_$ \nEND';
CREATE FUNCTION g(int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT $1; SELECT 2; END;
COMMENT ON FUNCTION f() IS E'one\r\n\\restrict x\n-- PostgreSQL database dump complete\n--\nCOPY public.asset (id) FROM stdin;';
CREATE RULE r AS ON DELETE TO one DO INSTEAD (DELETE FROM nothing; SELECT E'\\''; $$');
CREATE VIEW v AS SELECT 'a;''\b' AS x, "a "" , )b" FROM "we""ird, (t)";
SELECT lo_from_bytea(0, '\x00010203');
"#;

/// A server in a folder of its own, reached through its socket only, and stopped when the value is
/// dropped.
struct Server {
    folder: tempfile::TempDir,
    programs: PathBuf,
}

impl Server {
    fn start() -> Option<Server> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok();
        let programs =
            versions.into_iter().flatten().flatten().map(|version| version.path().join("bin"));
        let Some(programs) = programs.filter(|bin| bin.join("initdb").exists()).max() else {
            eprintln!("skipped: there is no PostgreSQL server on this machine");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let server = Server { folder, programs };
        let at = server.path().display().to_string();
        server.run(
            "initdb",
            &[
                "-D",
                &format!("{at}/db"),
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
            ],
        );
        let options = format!("-k {at} -h '' -c fsync=off");
        server.run(
            "pg_ctl",
            &["-D", &format!("{at}/db"), "-o", &options, "-l", &format!("{at}/log"), "-w", "start"],
        );
        Some(server)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a program of PostgreSQL, as the user `postgres` where this is root: the server refuses
    /// root.
    fn run(&self, program: &str, args: &[&str]) -> Vec<u8> {
        let program = self.programs.join(program);
        let mut command = match self.path().metadata().unwrap().uid() {
            0 => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(&program);
                command
            }
            _ => Command::new(&program),
        };
        command
            .args(args)
            .current_dir(self.path())
            .env("PGHOST", self.path())
            .env("PGUSER", "postgres");
        // pg_ctl's server would hold a pipe open, so output goes to files.
        let (out, log) = (self.path().join("stdout"), self.path().join("stderr"));
        let file = |path: &Path| std::fs::File::create(path).unwrap();
        let status = command.stdout(file(&out)).stderr(file(&log)).status().unwrap();
        assert!(
            status.success(),
            "{}: {}",
            program.display(),
            std::fs::read_to_string(&log).unwrap()
        );
        std::fs::read(&out).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.path().join("db");
        if data.join("postmaster.pid").exists() {
            self.run(
                "pg_ctl",
                &["-D", &data.display().to_string(), "-m", "immediate", "-w", "stop"],
            );
        }
    }
}

#[test]
fn what_pg_dump_writes_of_a_database_full_of_traps_is_understood() {
    let Some(server) = Server::start() else { return };
    server.run("psql", &["-q", "-d", "postgres", "-c", "CREATE DATABASE \"Immich-dev\""]);
    std::fs::write(server.path().join("traps.sql"), TRAPS).unwrap();
    server.run("psql", &["-q", "-v", "ON_ERROR_STOP=1", "-d", "Immich-dev", "-f", "traps.sql"]);
    let dumps: [(&str, &[&str], DumpKind, Option<&str>); 5] = [
        ("pg_dump", &["Immich-dev"], DumpKind::Database, None),
        (
            "pg_dump",
            &["--clean", "--if-exists", "--create", "-v", "Immich-dev"],
            DumpKind::Database,
            Some("Immich-dev"),
        ),
        ("pg_dump", &["--quote-all-identifiers", "Immich-dev"], DumpKind::Database, None),
        ("pg_dumpall", &[], DumpKind::Cluster, Some("Immich-dev")),
        ("pg_dumpall", &["--clean", "--if-exists", "-v"], DumpKind::Cluster, Some("Immich-dev")),
    ];
    for (program, args, kind, name) in dumps {
        let (dump, _) = read_with(&server.run(program, args), None);
        let dump = dump.unwrap();
        assert_eq!(dump.verdict, DumpVerdict::Good, "{program} {args:?}");
        assert_eq!((dump.kind, dump.database.as_deref()), (kind, name), "{program} {args:?}");
        let rows = ["nothing", "one", "we\"ird, (t)", "other.asset", "asset", "user"]
            .map(|table| dump.rows[table]);
        assert_eq!(rows, [2, 6, 1, 1, 1, 1]);
        for record in records(&dump) {
            match record {
                LibraryRecord::User(user) => assert_eq!(user.name, "A\tn\n\\n'\""),
                LibraryRecord::Album(album) => assert_eq!(album.name, "two\nlines \\. \\N"),
                LibraryRecord::Asset(asset) => {
                    assert_eq!(asset.name, "x\u{8}\u{c}\u{b}\\é");
                    assert_eq!(
                        asset.sha1.unwrap().to_string(),
                        "0102030405060708090a0b0c0d0e0f1011121314"
                    );
                    assert_eq!(asset.created.to_string(), "2025-01-02T03:04:05Z");
                }
                LibraryRecord::AlbumUser(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let bad: [(&str, &[&str], &str); 8] = [
        ("pg_dump", &["--inserts", "Immich-dev"], "--inserts"),
        ("pg_dump", &["--rows-per-insert=5", "Immich-dev"], "--inserts"),
        ("pg_dump", &["-Fc", "Immich-dev"], "custom format"),
        ("pg_dump", &["-Ft", "Immich-dev"], "tar format"),
        ("pg_dump", &["--data-only", "Immich-dev"], "--data-only"),
        ("pg_dump", &["--section=data", "Immich-dev"], "--section"),
        ("pg_dump", &["--schema-only", "Immich-dev"], "missing"),
        ("pg_dumpall", &["--globals-only"], "missing"),
    ];
    for (program, args, words) in bad {
        let (_, reason) = crate::immich::fault(&server.run(program, args));
        assert!(reason.contains(words), "{program} {args:?}: {reason}");
    }
}
