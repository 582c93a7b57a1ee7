//! Inputs to begin with: what shoebox itself writes of a small library, and dumps as pg_dump writes
//! them.

use std::collections::BTreeMap;
use std::fs;

use shoebox::archive::{ArchiveReader, frame};
use shoebox::base::stored::IndexLine;
use shoebox::repo::notes::{CheckNote, NoteKind};

use crate::backup_library::{Home, noise, text};
use crate::crafted::{Crafted, file_list, library_list};
use crate::fuzz::targets::PART;

/// By target.
pub type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

const NAMES: &str = "IMG_0001.HEIC\nimg_0001.heic\nIMG_0001.MOV\ne\u{301}.jpg\n\u{e9}.jpg\nCON.jpg\n.\n..\n a/b:c \n.Trash-1000\na (00000000).jpg";
const ENV: &str = "# Immich\nUPLOAD_LOCATION=./library photos\nDB_PASSWORD='a \
    b'\nDB_USERNAME=\"post gres\"\nexport DB_PORT=5432\nDB_URL=postgres://a:b@c:1/d?e=f\n${X}=${Y:-z}\n";

pub fn all() -> Seeds {
    let mut seeds = real();
    let mut add =
        |name: &'static str, bytes: &[u8]| seeds.entry(name).or_default().push(bytes.to_vec());
    for dump in dumps() {
        add("dump", dump.as_bytes());
        add("fit", dump.as_bytes());
    }
    add("dump", &gzip(dumps()[0].as_bytes()));
    add("name", NAMES.as_bytes());
    add("envfile", ENV.as_bytes());
    add(
        "list",
        &file_list(&[
            r#"{"path":{"hex":"ff"},"kind":"file","mtime":-1,"mode":0,"uid":0,"gid":0,"link":"upload/photo.jpg"}"#,
        ]),
    );
    add("list", &library_list(&[]));
    let Crafted { files, library, dump } = Crafted::sound();
    add("repository", &[&files, PART, &library, PART, &dump].concat());
    seeds
}

/// What shoebox writes of a small library.
fn real() -> Seeds {
    let home = Home::new();
    home.write("upload/1.jpg", &noise(1, 700));
    home.write("upload/2.xmp", &text(1500));
    home.write(
        "upload/name that is longer than a hundred bytes, so that it has to stand in a pax \
        header before the member it is of.jpg",
        b"x",
    );
    home.write_dump(&crate::backup_library::dump(3, 0));
    home.backup();
    let repository = home.repository();
    let checked = CheckNote::default();
    repository.add_note(NoteKind::Check(checked)).unwrap();
    repository
        .add_note(NoteKind::Acknowledgement { snapshot: repository.snapshot_ids().unwrap()[0] })
        .unwrap();
    let archive = fs::read(&home.archives()[0]).unwrap();
    let lines: String =
        home.lines().iter().map(|(_, line)| serde_json::to_string(line).unwrap() + "\n").collect();
    let members = archive.len() - 1024 - 512 * 2;
    let files = |folder: &str| {
        let entries = fs::read_dir(home.repo_path().join(folder)).unwrap();
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect::<Vec<_>>()
    };
    let mut lists = Vec::new();
    for (path, line) in home.lines() {
        let IndexLine::Chunk(line) = line else { continue };
        let bytes = fs::read(path).unwrap();
        let stored = &bytes[line.offset as usize..][..line.stored as usize];
        lists.push(frame::decompress(stored, line.size as usize).unwrap());
    }
    assert!(ArchiveReader::open(repository.store().open(&name_of(&home)).unwrap()).is_ok());
    BTreeMap::from([
        ("index", vec![[lines.as_bytes(), PART, &archive[..members]].concat()]),
        ("archive", vec![archive]),
        ("catalog", vec![fs::read(repository.catalog_path()).unwrap()]),
        ("record", files("snapshots")),
        ("note", files("notes")),
        ("list", lists),
    ])
}

fn name_of(home: &Home) -> String {
    let archive = &home.archives()[0];
    archive.strip_prefix(home.repo_path()).unwrap().to_str().unwrap().to_owned()
}

fn dumps() -> Vec<String> {
    let plain = crate::backup_library::dump(3, 0);
    let statements = "\
        CREATE SCHEMA vectors;\nALTER SCHEMA vectors OWNER TO postgres;\nCREATE EXTENSION IF NOT \
        EXISTS vchord WITH SCHEMA public;\n\
        CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $_$\nSELECT 'it''s';\n$_$;\nALTER \
        FUNCTION public.f() OWNER TO postgres;\n\
        CREATE TABLE public.asset (\n    id uuid DEFAULT public.f() NOT NULL,\n    \"ownerId\" \
        uuid\n);\nALTER TABLE public.asset OWNER TO postgres;\n\
        COMMENT ON TABLE public.asset IS E'a\\'b';\nGRANT ALL ON TABLE public.asset TO reader;\n\
        SELECT pg_catalog.setval('public.a_seq', 5, true);\nCREATE INDEX i ON public.asset USING \
        btree (id);\n\
        ALTER TABLE ONLY public.asset\n    ADD CONSTRAINT asset_pkey PRIMARY KEY (id);\n";
    let rich = plain.replacen("COPY public.album", &format!("{statements}\nCOPY public.album"), 1);
    let restricted = rich
        .replacen("--\n\n-- Dumped", "--\n\n\\restrict abc\n\n-- Dumped", 1)
        .replace("dump complete\n--\n", "dump complete\n--\n\n\\unrestrict abc\n");
    let cluster = format!(
        "--\n-- PostgreSQL database cluster dump\n--\n\nSET default_transaction_read_only = \
            off;\n\nCREATE ROLE postgres;\n\
         ALTER ROLE postgres WITH SUPERUSER PASSWORD 'md5x';\n\nCREATE DATABASE immich WITH \
         TEMPLATE = template0;\n\n\\connect immich\n\n{plain}\
         --\n-- PostgreSQL database cluster dump complete\n--\n\n"
    );
    vec![plain, rich, restricted, cluster]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
