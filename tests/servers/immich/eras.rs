//! One small library, as the tables of each era hold it: the records are the same.

use crate::immich::made::{ANN, BO, Text, id, whole};
use crate::immich::{read, records};
use shoebox::base::library::{Album, AlbumRole, AlbumUser, Asset, LibraryRecord, Visibility};
use shoebox::immich::{DumpVerdict, ReadDump};

const SHA1: &str = r"\\xabababababababababababababababababababab";
const WHEN: &str = "2025-01-02~03:04:05.678+00";

/// What differs between the eras.
struct Era {
    name: &'static str,
    /// What paths begin with.
    prefix: &'static str,
    dump: fn(&Era) -> Text,
}

const ERAS: [Era; 6] = [
    Era { name: "v1.92", prefix: "upload/", dump: v1_92 },
    Era { name: "v1.132", prefix: "upload/", dump: v1_132 },
    Era { name: "v1.136", prefix: "/usr/src/app/upload/", dump: v1_136 },
    Era { name: "v2.4", prefix: "/data/", dump: v2_4 },
    Era { name: "v3", prefix: "/photos/", dump: v3 },
    Era { name: "v3.3", prefix: "/data/", dump: v3_3 },
];

fn photo(era: &Era) -> String {
    format!("{}upload/{ANN}/aa/bb/1.jpg", era.prefix)
}

fn video(era: &Era) -> String {
    format!("{}encoded-video/{ANN}/aa/bb/2-MP.mp4", era.prefix)
}

/// Tables that every era has alike, but for the names of their columns.
fn joins(text: Text, albums: [&str; 2], tags: [&str; 2], tag: &str, face: &str) -> Text {
    let (one, two, album) = (id(1), id(2), id(0xa1));
    text.copy(albums[0], albums[1], &[&format!("{album} {one}"), &format!("{album} {two}")])
        .copy(tags[0], tags[1], &[&format!("{one} {}", id(0xb1))])
        .copy(tag, "id userId value", &[&format!("{} {ANN} Trips/Rome", id(0xb1))])
        .copy("person", "id ownerId name isHidden", &[&format!("{} {ANN} Zoë f", id(0xc1))])
        .copy(
            face,
            "id assetId personId",
            &[
                &format!("{} {one} {}", id(0xd1), id(0xc1)),
                &format!("{} {one} {}", id(0xd2), id(0xc1)),
                &format!(r"{} {two} \N", id(0xd3)),
            ],
        )
}

fn exif(text: Text, table: &str) -> Text {
    let columns = "assetId make description latitude fileSizeInByte rating";
    text.copy(table, columns, &[&format!(r"{} Canon two\nlines -33.5 1234 \N", id(1))])
}

fn users(text: Text, table: &str, era: &Era) -> Text {
    let columns = "id email name isAdmin storageLabel profileImagePath";
    text.copy(
        table,
        columns,
        &[
            &format!(r"{ANN} ann@example.com Ann~Lee t ann {}profile/{ANN}/p.jpg", era.prefix),
            &format!(r"{BO} bo@example.com Bo f \N "),
        ],
    )
}

