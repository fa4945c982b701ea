"""Questions to a workspace about new images: where is every node?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from explgraph.errors import Skipped, SourceError
from explgraph.images import DecodedBatch, Source
from explgraph.locations import LocationWriter, Locator, NodeLocations, layer_peaks, location_table
from explgraph.network import Network, measure_geometry
from explgraph.peaks import stream_peaks
from explgraph.progress import Report, silent
from explgraph.workspace import Workspace

OnBatch = Callable[[NodeLocations, DecodedBatch], None]


def locate_source(
    workspace: Workspace,
    source: Source,
    *,
    network: Network,
    on_batch: OnBatch,
    batch_size: int = 16,
    workers: int = 2,
    report: Report = silent,
) -> list[Skipped]:
    """Find every node of the workspace's graph on every object of a source, in bounded memory; return what was skipped.

    Args:
        workspace: holds the graph.
        source: new images.
        network: from `Workspace.network`.
        on_batch: receives the locations and the decoded batch they belong to.
        batch_size: objects per forward pass.
        workers: decoding threads.
        report: progress.

    Raises:
        SourceError: not one image could be read.
    """
    graph = workspace.graph
    names = tuple(layer.name for layer in graph.layers)
    stream = stream_peaks(
        network,
        source.objects,
        geometry=measure_geometry(network, names),
        unit_std={
            name: torch.from_numpy(std) for name, std in workspace.store.load_unit_std().items()
        },
        settings=replace(workspace.settings(), layers=names),
        batch_size=batch_size,
        workers=workers,
    )
    locator = Locator(graph)
    skipped: list[Skipped] = []
    done = 0
    report("locate", 0, len(source.objects))
    for one in stream:
        if one.peaks:
            on_batch(locator.locate(layer_peaks(graph, one.peaks)), one.batch)
        skipped += [Skipped(source.objects[i].file_name, reason) for i, reason in one.batch.skipped]
        done += len(one.batch.indices) + len(one.batch.skipped)
        report("locate", done, len(source.objects))
    if len(skipped) == len(source.objects):
        raise SourceError(
            f"none of the {len(source.objects)} images could be read: {skipped[0].reason}"
        )
    return skipped


def location_rows(
    source: Source, found: NodeLocations, batch: DecodedBatch, *, top: int | None = None
) -> Any:
    """Return the Arrow table of one batch's locations (see `explgraph.locations.table.location_table`)."""
    objects = [source.objects[i] for i in batch.indices.tolist()]
    ids, files = [o.annotation_id for o in objects], [o.file_name for o in objects]
    return location_table(found, ids=ids, images=files, frames=batch.frames, top=top)


def locate_to_file(
    workspace: Workspace,
    source: Source,
    path: Path,
    *,
    network: Network,
    top: int | None = None,
    also: Sequence[OnBatch] = (),
    batch_size: int = 16,
    workers: int = 2,
    report: Report = silent,
) -> tuple[int, list[Skipped]]:
    """Write the locations table of a source to FILE.parquet, .csv or .json; return its number of rows and what was skipped.

    Args as in `locate_source`; ``top`` keeps the best nodes of each object, ``also`` receives every batch too.
    """
    with LocationWriter(path) as writer:

        def write(found: NodeLocations, batch: DecodedBatch) -> None:
            writer.write(location_rows(source, found, batch, top=top))
            for other in also:
                other(found, batch)

        skipped = locate_source(
            workspace,
            source,
            network=network,
            on_batch=write,
            batch_size=batch_size,
            workers=workers,
            report=report,
        )
        return writer.n_rows, skipped
