"""The tables of each era, reduced: names and columns as Immich's dumps have them (v1.132.3, v3.1.0 and, with groups, v3.3.1).

Vector columns, triggers and most indexes are left out, so that the SQL loads into any Postgres.
"""

TIME = "timestamp with time zone"
STAMPS = f'"createdAt" {TIME}, "updatedAt" {TIME}'

ENUMS = {
    "new": {
        "assets_status_enum": ("active", "trashed", "deleted"),
        "asset_visibility_enum": ("archive", "timeline", "hidden", "locked"),
        "asset_checksum_algorithm_enum": ("sha1", "sha1-path"),
    },
    "old": {"assets_status_enum": ("active", "trashed", "deleted")},
}
ENUMS["groups"] = ENUMS["new"] | {"person_user_role_enum": ("read", "write", "admin")}

EXIF = (
    '"assetId" uuid NOT NULL, make text, model text, "exifImageWidth" integer, "exifImageHeight" integer, "fileSizeInByte" bigint, '
    f'orientation text, "dateTimeOriginal" {TIME}, "modifyDate" {TIME}, "lensModel" text, "fNumber" double precision, '
    '"focalLength" double precision, iso integer, latitude double precision, longitude double precision, city text, state text, '
    'country text, description text NOT NULL, fps double precision, "exposureTime" text, "livePhotoCID" text, "timeZone" text, '
    '"projectionType" text, "profileDescription" text, colorspace text, "bitsPerSample" integer, "autoStackId" text, rating integer, '
    f'"updatedAt" {TIME}, "updateId" uuid'
)
FACE = (
    '"assetId" uuid NOT NULL, "personId" uuid, "imageWidth" integer, "imageHeight" integer, "boundingBoxX1" integer, '
    f'"boundingBoxY1" integer, "boundingBoxX2" integer, "boundingBoxY2" integer, id uuid NOT NULL, "sourceType" text, "deletedAt" {TIME}'
)
USER = (
    f'id uuid NOT NULL, email text NOT NULL, password text NOT NULL, "createdAt" {TIME}, "profileImagePath" text NOT NULL, '
    f'"isAdmin" boolean NOT NULL, "shouldChangePassword" boolean NOT NULL, "deletedAt" {TIME}, "oauthId" text NOT NULL, "updatedAt" {TIME}, '
    '"storageLabel" text, name text NOT NULL, "quotaSizeInBytes" bigint, "quotaUsageInBytes" bigint NOT NULL, status text NOT NULL, '
    f'"profileChangedAt" {TIME}, "updateId" uuid'
)
ASSET_FILE = f'id uuid NOT NULL, "assetId" uuid NOT NULL, {STAMPS}, type text NOT NULL, path text NOT NULL, "updateId" uuid'
LIBRARY = (
    f'id uuid NOT NULL, name text NOT NULL, "ownerId" uuid NOT NULL, "importPaths" text[] NOT NULL, "exclusionPatterns" text[] NOT NULL, '
    f'{STAMPS}, "deletedAt" {TIME}, "refreshedAt" {TIME}, "updateId" uuid'
)
SESSION = f'id uuid NOT NULL, token bytea NOT NULL, {STAMPS}, "userId" uuid NOT NULL, "deviceType" text, "deviceOS" text, "updateId" uuid'
TAG = f'id uuid NOT NULL, "userId" uuid NOT NULL, value text NOT NULL, {STAMPS}, color text, "parentId" uuid, "updateId" uuid'

COMMON = {
    "activity": f'id uuid NOT NULL, {STAMPS}, "albumId" uuid, "userId" uuid, "assetId" uuid, comment text, "isLiked" boolean, "updateId" uuid',
    "asset_job_status": f'"assetId" uuid NOT NULL, "facesRecognizedAt" {TIME}, "metadataExtractedAt" {TIME}, "duplicatesDetectedAt" {TIME}',
    "geodata_places": (
        "id integer NOT NULL, name text NOT NULL, longitude double precision, latitude double precision, "
        '"countryCode" character(2), "admin1Code" text, "admin2Code" text, "modificationDate" date, "admin1Name" text, '
        '"admin2Name" text, "alternateNames" text'
    ),
    "kysely_migrations": 'name text NOT NULL, "timestamp" text NOT NULL',
    "kysely_migrations_lock": "id text NOT NULL, is_locked integer NOT NULL",
    "move_history": 'id uuid NOT NULL, "entityId" uuid NOT NULL, "pathType" text NOT NULL, "oldPath" text NOT NULL, "newPath" text NOT NULL',
    "person": (
        f'id uuid NOT NULL, {STAMPS}, "ownerId" uuid NOT NULL, name text NOT NULL, "thumbnailPath" text NOT NULL, '
        '"isHidden" boolean NOT NULL, "birthDate" date, "faceAssetId" uuid, "isFavorite" boolean NOT NULL, color text, "updateId" uuid'
    ),
    "system_metadata": "key text NOT NULL, value jsonb NOT NULL",
    "user_metadata": '"userId" uuid NOT NULL, key text NOT NULL, value jsonb NOT NULL',
    "version_history": f'id uuid NOT NULL, "createdAt" {TIME} NOT NULL, version text NOT NULL',
}

