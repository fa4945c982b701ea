"""Pictures of a dot or of noise, saved, read back as network inputs, and the dot found again."""

import numpy as np
from PIL import Image

from explgraph.images import ImageObject, load_input

SIZE = (260, 180)  # (width, height)
DOT = (151.3, 92.6)  # (x, y), pixels


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


def noise(size=(60, 40)):
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (*size[::-1], 3), np.uint8))


def saved(path, image, **options):
    image.save(path, **options)
    return path


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def obj(path, number=1, **fields):
    return ImageObject(number, number, path.name, path, **fields)


def load(path, *, fit="stretch", height=112, width=128, **fields):
    return load_input(obj(path, **fields), height=height, width=width, fit=fit)
