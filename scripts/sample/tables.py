"""The tables of both eras, reduced: names and columns as Immich's dumps have them (v3.1.0 and v1.132.3).

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


def tables(era: str) -> dict[str, str]:
    """The tables of `era` with their column definitions, by name."""
    return dict(sorted((COMMON | (NEW if era == "new" else OLD)).items()))
