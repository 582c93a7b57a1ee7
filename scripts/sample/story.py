"""What is in the sample library: its people, photos and albums, before and after a summer.

Everything comes from fixed names, so that two runs make the same ids and bytes. The second state differs from the
first as a real library does after a while: a photo deleted for good, one more in the trash, new ones, an album renamed,
and the storage template switched on, which moved nearly every file.
"""
import hashlib
import re
import unicodedata
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from . import media

NAMESPACE = uuid.UUID("5b0e7f4e-6d1a-4c39-9e0b-73686f65626f")
UTC = timezone.utc


def ident(*words: str) -> str:
    """The id that belongs to `words`."""
    return str(uuid.uuid5(NAMESPACE, "/".join(words)))


@dataclass(frozen=True)
class User:
    key: str
    name: str
    label: str | None = None
    admin: bool = False

    @property
    def id(self) -> str:
        return ident("user", self.key)

    @property
    def email(self) -> str:
        return f"{self.key}@example.com"


@dataclass(frozen=True)
class Asset:
    key: str
    owner: User
    name: str
    data: bytes = field(repr=False)
    taken: datetime
    kind: str = "IMAGE"
    hours: int = 2
    added: datetime = datetime(2026, 5, 1, 8, tzinfo=UTC)
    favorite: bool = False
    visibility: str = "timeline"
    trashed: datetime | None = None
    live: str | None = None
    sidecar: bytes | None = field(default=None, repr=False)
    stack: str | None = None
    motion: bool = False
    place: str | None = None
    external: str | None = None

    @property
    def id(self) -> str:
        return ident("asset", self.key)

    @property
    def sha1(self) -> bytes:
        """What Immich stores: of the bytes, but for external files of the path."""
        return hashlib.sha1(f"path:{self.external}".encode() if self.external else self.data).digest()

    @property
    def created(self) -> datetime:
        """The instant; `taken` is the clock on the wall."""
        return self.taken - timedelta(hours=self.hours)

    @property
    def extension(self) -> str:
        return self.name.rsplit(".", 1)[1]

    def uploaded_path(self) -> str:
        """Where the file lies as long as there is no storage template."""
        stem = ident("file", self.key)
        if self.motion:
            return f"encoded-video/{self.owner.id}/{stem[:2]}/{stem[2:4]}/{stem}-MP.mp4"
        return f"upload/{self.owner.id}/{stem[:2]}/{stem[2:4]}/{stem}.{self.extension}"


@dataclass(frozen=True)
class Album:
    key: str
    name: str
    owner: User
    assets: tuple[str, ...] = ()
    shared: tuple[tuple[User, str], ...] = ()
    description: str = ""

    @property
    def id(self) -> str:
        return ident("album", self.key)


ANN = User("ann", "Ann Lee", "admin", admin=True)
ZOE = User("zoe", "Zoë Müller-Łukasz 日本")
DAN = User("daniil", "Даниил О'Коннор", "daniil_family")
USERS = (ANN, ZOE, DAN)
EXTERNAL_ROOT = "/mnt/external/family"


@dataclass(frozen=True)
class Story:
    state: int
    assets: tuple[Asset, ...]
    albums: tuple[Album, ...]
    tags: dict[str, tuple[str, ...]]
    people: dict[str, tuple[str, ...]]
    external: bool

    def paths(self) -> dict[str, str]:
        """The path of each asset's file below UPLOAD_LOCATION, by key; external ones are left out."""
        inside = [asset for asset in self.assets if not asset.external]
        if self.state == 1:
            return {asset.key: asset.uploaded_path() for asset in inside}
        return templated(inside)


def templated(assets: list[Asset]) -> dict[str, str]:
    """Immich's default storage template: `library/LABEL/2024/2024-05-12/NAME.jpg`; clashing names get `+1`."""
    stills = {asset.live: asset for asset in assets if asset.live}
    paths, taken = {}, set()
    for asset in assets:
        if asset.trashed or asset.motion:
            paths[asset.key] = asset.uploaded_path()
            continue
        extension = {"jpeg": "jpg"}.get(asset.extension.lower(), asset.extension.lower())
        day = stills.get(asset.key, asset).taken
        stem = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "", asset.name.rsplit(".", 1)[0]).rstrip(". ")
        folder = f"library/{asset.owner.label or asset.owner.id}/{day:%Y}/{day:%Y-%m-%d}"
        path, clash = f"{folder}/{stem}.{extension}", 0
        while path in taken:
            clash += 1
            path = f"{folder}/{stem}+{clash}.{extension}"
        taken.add(path)
        paths[asset.key] = path
    return paths


