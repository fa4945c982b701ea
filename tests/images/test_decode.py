import contextlib
import struct
import threading
import zlib

import numpy as np
import pytest
from builders.real import SHARED
from PIL import Image, ImageOps

from explgraph.errors import ImageError, UsageError
from explgraph.images import (
    FITS,
    MAX_PIXELS,
    PADDING,
    ImageObject,
    decode,
    decode_batches,
    load_input,
    read_source,
)
from explgraph.images.picture import Picture

SIZE = (260, 180)  # (width, height)
DOT = (151.3, 92.6)  # (x, y), pixels
BOX = (100.25, 40.5, 120.5, 95.75)
INPUT = {"height": 112, "width": 128}


def dot_array(size=SIZE, dot=DOT, radius=6.0):
    """A bright Gaussian dot on black, (height, width, 3).

    A pixel's value is that at its centre, index + 0.5.
    """
    x, y = np.arange(size[0]) + 0.5, np.arange(size[1])[:, None] + 0.5
    dot_values = np.exp(-((x - dot[0]) ** 2 + (y - dot[1]) ** 2) / (2 * radius**2))
    return np.repeat(np.rint(255 * dot_values).astype(np.uint8)[..., None], 3, axis=-1)


def dot_image(**options):
    return Image.fromarray(dot_array(**options))


def find_dot(pixels):
    """Return the centre of mass of the bright pixels as (row, column), fractions of the array."""
    values = pixels.astype(float).mean(-1) ** 2
    rows, columns = np.arange(pixels.shape[0]) + 0.5, np.arange(pixels.shape[1]) + 0.5
    centre = (
        np.array([(values.sum(1) * rows).sum(), (values.sum(0) * columns).sum()]) / values.sum()
    )
    return centre / pixels.shape[:2]


def obj(path, number=1, **fields):
    return ImageObject(number, number, path.name, path, **fields)


def load(path, *, fit="stretch", height=112, width=128, **fields):
    return load_input(obj(path, **fields), height=height, width=width, fit=fit)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


# Places


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("box", [None, BOX, (-30.0, -20.0, 400.0, 300.0)])
def test_a_dot_is_found_where_it_is(tmp_path, fit, box):
    pixels, frame, size = load(saved(tmp_path / "a.png", dot_image()), fit=fit, box=box)
    pixels[(pixels == PADDING).all(-1)] = 0
    assert size == SIZE
    np.testing.assert_allclose(frame.to_image(find_dot(pixels)), DOT, atol=0.03)


@pytest.mark.parametrize("fit", FITS)
def test_a_dot_in_the_mirrored_input_is_found_where_it_is(tmp_path, fit):
    pixels, frame, _ = load(
        saved(tmp_path / "a.png", dot_image()), fit=fit, box=BOX, height=101, width=128
    )
    pixels[(pixels == PADDING).all(-1)] = 0
    np.testing.assert_allclose(
        frame.to_image(find_dot(pixels[:, ::-1]), mirrored=True), DOT, atol=0.03
    )


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright_and_dots_stay(tmp_path, orientation, suffix):
    path = saved(
        tmp_path / f"a.{suffix}",
        dot_image(),
        exif=exif(orientation),
        **({"quality": 95} if suffix != "tif" else {}),
    )
    with Image.open(path) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    dot = find_dot(upright) * upright.shape[:2]
    box = (dot[1] - 50.5, dot[0] - 40.25, 90.0, 75.5)
    pixels, frame, size = load(path, box=box)
    assert size == upright.shape[1::-1]
    np.testing.assert_allclose(frame.to_image(find_dot(pixels)), dot[::-1], atol=0.05)
    expected = Image.fromarray(upright).resize(
        (128, 112), Image.Resampling.BILINEAR, box=(*box[:2], box[0] + 90, box[1] + 75.5)
    )
    assert np.abs(pixels.astype(int) - np.asarray(expected).astype(int)).max() <= 1


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_the_stored_picture_turn_the_orientation_off(tmp_path, orientation):
    path = saved(tmp_path / "a.jpg", dot_image(), exif=exif(orientation), quality=95)
    pixels, frame, size = load(path, box=BOX, recorded_size=SIZE)
    assert size == SIZE
    np.testing.assert_allclose(frame.to_image(find_dot(pixels)), DOT, atol=0.05)
    assert load(path, recorded_size=SIZE[::-1])[2] == SIZE[::-1]


def test_records_of_another_size_are_an_error(tmp_path):
    path = saved(tmp_path / "a.png", dot_image())
    with pytest.raises(
        ImageError, match="record says 520 x 360 pixels, but the file has 260 x 180"
    ):
        load(path, recorded_size=(520, 360))


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1",
        b"rubbish",
    ],
)
def test_broken_exif_is_as_none(tmp_path, block):
    assert load(saved(tmp_path / "a.jpg", dot_image(), exif=block))[2] == SIZE


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


