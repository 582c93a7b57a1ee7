"""The database of a generated library, as pg_dump writes it: real tables and columns, whole to its last comment."""
import json
from pathlib import Path

from sample.database import column_names
from sample.tables import tables

COLUMNS = {table: column_names(definition) for table, definition in tables("new").items()}
COLUMNS["smart_search"] = ["assetId", "embedding"]

KEY = "bench0bench0bench0bench0bench0bench0bench0bench0bench0bench0"
HEAD = f"""--
-- PostgreSQL database dump
--

\\restrict {KEY}

-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

"""
TAIL = f"""--
-- PostgreSQL database dump complete
--

\\unrestrict {KEY}

"""


def template(table: str, **values: str) -> str:
    """A row of `table` for `%`: what `values` name, and null for the other columns."""
    unknown = values.keys() - COLUMNS[table]
    assert not unknown, f"{table} has no {unknown}"
    return "\t".join(values.get(column, r"\N") for column in COLUMNS[table])


USER = template(
    "user", id="%(id)s", email="%(name)s@example.org", password="$2b$10$none", createdAt="2024-01-01 00:00:00+00", profileImagePath="",
    isAdmin="%(admin)s", shouldChangePassword="f", oauthId="", updatedAt="2024-01-01 00:00:00+00", name="%(name)s", quotaUsageInBytes="0", status="active",
)
ASSET = template(
    "asset", id="%(id)s", ownerId="%(owner)s", type="%(type)s", originalPath="%(root)s/%(path)s", fileCreatedAt="%(time)s", fileModifiedAt="%(time)s",
    isFavorite="f", checksum="\\\\x%(sha1)s", updatedAt="%(time)s", createdAt="%(time)s", originalFileName="%(name)s", isOffline="f", isExternal="%(external)s",
    localDateTime="%(time)s", status="active", updateId="%(id)s", visibility="timeline", width="4032", height="3024", isEdited="f", checksumAlgorithm="sha1",
)
EXIF = template(
    "asset_exif", assetId="%(id)s", make="Apple", model="iPhone 15 Pro", exifImageWidth="4032", exifImageHeight="3024", fileSizeInByte="%(size)d",
    orientation="6", dateTimeOriginal="%(time)s", modifyDate="%(time)s", lensModel="back camera 6.86mm f/1.78", fNumber="1.78", focalLength="6.86",
    iso="%(iso)d", latitude="52.5%(iso)d", longitude="13.4%(iso)d", city="Berlin", state="Berlin", country="Germany", description="", exposureTime="1/%(iso)d",
    timeZone="UTC+2", updatedAt="%(time)s", updateId="%(id)s",
)
PREVIEW = template(
    "asset_file", id="%(file)s", assetId="%(id)s", createdAt="%(time)s", updatedAt="%(time)s", type="preview", path="/data/thumbs/%(id)s_preview.jpeg",
    updateId="%(file)s", isEdited="f", isProgressive="f", isTransparent="f",
)
SIDECAR = PREVIEW.replace("preview\t/data/thumbs/%(id)s_preview.jpeg", "sidecar\t/data/%(path)s.xmp")
ALBUM = template(
    "album", id="%(id)s", albumName="%(name)s", createdAt="2024-01-01 00:00:00+00", updatedAt="2024-01-01 00:00:00+00", description="",
    isActivityEnabled="t", order="desc",
)
MEMBER = template("album_user", albumId="%(id)s", userId="%(owner)s", role="owner")
ALBUM_ASSET = template("album_asset", albumId="%(album)s", assetId="%(id)s", createdAt="%(time)s")


class Database:
    """Rows by table, each a line of a COPY block."""

    def __init__(self, users: dict[str, str]):
        self.rows: dict[str, list[str]] = {table: [] for table in COLUMNS}
        for number, (name, ident) in enumerate(users.items()):
            self.rows["user"].append(USER % {"id": ident, "name": name, "admin": "t" if number == 0 else "f"})
        location = json.dumps({"location": "/data"})
        self.rows["system_metadata"].append(template("system_metadata", key="MediaLocation", value=location))
        self.rows["version_history"].append(template("version_history", id=KEY[:8], createdAt="2026-01-01 00:00:00+00", version="3.1.0"))
        self.rows["kysely_migrations"].append(template("kysely_migrations", name="1777667825574-Bench", timestamp="2026-04-01T12:00:01.000Z"))

    def add_asset(self, asset: dict) -> None:
        """Adds an asset: its row, its exif row, its preview, its sidecar."""
        self.rows["asset"].append(ASSET % asset)
        self.rows["asset_exif"].append(EXIF % asset)
        self.rows["asset_file"].append(PREVIEW % asset)
        if asset["sidecar"]:
            self.rows["asset_file"].append(SIDECAR % asset)

    def add_album(self, album: dict, assets: list[dict]) -> None:
        """Adds an album of its owner's assets."""
        self.rows["album"].append(ALBUM % album)
        self.rows["album_user"].append(MEMBER % album)
        self.rows["album_asset"] += [ALBUM_ASSET % {"album": album["id"], **asset} for asset in assets]

    def write(self, path: Path) -> None:
        """Writes the dump."""
        with path.open("w", encoding="utf-8", newline="\n", buffering=1 << 20) as out:
            out.write(HEAD)
            for table, rows in self.rows.items():
                names = ", ".join(f'"{column}"' for column in COLUMNS[table])
                out.write(f'CREATE TABLE public."{table}" (x text);\n\n')
                out.write(f'COPY public."{table}" ({names}) FROM stdin;\n')
                out.writelines(row + "\n" for row in rows)
                out.write("\\.\n\n\n")
            out.write(TAIL)
