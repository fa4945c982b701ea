"""Pictures of noise, and what a figure shows."""

import numpy as np


def photograph(height=40, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rendered(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def inside(figure, axes):
    """The pixels of the figure that lie on the axes, without the outermost."""
    pixels, box = rendered(figure), axes.get_window_extent()
    top, bottom = pixels.shape[0] - box.y1, pixels.shape[0] - box.y0
    rows = slice(int(np.ceil(top)) + 1, int(bottom) - 1)
    return pixels[rows, int(np.ceil(box.x0)) + 1 : int(box.x1) - 1]