NEW = {
    "album": (
        f'id uuid NOT NULL, "albumName" text NOT NULL, "createdAt" {TIME}, "albumThumbnailAssetId" uuid, "updatedAt" {TIME}, '
        f'description text NOT NULL, "deletedAt" {TIME}, "isActivityEnabled" boolean NOT NULL, "order" text NOT NULL, "updateId" uuid'
    ),
    "album_asset": f'"albumId" uuid NOT NULL, "assetId" uuid NOT NULL, {STAMPS}, "updateId" uuid',
    "album_user": (
        f'"albumId" uuid NOT NULL, "userId" uuid NOT NULL, role text NOT NULL, "updateId" uuid, "updatedAt" {TIME}, "createId" uuid, "createdAt" {TIME}'
    ),
    "asset": (
        f'id uuid NOT NULL, "ownerId" uuid NOT NULL, type text NOT NULL, "originalPath" text NOT NULL, "fileCreatedAt" {TIME} NOT NULL, '
        f'"fileModifiedAt" {TIME} NOT NULL, "isFavorite" boolean NOT NULL, duration integer, checksum bytea NOT NULL, "livePhotoVideoId" uuid, '
        f'"updatedAt" {TIME}, "createdAt" {TIME}, "originalFileName" text NOT NULL, thumbhash bytea, "isOffline" boolean NOT NULL, '
        f'"libraryId" uuid, "isExternal" boolean NOT NULL, "deletedAt" {TIME}, "localDateTime" {TIME} NOT NULL, "stackId" uuid, '
        '"duplicateId" uuid, status public.assets_status_enum NOT NULL, "updateId" uuid, visibility public.asset_visibility_enum NOT NULL, '
        'width integer, height integer, "isEdited" boolean NOT NULL, "checksumAlgorithm" public.asset_checksum_algorithm_enum NOT NULL'
    ),
    "asset_edit": f'id uuid NOT NULL, "assetId" uuid NOT NULL, action text NOT NULL, parameters jsonb, sequence integer, "updatedAt" {TIME}, "updateId" uuid',
    "asset_exif": EXIF + ', "lockedProperties" text[], tags text[]',
    "asset_face": FACE + f', "updatedAt" {TIME}, "updateId" uuid, "isVisible" boolean NOT NULL',
    "asset_file": ASSET_FILE + ', "isEdited" boolean NOT NULL, "isProgressive" boolean NOT NULL, "isTransparent" boolean NOT NULL',
    "library": LIBRARY,
    "session": SESSION + f', "pinExpiresAt" {TIME}, "expiresAt" {TIME}, "parentId" uuid, "isPendingSyncReset" boolean, "appVersion" text',
    "stack": f'id uuid NOT NULL, "primaryAssetId" uuid NOT NULL, "ownerId" uuid NOT NULL, {STAMPS}, "updateId" uuid',
    "tag": TAG,
    "tag_asset": '"assetId" uuid NOT NULL, "tagId" uuid NOT NULL',
    "tag_closure": "id_ancestor uuid NOT NULL, id_descendant uuid NOT NULL",
    "user": USER + ', "avatarColor" text, "pinCode" text',
}

