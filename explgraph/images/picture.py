"""One image file: its header first, then its pixels at the scale that is worth decoding.

Nothing global of Pillow is set or asked for. Its plugins are called directly, so the size is
checked by `MAX_PIXELS` alone, no warning about it reaches the caller's threads, and a file is
taken for what its first bytes say, not for its suffix.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Self

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from explgraph.errors import ImageError, SourceError
from explgraph.images.colour import flatten
from explgraph.images.frame import Box
from explgraph.images.orientation import read_orientation

MAX_DECODED = 2**29  # bytes that one image may take while it is decoded, one image per worker
MAX_PIXELS = 2**27  # of one image; Pillow holds a pixel of several colours in 4 bytes
MAX_SIDE = 2**17  # pixels; what resizes a row allocates by its length
MAX_BYTES = 2**30  # of one file
# Keep at least this many times the needed pixels of a JPEG. Measured, 12 MP to 224 x 224: 40
# instead of 92 ms, the result 0.5 of 255 rms off, places within 0.1 pixels of the photograph.
_DRAFT_GAP = 2.0
# The same for resizing alone: 22 instead of 66 ms, 0.6 of 255 rms off (measured).
_REDUCING_GAP = 3.0


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG; of several pictures in one file the first."""

    def getexif(self) -> Image.Exif:
        # On opening, Pillow looks here for a resolution, which is slow and may warn.
        return Image.Exif()


# By the first bytes: a .jpg from the web may well be a PNG. Of Pillow's formats these are the ones
# that hold photographs; all of them are decoded within the process, as EPS is not.
_PLUGINS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": _Jpeg,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
    b"II+\0": TiffImagePlugin.TiffImageFile,  # BigTIFF
    b"MM\0+": TiffImagePlugin.TiffImageFile,
    b"\xff\x4f\xff\x51": Jpeg2KImagePlugin.Jpeg2KImageFile,
    b"\0\0\0\x0cjP  \r\n\x87\n": Jpeg2KImagePlugin.Jpeg2KImageFile,
    **{b"P%c" % kind: PpmImagePlugin.PpmImageFile for kind in b"123456f"},
}
# In a box of brands at the file's start: where the class is, and how to get it. Loaded when such a
# file is met: older versions of Pillow have no AVIF, and HEIC is a package of its own.
_AVIF = ("PIL.AvifImagePlugin", "AvifImageFile", "AVIF needs Pillow 11.3 or later")
_HEIC = ("pillow_heif", "HeifImageFile", "HEIC needs a package: pip install pillow-heif")
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"), _HEIC),
}


def check_images(paths: Sequence[Path]) -> None:
    """Refuse images of which not one can be opened: a slip in a path costs no long work.

    Pixels are not decoded.

    Raises:
        SourceError: it says what is wrong with the first.

    >>> check_images([pictures / "00001.jpg", Path("none.jpg")])
    >>> check_images([Path("none.jpg")])
    Traceback (most recent call last):
    explgraph.errors.SourceError: none of the 1 images could be read: none.jpg: cannot be read ...
    """
    reasons = []
    for path in paths:
        picture = Picture.__new__(Picture)
        try:
            picture.path, picture._bytes = path, _read(path)
            picture._open()
        except ImageError as error:
            reasons.append(str(error))
        else:
            return
    if reasons:
        raise SourceError(f"none of the {len(paths)} images could be read: {reasons[0]}")


