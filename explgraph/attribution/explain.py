"""Why this class? The nodes that were found, ranked by what the score loses without each.

A saliency map says where; the graph says what: each node is a part pattern that can be shown on
other images. How much the class rests on it is not inferred from gradients but measured, by
ablation at its place (`explgraph.attribution.ablation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from math import isnan, nan
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from explgraph.attribution.ablation import ablated, ablation
from explgraph.attribution.forward import run_model
from explgraph.attribution.head import as_scores, probabilities
from explgraph.attribution.shown import Batch, Images, Shown, input_size, show
from explgraph.attribution.target import PlacedNode, check_scores, class_names, resolve_target
from explgraph.errors import UsageError
from explgraph.files import finite
from explgraph.graph import ExplanatoryGraph
from explgraph.html import numbered, table
from explgraph.images import Box, mirror
from explgraph.locations import FOUND, locate_images
from explgraph.network import Model, Network, evaluation_mode
from explgraph.progress import Report, silent
from explgraph.text import one_line

NODES_TESTED = 100  # nodes of each layer that are taken away, best scores first
NODES_SHOWN = 10
CLASSES_SHOWN = 5
_UNCHANGED = 0.0005  # of a probability; it saturates long before the score does
_DRAWS = 5  # random sets of nodes that the shown ones are compared with
# Nodes of one channel nearer than so many of their deviations take away much the same: the best of
# them is tested.
_SAME = 1.0


@dataclass(frozen=True)
class NodeEvidence:
    """What one node contributes.

    Args:
        node: its id.
        layer: of the node.
        channel: of the node.
        row: its place, fraction of the network input.
        col: as ``row``.
        score: how surely it was found, 0..1.
        drop: what the class score loses without it.
        probability_drop: what the class probability loses.
        part: name of the semantic part that it belongs to; None if unknown.
        name: what someone called the node or its filter; None if nobody did.
    """

    node: str
    layer: str
    channel: int
    row: float
    col: float
    score: float
    drop: float
    probability_drop: float
    part: str | None = None
    name: str | None = None

    @property
    def title(self) -> str:
        """The id, the name that someone gave, the semantic part."""
        named = f' "{self.name}"' if self.name else ""
        part = f" ({self.part})" if self.part and self.part != self.name else ""
        return self.node + named + part

    @property
    def found(self) -> bool:
        """Whether the score is at least `explgraph.locations.FOUND`."""
        return self.score >= FOUND


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why the network answers as it does.

    Args:
        classes: its first choices: number, name, probability.
        index: number of the class explained.
        name: of that class.
        score: of that class in the untouched image.
        probability: of that class in the untouched image.
        nodes: the nodes with the largest drops, largest first.
        n_tested: how many were taken away, one at a time.
        without: score and probability of the class without the shown nodes, all at once.
        without_random: the same without as many other tested nodes of the same layers, mean over
            random sets; NaN if there are too few.
        shown: what the network was shown, perhaps mirrored.
    """

    classes: tuple[tuple[int, str, float], ...]
    index: int
    name: str
    score: float
    probability: float
    nodes: tuple[NodeEvidence, ...]
    n_tested: int
    without: tuple[float, float]
    without_random: tuple[float, float]
    shown: Shown | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        nodes = ", ".join(f"{one.node} {-one.drop:+.2f}" for one in self.nodes[:3])
        more = ", ..." if len(self.nodes) > 3 else ""
        return (
            f"Explanation({self.name} {self.probability:.1%}, score {self.score:.2f}: "
            f"{len(self.nodes)} of {self.n_tested} nodes tested: {nodes}{more})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None where there is no number."""
        classes = [{"index": i, "name": name, "probability": p} for i, name, p in self.classes]
        pair = ("score", "probability")
        plain: dict[str, Any] = finite(
            {
                "classes": classes,
                "class": self.name,
                "class_index": self.index,
                "score": self.score,
                "probability": self.probability,
                "nodes_tested": self.n_tested,
                "nodes": [asdict(one) | {"found": one.found} for one in self.nodes],
                "without_these": dict(zip(pair, self.without, strict=True)),
                "without_others": dict(zip(pair, self.without_random, strict=True)),
            }
        )
        return plain

    def to_text(self, points: Sequence[tuple[float, float]] | None = None) -> str:
        """The explanation in words.

        Args:
            points: (x, y) of each node in the photograph, named instead of row and column.
        """
        best = ", ".join(f"{name} {probability:.1%}" for _, name, probability in self.classes)
        lines = [f"The network says: {best}."]
        if not self.nodes:
            lines.append(f"No node of the graph was found that {self.name} rests on.")
            return "\n".join(map(one_line, lines))
        lines.append(
            f"What {self.name} ({self.probability:.1%}, score {self.score:.2f}) rests on; "
            f"{self.n_tested} nodes were taken away, one at a time:"
        )
        if called := list(dict.fromkeys(one.name for one in self.nodes if one.name)):
            *most, last = (f"the {name}" for name in called)
            more = f"{', '.join(most)} and {last}" if most else last
            lines[-1:] = [f"{self.name} rests on {more} pattern{'s' * bool(most)}.", lines[-1]]
        for k, one in enumerate(self.nodes):
            place = f"row {one.row:.2f}, column {one.col:.2f}"
            if points is not None:
                place = "x {:.0f}, y {:.0f}".format(*points[k])
            lines.append(
                f"  {k + 1:2d}. {one.title} at {place}: "
                f"score {-one.drop:+.2f}, probability {_changed(one)}"
                + ("" if one.found else f" (not found: its own score is {one.score:.2g})")
            )
        others = ""
        if not isnan(self.without_random[0]):
            others = f" (without as many others: {_said(self.without_random)})"
        lines.append(f"Without these {len(self.nodes)} together: {_said(self.without)}{others}.")
        return "\n".join(map(one_line, lines))

    def _repr_html_(self) -> str:
        """What a notebook shows: the image with the nodes numbered, and what each is worth."""
        named = any(one.part for one in self.nodes)
        rows = [
            (
                k,
                replace(one, part=None).title,
                *([one.part or ""] if named else []),
                f"{-one.drop:+.2f}",
                _changed(one),
            )
            for k, one in enumerate(self.nodes, 1)
        ]
        head = ["", "without", *(["part"] if named else []), "score", "probability"]
        places = [(one.row, one.col) for one in self.nodes]
        seen = "" if self.shown is None else numbered(self.shown.picture(0), places)
        said = f"{self.name} {self.probability:.1%}, score {self.score:.2f}"
        together = f"without all of these: {_said(self.without)}"
        return f"<div><b>{escape(said)}</b><br>{seen}{table(head, rows)}{together}</div>"


def _changed(node: NodeEvidence) -> str:
    unchanged = abs(node.probability_drop) < _UNCHANGED
    return "unchanged" if unchanged else f"{-node.probability_drop:+.1%}"


def _said(pair: tuple[float, float]) -> str:
    return f"score {pair[0]:.2f}, probability {pair[1]:.1%}"


def explain(
    model: Model,
    image: Images,
    graph: ExplanatoryGraph,
    *,
    box: Box | None = None,
    nodes: Sequence[str] | None = None,
    places: ArrayLike = (),
    scores: ArrayLike = (),
    target: int | str | None = None,
    n_tested: int = NODES_TESTED,
    n_shown: int = NODES_SHOWN,
    part_of: Mapping[str, str] | None = None,
    seed: int = 0,
    report: Report = silent,
) -> Explanation:
    """The network's classes, and the nodes that one of them rests on, by measured drop.

    Args:
        model: the classifier that the graph was mined from.
        image: one image, see `explgraph.attribution.show`. Where ``nodes`` are given, as they were
            found in it: mirrored, if they were found in the mirror image.
        graph: the nodes' channels and deviations.
        box: of the object in a photograph, see `explgraph.attribution.show`.
        nodes: ids, in the order of places and scores; by default all nodes of the graph, where
            `explgraph.locate_images` finds them.
        places: (nodes, 2), (row, column), fractions of the network input, as in
            `explgraph.locations.NodeLocations`.
        scores: (nodes,), 0..1.
        target: class by number or name; by default the first choice.
        n_tested: nodes of each layer that are taken away, those with the best scores.
        n_shown: nodes that the explanation names.
        part_of: semantic part of a node, where known.
        seed: of the random sets.
        report: progress, in nodes.

    Raises:
        UsageError: the shapes do not fit, a number is not positive, or the class is unknown.
        GraphError: a node is not in the graph; or no nodes are given, and the graph cannot be
            located.

    >>> why = explain(network, x[:1], graph, n_tested=10)
    >>> why.name, why.nodes[0].drop >= why.nodes[1].drop > 0
    ('fox', True)
    """
    if n_tested < 1 or n_shown < 1:
        raise UsageError(f"n_tested and n_shown must be at least 1, got {n_tested} and {n_shown}")
    # Fitted as the graph's own images were: places are fractions of that input.
    given = show(model, image, fit=graph.config.get("fit", "stretch"), box=box)
    if nodes is None:
        given, nodes, places, scores = _located(given, graph, report)
    # Given places are not looked for again: a workspace has them in its cache.
    place, score = np.asarray(places, np.float64), np.asarray(scores, np.float64)
    n = len(nodes)
    if place.shape != (n, 2) or score.shape != (n,):
        raise UsageError(
            f"places must be ({n}, 2) and scores ({n},), got {place.shape} and {score.shape}"
        )
    network, batch = given.network, given.inputs
    tested = _tested(graph, nodes, place, score, n_tested)
    size = input_size(batch)
    placed = [PlacedNode.of(graph, nodes[k], place[k], input_size=size) for k in tested]
    with evaluation_mode(network.model), torch.no_grad():
        said = check_scores(network, run_model(network, network.model, batch), 1)
    asked = resolve_target(network, target, scores=said)
    # One class for all removals: without a node another one may come first.
    index = int(asked.indexes[0])
    evidence = _evidence(given, placed, score[tested], index, report)
    evidence = [
        replace(one, part=(part_of or {}).get(one.node), name=graph.called(one.node))
        for one in evidence
    ]
    # By what the network loses, and not by the node's score: that tells where a node is, not what
    # it is worth.
    order = sorted(range(len(placed)), key=lambda k: -evidence[k].drop)[:n_shown]
    # The class does not rest on a node without which its score rises.
    shown = [k for k in order if evidence[k].drop > 0]
    worth = _Without(network, batch, index)
    return Explanation(
        classes=_classes(network, said[0]),
        index=index,
        name=asked.names[0],
        score=float(asked.scores[0]),
        probability=float(asked.probabilities[0]),
        nodes=tuple(evidence[k] for k in shown),
        n_tested=len(placed),
        # Measured together: single losses do not add up, for nodes stand in for each other.
        without=worth([placed[k] for k in shown]),
        without_random=_without_random(worth, placed, shown, seed),
        shown=given,
    )


def _located(
    given: Shown, graph: ExplanatoryGraph, report: Report
) -> tuple[Shown, Sequence[str], ArrayLike, ArrayLike]:
    """The image in the facing in which its nodes are found; their ids, places and scores."""
    if len(given.inputs) != 1:
        raise UsageError(f"explain takes one image, got {len(given.inputs)}")
    found = locate_images(given.network, given.inputs, graph, report=report)
    places = found.place[0]
    if found.mirrored[0]:
        # Mirrored, as the node's channel saw it; a frame would lead back to the wrong side.
        given = replace(given, inputs=given.inputs.flip(-1), frames=None, sizes=())
        places = mirror(places)
    return given, found.nodes, places, found.score[0]


def _evidence(
    given: Shown,
    placed: Sequence[PlacedNode],
    scores: Float[np.ndarray, " node"],
    index: int,
    report: Report,
) -> list[NodeEvidence]:
    """What the class ``index`` loses without each of the nodes."""
    if not placed:
        return []
    found = ablation(given.network, given.inputs, placed, target=index, report=report)
    losses = found.targets.probabilities[0] - found.probabilities.cpu().numpy()
    columns = zip(placed, scores.tolist(), found.drops.tolist(), losses.tolist(), strict=True)
    return [
        NodeEvidence(
            node=one.name,
            layer=one.layer,
            channel=one.channel,
            row=float(one.place[0]),
            col=float(one.place[1]),
            score=score,
            drop=drop,
            probability_drop=loss,
        )
        for one, score, drop, loss in columns
    ]


def _tested(
    graph: ExplanatoryGraph,
    nodes: Sequence[str],
    place: Float[np.ndarray, "node 2"],
    score: Float[np.ndarray, " node"],
    n: int,
) -> list[int]:
    """The numbers of each layer's ``n`` best nodes; of those that take away the same, one."""
    of_layer: dict[str, list[int]] = {layer.name: [] for layer in graph.layers}
    attributes = [graph.node(name) for name in nodes]
    kept: dict[tuple[str, int], list[int]] = {}
    # Best first, so that of nodes which take away the same the surest is tested.
    for k in np.argsort(-score, kind="stable").tolist():
        node = attributes[k]
        chosen = of_layer[node["layer"]]
        rivals = kept.setdefault((node["layer"], node["channel"]), [])
        # Nodes of one channel in one place have one window and would be told of twice.
        distances = np.linalg.norm(place[rivals] - place[k], axis=1)
        if score[k] > 0 and len(chosen) < n and (distances > _SAME * node["std"]).all():
            rivals.append(k)
            chosen.append(k)
    return [k for chosen in of_layer.values() for k in chosen]


def _classes(
    network: Network, scores: Float[Tensor, " class"]
) -> tuple[tuple[int, str, float], ...]:
    numbers = scores.topk(min(CLASSES_SHOWN, len(scores))).indices
    names = class_names(network, numbers.tolist(), n_classes=len(scores))
    said = probabilities(network, scores.float())[numbers].tolist()
    return tuple(zip(numbers.tolist(), names, said, strict=True))


@dataclass(frozen=True)
class _Without:
    """What a class is worth without some nodes: its score and its probability."""

    network: Network
    batch: Batch
    index: int

    def __call__(self, removed: Sequence[PlacedNode]) -> tuple[float, float]:
        model = self.network.model
        # The whole network: nodes of several layers go at once.
        with evaluation_mode(model), torch.no_grad(), ablated(self.network, removed):
            scores = as_scores(self.network, model(self.batch.clone()).float())
        probability = probabilities(self.network, scores)
        return float(scores[0, self.index]), float(probability[0, self.index])


def _without_random(
    worth: _Without, placed: Sequence[PlacedNode], shown: Sequence[int], seed: int
) -> tuple[float, float]:
    """The mean over random sets with as many nodes of each layer as are shown, none of them."""
    wanted, others = {}, {}
    # Sorted, so that the generator draws in the same order in every process.
    for layer in sorted({placed[k].layer for k in shown}):
        of_layer = [k for k, one in enumerate(placed) if one.layer == layer]
        wanted[layer] = sum(k in shown for k in of_layer)
        others[layer] = [k for k in of_layer if k not in shown]
    # Too few others to draw from: no figure is better than one from half a set.
    if not wanted or any(len(others[layer]) < n for layer, n in wanted.items()):
        return nan, nan
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(_DRAWS):
        drawn = [rng.choice(others[layer], n, replace=False) for layer, n in wanted.items()]
        results.append(worth([placed[k] for k in np.concatenate(drawn)]))
    score, probability = np.mean(results, axis=0)
    return float(score), float(probability)