def test_letterbox_pads_what_the_box_does_not_fill(tmp_path):
    pixels, frame, _ = load(
        saved(tmp_path / "a.png", Image.new("RGB", (100, 30), "red")),
        fit="letterbox",
        height=90,
        width=100,
    )
    assert frame.content == (0, 30, 100, 30)
    assert (pixels[30:60] == (255, 0, 0)).all()
    assert (pixels[:30] == PADDING).all()
    assert (pixels[60:] == PADDING).all()


# Colours


def one_colour(mode, colour, tmp_path, suffix="png", **options):
    pixels, _, _ = load(
        saved(tmp_path / f"a.{suffix}", Image.new(mode, (20, 10), colour), **options)
    )
    assert (pixels == pixels[0, 0]).all()
    return tuple(map(int, pixels[0, 0]))


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "seen"),
    [
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("L", 77, "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("1", 0, "tif", (0, 0, 0)),
        ("LA", (100, 0), "png", (255, 255, 255)),
        ("LA", (100, 255), "png", (100, 100, 100)),
        ("RGBA", (10, 20, 30, 255), "png", (10, 20, 30)),
        ("RGBA", (0, 0, 0, 51), "png", (204, 204, 204)),
        ("RGBA", (10, 20, 30, 0), "webp", (255, 255, 255)),
        ("CMYK", (0, 0, 0, 255), "jpg", (0, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "tif", (255, 0, 0)),
        ("I;16", 65535, "png", (255, 255, 255)),
        ("I;16", 257 * 100, "tif", (100, 100, 100)),
        ("I", 257 * 100, "tif", (100, 100, 100)),
        ("I", 100, "tif", (100, 100, 100)),
        ("F", 0.2, "tif", (51, 51, 51)),
        ("F", 100.0, "tif", (100, 100, 100)),
        ("F", float("nan"), "tif", (0, 0, 0)),
        ("RGB", (10, 20, 30), "bmp", (10, 20, 30)),
        ("RGB", (10, 20, 30), "ppm", (10, 20, 30)),
        ("RGB", (10, 20, 30), "gif", (10, 20, 30)),
        ("RGB", (10, 20, 30), "jp2", (10, 20, 30)),
    ],
)
def test_every_kind_of_pixel_becomes_8_bit_rgb(tmp_path, mode, colour, suffix, seen):
    assert one_colour(mode, colour, tmp_path, suffix) == seen


def test_palettes_are_looked_up_before_resizing(tmp_path):
    image = Image.new("P", (20, 10), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    pixels, _, _ = load(saved(tmp_path / "a.png", image))
    assert (pixels == (200, 100, 50)).all()


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_transparent_palette_entries_lie_on_white(tmp_path, transparency, suffix):
    image = Image.new("P", (20, 10), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    if suffix == "gif":
        transparency = 1
    pixels, _, _ = load(saved(tmp_path / f"a.{suffix}", image, transparency=transparency))
    assert (pixels == 255).all()


@pytest.mark.parametrize(("mode", "colour"), [("L", 40), ("RGB", (10, 20, 30))])
def test_a_colour_declared_transparent_lies_on_white(tmp_path, mode, colour):
    assert one_colour(mode, colour, tmp_path, transparency=colour) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "dtype", "top"),
    [("I;16", np.uint16, 65535), ("I", np.int32, 10**6), ("F", np.float32, 7e5)],
)
def test_deep_pixels_are_scaled_and_not_clipped(tmp_path, mode, dtype, top):
    ramp = np.tile(np.linspace(0, top, 256), (100, 1)).astype(dtype)
    pixels, _, _ = load(saved(tmp_path / "a.tif", Image.fromarray(ramp)), height=100, width=256)
    np.testing.assert_allclose(pixels[50, :, 0], np.arange(256), atol=1)


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


def noise(size=(60, 40)):
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (*size[::-1], 3), np.uint8))


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


@pytest.mark.parametrize("box", [(260.0, 0.0, 20.0, 20.0), (0.0, 179.5, 20.0, 20.0)])
def test_boxes_outside_of_the_image_are_named(tmp_path, box):
    with pytest.raises(ImageError, match="outside of the image of 260 x 180"):
        load(saved(tmp_path / "a.png", dot_image()), box=box)


def test_impossible_inputs_are_refused(tmp_path):
    path = saved(tmp_path / "a.png", dot_image())
    with pytest.raises(UsageError, match="at least 1 x 1"):
        load(path, height=0)
    with pytest.raises(UsageError, match="fit must be"):
        decode_batches([obj(path)], **INPUT, fit="crop")
    for name in ("batch_size", "workers"):
        with pytest.raises(UsageError, match=f"{name} must be at least 1"):
            decode_batches([obj(path)], **INPUT, **{name: 0})


def test_a_single_pixel_can_be_looked_at(tmp_path):
    path = saved(tmp_path / "a.png", Image.new("RGB", (1, 1), "blue"))
    for fit in FITS:
        assert load(path, fit=fit)[2] == (1, 1)


