import numpy as np
import pytest
from builders.dots import SIZE, dot_image, exif, find_dot, load, saved
from PIL import Image, ImageOps


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
