"""Real, small pictures and stand-ins for videos, from a seed and the standard library alone."""
import hashlib
import random
import struct
import zlib


def noise(seed: str, size: int) -> bytes:
    """Bytes that do not shrink, the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def jpeg(seed: str, blocks: int = 24) -> bytes:
    """A colour JPEG of blocks x blocks squares, 8 pixels each (baseline, one DC value a block)."""
    rng = random.Random(seed)
    segments = [
        (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
        (0xFE, f"shoebox sample {seed}".encode()),
        (0xDB, b"\0" + b"\x08" * 64),
        (0xC0, struct.pack(">BHHB", 8, blocks * 8, blocks * 8, 3) + b"\1\x11\0\2\x11\0\3\x11\0"),
        (0xC4, b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12))),  # DC: every length takes four bits
        (0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0"),  # AC: "end of block" takes one
        (0xDA, b"\3\1\0\2\0\3\0\0\x3f\0"),
    ]
    head = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + head + _scan(rng, blocks) + b"\xff\xd9"


def _scan(rng: random.Random, blocks: int) -> bytes:
    """The entropy-coded blocks of a picture that drifts from colour to colour."""
    bits, last, colour = [], [0, 0, 0], [rng.randrange(-90, 90) for _ in range(3)]
    for _ in range(blocks * blocks):
        colour = [max(-120, min(120, value + rng.randrange(-12, 13))) for value in colour]
        for component in range(3):
            bits.append(_difference(colour[component] - last[component]) + "0")
            last[component] = colour[component]
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def _difference(value: int) -> str:
    """A DC difference: its length in four bits, then the value (ITU T.81, F.1.2.1)."""
    length = abs(value).bit_length()
    coded = value if value > 0 else value + (1 << length) - 1
    return f"{length:04b}" + (f"{coded:0{length}b}" if length else "")


def png(seed: str, side: int = 96) -> bytes:
    """A screenshot-like PNG: stripes."""
    rng = random.Random(seed)
    colours = [bytes(rng.randrange(256) for _ in range(3)) for _ in range(8)]
    rows = b"".join(b"\0" + colours[y * 8 // side] * side for y in range(side))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(seed: str, width: int = 1024, height: int = 800) -> bytes:
    """An uncompressed colour TIFF, as scanners make them: large, and it shrinks."""
    base = random.Random(seed).randrange(256)
    row = bytes((base + x // 16) % 256 for x in range(width) for _ in range(3))
    size = len(row) * height
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 2), (273, 4, 8), (277, 3, 3), (278, 4, height), (279, 4, size)]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + (struct.pack("<I", value) if kind == 4 else struct.pack("<HH", value, 0))
        for tag, kind, value in tags
    )
    return b"II*\0" + struct.pack("<I", 8 + size) + row * height + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def boxed(brand: bytes, seed: str, size: int) -> bytes:
    """An ISO media file (HEIC, MOV, MP4) with the right head and noise for content. Not playable."""
    head = struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\2\0" + brand + b"mif1"
    return head + struct.pack(">I", size + 8) + b"mdat" + noise(seed, size)


def motion_photo(seed: str, video: bytes) -> bytes:
    """An Android motion photo: a JPEG with the video behind it."""
    return jpeg(seed) + video


def xmp(description: str, rating: int) -> bytes:
    """A sidecar as photo programs write it."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'  <rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{rating}">\n'
        f"   <!-- {description} -->\n"
        "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end=\"w\"?>\n"
    ).encode()
