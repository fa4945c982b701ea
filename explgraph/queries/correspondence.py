"""`correspondence`: the same part hidden in many objects of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from explgraph.attribution import Correspondence, View, correspondence, plain_views
from explgraph.errors import SourceError, UsageError
from explgraph.images import Source, decode_batches
from explgraph.locations import FOUND
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.asked import box_hint
from explgraph.queries.locate import locate_batches
from explgraph.queries.node_views import views_of
from explgraph.queries.options import CorrespondenceOptions
from explgraph.workspace import Workspace


@dataclass(frozen=True)
class CorrespondenceTable:
    """The answer of `correspondence_table`: one row per layer and part."""

    rows: tuple[Correspondence, ...]
    hint: str | None = None  # what is doubtful about the question

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"results": [asdict(row) for row in self.rows], "hint": self.hint}


def correspondence_table(
    network: Network,
    source: Source,
    layers: Sequence[str],
    options: CorrespondenceOptions,
    *,
    workspace: Workspace | None = None,
    report: Report = silent,
) -> CorrespondenceTable:
    """Whether layers answer alike to hiding a part; see `explgraph.attribution.correspondence`.

    Args:
        network: its layers must yield maps.
        source: objects; with a workspace they are turned to the facing that its graph found.
        layers: dotted torch names; by default those of the workspace.
        options: the parts to hide.
        workspace: its nodes and facing.

    Raises:
        UsageError: no part, or one that fewer than two objects show; nodes without a workspace.
        SourceError: not one image could be read.

    >>> from explgraph.images import read_source
    >>> options = CorrespondenceOptions(boxes=(("head", (0, 0, 0.5, 0.5)),), n_random=1)
    >>> source = read_source(pictures, limit=3)
    >>> (row,) = correspondence_table(network, source, ["features.14"], options).rows
    >>> row.part, row.n_images, row.pairs
    ('head', 3, 3)
    """
    if not layers and workspace is None:
        raise UsageError("name the layers to compare with --layers; 'explgraph layers' lists them")
    if not (options.landmarks or options.nodes or options.boxes):
        raise UsageError(
            "name at least one part: --landmark of a COCO file, --node of the workspace, "
            "or --box NAME=x,y,w,h"
        )
    if options.nodes and workspace is None:
        raise UsageError("nodes are those of a mined graph; say with --workspace which")
    if not 0 < options.side <= 1:
        raise UsageError(
            "the side of a square must be a fraction of the input, above 0, at most 1, "
            f"got {options.side}"
        )
    if workspace is not None:
        layers = layers or workspace.job.peak_settings.layers
    # All at once: every pair of objects is compared. The command line takes 60 by default.
    views = _views(network, source, workspace, options.nodes, report)
    report("correspondence", 0, 0)
    found = correspondence(
        network,
        np.stack([view.pixels for view in views]),
        _masks(views, options, network.input.size),
        layers,
        window=options.window,
        n_random=options.n_random,
        batch_size=16,
    )
    hint = None if workspace is None else box_hint(workspace, source.objects)
    return CorrespondenceTable(tuple(found), hint)


def _views(
    network: Network,
    source: Source,
    workspace: Workspace | None,
    nodes: Sequence[str],
    report: Report,
) -> list[View]:
    """All objects as the network is shown them; with a workspace, with its nodes found in them."""
    views: list[View] = []
    if workspace is not None:
        for name in nodes:
            workspace.graph.node(name)
        for one in locate_batches(workspace, source, network=network, report=report):
            views.extend(views_of(workspace.graph, one))
    else:
        height, width = network.input.size
        for batch in decode_batches(source.objects, height=height, width=width, batch_size=16):
            views.extend(plain_views(source.objects, batch))
    if not views:
        raise SourceError(f"none of the {len(source.objects)} images could be read")
    return views


def _masks(
    views: Sequence[Any], options: CorrespondenceOptions, size: tuple[int, int]
) -> dict[str, NDArray[Any]]:
    """Part -> boxes (n, 4) in pixels of the input, NaN where it is not shown."""
    # One size for all landmarks and nodes, so that their distances can be compared.
    height, width = size
    masks = {}
    for name in options.landmarks:
        masks[name] = _squares([_landmark(view, name) for view in views], options.side, size)
    for name in options.nodes:
        # NaN: where it was not found there is nothing to hide.
        found = [view.score_of(name) >= FOUND for view in views]
        places = np.array([view.places[view.nodes.index(name)] for view in views])
        places[np.logical_not(found)] = np.nan
        masks[name] = _squares(places, options.side, size)
    for name, (x, y, w, h) in options.boxes:
        masks[name] = np.tile([x * width, y * height, w * width, h * height], (len(views), 1))
    return masks


def _landmark(view: View, name: str) -> NDArray[Any]:
    """(row, column) of a landmark in the input as it is shown, NaN where it is not annotated."""
    point = view.obj.landmarks.get(name)
    if point is None:
        return np.full(2, np.nan)
    return view.frame.to_input(point, mirrored=view.mirrored)


def _squares(places: ArrayLike, side: float, size: tuple[int, int]) -> NDArray[Any]:
    """Boxes (n, 4) in pixels about the places, moved inside the input; NaN for those outside."""
    # Inside whole, so that as many pixels are hidden near a border as elsewhere.
    place, extent = np.asarray(places), np.multiply(side, size)
    inside = ((place >= 0) & (place <= 1)).all(1, keepdims=True)
    corner = np.clip(place * size - extent / 2, 0, size - extent)
    sides = np.broadcast_to(extent[::-1], place.shape)
    return np.where(inside, np.column_stack([corner[:, ::-1], sides]), np.nan)
