"""The explanatory graph: a ``networkx.DiGraph`` whose node and edge attributes are checked.

Nodes are part patterns named ``layer:channel:index``. An edge leads from a node of an upper layer
to a node of the next chosen layer below: the two fire together and keep this displacement (Zhang
et al., AAAI 2018, section 3). Places and displacements are fractions of the network input,
(row, column), in the resolved facing.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from explgraph.errors import GraphError
from explgraph.html import table

if TYPE_CHECKING:
    from torch import Tensor

Coordinate = TypeVar("Coordinate", "float", "NDArray[Any]", "Tensor")

NODE_ATTRIBUTES: dict[str, type] = {
    "layer": str,  # dotted name of the conv-layer
    "channel": int,
    "index": int,  # number of the node within its channel
    "row": float,  # mean place mu_V, fraction of the input height
    "col": float,
    "std": float,  # sigma_V, fraction
    "weight": float,  # P(V) within its channel's mixture
    "none": float,  # P(V_none) of its channel
    "support": float,  # in how many images the node was found (effective number)
    "score": float,  # mean score over its 20 best images, 0..1
    "communality": float,  # share of its movement in common with the rest of the object, 0..1
    "kind": str,  # "part"; "texture" where the pattern keeps no place
}
KINDS = ("part", "texture")  # the values of ``kind``
# Optional: how the node sways with the object's pose, (2, q) row by row, fractions per unit of
# pose; absent = not at all.
LOADINGS = "loadings"
EDGE_ATTRIBUTES: dict[str, type] = {
    "d_row": float,  # lower node's mean place minus upper node's
    "d_col": float,
    "std": float,  # of the displacement over images, fraction
    "weight": float,  # share of this parent in the node's predicted place; sums to <= 1
}
# Optional: correlation over images of how strongly the two fire, -1..1; absent = not measured.
CO_FIRING = "co_firing"
EDGE_COLUMNS: dict[str, type] = {**EDGE_ATTRIBUTES, CO_FIRING: float}


# What a graph keeps of a layer, and a database stores; `Layer.kind` and `Layer.input_size` are not.
LAYER_ATTRIBUTES = ("name", "channels", "height", "width", "stride", "first", "size")


@dataclass(frozen=True)
class Layer:
    """A layer of a network: where its cells look at; pairs are (row, column), pixels of the input.

    Args:
        name: dotted torch name.
        channels: of the map.
        height: rows of the map.
        width: columns of the map.
        stride: distance of neighbouring cells.
        first: centre of the first cell's receptive field, the first pixel's centre at 0.5; lies
            outside the image if need be.
        size: extent of the receptive field; ``inf`` if it reaches over any input (attention,
            adaptive pooling). Then stride and first are those of equal tiles of the input.
        kind: class name of the module, where the network was looked at.
        input_size: (height, width) of the network input for which it was measured.

    >>> layer = Layer("conv", 8, 4, 6, (8.0, 8.0), (4.0, 4.0), (11.0, 11.0), input_size=(32, 48))
    >>> layer.to_fraction(0.0, 5.0)
    (0.125, 0.9166666666666666)
    """

    name: str
    channels: int
    height: int
    width: int
    stride: tuple[float, float]
    first: tuple[float, float]
    size: tuple[float, float]
    kind: str = field(default="", compare=False)
    input_size: tuple[int, int] = field(default=(0, 0), compare=False)

    def centres(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The receptive-field centres of all rows and of all columns, pixels."""
        rows = np.arange(self.height, dtype=np.float32)
        cols = np.arange(self.width, dtype=np.float32)
        return self.first[0] + self.stride[0] * rows, self.first[1] + self.stride[1] * cols

    def to_fraction(self, rows: Coordinate, cols: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Places as fractions of the input, from cell coordinates; 0 is the first centre."""
        height, width = self.input_size
        return (
            (rows * self.stride[0] + self.first[0]) / height,
            (cols * self.stride[1] + self.first[1]) / width,
        )

    def to_dict(self) -> dict[str, Any]:
        """What a graph keeps of the layer, as plain values."""
        return {name: getattr(self, name) for name in LAYER_ATTRIBUTES}


def node_name(layer: str, channel: int, index: int) -> str:
    """The id of a node.

    >>> node_name("features.28", 12, 3)
    'features.28:12:3'
    """
    return f"{layer}:{channel}:{index}"


def layer_of(node: str) -> str:
    """The layer in a node's id.

    >>> layer_of("features.28:12:3")
    'features.28'
    """
    return node.rsplit(":", 2)[0]


SHARES = ("part", "texture", "nothing")


@dataclass(frozen=True)
class Shares:
    """How much of one image's activation the graph explains (`explgraph.mining.account`).

    Args:
        part: share that keeps its place on the object, beyond chance.
        texture: share that fires in several places of an image.
        nothing: share that chance explains.

    >>> str(Shares(0.62, 0.2, 0.18))
    '62% part, 20% texture, 18% nothing'
    """

    part: float
    texture: float
    nothing: float

    def __str__(self) -> str:
        # Rounded where one ends and the next begins, so that what is said adds up.
        ends = np.rint(100 * np.cumsum([0.0, *self.to_dict().values()])).astype(int)
        said = zip(np.diff(ends).tolist(), SHARES, strict=True)
        return ", ".join(f"{share}% {name}" for share, name in said)

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in SHARES}


@dataclass(frozen=True, eq=False)
class Account:
    """How much of each channel of a layer the nodes explain (`explgraph.mining.account`).

    Args:
        mass: activation mass per image, in deviations of the unit, (channel,) float64.
        part: share of it that keeps its place, beyond chance; 0 for a silent channel.
        texture: share of it that fires in several places of an image.
        nothing: share that chance explains; the three add up to 1.
        patterns: number of part-like nodes, (channel,) int64.
        chance: share that part-like nodes would take of peaks in permuted images. Like the next
            None in a graph that was mined before it was kept; its shares mean something else.
        repeats: how much more often two places of an image fire than those of two images.

    >>> Account.from_dict({"mass": [2.0], "part": [0.5], "texture": [0.25], "nothing": [0.25],
    ...                    "patterns": [3]}).part
    array([0.5])
    """

    mass: NDArray[np.float64]
    part: NDArray[np.float64]
    texture: NDArray[np.float64]
    nothing: NDArray[np.float64]
    patterns: NDArray[np.int64]
    chance: NDArray[np.float64] | None = None
    repeats: NDArray[np.float64] | None = None

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain lists for JSON, one entry per channel."""
        kept = {name: values for name, values in vars(self).items() if values is not None}
        return {name: values.tolist() for name, values in kept.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, list[Any]]) -> Account:
        """The account of `to_dict`, bit by bit."""
        return cls(**{name: np.asarray(values) for name, values in plain.items()})