class Picture:
    """The picture in one file, as stored. Pixels are decoded when asked for, once per scale.

    Args:
        path: an image file.

    Raises:
        ImageError: the file is missing, broken, truncated, too large, or not an image. `cut`,
            which decodes, raises it too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Whole, and closed again: a JPEG may be decoded at two scales, and no file stays open.
        self._bytes = _read(path)
        self._decoded: dict[int, Image.Image] = {}
        opened = self._open()
        # Its header is parsed, so the first decoding takes it; a second one has to open anew.
        self._unused: ImageFile.ImageFile | None = opened
        self._is_jpeg = isinstance(opened, _Jpeg)
        if not self._is_jpeg:
            # Only then TIFF is turned upright, and EXIF behind a PNG's pixels is known.
            self._decode(1)
        self.size: tuple[int, int] = opened.size
        self.orientation = read_orientation(opened.info.get("exif") or b"")

    @classmethod
    def of(cls, image: Image.Image) -> Self:
        """The picture that Pillow holds already, in memory."""
        picture = cls.__new__(cls)
        picture.path, picture._bytes, picture._unused = Path("image"), b"", None
        picture._is_jpeg = False  # of which another scale could be decoded
        with _blaming(picture.path):
            picture._decoded = {1: flatten(image)}
        picture.size = image.size
        picture.orientation = read_orientation(image.info.get("exif") or b"")
        return picture

    def cut(self, box: Box, shape: tuple[int, int]) -> Image.Image:
        """What is in ``box``, resized.

        A JPEG that is much larger than needed is decoded at 1/2, 1/4 or 1/8. Its pixel ``i`` then
        covers exactly ``scale * i`` to ``scale * (i + 1)``, so the box is divided by the scale and
        stays where it was.

        Args:
            box: (x, y, width, height), pixels of the stored picture.
            shape: (width, height) of the result, pixels.
        """
        scale = self._scale(box, shape)
        image = self._decoded.get(scale) or self._decode(scale)
        left, top = max(box[0], 0) / scale, max(box[1], 0) / scale
        # Pillow refuses a box that rounding puts beyond the border, by however little.
        right = min((box[0] + box[2]) / scale, image.width)
        bottom = min((box[1] + box[3]) / scale, image.height)
        bilinear, part = Image.Resampling.BILINEAR, (left, top, right, bottom)
        return image.resize(shape, bilinear, box=part, reducing_gap=_REDUCING_GAP)

    def _scale(self, box: Box, shape: tuple[int, int]) -> int:
        # The scale goes by the box and not by the photograph: a small box needs all of its pixels.
        spare = min(box[2] / shape[0], box[3] / shape[1]) / _DRAFT_GAP
        return next((scale for scale in (8, 4, 2) if spare >= scale), 1) if self._is_jpeg else 1

    def _open(self) -> ImageFile.ImageFile:
        plugin = _plugin(self._bytes, self.path)
        with _blaming(self.path):
            opened = plugin(BytesIO(self._bytes))
        # From the header, before any pixel is decoded: a small file can hold a huge picture.
        pixels, most = opened.width * opened.height, MAX_DECODED // _bytes_per_pixel(opened)
        if pixels > most or max(opened.size) > MAX_SIDE:
            raise ImageError(
                f"{self.path}: {opened.width} x {opened.height} pixels are more than the limit of "
                f"{most:,} for its kind, {MAX_SIDE:,} on a side; make it smaller"
            )
        return opened

    def _decode(self, scale: int) -> Image.Image:
        opened, self._unused = self._unused or self._open(), None
        with _blaming(self.path):
            _check_whole(opened, self._bytes)
            if scale > 1:
                opened.draft(None, (opened.width // scale, opened.height // scale))
            opened.load()
            self._decoded[scale] = flatten(opened)
        return self._decoded[scale]


def _check_whole(opened: ImageFile.ImageFile, content: bytes) -> None:
    """Raise ValueError if the file itself says that its pixels are not what they were.

    Pillow passes over both: it would show other pixels, or grey where they are missing.

    References:
        PNG, section 5.3 (a checksum ends each chunk); JPEG 2000, ISO 15444-1 A.4.4 (EOC).
    """
    if isinstance(opened, PngImagePlugin.PngImageFile):
        view, at = memoryview(content), len(b"\x89PNG\r\n\x1a\n")
        while at + 12 <= len(view):
            end = at + 8 + int.from_bytes(view[at : at + 4])
            is_data = content[at + 4 : at + 8] == b"IDAT"
            if is_data and zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4]):
                raise ValueError("broken PNG file, the checksum of its pixels is wrong")
            at = end + 4
    # No packet of pixels holds the end marker: after FF at most 8F may follow.
    is_jpeg_2000 = isinstance(opened, Jpeg2KImagePlugin.Jpeg2KImageFile)
    if is_jpeg_2000 and content.rfind(b"\xff\xd9") < content.find(b"\xff\x4f\xff\x51"):
        raise ValueError("image file is truncated")


def _plugin(content: bytes, path: Path) -> type[ImageFile.ImageFile]:
    for magic, plugin in _PLUGINS.items():
        if content.startswith(magic):
            return plugin
    brands: list[bytes] = []
    if content[4:8] == b"ftyp":
        end = min(int.from_bytes(content[:4], "big"), 128)
        # The first is the file's own; after a number follow those that it can be read as.
        brands = [content[8:12], *(content[k : k + 4] for k in range(16, end, 4))]
    # AVIF may call itself "mif1", any image of this container.
    for brand in sorted(set(brands) & _BRANDS.keys()):
        module, name, needed = _BRANDS[brand]
        try:
            plugins = import_module(module)
        except ImportError as error:
            raise ImageError(f"{path}: {needed}; or convert it") from error
        if not getattr(plugins, "SUPPORTED", True):
            raise ImageError(f"{path}: this Pillow was built without AVIF; convert it")
        found: type[ImageFile.ImageFile] = getattr(plugins, name)
        return found
    raise ImageError(
        f"{path}: its content is not JPEG, PNG, GIF, WebP, BMP, TIFF, JPEG 2000, PNM, AVIF or "
        "HEIC; convert it or leave it out"
    )


def _bytes_per_pixel(opened: ImageFile.ImageFile) -> int:
    """What a pixel takes at most while it is decoded and flattened (measured)."""
    # These decode the whole picture into memory of their own first.
    if isinstance(opened, WebPImagePlugin.WebPImageFile):
        return 17
    if isinstance(opened, Jpeg2KImagePlugin.Jpeg2KImageFile):
        return 20
    if opened.format in ("AVIF", "HEIF"):
        return 12
    lean = opened.mode in ("1", "L", "RGB") or opened.mode.startswith("I;16")
    return 4 if lean and "transparency" not in opened.info else 9


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        # A pipe would block for ever, and a device never ends.
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: expected a file, got something else; name an image file")
        if not 0 < status.st_size <= MAX_BYTES:
            raise ImageError(
                f"{path}: expected 1 to {MAX_BYTES:,} bytes, got {status.st_size:,}; "
                "replace the file"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        # ValueError is what a path with a null byte gives.
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: cannot be read ({reason}); check the path") from error


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn what decoders raise on broken bytes (Pillow: a dozen types) into ImageError."""
    try:
        yield
    except MemoryError as error:  # what a broken header asks for, or a machine that has no more
        raise ImageError(f"{path}: there is not enough memory to decode it; make it smaller") from (
            error
        )
    except Exception as error:
        said = " ".join(str(error).split())  # libheif's own errors have several lines
        message = f"{path}: cannot be decoded ({said}); replace it or leave it out"
        raise ImageError(message) from error
