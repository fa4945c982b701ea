"""`locate`: where every node of a workspace's graph is in new images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from explgraph.errors import Skipped, SourceError
from explgraph.files import make_folder
from explgraph.graph import layer_of, pick_apart
from explgraph.images import AnyPath, Boxes, DecodedBatch, ImageObject, Source, load_image
from explgraph.locations import (
    FOUND,
    LocationWriter,
    Locator,
    NodeLocations,
    layer_peaks,
    location_table,
)
from explgraph.mining import SURE
from explgraph.network import Network, measure_geometry
from explgraph.peaks import stream_peaks
from explgraph.progress import Report, silent
from explgraph.queries.asked import FRAME, Photographs, box_hint, picture_name, source_of
from explgraph.workspace import Workspace

N_DRAWN = 12  # nodes drawn on an image


@dataclass(frozen=True)
class LocatedBatch:
    """Where all nodes are on a few neighbouring objects of a source.

    Args:
        objects: those that could be read.
        locations: of the nodes on them.
        batch: their network inputs and frames.
        skipped: those that could not be read.
    """

    objects: tuple[ImageObject, ...]
    locations: NodeLocations
    batch: DecodedBatch
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Located:
    """The answer of `locate_source`.

    Args:
        objects: how many were read.
        rows: how many places there are, one per object and node.
        locations: the rows, unless they went to a file; with ``found``, whether the score is at
            least `explgraph.locations.FOUND`, and ``name`` where there are names.
        out: the file.
        pictures: the files that were drawn.
        skipped: images that could not be used.
        hint: what is doubtful about the question, see `explgraph.queries.box_hint`.
        explained: of each object annotation_id, image, and the shares of its activation that are
            part, texture and nothing; empty where the graph cannot tell.
    """

    objects: int
    rows: int
    locations: tuple[dict[str, Any], ...]
    out: Path | None
    pictures: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    hint: str | None = None
    explained: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        where = {"out": str(self.out)} if self.out else {"locations": list(self.locations)}
        return {
            "objects": self.objects,
            "rows": self.rows,
            "pictures": [str(path) for path in self.pictures],
            **where,
            "explained": list(self.explained),
            "frame": FRAME,
            "hint": self.hint,
            "skipped": [one.to_dict() for one in self.skipped],
        }


def locate_batches(
    workspace: Workspace,
    source: Source,
    *,
    network: Network,
    batch_size: int = 16,
    workers: int = 2,
    report: Report = silent,
) -> Iterator[LocatedBatch]:
    """Find every node of the workspace's graph on every object, batch by batch.

    Memory is bounded by the size of a batch.

    Args:
        source: new images.
        network: from `Workspace.network`.
        batch_size: objects per forward pass.
        workers: decoding threads.

    Raises:
        SourceError: not one image could be read; raised after the last batch.

    >>> from explgraph.images import read_source
    >>> batches = locate_batches(workspace, read_source(pictures), network=network, batch_size=4)
    >>> [len(one.objects) for one in batches]
    [4, 2]
    """
    graph, objects = workspace.graph, source.objects
    layers = tuple(layer.name for layer in graph.layers)
    deviations = graph.deviations or {}
    # With the deviations and settings of the job: new peaks must mean what the mined ones did.
    stream = stream_peaks(
        network,
        objects,
        geometry=measure_geometry(network, layers),
        unit_std={name: torch.from_numpy(std) for name, std in deviations.items()},
        settings=replace(workspace.job.peak_settings, layers=layers),
        batch_size=batch_size,
        workers=workers,
    )
    locator = Locator(graph)
    failed: list[Skipped] = []
    done = 0
    report("locate", 0, len(objects))
    for batch, peaks in ((one.batch, one.peaks) for one in stream):
        read = tuple(objects[i] for i in batch.indices.tolist())
        found = locator.locate(layer_peaks(graph, peaks)) if read else _nowhere(locator.nodes)
        skipped = tuple(Skipped(objects[i].file_name, why) for i, why in batch.skipped)
        yield LocatedBatch(read, found, batch, skipped)
        failed += skipped
        done += len(read) + len(skipped)
        report("locate", done, len(objects))
    # One good image is enough, so that this is known only after the last.
    if len(failed) == len(objects):
        raise SourceError(f"none of the {len(objects)} images could be read: {failed[0].reason}")


def locate_source(
    workspace: Workspace,
    source: Photographs,
    *,
    box: Boxes | None = None,
    network: Network | None = None,
    out: AnyPath | None = None,
    draw: AnyPath | None = None,
    top: int | None = None,
    batch_size: int = 16,
    workers: int = 2,
    report: Report = silent,
) -> Located:
    """Find every node on every object of a source; into a file, or as rows.

    Other arguments are those of `locate_batches`.

    Args:
        source: new images; or where they are, see `explgraph.read_source`.
        box: the objects in an image, see `explgraph.read_source`.
        network: by default that of the workspace, see `Workspace.network`.
        out: FILE.parquet, .csv or .json, which holds any number of objects.
        draw: folder for one picture per object, with its best nodes.
        top: only the best nodes of each object; None keeps all.

    Raises:
        UsageError: there can be no file at ``out``.
        SourceError: not one image could be read.

    >>> found = locate_source(workspace, pictures, top=3)
    >>> found.objects, found.rows, list(found.locations[0])[:4]
    (6, 18, ['annotation_id', 'image', 'node', 'layer'])
    """
    source, network = source_of(source, box=box), network or workspace.network()
    file, folder = None if out is None else Path(out), None if draw is None else Path(draw)
    batches = locate_batches(
        workspace, source, network=network, batch_size=batch_size, workers=workers, report=report
    )
    called = workspace.graph.called
    rows: list[dict[str, Any]] = []
    pictures: list[Path] = []
    explained: list[dict[str, Any]] = []
    skipped = list(source.skipped)
    # A file takes any number of objects; rows in memory are for a few.
    with LocationWriter(file) if file else nullcontext() as writer:
        for one in batches:
            table = location_rows(one, top=top)
            if writer:
                writer.write(table)
            else:
                for row in table.to_pylist():
                    name = {"name": called(row["node"])} if workspace.graph.names else {}
                    rows.append(row | {"found": row["score"] >= FOUND} | name)
            explained += explained_rows(one)
            if folder:
                pictures += draw_located(one, folder, called=called)
            skipped += one.skipped
        n_rows = writer.n_rows if writer else len(rows)
    # `skipped` holds what the source skipped as well as what could not be decoded.
    read = len(source.objects) + len(source.skipped) - len(skipped)
    # A broken photograph of several objects is named once.
    named, hint = tuple(dict.fromkeys(skipped)), box_hint(workspace, source.objects)
    answer = (read, n_rows, tuple(rows), file, tuple(pictures), named, hint)
    return Located(*answer, tuple(explained))


def location_rows(found: LocatedBatch, *, top: int | None = None) -> pa.Table:
    """The table of one batch's locations; see `explgraph.locations.location_table`.

    >>> from explgraph.images import read_source
    >>> (batch,) = locate_batches(workspace, read_source(pictures), network=network)
    >>> location_rows(batch).num_rows == 6 * len(graph)
    True
    """
    return location_table(
        found.locations,
        ids=[obj.annotation_id for obj in found.objects],
        images=[obj.file_name for obj in found.objects],
        frames=found.batch.frames,
        top=top,
    )


def explained_rows(found: LocatedBatch) -> list[dict[str, Any]]:
    """How much of each object's activation is part, texture and nothing; none if unknown.

    >>> from explgraph.images import read_source
    >>> (batch,) = locate_batches(workspace, read_source(pictures, limit=1), network=network)
    >>> [list(row) for row in explained_rows(batch)]
    [['annotation_id', 'image', 'part', 'texture', 'nothing']]
    """
    rows = []
    for i, obj in enumerate(found.objects):
        shares = found.locations.shares(i)
        if shares is not None:
            named = {"annotation_id": obj.annotation_id, "image": obj.file_name}
            rows.append(named | shares.to_dict())
    return rows


def draw_located(
    found: LocatedBatch,
    folder: Path,
    *,
    n: int = N_DRAWN,
    called: Callable[[str], str | None] = lambda node: None,
) -> list[Path]:
    """The pictures of a batch's objects with strong nodes of each, drawn into ``folder``.

    Drawn are the object's ``n`` best nodes of different filters at different places
    (`explgraph.graph.pick_apart`): the very best lie on each other. None that was not found is.
    A node that is ``called`` something gets its name (`explgraph.ExplanatoryGraph.called`).

    >>> from explgraph.images import read_source
    >>> (batch,) = locate_batches(workspace, read_source(pictures, limit=2), network=network)
    >>> [path.name for path in draw_located(batch, out)]
    ['00001-1.png', '00002-2.png']
    """
    # matplotlib, which few commands need
    from explgraph.figures import located_figure, save_figure

    make_folder(folder)
    locations, pictures = found.locations, []
    filters = [name.rpartition(":")[0] for name in locations.nodes]
    layers = list(dict.fromkeys(map(layer_of, locations.nodes)))
    for i, obj in enumerate(found.objects):
        best = pick_apart(locations.score[i], locations.place[i], filters, n)
        best.sort(key=lambda k: -locations.score[i, k])  # nearer ones, picked last, may be better
        frame, highest = found.batch.frames[i], locations.score[i, best[0]]
        best = [k for k in best if locations.found[i, k]]
        said = ", seen through its mirror image" if locations.mirrored[i] else ""
        unsure = locations.sureness is not None and locations.sureness[i] < SURE
        said += ", facing unsure" if unsure else ""
        said += "" if best else f": no node found (best score {highest:.2g})"
        figure = located_figure(
            load_image(obj),
            frame.to_image(locations.place[i, best]),
            locations.score[i, best],
            [locations.nodes[k] for k in best],
            names=[called(locations.nodes[k]) for k in best],
            layers=layers,
            box=None if obj.box is None else frame.box,
            title=f"{obj.file_name}, object {obj.annotation_id}{said}",
            shares=locations.shares(i),
        )
        pictures.append(save_figure(figure, folder / picture_name(obj)))
    return pictures


def _nowhere(nodes: tuple[str, ...]) -> NodeLocations:
    """The locations on a batch of which no image could be read."""
    place = np.zeros((0, len(nodes), 2), np.float32)
    return NodeLocations(nodes, place, place[..., 0], np.zeros(0, bool))
