import contextlib
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builders.dots import DOT, SIZE, dot_image, exif, find_dot, load, noise, saved
from PIL import BmpImagePlugin, Image, ImageOps, features

from explgraph.errors import ImageError, SourceError
from explgraph.images import MAX_PIXELS, check_images, picture
from explgraph.images.picture import Picture

FORMATS = {
    "jpg": "JPEG",
    "png": "PNG",
    "gif": "GIF",
    "webp": "WEBP",
    "bmp": "BMP",
    "tif": "TIFF",
    "jp2": "JPEG2000",
    "ppm": "PPM",
}


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("size", [(1601, 1203), (1607, 1199)])
def test_large_photographs_decoded_at_a_fraction_keep_their_dots(tmp_path, size, orientation):
    path = saved(
        tmp_path / "a.jpg",
        dot_image(size=size, dot=(700.3, 500.6), radius=40),
        quality=95,
        exif=exif(orientation),
    )
    with Image.open(path) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    dot = find_dot(upright) * upright.shape[:2]
    for box, scale in ((None, 4), ((dot[1] - 250.0, dot[0] - 260.0, 480.5, 500.25), 2)):
        shape = {"height": 80, "width": 96}
        assert Picture(path)._scale((0, 0, *(box or (0, 0, *size))[2:]), (96, 80)) == scale
        pixels, frame, _ = load(path, box=box, **shape)
        np.testing.assert_allclose(frame.to_image(find_dot(pixels)), dot[::-1], atol=0.1)


def test_a_fraction_of_a_photograph_looks_like_the_whole(tmp_path):
    rng = np.random.default_rng(0)
    texture = Image.fromarray(rng.integers(0, 255, (90, 120, 3), np.uint8)).resize(
        (1920, 1440), Image.Resampling.BICUBIC
    )
    path = saved(tmp_path / "a.jpg", texture, quality=90)
    pixels, _, _ = load(path, height=160, width=200)
    with Image.open(path) as whole:
        expected = np.asarray(whole.resize((200, 160), Image.Resampling.BILINEAR)).astype(int)
    assert np.sqrt(((pixels - expected) ** 2).mean()) < 1.5


def test_files_are_what_they_contain_and_not_what_they_are_called(tmp_path):
    path = tmp_path / "a.jpg"
    dot_image().save(path, format="PNG")
    assert load(path)[2] == SIZE


def test_only_the_first_frame_of_an_animation_is_seen(tmp_path):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    for suffix in ("gif", "webp", "png", "tif"):
        path = saved(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
        assert load(path)[0][5, 5, 0] > 240


# What cannot be used


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path, suffix, share):
    path = saved(tmp_path / f"half.{suffix}", noise())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match=rf"half\.{suffix}: "):
        load(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_files_are_an_image_error_or_an_image_but_nothing_else(tmp_path, suffix):
    path = saved(
        tmp_path / f"a.{suffix}",
        noise((24, 16)),
        **({"exif": exif(6)} if suffix in ("jpg", "png", "webp") else {}),
    )
    content, rng = path.read_bytes(), np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(content), 200), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ImageError):
            assert load(path)[0].shape == (112, 128, 3)


def png_header(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + b"\0\0\0\0IDAT"
    )


def test_pictures_with_too_many_pixels_are_refused_before_decoding(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_header(50_000, 40_000))
    with pytest.raises(
        ImageError, match=r"bomb\.png: 50000 x 40000 pixels are more than the limit"
    ):
        load(tmp_path / "bomb.png")
    assert (
        MAX_PIXELS > Image.MAX_IMAGE_PIXELS
    )  # so that Pillow's own warning would show in the next test


def test_large_pictures_below_the_limit_raise_no_warning(tmp_path):
    path = saved(tmp_path / "a.png", Image.new("1", (12_000, 8_000)))
    assert load(path)[2] == (12_000, 8_000)


