//! The tables and columns that we read, under the names they have had from v1.92 to v3.3, and the
//! one shape in which they are staged.
//!
//! A column that is not there is a default. What that costs is said by [`ColumnNeed`].

use super::copy::CopyHeader;

/// How the text of a field becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldCast {
    /// A uuid, as its 16 bytes.
    Id,
    Text,
    /// `t` or `f`, as 1 or 0.
    Flag,
    /// Microseconds since 1970, see [`super::time`].
    Time,
    /// `\x…`, as bytes.
    Bytes,
    Whole,
    Real,
    /// An array, as JSON.
    List,
}

/// What it means when a column is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnNeed {
    /// The table cannot be read without it, nor a row where it is NULL.
    Must,
    /// The table can be read, and a warning says what is missing.
    Wanted,
    /// Some versions have it.
    May,
}

/// A column: its name in staging and its names in dumps.
#[derive(Debug)]
pub struct StagedColumn {
    pub name: &'static str,
    pub from: &'static [&'static str],
    pub cast: FieldCast,
    pub need: ColumnNeed,
}

/// A table: its name in staging and its names in dumps.
#[derive(Debug)]
pub struct StagedTable {
    pub name: &'static str,
    pub from: &'static [&'static str],
    pub columns: &'static [StagedColumn],
    /// Only rows whose column (of the dump) has this value are staged.
    pub only: Option<(&'static str, &'static str)>,
    /// Staging columns that are indexed once all rows are in.
    pub index: &'static str,
}

impl StagedTable {
    /// The table that staging calls `name`.
    pub fn named(name: &str) -> Option<&'static StagedTable> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// The table that a dump calls `public.name`.
    pub fn find(name: &str) -> Option<&'static StagedTable> {
        TABLES.iter().find(|table| table.from.contains(&name))
    }

    /// The table that staging calls `name`.
    pub fn staged(name: &str) -> Option<&'static StagedTable> {
        TABLES.iter().find(|table| table.name == name)
    }
}

impl StagedColumn {
    /// Where `header` has the column.
    pub fn position(&self, header: &CopyHeader) -> Option<usize> {
        self.from.iter().find_map(|name| header.columns.iter().position(|column| column == name))
    }
}

/// The tables (in staging) without which a database is not Immich's.
pub const REQUIRED: [&str; 3] = ["user", "asset", "album"];
/// Those without which nothing can be read of it, however new it is.
pub const VITAL: [&str; 2] = ["user", "asset"];
/// The tables (in staging) that every version since v1.92 has; one that is missing is reported.
pub const EXPECTED: [&str; 9] =
    ["album", "exif", "album_asset", "album_user", "face", "person", "tag", "tag_asset", "library"];

const fn must(name: &'static str, from: &'static [&'static str], cast: FieldCast) -> StagedColumn {
    StagedColumn { name, from, cast, need: ColumnNeed::Must }
}

const fn wanted(
    name: &'static str,
    from: &'static [&'static str],
    cast: FieldCast,
) -> StagedColumn {
    StagedColumn { name, from, cast, need: ColumnNeed::Wanted }
}