def day(text: str) -> datetime:
    """`2024-05-12 14:30` as the clock on the wall."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def fillers(count: int) -> list[Asset]:
    """Plain photos of plain days, so that folders and albums have something in them."""
    owners = (ANN, ANN, ZOE, DAN)
    return [
        Asset(f"filler-{n}", owners[n % 4], f"IMG_{n:04d}.JPG", media.jpeg(f"filler-{n}"),
              day("2022-01-15 09:00") + timedelta(days=17 * n, minutes=n), place=("Roma", "Berlin", None)[n % 3])
        for n in range(1, count + 1)
    ]


def named() -> list[Asset]:
    """The photos that somebody will look for, and those whose names or kinds make trouble."""
    same = media.jpeg("the same photo twice")
    clip = media.boxed(b"qt  ", "beach clip", 90_000)
    motion = media.boxed(b"mp42", "motion", 20_000)
    nfc, nfd = (unicodedata.normalize(form, "Été à la plage.jpg") for form in ("NFC", "NFD"))
    make = lambda key, owner, name, taken, data=None, **more: Asset(key, owner, name, data or media.jpeg(key), day(taken), **more)
    return [
        make("birthday", ANN, "Birthday cake.jpg", "2026-05-02 16:20", added=datetime(2026, 5, 2, 18, tzinfo=UTC)),
        make("birthday-2", ANN, "Birthday cake (2).jpg", "2026-05-02 16:21", favorite=True, added=datetime(2026, 5, 2, 18, tzinfo=UTC)),
        make("clash-1", ANN, "IMG_0001.JPG", "2024-03-09 10:00", favorite=True, sidecar=media.xmp("the first", 5)),
        make("clash-2", ANN, "IMG_0001.JPG", "2024-03-09 18:30"),
        make("clash-3", ANN, "img_0001.jpg", "2024-03-09 18:31"),
        make("rome-1", ANN, "Colosseum.jpeg", "2024-05-12 09:30", place="Roma"),
        make("rome-2", ANN, "Trevi — \"night\".jpg", "2024-05-12 23:30", place="Roma"),
        make("rome-3", ZOE, "DSC_0100.JPG", "2024-05-13 00:10", place="Roma", sidecar=media.xmp("Zoë's", 4)),
        make("rome-heic", ANN, "IMG_5001.HEIC", "2024-05-13 11:00", media.boxed(b"heic", "rome-heic", 60_000), live="rome-mov", place="Roma"),
        make("rome-mov", ANN, "IMG_5001.MOV", "2024-05-13 11:00", clip, kind="VIDEO", visibility="hidden"),
        make("motion-still", DAN, "PXL_20250301_101500.MP.jpg", "2025-03-01 10:15", media.motion_photo("motion-still", motion), live="motion-video"),
        make("motion-video", DAN, "PXL_20250301_101500.MP.mp4", "2025-03-01 10:15", motion, kind="VIDEO", visibility="hidden", motion=True),
        make("video", ANN, "First steps.mp4", "2023-08-06 15:00", media.boxed(b"isom", "video", 3_300_000), kind="VIDEO", favorite=True),
        make("scan", ZOE, "scan 1958.tif", "1958-06-14 12:00", media.tiff("scan"), hours=1),
        make("screenshot", DAN, "Screenshot_2025-01-01.png", "2025-01-01 00:00", media.png("screenshot"), visibility="archive"),
        make("locked", ANN, "passport.jpg", "2025-02-02 09:00", visibility="locked"),
        make("trash-1", ANN, "blurred.jpg", "2026-04-11 17:00", trashed=datetime(2026, 4, 20, 7, 30, tzinfo=UTC)),
        make("same-ann", ANN, "shared by chat.jpg", "2025-12-24 19:00", same),
        make("same-zoe", ZOE, "WhatsApp Image 2025-12-24.jpeg", "2025-12-24 19:00", same),
        make("stack-1", ZOE, "burst_1.jpg", "2025-07-07 07:07", stack="burst"),
        make("stack-2", ZOE, "burst_2.jpg", "2025-07-07 07:07", stack="burst"),
        make("nfc", ZOE, nfc, "2023-07-14 14:00"),
        make("nfd", ZOE, nfd, "2023-07-14 14:01"),
        make("emoji", DAN, "👨‍👩‍👧 день рождения.jpg", "2024-10-05 13:00", hours=3),
        make("rtl", DAN, "תמונה של חתול.jpg", "2024-10-06 13:00", hours=3),
        make("tab", DAN, "a\tb\\c: \"d\" 'e'.jpg", "2024-10-07 13:00", hours=3),
        make("dots", ANN, "..jpg", "2024-10-08 13:00"),
        make("con", ANN, "CON.jpg", "2024-10-09 13:00"),
        make("dash", ANN, "-rf .jpg", "2024-10-10 13:00"),
        make("long", ZOE, "ü" * 90 + ".jpg", "2024-10-11 13:00"),
        make("evening", ANN, "New Year.jpg", "2024-12-31 23:59", hours=13),
    ]


def added_later() -> list[Asset]:
    """What was uploaded between the two states."""
    later = datetime(2026, 8, 20, 20, tzinfo=UTC)
    return [
        Asset(f"summer-{n}", owner, f"IMG_{9000 + n}.JPG", media.jpeg(f"summer-{n}"), day(f"2026-08-0{n} 12:0{n}"), added=later, place="Roma")
        for n, owner in ((1, ANN), (2, ANN), (3, ZOE), (4, DAN))
    ]


def external_assets() -> list[Asset]:
    """Files of an external library: Immich hashes their path, not their bytes."""
    names = ("grandpa.jpg", "sub/größe 1.jpg")
    return [
        Asset(f"external-{name}", ANN, name.rsplit("/", 1)[-1], media.jpeg(name), day("1999-09-09 09:09"), external=f"{EXTERNAL_ROOT}/{name}")
        for name in names
    ]


def albums(state: int) -> tuple[Album, ...]:
    """Albums with the names that people give, and those that no file system likes."""
    rome = ("rome-1", "rome-2", "rome-3", "rome-heic") + (("summer-1", "summer-3") if state == 2 else ())
    party = ("birthday", "birthday-2") if state == 1 else ("birthday-2",)
    return (
        Album("rome", "Rome" if state == 1 else "Roma 2024/2026", ANN, rome, ((ZOE, "editor"), (DAN, "viewer")), "with Zoë & Даниил"),
        Album("party", "Birthday", ANN, party),
        Album("holiday-1", "Holiday", ANN, ("filler-1", "filler-2")),
        Album("holiday-2", "Holiday", ANN, ("video",), description="second of this name"),
        Album("dots", "..", ZOE, ("nfc", "nfd")),
        Album("none", "", DAN, ("emoji",)),
        Album("empty", "Nothing yet", DAN),
        Album("slash", "Trips/2024 / \\N \"odd\" \\. ", DAN, ("tab", "rtl")),
    )


def tell(state: int, photos: int, external: bool) -> Story:
    """The library in `state` 1 or 2."""
    assets = named() + fillers(photos) + (external_assets() if external else [])
    if state == 2:
        trashed = datetime(2026, 8, 25, 6, tzinfo=UTC)
        assets = [asset for asset in assets if asset.key != "birthday"] + added_later()
        assets = [replace(asset, trashed=trashed) if asset.key == "clash-3" else asset for asset in assets]
    keys = {asset.key for asset in assets}
    kept = lambda names: tuple(name for name in names if name in keys)
    return Story(
        state,
        tuple(assets),
        tuple(replace(album, assets=kept(album.assets)) for album in albums(state)),
        {"Trips/2024/Rome": kept(("rome-1", "rome-2")), "Trips/2024": (), "Trips": (), "plain": kept(("rome-1", "clash-1", "birthday"))},
        {"Grand-mère Élise": kept(("rome-1", "rome-2", "birthday-2")), "Bo": kept(("video", "birthday", "birthday-2")), "": kept(("clash-2",))},
        external,
    )
