"""The strongest local maxima of the positive response of each map, refined below a cell."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

MAX_VALUE = torch.finfo(torch.float16).max  # the peak store keeps values in half precision

Maps = Float[Tensor, "image channel height width"]
UnitStd = Float[Tensor, "channel #height #width"]
Peaks = Float[Tensor, "image channel peak"]
Profiles = Float[Tensor, "image channel column"]
# F(x) with a border of zeros, channels last, as a CPU's convolutions leave them.
Padded = Float[Tensor, "image rows cols channel"]


def find_peaks(
    response: Maps, *, n_peaks: int, unit_std: UnitStd | None = None
) -> tuple[Peaks, Peaks, Peaks]:
    """Value, row and column of the ``n_peaks`` strongest local maxima of each map.

    A cell is a local maximum where its normalised response F(x) = max(f_x, 0) / std_x is positive
    and no smaller than that of its eight neighbours. The place is refined by a parabola through
    the maximum and its two neighbours, separately along rows and columns (measured: it costs
    nothing and lowers instability). At the border, where a neighbour is missing, the cell's centre
    stands.

    Args:
        response: feature maps, in any memory format, on any device.
        n_peaks: P, how many maxima to keep per map.
        unit_std: standard deviation of each unit over a background set; None = 1.

    Returns:
        Values, strongest first, at most 65504, the largest that half precision holds. Rows and
        columns in cells, first cell = 0. Where a map has fewer maxima the value is 0 (and the
        place meaningless). All float32.

    >>> maps = torch.zeros(1, 1, 4, 5)
    >>> maps[0, 0, 2, 3] = 7.0
    >>> [t.item() for t in find_peaks(maps, n_peaks=1)]
    [7.0, 2.0, 3.0]
    """
    return read_maps(response, n_peaks=n_peaks, n_columns=0, unit_std=unit_std)[:3]


def column_profiles(response: Maps, *, n_columns: int, unit_std: UnitStd | None = None) -> Profiles:
    """The mean of F(x) over each of ``n_columns`` equal strips of columns, float32.

    A strip that ends within a cell takes a share of it, so that the profile of a flipped map is
    the flipped profile.

    >>> column_profiles(torch.tensor([[[[1.0, 3.0, 8.0, 2.0]]]]), n_columns=2).tolist()
    [[[2.0, 5.0]]]
    """
    return read_maps(response, n_peaks=1, n_columns=n_columns, unit_std=unit_std)[3]


def read_maps(
    response: Maps, *, n_peaks: int, n_columns: int, unit_std: UnitStd | None = None
) -> tuple[Peaks, Peaks, Peaks, Profiles]:
    """What `find_peaks` and `column_profiles` give, from one pass over the maps."""
    if unit_std is None:
        unit_std = torch.ones(response.shape[1], 1, 1, device=response.device)
    # A product instead of a quotient per cell; infinity, for a constant channel, becomes 0.
    inverse = unit_std.to(response.device, torch.float32).reciprocal()
    inverse = inverse.permute(1, 2, 0).contiguous()
    share = _strips(response.shape[3], n_columns).to(response.device)
    # On a CPU one image at a time stays in the cache: three times faster than the batch (measured).
    step = 1 if response.device.type == "cpu" else max(len(response), 1)
    starts = range(0, max(len(response), 1), step)
    found = [_read(response[i : i + step], n_peaks, share, inverse) for i in starts]
    value, row, col, profile = (torch.cat(t) for t in zip(*found, strict=True))
    return value, row, col, profile


def _strips(width: int, n_columns: int) -> Float[Tensor, "width column"]:
    """How much of the mean of each strip each of a map's columns makes."""
    edges = torch.arange(n_columns + 1) * (width / max(n_columns, 1))
    cells = torch.arange(width)[:, None]
    covered = torch.minimum(cells + 1, edges[1:]) - torch.maximum(cells, edges[:-1])
    return covered.clamp_min(0) * (n_columns / width)