fn v1_92(era: &Era) -> Text {
    let columns = "id ownerId type originalPath originalFileName checksum localDateTime \
        fileCreatedAt createdAt isFavorite \
                   isVisible isArchived livePhotoVideoId libraryId isExternal deletedAt \
                   sidecarPath stackParentId";
    let (one, two, three) = (id(1), id(2), id(3));
    let text = Text::head(false)
        .copy(
            "assets",
            columns,
            &[
                &format!(
                    r"{one} {ANN} IMAGE {0} IMG\\_1 {SHA1} {WHEN} {WHEN} {WHEN} t t f {two} {1} f \N {0}.xmp \N",
                    photo(era),
                    id(0xe1)
                ),
                &format!(
                    r"{two} {ANN} VIDEO {0} IMG\\_1 {SHA1} {WHEN} {WHEN} {WHEN} f f f \N {1} f \N \N \N",
                    video(era),
                    id(0xe1)
                ),
                &format!(
                    r"{three} {ANN} IMAGE /mnt/x/3.jpg 3 {SHA1} {WHEN} {WHEN} {WHEN} f t t \N {0} t {WHEN} \N {one}",
                    id(0xe2)
                ),
            ],
        )
        .copy(
            "libraries",
            "id ownerId name type importPaths",
            &[
                &format!("{} {ANN} Default UPLOAD {{}}", id(0xe1)),
                &format!("{} {ANN} NAS EXTERNAL {{/mnt/x}}", id(0xe2)),
            ],
        )
        .copy("albums", "id ownerId albumName", &[&format!("{} {ANN} Rome", id(0xa1))])
        .copy("albums_shared_users_users", "albumsId usersId", &[&format!("{} {BO}", id(0xa1))])
        .copy(
            "migrations",
            "id timestamp name",
            &["1 1704571051932 A1704571051932", "2 1700713871511 UsePgVectors1700713871511"],
        );
    let text = joins(
        text,
        ["albums_assets_assets", "albumsId assetsId"],
        ["tag_asset", "assetsId tagsId"],
        "tags",
        "asset_faces",
    );
    users(exif(text, "exif"), "users", era).tail(false)
}

/// The singular and plural tables from v1.94 to v2.3: sidecars in a column, owners on the album.
fn middle(era: &Era, names: [&str; 6], joined: [&str; 3], shown: [&str; 4]) -> Text {
    let [asset, library, album, album_user, stack, exif_table] = names;
    let columns = format!(
        "id ownerId type originalPath originalFileName checksum localDateTime fileCreatedAt \
            createdAt isFavorite \
         livePhotoVideoId libraryId isExternal deletedAt status sidecarPath stackId {}",
        shown[0]
    );
    let (one, two, three) = (id(1), id(2), id(3));
    let text = Text::head(true)
        .copy(asset, &columns, &[
            &format!(r"{one} {ANN} IMAGE {0} IMG\\_1.jpg {SHA1} {WHEN} {WHEN} {WHEN} t {two} \N f \N active {0}.xmp {one} {1}", photo(era), shown[1]),
            &format!(r"{two} {ANN} VIDEO {0} IMG\\_1.mp4 {SHA1} {WHEN} {WHEN} {WHEN} f \N \N f \N active \N \N {1}", video(era), shown[2]),
            &format!(r"{three} {ANN} IMAGE /mnt/x/3.jpg 3.jpg {SHA1} {WHEN} {WHEN} {WHEN} f \N {0} t {WHEN} trashed \N {one} {1}", id(0xe2), shown[3]),
        ])
        .copy(library, "id ownerId name importPaths", &[&format!("{} {ANN} NAS \
            {{/mnt/x}}", id(0xe2))])
        .copy(album, "id ownerId albumName", &[&format!("{} {ANN} Rome", id(0xa1))])
        .copy(album_user, joined[0], &[&format!("{} {BO} editor", id(0xa1))])
        .copy(stack, "id primaryAssetId ownerId", &[&format!("{one} {one} {ANN}")])
        .copy("version_history", "id createdAt version", &[
            &format!("{} 2025-02-01~00:00:00+00 9.9.9", id(1)),
            &format!("{} 2024-01-01~00:00:00+00 1.0.0", id(2)),
        ])
        .copy("kysely_migrations", "name timestamp", &["1744910873969-InitialMigration x"]);
    let old = asset == "assets";
    let tables = if old {
        ["albums_assets_assets", "tags", "asset_faces", "users"]
    } else {
        ["album_asset", "tag", "asset_face", "user"]
    };
    let text = joins(text, [tables[0], joined[1]], ["tag_asset", joined[2]], tables[1], tables[2]);
    users(exif(text, exif_table), tables[3], era).tail(true)
}