class ExplanatoryGraph(nx.DiGraph):
    """Part patterns, their edges, and what mining knew: typed views of ``graph.graph``.

    Build it with `add_pattern`, or with networkx's own methods followed by `check`.
    ``graph.graph`` holds plain values, which a database and graph files keep.

    >>> ExplanatoryGraph(n_images=90).n_images
    90
    """

    def __repr__(self) -> str:
        layers = " > ".join(layer.name for layer in self.layers) or "no layer"
        images = "" if self.n_images is None else f", {self.n_images} images"
        nodes, edges = self.number_of_nodes(), self.number_of_edges()
        return f"<ExplanatoryGraph: {nodes:,} nodes, {edges:,} edges, {layers}{images}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the layers, and the surest nodes of each."""
        rows = []
        for layer in self.layers:
            nodes = sorted(self.nodes_of(layer.name), key=lambda v: -self.nodes[v]["score"])
            best = ", ".join(f"{self.title(v)} ({self.nodes[v]['score']:.2f})" for v in nodes[:5])
            size = f"{layer.height} x {layer.width} x {layer.channels}"
            rows.append((layer.name, size, len(nodes), best))
        head = ["layer", "map", "nodes", "surest (score)"]
        return f"<div><b>{escape(repr(self)[1:-1])}</b>{table(head, rows)}</div>"

    deviations: dict[str, NDArray[np.float32]] | None = None
    """Layer -> deviations of its units, (channels, height, width) or (channels, 1, 1): what new
    images are measured in. Not of the plain values: copies and graph files have None."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The mined layers, top layer first."""
        return tuple(self.graph.get("layers", ()))

    @property
    def n_images(self) -> int | None:
        """How many images the graph was mined from."""
        n_images: int | None = self.graph.get("n_images")
        return n_images

    @property
    def config(self) -> dict[str, Any]:
        """The job that made the graph, as plain values; empty without a workspace."""
        config: dict[str, Any] = self.graph.get("config", {})
        return config

    @config.setter
    def config(self, config: dict[str, Any]) -> None:
        self.graph["config"] = config

    @property
    def mining(self) -> dict[str, Any]:
        """The settings of mining (`explgraph.mining.MiningConfig`), as plain values."""
        settings: dict[str, Any] = self.graph.get("mining", {})
        return settings

    @property
    def lower_bound(self) -> dict[str, list[list[float]]]:
        """Layer -> mean log-likelihood before each EM round, a list for every run of EM."""
        bounds: dict[str, list[list[float]]] = self.graph.get("lower_bound", {})
        return bounds

    @property
    def converged(self) -> dict[str, bool]:
        """Layer -> whether its last run of EM converged."""
        converged: dict[str, bool] = self.graph.get("converged", {})
        return converged

    @property
    def explained(self) -> dict[str, Account]:
        """Layer -> its account; empty for a graph that was mined before they were kept."""
        plain = self.graph.get("explained", {})
        return {layer: Account.from_dict(account) for layer, account in plain.items()}

    @property
    def facing(self) -> dict[str, Any] | None:
        """The facing model (`explgraph.mining.FacingModel.to_dict`), None without one."""
        facing: dict[str, Any] | None = self.graph.get("facing")
        return facing

    @property
    def semantic_parts(self) -> list[dict[str, Any]]:
        """The And-Or graphs of the semantic parts, where a workspace put them in."""
        parts: list[dict[str, Any]] = self.graph.get("semantic_parts", [])
        return parts

    @semantic_parts.setter
    def semantic_parts(self, parts: list[dict[str, Any]]) -> None:
        self.graph["semantic_parts"] = parts

    @property
    def names(self) -> dict[str, str]:
        """What people call nodes (by id) and filters (by LAYER:CHANNEL); mostly empty."""
        names: dict[str, str] = self.graph.get("names", {})
        return names

    @names.setter
    def names(self, names: dict[str, str]) -> None:
        self.graph.pop(
            "names", None
        )  # without names the graph is what it was before there were any
        if names:
            self.graph["names"] = names

    def called(self, node: str) -> str | None:
        """The name of a node, or that of its filter; None if it has none."""
        names = self.names
        return names.get(node) or names.get(node.rpartition(":")[0])

    def title(self, node: str) -> str:
        """The id of a node, and its name if it has one.

        >>> named = ExplanatoryGraph()
        >>> named.names = {"conv:3:0": "ear"}
        >>> named.title("conv:3:0"), named.title("conv:4:0")
        ('conv:3:0 "ear"', 'conv:4:0')
        """
        name = self.called(node)
        return f'{node} "{name}"' if name else node

    def layer(self, name: str) -> Layer:
        """The mined layer called ``name``; raises GraphError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.layers)
        raise GraphError(f"layer {name!r} is not in the graph; it has {known}")

    def nodes_of(self, layer: str) -> Iterator[str]:
        """The node ids of one layer in insertion order."""
        return (node for node, name in self.nodes(data="layer") if name == layer)

    def ordered_nodes(self) -> tuple[str, ...]:
        """The node ids layer by layer from the top: the order of all arrays over nodes."""
        return tuple(name for layer in self.layers for name in self.nodes_of(layer.name))

    def node(self, node: str) -> dict[str, Any]:
        """The attributes of a node (see NODE_ATTRIBUTES).

        Raises:
            GraphError: there is none of this id; names the nearest one.
        """
        if node in self:
            attributes: dict[str, Any] = self.nodes[node]
            return attributes
        close = difflib.get_close_matches(node, self.nodes, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {len(self)} others"
        raise GraphError(
            f"{node!r} is not a node of the graph; {hint} Ids are LAYER:CHANNEL:INDEX,"
            " 'explgraph show' lists them"
        )

    def parents(self, node: str) -> list[str]:
        """The upper nodes that predict this node's place, heaviest first."""
        return sorted(self.predecessors(node), key=lambda p: -self.edges[p, node]["weight"])

    def children(self, node: str) -> list[str]:
        """The lower nodes whose place this node helps to predict, heaviest first."""
        return sorted(self.successors(node), key=lambda c: -self.edges[node, c]["weight"])

    def add_pattern(self, **attributes: Any) -> str:
        """Add a part pattern from its attributes (see NODE_ATTRIBUTES) and return its id."""
        name = node_name(attributes["layer"], attributes["channel"], attributes["index"])
        _check_node(name, attributes)
        self.add_node(name, **attributes)
        return name

    def check(self) -> ExplanatoryGraph:
        """The graph itself, if it keeps its schema.

        Attributes are complete, typed and finite. Ids match the attributes. Layers are declared.
        Every edge leads from a layer to the one right below it, so the graph has no cycle.

        Raises:
            GraphError: names the first violation.
        """
        layers = self.layers
        position = {layer.name: i for i, layer in enumerate(layers)}
        depth = {}
        for name, attributes in self.nodes(data=True):
            _check_node(name, attributes)
            layer = attributes["layer"]
            expected = node_name(layer, attributes["channel"], attributes["index"])
            if name != expected:
                raise GraphError(
                    f"node id {name!r} does not match its attributes, expected {expected!r}"
                )
            if layer not in position:
                known = ", ".join(position) or "none"
                raise GraphError(f"node {name}: layer not among the graph's layers ({known})")
            last = layers[position[layer]].channels - 1
            if not 0 <= attributes["channel"] <= last:
                raise GraphError(f"node {name}: {layer} has the channels 0..{last}")
            depth[name] = position[layer]
        for upper, lower, attributes in self.edges(data=True):
            schema = EDGE_COLUMNS if CO_FIRING in attributes else EDGE_ATTRIBUTES
            _check_attributes(f"{upper} -> {lower}", attributes, schema)
            if depth[lower] != depth[upper] + 1:
                raise GraphError(f"edge {upper} -> {lower} must lead to the next layer below")
        return self

    def describe(self) -> dict[str, Any]:
        """A summary as plain values: layers with their node counts, edges, images."""
        count = Counter(layer for _, layer in self.nodes(data="layer"))
        return {
            "layers": [{**layer.to_dict(), "nodes": count[layer.name]} for layer in self.layers],
            "nodes": self.number_of_nodes(),
            "edges": self.number_of_edges(),
            "images": self.n_images,
        }


