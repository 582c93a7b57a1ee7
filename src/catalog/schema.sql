-- The catalog: an index over archives, snapshots and what their dumps say. It can always be rebuilt. Once published it is
-- sealed: behind the database the file has a hash of each page (seal.rs).
--
-- Rows that change from snapshot to snapshot hold in the half-open range [since, until) of snapshot times
-- (seconds since 1970). A row that still holds has until = 9223372036854775807.
-- So "in snapshot s" is:  since <= s AND until > s.
-- Ids of Immich are BLOBs of 16 bytes. A row's own `row` never changes its meaning while this catalog's
-- `lineage` (see meta) stays the same: mounts build inode numbers from it.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,         -- repository: its id; lineage: random, new with each rebuild; number: the one that
                                    -- was given last; readings: those taken in
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE snapshot (
    time   INTEGER PRIMARY KEY,     -- seconds since 1970: the id, and what since/until speak of
    number INTEGER NOT NULL UNIQUE, -- 1 to 65535, counts up and starts over; part of inode numbers
    good   INTEGER NOT NULL,        -- 1 when its dump was verified: may become `latest`
    record TEXT NOT NULL            -- the snapshot record, JSON as in snapshots/
);

CREATE TABLE unreadable (           -- snapshots whose record or lists cannot be read: in no other table
    time INTEGER PRIMARY KEY
);

CREATE TABLE archive (
    id   INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: readers of an older generation go on with theirs
    name TEXT NOT NULL UNIQUE,      -- as below archives/, such as 2026/2026-11-22T030005Z-0001.tar
    size INTEGER NOT NULL,          -- bytes
    hash BLOB NOT NULL              -- BLAKE3 of its index, as its tail says
);

CREATE TABLE content (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    hash    BLOB NOT NULL UNIQUE,   -- BLAKE3 of the plain bytes
    sha1    BLOB NOT NULL,          -- SHA-1 of the plain bytes
    size    INTEGER NOT NULL,       -- plain bytes
    archive INTEGER NOT NULL,       -- 0: no archive holds it (lost, or its archive is damaged)
    offset  INTEGER NOT NULL,       -- where the stored bytes begin in the archive file
    stored  INTEGER NOT NULL,       -- stored bytes
    frames  BLOB,                   -- NULL: stored as it is; else sizes of its zstd frames of 1 MiB, u32 LE each
    tree    BLOB                    -- over 1 MiB: chaining values of its 1 MiB segments, 32 bytes each
);
CREATE INDEX content_sha1 ON content (sha1);
CREATE INDEX content_archive ON content (archive);
CREATE INDEX content_size ON content (size) WHERE size > 16777216;    -- "may this large file be known?"

CREATE TABLE chunk (                -- pieces of streams
    hash    BLOB PRIMARY KEY,       -- BLAKE3 of the plain bytes
    size    INTEGER NOT NULL,       -- plain bytes
    archive INTEGER NOT NULL REFERENCES archive,
    offset  INTEGER NOT NULL,
    stored  INTEGER NOT NULL,
    keys    BLOB                    -- NULL: a key chunk, a plain frame; else hashes of its key chunks, 32 bytes each
) WITHOUT ROWID;

CREATE TABLE seen (                 -- files of archives that no snapshot names yet: an interrupted backup
    path    BLOB NOT NULL,
    size    INTEGER NOT NULL,
    mtime   INTEGER NOT NULL,       -- nanoseconds since 1970
    content INTEGER NOT NULL REFERENCES content,
    PRIMARY KEY (path, size, mtime)
) WITHOUT ROWID;

-- The files as they lay on disk ---------------------------------------------------------------------------

CREATE TABLE folder (               -- places, in whatever snapshot; id 0 is the top, above upload/ and library/
    id     INTEGER PRIMARY KEY,
    parent INTEGER NOT NULL,
    name   BLOB NOT NULL,
    UNIQUE (parent, name)
);

CREATE TABLE file (
    folder  INTEGER NOT NULL REFERENCES folder,
    name    BLOB NOT NULL,
    since   INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    row     INTEGER NOT NULL,
    kind    INTEGER NOT NULL,       -- 0 file, 1 folder, 2 symlink
    size    INTEGER NOT NULL,       -- bytes
    mtime   INTEGER NOT NULL,       -- nanoseconds since 1970
    mode    INTEGER NOT NULL,       -- permission bits
    uid     INTEGER NOT NULL,
    gid     INTEGER NOT NULL,
    content INTEGER REFERENCES content, -- files
    child   INTEGER REFERENCES folder,  -- folders: this folder as a place
    target  BLOB,                   -- symlinks
    link    BLOB,                   -- hard links: path of the first
    PRIMARY KEY (folder, name, since)
) WITHOUT ROWID;
CREATE UNIQUE INDEX file_row ON file (row);
CREATE INDEX file_content ON file (content) WHERE content IS NOT NULL;
CREATE INDEX file_child ON file (child, since) WHERE child IS NOT NULL;

-- What the dumps say ----------------------------------------------------------------------------------------

CREATE TABLE user (
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    name TEXT NOT NULL, email TEXT NOT NULL,
    line TEXT NOT NULL              -- the record of the library list, JSON
);
CREATE INDEX user_id ON user (id, since);