OLD = {
    "albums": (
        f'id uuid NOT NULL, "ownerId" uuid NOT NULL, "albumName" text NOT NULL, "createdAt" {TIME}, "albumThumbnailAssetId" uuid, "updatedAt" {TIME}, '
        f'description text NOT NULL, "deletedAt" {TIME}, "isActivityEnabled" boolean NOT NULL, "order" text NOT NULL, "updateId" uuid'
    ),
    "albums_assets_assets": f'"albumsId" uuid NOT NULL, "assetsId" uuid NOT NULL, "createdAt" {TIME}',
    "albums_shared_users_users": '"albumsId" uuid NOT NULL, "usersId" uuid NOT NULL, role text NOT NULL',
    "asset_faces": FACE,
    "asset_files": ASSET_FILE,
    "asset_stack": 'id uuid NOT NULL, "primaryAssetId" uuid NOT NULL, "ownerId" uuid NOT NULL',
    "assets": (
        'id uuid NOT NULL, "deviceAssetId" text NOT NULL, "ownerId" uuid NOT NULL, "deviceId" text NOT NULL, type text NOT NULL, '
        f'"originalPath" text NOT NULL, "fileCreatedAt" {TIME} NOT NULL, "fileModifiedAt" {TIME} NOT NULL, "isFavorite" boolean NOT NULL, '
        'duration text, "encodedVideoPath" text, checksum bytea NOT NULL, "isVisible" boolean NOT NULL, "livePhotoVideoId" uuid, '
        f'"updatedAt" {TIME}, "createdAt" {TIME}, "isArchived" boolean NOT NULL, "originalFileName" text NOT NULL, "sidecarPath" text, '
        f'thumbhash bytea, "isOffline" boolean NOT NULL, "libraryId" uuid, "isExternal" boolean NOT NULL, "deletedAt" {TIME}, '
        f'"localDateTime" {TIME} NOT NULL, "stackId" uuid, "duplicateId" uuid, status public.assets_status_enum NOT NULL, "updateId" uuid'
    ),
    "exif": EXIF,
    "libraries": LIBRARY,
    "migrations": "id integer NOT NULL, \"timestamp\" bigint NOT NULL, name text NOT NULL",
    "sessions": SESSION,
    "tag_asset": '"assetsId" uuid NOT NULL, "tagsId" uuid NOT NULL',
    "tags": TAG,
    "tags_closure": "id_ancestor uuid NOT NULL, id_descendant uuid NOT NULL",
    "users": USER,
}

NEW_NAMES = {
    "albums": "album", "asset_faces": "asset_face", "asset_files": "asset_file", "asset_stack": "stack", "assets": "asset",
    "exif": "asset_exif", "libraries": "library", "sessions": "session", "tags": "tag", "tags_closure": "tag_closure", "users": "user",
}


GROUPS = {
    "album": NEW["album"].replace("description text NOT NULL", "description text"),
    "asset_face": NEW["asset_face"].replace('"personId"', '"personGroupId"'),
    "cluster_group": f'id uuid NOT NULL, {STAMPS}, "updateId" uuid',
    "cluster_group_request": f'id uuid NOT NULL, "clusterGroupId" uuid NOT NULL, "userId" uuid NOT NULL, "createdAt" {TIME}',
    "person": COMMON["person"].replace("id uuid NOT NULL", '"personGroupId" uuid NOT NULL', 1),
    "person_group": f'id uuid NOT NULL, "clusterGroupId" uuid NOT NULL, {STAMPS}, "updateId" uuid',
    "person_group_audit": f'id uuid NOT NULL, "personGroupId" uuid NOT NULL, "deletedAt" {TIME}',
    "person_user": (
        '"personGroupId" uuid NOT NULL, "sharedById" uuid NOT NULL, "sharedWithId" uuid NOT NULL, '
        f'role public.person_user_role_enum NOT NULL, {STAMPS}, "updateId" uuid'
    ),
    "user": NEW["user"].replace("password text NOT NULL", "password text") + ', "clusterGroupId" uuid NOT NULL',
    "workflow_log": f'id uuid NOT NULL, "createdAt" {TIME}, message text',
}

GROUPS_KEYS = """\
ALTER TABLE ONLY public.person ADD CONSTRAINT person_pkey PRIMARY KEY ("ownerId", "personGroupId");
ALTER TABLE ONLY public.person_user ADD CONSTRAINT person_user_pkey PRIMARY KEY ("personGroupId", "sharedById", "sharedWithId");
ALTER TABLE ONLY public.person_user ADD CONSTRAINT person_user_shared_check CHECK ("sharedById" <> "sharedWithId");
ALTER TABLE ONLY public."user" ADD CONSTRAINT user_group_fkey FOREIGN KEY ("clusterGroupId") REFERENCES public.cluster_group(id);
ALTER TABLE ONLY public.person_group ADD CONSTRAINT person_group_fkey FOREIGN KEY ("clusterGroupId") REFERENCES public.cluster_group(id);
ALTER TABLE ONLY public.person ADD CONSTRAINT person_person_group_fkey FOREIGN KEY ("personGroupId") REFERENCES public.person_group(id);
ALTER TABLE ONLY public.asset_face ADD CONSTRAINT face_person_group_fkey FOREIGN KEY ("personGroupId") REFERENCES public.person_group(id);
"""


def tables(era: str) -> dict[str, str]:
    """The tables of `era` with their column definitions, by name."""
    return dict(sorted((COMMON | {"old": OLD, "new": NEW, "groups": NEW | GROUPS}[era]).items()))
