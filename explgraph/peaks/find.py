"""Feature maps -> peaks: the strongest local maxima of the positive response, refined below a cell."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

MAX_VALUE = torch.finfo(torch.float16).max  # the peak store keeps values in half precision


def find_peaks(response: Tensor, *, n_peaks: int, unit_std: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, row and column of the ``n_peaks`` strongest local maxima of each map, strongest first.

    A cell is a local maximum where its normalised response F(x) = max(f_x, 0) / std_x is positive and no smaller than that of its
    eight neighbours. The place is refined by a parabola through the maximum and its two neighbours, separately along rows and
    columns (measured: it costs nothing and lowers instability); at the border, where a neighbour is missing, the cell's centre stands.

    Args:
        response: feature maps, (image, channel, height, width), any memory format, on any device.
        n_peaks: P, how many maxima to keep per map.
        unit_std: standard deviation of each unit over a background set, (channel, height, width) or (channel, 1, 1); None = 1.

    Returns:
        value, row, col: each (image, channel, n_peaks), float32; places in cells, first cell = 0. Where a map has fewer maxima,
        value is 0 (and the place meaningless). Values end at 65504, the largest that half precision holds.
    """
    inverse = None if unit_std is None else unit_std.to(response).reciprocal()
    # On a CPU one image at a time stays in the cache: three times faster than the batch (measured).
    step = 1 if response.device.type == "cpu" else max(len(response), 1)
    parts = [_find(response[i : i + step], n_peaks, inverse) for i in range(0, max(len(response), 1), step)]
    return tuple(torch.cat(t) for t in zip(*parts, strict=True))  # type: ignore[return-value]


def _find(response: Tensor, n_peaks: int, inverse: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    channels_last = response.is_contiguous(memory_format=torch.channels_last) and not response.is_contiguous()
    scaled = (response if inverse is None else response * inverse).float().clamp_min(0).nan_to_num(0.0, posinf=0.0)
    by_channel = lambda t: pad(t.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).permute(0, 3, 1, 2)
    padded = by_channel(scaled) if channels_last else pad(scaled, (1, 1, 1, 1))
    centre = padded[..., 1:-1, 1:-1]
    maxima = torch.where(centre == _neighbourhood_maximum(padded), centre, 0.0).flatten(2).contiguous()
    n = min(n_peaks, maxima.shape[-1])
    value, at = maxima.topk(n, -1)
    row, col = _refine(padded, at)
    value = value.clamp_max(MAX_VALUE)
    if n < n_peaks:
        value, row, col = (pad(t, (0, n_peaks - n)) for t in (value, row, col))
    return value, row, col


def _neighbourhood_maximum(padded: Tensor) -> Tensor:
    """Return the maximum over each 3 x 3 window, (image, channel, height, width), of maps padded by one cell."""
    rows = torch.maximum(torch.maximum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    return torch.maximum(torch.maximum(rows[..., :-2, :], rows[..., 1:-1, :]), rows[..., 2:, :])


def _refine(padded: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places of the cells ``at`` (flat index within the map), moved to the vertex of a parabola."""
    height, width = padded.shape[-2] - 2, padded.shape[-1] - 2
    row, col = at // width, at % width
    image = torch.arange(len(padded), device=at.device)[:, None, None]
    channel = torch.arange(padded.shape[1], device=at.device)[None, :, None]
    look = lambda d_row, d_col: padded[image, channel, row + 1 + d_row, col + 1 + d_col]
    peak = look(0, 0)

    def vertex(before: Tensor, after: Tensor, at_border: Tensor) -> Tensor:
        curvature = 2 * peak - before - after
        shift = torch.where(curvature > 0, 0.5 * (after - before) / curvature.clamp_min(1e-12), 0.0)
        return torch.where(at_border, 0.0, shift.clamp(-0.5, 0.5))

    rows = row + vertex(look(-1, 0), look(1, 0), (row == 0) | (row == height - 1))
    cols = col + vertex(look(0, -1), look(0, 1), (col == 0) | (col == width - 1))
    return rows.float(), cols.float()