CREATE TABLE asset (
    row        INTEGER PRIMARY KEY, id BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    owner      BLOB NOT NULL,
    name       TEXT NOT NULL,       -- originalFileName
    month      INTEGER NOT NULL,    -- of `taken`, wall clock: year * 12 + month - 1
    taken      INTEGER NOT NULL,    -- wall clock as if UTC, milliseconds since 1970
    created    INTEGER NOT NULL,    -- the instant, milliseconds since 1970
    added      INTEGER NOT NULL,    -- upload, milliseconds since 1970
    favorite   INTEGER NOT NULL,    -- 0 or 1
    visibility INTEGER NOT NULL,    -- 0 timeline, 1 archive, 2 hidden, 3 locked
    trashed    INTEGER NOT NULL,    -- 0 or 1
    live       BLOB,                -- asset that is the moving half
    stack      BLOB,
    sha1       BLOB,
    path       BLOB,                -- where the file list shows it
    sidecar    BLOB,
    line       TEXT NOT NULL
);
CREATE INDEX asset_id ON asset (id, since);
CREATE INDEX asset_month ON asset (owner, month, since, until);
CREATE INDEX asset_favorite ON asset (owner) WHERE favorite = 1;
CREATE INDEX asset_special ON asset (owner, visibility, trashed) WHERE visibility <> 0 OR trashed <> 0;
CREATE INDEX asset_stack ON asset (stack) WHERE stack IS NOT NULL;
CREATE INDEX asset_live ON asset (live) WHERE live IS NOT NULL;
CREATE INDEX asset_path ON asset (path) WHERE path IS NOT NULL;
CREATE INDEX asset_sidecar ON asset (sidecar) WHERE sidecar IS NOT NULL;
CREATE INDEX asset_sha1 ON asset (sha1) WHERE sha1 IS NOT NULL;
CREATE INDEX asset_until ON asset (until, owner);   -- what ended when: `deleted since`

CREATE TABLE asset_file (           -- the bytes of an asset in a snapshot; no row: its file is not in the snapshot
    asset   BLOB NOT NULL,
    part    INTEGER NOT NULL,       -- 0 the original, 1 its sidecar
    since   INTEGER NOT NULL, until INTEGER NOT NULL,
    content INTEGER NOT NULL REFERENCES content,
    size    INTEGER NOT NULL,
    file    INTEGER NOT NULL,       -- file.row that showed it
    moved   INTEGER NOT NULL,       -- 1 when found by SHA-1 elsewhere than the database said
    differs INTEGER NOT NULL,       -- 1 when it has another SHA-1 than the asset, as far as was known: `query/kept.rs`
    PRIMARY KEY (asset, part, since)
) WITHOUT ROWID;
CREATE INDEX asset_file_content ON asset_file (content);
CREATE INDEX asset_file_differs ON asset_file (until, since) WHERE differs = 1;

CREATE TABLE album (
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    name TEXT NOT NULL, created INTEGER NOT NULL, deleted INTEGER NOT NULL, line TEXT NOT NULL
);
CREATE INDEX album_id ON album (id, since);

CREATE TABLE album_user (
    row INTEGER PRIMARY KEY, album BLOB NOT NULL, user BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    role INTEGER NOT NULL           -- 0 owner, 1 editor, 2 viewer
);
CREATE INDEX album_user_user ON album_user (user, album, since, until);
CREATE INDEX album_user_album ON album_user (album, user, since);

CREATE TABLE album_asset (
    row INTEGER PRIMARY KEY, album BLOB NOT NULL, asset BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL
);
CREATE INDEX album_asset_album ON album_asset (album, asset, since, until);
CREATE INDEX album_asset_asset ON album_asset (asset, album);

CREATE TABLE person (
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    owner BLOB NOT NULL, name TEXT NOT NULL, hidden INTEGER NOT NULL,
    grp BLOB NOT NULL,              -- Immich's id, which owners may share: what a thumbnail is called by
    locked INTEGER NOT NULL,        -- 1: a locked photo of another owner shows them
    line TEXT NOT NULL
);
CREATE INDEX person_locked ON person (since) WHERE locked = 1;
CREATE INDEX person_id ON person (id, since);
CREATE INDEX person_owner ON person (owner, since, until);

CREATE TABLE person_asset (
    row INTEGER PRIMARY KEY, person BLOB NOT NULL, asset BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL
);
CREATE INDEX person_asset_person ON person_asset (person, asset, since, until);
CREATE INDEX person_asset_asset ON person_asset (asset, person);

CREATE TABLE stack (
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    owner BLOB NOT NULL, first BLOB, line TEXT NOT NULL    -- first: the asset that is shown
);
CREATE INDEX stack_id ON stack (id, since);
CREATE INDEX stack_owner ON stack (owner, since, until);

CREATE TABLE tag (
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    owner BLOB NOT NULL, value TEXT NOT NULL, line TEXT NOT NULL
);
CREATE INDEX tag_id ON tag (id, since);
CREATE INDEX tag_owner ON tag (owner, value, since, until);

CREATE TABLE tag_asset (
    row INTEGER PRIMARY KEY, tag BLOB NOT NULL, asset BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL
);
CREATE INDEX tag_asset_tag ON tag_asset (tag, asset, since, until);
CREATE INDEX tag_asset_asset ON tag_asset (asset, tag);

CREATE TABLE external_library (
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    owner BLOB NOT NULL, line TEXT NOT NULL
);
CREATE INDEX external_library_id ON external_library (id, since);
