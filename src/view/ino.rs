//! Inode numbers: what a node is, packed into 64 bits, so that no table of inodes is ever needed.
//!
//! | bits | field |
//! | --- | --- |
//! | 16 | number of the snapshot; 0 for what lies above snapshots |
//! | 8 | kind, and which part of an asset |
//! | 40 | row of the catalog, or two short fields |
//!
//! Two kinds need more than 40 bits and take three of the kind's eight: an asset in an album (18
//! bits which user's view of the album, 25 bits which membership) and a deleted asset (16 bits
//! which earlier snapshot, 27 bits which row).
//!
//! Always holds: packing and unpacking are inverse; a number means the same thing as long as the
//! catalog keeps its lineage; two nodes of a mount never share one. Limits: 2^18 rows of album
//! users, 2^25 of album members, 2^27 of assets that were deleted, 2^22 of users, tags of 63
//! levels. What lies beyond is not shown.

/// The number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

/// The top of the tree, as FUSE wants it.
pub const ROOT: Ino = Ino(1);

impl Ino {
    /// True for what lies in a snapshot, and so never changes.
    pub fn is_fixed(self) -> bool {
        matches!(NodePlace::unpack(self), Some(NodePlace::In(..)))
    }
}

/// A folder of a user with a meaning of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SmartFolder {
    ByDate,
    Albums,
    Favorites,
    Archived,
    Trash,
    People,
    Tags,
    Stacks,
    DeletedSince,
    Locked,
    ChangedOnDisk,
}

impl SmartFolder {
    /// All, as they are listed.
    pub const ALL: [SmartFolder; 11] = [
        SmartFolder::ByDate,
        SmartFolder::Albums,
        SmartFolder::Favorites,
        SmartFolder::Archived,
        SmartFolder::Trash,
        SmartFolder::People,
        SmartFolder::Tags,
        SmartFolder::Stacks,
        SmartFolder::DeletedSince,
        SmartFolder::Locked,
        SmartFolder::ChangedOnDisk,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            SmartFolder::ByDate => "by date",
            SmartFolder::Albums => "albums",
            SmartFolder::Favorites => "favorites",
            SmartFolder::Archived => "archived",
            SmartFolder::Trash => "trash",
            SmartFolder::People => "people",
            SmartFolder::Tags => "tags",
            SmartFolder::Stacks => "stacks",
            SmartFolder::DeletedSince => "deleted since",
            SmartFolder::Locked => "locked",
            SmartFolder::ChangedOnDisk => "changed on disk",
        }
    }
}

/// Which file of an asset. The bytes of one number never change: what is kept in place of what lies
/// on the disk has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssetPart {
    Original,
    Sidecar,
    /// The moving half of a live photo.
    Video,
    /// The original as Immich recorded it, where the disk has another one or none.
    KeptOriginal,
    /// The moving half, likewise.
    KeptVideo,
}

const PARTS: [AssetPart; 5] = [
    AssetPart::Original,
    AssetPart::Sidecar,
    AssetPart::Video,
    AssetPart::KeptOriginal,
    AssetPart::KeptVideo,
];

impl AssetPart {
    /// The same file as it lies on the disk.
    pub fn on_disk(self) -> AssetPart {
        match self {
            AssetPart::KeptOriginal => AssetPart::Original,
            AssetPart::KeptVideo => AssetPart::Video,
            other => other,
        }
    }

    /// The same file as Immich recorded it; a sidecar is not recorded.
    pub fn kept(self) -> Option<AssetPart> {
        match self.on_disk() {
            AssetPart::Original => Some(AssetPart::KeptOriginal),
            AssetPart::Video => Some(AssetPart::KeptVideo),
            _ => None,
        }
    }