const fn may(name: &'static str, from: &'static [&'static str], cast: FieldCast) -> StagedColumn {
    StagedColumn { name, from, cast, need: ColumnNeed::May }
}

use FieldCast::{Bytes, Flag, Id, List, Real, Text, Time, Whole};

/// Every table that is staged.
pub static TABLES: &[StagedTable] = &[
    StagedTable {
        name: "user",
        from: &["user", "users"],
        only: None,
        index: "id",
        columns: &[
            must("id", &["id"], Id),
            wanted("name", &["name"], Text),
            wanted("email", &["email"], Text),
            wanted("admin", &["isAdmin"], Flag),
            may("label", &["storageLabel"], Text),
            may("deleted", &["deletedAt"], Time),
            may("picture", &["profileImagePath"], Text),
        ],
    },
    StagedTable {
        name: "asset",
        from: &["asset", "assets"],
        only: None,
        index: "id",
        columns: &[
            must("id", &["id"], Id),
            must("owner", &["ownerId"], Id),
            must("path", &["originalPath"], Text),
            wanted("type", &["type"], Text),
            wanted("name", &["originalFileName"], Text),
            wanted("sha1", &["checksum"], Bytes),
            wanted("taken", &["localDateTime"], Time),
            wanted("created", &["fileCreatedAt"], Time),
            wanted("added", &["createdAt"], Time),
            wanted("deleted", &["deletedAt"], Time),
            wanted("favorite", &["isFavorite"], Flag),
            may("algorithm", &["checksumAlgorithm"], Text),
            may("updated", &["updatedAt"], Time),
            may("status", &["status"], Text),
            may("visibility", &["visibility"], Text),
            may("visible", &["isVisible"], Flag),
            may("archived", &["isArchived"], Flag),
            wanted("live_video", &["livePhotoVideoId"], Id),
            may("stack", &["stackId"], Id),
            may("stack_parent", &["stackParentId"], Id),
            may("library", &["libraryId"], Id),
            may("external", &["isExternal"], Flag),
            may("offline", &["isOffline"], Flag),
            may("sidecar", &["sidecarPath"], Text),
            may("edited", &["isEdited"], Flag),
        ],
    },
    StagedTable {
        name: "exif",
        from: &["asset_exif", "exif"],
        only: None,
        index: "asset",
        columns: &[
            must("asset", &["assetId"], Id),
            may("size", &["fileSizeInByte"], Whole),
            may("make", &["make"], Text),
            may("model", &["model"], Text),
            may("time_zone", &["timeZone"], Text),
            may("latitude", &["latitude"], Real),
            may("longitude", &["longitude"], Real),
            may("city", &["city"], Text),
            may("state", &["state"], Text),
            may("country", &["country"], Text),
            may("description", &["description"], Text),
            may("rating", &["rating"], Whole),
        ],
    },
    StagedTable {
        name: "album",
        from: &["album", "albums"],
        only: None,
        index: "id",
        columns: &[
            must("id", &["id"], Id),
            wanted("name", &["albumName"], Text),
            may("owner", &["ownerId"], Id),
            may("description", &["description"], Text),
            may("created", &["createdAt"], Time),
            may("deleted", &["deletedAt"], Time),
        ],
    },
    StagedTable {
        name: "album_asset",
        from: &["album_asset", "albums_assets_assets"],
        only: None,
        index: "album, asset",
        columns: &[
            must("album", &["albumId", "albumsId"], Id),
            must("asset", &["assetId", "assetsId"], Id),
        ],
    },
    StagedTable {
        name: "album_user",
        from: &["album_user", "albums_shared_users_users"],
        only: None,
        index: "album, user, role",
        columns: &[
            must("album", &["albumId", "albumsId"], Id),
            must("user", &["userId", "usersId"], Id),
            may("role", &["role"], Text),
        ],
    },
    StagedTable {
        name: "file",
        from: &["asset_file", "asset_files"],
        only: Some(("type", "sidecar")),
        index: "asset",
        columns: &[
            must("asset", &["assetId"], Id),
            must("path", &["path"], Text),
            may("edited", &["isEdited"], Flag),
        ],
    },
    StagedTable {
        name: "face",
        from: &["asset_face", "asset_faces"],
        only: None,
        index: "person, asset",
        columns: &[
            must("asset", &["assetId"], Id),
            wanted("person", &["personGroupId", "personId"], Id),
            may("deleted", &["deletedAt"], Text),
            may("visible", &["isVisible"], Flag),
        ],
    },
    StagedTable {
        name: "person",
        from: &["person"],
        only: None,
        index: "grp, created, owner",
        columns: &[
            // Since v3.2 a person is a group of faces, with a row for each owner who knows them.
            must("grp", &["personGroupId", "id"], Id),
            must("owner", &["ownerId"], Id),
            wanted("name", &["name"], Text),
            may("hidden", &["isHidden"], Flag),
            may("favorite", &["isFavorite"], Flag),
            may("born", &["birthDate"], Text),
            may("created", &["createdAt"], Time),
        ],
    },
    StagedTable {
        name: "person_group",
        from: &["person_group"],
        only: None,
        index: "id, created",
        columns: &[must("id", &["id"], Id), may("created", &["createdAt"], Time)],
    },
    StagedTable {
        name: "partner",
        from: &["partner", "partners"],
        only: None,
        index: "owner, viewer",
        columns: &[
            must("owner", &["sharedById"], Id),
            must("viewer", &["sharedWithId"], Id),
            may("timeline", &["inTimeline"], Flag),
        ],
    },
    StagedTable {
        name: "person_user",
        from: &["person_user"],
        only: None,
        index: "grp",
        columns: &[must("grp", &["personGroupId"], Id)],
    },
    StagedTable {
        name: "stack",
        from: &["stack", "asset_stack"],
        only: None,
        index: "id",
        columns: &[
            must("id", &["id"], Id),
            may("cover", &["primaryAssetId"], Id),
            may("owner", &["ownerId"], Id),
        ],
    },
    StagedTable {
        name: "tag",
        from: &["tag", "tags"],
        only: None,
        index: "id",
        columns: &[
            must("id", &["id"], Id),
            must("owner", &["userId"], Id),
            wanted("value", &["value", "name"], Text),
        ],
    },
    StagedTable {
        name: "tag_asset",
        from: &["tag_asset"],
        only: None,
        index: "tag, asset",
        columns: &[
            must("tag", &["tagId", "tagsId"], Id),
            must("asset", &["assetId", "assetsId"], Id),
        ],
    },
    StagedTable {
        name: "library",
        from: &["library", "libraries"],
        only: None,
        index: "id",
        columns: &[
            must("id", &["id"], Id),
            must("owner", &["ownerId"], Id),
            wanted("name", &["name"], Text),
            may("type", &["type"], Text),
            wanted("roots", &["importPaths"], List),
            may("deleted", &["deletedAt"], Time),
        ],
    },
    StagedTable {
        name: "metadata",
        from: &["system_metadata"],
        only: Some(("key", "MediaLocation")),
        index: "value",
        columns: &[wanted("value", &["value"], Text)],
    },
    StagedTable {
        name: "version",
        from: &["version_history"],
        only: None,
        index: "created",
        columns: &[wanted("version", &["version"], Text), wanted("created", &["createdAt"], Time)],
    },
    StagedTable {
        name: "kysely",
        from: &["kysely_migrations"],
        only: None,
        index: "name",
        columns: &[wanted("name", &["name"], Text)],
    },
    StagedTable {
        name: "typeorm",
        from: &["migrations"],
        only: None,
        index: "time",
        columns: &[wanted("name", &["name"], Text), wanted("time", &["timestamp"], Whole)],
    },
];
