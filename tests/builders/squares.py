"""Squares laid over images, and what a function says of each, one pass at a time."""

import numpy as np


def starts(extent, side, step):
    found = [0]
    while found[-1] + side < extent:
        found.append(found[-1] + step)
    return found


def hidden(images, size, stride, value=0.0):
    """Every image with the square at each place: a list over rows of lists over columns."""
    grid = []
    for top in starts(images.shape[2], size[0], stride[0]):
        row = []
        for left in starts(images.shape[3], size[1], stride[1]):
            copy = images.clone()
            copy[:, :, top : top + size[0], left : left + size[1]] = value
            row.append(copy)
        grid.append(row)
    return grid


def slowly(function, images, size, stride, value=0.0):
    """``function`` of each image under each square, (n, rows, columns), one pass at a time."""
    found = [
        [[function(copy[i : i + 1]) for copy in row] for row in hidden(images, size, stride, value)]
        for i in range(len(images))
    ]
    return np.array(found, dtype=np.float64)


def squares_on(size, side, step):
    return [
        (top, left, min(top + side[0], size[0]), min(left + side[1], size[1]))
        for top in starts(size[0], side[0], step[0])
        for left in starts(size[1], side[1], step[1])
    ]