    /// True for bytes that are not the disk's.
    pub fn is_kept(self) -> bool {
        self != self.on_disk()
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodePlace {
    Root,
    Readme,
    /// The symlink that points to the snapshot of this number: another one each time that it moves,
    /// so that a target may be kept.
    Latest(u16),
    Snapshots,
    /// Something in the snapshot of this number.
    In(u16, SnapshotNode),
}

/// What a node is in its snapshot. Numbers are rows of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotNode {
    Top,
    Users,
    Files,
    Database,
    Dump,
    User(u64),
    Picture(u64),
    /// A shelf of a user.
    Shelf(SmartFolder, u64),
    /// A user and a year.
    Year(u64, i64),
    /// A user and a month, as the catalog counts them.
    Month(u64, i64),
    /// An album as one user sees it: the row of album_user.
    Album(u64),
    Person(u64),
    /// The first so many levels of a tag's value.
    Tag(u64, u8),
    Stack(u64),
    /// A user, and the number of an earlier snapshot.
    Gone(u64, u16),
    /// An asset on a shelf: row of the asset, or of what ties it to the person or tag.
    Item(SmartFolder, u64, AssetPart),
    /// An asset in an album: rows of album_user and album_asset.
    AlbumItem(u64, u64, AssetPart),
    /// A deleted asset: the earlier snapshot's number, and its row.
    GoneItem(u16, u64, AssetPart),
    /// A file, folder or symlink as it lay on disk.
    File(u64),
}

const ROW: u32 = 40;
const MONTH: u32 = 18;
const MONTH_ZERO: i64 = 1 << (MONTH - 1);
const LEVEL: u32 = 6;
const MEMBER: u32 = 25;
const GONE: u32 = 27;
/// Bits of the two wide kinds, without the part and with it.
const FIELDS: u32 = 43;
const WIDE: u32 = 46;

impl NodePlace {
    /// The number; `None` where a row is beyond what fits.
    pub fn pack(self) -> Option<Ino> {
        let bits = match self {
            NodePlace::Root => 1,
            NodePlace::Readme => 2,
            NodePlace::Latest(snapshot) => (u64::from(snapshot) << 8) | 3,
            NodePlace::Snapshots => 4,
            NodePlace::In(snapshot, spot) => (u64::from(snapshot) << 48) | spot.pack()?,
        };
        Some(Ino(bits))
    }

    /// What `ino` is; `None` where nothing packs to it.
    pub fn unpack(ino: Ino) -> Option<NodePlace> {
        let snapshot = (ino.0 >> 48) as u16;
        let place = match (snapshot, ino.0) {
            (0, 1) => NodePlace::Root,
            (0, 2) => NodePlace::Readme,
            (0, bits) if bits & low(8) == 3 => NodePlace::Latest(u16::try_from(bits >> 8).ok()?),
            (0, 4) => NodePlace::Snapshots,
            (0, _) => return None,
            (_, bits) => NodePlace::In(snapshot, SnapshotNode::unpack(bits & low(48))?),
        };
        (place.pack() == Some(ino)).then_some(place)
    }
}

impl SnapshotNode {
    fn pack(self) -> Option<u64> {
        match self {
            SnapshotNode::Top => narrow(0, 0),
            SnapshotNode::Users => narrow(1, 0),
            SnapshotNode::Files => narrow(2, 0),
            SnapshotNode::Database => narrow(3, 0),
            SnapshotNode::Dump => narrow(4, 0),
            SnapshotNode::User(row) => narrow(5, row),
            SnapshotNode::Picture(row) => narrow(6, row),
            SnapshotNode::Year(user, year) => {
                narrow(7, pair(user, year.checked_add(MONTH_ZERO)?, MONTH)?)
            }
            SnapshotNode::Month(user, month) => {
                narrow(8, pair(user, month.checked_add(MONTH_ZERO)?, MONTH)?)
            }
            SnapshotNode::Album(row) => narrow(9, row),
            SnapshotNode::Person(row) => narrow(10, row),
            SnapshotNode::Tag(row, level) => narrow(11, pair(row, i64::from(level), LEVEL)?),
            SnapshotNode::Stack(row) => narrow(12, row),
            SnapshotNode::Gone(user, earlier) => narrow(13, pair(user, i64::from(earlier), 16)?),
            SnapshotNode::File(row) => narrow(14, row),
            SnapshotNode::Shelf(shelf, user) => narrow(16 + shelf as u64, user),
            SnapshotNode::Item(shelf, row, part) => {
                narrow(32 + 8 * shelf as u64 + part as u64, row)
            }
            SnapshotNode::AlbumItem(user, member, part) => {
                wide(2, part, (fit(user, 18)? << MEMBER) | fit(member, MEMBER)?)
            }
            SnapshotNode::GoneItem(earlier, row, part) => {
                wide(3, part, (u64::from(earlier) << GONE) | fit(row, GONE)?)
            }
        }
    }

