"""Images of chance keep nothing at its place, and lose nothing."""

import pytest
import torch

from explgraph.peaks.chance import rolled


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_rolled_image_has_the_same_pixels_at_another_place(dtype):
    images = torch.arange(4 * 12 * 10 * 3).reshape(4, 12, 10, 3).remainder(251).to(dtype)
    if dtype != torch.uint8:
        images = images.permute(0, 3, 1, 2)
    got = rolled(images, torch.Generator().manual_seed(0))
    assert got.shape == images.shape
    axes = (0, 1) if dtype == torch.uint8 else (1, 2)
    shifts = set()
    for one, image in zip(got, images, strict=True):
        same = [
            (down, right)
            for down in range(12)
            for right in range(10)
            if torch.equal(image.roll((down, right), axes), one)
        ]
        assert len(same) == 1
        shifts.add(same[0])
    assert len(shifts) > 1
