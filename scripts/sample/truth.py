"""What a reader of the sample library must find: truth.json."""
from .database import Database
from .story import USERS, Album, Asset


def iso(time) -> str | None:
    """A time as Immich's API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z") if time else None


def truth(database: Database) -> dict:
    """Users, albums and assets with everything that shoebox should know about them."""
    story = database.story
    return {
        "label": f"sample, state {story.state}, {database.era} era",
        "server": database.version,
        "mediaLocation": "/data" if database.era == "new" else None,
        "counts": {"assets": len(story.assets), "albums": len(story.albums), "users": len(USERS)},
        "users": [_user(database, user) for user in USERS],
        "albums": [_album(database, album) for album in story.albums],
        "assets": [_asset(database, asset) for asset in story.assets],
    }


def _user(database: Database, user) -> dict:
    return {
        "id": user.id, "email": user.email, "name": user.name, "storageLabel": user.label, "isAdmin": user.admin,
        "status": "active", "deletedAt": None, "profileImagePath": database.picture(user),
    }


def _album(database: Database, album: Album) -> dict:
    members = ((album.owner, "owner"),) + album.shared
    return {
        "id": album.id, "albumName": album.name, "description": album.description, "assetCount": len(album.assets),
        "owner": album.owner.email, "users": [{"email": user.email, "role": role} for user, role in members],
        "assetIds": sorted(database.assets[key].id for key in album.assets),
    }


def _asset(database: Database, asset: Asset) -> dict:
    story, path = database.story, story_path(database, asset)
    named = lambda groups: sorted(name for name, keys in groups.items() if asset.key in keys)
    locked = asset.visibility == "locked"
    return {
        "id": asset.id, "ownerEmail": asset.owner.email, "ownerName": asset.owner.name, "ownerStorageLabel": asset.owner.label,
        "originalFileName": asset.name, "type": asset.kind, "checksumHex": asset.sha1.hex(),
        "localDateTime": iso(asset.taken), "fileCreatedAt": iso(asset.created), "createdAt": iso(asset.added),
        "isFavorite": asset.favorite, "isArchived": asset.visibility == "archive" or (locked and database.era == "old"),
        "visibility": asset.visibility if database.era == "new" else None, "isTrashed": bool(asset.trashed),
        "originalPath": database.path(asset), "livePhotoVideoId": database.assets[asset.live].id if asset.live else None,
        "tags": named(story.tags), "people": named(story.people),
        "albums": sorted(album.id for album in story.albums if asset.key in album.assets),
        "exif": {"city": asset.place, "timeZone": f"UTC+{asset.hours}", "fileSizeInByte": len(asset.data)},
        "db": {
            "sidecarPath": database.sidecar(asset), "alg": "sha1-path" if asset.external else "sha1",
            "status": "trashed" if asset.trashed else "active", "deletedAt": iso(asset.trashed),
        },
        "pathUnderUploadLocation": path, "sidecarUnderUploadLocation": f"{path}.xmp" if asset.sidecar else None,
        "fileSize": len(asset.data), "external": bool(asset.external),
    }


def story_path(database: Database, asset: Asset) -> str | None:
    """Where the file lies below UPLOAD_LOCATION."""
    return None if asset.external else database.story.paths()[asset.key]
