//! Persons since v3.2: a group of faces, in which several owners have a row each.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::immich::made::{ANN, BO, Text, id};
use crate::immich::{read, records};
use shoebox::base::library::{LibraryRecord, Person};
use shoebox::immich::DumpVerdict;

const OMA: u32 = 0xc1;
const CAT: &str = "00000000-0000-4000-8000-00000000000c";
const BORN: &str = "2025-01-03~00:00:00+00";
const LATER: &str = "2026-11-25~00:00:00+00";

/// Ann knows Oma; Bo and Cat joined her cluster, and have rows of their own. One photo of each
/// shows her.
#[derive(Clone)]
struct Cluster {
    people: Vec<String>,
    partners: Vec<String>,
    /// The photos' owners, visibilities and times of deletion.
    photos: [[&'static str; 3]; 3],
    /// When the group was made.
    group: &'static str,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster {
            people: vec![row(ANN, "Oma", BORN), row(BO, "Elise", LATER), row(CAT, "Liesl", LATER)],
            partners: Vec::new(),
            photos: [[ANN, "timeline", r"\N"], [BO, "timeline", r"\N"], [CAT, "timeline", r"\N"]],
            group: BORN,
        }
    }

    fn dump(&self) -> Text {
        let rows = |rows: &[String], text: Text, table: &str, columns: &str| {
            text.copy(table, columns, &rows.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let photo = |(number, [owner, visibility, deleted]): (usize, &[&str; 3])| {
            let number = number as u32 + 1;
            format!(
                "{} {owner} IMAGE /data/upload/{owner}/{number}.jpg {number}.jpg {visibility} \
                    {deleted}",
                id(number)
            )
        };
        let photos: Vec<String> = self.photos.iter().enumerate().map(photo).collect();
        let faces: Vec<String> = (1..=3)
            .map(|number| format!("{} {} {}", id(0xd0 + number), id(number), id(OMA)))
            .collect();
        let users: Vec<String> =
            [ANN, BO, CAT].iter().map(|user| format!(r"{user} {user}@example.com N \N")).collect();
        let text = rows(&users, Text::head(true), "user", "id email name password");
        let text =
            text.copy("album", "id albumName description", &[&format!(r"{} Rome \N", id(0xa1))]);
        let text = rows(
            &photos,
            text,
            "asset",
            "id ownerId type originalPath originalFileName visibility deletedAt",
        );
        let text = rows(&faces, text, "asset_face", "id assetId personGroupId");
        let text = rows(&self.people, text, "person", "personGroupId ownerId name createdAt");
        let text = rows(&self.partners, text, "partner", "sharedById sharedWithId inTimeline");
        text.copy(
            "person_group",
            "id clusterGroupId createdAt",
            &[&format!("{} {} {}", id(OMA), id(0xf1), self.group)],
        )
        .tail(true)
    }

    /// By name of a person, the row.
    fn rows(&self) -> BTreeMap<String, Person> {
        let person = |record| {
            if let LibraryRecord::Person(person) = record {
                Some((person.name.clone(), person))
            } else {
                None
            }
        };
        self.records().into_iter().filter_map(person).collect()
    }

    /// By name of a person, the numbers of the photos.
    fn shown(&self) -> BTreeMap<String, BTreeSet<u32>> {
        let people = self.rows();
        let mut shown: BTreeMap<String, BTreeSet<u32>> =
            people.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
        for record in self.records() {
            if let LibraryRecord::PersonAsset(row) = record {
                let (name, _) = people.iter().find(|(_, person)| person.id == row.person).unwrap();
                shown.get_mut(name).unwrap().insert(row.asset.as_u128() as u32);
            }
        }
        shown
    }

    fn records(&self) -> Vec<LibraryRecord> {
        let dump = read(self.dump().bytes());
        assert_eq!(dump.verdict, DumpVerdict::Good);
        records(&dump)
    }
}

fn row(owner: &str, name: &str, created: &str) -> String {
    format!("{} {owner} {name} {created}", id(OMA))
}

fn expected<const N: usize>(all: [(&str, &[u32]); N]) -> BTreeMap<String, BTreeSet<u32>> {
    all.map(|(name, photos)| (name.to_owned(), photos.iter().copied().collect())).into()
}

#[test]
fn each_owner_of_a_group_has_the_person_with_their_own_photos() {
    assert_eq!(Cluster::new().shown(), expected([("Elise", &[2]), ("Liesl", &[3]), ("Oma", &[1])]));
}

#[test]
fn photos_of_a_partner_who_shares_are_shown_and_not_the_other_way_round() {
    let cluster = Cluster { partners: vec![format!("{BO} {ANN} t")], ..Cluster::new() };
    assert_eq!(cluster.shown(), expected([("Elise", &[2]), ("Liesl", &[3]), ("Oma", &[1, 2])]));
}

#[test]
fn a_partner_who_is_not_in_the_timeline_is_shown_since_v3_3_alone() {
    let cluster = Cluster { partners: vec![format!("{BO} {ANN} f")], ..Cluster::new() };
    assert_eq!(cluster.shown()["Oma"], BTreeSet::from([1]));
    let sharing =
        Text::default().copy("person_user", "personGroupId sharedById sharedWithId role", &[]);
    let text = cluster
        .dump()
        .0
        .replace("COPY public.person_group ", &format!("{}COPY public.person_group ", sharing.0));
    let shown = records(&read(text.as_bytes()))
        .into_iter()
        .filter(|record| matches!(record, LibraryRecord::PersonAsset(_)));
    assert_eq!(shown.count(), 4);
}

#[test]
fn what_a_partner_keeps_to_themselves_is_not_shown() {
    for [visibility, deleted] in [
        ["archive", r"\N"],
        ["locked", r"\N"],
        ["hidden", r"\N"],
        ["vault", r"\N"],
        ["timeline", LATER],
    ] {
        let mut cluster = Cluster { partners: vec![format!("{BO} {ANN} t")], ..Cluster::new() };
        cluster.photos[1] = [BO, visibility, deleted];
        assert_eq!(cluster.shown()["Oma"], BTreeSet::from([1]), "{visibility} {deleted}");
    }
}

#[test]
fn the_row_that_is_as_old_as_its_group_has_the_groups_id() {
    let rows = Cluster::new().rows();
    let group = Uuid::parse_str(&id(OMA)).unwrap();
    assert_eq!((rows["Oma"].id, rows["Oma"].group), (group, None));
    assert_eq!((rows["Elise"].group, rows["Liesl"].group), (Some(group), Some(group)));
    // RFC 9562, version 5: SHA-1 of namespace and name. Others may lean on it, so it never changes.
    assert_eq!(rows["Elise"].id.to_string(), "a3832b9c-6dd1-54b0-b746-b4a8a091a057");
}

#[test]
fn no_rows_id_hangs_on_whether_another_row_is_there() {
    let whole = Cluster::new();
    let all = whole.rows();
    for gone in 0..3 {
        let mut cluster = whole.clone();
        cluster.people.remove(gone);
        for (name, person) in cluster.rows() {
            assert_eq!(person.id, all[&name].id, "{name} without row {gone}");
        }
        cluster.people.reverse();
        assert!(cluster.rows().iter().all(|(name, person)| person.id == all[name].id));
    }
}

#[test]
fn of_rows_as_old_as_their_group_one_has_its_id_and_all_are_kept() {
    let mut cluster = Cluster { group: LATER, ..Cluster::new() };
    let group = Uuid::parse_str(&id(OMA)).unwrap();
    let rows = cluster.rows();
    assert_eq!(
        rows.values()
            .filter(|person| person.id == group)
            .map(|person| person.name.as_str())
            .collect::<Vec<_>>(),
        ["Oma"]
    );
    cluster.group = "2024-01-01~00:00:00+00";
    assert_eq!(cluster.rows().len(), 3);
    assert!(cluster.rows().values().all(|person| person.group == Some(group)));
}

#[test]
fn a_locked_photo_of_one_owner_marks_the_rows_of_the_others() {
    let mut cluster = Cluster::new();
    assert!(cluster.rows().values().all(|person| !person.locked));
    cluster.photos[1] = [BO, "locked", r"\N"];
    let locked: Vec<String> = cluster
        .rows()
        .into_iter()
        .filter(|(_, person)| person.locked)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(locked, ["Liesl", "Oma"], "Bo's own row is known by the photo");
    assert_eq!(cluster.shown()["Elise"], BTreeSet::from([2]));
}

#[test]
fn a_person_that_was_shared_is_the_receivers_too_without_the_photos() {
    let mut cluster = Cluster::new();
    cluster.photos[1] = [ANN, "timeline", r"\N"];
    let shared = Text::default().copy(
        "person_user",
        "personGroupId sharedById sharedWithId role",
        &[&format!("{} {ANN} {BO} read", id(OMA))],
    );
    let text = cluster
        .dump()
        .0
        .replace("COPY public.person_group ", &format!("{}COPY public.person_group ", shared.0));
    let dump = read(text.as_bytes());
    let people = records(&dump)
        .into_iter()
        .filter(|record| matches!(record, LibraryRecord::Person(_)))
        .count();
    assert_eq!((people, dump.rows["person_user"]), (3, 1));
    assert_eq!(cluster.shown(), expected([("Elise", &[]), ("Liesl", &[3]), ("Oma", &[1, 2])]));
}
