"""Pictures of every kind that can be written here, and damage to their bytes by a seed."""

import io
import random
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

SIZE = (37, 23)  # (width, height)
EXTREMES = (0, 1, 2, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
# What may stand in EXIF: each tag with its kind, its count and its value.
_TAGS = (0x0112, 0x011A, 0x8769, 0x0100, 0x0201)


def picture(mode):
    """A gradient with a dot, in one of Pillow's modes."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    grey = ((x * 5 + y * 3) % 256).astype(np.uint8)
    colour = np.stack([grey, grey[::-1], 255 - grey, (x * 6).astype(np.uint8)], -1)
    if mode in ("I;16", "I;16B"):
        deep = (grey.astype(np.uint16) * 257).astype("<u2" if mode == "I;16" else ">u2")
        return Image.frombytes(mode, SIZE, deep.tobytes())
    if mode == "I":
        return Image.fromarray(grey.astype(np.int32) * 300)
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / 255)
    if mode == "LA":
        return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(colour[..., 3])])
    if mode in ("1", "L"):
        return Image.fromarray(grey).convert(mode)
    if mode == "RGBA":
        return Image.fromarray(colour)
    rgb = Image.fromarray(np.ascontiguousarray(colour[..., :3]))
    return rgb.quantize(16) if mode == "P" else rgb.convert(mode)


def saved(form, mode, **options):
    """The bytes of a picture in a format."""
    file = io.BytesIO()
    picture(mode).save(file, format=form, **options)
    return file.getvalue()


def exif(rng):
    """A block of EXIF that may make no sense."""
    order = rng.choice("<>")
    entries = b"".join(
        struct.pack(
            order + "HHII",
            rng.choice(_TAGS),
            rng.choice((0, 1, 2, 3, 4, 5, 7, 12, 13, 99)),
            rng.choice(EXTREMES),
            rng.choice((*EXTREMES, 6, 6 << 16)),
        )
        for _ in range(rng.randrange(6))
    )
    start, count = rng.choice((8, 8, 8, 0, 7, 2**31, 2**32 - 1)), rng.choice((1, 3, 5, 65535))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    body = struct.pack(order + "I", start) + struct.pack(order + "H", count) + entries
    return b"Exif\0\0" + mark + body + rng.randbytes(rng.randrange(9))


def _animated(form, **options):
    frames = [picture("RGB"), picture("RGB").rotate(180), picture("L").convert("RGB")]
    file = io.BytesIO()
    frames[0].save(file, format=form, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


def _plain_pnm(kind, channels, most):
    values = np.random.default_rng(kind).integers(0, most + 1, SIZE[0] * SIZE[1] * channels)
    top = "" if kind == 1 else f"\n{most}"
    body = " ".join(map(str, values))
    return f"P{kind}\n# a comment\n{SIZE[0]} {SIZE[1]}{top}\n{body}\n".encode()


@cache
def whole_pictures():
    """Name -> bytes of every kind of picture."""
    found = {}
    for form, modes in (
        ("PNG", "1 L LA P RGB RGBA I;16"), ("JPEG", "L RGB CMYK YCbCr"),
        ("GIF", "1 L P RGB RGBA"), ("WEBP", "RGB RGBA"), ("BMP", "1 L P RGB RGBA"),
        ("TIFF", "1 L LA P RGB RGBA CMYK YCbCr LAB I I;16 I;16B F"),
        ("JPEG2000", "L LA RGB RGBA I;16"), ("PPM", "1 L RGB I;16 I F"),
        # Kinds that are not read: refused by their content, whatever they are called.
        ("AVIF", "RGB RGBA"), ("ICO", "RGBA"), ("TGA", "RGB"), ("PCX", "RGB"), ("SGI", "RGB"),
        ("DDS", "RGBA"), ("DIB", "RGB"), ("PDF", "RGB"), ("EPS", "RGB"),
    ):  # fmt: skip
        for mode in modes.split():
            found[f"{form} {mode}"] = saved(form, mode)
    for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        found[f"TIFF {name}"] = saved("TIFF", "RGB", compression=name)
    found |= {
        "TIFF group4": saved("TIFF", "1", compression="group4"),
        "TIFF group3": saved("TIFF", "1", compression="group3"),
        "TIFF deep lzw": saved("TIFF", "I;16", compression="tiff_lzw"),
        "TIFF float deflate": saved("TIFF", "F", compression="tiff_adobe_deflate"),
        "TIFF big": saved("TIFF", "RGB", big_tiff=True),
        "TIFF strips": saved("TIFF", "RGB", tiffinfo={278: 4}, compression="tiff_lzw"),
        "TIFF pages": _animated("TIFF"),
        "JPEG progressive": saved("JPEG", "RGB", progressive=True),
        "JPEG fine": saved("JPEG", "RGB", subsampling=0, restart_marker_blocks=2),
        "JPEG upright": saved("JPEG", "RGB", exif=exif(random.Random(1))),
        "JPEG profile": saved("JPEG", "RGB", icc_profile=bytes(3000), comment=b"c" * 500),
        "MPO": _animated("MPO"),
        "PNG seen through": saved("PNG", "P", transparency=bytes(range(0, 160, 10))),
        "PNG grey key": saved("PNG", "L", transparency=40),
        "PNG colour key": saved("PNG", "RGB", transparency=(10, 20, 30)),
        "PNG animated": _animated("PNG"),
        "PNG profile": saved("PNG", "RGB", icc_profile=bytes(200), exif=exif(random.Random(2))),
        "GIF animated": _animated("GIF", duration=10, loop=0),
        "GIF seen through": saved("GIF", "P", transparency=3),
        "WEBP lossless": saved("WEBP", "RGBA", lossless=True),
        "WEBP animated": _animated("WEBP"),
        "WEBP turned": saved("WEBP", "RGB", exif=exif(random.Random(3))),
        "JPEG2000 raw": saved("JPEG2000", "RGB", no_jp2=True),
        "JPEG2000 tiles": saved("JPEG2000", "RGB", tile_size=(16, 16)),
        "PNM bits": _plain_pnm(1, 1, 1), "PNM grey": _plain_pnm(2, 1, 255),
        "PNM deep": _plain_pnm(2, 1, 65535), "PNM colour": _plain_pnm(3, 3, 99),
    }  # fmt: skip
    return found


def read_by_us(name):
    """Whether pictures of this kind are read, as they say themselves."""
    form = name.split()[0]
    return form in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "PPM", "PNM", "MPO")


def truncated(seed):
    """Name, bytes of the whole, and a beginning of them."""
    rng = random.Random(f"cut {seed}")
    name = rng.choice(sorted(whole_pictures()))
    content = whole_pictures()[name]
    return name, content, content[: rng.randrange(len(content))]


def damaged(seed):
    """What was done, in words, and the bytes that came of it."""
    rng = random.Random(seed)
    name = rng.choice(sorted(whole_pictures()))
    content = bytearray(whole_pictures()[name])
    how = rng.choice((_flip, _flip, _head, _head, _number, _number, _splice, _block, _exif, _ifd))
    for _ in range(rng.choice((1, 1, 2))):
        how(content, rng)
    if content.startswith(b"\x89PNG") and rng.random() < 0.6:
        _mend_png(content)
    return f"{name}: {how.__name__[1:]}", bytes(content)


def _flip(content, rng):
    for _ in range(rng.choice((1, 3, 30))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _head(content, rng):
    for _ in range(rng.randrange(1, 6)):
        content[rng.randrange(min(len(content), 80))] = rng.choice((0, 1, 2, 127, 128, 255))


def _number(content, rng):
    """A number of 2 or 4 bytes becomes an extreme one: lengths, sizes, counts, offsets."""
    value, size = rng.choice(EXTREMES), rng.choice((2, 4))
    packed = (value & (256**size - 1)).to_bytes(size, rng.choice(("big", "little")))
    at = rng.randrange(min(len(content) - 4, rng.choice((40, 400, 10**6))))
    content[at : at + size] = packed


def _splice(content, rng):
    other = whole_pictures()[rng.choice(sorted(whole_pictures()))]
    content[rng.randrange(len(content)) :] = other[rng.randrange(len(other)) :]


def _block(content, rng):
    start = rng.randrange(len(content))
    end = start + rng.choice((1, 2, 7, 64, 500))
    how = rng.choice(("zero", "remove", "twice", "noise"))
    if how == "zero":
        content[start:end] = bytes(len(content[start:end]))
    elif how == "remove":
        del content[start:end]
    elif how == "twice":
        content[start:start] = content[start:end]
    else:
        content[start:start] = rng.randbytes(end - start)


def _exif(content, rng):
    """Another block of EXIF, in the formats that have one; text of a PNG where there is none."""
    form = rng.choice(("JPEG", "PNG", "WEBP", "JPEG2000"))
    content[:] = saved(form, rng.choice(("L", "RGB")) if form != "WEBP" else "RGB")
    block = exif(rng)
    if form == "JPEG":
        content[2:2] = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    elif form == "PNG":
        kind = rng.choice((b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"tRNS", b"acTL", b"gAMA"))
        body = block[6:] if kind == b"eXIf" else rng.choice((b"a\0\0", b"", b"a")) + block
        content[33:33] = struct.pack(">I", len(body)) + kind + body + b"crc!"
        _mend_png(content)
    else:
        content += block


def _ifd(content, rng):
    """One entry of a TIFF's directory changes: its kind, its count or its value."""
    name = rng.choice([one for one in sorted(whole_pictures()) if one.startswith("TIFF")])
    content[:] = whole_pictures()[name]
    order = "<" if content.startswith(b"II") else ">"
    (start,) = struct.unpack_from(order + "I", content, 4)
    if start + 2 > len(content):
        return
    (count,) = struct.unpack_from(order + "H", content, start)
    at = start + 2 + 12 * rng.randrange(max(count, 1))
    if at + 12 > len(content):
        return
    what = rng.choice((0, 2, 4, 8, 8, 8))
    value = rng.choice((*EXTREMES, rng.randrange(400)))
    if what < 4:
        struct.pack_into(order + "H", content, at + what, value & 0xFFFF)
    else:
        struct.pack_into(order + "I", content, at + what, value)


def _mend_png(content):
    """Write the right checksum behind each chunk, so that what it holds is looked at."""
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            return
        struct.pack_into(">I", content, end, zlib.crc32(content[at + 4 : end]))
        at = end + 4


SIDES = (
    (11585, 11585), (16383, 16383), (65535, 65535), (65535, 1), (1, 131072), (131072, 1024),
    (131073, 1), (2**31 - 1, 1), (2**32 - 1, 2**32 - 1), (0, 5), (5, 0),
)  # fmt: skip


def of_sides(kind, size):
    """Bytes of a small picture whose header says that it is as large as ``size``."""
    width, height = size
    content = bytearray(whole_pictures()[kind])
    both = lambda code, at: struct.pack_into(code, content, at, width & most, height & most)
    form, most = kind.split()[0], 2**32 - 1
    if form == "PNG":
        both(">II", 16)
        _mend_png(content)
    elif form == "BMP":
        both("<II", 18)
    elif form in ("PPM", "PNM"):
        content = content.replace(b"37 23", b"%d %d" % size)
    elif form == "TIFF":
        # Its directory's first entries are width and height.
        (start,) = struct.unpack_from("<I", content, 4)
        for at, side in ((start + 2, width), (start + 14, height)):
            struct.pack_into("<HII", content, at + 2, 4, 1, side)
    elif form == "JPEG2000":
        both(">II", content.index(b"\xff\x51") + 6)
        if b"ihdr" in content:
            struct.pack_into(">II", content, content.index(b"ihdr") + 4, height, width)
    else:
        most = 2**16 - 1
        if form == "GIF":
            both("<HH", 6)
            both("<HH", content.index(b",\0\0\0\0") + 5)
        elif form == "JPEG":
            marker = b"\xff\xc2" if "progressive" in kind else b"\xff\xc0"
            struct.pack_into(">HH", content, content.index(marker) + 5, height & most, width & most)
        elif b"VP8 " in content:
            both("<HH", content.index(b"\x9d\x01\x2a") + 3)
        else:
            bits = (width - 1 & 0x3FFF) | (height - 1 & 0x3FFF) << 14
            at = content.index(b"VP8L") + 9
            struct.pack_into("<I", content, at, bits | content[at + 3] >> 4 << 28)
    return bytes(content)


SIZED = (
    "PNG 1", "PNG L", "PNG P", "PNG RGBA", "PNG I;16", "PNG colour key", "BMP RGB", "BMP P",
    "PPM L", "PPM RGB", "PPM F", "PPM I;16", "PNM grey", "TIFF RGB", "TIFF F", "TIFF tiff_lzw",
    "TIFF CMYK", "TIFF I", "JPEG2000 RGB", "JPEG2000 raw", "GIF P", "GIF animated", "JPEG RGB",
    "JPEG CMYK", "JPEG progressive", "WEBP RGB", "WEBP lossless",
)  # fmt: skip