fn v1_132(era: &Era) -> Text {
    let names =
        ["assets", "libraries", "albums", "albums_shared_users_users", "asset_stack", "exif"];
    middle(
        era,
        names,
        ["albumsId usersId role", "albumsId assetsId", "assetsId tagsId"],
        ["isVisible isArchived", "t f", "f f", "t t"],
    )
}

fn v1_136(era: &Era) -> Text {
    let names = ["asset", "library", "album", "album_user", "stack", "asset_exif"];
    middle(
        era,
        names,
        ["albumsId usersId role", "albumsId assetsId", "assetsId tagsId"],
        ["visibility", "timeline", "hidden", "archive"],
    )
}

/// Since v2.4 sidecars are rows of asset_file; in v3 the owner is a row of album_user.
fn late(era: &Era, owner_column: bool) -> Text {
    let columns = "id ownerId type originalPath originalFileName checksum localDateTime \
        fileCreatedAt createdAt isFavorite \
                   livePhotoVideoId libraryId isExternal deletedAt status stackId visibility \
                   checksumAlgorithm";
    let (one, two, three, album) = (id(1), id(2), id(3), id(0xa1));
    let text = Text::head(true)
        .copy("asset", columns, &[
            &format!(r"{one} {ANN} IMAGE {0} IMG\\_1.jpg {SHA1} {WHEN} {WHEN} {WHEN} t {two} \N f \N active {one} timeline sha1", photo(era)),
            &format!(r"{two} {ANN} VIDEO {0} IMG\\_1.mp4 {SHA1} {WHEN} {WHEN} {WHEN} f \N \N f \N active \N hidden sha1", video(era)),
            &format!(r"{three} {ANN} IMAGE /mnt/x/3.jpg 3.jpg {SHA1} {WHEN} {WHEN} {WHEN} f \N {0} t {WHEN} trashed {one} archive sha1-path", id(0xe2)),
        ])
        .copy("asset_file", "assetId type path", &[
            &format!("{one} preview {}thumbs/{ANN}/1.jpeg", era.prefix),
            &format!("{one} sidecar {}.xmp", photo(era)),
        ])
        .copy("library", "id ownerId name importPaths", &[&format!("{} {ANN} NAS \
            {{/mnt/x}}", id(0xe2))])
        .copy("stack", "id primaryAssetId ownerId", &[&format!("{one} {one} {ANN}")])
        .copy("kysely_migrations", "name timestamp", &["1777667825574-ChangeDurationToInteger x"])
        .copy("system_metadata", "key value", &[
            r#"system-config {"secret":"a\\\\b"}"#,
            &format!(r#"MediaLocation {{"location":~"{}"}}"#, era.prefix.trim_end_matches('/')),
        ]);
    let text = if owner_column {
        text.copy("album", "id ownerId albumName", &[&format!("{album} {ANN} Rome")]).copy(
            "album_user",
            "albumId userId role",
            &[&format!("{album} {BO} editor")],
        )
    } else {
        text.copy("album", "id albumName", &[&format!("{album} Rome")]).copy(
            "album_user",
            "albumId userId role",
            &[&format!("{album} {BO} editor"), &format!("{album} {ANN} owner")],
        )
    };
    let text = joins(
        text,
        ["album_asset", "albumId assetId"],
        ["tag_asset", "assetId tagId"],
        "tag",
        "asset_face",
    );
    users(exif(text, "asset_exif"), "user", era).tail(true)
}

fn v2_4(era: &Era) -> Text {
    late(era, true)
}

fn v3(era: &Era) -> Text {
    late(era, false)
}

/// Since v3.2 persons are groups with a row for each owner, and passwords and descriptions may be
/// NULL; v3.3 shares persons.
fn v3_3(era: &Era) -> Text {
    let (group, cluster) = (id(0xc1), id(0xf1));
    let groups = Text::default()
        .copy(
            "cluster_group",
            "id name createdAt",
            &[&format!(r"{cluster} \N 2026-11-22~00:00:00+00")],
        )
        .copy(
            "person_group",
            "id clusterGroupId createdAt",
            &[&format!("{group} {cluster} 2025-01-03~00:00:00+00")],
        )
        .copy("person_user", "personGroupId sharedById sharedWithId role", &[]);
    let text = late(era, false).0.replace("\"personId\"", "\"personGroupId\"");
    let text = text.replace(
        "COPY public.person (id,",
        &format!("{}COPY public.person (\"personGroupId\",", groups.0),
    );
    Text(
        text.replace("id, email, name,", "password, id, email, name,")
            .replace(&format!("\n{ANN}\tann@"), &format!("\n\\N\t{ANN}\tann@"))
            .replace(&format!("\n{BO}\tbo@"), &format!("\n\\N\t{BO}\tbo@")),
    )
}

/// The records as JSON Lines, with what has to differ made alike.
fn lines(era: &Era, dump: &ReadDump) -> Vec<String> {
    let records = records(dump).into_iter().map(|record| serde_json::to_string(&record).unwrap());
    records.map(|line| line.replace(&format!("\"path\":\"{}", era.prefix), "\"path\":\"")).collect()
}

#[test]
fn every_era_gives_the_same_records() {
    let all: Vec<_> = ERAS
        .iter()
        .map(|era| {
            let dump = read((era.dump)(era).bytes());
            assert_eq!(dump.verdict, DumpVerdict::Good, "{}", era.name);
            assert_eq!((&dump.warnings, &dump.lacks), (&Vec::new(), &Vec::new()), "{}", era.name);
            assert_eq!(
                dump.media_location.as_deref(),
                Some(era.prefix.trim_end_matches('/')),
                "{}",
                era.name
            );
            (era.name, lines(era, &dump))
        })
        .collect();
    for (name, lines) in &all[1..] {
        assert_eq!(lines, &all[0].1, "{name} against {}", all[0].0);
    }
    let expected = [
        r#"{"kind":"album","id":"A1","name":"Rome"}"#,
        r#"{"kind":"album_asset","album":"A1","asset":"01"}"#,
        r#"{"kind":"album_asset","album":"A1","asset":"02"}"#,
        r#"{"kind":"album_user","album":"A1","user":"0a","role":"owner"}"#,
        r#"{"kind":"album_user","album":"A1","user":"0b","role":"editor"}"#,
    ];
    let short = |line: &String| {
        line.replace("00000000-0000-4000-8000-0000000000", "").replace("\"a1\"", "\"A1\"")
    };
    assert_eq!(all[0].1[..5].iter().map(short).collect::<Vec<_>>(), expected);
    assert_eq!(all[0].1.len(), 16, "{:#?}", all[0].1);
}

fn assets(dump: &ReadDump) -> Vec<Asset> {
    let asset = |record| if let LibraryRecord::Asset(asset) = record { Some(*asset) } else { None };
    records(dump).into_iter().filter_map(asset).collect()
}

#[test]
fn an_asset_says_all_that_its_rows_say() {
    for era in &ERAS {
        let dump = read((era.dump)(era).bytes());
        let [photo, video, external] = &assets(&dump)[..] else {
            panic!("{}: not three assets", era.name)
        };
        assert_eq!(photo.name, r"IMG\_1.jpg", "{}", era.name);
        assert_eq!(photo.file.as_ref().unwrap().to_string(), format!("upload/{ANN}/aa/bb/1.jpg"));
        assert_eq!(
            photo.sidecar.as_ref().unwrap().to_string(),
            format!("upload/{ANN}/aa/bb/1.jpg.xmp")
        );
        assert_eq!(photo.sha1.unwrap().to_string(), "ab".repeat(20));
        assert_eq!(photo.taken.to_string(), "2025-01-02T03:04:05.678");
        assert_eq!((photo.live_video, photo.favorite, photo.library), (Some(video.id), true, None));
        assert_eq!(
            (photo.stack, external.stack, video.stack),
            (Some(photo.id), Some(photo.id), None)
        );
        assert_eq!((photo.size, photo.rating, photo.latitude), (Some(1234), None, Some(-33.5)));
        assert_eq!(photo.description.as_deref(), Some("two\nlines"));
        assert_eq!(video.visibility, Visibility::Hidden);
        assert_eq!(
            video.file.as_ref().unwrap().to_string(),
            format!("encoded-video/{ANN}/aa/bb/2-MP.mp4")
        );
        assert_eq!((external.visibility, external.sha1), (Visibility::Archive, None));
        assert_eq!(external.file.as_ref().unwrap().to_string(), "external/mnt/x/3.jpg");
        assert!(external.trashed.is_some() && external.library.is_some());
    }
}

#[test]
fn the_newest_row_names_the_version_wherever_it_lies() {
    let dump = read((ERAS[1].dump)(&ERAS[1]).bytes());
    assert_eq!(dump.immich.as_deref(), Some("9.9.9"));
    assert_eq!(dump.schema.as_deref(), Some("1744910873969-InitialMigration"));
    let dump = read((ERAS[0].dump)(&ERAS[0]).bytes());
    assert_eq!((dump.immich.as_deref(), dump.schema.as_deref()), (None, Some("A1704571051932")));
}

#[test]
fn what_is_odd_is_said() {
    let warns = |text: String, words: &str| {
        let dump = read(text.as_bytes());
        assert_eq!(dump.verdict, DumpVerdict::Good, "{words}");
        assert!(
            dump.warnings.iter().any(|warning| warning.contains(words)),
            "{words}: {:?}",
            dump.warnings
        );
        assert_eq!(dump.lacks, [""; 0], "{words}");
        records(&dump);
    };
    let text = (ERAS[4].dump)(&ERAS[4]).0;
    let (one, album) = (id(1), id(0xa1));
    warns(text.replace("\towner", "\tviewer"), "1 albums have no owner");
    warns(
        text.replace(&format!("{album}\t{one}\n"), &format!("{album}\t{}\n", id(99))),
        "1 rows of albums point at no asset",
    );
    warns(
        text.replace(&format!("{one}\t{}\n", id(0xb1)), &format!("{one}\t{one}\n")),
        "1 rows of tags point at no tag",
    );
    warns(text.replace("/photos/upload/", "/photos/upload/../"), "outside of UPLOAD_LOCATION");
}

#[test]
fn what_a_newer_immich_has_otherwise_is_told_from_what_is_odd() {
    let lacks = |text: String, words: &str| {
        let dump = read(text.as_bytes());
        assert_eq!(dump.verdict, DumpVerdict::Good, "{words}");
        assert!(dump.lacks.iter().any(|lack| lack.contains(words)), "{words}: {:?}", dump.lacks);
        records(&dump);
    };
    for era in [&ERAS[4], &ERAS[5]] {
        let text = (era.dump)(era).0;
        lacks(text.replace("\"localDateTime\"", "\"somethingElse\""), "no column localDateTime");
        lacks(
            text.replace("2025-01-02 03:04:05.678+00", "44-03-15 12:00 BC"),
            "no value of asset.taken could be read",
        );
        lacks(
            text.replace("COPY public.person ", "COPY public.persons "),
            "no rows for table person",
        );
        lacks(
            text.replace("COPY public.asset_face ", "COPY public.asset_faces2 "),
            "no rows for table asset_face",
        );
        lacks(
            text.replace("COPY public.asset_exif ", "COPY public.asset_metadata "),
            "no rows for table asset_exif",
        );
        lacks(text.replace("COPY public.stack ", "COPY public.stacks "), "no rows for table stack");
        lacks(
            text.replace("\"userId\", value)", "\"userId\", path)"),
            "table tag has no column value",
        );
        lacks(text.replace("visibility", "visibly"), "hidden or locked");
        lacks(text.replace("\thidden", "\tsecret"), "a visibility that this shoebox does not know");
        lacks(text.replace("\tIMAGE\t", "\tDOCUMENT\t"), "a type that this shoebox does not know");
        lacks(text.replace("\teditor", "\tcurator"), "a role that this shoebox does not know");
        lacks(text.replace("\tsha1-path", "\tblake3"), "a checksum of a kind");
        lacks(
            text.replace("\ttrashed\t", "\tshredded\t"),
            "a status that this shoebox does not know",
        );
        lacks(
            text.replace("\"assetId\", \"person", "\"asset\", \"person"),
            "asset_face has no column assetId",
        );
        lacks(
            text.replace(&format!("{}\t{ANN}\tZo", id(0xc1)), &format!("7\t{ANN}\tZo")),
            "no row of table person could be read",
        );
    }
}

#[test]
fn an_immich_of_the_future_without_albums_is_read_all_the_same() {
    let text = (ERAS[5].dump)(&ERAS[5]).0.replace("COPY public.album ", "COPY public.collection ");
    assert!(
        crate::immich::fault(text.as_bytes())
            .1
            .contains("rows of a table of Immich are missing: album")
    );
    let dump = read(
        text.replace("1777667825574-ChangeDurationToInteger", "1899999999999-Collections")
            .as_bytes(),
    );
    assert_eq!((&dump.verdict, dump.census.assets), (&DumpVerdict::Good, 3));
    assert!(
        dump.lacks.iter().any(|lack| lack.contains("no rows for table album")),
        "{:?}",
        dump.lacks
    );
    records(&dump);
}

#[test]
fn a_visibility_of_the_future_is_shown_as_little_as_possible() {
    let text = (ERAS[4].dump)(&ERAS[4]).0.replace("\ttimeline\t", "\tvault\t");
    assert_eq!(assets(&read(text.as_bytes()))[0].visibility, Visibility::Locked);
}

#[test]
fn a_library_under_both_old_and_new_names_is_refused() {
    let text = whole(true).0;
    let user = text.find("COPY public.\"user\"").unwrap();
    let twice = format!(
        "{}{}",
        text[user..].split_inclusive("\\.\n").next().unwrap().replace("\"user\"", "users"),
        &text[user..]
    );
    let (_, reason) = crate::immich::fault(format!("{}{twice}", &text[..user]).as_bytes());
    assert!(reason.contains("both its old and its new name"), "{reason}");
}

#[test]
fn an_owner_who_is_also_a_member_is_the_owner() {
    let text =
        (ERAS[1].dump)(&ERAS[1]).0.replace(&format!("{BO}\teditor"), &format!("{ANN}\teditor"));
    let role = |record| {
        if let LibraryRecord::AlbumUser(AlbumUser { role, .. }) = record {
            Some(role)
        } else {
            None
        }
    };
    assert_eq!(
        records(&read(text.as_bytes())).into_iter().filter_map(role).collect::<Vec<_>>(),
        [AlbumRole::Owner]
    );
}

#[test]
fn a_deleted_album_is_kept_and_says_so() {
    let album = format!(r"{} Rome 2025-01-01 00:00:00+00 \N ", id(0xa1))
        .replace(' ', "\t")
        .replace("\t00:", " 00:");
    let text =
        whole(true).0.replace(&format!("{album}\\N"), &format!("{album}2025-02-01 00:00:00+00"));
    let album = |record| if let LibraryRecord::Album(album) = record { Some(album) } else { None };
    let albums: Vec<Album> =
        records(&read(text.as_bytes())).into_iter().filter_map(album).collect();
    assert!(albums[0].deleted.is_some());
}