def test_files_without_an_image_are_named(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (
        ("empty", "got 0"),
        ("text", "content is not JPEG"),
        ("folder", "expected a file"),
        ("gone", "No such file"),
    ):
        with pytest.raises(ImageError, match=rf"{name}\.jpg: .*{reason}"):
            load(tmp_path / f"{name}.jpg")


def test_a_side_beyond_the_limit_is_refused_though_the_pixels_are_few(tmp_path):
    (tmp_path / "line.png").write_bytes(png_header(134_217_728, 1))
    with pytest.raises(ImageError, match=r"131,072 on a side; make it smaller"):
        load(tmp_path / "line.png")


def test_running_out_of_memory_is_the_error_of_that_file(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.new("RGB", (40, 30)))

    def no_memory(image):
        raise MemoryError

    monkeypatch.setattr(picture, "flatten", no_memory)
    with pytest.raises(ImageError, match=r"a\.png: there is not enough memory to decode it"):
        load(path)


MEASURE = """
import os, sys
from pathlib import Path
from explgraph.images.picture import MAX_DECODED, Picture, _bytes_per_pixel

def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

for name in sys.argv[1:]:
    if os.fork() == 0:
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        picture = Picture(Path(name))
        picture.cut((0, 0, *picture.size), (64, 64))
        pixels, most = picture.size[0] * picture.size[1], _bytes_per_pixel(picture._open())
        print(name, peak() - before, pixels * most, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_decoding_takes_no_more_memory_than_the_limit_allows_for(tmp_path):
    """Of 4 million pixels of each kind; what does not grow with the picture is allowed 40 MiB."""
    size = (2048, 2048)
    deflate = {"compression": "tiff_deflate"}
    kinds = {
        "float.tif": (Image.new("F", size, 0.5), deflate),
        "int.tif": (Image.new("I", size, 70_000), deflate),
        "deep.png": (Image.new("I;16", size, 4_000), {}),
        "alpha.png": (Image.new("RGBA", size, (1, 2, 3, 90)), {}),
        "grey-alpha.png": (Image.new("LA", size, (9, 90)), {}),
        "colour.png": (Image.new("RGB", size), {}),
        "palette.gif": (Image.new("P", size), {}),
        "print.jpg": (Image.new("CMYK", size), {}),
        "colour.webp": (Image.new("RGB", size), {}),
        "alpha.webp": (Image.new("RGBA", size, (1, 2, 3, 90)), {}),
        "colour.jp2": (Image.new("RGB", size), {}),
    }
    if "avif" in features.modules and features.check("avif"):
        kinds["alpha.avif"] = (Image.new("RGBA", size, (1, 2, 3, 90)), {"subsampling": "4:4:4"})
    for name, (image, options) in kinds.items():
        image.save(tmp_path / name, **options)
    files = [str(tmp_path / name) for name in kinds]
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert len(lines) == len(kinds), ran.stderr
    for name, peak, allowed in lines:
        assert int(peak) <= int(allowed) + 40 * 2**20, (name, peak, allowed)


def test_a_png_whose_pixels_have_the_wrong_checksum_is_refused(tmp_path):
    path = saved(tmp_path / "a.png", noise((24, 16)))
    content = path.read_bytes()
    start = content.index(b"IDAT") + 4
    end = start + int.from_bytes(content[start - 8 : start - 4]) + 4
    for place in range(start, end, 17):
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=r"a\.png: cannot be decoded \(.*; replace it"):
            load(path)


def test_a_jpeg_2000_without_its_end_is_refused_wherever_it_was_cut(tmp_path):
    path = saved(tmp_path / "a.jp2", dot_image(size=(37, 23), dot=(9, 9)))
    content = path.read_bytes()
    for length in range(content.index(b"\xff\x93"), len(content) - 1, 5):
        path.write_bytes(content[:length])
        with pytest.raises(ImageError, match=r"cannot be decoded \(.*; replace it"):
            load(path)


def test_a_tiff_with_offsets_of_64_bits_is_read(tmp_path):
    path = saved(tmp_path / "a.tif", dot_image(), big_tiff=True)
    np.testing.assert_allclose(load(path)[1].to_image(find_dot(load(path)[0])), DOT, atol=0.03)


# AVIF and HEIC


def test_avif_is_read_upright(tmp_path):
    if "avif" not in features.modules or not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    image = Image.new("RGB", (40, 24), (250, 250, 250))
    image.paste((200, 30, 40), (0, 0, 20, 24))
    path = tmp_path / "photo.jpg"  # a file is taken for what it holds
    image.save(path, "AVIF", quality=95, exif=exif(6))
    picture = Picture(path)
    assert picture.size == (40, 24)
    assert picture.orientation == 6
    for x, colour in ((2, (200, 30, 40)), (28, (250, 250, 250))):
        (pixel,) = np.asarray(picture.cut((x, 2, 10, 20), (1, 1)))[0].astype(int)
        assert np.abs(pixel - colour).max() < 12
    # A writer may name any image of the container first, and AVIF only behind.
    content = path.read_bytes().replace(b"ftypavif", b"ftypmif1", 1)
    path.write_bytes(content)
    assert Picture(path).size == (40, 24)


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(40)


@pytest.mark.parametrize(
    ("content", "module", "remedy"),
    [
        (HEIC, "pillow_heif", "HEIC needs a package: pip install pillow-heif; or convert it"),
        (HEIC.replace(b"heic", b"avif"), "PIL.AvifImagePlugin", "AVIF needs Pillow 11.3 or later"),
    ],
)
def test_what_cannot_be_read_here_is_named_with_the_remedy(
    tmp_path, monkeypatch, content, module, remedy
):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    path = tmp_path / "photo.heic"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=remedy):
        Picture(path)


def test_heic_is_read_by_its_package_where_it_is_installed(tmp_path, monkeypatch):
    class Stands(BmpImagePlugin.BmpImageFile):
        """Reads what lies behind the box of brands as BMP."""

        format = "HEIF"

        def __init__(self, file):
            super().__init__(BytesIO(file.read()[28:]))

    content = BytesIO()
    Image.new("RGB", (30, 20), (1, 2, 3)).save(content, "BMP")
    path = tmp_path / "photo.heic"
    path.write_bytes(HEIC[:28] + content.getvalue())
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(HeifImageFile=Stands))
    picture = Picture(path)
    assert (picture.size, picture.orientation) == ((30, 20), 1)


def test_images_are_checked_without_decoding_and_one_good_one_is_enough(tmp_path, monkeypatch):
    good, none = tmp_path / "good.png", tmp_path / "none.png"
    Image.new("RGB", (30, 20)).save(good)
    monkeypatch.setattr(Picture, "_decode", lambda self, scale: pytest.fail("decoded"))
    check_images([none, good])
    with pytest.raises(SourceError, match=r"none of the 2 images .*none\.png: cannot be read"):
        check_images([none, tmp_path])