# Shares of the input that two telling nodes lie apart. The first is about the side of the patches
# that Zhang et al. (AAAI 2018) show, 70 of 224 pixels; the others serve where no node is left.
APART = (0.25, 0.18, 0.12, 0.0)


def telling_nodes(
    graph: ExplanatoryGraph, n: int, *, among: Iterable[str] | None = None
) -> list[str]:
    """The ids of at most ``n`` strong nodes of different filters at different places.

    The strongest nodes by score alone are near-duplicates: the same place, seen by several filters
    or several times by one. See `pick_apart` for the rule.

    Args:
        graph: holds the scores and the mean places.
        n: how many.
        among: ids to choose from; by default all nodes.

    >>> nodes = telling_nodes(graph, 5)
    >>> len({node.rpartition(":")[0] for node in nodes})
    5
    """
    names = list(graph if among is None else among)
    attributes = [graph.node(name) for name in names]
    scores = [one["score"] for one in attributes]
    places = [(one["row"], one["col"]) for one in attributes]
    filters = [(one["layer"], one["channel"]) for one in attributes]
    return [names[k] for k in pick_apart(scores, places, filters, n)]


def pick_apart(
    scores: ArrayLike, places: ArrayLike, filters: Sequence[Hashable], n: int
) -> list[int]:
    """The positions of at most ``n`` nodes, picked greedily by score, each of another filter.

    Each next node is the one of the highest score whose filter is new and which lies at least 0.25
    from all before. Where none is left, nodes at 0.18, then at 0.12, then at any distance follow.
    Nodes below half the highest score come last of all, in the same way. Equal scores keep their
    order.

    Args:
        scores: (node,).
        places: (node, 2), fractions of the input.
        filters: of each node, such as its layer and channel.
        n: how many.

    >>> pick_apart([0.9, 0.8, 0.7], [(0.1, 0.1), (0.1, 0.2), (0.9, 0.9)], "abc", 2)
    [0, 2]
    """
    score = np.asarray(scores, np.float64)
    place = np.asarray(places, np.float64).reshape(-1, 2)
    number = {name: k for k, name in enumerate(dict.fromkeys(filters))}
    filter_of = np.array([number[name] for name in filters], int)
    order = np.argsort(-score, kind="stable")
    new = np.ones(len(score), bool)  # nodes whose filter was not picked yet
    nearest = np.full(len(score), np.inf)  # distance to the nearest node picked
    picked: list[int] = []
    half = score.max(initial=0) / 2
    for least, apart in itertools.product((half, -np.inf), APART):
        for k in order[score[order] >= least].tolist():
            if len(picked) < n and new[k] and nearest[k] >= apart:
                picked.append(k)
                new &= filter_of != filter_of[k]
                nearest = np.minimum(nearest, np.linalg.norm(place - place[k], axis=1))
    return picked


