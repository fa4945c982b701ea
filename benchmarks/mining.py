"""Mining of ready-made maps, and its nodes beside the raw filters.

FILE.npz holds normalised, rectified maps LAYER (n, channel, row, column) of each layer, and
stride_px and first_centre_px with one entry per layer, lower layer first. Every other array of
shape (n, 2) is a landmark, (row, column) fractions of the 224 x 224 frame.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.tables import flat
from explgraph.evaluation import facing_accuracy, score_layer
from explgraph.graph import Layer
from explgraph.mining import mine
from explgraph.peaks import COLUMNS, LayerPeaks, column_profiles, find_peaks

FRAME = 224  # pixels
N_PEAKS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--maps", type=Path, required=True, metavar="FILE.npz")


def run(args: argparse.Namespace) -> dict[str, Any]:
    with np.load(args.maps) as stored:
        arrays = {name: stored[name] for name in stored}
    places = [a[:, ::-1] for a in arrays.values() if a.ndim == 2 and a.shape[1] == 2]
    marks = np.stack(places, 1).astype(float)
    start = time.perf_counter()
    peaks = read_layers(arrays)
    mined = mine(peaks[::-1])  # the file lists the lower layer first
    elapsed = time.perf_counter() - start
    mirrored = mined.mirrored.numpy()
    unmirrored, images = np.zeros(len(marks), bool), np.arange(len(marks))
    score = lambda found, flags: score_layer(*found, marks, flags, images).to_dict()
    nodes = {
        one.peaks.layer.name: node_places(one, kept, mirrored)
        for one, kept in zip(mined.layers, mined.kept, strict=True)
    }
    filters = {one.layer.name: filter_places(one) for one in peaks}
    rows = {
        "layers": (nodes, mirrored),
        "layers_without_flags": (nodes, unmirrored),
        "raw_filters": (filters, mirrored),
        "raw_filters_as_photographed": (filters, unmirrored),
    }
    return {
        "seconds": elapsed,
        "facing": facing_accuracy(marks, mirrored),
        **{
            what: {name: score(one, flags) for name, one in found.items()}
            for what, (found, flags) in rows.items()
        },
    }


text = flat


def read_layers(arrays: dict[str, NDArray[Any]]) -> list[LayerPeaks]:
    """The peaks of each layer's maps."""
    layers = []
    maps_of = {name: array for name, array in arrays.items() if array.ndim == 4}
    for i, (name, array) in enumerate(maps_of.items()):
        maps = torch.from_numpy(array).float()
        stride, first = float(arrays["stride_px"][i]), float(arrays["first_centre_px"][i])
        unknown = (float("nan"), float("nan"))
        layer = Layer(name, *maps.shape[1:], (stride, stride), (first, first), unknown)
        value, row, col = find_peaks(maps, n_peaks=N_PEAKS)
        row, col = ((cell * stride + first) / FRAME for cell in (row, col))
        profile = column_profiles(maps, n_columns=COLUMNS)
        # image first, as the maps have it -> facing, channel, peak, image
        columns = (t.permute(1, 2, 0)[None].contiguous() for t in (value, row, col, profile))
        layers.append(LayerPeaks(layer, *columns))
    return layers


def node_places(mined: Any, kept: Tensor, mirrored: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The kept nodes' places (image, node, xy) in the photographs, and their scores."""
    place = mined.places.place[kept].flip(1).permute(2, 0, 1).numpy().astype(float)
    place[mirrored, :, 0] = 1 - place[mirrored, :, 0]
    return place, mined.score[kept].T.numpy().astype(float)


def filter_places(peaks: LayerPeaks) -> tuple[NDArray[Any], ...]:
    """Place (image, channel, xy) of each map's highest peak in the photographs, its value."""
    first = lambda column: column[0, :, 0].T.numpy().astype(float)
    return np.stack([first(peaks.col), first(peaks.row)], -1), first(peaks.value)
