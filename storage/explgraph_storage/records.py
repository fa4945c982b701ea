"""What a store takes and gives: plain frozen records, tied to no connection."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import StoreError

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the image


@dataclass(frozen=True)
class RunRecord:
    """One run: what was asked for, with what, and how it ended.

    Args:
        id: number of the run, counted from 1.
        command: the verb that started it, for instance "mine".
        status: "running", "finished" or "failed".
        started_at: ISO 8601, UTC.
        finished_at: likewise, None while it runs.
        config: the whole configuration, JSON values.
        extraction_fingerprint: stands for all that the peaks depend on.
        mining_fingerprint: stands for all that the graph depends on.
        weights_sha256: of the network's weights.
        versions: package -> version.
        seed: of every random choice.
        error: why it failed.

    >>> run = workspace.store.read_runs()[0]
    >>> run.command, run.status
    ('mine', 'finished')
    """

    id: int
    command: str
    status: str
    started_at: str
    finished_at: str | None
    config: dict[str, Any]
    extraction_fingerprint: str | None
    mining_fingerprint: str | None
    weights_sha256: str | None
    versions: dict[str, str]
    seed: int | None
    error: str | None


@dataclass(frozen=True)
class ImageRecord:
    """One photograph: its path as the source names it and its size in pixels.

    >>> workspace.store.read_images()[0]
    ImageRecord(id=1, path='creatures/00001.jpg', width=240, height=180)
    """

    id: int
    path: str
    width: int
    height: int


@dataclass(frozen=True)
class ObjectRecord:
    """One object of an image.

    Args:
        id: the ``annotation_id`` of the locations table.
        image_id: id of its image.
        box: (x, y, width, height), pixels of the image.
        landmarks: name -> (x, y), pixels of the image.
        label: category, if the source names one.
        mirrored: facing found by mining; None where it is not known.

    >>> fox = workspace.store.read_objects()[0]
    >>> fox.box, fox.label
    ((25.0, 56.0, 202.0, 80.0), 'fox')
    """

    id: int
    image_id: int
    box: Box
    landmarks: dict[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    label: str | None = None
    mirrored: bool | None = None


@dataclass(frozen=True)
class ShardRecord:
    """One finished shard of the peak store: a file that never changes again.

    Args:
        number: which shard.
        file: its name in the workspace.
        fingerprint: of the extraction that made it.
        n_objects: in it.
        n_peaks: in it.
        sha256: of the file.
        finished_at: ISO 8601, UTC; the store fills it in where it is empty.

    >>> shard = workspace.store.finished_shards()[0]
    >>> shard.file, shard.n_objects
    ('part-00000.parquet', 48)
    """

    number: int
    file: str
    fingerprint: str
    n_objects: int
    n_peaks: int
    sha256: str
    finished_at: str = ""


@dataclass(frozen=True)
class FileRecord:
    """A file as it was when the workspace made it, or was made from it.

    Args:
        role: "locations", "deviations", "photograph", "annotations", "weights"; or "graph": the
            rows of its tables.
        path: of a file of the workspace within it; of a photograph as the source names it.
        bytes: its size.
        sha256: of its content.

    >>> [one.path for one in workspace.store.read_files("locations")]
    ['locations/part-00000.parquet']
    """

    role: str
    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, eq=False)
class TopPlaces:
    """The best objects of every node: arrays (n,), entry by entry one place, best first.

    Args:
        node: position of the node in the graph's node order, counted from 0.
        object: id of the object.
        x: pixels of the original image.
        y: likewise.
        score: the higher the surer.

    Raises:
        StoreError: the arrays are not one-dimensional and of one length.

    >>> nodes, objects = np.array([0, 0, 1]), np.array([7, 3, 7])
    >>> TopPlaces(nodes, objects, *np.ones((2, 3)), score=np.array([0.9, 0.8, 0.7])).score.shape
    (3,)
    """

    node: NDArray[np.integer[Any]]
    object: NDArray[np.integer[Any]]
    x: NDArray[np.floating[Any]]
    y: NDArray[np.floating[Any]]
    score: NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        # Longer arrays would be cut off by the zip that makes rows of them.
        shapes = {one.name: np.shape(getattr(self, one.name)) for one in fields(self)}
        if len(set(shapes.values())) != 1 or len(shapes["node"]) != 1:
            raise StoreError(
                f"the arrays of top places must be one-dimensional and of one length, got {shapes}"
            )


@dataclass(frozen=True)
class TopPlace:
    """Where a node is on one of its best objects: pixels of the image at the path ``image``.

    >>> TopPlace(object_id=7, image="zebra/7.jpg", x=120.5, y=85.0, score=0.9).image
    'zebra/7.jpg'
    """

    object_id: int
    image: str
    x: float
    y: float
    score: float


@dataclass(frozen=True)
class Relation:
    """A parent or child of a node: the other node's id, and the edge's attributes.

    >>> upper, lower = next(iter(graph.edges))
    >>> list(workspace.store.read_node(upper).children[0].attributes)
    ['d_row', 'd_col', 'std', 'weight', 'co_firing']
    """

    name: str
    attributes: dict[str, float] = field(hash=False)


@dataclass(frozen=True)
class NodeRecord:
    """One node with what surrounds it; parents and children heaviest first, places best first.

    >>> first = workspace.store.read_node(graph.ordered_nodes()[0])
    >>> first.parents, len(first.children) == graph.out_degree(first.name)
    ((), True)
    """

    name: str
    attributes: dict[str, Any] = field(hash=False)
    parents: tuple[Relation, ...]
    children: tuple[Relation, ...]
    top_places: tuple[TopPlace, ...]


@dataclass(frozen=True)
class PartAnnotation:
    """Where someone marked a semantic part: x and y in pixels of the object's image.

    >>> workspace.store.read_semantic_parts()[0].annotations[0]
    PartAnnotation(object_id=1, x=205.67, y=87.79)
    """

    object_id: int
    x: float
    y: float


@dataclass(frozen=True)
class PartTemplate:
    """What one annotated object teaches about a part; of the votes, the heaviest come first.

    Args:
        object_id: the annotated object.
        correction: (row, column), fractions, what it adds to the votes per unit of likeness.
        pose: of the object.
        nodes: ids of the nodes that vote.
        weight: of each vote, summing to 1.
        displacement: (row, column) of each, part minus node, fractions, resolved facing.
        presence: relative score of each node on the object.

    >>> template = workspace.store.read_semantic_parts()[0].templates[0]
    >>> template.object_id, len(template.nodes)
    (1, 128)
    """

    object_id: int
    correction: tuple[float, float]
    pose: tuple[float, ...]
    nodes: tuple[str, ...]
    weight: tuple[float, ...]
    displacement: tuple[tuple[float, float], ...]
    presence: tuple[float, ...]


@dataclass(frozen=True)
class NameRecord:
    """What someone calls a node or a filter.

    Args:
        target: id of the node (LAYER:CHANNEL:INDEX), or the filter (LAYER:CHANNEL).
        name: such as "ear".
        origin: "hand", or "part head".
        given_at: ISO 8601, UTC.

    >>> NameRecord("features.14:3:0", "ear").origin
    'hand'
    """

    target: str
    name: str
    origin: str = "hand"
    given_at: str = ""


@dataclass(frozen=True)
class RepairRecord:
    """A network repaired: what was changed, how it was judged, and the tensors that changed.

    Args:
        method: "zero", "damp" or "retrain".
        config: what was asked for and chosen, JSON values.
        figures: what it does to the accuracy, JSON values.
        weights: safetensors: the changed tensors of the state dict.
        weights_sha256: of the network before.
        id: number of the repair, counted from 1; the store fills it in.
        made_at: ISO 8601, UTC; likewise.

    >>> RepairRecord("zero", {"filters": ["conv:3"]}, {}, b"", "00").config["filters"]
    ['conv:3']
    """

    method: str
    config: dict[str, Any] = field(hash=False)
    figures: dict[str, Any] = field(hash=False)
    weights: bytes = field(repr=False)
    weights_sha256: str
    id: int = 0
    made_at: str = ""


@dataclass(frozen=True)
class SemanticPartRecord:
    """A semantic part: the And-Or graph above the nodes, and the marks that it comes from.

    Args:
        name: what the user calls it.
        config: settings of the fit, JSON values.
        contrast: scale of the differences in appearance.
        annotations: in the order in which they were given.
        templates: one per annotation; none after the graph was mined anew, until the part is
            fitted again.
        fitted_at: ISO 8601, UTC; the store fills it in where it is empty.

    >>> head = workspace.store.read_semantic_parts()[0]
    >>> head.name, len(head.annotations), head.config["nodes"]
    ('head', 3, 128)
    """

    name: str
    config: dict[str, Any] = field(hash=False)
    contrast: float
    annotations: tuple[PartAnnotation, ...]
    templates: tuple[PartTemplate, ...]
    fitted_at: str = ""
