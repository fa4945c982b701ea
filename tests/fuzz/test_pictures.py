"""Whatever an image file holds, it is read or refused in words, within time and memory."""

import random
import struct

import numpy as np
import pytest
from builders.broken_pictures import (
    SIDES,
    SIZED,
    damaged,
    exif,
    of_sides,
    read_by_us,
    truncated,
    whole_pictures,
)
from builders.commands import explgraph
from builders.dots import load
from builders.fuzzing import ALL, SLACK, cases, fault, peak_memory
from PIL import Image

from explgraph.errors import ImageError
from explgraph.images import IMAGE_SUFFIXES
from explgraph.images.orientation import read_orientation
from explgraph.images.picture import MAX_DECODED

CHUNK = 100
SHAPE = {"height": 30, "width": 40}


def wrong_of(path):
    """What is wrong with how a file is read, also with the memory that it takes."""
    ends = []

    def read():
        pixels, _, size = load(path, **SHAPE)
        assert (pixels.shape, pixels.dtype) == ((30, 40, 3), np.uint8)
        assert min(size) >= 1

    taken = peak_memory(lambda: ends.append(fault(read, path)))
    # The file itself is held beside what is decoded of it.
    if taken is not None and taken > MAX_DECODED + path.stat().st_size + SLACK:
        return f"takes {taken / 2**20:.0f} MiB"
    return ends[0]


def test_every_kind_of_picture_that_is_read_is_read(tmp_path):
    kinds = [name for name in whole_pictures() if read_by_us(name)]
    assert len(kinds) >= 70
    for name in kinds:
        (tmp_path / "a").write_bytes(whole_pictures()[name])
        assert load(tmp_path / "a")[2] == (37, 23)


@pytest.mark.parametrize("first", cases(1400, quick=200)[::CHUNK])
def test_a_damaged_picture_is_read_or_refused_in_words(tmp_path, first):
    wrong = []
    for seed in range(first, first + CHUNK):
        how, content = damaged(seed)
        (tmp_path / "a.img").write_bytes(content)
        if (why := wrong_of(tmp_path / "a.img")) is not None:
            wrong.append(f"{seed}: {how}: {why}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_a_beginning_of_a_picture_is_refused_or_shows_the_same(tmp_path):
    wrong = []
    for seed in cases(600, quick=60):
        name, whole, cut = truncated(seed)
        # The end of plain text is nowhere said: 12 may have been 123.
        if not read_by_us(name) or name.startswith("PNM"):
            continue
        for file, content in (("whole", whole), ("cut", cut)):
            (tmp_path / file).write_bytes(content)
        try:
            got = load(tmp_path / "cut", **SHAPE)[0]
        except ImageError:
            continue
        if not np.array_equal(got, load(tmp_path / "whole", **SHAPE)[0]):
            wrong.append(f"{seed}: {name}: {len(cut)} of {len(whole)} bytes are another picture")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("kind", SIZED if ALL else random.Random(0).sample(SIZED, 6))
def test_a_picture_that_says_it_is_huge_is_refused_or_read_within_the_limit(tmp_path, kind):
    wrong = []
    for size in SIDES:
        (tmp_path / "a.img").write_bytes(of_sides(kind, size))
        if (why := wrong_of(tmp_path / "a.img")) is not None:
            wrong.append(f"{size}: {why}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.skipif(not ALL, reason="decodes half a gigabyte each")
@pytest.mark.parametrize("form", ["png", "gif", "bmp", "tif", "ppm", "webp", "jp2", "jpg"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "F", "CMYK"])
def test_the_largest_pictures_that_are_read_stay_within_the_limit(tmp_path, form, mode):
    path = tmp_path / f"a.{form}"
    options = {"compression": "tiff_lzw"} if form == "tif" else {}
    most = {"jp2": 20, "webp": 17}.get(form, 9 if mode in ("P", "LA", "RGBA", "F", "CMYK") else 4)
    for pixels in (2**29 // most, 2**29 // most * 2):
        side = int(pixels**0.5)
        try:
            Image.new(mode, (side, side)).save(path, **options)
        except (OSError, ValueError, KeyError):
            pytest.skip(f"{form} has no {mode}, or not as large")
        assert wrong_of(path) is None


def test_any_exif_is_an_orientation():
    for seed in cases(2000, quick=200):
        block = bytearray(exif(random.Random(seed)))
        assert 1 <= read_orientation(bytes(block)) <= 8
        assert 1 <= read_orientation(bytes(block[: seed % (len(block) + 1)])) <= 8
    turned = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
    assert read_orientation(turned) == 6


def test_a_folder_of_damaged_pictures_is_located_and_the_rest_is_named(workspace, tmp_path):
    suffixes, folder = sorted(IMAGE_SUFFIXES), tmp_path / "photos"
    folder.mkdir()
    whole = whole_pictures()["PNG RGB"]
    for number in cases(300, quick=40):
        _, content = damaged(10_000 + number)
        # Every tenth is whole, so that each batch has something to read.
        content = content if number % 10 else whole
        (folder / f"{number:03d}{suffixes[number % len(suffixes)]}").write_bytes(content)
    answer = explgraph("locate", workspace, folder, "--json", "--quiet", "--top", 1).json()
    skipped = answer["skipped"]
    assert len(skipped) + answer["objects"] == len(list(folder.iterdir()))
    assert all((folder / one["path"]).is_file() and ";" in one["reason"] for one in skipped)