# Batches


@pytest.fixture
def objects(tmp_path):
    """Eleven objects; 2 and 3 (one broken file) and 7 (a box outside) cannot be used."""
    result = []
    for number in range(11):
        path = tmp_path / f"{number - (number == 3)}.png"
        if number in (2, 3):
            path.write_bytes(b"broken")
        elif number != 3:
            noise((50 + number, 40)).save(path)
        box = (90.0, 0.0, 9.0, 9.0) if number == 7 else (2.5, 3.25, 20.0 + number, 30.0)
        result.append(obj(path, number, box=box))
    return result


def decoding_threads():
    return [
        thread for thread in threading.enumerate() if thread.name.startswith("explgraph-decode")
    ]


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 2), (3, 5), (100, 2)])
def test_batches_hold_every_object_once_in_order(objects, batch_size, workers):
    batches = list(decode_batches(objects, **INPUT, batch_size=batch_size, workers=workers))
    assert len(batches) == -(-len(objects) // batch_size)
    assert [i for b in batches for i in b.indices] == [0, 1, 4, 5, 6, 8, 9, 10]
    assert [i for b in batches for i, _ in b.skipped] == [2, 3, 7]
    for batch in batches:
        assert len(batch.images) == len(batch.indices) == len(batch.frames) == len(batch.sizes)
        for pixels, number, frame, size in zip(
            batch.images, batch.indices, batch.frames, batch.sizes, strict=True
        ):
            alone, alone_frame, alone_size = load_input(objects[number], **INPUT)
            np.testing.assert_array_equal(pixels, alone)
            assert (frame, size) == (alone_frame, alone_size)
    assert not decoding_threads()


def test_a_batch_without_readable_objects_is_empty(objects):
    (batch,) = decode_batches(objects[2:4], **INPUT)
    assert batch.images.shape == (0, 112, 128, 3)
    assert batch.images.dtype == np.uint8
    assert [number for number, _ in batch.skipped] == [0, 1]


def test_no_objects_give_no_batches():
    assert list(decode_batches([], **INPUT)) == []


def test_closing_early_ends_the_threads(objects):
    batches = decode_batches(objects * 20, **INPUT, batch_size=2)
    next(batches)
    assert decoding_threads()
    batches.close()
    assert not decoding_threads()


def test_no_more_than_two_batches_are_ahead(objects):
    class Watched(list):
        furthest = 0

        def __getitem__(self, part):
            self.furthest = max(self.furthest, part.stop)
            return super().__getitem__(part)

    watched = Watched(objects * 10)
    batches = decode_batches(watched, **INPUT, batch_size=4)
    for number, _ in zip(range(1, 6), batches, strict=False):
        assert watched.furthest == 4 * (number + 2)
    batches.close()


def test_errors_that_are_not_of_the_image_come_through(objects):
    broken = ImageObject(99, 99, "x.png", None)
    with pytest.raises(AttributeError):
        list(decode_batches([*objects, broken], **INPUT, batch_size=4))
    assert not decoding_threads()


def test_neighbouring_objects_of_one_file_share_its_decoding(tmp_path, monkeypatch):
    opened = []

    class Counted(Picture):
        def __init__(self, path):
            opened.append(path.name)
            super().__init__(path)

    monkeypatch.setattr(decode, "Picture", Counted)
    paths = [saved(tmp_path / f"{name}.png", dot_image()) for name in "ab"]
    same = [obj(paths[number // 5], number, box=(number, 1.0, 50.0, 40.0)) for number in range(10)]
    assert sum(len(batch.images) for batch in decode_batches(same, **INPUT)) == 10
    assert sorted(opened) == ["a.png", "b.png"]


def test_boxes_of_different_size_in_one_photograph_are_as_if_alone(tmp_path):
    path = saved(tmp_path / "a.jpg", noise((1200, 900)), quality=80)
    boxes = [None, (10.0, 20.0, 60.0, 70.0), (5.0, 5.0, 500.0, 500.0), (0.0, 0.0, 1200.0, 900.0)]
    same = [obj(path, number, box=box) for number, box in enumerate(boxes)]
    (batch,) = decode_batches(same, height=60, width=64)
    for pixels, one in zip(batch.images, same, strict=True):
        np.testing.assert_array_equal(pixels, load_input(one, height=60, width=64)[0])


@pytest.mark.real
@pytest.mark.skipif(
    not (SHARED / "data/animals").is_dir(), reason="no real photographs beside the checkout"
)
def test_real_photographs_are_all_readable():
    objects = read_source(SHARED / "data/animals/n02355227.json", limit=80).objects
    batches = list(decode_batches(objects, height=224, width=224))
    assert sum(len(batch.images) for batch in batches) == 80
    assert not any(batch.skipped for batch in batches)
    sizes = [size for batch in batches for size in batch.sizes]
    assert sizes == [one.recorded_size for one in objects]
