"""Libraries as Immich keeps them: the same bytes for the same arguments. Photos are noise, as compressed media is to a compressor."""
import hashlib
import os
import random
import uuid
from datetime import datetime, timezone
from pathlib import Path

from .dump import Database

FOLDERS = ("backups", "encoded-video", "library", "profile", "thumbs", "upload")
USERS = ("Ann", "Bo", "Cleo", "Dan")
BASE = 1_700_000_000
MAY = 1_714_564_800  # 2024-05-01 12:00 UTC
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")
XMP = """<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>
<rdf:Description rdf:about='' xmlns:exif='http://ns.adobe.com/exif/1.0/' exif:GPSLatitude='{:.6f}' exif:GPSLongitude='{:.6f}'/>
</rdf:RDF></x:xmpmeta>
"""


class Library:
    """UPLOAD_LOCATION below `folder`, and the database that knows its files."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.random = folder, random.Random(seed)
        self.users = {name: self.ident() for name in USERS}
        self.database = Database(self.users)
        self.assets: list[dict] = []
        self.made: set[str] = set()
        self.bytes = 0
        for name in FOLDERS:
            (folder / name).mkdir(parents=True)
            (folder / name / ".immich").write_bytes(b"1775044800123")

    def ident(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def noise(self, size: int) -> bytes:
        """A picture's worth of bytes. In pieces: `randbytes` makes one large number of them."""
        pieces = [self.random.randbytes(min(1 << 20, size - at)) for at in range(0, size, 1 << 20)]
        return JPEG + b"".join(pieces)[len(JPEG):]

    def add(self, extension: str, data: bytes, sidecar: bool = False, owner: str = "", seconds: int = 0) -> dict:
        """Adds an asset, its file in the fan-out of `upload/`; whose it is and when it was taken is left to chance if not said."""
        ident, owner = self.ident(), owner or self.random.choice(list(self.users.values()))
        path = f"upload/{owner}/{ident[:2]}/{ident[2:4]}/{ident}.{extension}"
        seconds = seconds or BASE + self.random.randrange(60_000_000)
        self.write(path, data, seconds)
        if sidecar:
            self.write(path + ".xmp", XMP.format(self.random.uniform(-60, 60), self.random.uniform(-180, 180)).encode(), seconds)
        asset = {
            "id": ident, "owner": owner, "path": path, "type": "VIDEO" if extension in ("mp4", "mov") else "IMAGE", "sidecar": sidecar,
            "time": datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S+00"), "sha1": hashlib.sha1(data).hexdigest(),
            "name": f"IMG_{len(self.assets):06d}.{extension.upper()}", "size": len(data), "iso": self.random.randrange(32, 3200), "file": self.ident(),
            "root": "/data", "external": "f",
        }
        self.assets.append(asset)
        self.database.add_asset(asset)
        return asset

    def add_albums(self, number: int) -> None:
        """Adds albums of up to 200 photos each."""
        for index in range(number):
            owner = list(self.users.values())[index % len(self.users)]
            chosen = [asset for asset in self.random.sample(self.assets, min(200, len(self.assets))) if asset["owner"] == owner]
            self.database.add_album({"id": self.ident(), "name": f"Album {index}", "owner": owner}, chosen)

    def write(self, path: str, data: bytes, seconds: int) -> None:
        full = f"{self.folder}/{path}"
        parent = full.rpartition("/")[0]
        if parent not in self.made:
            os.makedirs(parent, exist_ok=True)
            self.made.add(parent)
        with open(full, "wb", buffering=0) as out:
            out.write(data)
        os.utime(full, (seconds, seconds))
        self.bytes += len(data)


def many_files(folder: Path, number: int) -> Library:
    """`number` files of 1 to 4 KB: what a library costs beside its bytes."""
    library = Library(folder, 1)
    for _ in range(number):
        library.add("jpg", library.noise(library.random.randrange(1_000, 4_000)))
    library.add_albums(40)
    return library