def _read(
    response: Maps,
    n_peaks: int,
    share: Float[Tensor, "width column"],
    inverse: Float[Tensor, "#height #width channel"],
) -> tuple[Peaks, Peaks, Peaks, Profiles]:
    padded = _normalised(response, inverse)
    columns = padded.sum(1)[:, 1:-1] / response.shape[2]  # image, width, channel
    # Half precision would store more as infinity.
    profile = (columns.transpose(1, 2) @ share).clamp_max(MAX_VALUE)
    centre = padded[:, 1:-1, 1:-1]
    highest = _neighbourhood_maximum(padded)
    # In floats: ten times faster than a mask (measured). On a plateau every cell is a maximum.
    maxima = torch.eq(centre, highest, out=highest).mul_(centre)
    by_channel = maxima.flatten(1, 2).transpose(1, 2).contiguous()
    n = min(n_peaks, by_channel.shape[-1])
    value, at = by_channel.topk(n, -1)
    row, col = _refine(padded, at)
    value = value.clamp_max(MAX_VALUE)
    if n < n_peaks:
        value, row, col = (pad(t, (0, n_peaks - n)) for t in (value, row, col))
    return value, row, col, profile


def _normalised(response: Maps, inverse: Float[Tensor, "#height #width channel"]) -> Padded:
    n, channels, height, width = response.shape
    padded = torch.zeros(n, height + 2, width + 2, channels, device=response.device)
    torch.mul(response.permute(0, 2, 3, 1), inverse, out=padded[:, 1:-1, 1:-1])
    padded.clamp_min_(0)
    # One cheap pass tells whether there is anything to mend; a GPU would have to wait for it.
    if response.device.type != "cpu" or not math.isfinite(float(padded.sum())):
        padded.nan_to_num_(0.0, posinf=0.0)
    return padded


def _neighbourhood_maximum(padded: Padded) -> Float[Tensor, "image height width channel"]:
    """The maximum over each 3 x 3 window: first of its rows, then of its columns."""
    # Four maxima per cell instead of eight.
    above, here, below = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
    rows = torch.maximum(torch.maximum(above, here), below)
    left, middle, right = rows[:, :, :-2], rows[:, :, 1:-1], rows[:, :, 2:]
    return torch.maximum(torch.maximum(left, middle), right)


def _refine(padded: Padded, at: Int[Tensor, "image channel peak"]) -> tuple[Peaks, Peaks]:
    """The places of the cells ``at`` (flat index in the map), moved to a parabola's vertex."""
    n, rows, cols, channels = padded.shape
    height, width = rows - 2, cols - 2
    row, col = at.div(width, rounding_mode="floor"), at.remainder(width)
    image = torch.arange(n, device=at.device)[:, None, None]
    channel = torch.arange(channels, device=at.device)[:, None]
    # Flat index in ``padded``; + 1 steps over its border.
    padded_row = image * rows + row + 1
    cell = (padded_row * cols + col + 1) * channels + channel
    look = lambda d_row, d_col: padded.take(cell + (d_row * cols + d_col) * channels)
    peak = look(0, 0)

    def vertex(before: Tensor, after: Tensor, at_border: Tensor) -> Tensor:
        curvature = 2 * peak - before - after
        slope = 0.5 * (after - before)
        # On a plateau there is no curvature, and the centre of the cell stands.
        shift = torch.where(curvature > 0, slope / curvature.clamp_min(1e-12), 0.0)
        # The border of zeros would push a peak inwards.
        return shift.clamp(-0.5, 0.5).masked_fill(at_border, 0.0)

    at_row_border = (row == 0) | (row == height - 1)
    at_col_border = (col == 0) | (col == width - 1)
    moved_row = row + vertex(look(-1, 0), look(1, 0), at_row_border)
    moved_col = col + vertex(look(0, -1), look(0, 1), at_col_border)
    return moved_row, moved_col