    fn unpack(bits: u64) -> Option<SnapshotNode> {
        let part = PARTS.get((bits >> FIELDS & 7) as usize).copied();
        match bits >> WIDE {
            2 => {
                return Some(SnapshotNode::AlbumItem(
                    bits >> MEMBER & low(18),
                    bits & low(MEMBER),
                    part?,
                ));
            }
            3 => {
                return Some(SnapshotNode::GoneItem(
                    (bits >> GONE) as u16,
                    bits & low(GONE),
                    part?,
                ));
            }
            _ => {}
        }
        let (kind, row) = (bits >> ROW, bits & low(ROW));
        let shelf = |kind: u64| SmartFolder::ALL.get(kind as usize).copied();
        let month = (row & low(MONTH)) as i64 - MONTH_ZERO;
        Some(match kind {
            0 => SnapshotNode::Top,
            1 => SnapshotNode::Users,
            2 => SnapshotNode::Files,
            3 => SnapshotNode::Database,
            4 => SnapshotNode::Dump,
            5 => SnapshotNode::User(row),
            6 => SnapshotNode::Picture(row),
            7 => SnapshotNode::Year(row >> MONTH, month),
            8 => SnapshotNode::Month(row >> MONTH, month),
            9 => SnapshotNode::Album(row),
            10 => SnapshotNode::Person(row),
            11 => SnapshotNode::Tag(row >> LEVEL, (row & low(LEVEL)) as u8),
            12 => SnapshotNode::Stack(row),
            13 => SnapshotNode::Gone(row >> 16, row as u16),
            14 => SnapshotNode::File(row),
            16..32 => SnapshotNode::Shelf(shelf(kind - 16)?, row),
            32.. => {
                SnapshotNode::Item(shelf((kind - 32) / 8)?, row, *PARTS.get((kind % 8) as usize)?)
            }
            _ => return None,
        })
    }
}

fn low(bits: u32) -> u64 {
    (1 << bits) - 1
}

fn fit(value: u64, bits: u32) -> Option<u64> {
    (value <= low(bits)).then_some(value)
}

fn narrow(kind: u64, row: u64) -> Option<u64> {
    Some((kind << ROW) | fit(row, ROW)?)
}

fn pair(high: u64, value: i64, bits: u32) -> Option<u64> {
    let value = fit(u64::try_from(value).ok()?, bits)?;
    Some((fit(high, ROW - bits)? << bits) | value)
}

fn wide(kind: u64, part: AssetPart, fields: u64) -> Option<u64> {
    Some((kind << WIDE) | ((part as u64) << FIELDS) | fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spot() -> impl Strategy<Value = SnapshotNode> {
        let row = 0..1u64 << 40;
        let shelf = prop::sample::select(SmartFolder::ALL.as_slice());
        let part = prop::sample::select(PARTS.as_slice());
        prop_oneof![
            prop::sample::select(vec![
                SnapshotNode::Top,
                SnapshotNode::Users,
                SnapshotNode::Files,
                SnapshotNode::Database,
                SnapshotNode::Dump
            ]),
            row.clone().prop_map(SnapshotNode::User),
            row.clone().prop_map(SnapshotNode::Picture),
            (shelf.clone(), row.clone()).prop_map(|(shelf, row)| SnapshotNode::Shelf(shelf, row)),
            (0..1u64 << 22, -9999..9999i64).prop_map(|(user, year)| SnapshotNode::Year(user, year)),
            (0..1u64 << 22, -119_988..120_000i64)
                .prop_map(|(user, month)| SnapshotNode::Month(user, month)),
            row.clone().prop_map(SnapshotNode::Album),
            row.clone().prop_map(SnapshotNode::Person),
            (0..1u64 << 34, 0..64u8).prop_map(|(row, level)| SnapshotNode::Tag(row, level)),
            row.clone().prop_map(SnapshotNode::Stack),
            (0..1u64 << 24, any::<u16>())
                .prop_map(|(user, earlier)| SnapshotNode::Gone(user, earlier)),
            (shelf, row.clone(), part.clone())
                .prop_map(|(shelf, row, part)| SnapshotNode::Item(shelf, row, part)),
            (0..1u64 << 18, 0..1u64 << 25, part.clone())
                .prop_map(|(u, m, part)| SnapshotNode::AlbumItem(u, m, part)),
            (any::<u16>(), 0..1u64 << 27, part)
                .prop_map(|(e, row, part)| SnapshotNode::GoneItem(e, row, part)),
            row.prop_map(SnapshotNode::File),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_number_unpacks_to_the_place_that_it_was_packed_from(snapshot in 1..=u16::MAX, spot in spot()) {
            let place = NodePlace::In(snapshot, spot);
            let ino = place.pack().unwrap();
            prop_assert_eq!(NodePlace::unpack(ino), Some(place));
            prop_assert!(ino.0 > 4);
        }

        #[test]
        fn a_number_that_nothing_packs_to_is_nothing(bits: u64) {
            if let Some(place) = NodePlace::unpack(Ino(bits)) {
                prop_assert_eq!(place.pack(), Some(Ino(bits)));
            }
        }
    }

    #[test]
    fn a_row_beyond_the_limits_has_no_number() {
        assert_eq!(NodePlace::In(1, SnapshotNode::User(1 << 40)).pack(), None);
        assert_eq!(
            NodePlace::In(1, SnapshotNode::AlbumItem(1 << 18, 0, AssetPart::Original)).pack(),
            None
        );
        assert_eq!(NodePlace::Root.pack(), Some(ROOT));
    }
}
