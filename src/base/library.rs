//! What a library holds, in our own words: the records of a library list.
//!
//! A library list is JSON Lines, one [`LibraryRecord`] a line, sorted by [`LibraryRecord::key`]. It is made from
//! a dump ([`crate::immich`]) and read by the catalog; neither knows the other.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::hash::Sha1;
use super::path::FilePath;

/// One line of a library list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LibraryRecord {
    /// An album.
    Album(Album),
    /// An asset is in an album.
    AlbumAsset(AlbumAsset),
    /// A user sees an album.
    AlbumUser(AlbumUser),
    /// A photo or video.
    Asset(Box<Asset>),
    /// An external library: a folder outside UPLOAD_LOCATION.
    ExternalLibrary(ExternalLibrary),
    /// A person whose face was recognised.
    Person(Person),
    /// An asset shows a person.
    PersonAsset(PersonAsset),
    /// Assets that are shown as one.
    Stack(Stack),
    /// A tag.
    Tag(Tag),
    /// An asset carries a tag.
    TagAsset(TagAsset),
    /// An account.
    User(User),
}

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub id: Uuid,
    pub name: String,
    pub email: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub admin: bool,
    /// Immich's storage label: the folder's name under `library/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When the account was deleted; its assets may still be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// The profile picture, as the file list shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<FilePath>,
}

impl User {
    /// What people call the account: one without a name goes by its address.
    pub fn shown_name(&self) -> &str {
        if self.name.trim().is_empty() { &self.email } else { &self.name }
    }
}

/// Where Immich shows an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// In the timeline.
    #[default]
    Timeline,
    /// In the archive only.
    Archive,
    /// Nowhere by itself: the moving half of a live photo.
    Hidden,
    /// Behind a PIN.
    Locked,
}

/// What an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetType {
    Image,
    Video,
    Audio,
    Other,
}

/// A photo or video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    pub id: Uuid,
    pub owner: Uuid,
    #[serde(rename = "type")]
    pub kind: AssetType,
    /// The name that it was uploaded with: any text, not unique.
    pub name: String,
    /// `originalPath` as Immich wrote it.
    pub path: String,
    /// Where the file list shows it: below UPLOAD_LOCATION, or `external/…` for an external
    /// library's file. `None` when `path` cannot be mapped safely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePath>,
    /// SHA-1 of the bytes as Immich recorded it; absent where Immich hashes the path only (external
    /// libraries).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<Sha1>,
    /// Wall-clock time where it was taken (`localDateTime`).
    pub taken: DateTime,
    /// The instant it was taken (`fileCreatedAt`).
    pub created: Timestamp,
    /// When the row was made: the upload.
    pub added: Timestamp,
    #[serde(default, skip_serializing_if = "is_false")]
    pub favorite: bool,
    #[serde(default, skip_serializing_if = "is_timeline")]
    pub visibility: Visibility,
    /// When it was put in the trash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trashed: Option<Timestamp>,
    /// The asset that is the moving half of this live photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_video: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Uuid>,
    /// The external library that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<Uuid>,
    /// Immich saw that the external file is gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub offline: bool,
    /// The XMP sidecar, as the file list shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<FilePath>,
    /// The database has a sidecar at a path that is none of UPLOAD_LOCATION's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sidecar_elsewhere: bool,
    /// Immich holds edits of it in the database; the original is untouched.
    #[serde(default, skip_serializing_if = "is_false")]
    pub edited: bool,
    /// Bytes, as Immich recorded them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub make: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Stars, -1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<i32>,
}

/// An album. Any name, also none; not unique.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Album {
    pub id: Uuid,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
}

/// What a user may do in an album.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlbumRole {
    Owner,
    Editor,
    Viewer,
}

/// A user sees an album.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlbumUser {
    pub album: Uuid,
    pub user: Uuid,
    pub role: AlbumRole,
}

/// An asset is in an album.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlbumAsset {
    pub album: Uuid,
    pub asset: Uuid,
}

/// A person whose face was recognised, as one owner knows them. Often without a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Person {
    pub id: Uuid,
    /// Immich's id of the person, where another owner's row has it as its `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Uuid>,
    pub owner: Uuid,
    #[serde(default)]
    pub name: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub favorite: bool,
    /// `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<String>,
    /// A locked photo of another owner shows them: the thumbnail may be cut out of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub locked: bool,
}

/// An asset shows a person (however many faces say so).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PersonAsset {
    pub person: Uuid,
    pub asset: Uuid,
}

/// Assets that are shown as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    pub id: Uuid,
    pub owner: Uuid,
    /// The asset that is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<Uuid>,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    pub id: Uuid,
    pub owner: Uuid,
    /// The whole path, levels joined by `/`.
    pub value: String,
}

/// An asset carries a tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagAsset {
    pub tag: Uuid,
    pub asset: Uuid,
}

/// An external library: folders outside UPLOAD_LOCATION.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalLibrary {
    pub id: Uuid,
    pub owner: Uuid,
    pub name: String,
    /// Absolute folders as the server sees them.
    pub roots: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
}

impl LibraryRecord {
    /// What a library list is sorted by, and what stays the same while the rest of a record
    /// changes: the kind's name, then the ids.
    pub fn key(&self) -> (&'static str, Uuid, Uuid) {
        let none = Uuid::nil();
        match self {
            LibraryRecord::Album(r) => ("album", r.id, none),
            LibraryRecord::AlbumAsset(r) => ("album_asset", r.album, r.asset),
            LibraryRecord::AlbumUser(r) => ("album_user", r.album, r.user),
            LibraryRecord::Asset(r) => ("asset", r.id, none),
            LibraryRecord::ExternalLibrary(r) => ("external_library", r.id, none),
            LibraryRecord::Person(r) => ("person", r.id, none),
            LibraryRecord::PersonAsset(r) => ("person_asset", r.person, r.asset),
            LibraryRecord::Stack(r) => ("stack", r.id, none),
            LibraryRecord::Tag(r) => ("tag", r.id, none),
            LibraryRecord::TagAsset(r) => ("tag_asset", r.tag, r.asset),
            LibraryRecord::User(r) => ("user", r.id, none),
        }
    }
}

/// How much a library holds: what is compared from night to night.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryCensus {
    pub users: u64,
    /// Assets, those in the trash included.
    pub assets: u64,
    pub albums: u64,
    /// When the newest asset was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// Each account, sorted by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountCensus>,
}

/// What an account has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCensus {
    pub id: Uuid,
    pub name: String,
    /// Assets, those in the trash included.
    pub assets: u64,
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_timeline(value: &Visibility) -> bool {
    *value == Visibility::Timeline
}