def _check_node(name: str, attributes: dict[str, Any]) -> None:
    loadings = attributes.get(LOADINGS, ())
    whole = type(loadings) is tuple and len(loadings) % 2 == 0
    if not whole or not all(type(x) is float and math.isfinite(x) for x in loadings):
        raise GraphError(
            f"{name}: loadings must be a tuple of an even number of finite floats,"
            f" got {loadings!r:.100}"
        )
    required = {key: value for key, value in attributes.items() if key != LOADINGS}
    _check_attributes(name, required, NODE_ATTRIBUTES)
    if attributes["kind"] not in KINDS:
        expected = " or ".join(KINDS)
        raise GraphError(f"{name}: kind must be {expected}, got {attributes['kind']!r:.100}")


def _check_attributes(what: str, attributes: dict[str, Any], schema: dict[str, type]) -> None:
    if attributes.keys() != schema.keys():
        missing, unknown = schema.keys() - attributes.keys(), attributes.keys() - schema.keys()
        raise GraphError(
            f"{what}: missing attributes {sorted(missing)}, unknown attributes {sorted(unknown)}"
        )
    for key, kind in schema.items():
        value = attributes[key]
        if type(value) is not kind:
            raise GraphError(
                f"{what}: {key} must be {kind.__name__}, got {type(value).__name__} {value!r}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise GraphError(f"{what}: {key} must be finite, got {value}")