def media(folder: Path, share: float) -> Library:
    """Photos and videos, 3.2 GB where `share` is 1: JPEG, HEIC, RAW, live photos, sidecars, a 400 MB video, duplicates."""
    library = Library(folder, 2)
    size = lambda mean, spread: int(mean * library.random.lognormvariate(0, spread))
    photos = []
    for index in range(int(400 * share)):
        photos.append(library.add("jpg", library.noise(min(15_000_000, size(3_500_000, 0.45))), index % 2 == 0))
    for index in range(int(180 * share)):
        photos.append(library.add("heic", library.noise(size(1_500_000, 0.3)), index % 3 == 0))
        if index % 3 == 1:
            library.add("mov", library.noise(size(2_000_000, 0.3)))
    for _ in range(int(8 * share)):
        library.add("dng", library.noise(25_000_000))
    for megabytes in (400, 100, 100, 100, 100, 50):
        library.add("mp4", library.noise(int(megabytes * 1e6 * share)))
    for photo in library.random.sample(photos, int(50 * share)):
        library.add("jpg", (folder / photo["path"]).read_bytes())
    library.add_albums(8)
    return library


def gallery(folder: Path, plain: Path, number: int, originals: list[bytes], previews: list[dict[str, bytes]], large: int, extension: str) -> Library:
    """`number` photos of one person and one month, with what Immich makes of them; `plain` has the same photos in one folder.

    The first `large` are `originals` in turn, each with a few bytes of its own behind the picture; the others are their
    thumbnails under a photo's name, since nobody has room for 10,000 large ones and nobody sees them on the first page.
    """
    library = Library(folder, 4)
    plain.mkdir()
    owner = library.users["Ann"]
    for index in range(number):
        data = (originals if index < large else [made["thumbnail.webp"] for made in previews])[index % len(originals)]
        asset = library.add(extension, data + index.to_bytes(4, "big"), owner=owner, seconds=MAY + 60 * index)
        for kind, picture in previews[index % len(previews)].items():
            library.write(f"thumbs/{owner}/{asset['id'][:2]}/{asset['id'][2:4]}/{asset['id']}_{kind}", picture, MAY)
        os.link(folder / asset["path"], plain / asset["name"])
    return library


def nights(folder: Path, megabytes: int) -> tuple[Path, Path, str]:
    """Two dumps of the same library a night apart, and what changed: one row in 200 in its place, one in 2,000 added.

    Nearly all of a real dump is the embeddings of machine learning, 512 printed floats a photo.
    """
    library = Library(folder / "library", 3)
    pool = [f"{library.random.gauss(0, 0.044):.9g}" for _ in range(1 << 19)]
    embedding = lambda ident: f"{ident}\t[{','.join(library.random.choices(pool, k=512))}]"
    asset = library.add("jpg", library.noise(2000))
    rows = library.database.rows

    def add() -> None:
        ident = library.ident()
        # Of an external library that is not covered: the rows are what matters here, and no file is missed.
        own = {"id": ident, "path": asset["path"].replace(asset["id"], ident), "sha1": f"{library.random.getrandbits(160):040x}", "file": library.ident()}
        library.database.add_asset({**asset, **own, "root": "/mnt", "external": "t"})
        rows["smart_search"].append(embedding(ident))

    for _ in range(int(megabytes * 1e6 / 7_960)):
        add()
    first, second = folder / "night1.sql", folder / "night2.sql"
    library.database.write(first)
    changed = 0
    for table in ("asset", "asset_exif", "asset_file", "smart_search"):
        fields = {"smart_search": lambda row: embedding(row[:36])}
        for index in range(len(rows[table])):
            if library.random.random() < 0.005:
                change = fields.get(table, lambda row: row.replace("2023-", "2022-").replace("2024-", "2021-").replace("2025-", "2020-"))
                rows[table][index] = change(rows[table][index])
                changed += 1
    added = len(rows["asset"]) // 2000 + 1
    for _ in range(added):
        add()
    library.database.write(second)
    total = sum(map(len, rows.values()))
    return first, second, f"{changed + 4 * added:,} of {total:,} rows changed or added"
