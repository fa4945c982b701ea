import numpy as np
import pytest
from builders.dots import load, saved
from PIL import Image


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
