"""The rows of the sample library, as SQL that psql loads into an empty database."""
import json
import re
from datetime import datetime, timezone

from .story import EXTERNAL_ROOT, USERS, Asset, Story, ident
from .tables import ENUMS, GROUPS_KEYS, tables

PLACES = {"Roma": (41.8919, 12.5113, "Lazio", "Italy", "IT"), "Berlin": (52.52437, 13.41053, "Berlin", "Germany", "DE")}
VERSIONS = {"groups": "3.3.1", "new": "3.1.0", "old": "1.132.3"}
PREFIX = {"new": "/data/", "old": "upload/"}
BORN = datetime(2026, 4, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)


def column_names(definition: str) -> list[str]:
    """The names in a table's column definitions."""
    return [column.split()[0].strip('"') for column in definition.split(", ")]


def copy_value(value) -> str:
    """A value as COPY's text format has it (PostgreSQL manual, COPY)."""
    if value is None:
        return r"\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, bytes):
        return r"\\x" + value.hex()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ").replace("+00:00", "+00")
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    escapes = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
    return re.sub(r"[\\\t\n\r]", lambda found: escapes[found[0]], str(value))


class Database:
    """The rows by table. A row names its columns; what it does not name is null, and what its table lacks is dropped."""

    def __init__(self, story: Story, era: str):
        self.story, self.tables, self.enums, self.version = story, tables(era), ENUMS[era], VERSIONS[era]
        # With groups, all else is as in the new era.
        self.era, self.has_groups = "new" if era == "groups" else era, era == "groups"
        self.rows = {table: [] for table in self.tables}
        self.paths = {key: PREFIX[self.era] + path for key, path in story.paths().items()}
        self.assets = {asset.key: asset for asset in story.assets}
        for fill in (self._users, self._assets, self._albums, self._tags, self._people, self._server):
            fill()

    def name(self, new: str, old: str) -> str:
        """A table's or column's name in this era."""
        return new if self.era == "new" else old

    def add(self, table: str, **values) -> None:
        stamps = {"createdAt": BORN, "updatedAt": BORN, "updateId": ident("update", table, str(len(self.rows[table])))}
        self.rows[table].append(stamps | values)

    def path(self, asset: Asset) -> str:
        """`originalPath` as this era writes it."""
        return asset.external or self.paths[asset.key]

    def sidecar(self, asset: Asset) -> str | None:
        return self.path(asset) + ".xmp" if asset.sidecar else None

    def picture(self, user) -> str:
        """The profile picture's path; only one user has one."""
        return f"{PREFIX[self.era]}profile/{user.id}/{ident('profile', user.key)}.jpg" if user.key == "zoe" else ""

    def _users(self) -> None:
        for user in USERS:
            if self.has_groups:
                self.add("cluster_group", id=ident("cluster", user.key))
            self.add(
                self.name("user", "users"), id=user.id, email=user.email, password="$2b$10$not.a.real.hash", profileImagePath=self.picture(user),
                isAdmin=user.admin, shouldChangePassword=False, oauthId="", storageLabel=user.label, name=user.name, quotaUsageInBytes=0,
                status="active", profileChangedAt=BORN, clusterGroupId=ident("cluster", user.key),
            )
            token = bytes.fromhex(ident("session", user.key).replace("-", "") * 2)
            self.add(self.name("session", "sessions"), id=ident("session", user.key), token=token, userId=user.id, deviceType="", deviceOS="", isPendingSyncReset=False)

    def _assets(self) -> None:
        stacks = {}
        for asset in self.story.assets:
            self._asset(asset)
            self._exif(asset)
            self._files(asset)
            if asset.stack:
                stacks.setdefault(asset.stack, asset)
        for key, first in stacks.items():
            self.add(self.name("stack", "asset_stack"), id=ident("stack", key), primaryAssetId=first.id, ownerId=first.owner.id)
        if self.story.external:
            self.add(
                self.name("library", "libraries"), id=ident("library"), name="Family NAS", ownerId=USERS[0].id,
                importPaths="{" + EXTERNAL_ROOT + "}", exclusionPatterns="{**/@eaDir/**}", refreshedAt=BORN,
            )

    def _asset(self, asset: Asset) -> None:
        live = self.assets[asset.live].id if asset.live else None
        video = asset.kind == "VIDEO"
        self.add(
            self.name("asset", "assets"), id=asset.id, ownerId=asset.owner.id, type=asset.kind, originalPath=self.path(asset),
            fileCreatedAt=asset.created, fileModifiedAt=asset.added, isFavorite=asset.favorite, checksum=asset.sha1, livePhotoVideoId=live,
            createdAt=asset.added, updatedAt=asset.added, originalFileName=asset.name, isOffline=False, isExternal=bool(asset.external),
            libraryId=ident("library") if asset.external else None, deletedAt=asset.trashed, localDateTime=asset.taken,
            stackId=ident("stack", asset.stack) if asset.stack else None, status="trashed" if asset.trashed else "active",
            visibility=asset.visibility, isEdited=False, checksumAlgorithm="sha1-path" if asset.external else "sha1", width=192, height=192,
            duration=self.name(2500, "00:00:02.500") if video else None, deviceAssetId=asset.key, deviceId="sample",
            encodedVideoPath="" if video else None, isVisible=asset.visibility != "hidden", isArchived=asset.visibility in ("archive", "locked"),
            sidecarPath=self.sidecar(asset),
        )
        self.add("asset_job_status", assetId=asset.id, metadataExtractedAt=asset.added)

    def _exif(self, asset: Asset) -> None:
        latitude, longitude, state, country, _ = PLACES.get(asset.place, (None,) * 5)
        self.add(
            self.name("asset_exif", "exif"), assetId=asset.id, make="Samsung", model="Galaxy S23", exifImageWidth=192, exifImageHeight=192,
            fileSizeInByte=len(asset.data), dateTimeOriginal=asset.created, modifyDate=asset.taken, latitude=latitude, longitude=longitude,
            city=asset.place, state=state, country=country, description="", timeZone=f"UTC+{asset.hours}", rating=5 if asset.favorite else None,
        )

    def _files(self, asset: Asset) -> None:
        table, flags = self.name("asset_file", "asset_files"), {"isEdited": False, "isProgressive": False, "isTransparent": False}
        for kind, path in thumbnails(asset).items():
            self.add(table, id=ident(kind, asset.key), assetId=asset.id, type=kind, path=PREFIX[self.era] + path, **flags)
        if asset.sidecar and self.era == "new":
            self.add(table, id=ident("sidecar", asset.key), assetId=asset.id, type="sidecar", path=self.sidecar(asset), **flags)

    def _albums(self) -> None:
        for album in self.story.albums:
            cover = self.assets[album.assets[0]].id if album.assets else None
            self.add(
                self.name("album", "albums"), id=album.id, ownerId=album.owner.id, albumName=album.name, albumThumbnailAssetId=cover,
                description=album.description, isActivityEnabled=True, order="desc",
            )
            owner = ((album.owner, "owner"),) if self.era == "new" else ()
            for user, role in owner + album.shared:
                self.add(self.name("album_user", "albums_shared_users_users"), albumId=album.id, userId=user.id, albumsId=album.id, usersId=user.id, role=role)
            for key in album.assets:
                asset = self.assets[key].id
                self.add(self.name("album_asset", "albums_assets_assets"), albumId=album.id, assetId=asset, albumsId=album.id, assetsId=asset)

    def _tags(self) -> None:
        for value, keys in sorted(self.story.tags.items()):
            tag, levels = ident("tag", value), value.split("/")
            above = [ident("tag", "/".join(levels[:depth])) for depth in range(1, len(levels) + 1)]
            self.add(self.name("tag", "tags"), id=tag, userId=USERS[0].id, value=value, parentId=above[-2] if len(above) > 1 else None)
            for ancestor in above:
                self.add(self.name("tag_closure", "tags_closure"), id_ancestor=ancestor, id_descendant=tag)
            for key in keys:
                asset = self.assets[key].id
                self.add("tag_asset", assetId=asset, tagId=tag, assetsId=asset, tagsId=tag)

    def _people(self) -> None:
        for name, keys in self.story.people.items():
            person = ident("person", name)
            faces = [(ident("face", name, key), self.assets[key]) for key in keys]
            if self.has_groups:
                self.add("person_group", id=person, clusterGroupId=ident("cluster", USERS[0].key))
            self.add(
                "person", id=person, personGroupId=person, ownerId=USERS[0].id, name=name, thumbnailPath="", isHidden=not name, isFavorite=name == "Bo",
                birthDate="1940-02-29" if name.startswith("Grand") else None, faceAssetId=faces[0][0] if faces else None,
            )
            for face, asset in faces:
                self.add(
                    self.name("asset_face", "asset_faces"), assetId=asset.id, personId=person, personGroupId=person, imageWidth=192, imageHeight=192, boundingBoxX1=20,
                    boundingBoxY1=20, boundingBoxX2=80, boundingBoxY2=90, id=face, sourceType="machine-learning", isVisible=True,
                )

        if self.has_groups:
            self._share(ident("person", "Bo"))

    def _share(self, group: str) -> None:
        """The first user shares a person with the second, who has a row of the same group by that."""
        giver, receiver = USERS[0].id, USERS[1].id
        self.add("person_user", personGroupId=group, sharedById=giver, sharedWithId=receiver, role="read")
        later = BORN.replace(month=5)
        self.add(
            "person", personGroupId=group, ownerId=receiver, name="Bo of mine", thumbnailPath="", isHidden=False, isFavorite=False,
            createdAt=later, updatedAt=later,
        )

    def _server(self) -> None:
        folders = ("thumbs", "upload", "backups", "library", "profile", "encoded-video")
        self.add("system_metadata", key="system-flags", value={"mountChecks": dict.fromkeys(folders, True)})
        if self.era == "new":
            self.add("system_metadata", key="MediaLocation", value={"location": "/data"})
        if self.story.state == 2:
            self.add("system_metadata", key="system-config", value={"storageTemplate": {"enabled": True}})
        self.add("version_history", id=ident("version"), createdAt=BORN, version=self.version)
        self.add("kysely_migrations", name="1744910873969-InitialMigration", timestamp="2026-04-01T12:00:00.000Z")
        if self.has_groups:
            newest = "1790693088454-AddPersonUserTableSharedBySharedWithConstraint"
            self.add("kysely_migrations", name=newest, timestamp="2026-11-01T12:00:00.000Z")
        if self.era == "new":
            self.add("kysely_migrations", name="1777667825574-Sample", timestamp="2026-04-01T12:00:01.000Z")
        else:
            self.add("migrations", id=1, timestamp=1744910873956, name="AddMissingIndex1744910873956")
        self.add("kysely_migrations_lock", id="migration_lock", is_locked=0)
        for number in range(300):
            self._place(number)

    def _place(self, number: int) -> None:
        name, (latitude, longitude, state, _, code) = list(PLACES.items())[number % 2]
        self.add(
            "geodata_places", id=900_000 + number, name=f"{name} {number}", longitude=longitude + number / 1000, latitude=latitude,
            countryCode=code, admin1Code="07", admin2Code="", modificationDate="2026-01-01", admin1Name=state, alternateNames=name,
        )

    def sql(self) -> str:
        """Everything: types, tables, rows, keys."""
        parts = ["-- A sample library for shoebox. Load it into an empty database: psql --set ON_ERROR_STOP=on -f THIS_FILE\n"]
        parts.append("SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n")
        for name, values in self.enums.items():
            parts.append(f"CREATE TYPE public.{name} AS ENUM ({', '.join(repr(value) for value in values)});\n")
        for table, definition in self.tables.items():
            columns = ",\n    ".join(definition.split(", "))
            parts.append(f'CREATE TABLE public."{table}" (\n    {columns}\n);\n')
        parts += [self._copy(table) for table in self.tables]
        parts += [
            f'ALTER TABLE ONLY public."{table}" ADD CONSTRAINT "{table}_pkey" PRIMARY KEY (id);\n'
            for table, definition in self.tables.items() if column_names(definition)[0] == "id"
        ]
        parts += [GROUPS_KEYS] if self.has_groups else []
        return "\n".join(parts)

    def _copy(self, table: str) -> str:
        columns = column_names(self.tables[table])
        names = ", ".join(f'"{column}"' for column in columns)
        lines = ["\t".join(copy_value(row.get(column)) for column in columns) for row in self.rows[table]]
        return "\n".join([f'COPY public."{table}" ({names}) FROM stdin;', *lines, "\\.\n"])


def thumbnails(asset: Asset) -> dict[str, str]:
    """The generated files of an asset, by type, below UPLOAD_LOCATION."""
    if asset.visibility == "hidden":
        return {}
    folder = f"thumbs/{asset.owner.id}/{asset.id[:2]}/{asset.id[2:4]}/{asset.id}"
    return {"preview": f"{folder}_preview.jpeg", "thumbnail": f"{folder}_thumbnail.webp"}
